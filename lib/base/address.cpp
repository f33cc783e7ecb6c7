#include "lbcluster/base/address.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace lbcluster {

IpAddress IpAddress::v4(std::array<std::uint8_t, 4> bytes) {
    IpAddress a;
    std::copy(bytes.begin(), bytes.end(), a.bytes_.begin());
    return a;
}

IpAddress IpAddress::v6(std::array<std::uint8_t, 16> bytes) {
    IpAddress a;
    a.size_ = 16;
    a.bytes_ = bytes;
    return a;
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
    const std::string terminated(text);
    std::array<std::uint8_t, 16> bytes{};
    const bool has_nul = text.find('\0') != std::string_view::npos;  // inet_pton would stop there
    if (!has_nul && ::inet_pton(AF_INET, terminated.c_str(), bytes.data()) == 1) {
        return v4({bytes[0], bytes[1], bytes[2], bytes[3]});
    }
    if (!has_nul && ::inet_pton(AF_INET6, terminated.c_str(), bytes.data()) == 1) return v6(bytes);
    return Error{"'" + terminated + "' is not an IPv4 or IPv6 address", "write it like 192.168.1.10 or fd00::10", 0};
}

std::string IpAddress::to_string() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes_.data(), text.data(), text.size());
    return text.data();
}

bool IpAddress::is_unspecified() const {
    return std::all_of(bytes_.begin(), bytes_.begin() + size_, [](std::uint8_t b) { return b == 0; });
}

bool IpAddress::is_loopback() const {
    if (is_v4()) return bytes_[0] == 127;
    return std::all_of(bytes_.begin(), bytes_.end() - 1, [](std::uint8_t b) { return b == 0; }) && bytes_[15] == 1;
}

bool IpAddress::is_multicast() const { return is_v4() ? (bytes_[0] & 0xf0) == 0xe0 : bytes_[0] == 0xff; }

bool IpAddress::is_link_local() const {
    return is_v4() ? bytes_[0] == 169 && bytes_[1] == 254 : bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

Result<IpPrefix> IpPrefix::parse(std::string_view text) {
    const std::size_t slash = text.find('/');
    auto address = IpAddress::parse(text.substr(0, slash));
    if (!address) return address.error();
    const unsigned bits = address->is_v4() ? 32 : 128;
    IpPrefix prefix{*address, static_cast<std::uint8_t>(bits)};
    if (slash == std::string_view::npos) return prefix;
    unsigned length = 0;
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
    if (error != std::errc{} || end != digits.data() + digits.size() || length > bits || digits.empty()) {
        return Error{"'" + std::string(text) + "' has a bad prefix length",
                     "a prefix length of this family is 0 to " + std::to_string(bits), 0};
    }
    prefix.length = static_cast<std::uint8_t>(length);
    return prefix;
}

bool IpPrefix::contains(const IpAddress& other) const {
    if (other.is_v4() != address.is_v4()) return false;
    const auto a = address.bytes();
    const auto b = other.bytes();
    for (unsigned bit = 0; bit < length; bit += 8) {
        const unsigned rest = std::min(8U, length - bit);
        const auto mask = static_cast<std::uint8_t>(0xffU << (8 - rest));
        if ((a[bit / 8] & mask) != (b[bit / 8] & mask)) return false;
    }
    return true;
}

std::string IpPrefix::to_string() const { return address.to_string() + "/" + std::to_string(length); }

Result<MacAddress> MacAddress::parse(std::string_view text) {
    MacAddress mac;
    const Error bad{"'" + std::string(text) + "' is not an Ethernet address", "write it like 02:00:00:00:00:01", 0};
    if (text.size() != 17) return bad;
    for (std::size_t i = 0; i < 6; ++i) {
        const char* start = text.data() + i * 3;
        const auto [end, error] = std::from_chars(start, start + 2, mac.bytes.at(i), 16);
        if (error != std::errc{} || end != start + 2 || (i < 5 && text[i * 3 + 2] != ':')) return bad;
    }
    return mac;
}

std::string MacAddress::to_string() const {
    std::array<char, 18> text{};
    std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3],
                  bytes[4], bytes[5]);
    return text.data();
}

}  // namespace lbcluster
