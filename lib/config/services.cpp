#include "lbcluster/config/services.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include "lbcluster/base/address.hpp"
#include "lib/config/reflect.hpp"

namespace lbcluster::config {

namespace {

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc{} || end != text.data() + text.size() || port == 0) return std::nullopt;
    return port;
}

}  // namespace

std::optional<PortRange> parse_port_range(std::string_view text) {
    if (text == "all") return PortRange{1, 65535};
    const std::size_t dash = text.find('-');
    const auto first = parse_port(text.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_port(text.substr(dash + 1));
    if (!first || !last || *first > *last) return std::nullopt;
    return PortRange{*first, *last};
}

bool is_layer7_scheduler(Scheduler scheduler) { return scheduler >= SCHEDULER_LEASTCONN; }

Scheduler scheduler_of(const VirtualService& service) {
    if (service.has_scheduler()) return service.scheduler();
    return is_layer7(service) ? SCHEDULER_LEASTCONN : SCHEDULER_WLC;
}

std::vector<const RealServer*> servers_of(const VirtualService& service) {
    std::vector<const RealServer*> servers;
    for (const RealServer& server : service.real_servers()) {
        if (is_on(server)) servers.push_back(&server);
    }
    return servers;
}

ServerState effective_state(const RealServer& server, std::uint64_t now_ms) {
    const ServerState state = server.has_state() ? server.state() : SERVER_STATE_ONLINE;
    if (state != SERVER_STATE_DRAIN || !server.has_drain_until()) return state;
    const auto until = parse_rfc3339(server.drain_until());
    return until && now_ms >= *until ? SERVER_STATE_HALT : state;
}

std::uint16_t first_port_of(const VirtualService& service) {
    if (service.ports().empty()) return 0;
    const auto range = parse_port_range(service.ports(0));
    return range && !range->is_all() ? range->first : 0;
}

std::uint16_t port_of(const VirtualService& service, const RealServer& server) {
    return server.has_port() ? static_cast<std::uint16_t>(server.port()) : first_port_of(service);
}

Duration timeout_of(const Check& check) {
    const Duration interval = check.has_interval() ? duration_of(check.interval()) : Duration{4s};
    return check.has_timeout() ? duration_of(check.timeout()) : std::min<Duration>(3s, interval);
}

std::vector<FloatingIp> all_floating_ips(const ClusterConfig& cluster) {
    std::vector<FloatingIp> all(cluster.floating_ips().begin(), cluster.floating_ips().end());
    std::set<IpAddress> known;
    for (const FloatingIp& ip : all) {
        if (const auto prefix = IpPrefix::parse(ip.address())) known.insert(prefix->address);
    }
    for (const VirtualService& service : cluster.virtual_services()) {
        if (!is_on(service)) continue;
        const auto address = IpAddress::parse(service.address());
        if (!address || !known.insert(*address).second) continue;
        FloatingIp ip;
        ip.set_address(address->to_string());
        ip.set_enabled(true);
        ip.set_label(service.label());
        all.push_back(std::move(ip));
    }
    return all;
}

}  // namespace lbcluster::config
