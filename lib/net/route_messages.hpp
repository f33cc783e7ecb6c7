// rtnetlink messages to values, shared by requests and events. Bounded by the message's own length, which the caller
// has checked against the bytes received.
#pragma once

#include <linux/netlink.h>

#include <optional>

#include "lbcluster/net/netlink.hpp"

namespace lbcluster::net {

std::optional<Link> parse_link(nlmsghdr* message);
std::optional<Address> parse_address(nlmsghdr* message);
std::optional<Neighbor> parse_neighbor(nlmsghdr* message);

}  // namespace lbcluster::net
