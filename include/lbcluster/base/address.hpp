// Addresses as values: IPv4/IPv6, with prefix length, and Ethernet. Pure; no name is ever resolved.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "lbcluster/base/result.hpp"

namespace lbcluster {

class IpAddress {
  public:
    IpAddress() = default;  // 0.0.0.0
    static IpAddress v4(std::array<std::uint8_t, 4> bytes);
    static IpAddress v6(std::array<std::uint8_t, 16> bytes);
    // No zone ids, no brackets, no prefix; IPv4-mapped IPv6 stays IPv6.
    static Result<IpAddress> parse(std::string_view text);

    [[nodiscard]] bool is_v4() const { return size_ == 4; }
    [[nodiscard]] bool is_v6() const { return size_ == 16; }
    // Network order, 4 or 16 bytes.
    [[nodiscard]] std::span<const std::uint8_t> bytes() const { return {bytes_.data(), size_}; }
    [[nodiscard]] std::string to_string() const;
    [[nodiscard]] bool is_unspecified() const;
    [[nodiscard]] bool is_loopback() const;
    [[nodiscard]] bool is_multicast() const;
    [[nodiscard]] bool is_link_local() const;

    auto operator<=>(const IpAddress&) const = default;

  private:
    std::uint8_t size_ = 4;
    std::array<std::uint8_t, 16> bytes_{};
};

struct IpPrefix {
    IpAddress address;         // host bits are kept: 10.0.0.5/24
    std::uint8_t length = 32;  // bits

    // Without a length /32 or /128.
    static Result<IpPrefix> parse(std::string_view text);
    [[nodiscard]] bool contains(const IpAddress& other) const;
    [[nodiscard]] std::string to_string() const;
    auto operator<=>(const IpPrefix&) const = default;
};

struct MacAddress {
    std::array<std::uint8_t, 6> bytes{};
    static Result<MacAddress> parse(std::string_view text);
    [[nodiscard]] std::string to_string() const;  // 02:00:00:00:00:01
    [[nodiscard]] bool is_zero() const { return bytes == std::array<std::uint8_t, 6>{}; }
    auto operator<=>(const MacAddress&) const = default;
};

}  // namespace lbcluster

template <>
struct std::hash<lbcluster::IpAddress> {
    std::size_t operator()(const lbcluster::IpAddress& a) const noexcept {
        const auto bytes = a.bytes();
        return std::hash<std::string_view>{}({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    }
};
