#include "lbcluster/config/check.hpp"

#include <algorithm>
#include <map>

#include "lbcluster/config/settings.hpp"
#include "lib/config/check_parts.hpp"
#include "lib/config/reflect.hpp"

namespace lbcluster::config {
namespace {

constexpr std::size_t interface_name_max = 15;  // IFNAMSIZ - 1

const LocalInterface* find_interface(const Facts& facts, const std::string& name) {
    const auto found = std::find_if(facts.interfaces.begin(), facts.interfaces.end(),
                                    [&](const LocalInterface& i) { return i.name == name; });
    return found == facts.interfaces.end() ? nullptr : &*found;
}

std::string real_interface(const NodeConfig& node, const std::string& name) {
    const auto found = node.interfaces().find(name);
    return found == node.interfaces().end() ? name : found->second;
}

// All host bits equal `ones`.
bool host_bits_are(const IpPrefix& network, const IpAddress& address, bool ones) {
    const auto bytes = address.bytes();
    for (std::size_t bit = network.length; bit < bytes.size() * 8; ++bit) {
        const bool set = (bytes[bit / 8] >> (7 - bit % 8) & 1) != 0;
        if (set != ones) return false;
    }
    return true;
}

// The network address of a network (IPv6: the subnet-router anycast address, RFC 4291 2.6.1) or IPv4's broadcast.
const char* reserved_in(const IpPrefix& network, const IpAddress& address) {
    const unsigned bits = address.is_v4() ? 32 : 128;
    if (network.length + 2U > bits || !network.contains(address)) return nullptr;
    if (host_bits_are(network, address, false)) return "the network address";
    if (address.is_v4() && host_bits_are(network, address, true)) return "the broadcast address";
    return nullptr;
}

std::string link_path(int i) { return "links[" + std::to_string(i) + "]"; }

void check_serial_link(const Link& link, const std::string& path, const Reporter& report) {
    for (const auto& [given, key] : {std::pair{link.has_interface(), "interface"}, std::pair{link.has_local(), "local"},
                                     std::pair{link.has_peer(), "peer"}}) {
        if (given) {
            report.error(path + "." + key, "a link is either a serial line or UDP, not both",
                         std::string("remove 'serial' or '") + key + "'");
        }
    }
}

void check_udp_link(const Link& link, const std::string& path, const Reporter& report) {
    if (link.has_baud()) report.error(path + ".baud", "only a serial link has a speed", "remove it or add 'serial'");
    if (!link.has_local() && !link.has_peer()) {
        report.error(path, "neither a serial link nor a UDP link", "give 'local' and 'peer', or 'serial'");
        return;
    }
    if (!link.has_local() || !link.has_peer()) {
        report.error(path, std::string("has no '") + (link.has_local() ? "peer" : "local") + "'",
                     "a UDP link needs both addresses");
        return;
    }
    const auto local = IpAddress::parse(link.local());
    const auto peer = IpAddress::parse(link.peer());
    for (const auto& [address, key] : {std::pair{&local, "local"}, std::pair{&peer, "peer"}}) {
        // Loopback stays possible: two nodes on one machine for a test.
        if (!*address || (**address).is_loopback()) continue;
        const char* why = unusable(**address);
        if (why != nullptr) report.error(path + "." + key, (**address).to_string() + " is " + why, "");
    }
    if (!local || !peer) return;
    for (const auto& [address, key] : {std::pair{&local, "local"}, std::pair{&peer, "peer"}}) {
        if (link.has_interface() || (**address).is_v4() || !(**address).is_link_local()) continue;
        report.error(path + "." + key,
                     (**address).to_string() + " is a link-local address, which any interface may have",
                     "say which one by 'interface'");
    }
    if (local->is_v4() != peer->is_v4()) {
        report.error(path + ".peer", "local and peer are of different families", "use IPv4 for both or IPv6 for both");
    } else if (*local == *peer) {
        report.error(path + ".peer", "local and peer are the same address, " + local->to_string(),
                     "peer is the other node's address on this path");
    }
}

void check_link_machine(const NodeConfig& node, const Link& link, const std::string& path, const Facts& facts,
                        const Reporter& report) {
    if (link.has_interface() && find_interface(facts, real_interface(node, link.interface())) == nullptr) {
        report.warning(path + ".interface",
                       "this machine has no interface '" + real_interface(node, link.interface()) + "'",
                       "the link stays down until it appears");
    }
    const auto local = IpAddress::parse(link.local());
    if (!link.has_local() || !local || local->is_loopback()) return;
    const bool owned = std::any_of(facts.interfaces.begin(), facts.interfaces.end(), [&](const LocalInterface& i) {
        return std::any_of(i.addresses.begin(), i.addresses.end(),
                           [&](const IpPrefix& own) { return own.address == *local; });
    });
    if (!owned) {
        report.warning(path + ".local", "this machine does not have the address " + local->to_string(),
                       "the link stays down until it does");
    }
}

void check_links(const NodeConfig& node, const std::optional<Facts>& facts, const Reporter& report) {
    std::map<std::string, int> seen;
    for (int i = 0; i < node.links_size(); ++i) {
        const Link& link = node.links(i);
        const std::string path = link_path(i);
        if (link.has_serial()) {
            check_serial_link(link, path, report);
        } else {
            check_udp_link(link, path, report);
        }
        if (facts) check_link_machine(node, link, path, *facts, report);
        const std::string same = link.has_serial() ? link.serial() : link.local() + " " + link.peer();
        const auto [first, is_new] = seen.emplace(same, i);
        if (!is_new && same != " ") {
            report.error(path, "the same path as " + link_path(first->second), "remove one of them");
        }
    }
    if (node.links_size() == 1) {
        report.warning("links", "only one heartbeat path",
                       "two are advised: with one, a broken cable looks like a dead peer");
    }
}

void check_timers(const ClusterFile& cluster, const Reporter& report) {
    const Heartbeat& given = cluster.config.heartbeat();
    for (const char* timer : {"profile", "keepalive", "warntime", "deadtime", "initdead", "vip_lease"}) {
        // One that the reader refused: what would be compared here is not what was meant.
        const auto* field = Heartbeat::descriptor()->FindFieldByName(timer);
        const bool read = given.GetReflection()->HasField(given, field);
        if (!read && cluster.positions.contains(std::string("heartbeat.") + timer)) return;
    }
    const HeartbeatSettings s = heartbeat_settings(given);
    const auto text = [](Duration d) { return format_duration(d); };
    // Reported at the first of the two values that stands in the file.
    const auto path = [&](const char* first, const char* second) {
        const std::string at = std::string("heartbeat.") + first;
        return cluster.positions.contains(at) ? at : std::string("heartbeat.") + second;
    };
    if (s.warntime < 2 * s.keepalive) {
        report.error(path("warntime", "keepalive"),
                     "warntime " + text(s.warntime) + " is less than twice keepalive (" + text(s.keepalive) + ")",
                     "give at least " + text(2 * s.keepalive));
    }
    if (s.deadtime <= 2 * s.keepalive) {
        report.error(path("deadtime", "keepalive"),
                     "deadtime " + text(s.deadtime) + " is not more than twice keepalive (" + text(s.keepalive) + ")",
                     "three or more keepalives are advised: " + text(3 * s.keepalive));
    } else if (s.warntime >= s.deadtime) {
        report.error(path("warntime", "deadtime"),
                     "warntime " + text(s.warntime) + " is not less than deadtime (" + text(s.deadtime) + ")", "");
    }
    if (s.initdead < s.deadtime) {
        report.error(path("initdead", "deadtime"),
                     "initdead " + text(s.initdead) + " is less than deadtime (" + text(s.deadtime) + ")",
                     "give at least " + text(s.deadtime));
    }
    if (s.vip_lease == Duration{0}) return;
    const Duration lease_min = std::chrono::ceil<seconds>(vip_lease_min(s.deadtime));
    if (s.vip_lease % 1s != Duration{0}) {
        report.error("heartbeat.vip_lease", text(s.vip_lease) + " is not a whole number of seconds",
                     "the kernel counts lifetimes in seconds; give " + text(lease_min) + " or more");
    } else if (s.vip_lease < vip_lease_min(s.deadtime)) {
        report.error(path("vip_lease", "deadtime"), "vip_lease " + text(s.vip_lease) + " is less than deadtime + 1.5s",
                     "give at least " + text(lease_min) + ", or 0s to do without");
    }
}

// A heartbeat of about 350 bytes, 10 bits a byte on the line, must be gone before the next one.
void check_serial_speed(const NodeFile& node, const ClusterFile& cluster, const Reporter& report) {
    constexpr std::int64_t heartbeat_bits = 350 * 10;
    const HeartbeatSettings s = heartbeat_settings(cluster.config.heartbeat());
    for (int i = 0; i < node.config.links_size(); ++i) {
        const Link& link = node.config.links(i);
        if (!link.has_serial()) continue;
        const std::int64_t baud = link.has_baud() ? link.baud() : baud_default;
        const Duration takes = Duration(heartbeat_bits * 1'000'000'000 / std::max<std::int64_t>(baud, 1));
        if (takes <= s.keepalive) continue;
        report.warning(link_path(i) + (link.has_baud() ? ".baud" : ""),
                       "a heartbeat takes " + format_duration(std::chrono::ceil<milliseconds>(takes)) + " at " +
                           std::to_string(baud) + " bit/s, longer than keepalive (" + format_duration(s.keepalive) +
                           ")",
                       "heartbeats on this line go out as often as it takes them; raise baud or keepalive");
    }
}

// Addresses that belong to one of the two nodes, and what they are there.
OwnAddresses node_addresses(const NodeFile* node, const std::optional<Facts>& facts) {
    OwnAddresses own;
    if (facts) {
        for (const LocalInterface& interface : facts->interfaces) {
            for (const IpPrefix& prefix : interface.addresses) {
                own.emplace(prefix.address, "the own address of this machine's interface " + interface.name);
            }
        }
    }
    if (node == nullptr) return own;
    for (int i = 0; i < node->config.links_size(); ++i) {
        const Link& link = node->config.links(i);
        const auto local = IpAddress::parse(link.local());
        const auto peer = IpAddress::parse(link.peer());
        if (link.has_local() && local) own.emplace(*local, "this node's own address on " + link_path(i));
        if (link.has_peer() && peer) own.emplace(*peer, "the peer's own address on " + link_path(i));
    }
    return own;
}

void check_interface(const FloatingIp& floating_ip, const std::string& path, const NodeFile& node, const Facts& facts,
                     const Reporter& report) {
    if (!floating_ip.has_interface()) {
        const auto resolved = resolve_interface(floating_ip, node.config, facts);
        if (!resolved) report.momentary_error(path + ".address", resolved.error().message, resolved.error().hint);
        return;
    }
    const std::string name = real_interface(node.config, floating_ip.interface());
    if (name.size() > interface_name_max) {
        report.error(path + ".interface",
                     "'" + name + "' is longer than an interface's name can be and not one of node.yaml's interfaces",
                     "add it to 'interfaces' in node.yaml");
    } else if (find_interface(facts, name) == nullptr) {
        report.warning(path + ".interface", "this machine has no interface '" + name + "'",
                       "the address waits until it appears");
    }
}

void check_floating_ips(const NodeFile* node, const ClusterFile& cluster, const std::optional<Facts>& facts,
                        const Reporter& report) {
    const auto own = node_addresses(node, facts);
    std::map<IpAddress, int> seen;
    for (int i = 0; i < cluster.config.floating_ips_size(); ++i) {
        const FloatingIp& floating_ip = cluster.config.floating_ips(i);
        const std::string path = "floating_ips[" + std::to_string(i) + "]";
        const auto prefix = IpPrefix::parse(floating_ip.address());
        if (!floating_ip.has_address() || !prefix) continue;
        const IpAddress& address = prefix->address;
        const std::string text = address.to_string();
        const auto [first, is_new] = seen.emplace(address, i);
        if (!is_new) {
            report.error(path + ".address", text + " is floating_ips[" + std::to_string(first->second) + "] already",
                         "remove one of them");
            continue;
        }
        const char* why = unusable(address);
        if (why == nullptr) why = reserved_in(*prefix, address);
        if (why == nullptr && facts) {
            for (const LocalInterface& interface : facts->interfaces) {
                for (const IpPrefix& network : interface.addresses) {
                    if (why == nullptr) why = reserved_in(network, address);
                }
            }
        }
        if (why != nullptr) {
            report.error(path + ".address", text + " is " + why, "a floating IP is an address of its own in a LAN");
            continue;
        }
        const auto owner = own.find(address);
        if (owner != own.end()) {
            report.error(path + ".address", text + " is " + owner->second,
                         "a floating IP must belong to neither node alone; choose a free address");
            continue;
        }
        if (facts && node != nullptr) check_interface(floating_ip, path, *node, *facts, report);
    }
}

void check_ping_nodes(const NodeFile* node, const ClusterFile& cluster, const std::optional<Facts>& facts,
                      const Reporter& report) {
    auto taken = node_addresses(node, facts);
    for (int i = 0; i < cluster.config.floating_ips_size(); ++i) {
        const auto prefix = IpPrefix::parse(cluster.config.floating_ips(i).address());
        if (prefix) taken.emplace(prefix->address, "floating_ips[" + std::to_string(i) + "]");
    }
    for (const VirtualService& service : cluster.config.virtual_services()) {
        const auto address = IpAddress::parse(service.address());
        if (address) taken.emplace(*address, "the address of virtual service " + service.label());
    }
    const Heartbeat& heartbeat = cluster.config.heartbeat();
    std::map<IpAddress, int> seen;
    for (int i = 0; i < heartbeat.ping_nodes_size(); ++i) {
        const auto address = IpAddress::parse(heartbeat.ping_nodes(i));
        if (!address) continue;
        const std::string path = "heartbeat.ping_nodes[" + std::to_string(i) + "]";
        const auto [first, is_new] = seen.emplace(*address, i);
        const auto owner = taken.find(*address);
        const char* why = unusable(*address);
        const std::string hint =
            "a ping node is a third machine, best a router, that tells whether this one is cut off";
        if (!is_new) {
            report.error(path, address->to_string() + " is ping_nodes[" + std::to_string(first->second) + "] already",
                         "remove one of them");
        } else if (why != nullptr) {
            report.error(path, address->to_string() + " is " + why, hint);
        } else if (!address->is_v4() && address->is_link_local()) {
            report.error(path, address->to_string() + " is a link-local address, which any interface may have",
                         "use the machine's other address");
        } else if (owner != taken.end()) {
            report.error(path, address->to_string() + " is " + owner->second, hint);
        }
    }
    if (heartbeat.ping_nodes_size() == 0 && node != nullptr && node->config.links_size() > 0) {
        report.warning("heartbeat", "no ping_nodes",
                       "without one a node cannot tell a dead peer from being cut off itself; name the router");
    }
}

}  // namespace

const char* unusable(const IpAddress& address) {
    if (address.is_unspecified()) return "the unspecified address";
    if (address.is_loopback()) return "a loopback address";
    if (address.is_multicast()) return "a multicast address";
    if (address.is_v4() && address.bytes()[0] >= 240) return "a reserved address";
    return nullptr;
}

Result<std::string> resolve_interface(const FloatingIp& floating_ip, const NodeConfig& node, const Facts& facts) {
    if (floating_ip.has_interface()) return real_interface(node, floating_ip.interface());
    const auto prefix = IpPrefix::parse(floating_ip.address());
    if (!prefix) return prefix.error();
    const LocalInterface* best = nullptr;
    int best_length = -1;
    for (const LocalInterface& interface : facts.interfaces) {
        for (const IpPrefix& network : interface.addresses) {
            // A host route of our own says nothing about the network behind the interface.
            if (network.length == (network.address.is_v4() ? 32 : 128)) continue;
            if (!network.contains(prefix->address) || network.length <= best_length) continue;
            best = &interface;
            best_length = network.length;
        }
    }
    if (best != nullptr) return best->name;
    return Error{prefix->address.to_string() + " is in no network of this machine's interfaces",
                 "give 'interface', or put an address of that network on one", 0};
}

Problems check_node(const NodeFile& node, const std::optional<Facts>& facts) {
    Problems problems;
    const Reporter report(node.name, node.positions, problems);
    for (const auto& [name, interface] : node.config.interfaces()) {
        const std::string path = "interfaces." + name;
        if (interface.size() > interface_name_max) {
            report.error(path, "'" + interface + "' is longer than an interface's name can be",
                         "at most 15 characters");
        } else if (facts && find_interface(*facts, interface) == nullptr) {
            report.warning(path, "this machine has no interface '" + interface + "'",
                           "addresses on it wait until it appears");
        }
    }
    check_links(node.config, facts, report);
    return problems;
}

Problems check(const NodeFile* node, const ClusterFile& cluster, const std::optional<Facts>& facts) {
    Problems problems;
    if (node != nullptr) {
        problems = check_node(*node, facts);
        check_serial_speed(*node, cluster, Reporter(node->name, node->positions, problems));
    }
    const Reporter report(cluster.name, cluster.positions, problems);
    check_timers(cluster, report);
    check_floating_ips(node, cluster, facts, report);
    check_services(node, cluster, facts, node_addresses(node, facts), report);
    check_notifications(cluster.config, report);
    check_ping_nodes(node, cluster, facts, report);
    std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
        if (a.file != b.file) return a.file < b.file;
        return a.line != b.line ? a.line < b.line : a.column < b.column;
    });
    return problems;
}

}  // namespace lbcluster::config
