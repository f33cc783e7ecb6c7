// What the schema cannot say: the rules over both files together and over what this machine has. Pure: the facts are
// passed in. Every problem carries the place of the offending value.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lbcluster/base/address.hpp"
#include "lbcluster/base/result.hpp"
#include "lbcluster/config.pb.h"
#include "lbcluster/config/problem.hpp"
#include "lbcluster/config/schema.hpp"

namespace lbcluster::config {

// One interface of this machine with its own addresses. Addresses that heartbeatd itself put there as floating IPs
// are not among them: the caller leaves them out.
struct LocalInterface {
    std::string name;
    std::vector<IpPrefix> addresses;
};

struct Facts {
    std::vector<LocalInterface> interfaces;
};

// One file as read: its messages as written (without defaults) and the places of its values.
struct NodeFile {
    std::string name = "node.yaml";
    NodeConfig config;
    Positions positions;
};
struct ClusterFile {
    std::string name = "cluster.yaml";
    ClusterConfig config;
    Positions positions;
};

// `node` may be absent (checking a cluster.yaml alone), `facts` as well (checking for another machine): then what
// needs them is not checked. Values that are no valid addresses are passed over; the reader reported them.
Problems check(const NodeFile* node, const ClusterFile& cluster, const std::optional<Facts>& facts);
// node.yaml's own rules.
Problems check_node(const NodeFile& node, const std::optional<Facts>& facts);

// The interface of this machine that a floating IP goes to: by name (through node.yaml's `interfaces`), else the one
// whose network contains the address, the longest prefix first. A named interface is returned whether it exists or not.
Result<std::string> resolve_interface(const FloatingIp& floating_ip, const NodeConfig& node, const Facts& facts);

}  // namespace lbcluster::config
