// The network of a scenario that names none, from the pair's own configuration: a network for each heartbeat path, the
// floating IPs' interfaces, routers for the ping nodes, and a client wherever floating IPs are. With the lab's
// configuration this is the lab. Pure.
#pragma once

#include "sim/scenario/scenario.hpp"

namespace lbcluster::sim {

// What a node.yaml and a scenario say about interfaces and their addresses, before the rest is checked.
struct Cabling {
    std::string node;
    std::vector<config::LocalInterface> interfaces;
    std::map<std::string, std::string> labels;  // interface -> name in `interfaces`
};
Cabling cabling_of(const config::NodeConfig& node, const config::ClusterConfig& cluster, const NodeEntry& given,
                   const std::vector<NetworkEntry>& networks, std::size_t index);

// Fills loaded.networks and loaded.hosts.
void plan_networks(Loaded& loaded, const std::vector<Cabling>& nodes);

}  // namespace lbcluster::sim
