#include "cli/core/ports.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <iterator>
#include <optional>

namespace lbcluster::cli {
namespace {

template <class Number>
std::optional<Number> number_of(std::string_view text, int base) {
    Number out{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return out;
}

// Words of 32 bits as the machine has them; a mapped IPv4 address is one.
std::optional<IpAddress> address_of(std::string_view hex) {
    std::array<std::uint8_t, 16> bytes{};
    if (hex.size() != 8 && hex.size() != 32) return std::nullopt;
    for (std::size_t i = 0; i < hex.size() / 8; ++i) {
        const auto word = number_of<std::uint32_t>(hex.substr(i * 8, 8), 16);
        if (!word) return std::nullopt;
        std::memcpy(bytes.data() + i * 4, &*word, 4);
    }
    if (hex.size() == 8) return IpAddress::v4({bytes[0], bytes[1], bytes[2], bytes[3]});
    static constexpr std::array<std::uint8_t, 12> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    if (std::equal(mapped.begin(), mapped.end(), bytes.begin()))
        return IpAddress::v4({bytes[12], bytes[13], bytes[14], bytes[15]});
    return IpAddress::v6(bytes);
}

std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> out;
    while (true) {
        const std::size_t begin = line.find_first_not_of(' ');
        if (begin == std::string_view::npos) return out;
        const std::size_t end = std::min(line.find(' ', begin), line.size());
        out.push_back(line.substr(begin, end - begin));
        line.remove_prefix(end);
    }
}

std::optional<HeldSocket> socket_of(std::string_view line, bool udp) {
    constexpr std::size_t local = 1;
    constexpr std::size_t state = 3;
    constexpr std::size_t inode = 9;
    const auto words = words_of(line);
    if (words.size() <= inode || (!udp && words[state] != "0A")) return std::nullopt;
    const std::size_t colon = std::min(words[local].find(':'), words[local].size() - 1);
    const auto address = address_of(words[local].substr(0, colon));
    const auto port = number_of<std::uint16_t>(words[local].substr(colon + 1), 16);
    const auto number = number_of<std::uint64_t>(words[inode], 10);
    if (!address || !port || !number || *number == 0) return std::nullopt;
    return HeldSocket{udp, *address, *port, *number};
}

// One of IPv6 for every address may be one for those of IPv4, too: /proc does not tell.
bool is_perhaps(const IpAddress& there, const IpAddress& own) {
    return there.is_v6() && there.is_unspecified() && own.is_v4();
}

bool in_the_way(const IpAddress& there, const IpAddress& own) {
    if (there.is_v4() != own.is_v4()) return is_perhaps(there, own);
    return there == own || there.is_unspecified() || own.is_unspecified();
}

bool is_ours(const Holder& holder, const OwnPorts& own) {
    if (holder.pid == 0) return own.runs;           // a container may hide it
    if (holder.name == "replicatord") return true;  // it tries the ports while two nodes are paired
    return holder.name == own.daemon && holder.command.find(own.argument) != std::string::npos;
}

}  // namespace

std::vector<HeldSocket> held_sockets(std::string_view table, bool udp) {
    std::vector<HeldSocket> out;
    while (!table.empty()) {
        const std::size_t end = std::min(table.find('\n'), table.size());
        if (const auto socket = socket_of(table.substr(0, end), udp)) out.push_back(*socket);
        table.remove_prefix(std::min(end + 1, table.size()));
    }
    return out;
}

bool is_at(const HeldSocket& socket, const OwnPorts& own) {
    if (socket.udp != own.udp || socket.port < own.first || socket.port > own.last) return false;
    return std::any_of(own.addresses.begin(), own.addresses.end(),
                       [&](const IpAddress& one) { return in_the_way(socket.address, one); });
}

std::vector<TakenPorts> taken_ports(const std::vector<OwnPorts>& own, const std::vector<HeldSocket>& sockets,
                                    const Holders& holders) {
    using Places = std::set<std::pair<IpAddress, std::uint16_t>>;
    std::vector<TakenPorts> out;
    for (const OwnPorts& one : own) {
        Places ours;
        std::map<int, TakenPorts> taken;  // by pid
        std::map<int, Places> perhaps;
        for (const HeldSocket& socket : sockets) {
            if (!is_at(socket, one)) continue;
            const auto [begin, end] = holders.equal_range(socket.inode);
            const bool is_own =
                begin == end ? is_ours({}, one)
                             : std::any_of(begin, end, [&](const auto& entry) { return is_ours(entry.second, one); });
            const Holder holder = begin == end ? Holder{} : begin->second;
            for (const IpAddress& address : one.addresses) {
                if (!in_the_way(socket.address, address)) continue;
                const std::pair place{address, socket.port};
                if (is_own) {
                    ours.insert(place);
                    continue;
                }
                TakenPorts& entry = taken.try_emplace(holder.pid, TakenPorts{one, {}, holder}).first->second;
                (is_perhaps(socket.address, address) ? perhaps[holder.pid] : entry.places).insert(place);
            }
        }
        for (auto& [pid, entry] : taken) {
            // What we listen on itself is not in the way.
            std::set_difference(perhaps[pid].begin(), perhaps[pid].end(), ours.begin(), ours.end(),
                                std::inserter(entry.places, entry.places.end()));
            if (entry.places.empty()) continue;
            entry.shared = std::includes(ours.begin(), ours.end(), entry.places.begin(), entry.places.end());
            out.push_back(std::move(entry));
        }
    }
    return out;
}

}  // namespace lbcluster::cli
