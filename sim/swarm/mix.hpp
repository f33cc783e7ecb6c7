// What one seed of the swarm draws: a pair with its configuration and a schedule of faults. First come the faults, any
// number at once; from `heal` on nothing is wrong any more, and the rest of the time is for the pair to agree again.
//
// A mix is kept apart from the scenario that it becomes, so that a failing one can be made simpler feature by feature.
// The same seed draws the same mix on every machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lbcluster/base/time.hpp"
#include "lbcluster/scenario.pb.h"

namespace lbcluster::sim {

struct Timers {
    std::string yaml;  // lines of cluster.yaml
    Duration keepalive{100ms};
    Duration deadtime{1s};
    Duration initdead{5s};

    static Timers lan();
};

struct Mix {
    std::uint64_t seed = 0;
    Timers timers = Timers::lan();
    bool longer_deadtime = false;  // the second node's is `timers.deadtime`, the first one's the profile's
    std::vector<std::string> links{"lan", "hb"};  // of lan, hb, hb2, serial
    bool v6_links = false;
    unsigned ping_nodes = 1;
    std::vector<std::string> floating_ips{"10.77.0.200", "fd77::200"};
    std::string address_probe;  // empty: default
    std::string isolation;
    Duration failback_delay{0};  // 0: auto_failback is off
    std::string vip_lease;
    std::string roles[2]{"primary", "secondary"};
    Duration boot[2]{Duration{0}, Duration{0}};
    Duration machine_boot{1s};  // how long a machine takes until its daemon starts
    std::vector<Fault> faults;
    Duration heal{0};
    Duration duration{0};
};

Mix draw_mix(std::uint64_t seed);
Scenario compose(const Mix& mix);
// How long a healed pair may take before every invariant must hold, and its caches be right.
Duration time_to_agree(const Mix& mix);

}  // namespace lbcluster::sim
