// From the services that are wanted and what is known of their servers to what the kernel shall have. Pure.
//
// clang-format off
//   server                            in IPVS
//   up, online                        its weight x the percentage of its feedback agent (at least 1, unless one of
//                                     them is 0)
//   drain, or its agent says so       weight 0: connections finish, no new ones
//   down, standby, agent says down    on_down remove: not there, so that its connections end with their next packet;
//                                     quiesce: weight 0 (with the scheduler dh, which goes on choosing it: not there)
//   halt                              not there
//   nothing known yet                 not there
// clang-format on
//
// Down wins over drain. A server of weight 0 does not count as one that can serve: if none can, the fallback is there
// instead, and goes when one can again. The page is delivery on this node; a server of the service serves as its
// fallback though it is down, not if the operator took it offline.
//
// One port and one protocol are an IPVS service by address and port, everything else is one by firewall mark. A mark
// is a hash of label and address, so that both nodes have the same one (connection sync needs that) and changing the
// ports of a service does not end its connections.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "forwarder/core/types.hpp"

namespace lbcluster::forward {

enum class Method : std::uint8_t { dr, nat, snat, tun };
enum class State : std::uint8_t { online, drain, halt };
enum class Health : std::uint8_t { unknown, up, down, standby };
enum class Wish : std::uint8_t { none, drain, down };  // of the feedback agent

struct Verdict {
    Health health = Health::unknown;
    std::uint32_t percent = 100;  // of the weight
    Wish wish = Wish::none;
    bool operator==(const Verdict&) const = default;
};

struct ServerSpec {
    std::string label;
    IpAddress address;
    std::uint16_t port = 0;  // 0: the service's
    std::uint32_t weight = 100;
    std::uint32_t min_connections = 0;
    std::uint32_t max_connections = 0;
    State state = State::online;
    std::optional<std::uint64_t> drain_until_ms;  // from then on it counts as halted
    bool operator==(const ServerSpec&) const = default;
};

struct FallbackSpec {
    enum class Kind : std::uint8_t { none, page, server, address };
    Kind kind = Kind::none;
    std::string server;  // label
    IpAddress address;
    std::uint16_t port = 0;  // 0: the one that the client asked for
    Method method = Method::nat;
    bool operator==(const FallbackSpec&) const = default;
};

struct Persistence {
    seconds timeout{300};
    std::uint32_t mask_bits = 32;
    bool operator==(const Persistence&) const = default;
};

struct ServiceSpec {
    std::string label;
    Traffic traffic;
    Method method = Method::dr;
    std::string scheduler = "wlc";
    std::optional<Persistence> persistence;
    bool one_packet = false;
    bool quiesce = false;  // on_down
    FallbackSpec fallback;
    std::vector<ServerSpec> servers;
    bool operator==(const ServiceSpec&) const = default;
};

// What else of this machine and its configuration matters.
struct NodeSpec {
    std::vector<std::string> auto_nat;
    Timeouts timeouts;
    std::string sync_interface;  // empty: no peer, or none that is told over a network
    std::uint8_t sync_id = 0;
    std::vector<std::string> interfaces;                        // all there are
    std::vector<std::string> listens_to_routers;                // those with accept_ra=1
    std::set<std::pair<IpAddress, std::uint16_t>> transparent;  // as in Rules
    bool operator==(const NodeSpec&) const = default;
};

struct Spec {
    std::vector<ServiceSpec> services;  // layer 4, enabled
    NodeSpec node;
    bool operator==(const Spec&) const = default;
};

enum class Placing : std::uint8_t { gone, draining, serving };
std::string_view word_of(Placing placing);  // as `status` shows it

struct ServicePlan {
    Service service;
    std::vector<Placing> servers;  // as in the spec
    bool serves = false;           // at least one server takes new connections
    bool fallback = false;         // the fallback is in place
};

// What counts now.
State effective_state(const ServerSpec& server, std::uint64_t now_ms);
// `verdicts`: one for each server.
ServicePlan plan_service(const ServiceSpec& spec, const ServiceKey& key, const std::vector<Verdict>& verdicts,
                         std::uint64_t now_ms);
// Where each server is in IPVS.
DestinationKey destination_key(const ServiceSpec& spec, const ServiceKey& key, const ServerSpec& server);
// One for each service.
std::vector<ServiceKey> plan_keys(const std::vector<ServiceSpec>& services);
Rules plan_rules(const Spec& spec, const std::vector<ServiceKey>& keys);
std::vector<Sysctl> plan_sysctls(const Spec& spec);
// A tunnel to a server of the other family: connection sync cannot express it, and the kernel refuses both together.
bool mixes_families(const Spec& spec);
// "the page", "10.0.0.9"; empty: none.
std::string fallback_text(const FallbackSpec& fallback);

}  // namespace lbcluster::forward
