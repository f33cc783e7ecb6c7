#include "forwarder/setup.hpp"

#include <algorithm>

#include "lbcluster/config/manual.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"

namespace lbcluster::forward {

namespace {

constexpr const char* plain_page =
    "<!DOCTYPE html>\n<html><head><title>Service unavailable</title></head>\n"
    "<body><h1>The service is not available just now</h1><p>Please try again later.</p></body></html>\n";

Method method_of(config::Method method) {
    switch (method) {
        case config::METHOD_NAT:
            return Method::nat;
        case config::METHOD_SNAT:
            return Method::snat;
        case config::METHOD_TUN:
            return Method::tun;
        default:
            return Method::dr;
    }
}

State state_of(config::ServerState state) {
    switch (state) {
        case config::SERVER_STATE_DRAIN:
            return State::drain;
        case config::SERVER_STATE_HALT:
            return State::halt;
        default:
            return State::online;
    }
}

seconds whole_seconds(const google::protobuf::Duration& value) { return seconds{value.seconds()}; }

FallbackSpec fallback_of(const config::ClusterConfig& cluster, const config::VirtualService& service) {
    FallbackSpec out;
    const config::Fallback& fallback = service.fallback();
    if (fallback.page()) {
        out.kind = FallbackSpec::Kind::page;
    } else if (fallback.has_server()) {
        out.kind = FallbackSpec::Kind::server;
        out.server = fallback.server();
    } else if (fallback.has_address() || fallback.has_service()) {
        std::string address = fallback.address();
        for (const config::VirtualService& other : cluster.virtual_services()) {
            if (fallback.has_service() && other.label() == fallback.service() && config::is_on(other))
                address = other.address();
        }
        const auto parsed = IpAddress::parse(address);
        if (!parsed) return out;  // that service is disabled
        out.kind = FallbackSpec::Kind::address;
        out.address = *parsed;
        out.port = static_cast<std::uint16_t>(fallback.port());
        out.method = fallback.has_service() ? Method::nat
                                            : method_of(fallback.has_method() ? fallback.method() : service.method());
    }
    return out;
}

ServerSpec server_of(const config::RealServer& server, const IpAddress& address) {
    ServerSpec out;
    out.label = server.label();
    out.address = address;
    out.port = static_cast<std::uint16_t>(server.port());
    out.weight = server.has_weight() ? server.weight() : 100;
    out.min_connections = server.min_connections();
    out.max_connections = server.max_connections();
    out.state = state_of(server.state());
    if (server.has_drain_until()) out.drain_until_ms = parse_rfc3339(server.drain_until());
    return out;
}

std::optional<Persistence> persistence_of(const config::VirtualService& service, bool v6) {
    if (!service.persistence().has_source_ip()) return std::nullopt;
    const config::SourceIpPersistence& given = service.persistence().source_ip();
    Persistence persistence;
    if (given.has_timeout()) persistence.timeout = whole_seconds(given.timeout());
    persistence.mask_bits = given.has_mask() ? given.mask() : (v6 ? 128 : 32);
    return persistence;
}

ServiceSpec service_of(const config::ClusterConfig& cluster, const config::VirtualService& service,
                       const IpAddress& address) {
    ServiceSpec out;
    out.label = service.label();
    out.traffic.address = address;
    out.traffic.tcp = service.protocol() != config::PROTOCOL_UDP;
    out.traffic.udp = service.protocol() == config::PROTOCOL_UDP || service.protocol() == config::PROTOCOL_TCP_UDP;
    for (const std::string& text : service.ports()) {
        if (const auto range = config::parse_port_range(text)) out.traffic.ports.push_back({range->first, range->last});
    }
    out.method = method_of(service.method());
    out.scheduler = config::written_text(config::scheduler_of(service));
    out.persistence = persistence_of(service, address.is_v6());
    out.one_packet = service.one_packet();
    out.quiesce = service.on_down() == config::ON_DOWN_QUIESCE;
    out.fallback = fallback_of(cluster, service);
    for (const config::RealServer* server : config::servers_of(service)) {
        const auto parsed = IpAddress::parse(server->address());
        if (parsed) out.servers.push_back(server_of(*server, *parsed));
    }
    return out;
}

std::string real_name(const config::NodeConfig& node, const std::string& name) {
    const auto found = node.interfaces().find(name);
    return found == node.interfaces().end() ? name : found->second;
}

void find_sync(const config::NodeConfig& node, const NodeFacts& facts, NodeSpec& out) {
    const auto link = std::find_if(node.links().begin(), node.links().end(),
                                   [](const config::Link& one) { return one.has_local() && one.has_peer(); });
    if (node.links().empty()) return;  // no peer
    if (link != node.links().end()) {
        const auto local = IpAddress::parse(link->local());
        const auto peer = IpAddress::parse(link->peer());
        if (!local || !peer) return;
        const std::string both = std::min(*local, *peer).to_string() + " " + std::max(*local, *peer).to_string();
        out.sync_id = static_cast<std::uint8_t>(stable_hash(both) % 255 + 1);
        const auto own = facts.interface_of.find(*local);
        if (link->has_interface()) out.sync_interface = real_name(node, link->interface());
        else if (own != facts.interface_of.end()) out.sync_interface = own->second;
    }
    if (!node.has_sync_interface()) return;
    out.sync_interface = real_name(node, node.sync_interface());
    if (out.sync_id == 0) out.sync_id = 1;
}

std::string log_level_of(config::LogLevel level) {
    return level == config::LOG_LEVEL_UNSPECIFIED ? "info" : config::written_text(level);
}

milliseconds time_of(const google::protobuf::Duration& given) {
    return milliseconds(given.seconds() * 1000 + given.nanos() / 1000000);
}

TlsSpec tls_of(const config::VirtualService& service) {
    const config::Tls& given = service.tls();
    TlsSpec out;
    out.certificates.assign(given.certificates().begin(), given.certificates().end());
    if (given.has_min_version()) out.min_version = config::written_text(given.min_version());
    out.http2 = service.mode() == config::MODE_HTTP && (!given.has_http2() || given.http2());
    out.redirect_http = given.redirect_http();
    out.reencrypt = given.reencrypt();
    out.server_ca = given.server_ca();
    out.server_name = given.server_name();
    return out;
}

void keep_by(const config::Persistence& given, ProxyServiceSpec& out) {
    const auto take = [&](KeepBy by, const auto& one) {
        out.keep_by = by;
        if (one.has_timeout()) out.keep_timeout = time_of(one.timeout());
    };
    if (given.has_rdp_cookie()) take(KeepBy::rdp, given.rdp_cookie());
    if (given.has_ssl_id()) take(KeepBy::ssl_id, given.ssl_id());
    if (!given.has_cookie()) return;
    const std::string name = given.cookie().has_name() ? given.cookie().name() : "SERVERID";
    if (given.cookie().existing()) {
        take(KeepBy::cookie, given.cookie());
        out.keep_cookie = name;
    } else {
        out.cookie = name;
    }
}

void http_rules(const config::VirtualService& service, ProxyServiceSpec& out) {
    for (const config::HeaderRule& rule : service.headers()) {
        const auto action = rule.action() == config::HEADER_ACTION_ADD      ? HeaderSpec::Action::add
                            : rule.action() == config::HEADER_ACTION_DELETE ? HeaderSpec::Action::remove
                                                                            : HeaderSpec::Action::set;
        out.headers.push_back({rule.in() == config::HEADER_SIDE_RESPONSE, action, rule.name(), rule.value()});
    }
    for (const config::RewriteRule& rule : service.rewrite()) out.rewrite.push_back({rule.path(), rule.to()});
    for (const config::Route& route : service.routes()) {
        out.routes.push_back(
            {{route.host().begin(), route.host().end()}, {route.path().begin(), route.path().end()}, route.service()});
    }
    out.compression = service.compression();
}

std::vector<ManualLine> known_by_place(const std::vector<config::NumberedLine>& lines, const std::string& file) {
    std::vector<ManualLine> out;
    for (const config::NumberedLine& one : lines) {
        out.push_back({one.text, "files/" + file + " line " + std::to_string(one.number)});
    }
    return out;
}

// What of the files the service needs.
void take_files(const config::VirtualService& service, const std::map<std::string, std::string>& files,
                ProxyServiceSpec& out, std::map<std::string, std::string>& certificates) {
    const auto need = [&](const std::string& name) {
        const auto found = files.find(config::certificate_folder + name);
        if (found != files.end()) certificates.emplace(name, found->second);
    };
    for (const std::string& name : out.tls.certificates) need(name);
    if (!out.tls.server_ca.empty()) need(out.tls.server_ca);
    if (!service.has_manual()) return;
    const std::string file = config::manual_folder + service.manual();
    const auto found = files.find(file);
    if (found == files.end()) return;
    const config::ManualPiece piece = config::parse_manual(found->second);
    out.frontend_lines = known_by_place(piece.frontend, file);
    out.backend_lines = known_by_place(piece.backend, file);
}

ProxyServiceSpec proxy_service_of(const config::ClusterConfig& cluster, const config::VirtualService& service,
                                  const IpAddress& address) {
    ProxyServiceSpec out;
    out.label = service.label();
    out.address = address;
    for (const std::string& text : service.ports()) {
        if (const auto range = config::parse_port_range(text)) out.ports.push_back(range->first);
    }
    out.http = service.mode() == config::MODE_HTTP;
    out.balance = config::written_text(config::scheduler_of(service));
    out.persistence = persistence_of(service, address.is_v6());
    keep_by(service.persistence(), out);
    if (service.timeouts().has_client()) out.client_timeout = time_of(service.timeouts().client());
    if (service.timeouts().has_server()) out.server_timeout = time_of(service.timeouts().server());
    out.forwarded_for = out.http && (!service.has_forwarded_for() || service.forwarded_for());
    if (service.timeouts().has_connect()) out.connect_timeout = time_of(service.timeouts().connect());
    if (service.timeouts().has_queue()) out.queue_timeout = time_of(service.timeouts().queue());
    if (service.has_tls()) out.tls = tls_of(service);
    out.accept_proxy = service.proxy_protocol().accept();
    if (service.proxy_protocol().has_send()) {
        out.send_proxy = service.proxy_protocol().send() == config::PROXY_PROTOCOL_VERSION_V1 ? 1 : 2;
    }
    if (const auto source = IpAddress::parse(service.source())) out.source = *source;
    out.transparent = service.transparent();
    http_rules(service, out);
    out.max_connections = service.max_connections();
    out.fallback = fallback_of(cluster, service);
    for (const config::RealServer* server : config::servers_of(service)) {
        const auto parsed = IpAddress::parse(server->address());
        if (parsed) out.servers.push_back(server_of(*server, *parsed));
    }
    return out;
}

// Where answers to clients' addresses come from.
void take_transparent(const ProxyServiceSpec& service, NodeSpec& out) {
    for (const ServerSpec& server : service.servers) {
        if (server.port != 0) out.transparent.emplace(server.address, server.port);
        else
            for (const std::uint16_t port : service.ports) out.transparent.emplace(server.address, port);
    }
}

}  // namespace

Setup make_setup(const config::LoadResult& loaded) {
    Setup out;
    out.node = loaded.effective_node.node();
    out.log_level = log_level_of(loaded.effective_node.log_level());
    out.revision = loaded.revision;
    out.digest = loaded.digest;
    out.node_config = loaded.effective_node;
    out.cluster = loaded.effective_cluster;
    for (const auto& [name, bytes] : loaded.files) {
        if (name.starts_with(config::manual_folder) || name.starts_with(config::certificate_folder))
            out.files.emplace(name, bytes);
    }
    return out;
}

Spec make_spec(const config::ClusterConfig& cluster, const config::NodeConfig& node, const NodeFacts& facts) {
    Spec out;
    for (const config::VirtualService& service : cluster.virtual_services()) {
        const auto address = IpAddress::parse(service.address());
        if (!config::is_on(service) || !address) continue;
        if (config::is_layer7(service)) {
            if (service.transparent()) take_transparent(proxy_service_of(cluster, service, *address), out.node);
            continue;
        }
        out.services.push_back(service_of(cluster, service, *address));
    }
    const config::Forwarding& forwarding = cluster.forwarding();
    for (const std::string& name : forwarding.auto_nat()) out.node.auto_nat.push_back(real_name(node, name));
    out.node.timeouts = {whole_seconds(forwarding.tcp_timeout()), whole_seconds(forwarding.tcp_fin_timeout()),
                         whole_seconds(forwarding.udp_timeout())};
    out.node.interfaces = facts.interfaces;
    out.node.listens_to_routers = facts.listens_to_routers;
    find_sync(node, facts, out.node);
    return out;
}

ProxySpec make_proxy_spec(const config::ClusterConfig& cluster, const config::NodeConfig& node, const std::string& page,
                          const std::map<std::string, std::string>& files) {
    ProxySpec out;
    out.page = page.empty() ? plain_page : page;
    for (const config::VirtualService& service : cluster.virtual_services()) {
        const auto address = IpAddress::parse(service.address());
        if (!config::is_on(service) || !address) continue;
        if (config::is_layer7(service)) {
            out.services.push_back(proxy_service_of(cluster, service, *address));
            take_files(service, files, out.services.back(), out.certificates);
        } else if (service.fallback().page()) {
            const ServiceSpec layer4 = service_of(cluster, service, *address);
            out.page_places.push_back({layer4.label, *address, layer4.traffic.ports});
        }
    }
    const config::Layer7& layer7 = cluster.layer7();
    if (layer7.has_peers_port()) out.peers_port = static_cast<std::uint16_t>(layer7.peers_port());
    if (layer7.has_page_port()) out.page_port = static_cast<std::uint16_t>(layer7.page_port());
    if (layer7.has_statistics()) {
        out.statistics = StatisticsSpec{7777, layer7.statistics().user(), layer7.statistics().password()};
        if (layer7.statistics().has_port())
            out.statistics->port = static_cast<std::uint16_t>(layer7.statistics().port());
    }
    const auto additions = files.find(config::additions_file);
    if (additions != files.end()) {
        std::optional<config::NumberedLine> refused;
        out.additions = known_by_place(config::parse_additions(additions->second, refused), config::additions_file);
    }
    for (const config::Link& link : node.links()) {
        const auto local = IpAddress::parse(link.local());
        const auto peer = IpAddress::parse(link.peer());
        if (!local || !peer || out.peers) continue;
        out.peers = ProxyPeers{*local, *peer};
    }
    return out;
}

Verdict verdict_of(const bus::ServerHealth& health) {
    Verdict out;
    out.health = health.health() == "up"        ? Health::up
                 : health.health() == "down"    ? Health::down
                 : health.health() == "standby" ? Health::standby
                                                : Health::unknown;
    out.percent = health.weight_percent();
    out.wish = health.feedback_state() == "drain"  ? Wish::drain
               : health.feedback_state() == "down" ? Wish::down
                                                   : Wish::none;
    return out;
}

}  // namespace lbcluster::forward
