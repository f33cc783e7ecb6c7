// The heartbeat's settings as the daemons use them: chrono types, every value filled in from what was given, the
// profile and the rules of config.proto. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "lbcluster/base/address.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/config.pb.h"

namespace lbcluster::config {

inline constexpr std::uint32_t baud_default = 115200;

struct HeartbeatSettings {
    Profile profile = PROFILE_LAN;
    std::uint16_t port = 6694;
    Duration keepalive = 100ms;
    Duration warntime = 300ms;
    Duration deadtime = 1s;
    Duration initdead = 5s;
    bool auto_failback = false;
    Duration failback_delay = 60s;
    Isolation isolation = ISOLATION_AUTO;
    AddressProbe address_probe = ADDRESS_PROBE_ARP;
    Duration vip_lease = 3s;  // whole seconds; 0: no lease
    std::vector<IpAddress> ping_nodes;
    std::uint32_t announce_rate = 800;  // a second
    Duration announce_refresh = 60s;

    bool operator==(const HeartbeatSettings&) const = default;
};

// Fills in what `given` leaves out. Values are taken as they are: check() refuses what breaks the rules. A ping node
// that is no address is left out.
//   warntime   profile's; max(2 x keepalive, 0.3 x deadtime) if keepalive or deadtime is given
//   initdead   profile's, at least deadtime
//   vip_lease  deadtime + 1.5 s, rounded up to whole seconds
HeartbeatSettings heartbeat_settings(const Heartbeat& given);

// deadtime + 1.5 s: below that, a lease could run out between two refreshes of a node that is merely late.
Duration vip_lease_min(Duration deadtime);

}  // namespace lbcluster::config
