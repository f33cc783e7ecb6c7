#include "forwarder/core/types.hpp"

#include <charconv>
#include <sstream>

namespace lbcluster::forward {

std::string_view word_of(Forward forward) {
    switch (forward) {
        case Forward::masquerade:
            return "masquerade";
        case Forward::tunnel:
            return "tunnel";
        case Forward::direct:
            return "direct";
        case Forward::other:
            break;
    }
    return "other";
}

std::string_view word_of(SyncRole role) {
    switch (role) {
        case SyncRole::master:
            return "master";
        case SyncRole::backup:
            return "backup";
        case SyncRole::none:
            break;
    }
    return "none";
}

std::string ServiceKey::to_string() const {
    if (mark != 0) return (v6 ? "mark6 " : "mark4 ") + std::to_string(mark);
    return (protocol == protocol_udp ? "udp " : "tcp ") + address.to_string() + " " + std::to_string(port);
}

std::optional<ServiceKey> ServiceKey::parse(const std::string& text) {
    std::istringstream words(text);
    std::string kind;
    std::string first;
    words >> kind >> first;
    if (kind == "mark4" || kind == "mark6") {
        std::uint32_t mark = 0;
        const auto [end, error] = std::from_chars(first.data(), first.data() + first.size(), mark);
        if (error != std::errc{} || end != first.data() + first.size() || mark == 0) return std::nullopt;
        return of_mark(mark, kind == "mark6");
    }
    if (kind != "tcp" && kind != "udp") return std::nullopt;
    const auto address = IpAddress::parse(first);
    unsigned port = 0;
    if (!address || !(words >> port) || port > 65535) return std::nullopt;
    return of_address(kind == "udp" ? protocol_udp : protocol_tcp, *address, static_cast<std::uint16_t>(port));
}

std::uint64_t stable_hash(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const char c : text) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3U;
    }
    return hash;
}

}  // namespace lbcluster::forward
