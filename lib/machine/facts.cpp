#include "lbcluster/machine/facts.hpp"

#include "lbcluster/net/netlink.hpp"

namespace lbcluster {

std::optional<config::Facts> machine_facts(const std::set<IpPrefix>& floating) {
    auto netlink = net::Netlink::open();
    if (!netlink) return std::nullopt;
    const auto links = netlink->links();
    const auto addresses = netlink->addresses();
    if (!links || !addresses) return std::nullopt;
    config::Facts facts;
    for (const net::Link& link : *links) {
        config::LocalInterface interface{link.name, {}};
        for (const net::Address& address : *addresses) {
            if (address.ifindex != link.index) continue;
            const bool leased = address.valid.has_value() && floating.contains(address.prefix);
            if (!address.ours() && !leased) interface.addresses.push_back(address.prefix);
        }
        facts.interfaces.push_back(std::move(interface));
    }
    return facts;
}

}  // namespace lbcluster
