#include "heartbeat/setup.hpp"

#include <algorithm>

#include "lbcluster/config/services.hpp"

namespace lbcluster::heartbeat {

namespace {

std::string real_interface(const std::string& name, const config::NodeConfig& node) {
    const auto found = node.interfaces().find(name);
    return found == node.interfaces().end() ? name : found->second;
}

std::string owner_of(const IpAddress& address, const config::Facts& facts) {
    for (const config::LocalInterface& interface : facts.interfaces) {
        for (const IpPrefix& own : interface.addresses) {
            if (own.address == address) return interface.name;
        }
    }
    return "";
}

LinkSetup link_setup(const config::Link& link, const config::NodeConfig& node, const config::Facts& facts) {
    LinkSetup out;
    if (link.has_serial()) {
        out.kind = LinkKind::serial;
        out.device = link.serial();
        out.baud = link.has_baud() ? link.baud() : config::baud_default;
        out.name = link.serial();
        return out;
    }
    // The loader has checked that these are addresses.
    if (auto local = IpAddress::parse(link.local())) out.local = *local;
    if (auto peer = IpAddress::parse(link.peer())) out.peer = *peer;
    out.interface = link.has_interface() ? real_interface(link.interface(), node) : owner_of(out.local, facts);
    out.bound = link.has_interface();
    out.name = (out.interface.empty() ? "" : out.interface + " ") + link.local() + "-" + link.peer();
    return out;
}

Isolation isolation_of(config::Isolation isolation) {
    switch (isolation) {
        case config::ISOLATION_STRICT:
            return Isolation::strict;
        case config::ISOLATION_HOLD:
            return Isolation::hold;
        default:
            return Isolation::auto_;
    }
}

AddressProbe probe_of(config::AddressProbe probe) {
    switch (probe) {
        case config::ADDRESS_PROBE_ARP_ECHO:
            return AddressProbe::arp_echo;
        case config::ADDRESS_PROBE_OFF:
            return AddressProbe::off;
        default:
            return AddressProbe::arp;
    }
}

std::string log_level_of(config::LogLevel level) {
    switch (level) {
        case config::LOG_LEVEL_ERROR:
            return "error";
        case config::LOG_LEVEL_WARNING:
            return "warning";
        case config::LOG_LEVEL_DEBUG:
            return "debug";
        default:
            return "info";
    }
}

}  // namespace

Setup make_setup(const config::LoadResult& loaded, const config::Facts& facts, const std::string& cluster_id) {
    Setup out;
    const config::NodeConfig& node = loaded.effective_node;
    const config::HeartbeatSettings& heartbeat = loaded.heartbeat;
    Settings& s = out.settings;
    s.node = node.node();
    s.primary = node.role() != config::ROLE_SECONDARY;
    s.cluster_id = cluster_id;
    for (const config::Link& link : node.links()) {
        out.links.push_back(link_setup(link, node, facts));
        const LinkSetup& made = out.links.back();
        s.links.push_back({made.name, made.kind, made.interface});
    }
    s.keepalive = heartbeat.keepalive;
    s.warntime = heartbeat.warntime;
    s.deadtime = heartbeat.deadtime;
    s.initdead = heartbeat.initdead;
    s.auto_failback = heartbeat.auto_failback;
    s.failback_delay = heartbeat.failback_delay;
    s.isolation = isolation_of(heartbeat.isolation);
    s.address_probe = probe_of(heartbeat.address_probe);
    s.vip_lease = heartbeat.vip_lease;
    s.ping_nodes = heartbeat.ping_nodes;
    for (const config::FloatingIp& ip : config::all_floating_ips(loaded.effective_cluster)) {
        if (!config::is_on(ip)) continue;
        auto prefix = IpPrefix::parse(ip.address());
        // In the kernel as a host address, whatever its network: an address with a network of its own can become the
        // one that the interface's own address depends on, and takes it along when it goes.
        if (prefix) prefix->length = prefix->address.is_v4() ? 32 : 128;
        const auto interface = config::resolve_interface(ip, node, facts);
        if (prefix && interface) s.floating_ips.push_back({*prefix, *interface, ip.label()});
        else if (prefix) out.without_interface.push_back(prefix->address.to_string());
    }
    for (const config::VirtualService& service : loaded.effective_cluster.virtual_services()) {
        if (service.enabled()) ++out.services;
    }
    std::sort(s.floating_ips.begin(), s.floating_ips.end());
    s.config_revision = loaded.revision;
    out.digest = loaded.digest;
    s.config_digest = std::strtoull(loaded.digest.substr(0, 16).c_str(), nullptr, 16);
    out.port = heartbeat.port;
    out.announce_rate = heartbeat.announce_rate;
    out.announce_refresh = heartbeat.announce_refresh;
    out.log_level = log_level_of(node.log_level());
    return out;
}

bool LinkSetup::same_path(const LinkSetup& other) const {
    return kind == other.kind && bound == other.bound && (!bound || interface == other.interface) &&
           local == other.local && peer == other.peer && device == other.device && baud == other.baud;
}

bool Setup::needs_restart(const Setup& next) const {
    return settings.node != next.settings.node || settings.primary != next.settings.primary ||
           settings.cluster_id != next.settings.cluster_id || port != next.port ||
           !std::equal(links.begin(), links.end(), next.links.begin(), next.links.end(),
                       [](const LinkSetup& a, const LinkSetup& b) { return a.same_path(b); });
}

}  // namespace lbcluster::heartbeat
