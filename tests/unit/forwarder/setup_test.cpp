// From the configuration to what layer 4 does (L4-1 to L4-7, HA-8, OP-9: the PaperCut guide's services).
#include "forwarder/setup.hpp"

#include <gtest/gtest.h>

#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward {
namespace {

using namespace test;

Spec spec_of(const std::string& cluster, const std::string& node = "node: lb1\n", const NodeFacts& facts = {}) {
    const config::LoadResult loaded = config::load_texts(node, cluster, "cluster.yaml", std::nullopt);
    EXPECT_TRUE(loaded.ok()) << config::format(loaded.problems);
    const Setup setup = make_setup(loaded);
    return make_spec(setup.cluster, setup.node_config, facts);
}

TEST(Setup, ThePapercutGuide) {
    const Spec spec = spec_of(R"(
virtual_services:
  - label: Papercut_WUI
    address: 172.24.11.38
    ports: [9191, 9192, 9193]
    real_servers:
      - {label: App_Svr1, address: 172.24.11.36}
      - {label: App_Svr2, address: 172.24.11.37, state: drain, drain_until: "2026-11-21T14:30:00Z"}
  - label: Mobility
    address: 172.24.11.39
    ports: [53, 9163, 9164]
    protocol: tcp/udp
    method: snat
    persistence: {source_ip: {}}
    check: {port: 9163}
    real_servers: [{label: PS1, address: 172.24.11.40, weight: 7, min_connections: 1, max_connections: 2}]
)");
    ASSERT_EQ(spec.services.size(), 2U);
    const ServiceSpec& web = spec.services[0];
    EXPECT_EQ(web.traffic, (Traffic{ip("172.24.11.38"), true, false, {{9191, 9191}, {9192, 9192}, {9193, 9193}}}));
    EXPECT_EQ(web.method, Method::dr);
    EXPECT_EQ(web.scheduler, "wlc");
    EXPECT_FALSE(web.persistence);
    EXPECT_EQ(web.servers[0], server("App_Svr1", "172.24.11.36"));
    EXPECT_EQ(web.servers[1].state, State::drain);
    EXPECT_EQ(web.servers[1].drain_until_ms, parse_rfc3339("2026-11-21T14:30:00Z"));
    const ServiceSpec& mobility = spec.services[1];
    EXPECT_TRUE(mobility.traffic.tcp && mobility.traffic.udp);
    EXPECT_EQ(mobility.method, Method::snat);
    EXPECT_EQ(mobility.persistence, (Persistence{300s, 32}));
    EXPECT_EQ(mobility.servers[0].weight, 7U);
    EXPECT_EQ(mobility.servers[0].min_connections, 1U);
    EXPECT_EQ(mobility.servers[0].max_connections, 2U);
}

TEST(Setup, OnlyLayer4AndWhatIsEnabled) {
    const Spec spec = spec_of(R"(
virtual_services:
  - {label: seven, address: 10.0.0.1, ports: 80, method: proxy}
  - {label: off, address: 10.0.0.2, ports: 80, enabled: false}
  - label: on
    address: 10.0.0.3
    ports: all
    protocol: udp
    check: {type: ping}
    on_down: quiesce
    one_packet: true
    scheduler: sh
    real_servers: [{label: a, address: 10.0.0.5, enabled: false}, {label: b, address: 10.0.0.6, state: halt}]
)");
    ASSERT_EQ(spec.services.size(), 1U);
    const ServiceSpec& on = spec.services[0];
    EXPECT_EQ(on.label, "on");
    EXPECT_EQ(on.traffic.ports, (std::vector<Ports>{{1, 65535}}));
    EXPECT_TRUE(on.quiesce);
    EXPECT_TRUE(on.one_packet);
    EXPECT_EQ(on.scheduler, "sh");
    ASSERT_EQ(on.servers.size(), 1U);
    EXPECT_EQ(on.servers[0].state, State::halt);
}

TEST(Setup, Fallbacks) {  // L4-6
    const Spec spec = spec_of(R"(
virtual_services:
  - {label: seven, address: 10.0.0.1, ports: 80, method: proxy}
  - {label: off, address: 10.0.0.9, ports: 80, method: proxy, enabled: false}
  - {label: page, address: 10.0.0.2, ports: 80, fallback: page}
  - {label: server, address: 10.0.0.3, ports: 80, fallback: {server: a}, real_servers: [{label: a, address: 10.0.0.50}]}
  - {label: service, address: 10.0.0.4, ports: [80, 81], fallback: {service: seven, port: 0}}
  - {label: address, address: 10.0.0.5, ports: 80, fallback: {address: 10.0.0.60, port: 8080, method: snat}}
  - {label: same, address: 10.0.0.6, ports: 80, method: tun, fallback: {address: 10.0.0.60}}
  - {label: disabled, address: 10.0.0.7, ports: 80, fallback: {service: off}}
)");
    using Kind = FallbackSpec::Kind;
    ASSERT_EQ(spec.services.size(), 6U);
    const auto fallback = [&](std::size_t i) { return spec.services[i].fallback; };
    EXPECT_EQ(fallback(0).kind, Kind::page);
    EXPECT_EQ(fallback(1).kind, Kind::server);
    EXPECT_EQ(fallback(1).server, "a");
    EXPECT_EQ(fallback(2), (FallbackSpec{Kind::address, "", ip("10.0.0.1"), 0, Method::nat}));
    EXPECT_EQ(fallback(3), (FallbackSpec{Kind::address, "", ip("10.0.0.60"), 8080, Method::snat}));
    EXPECT_EQ(fallback(4), (FallbackSpec{Kind::address, "", ip("10.0.0.60"), 0, Method::tun}));
    EXPECT_EQ(fallback(5).kind, Kind::none);
}

TEST(Setup, TheNode) {
    const std::string cluster =
        "forwarding: {auto_nat: [wan, eth5], tcp_timeout: 30m, udp_timeout: 31s}\nvirtual_services: []\n";
    const std::string links =
        "links:\n  - {serial: /dev/ttyS0}\n  - {local: 10.78.0.11, peer: 10.78.0.12}\n  - {local: 10.77.0.11, peer: "
        "10.77.0.12}\n";
    NodeFacts facts;
    facts.interface_of[ip("10.78.0.11")] = "eth1";
    facts.interfaces = {"eth0", "eth1"};
    Spec spec = spec_of(cluster, "node: lb1\ninterfaces: {wan: eth0}\n" + links, facts);
    EXPECT_EQ(spec.node.auto_nat, (std::vector<std::string>{"eth0", "eth5"}));
    EXPECT_EQ(spec.node.timeouts, (Timeouts{1800s, 0s, 31s}));
    EXPECT_EQ(spec.node.interfaces, facts.interfaces);
    EXPECT_EQ(spec.node.sync_interface, "eth1");  // HA-8
    EXPECT_GT(spec.node.sync_id, 0);
    const auto id = spec.node.sync_id;
    // The peer comes to the same number.
    spec = spec_of(cluster, "node: lb2\nlinks: [{interface: eth7, local: 10.78.0.12, peer: 10.78.0.11}]\n");
    EXPECT_EQ(spec.node.sync_id, id);
    EXPECT_EQ(spec.node.sync_interface, "eth7");
    spec = spec_of(cluster, "node: lb1\ninterfaces: {sync: eth9}\nsync_interface: sync\n" + links, facts);
    EXPECT_EQ(spec.node.sync_interface, "eth9");
    EXPECT_EQ(spec_of(cluster).node.sync_interface, "");  // no peer
}

// Layer 7: the Dynamyx guide's services, and what follows from keys that are not given (L7-1 to L7-4, L7-9).
TEST(Setup, ProxyServices) {
    const config::LoadResult loaded =
        config::load_texts("node: lb1\nlinks: [{serial: /dev/ttyS0}, {local: 10.78.0.11, peer: 10.78.0.12}]\n", R"(
virtual_services:
  - label: DA_VIP
    address: 192.168.86.166
    ports: [9001]
    method: proxy
    timeouts: {client: 5m, server: 5m}
    real_servers: [{label: DA1, address: 192.168.86.50, port: 9002}, {label: off, address: 192.168.86.51, enabled: false}]
  - {label: https, address: 192.168.86.166, ports: [443], method: proxy, persistence: {source_ip: {timeout: 30m}}}
  - {label: web, address: 192.168.86.166, ports: [80, 81], method: proxy, mode: http, scheduler: header,
     persistence: {cookie: {}}, max_connections: 9, fallback: page}
  - {label: bare, address: 192.168.86.166, ports: [82], method: proxy, mode: http, forwarded_for: false, enabled: true}
  - {label: gone, address: 192.168.86.166, ports: [83], method: proxy, enabled: false}
  - {label: four, address: 192.168.86.167, ports: ["80-82"], fallback: page}
)",
                           "cluster.yaml", std::nullopt);
    ASSERT_TRUE(loaded.ok()) << config::format(loaded.problems);
    const auto setup = make_setup(loaded);
    const ProxySpec spec = make_proxy_spec(setup.cluster, setup.node_config, "");
    ASSERT_EQ(spec.services.size(), 4U);
    const ProxyServiceSpec& da = spec.services[0];
    EXPECT_EQ(da.ports, std::vector<std::uint16_t>{9001});
    EXPECT_FALSE(da.http || da.forwarded_for || da.persistence);
    EXPECT_EQ(da.balance, "leastconn");
    EXPECT_EQ(da.client_timeout, 300s);
    EXPECT_EQ(da.server_timeout, 300s);
    ASSERT_EQ(da.servers.size(), 1U);
    EXPECT_EQ(da.servers[0].port, 9002);
    EXPECT_EQ(spec.services[1].persistence, (Persistence{1800s, 32}));
    EXPECT_EQ(spec.services[1].client_timeout, 43s);
    EXPECT_EQ(spec.services[1].server_timeout, 45s);
    const ProxyServiceSpec& web = spec.services[2];
    EXPECT_TRUE(web.http && web.forwarded_for);
    EXPECT_EQ(web.cookie, "SERVERID");
    EXPECT_EQ(web.balance, "header");
    EXPECT_EQ(web.max_connections, 9U);
    EXPECT_EQ(web.fallback.kind, FallbackSpec::Kind::page);
    EXPECT_FALSE(spec.services[3].forwarded_for);
    EXPECT_EQ(spec.peers, (ProxyPeers{ip("10.78.0.11"), ip("10.78.0.12")}));  // HA-8
    EXPECT_EQ(spec.page_places, (std::vector<PagePlace>{{"four", ip("192.168.86.167"), {{80, 82}}}}));
    EXPECT_NE(spec.page.find("<html>"), std::string::npos);
    EXPECT_EQ(make_proxy_spec(setup.cluster, setup.node_config, "<p>ours</p>").page, "<p>ours</p>");
}

TEST(Setup, WhatOnlyLayer7Has) {  // L7-2 to L7-6
    const config::LoadResult loaded = config::load_texts("node: lb1\n", R"(
virtual_services:
  - label: web
    address: 10.0.0.1
    ports: [443]
    method: proxy
    mode: http
    tls: {certificates: [a.pem], redirect_http: true, min_version: "1.3", reencrypt: true, server_ca: ca.pem, server_name: a.b}
    proxy_protocol: {accept: true, send: v1}
    source: 10.0.0.1
    headers: [{name: A, value: b}, {in: response, action: delete, name: C}, {action: add, name: D, value: e}]
    rewrite: [{path: "^/a", to: /b}]
    routes: [{host: a.b, path: [/c, /d], service: other}]
    compression: true
    manual: own
    persistence: {cookie: {name: J, existing: true, timeout: 1h}}
    timeouts: {connect: 100ms, queue: 9s}
  - {label: other, address: 10.0.0.2, ports: [80], method: proxy, mode: http, persistence: {cookie: {}}}
  - {label: rdp, address: 10.0.0.2, ports: [81], method: proxy, proxy_protocol: {send: v2}, persistence: {rdp_cookie: {}}}
  - {label: ssl, address: 10.0.0.2, ports: [82], method: proxy, persistence: {ssl_id: {timeout: 2h}}}
layer7: {peers_port: 1, page_port: 2, statistics: {port: 3, user: u, password: p}}
)",
                                                         "cluster.yaml", std::nullopt);
    ASSERT_TRUE(loaded.ok()) << config::format(loaded.problems);
    const auto setup = make_setup(loaded);
    const std::map<std::string, std::string> files{{"certs/a.pem", "A"},
                                                   {"certs/ca.pem", "CA"},
                                                   {"certs/unused.pem", "U"},
                                                   {"haproxy/own", "x\nfrontend\ny\n"},
                                                   {"haproxy/additions.cfg", "frontend z\n"}};
    const ProxySpec spec = make_proxy_spec(setup.cluster, setup.node_config, "", files);
    ASSERT_EQ(spec.services.size(), 4U);
    const ProxyServiceSpec& web = spec.services[0];
    EXPECT_EQ(web.tls, (TlsSpec{{"a.pem"}, "1.3", true, true, true, "ca.pem", "a.b"}));
    EXPECT_TRUE(web.accept_proxy);
    EXPECT_EQ(web.send_proxy, 1U);
    EXPECT_EQ(web.source, ip("10.0.0.1"));
    EXPECT_EQ(web.headers, (std::vector<HeaderSpec>{{false, HeaderSpec::Action::set, "A", "b"},
                                                    {true, HeaderSpec::Action::remove, "C", ""},
                                                    {false, HeaderSpec::Action::add, "D", "e"}}));
    EXPECT_EQ(web.rewrite, (std::vector<RewriteSpec>{{"^/a", "/b"}}));
    EXPECT_EQ(web.routes, (std::vector<RouteSpec>{{{"a.b"}, {"/c", "/d"}, "other"}}));
    EXPECT_TRUE(web.compression);
    EXPECT_EQ(web.backend_lines, (std::vector<ManualLine>{{"x", "files/haproxy/own line 1"}}));
    EXPECT_EQ(web.frontend_lines, (std::vector<ManualLine>{{"y", "files/haproxy/own line 3"}}));
    EXPECT_TRUE(web.cookie.empty());
    EXPECT_EQ(web.keep_by, KeepBy::cookie);
    EXPECT_EQ(web.keep_cookie, "J");
    EXPECT_EQ(web.keep_timeout, 1h);
    EXPECT_EQ(web.connect_timeout, 100ms);
    EXPECT_EQ(web.queue_timeout, 9s);
    EXPECT_EQ(spec.services[1].cookie, "SERVERID");
    EXPECT_EQ(spec.services[1].keep_by, KeepBy::nothing);
    EXPECT_EQ(spec.services[2].send_proxy, 2U);
    EXPECT_EQ(spec.services[2].keep_by, KeepBy::rdp);
    EXPECT_EQ(spec.services[2].keep_timeout, 30min);
    EXPECT_EQ(spec.services[3].keep_by, KeepBy::ssl_id);
    EXPECT_EQ(spec.services[3].keep_timeout, 2h);
    EXPECT_EQ(spec.certificates, (std::map<std::string, std::string>{{"a.pem", "A"}, {"ca.pem", "CA"}}));
    EXPECT_EQ(spec.additions, (std::vector<ManualLine>{{"frontend z", "files/haproxy/additions.cfg line 1"}}));
    EXPECT_EQ(spec.peers_port, 1);
    EXPECT_EQ(spec.page_port, 2);
    EXPECT_EQ(spec.statistics, (StatisticsSpec{3, "u", "p"}));
}

TEST(Setup, TransparentServersAreKnownByAddressAndPort) {  // L7-4
    const config::LoadResult loaded = config::load_texts("node: lb1\n", R"(
virtual_services:
  - {label: a, address: 10.0.0.1, ports: [80, 81], method: proxy, transparent: true, real_servers: [{label: s, address: 10.0.0.5}]}
  - {label: b, address: "fd00::1", ports: [80], method: proxy, transparent: true, real_servers: [{label: s, address: "fd00::5", port: 8080}]}
  - {label: c, address: 10.0.0.2, ports: [80], method: proxy, real_servers: [{label: s, address: 10.0.0.6}]}
  - {label: d, address: 10.0.0.3, ports: [80], method: proxy, transparent: true, enabled: false, real_servers: [{label: s, address: 10.0.0.7}]}
)",
                                                         "cluster.yaml", std::nullopt);
    ASSERT_TRUE(loaded.ok()) << config::format(loaded.problems);
    const auto setup = make_setup(loaded);
    const ProxySpec proxies = make_proxy_spec(setup.cluster, setup.node_config, "");
    ASSERT_EQ(proxies.services.size(), 3U);
    EXPECT_TRUE(proxies.services[0].transparent && proxies.services[1].transparent);
    EXPECT_FALSE(proxies.services[2].transparent);
    const Spec spec = make_spec(setup.cluster, setup.node_config, {});
    EXPECT_TRUE(spec.services.empty());
    const std::set<std::pair<IpAddress, std::uint16_t>> servers{
        {ip("10.0.0.5"), 80}, {ip("10.0.0.5"), 81}, {ip("fd00::5"), 8080}};
    EXPECT_EQ(spec.node.transparent, servers);
    EXPECT_EQ(plan_rules(spec, {}).transparent, servers);
}

TEST(Setup, Verdicts) {
    bus::ServerHealth health;
    health.set_health("up");
    health.set_weight_percent(75);
    EXPECT_EQ(verdict_of(health), (Verdict{Health::up, 75, Wish::none}));
    health.set_health("standby");
    health.set_feedback_state("drain");
    EXPECT_EQ(verdict_of(health), (Verdict{Health::standby, 75, Wish::drain}));
    health.set_health("down");
    health.set_feedback_state("down");
    EXPECT_EQ(verdict_of(health), (Verdict{Health::down, 75, Wish::down}));
    health.set_health("unknown");
    EXPECT_EQ(verdict_of(health).health, Health::unknown);
}

}  // namespace
}  // namespace lbcluster::forward
