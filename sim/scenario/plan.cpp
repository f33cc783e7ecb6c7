#include "sim/scenario/plan.hpp"

#include <algorithm>
#include <set>

namespace lbcluster::sim {

namespace {

constexpr std::uint8_t v4_network = 24;
constexpr std::uint8_t v6_network = 64;
constexpr std::uint8_t client_number = 100;
constexpr std::uint8_t made_up_number = 241;  // of a node where the configuration names no address

std::uint8_t usual_length(const IpAddress& address) { return address.is_v4() ? v4_network : v6_network; }

// So that a contains b, at most the usual length.
std::uint8_t common_length(const IpAddress& a, const IpAddress& b) {
    std::uint8_t length = usual_length(a);
    while (length > 0 && !IpPrefix{a, length}.contains(b)) --length;
    return length;
}

// The address with this last byte in the network of `inside`.
IpAddress numbered(const IpPrefix& inside, std::uint8_t number) {
    const auto bytes = inside.address.bytes();
    if (inside.address.is_v4()) return IpAddress::v4({bytes[0], bytes[1], bytes[2], number});
    std::array<std::uint8_t, 16> out{};
    std::copy_n(bytes.begin(), 8, out.begin());
    out[15] = number;
    return IpAddress::v6(out);
}

bool has_address(const config::LocalInterface& interface, const IpAddress& address) {
    return std::any_of(interface.addresses.begin(), interface.addresses.end(),
                       [&](const IpPrefix& own) { return own.address == address; });
}

config::LocalInterface& interface_named(Cabling& cabling, const std::string& name) {
    for (auto& interface : cabling.interfaces) {
        if (interface.name == name) return interface;
    }
    cabling.interfaces.push_back({name, {}});
    return cabling.interfaces.back();
}

bool is_in(const NetworkPlan& network, const IpAddress& address) {
    return std::any_of(network.subnets.begin(), network.subnets.end(),
                       [&](const IpPrefix& subnet) { return subnet.contains(address); });
}

NetworkPlan* network_of(Loaded& loaded, const IpAddress& address) {
    for (NetworkPlan& network : loaded.networks) {
        if (is_in(network, address)) return &network;
    }
    return nullptr;
}

bool taken(const Loaded& loaded, const IpAddress& address) {
    for (const NetworkPlan& network : loaded.networks) {
        for (const Station& station : network.stations) {
            for (const IpPrefix& own : station.addresses) {
                if (own.address == address) return true;
            }
        }
    }
    return std::any_of(loaded.nodes.begin(), loaded.nodes.end(), [&](const NodePlan& node) {
        const auto& ips = node.setup.settings.floating_ips;
        return std::any_of(ips.begin(), ips.end(), [&](const auto& ip) { return ip.address.address == address; });
    });
}

void place_hosts(Loaded& loaded) {
    for (const Host& host : loaded.scenario.hosts()) {
        loaded.hosts.push_back({host.name(), host.kind(), to_duration(host.probe())});
        for (const std::string& text : host.addresses()) {
            const auto prefix = IpPrefix::parse(text);
            if (!prefix) continue;
            NetworkPlan* network = network_of(loaded, prefix->address);
            if (network == nullptr) continue;
            const IpPrefix own{prefix->address, usual_length(prefix->address)};
            const auto found = std::find_if(network->stations.begin(), network->stations.end(),
                                            [&](const Station& station) { return station.machine == host.name(); });
            if (found != network->stations.end()) found->addresses.push_back(own);
            else network->stations.push_back({host.name(), "eth" + std::to_string(loaded.hosts.size()), {own}});
        }
    }
}

void place_routers(Loaded& loaded) {
    std::set<IpAddress> wanted;
    for (const NodePlan& node : loaded.nodes) {
        wanted.insert(node.setup.settings.ping_nodes.begin(), node.setup.settings.ping_nodes.end());
    }
    std::size_t number = 0;
    for (const IpAddress& address : wanted) {
        if (taken(loaded, address)) continue;
        NetworkPlan* network = network_of(loaded, address);
        if (network == nullptr) {  // beyond a router: as if it stood where the floating IPs are
            for (NetworkPlan& one : loaded.networks) {
                if (one.serves && network == nullptr) network = &one;
            }
        }
        if (network == nullptr && !loaded.networks.empty()) network = &loaded.networks.front();
        if (network == nullptr) continue;
        const std::string name = ++number == 1 ? "gw" : "gw" + std::to_string(number);
        std::vector<IpPrefix> addresses{{address, is_in(*network, address) ? usual_length(address) : std::uint8_t{0}}};
        // A router has an address of each family, as the nodes' caches do not care.
        loaded.hosts.push_back({name, HOST_KIND_ROUTER, 100ms});
        network->stations.push_back({name, "eth0", std::move(addresses)});
    }
}

void place_clients(Loaded& loaded) {
    std::size_t number = 0;
    for (NetworkPlan& network : loaded.networks) {
        if (!network.serves) continue;
        const bool has_client = std::any_of(network.stations.begin(), network.stations.end(), [&](const Station& s) {
            return std::any_of(loaded.hosts.begin(), loaded.hosts.end(), [&](const HostPlan& host) {
                return host.name == s.machine && host.kind == HOST_KIND_CLIENT;
            });
        });
        if (has_client) continue;
        const std::string name = ++number == 1 ? "client" : "client" + std::to_string(number);
        Station station{name, "eth0", {}};
        for (const IpPrefix& subnet : network.subnets) {
            std::uint8_t last = client_number;
            while (taken(loaded, numbered(subnet, last)) && last < 199) ++last;
            station.addresses.push_back({numbered(subnet, last), subnet.length});
        }
        loaded.hosts.push_back({name, HOST_KIND_CLIENT, to_duration(loaded.scenario.model().probe())});
        network.stations.push_back(std::move(station));
    }
}

}  // namespace

Cabling cabling_of(const config::NodeConfig& node, const config::ClusterConfig& cluster, const NodeEntry& given,
                   const std::vector<NetworkEntry>& networks, std::size_t index) {
    Cabling out;
    out.node = node.node();
    for (const auto& [label, interface] : node.interfaces()) out.labels.emplace(interface, label);
    const auto real = [&](const std::string& name) {
        const auto found = node.interfaces().find(name);
        return found == node.interfaces().end() ? name : found->second;
    };
    // The length of the network that the scenario names for it, if it does.
    const auto with_length = [&](const IpAddress& address, std::uint8_t otherwise) {
        for (const NetworkEntry& network : networks) {
            for (const std::string& text : network.subnets()) {
                const auto subnet = IpPrefix::parse(text);
                if (subnet && subnet->contains(address)) return IpPrefix{address, subnet->length};
            }
        }
        return IpPrefix{address, otherwise};
    };
    for (const auto& [interface, text] : given.addresses()) {
        if (const auto prefix = IpPrefix::parse(text)) {
            interface_named(out, real(interface)).addresses.push_back(with_length(prefix->address, prefix->length));
        }
    }
    std::size_t unnamed = 0;
    for (const config::Link& link : node.links()) {
        const auto local = IpAddress::parse(link.local());
        const auto peer = IpAddress::parse(link.peer());
        if (!local || !peer) continue;
        std::string name = link.has_interface() ? real(link.interface()) : "";
        for (const auto& interface : out.interfaces) {
            if (name.empty() && has_address(interface, *local)) name = interface.name;
        }
        if (name.empty()) name = "path" + std::to_string(unnamed++);
        auto& interface = interface_named(out, name);
        if (!has_address(interface, *local)) {
            interface.addresses.push_back(with_length(*local, common_length(*local, *peer)));
        }
    }
    // Where floating IPs are, an address of that family is needed; the lab's nodes have it, too.
    for (const config::FloatingIp& ip : cluster.floating_ips()) {
        const auto prefix = IpPrefix::parse(ip.address());
        if (!prefix || !ip.has_interface()) continue;
        auto& interface = interface_named(out, real(ip.interface()));
        const bool has_family = std::any_of(interface.addresses.begin(), interface.addresses.end(), [&](const auto& a) {
            return a.address.is_v4() == prefix->address.is_v4();
        });
        if (has_family) continue;
        // The same last number as the node has in the other family.
        std::uint8_t number = static_cast<std::uint8_t>(made_up_number + index);
        if (!interface.addresses.empty()) number = interface.addresses.front().address.bytes().back();
        const IpPrefix whole = with_length(prefix->address, usual_length(prefix->address));
        interface.addresses.push_back({numbered(whole, number), whole.length});
    }
    return out;
}

void plan_networks(Loaded& loaded, const std::vector<Cabling>& nodes) {
    for (const NetworkEntry& network : loaded.scenario.networks()) {
        NetworkPlan plan{network.name(), to_duration(network.delay()), {}, {}, false};
        for (const std::string& text : network.subnets()) {
            if (const auto prefix = IpPrefix::parse(text)) plan.subnets.push_back(*prefix);
        }
        loaded.networks.push_back(std::move(plan));
    }
    const bool derived = loaded.networks.empty();
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        for (const config::LocalInterface& interface : nodes[i].interfaces) {
            NetworkPlan* network = nullptr;
            for (const IpPrefix& own : interface.addresses) {
                if (network == nullptr) network = network_of(loaded, own.address);
            }
            if (network == nullptr) {
                if (!derived) continue;  // reported by the caller
                const auto label = nodes[i].labels.find(interface.name);
                loaded.networks.push_back(
                    {label == nodes[i].labels.end() ? interface.name : label->second, 50us, {}, {}, false});
                network = &loaded.networks.back();
            }
            for (const IpPrefix& own : interface.addresses) {
                if (derived && !is_in(*network, own.address)) network->subnets.push_back(own);
            }
            network->stations.push_back({nodes[i].node, interface.name, interface.addresses});
            const auto& ips = loaded.nodes[i].setup.settings.floating_ips;
            for (const auto& ip : ips) network->serves = network->serves || ip.interface == interface.name;
        }
    }
    place_hosts(loaded);
    place_routers(loaded);
    place_clients(loaded);
}

}  // namespace lbcluster::sim
