// Packets with the mark of transparent connections come to this node's own sockets, whoever they are for: a rule that
// sends them to a routing table of ours, and a route in it that says "local" of every address. For each family.
// Each call opens a netlink socket of its own, blocks, and holds no state.
#pragma once

#include "lbcluster/base/result.hpp"

namespace lbcluster::forward::route {

// Both are there.
Result<bool> delivers(bool v6);
// What is there already is added once; removing what is not there succeeds.
Result<void> set_delivery(bool v6, bool wanted);

}  // namespace lbcluster::forward::route
