// A scenario file, read and checked: the pair's configuration as heartbeatd would take it, the network it runs in, and
// the faults. Everything that is wrong is reported with file, line and column; nothing is simulated here.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "heartbeat/setup.hpp"
#include "lbcluster/config/problem.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/scenario.pb.h"

namespace lbcluster::sim {

// One interface that is plugged into a network.
struct Station {
    std::string machine;
    std::string interface;
    std::vector<IpPrefix> addresses;
};
struct NetworkPlan {
    std::string name;
    Duration delay{50us};
    std::vector<IpPrefix> subnets;
    std::vector<Station> stations;
    bool serves = false;  // floating IPs are on it
};
struct HostPlan {
    std::string name;
    HostKind kind = HOST_KIND_ROUTER;
    Duration probe{100ms};
};
struct NodePlan {
    heartbeat::Setup setup;
    config::Facts facts;  // interfaces with addresses, for reloads
    std::string node_yaml;
    std::string cluster_yaml;
    Duration boot{0};
};

// One fault with its times filled in. `end` is not set where it lasts, or is over at once.
struct FaultPlan {
    Fault fault;
    Duration at{0};
    std::optional<Duration> end;
    std::vector<heartbeat::Setup> reload;  // FAULT_KIND_RELOAD: the new setup of each node
};

struct Loaded {
    std::string file;
    Scenario scenario;  // with defaults
    config::Problems problems;
    std::vector<NodePlan> nodes;  // one or two
    std::vector<NetworkPlan> networks;
    std::vector<HostPlan> hosts;
    std::vector<FaultPlan> faults;
    bool serial = false;
    unsigned baud = 115200;

    // The rest is only to be used if this holds.
    [[nodiscard]] bool ok() const { return !config::has_errors(problems); }
};

Loaded load_scenario(const std::string& file);
// `file` is what problems call it, and where relative paths begin.
Loaded load_scenario_text(const std::string& text, const std::string& file);
// For scenarios that were made by a program: checks and derives as if it had been read from a file.
Loaded load_scenario_message(const Scenario& scenario, const std::string& name);

Duration to_duration(const google::protobuf::Duration& duration);
google::protobuf::Duration from_duration(Duration duration);
// As written in YAML: "burst_loss".
std::string word(FaultKind kind);

}  // namespace lbcluster::sim
