// What layer 4 is made of: IPVS services and their destinations, firewall rules, sysctls; as values, the same for what
// is wanted and for what the kernel has. Names follow IPVS (net/netfilter/ipvs of the Linux kernel). Pure.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lbcluster/base/address.hpp"
#include "lbcluster/base/time.hpp"

namespace lbcluster::forward {

inline constexpr std::uint8_t protocol_tcp = 6;
inline constexpr std::uint8_t protocol_udp = 17;

// How a packet gets to a destination. Direct to a loopback address is delivery on this node.
enum class Forward : std::uint8_t { masquerade, tunnel, direct, other };  // other: never wanted
std::string_view word_of(Forward forward);

// By what IPVS knows a service: protocol, address and port, or a firewall mark and a family.
struct ServiceKey {
    std::uint32_t mark = 0;
    bool v6 = false;
    std::uint8_t protocol = 0;  // 0 with a mark, as are address and port
    IpAddress address;
    std::uint16_t port = 0;

    static ServiceKey of_mark(std::uint32_t mark, bool v6) { return {mark, v6, 0, {}, 0}; }
    static ServiceKey of_address(std::uint8_t protocol, const IpAddress& address, std::uint16_t port) {
        return {0, address.is_v6(), protocol, address, port};
    }
    auto operator<=>(const ServiceKey&) const = default;
    // "tcp 10.0.0.1 80", "mark4 1275068417", "mark6 ..."; parse() reads it.
    [[nodiscard]] std::string to_string() const;
    static std::optional<ServiceKey> parse(const std::string& text);
};

// Flags of a service, as in <linux/ip_vs.h>.
inline constexpr std::uint32_t flag_persistent = 0x1;
inline constexpr std::uint32_t flag_one_packet = 0x4;
inline constexpr std::uint32_t flag_hash_fallback = 0x8;  // sh, mh: another server if the hash's one takes nothing

struct ServiceSettings {
    std::string scheduler;
    std::uint32_t flags = 0;
    std::uint32_t timeout_s = 0;   // of persistence
    std::uint32_t mask_bits = 32;  // clients in one network of this size are one
    bool operator==(const ServiceSettings&) const = default;
};

struct Counters {
    std::uint64_t active = 0;
    std::uint64_t inactive = 0;
    std::uint64_t persistent = 0;
    std::uint64_t per_second = 0;
    std::uint64_t total = 0;
    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
};

struct DestinationKey {
    IpAddress address;
    std::uint16_t port = 0;  // 0: the one that the client asked for
    auto operator<=>(const DestinationKey&) const = default;
};

struct Destination {
    DestinationKey key;
    Forward forward = Forward::masquerade;
    std::uint32_t weight = 0;  // 0: no new connections
    std::uint32_t upper = 0;   // connections; 0: no limit
    std::uint32_t lower = 0;
    bool operator==(const Destination&) const = default;
};

struct Service {
    ServiceSettings settings;
    std::vector<Destination> destinations;  // by key
    bool operator==(const Service&) const = default;
};

using Table = std::map<ServiceKey, Service>;

// ---- firewall rules ----

struct Ports {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
    auto operator<=>(const Ports&) const = default;
};

// Packets to an address.
struct Traffic {
    IpAddress address;
    bool tcp = false;
    bool udp = false;
    std::vector<Ports> ports;
    bool operator==(const Traffic&) const = default;
};

struct MarkRule {
    Traffic traffic;
    std::uint32_t mark = 0;
    bool operator==(const MarkRule&) const = default;
};

// What came in as `traffic` leaves with an address of this node as its source.
struct MasqueradeRule {
    Traffic traffic;
    std::optional<IpAddress> to;  // on its way to this server; none: to any
    bool operator==(const MasqueradeRule&) const = default;
};

// Packets of transparent connections carry it: what their servers answer to the client's address is for this node.
// Beside the marks of services.
inline constexpr std::uint32_t transparent_mark = 0x4d000000;

struct Rules {
    std::vector<MarkRule> marks;
    std::vector<MasqueradeRule> masquerades;
    std::set<std::pair<IpAddress, std::uint16_t>> transparent;  // servers that layer 7 asks from the client's address
    std::vector<std::string> auto_nat;                          // interfaces
    std::set<IpAddress> inside;                                 // whose packets auto_nat changes: the real servers
    std::set<IpAddress> virtual_addresses;

    [[nodiscard]] bool empty() const {
        return marks.empty() && masquerades.empty() && transparent.empty() && auto_nat.empty();
    }
    [[nodiscard]] bool is_transparent(bool v6) const {
        return std::any_of(transparent.begin(), transparent.end(),
                           [v6](const auto& server) { return server.first.is_v6() == v6; });
    }
    bool operator==(const Rules&) const = default;
};

// ---- the rest ----

struct Sysctl {
    std::string name;  // net.ipv4.vs.conntrack
    std::string value;
    std::string reason;
    bool operator==(const Sysctl&) const = default;
};

// Whether this node tells the peer of its connections (master) or listens (backup).
enum class SyncRole : std::uint8_t { none, master, backup };
std::string_view word_of(SyncRole role);

struct Sync {
    SyncRole role = SyncRole::none;
    std::string interface;
    std::uint8_t id = 0;
    bool operator==(const Sync&) const = default;
};

// How long silent connections are remembered; 0: left as it is.
struct Timeouts {
    seconds tcp{0};
    seconds tcp_fin{0};
    seconds udp{0};
    bool operator==(const Timeouts&) const = default;
};

// The same number for the same text on every node and in every release (FNV-1a, 64 bit).
std::uint64_t stable_hash(std::string_view text);

}  // namespace lbcluster::forward
