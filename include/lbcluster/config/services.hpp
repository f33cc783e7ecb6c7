// What virtual services mean, for all who read them (check, healthd, forwarderd, CLI): ports, layers, derived
// defaults, and the floating IPs that exist because of them. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lbcluster/base/time.hpp"
#include "lbcluster/config.pb.h"

namespace lbcluster::config {

struct PortRange {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
    [[nodiscard]] bool is_all() const { return first == 1 && last == 65535; }
    bool operator==(const PortRange&) const = default;
};

// `80`, `8000-8010` or `all`; empty: it is none of these.
std::optional<PortRange> parse_port_range(std::string_view text);

// Of a service, server, floating IP or channel: without the key it is.
template <class Switchable>
bool is_on(const Switchable& one) {
    return !one.has_enabled() || one.enabled();
}

inline bool is_layer7(const VirtualService& service) { return service.method() == METHOD_PROXY; }
bool is_layer7_scheduler(Scheduler scheduler);
Scheduler scheduler_of(const VirtualService& service);
// Whose state and health count: enabled, in the order of the file.
std::vector<const RealServer*> servers_of(const VirtualService& service);
// What counts now: `state`, but halt once the time of a drain's `drain_until` has come. Everybody who reads `state`
// asks this, so that nobody has to write the configuration when the time comes. `now_ms`: milliseconds since 1970.
ServerState effective_state(const RealServer& server, std::uint64_t now_ms);
// 0: the service has no single first port (`all`), so a check needs one of its own.
std::uint16_t first_port_of(const VirtualService& service);
// Where a server is reached, and where a check without a port of its own goes.
std::uint16_t port_of(const VirtualService& service, const RealServer& server);
// For the whole probe: as given, else 3 s, never longer than the interval.
Duration timeout_of(const Check& check);

// Those defined by hand, then one for each other address of an enabled virtual service, labelled like it.
std::vector<FloatingIp> all_floating_ips(const ClusterConfig& cluster);

}  // namespace lbcluster::config
