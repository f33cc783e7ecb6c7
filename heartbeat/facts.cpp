// What this machine has, from the kernel's answers. Apart from setup.cpp, which needs no kernel.
#include "heartbeat/net/address_keeper.hpp"
#include "heartbeat/setup.hpp"

namespace lbcluster::heartbeat {

config::Facts facts_of(const std::vector<net::Link>& links, const std::vector<net::Address>& addresses) {
    config::Facts facts;
    for (const net::Link& link : links) {
        config::LocalInterface interface{link.name, {}};
        for (const net::Address& address : addresses) {
            if (address.ifindex == link.index && !is_marked_ours(address))
                interface.addresses.push_back(address.prefix);
        }
        facts.interfaces.push_back(std::move(interface));
    }
    return facts;
}

}  // namespace lbcluster::heartbeat
