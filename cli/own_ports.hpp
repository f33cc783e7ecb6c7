// The ports that this node's daemons listen on, by its configuration. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/core/ports.hpp"
#include "lbcluster/config.pb.h"

namespace lbcluster::cli {

// What runs, as far as it is known: a socket that /proc shows no process of is then believed to be its.
struct Running {
    bool heartbeatd = false;
    bool haproxy = false;
};

// As the configuration wants it, of the node and of both. HAProxy is ours by its file in `run_dir`.
std::vector<OwnPorts> own_ports(const config::NodeConfig& node, const config::ClusterConfig& cluster,
                                const std::string& run_dir, const Running& running);

}  // namespace lbcluster::cli
