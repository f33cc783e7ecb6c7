// Firewall rules as text for nftables: one table of our own, `inet lbcluster`. Pure.
//
// clang-format off
//   prerouting, output   packets to services with a firewall mark get it: one look-up of address, protocol and port,
//                        however many services there are
//   prerouting           what servers answer to clients' addresses that layer 7 asked from (transparent) gets a mark, by
//                        which it is delivered here. Only where such a socket is: that of a reply, so what a server
//                        asks others for goes its way
//   postrouting          snat: what was sent to a service and goes on to a server gets this node's address. What goes
//                        on with the virtual address (direct, tunnel, local delivery) stays as it is.
//                        auto_nat: the same for what real servers send through an interface, but for services' traffic
// clang-format on
//
// postrouting is only there where it is wanted: connection tracking of all traffic comes with it.
#pragma once

#include <string>

#include "forwarder/core/types.hpp"

namespace lbcluster::forward::nft {

inline constexpr const char* table_name = "lbcluster";  // of family inet

// Replaces the whole table when it is run; empty if there are no rules.
std::string render(const Rules& rules);

}  // namespace lbcluster::forward::nft
