#include "lbcluster/config/settings.hpp"

#include <algorithm>

#include "lbcluster/config/schema.hpp"
#include "lib/config/reflect.hpp"

namespace lbcluster::config {
namespace {

struct Timers {
    Duration keepalive;
    Duration warntime;
    Duration deadtime;
    Duration initdead;
};

Timers timers_of(Profile profile) {
    switch (profile) {
        case PROFILE_FAST:
            return {10ms, 20ms, 50ms, 5s};
        case PROFILE_VM:
            return {500ms, 1500ms, 6s, 30s};
        default:
            return {100ms, 300ms, 1s, 5s};
    }
}

}  // namespace

Duration vip_lease_min(Duration deadtime) { return deadtime + 1500ms; }

HeartbeatSettings heartbeat_settings(const Heartbeat& given) {
    Heartbeat full = given;
    with_defaults(full);
    const Timers profile = timers_of(full.profile());

    HeartbeatSettings s;
    s.profile = full.profile();
    s.port = static_cast<std::uint16_t>(full.port());
    s.keepalive = full.has_keepalive() ? duration_of(full.keepalive()) : profile.keepalive;
    s.deadtime = full.has_deadtime() ? duration_of(full.deadtime()) : profile.deadtime;
    if (full.has_warntime()) {
        s.warntime = duration_of(full.warntime());
    } else if (full.has_keepalive() || full.has_deadtime()) {
        s.warntime = std::max(2 * s.keepalive, s.deadtime * 3 / 10);
    } else {
        s.warntime = profile.warntime;
    }
    s.initdead = full.has_initdead() ? duration_of(full.initdead()) : std::max(profile.initdead, s.deadtime);
    s.auto_failback = full.auto_failback();
    s.failback_delay = duration_of(full.failback_delay());
    s.isolation = full.isolation();
    s.address_probe = full.address_probe();
    s.vip_lease = full.has_vip_lease() ? duration_of(full.vip_lease())
                                       : Duration(std::chrono::ceil<seconds>(vip_lease_min(s.deadtime)));
    for (const std::string& text : full.ping_nodes()) {
        if (const auto address = IpAddress::parse(text)) s.ping_nodes.push_back(*address);
    }
    s.announce_rate = full.announce_rate();
    s.announce_refresh = duration_of(full.announce_refresh());
    return s;
}

}  // namespace lbcluster::config
