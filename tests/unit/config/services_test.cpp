// Virtual services in the configuration (L4-1, L4-2, L4-6, L7-8, HC-1 to HC-4, OP-1): what is accepted, what is refused
// and how it is told, and what follows from it.
#include "lbcluster/config/services.hpp"

#include <gtest/gtest.h>

#include "lbcluster/config/load.hpp"
#include "lbcluster/config/schema.hpp"
#include "tests/unit/config/loading.hpp"

namespace lbcluster::config {
namespace {

// The one of the specification, both guides in it.
const std::string documented = R"(
virtual_services:
  - label: Papercut_WUI                     # as in the PaperCut guide
    address: 172.24.11.38
    ports: [9191, 9192, 9193]               # numbers, "8000-8010", or all
    protocol: tcp                           # tcp | udp | tcp/udp
    method: dr                              # layer 4: dr | nat | snat | tun; layer 7: proxy
    scheduler: wlc
    check:
      type: negotiate                       # connect (default) | negotiate | ping | external | always_up | always_down
      protocol: http
      port: 9191                            # empty: the first of the service's ports
      request: /api/health/application-server/status?disk-threshold-mb=1&Authorization=KEY
      expect_status: [200]
      standby_status: [503]                 # healthy but not serving
      interval: 30s
      timeout: 5s
      fall: 3
      rise: 2
    real_servers:
      - {label: App_Svr1, address: 172.24.11.36, weight: 100, min_connections: 0, max_connections: 0}
      - {label: App_Svr2, address: 172.24.11.37, state: drain}     # online (default) | drain | halt
  - label: DA_VIP                           # as in the Dynamyx guide
    address: 192.168.86.166
    ports: [9001]
    method: proxy
    mode: tcp                               # tcp | http
    scheduler: leastconn                    # layer 7
    persistence: none
    timeouts: {client: 5m, server: 5m}
    fallback: page
    real_servers:
      - {label: DA1, address: 192.168.86.50, port: 9001}
      - {label: DA2, address: 192.168.86.51, port: 9001}
)";

ClusterConfig read(const std::string& cluster) {
    const LoadResult loaded = load(cluster);
    EXPECT_TRUE(loaded.ok()) << format(loaded.problems);
    return loaded.cluster.config;
}

TEST(Services, TheDocumentedExampleIsAccepted) {
    const LoadResult loaded = load(documented);
    EXPECT_EQ(format(loaded.problems), "");
    const auto& services = loaded.effective_cluster.virtual_services();
    ASSERT_EQ(services.size(), 2);
    EXPECT_EQ(services[0].check().fall(), 3U);
    EXPECT_EQ(services[0].real_servers(1).state(), SERVER_STATE_DRAIN);
    EXPECT_EQ(services[0].real_servers(1).weight(), 100U);
    EXPECT_TRUE(services[1].persistence().none());
    EXPECT_TRUE(services[1].fallback().page());
    EXPECT_EQ(services[1].check().type(), CHECK_TYPE_CONNECT);  // it exists by itself
}

TEST(Services, WhatIsReadIsWrittenTheSame) {
    const ClusterConfig first = read(documented);
    const ClusterConfig again = read(to_yaml(first));
    EXPECT_EQ(first.SerializeAsString(), again.SerializeAsString());
    EXPECT_NE(to_yaml(first).find("persistence: none\n"), std::string::npos);
    EXPECT_NE(to_json(first).find("\"fallback\":\"page\""), std::string::npos);
}

// What `config show` says can be applied, and says the same again.
TEST(Services, WhatIsShownIsValidAndComplete) {
    const std::string texts[] = {
        documented,
        "heartbeat: {profile: fast, vip_lease: 0s}\n"
        "virtual_services:\n"
        "  - {label: a, address: 10.0.0.1, ports: [80], persistence: {source_ip: {}},\n"
        "     real_servers: [{label: s, address: 10.0.0.5}]}\n"
        "  - {label: b, address: \"fd00::1\", ports: [80-90], persistence: {source_ip: {}}, check: {interval: 1s, all: "
        "[\n"
        "     {type: ping}, {type: negotiate, protocol: http, port: 80}, {any: [{type: connect}, {type: external,\n"
        "     command: /bin/true}]}, {at_least: {count: 1, of: [{type: always_up}]}}]}}\n"
        "  - {label: c, address: 10.0.0.3, ports: [80], method: proxy, timeouts: {}, persistence: {source_ip: {}}}\n"
        "  - {label: d, address: 10.0.0.4, ports: [443], method: proxy, mode: http, tls: {certificates: [a.pem],\n"
        "     redirect_http: true, reencrypt: true, server_ca: ca.pem, server_name: a.b}, persistence: {cookie: {}},\n"
        "     proxy_protocol: {accept: true, send: v2}, source: 10.0.0.4, compression: true, manual: d,\n"
        "     headers: [{name: X-A, value: '${client}'}, {in: response, action: delete, name: Server}],\n"
        "     rewrite: [{path: '^/a/(.*)', to: '/b/\\1'}], routes: [{host: '*.a.b', path: /x, service: e}],\n"
        "     timeouts: {connect: 1s, queue: 2s}}\n"
        "  - {label: e, address: 10.0.0.5, ports: [443], method: proxy, mode: http, persistence: {cookie: {name: J,\n"
        "     existing: true}}}\n"
        "  - {label: f, address: 10.0.0.6, ports: [3389], method: proxy, persistence: {rdp_cookie: {}}, tls: "
        "{reencrypt:\n"
        "     true}}\n"
        "  - {label: g, address: 10.0.0.7, ports: [443], method: proxy, persistence: {ssl_id: {timeout: 1h}},\n"
        "     transparent: true}\n"
        "layer7: {page_port: 9000, statistics: {user: me, password: secret}}\n"
        "notifications:\n"
        "  - {label: a, webhook: {url: \"http://a/\"}}\n"
        "  - {label: b, webhook: {url: \"https://a/\"}}\n"
        "  - {label: c, mail: {server: a, from: a@b, to: [a@b]}}\n"
        "  - {label: d, command: {path: /bin/true}}\n"};
    for (const std::string& text : texts) {
        const LoadResult loaded = load(text);
        ASSERT_EQ(format(loaded.problems), "") << text;
        const std::string shown = to_yaml(loaded.effective_cluster);
        const LoadResult again = load(shown);
        EXPECT_EQ(format(again.problems), "") << shown;
        EXPECT_EQ(to_yaml(again.effective_cluster), shown);
    }
    const auto services = load(texts[1]).effective_cluster.virtual_services();
    EXPECT_EQ(services[0].scheduler(), SCHEDULER_WLC);
    EXPECT_EQ(services[0].check().timeout().seconds(), 3);
    EXPECT_EQ(services[0].persistence().source_ip().mask(), 32U);
    EXPECT_FALSE(services[0].has_mode());
    EXPECT_EQ(services[1].persistence().source_ip().mask(), 128U);
    EXPECT_EQ(services[1].check().timeout().seconds(), 1);
    EXPECT_EQ(services[2].scheduler(), SCHEDULER_LEASTCONN);
    EXPECT_EQ(services[2].mode(), MODE_TCP);
    EXPECT_TRUE(services[3].tls().http2());
    EXPECT_EQ(services[3].tls().min_version(), TLS_VERSION_1_2);
}

TEST(Services, SecretsInRequestsAndHeadersAreMasked) {
    ClusterConfig cluster = read(documented);
    Check& check = *cluster.mutable_virtual_services(0)->mutable_check();
    (*check.mutable_headers())["Authorization"] = "Bearer abc";
    (*check.mutable_headers())["Accept"] = "text/plain";
    const std::string shown = to_yaml(cluster, Secrets::masked) + to_json(cluster);
    EXPECT_NE(shown.find("disk-threshold-mb=1&Authorization=***"), std::string::npos) << shown;
    EXPECT_EQ(shown.find("KEY"), std::string::npos) << shown;
    EXPECT_EQ(shown.find("Bearer"), std::string::npos) << shown;
    EXPECT_NE(shown.find("text/plain"), std::string::npos) << shown;
    EXPECT_NE(to_yaml(cluster).find("Authorization=KEY"), std::string::npos);
    check.set_send("GET / HTTP/1.0\\r\\nAuthorization: Basic abc\\r\\nHost: x\\r\\n");
    const std::string sent = to_yaml(cluster, Secrets::masked);
    EXPECT_EQ(sent.find("Basic"), std::string::npos) << sent;
    EXPECT_NE(sent.find("Host: x"), std::string::npos) << sent;
}

TEST(Services, OneValueNeedsNoBrackets) {
    const ClusterConfig cluster = read(
        "virtual_services: [{label: a, address: 10.0.0.1, ports: all, method: nat,"
        " check: {port: 80}}]\n");
    ASSERT_EQ(cluster.virtual_services(0).ports_size(), 1);
    EXPECT_TRUE(parse_port_range(cluster.virtual_services(0).ports(0))->is_all());
    EXPECT_EQ(first_port_of(cluster.virtual_services(0)), 0);
}

TEST(Services, PortsAreNumbersRangesOrAll) {
    EXPECT_EQ(parse_port_range("80"), (PortRange{80, 80}));
    EXPECT_EQ(parse_port_range("8000-8010"), (PortRange{8000, 8010}));
    EXPECT_TRUE(parse_port_range("all")->is_all());
    for (const char* bad : {"", "0", "65536", "80-", "-80", "90-80", "80-90-100", "80 ", "0x50", "http", "+80"}) {
        EXPECT_FALSE(parse_port_range(bad)) << bad;
    }
}

TEST(Services, EachAddressIsAFloatingIpOnce) {
    const ClusterConfig cluster = read(
        "floating_ips: [{address: 10.0.0.1/24, interface: eth3}, {address: 10.0.0.9}]\n"
        "virtual_services:\n"
        "  - {label: a, address: 10.0.0.1, ports: [80]}\n"
        "  - {label: b, address: 10.0.0.2, ports: [80]}\n"
        "  - {label: c, address: 10.0.0.2, ports: [81]}\n"
        "  - {label: d, address: 10.0.0.3, ports: [80], enabled: false}\n");
    std::string all;
    for (const FloatingIp& ip : all_floating_ips(cluster)) all += ip.address() + "," + ip.label() + " ";
    EXPECT_EQ(all, "10.0.0.1/24, 10.0.0.9, 10.0.0.2,b ");
}

TEST(Services, DerivedDefaults) {
    const ClusterConfig cluster = read(
        "virtual_services:\n"
        "  - {label: a, address: 10.0.0.1, ports: [80], check: {interval: 1s},\n"
        "     real_servers: [{label: s, address: 10.0.0.5}, {label: t, address: 10.0.0.6, enabled: false}]}\n"
        "  - {label: b, address: 10.0.0.2, ports: [80], method: proxy,\n"
        "     real_servers: [{label: s, address: 10.0.0.5, port: 8080}]}\n");
    const VirtualService& a = cluster.virtual_services(0);
    const VirtualService& b = cluster.virtual_services(1);
    EXPECT_EQ(scheduler_of(a), SCHEDULER_WLC);
    EXPECT_EQ(scheduler_of(b), SCHEDULER_LEASTCONN);
    EXPECT_EQ(timeout_of(a.check()), Duration{1s});
    EXPECT_EQ(timeout_of(b.check()), Duration{3s});
    EXPECT_EQ(servers_of(a).size(), 1U);
    EXPECT_EQ(port_of(a, a.real_servers(0)), 80);
    EXPECT_EQ(port_of(b, b.real_servers(0)), 8080);
}

// ---- what is refused: the whole text of the first problem ----

struct RefusedCase {
    const char* name;
    std::string service;  // what follows label, address and ports
    std::string problem;
};
class Refused : public testing::TestWithParam<RefusedCase> {};

TEST_P(Refused, WithItsPlaceAndARemedy) {
    const LoadResult loaded =
        load("virtual_services:\n  - {label: a, address: 10.0.0.1, ports: [80], " + GetParam().service + "}\n");
    EXPECT_EQ(loaded.problems.empty() ? "" : format(loaded.problems[0]), GetParam().problem);
}

std::string server(const std::string& text) { return "real_servers: [{label: s, address: 10.0.0.5, " + text + "}]"; }
const std::string at = "cluster.yaml:2:";
const std::string service = ": virtual_services[0]";

INSTANTIATE_TEST_SUITE_P(
    OP1, Refused,
    testing::Values(
        RefusedCase{"MisspeltKey", "schedular: wlc",
                    "cluster.yaml:2:48: 'schedular' is not a key of virtual_services[0]; did you mean 'scheduler'?"},
        RefusedCase{"BadPort", "real_servers: [{label: s, address: 10.0.0.5, port: 70000}]",
                    at + "99" + service + ".real_servers[0].port: 70000 is more than 65535"},
        RefusedCase{
            "WordOfPersistence", "persistence: non",
            at + "61" + ": virtual_services[0].persistence is neither 'none' nor a mapping; did you mean 'none'?"},
        RefusedCase{"ProxyUdp", "method: proxy, protocol: udp",
                    at + "73" + service + ".protocol: layer 7 serves TCP only, not udp; use a layer-4 method for UDP"},
        RefusedCase{
            "Layer7SchedulerOnLayer4", "scheduler: leastconn",
            at + "59" + service +
                ".scheduler: leastconn is a scheduler of layer 7, and dr is layer 4; use wlc, wrr, rr, lc, sed, nq, "
                "sh, dh, lblc, lblcr, mh, fo or ovf"},
        RefusedCase{"PortTranslationWithDr", server("port: 8080"),
                    at + "99" + service +
                        ".real_servers[0].port: dr cannot translate ports; remove it, or use nat, snat or proxy"},
        RefusedCase{
            "CookieOnLayer4", "persistence: {cookie: {name: x}}",
            at + "70" + service + ".persistence.cookie: layer 4 sees addresses only; use source_ip, or method: proxy"},
        RefusedCase{"PageForUdp", "protocol: udp, fallback: page, check: {type: ping}",
                    at + "73" + service + ".fallback: the page is served over TCP only; use {address, port} for UDP"},
        RefusedCase{"UnknownFallbackService", "fallback: {service: b}",
                    at + "68" + service + ".fallback.service: there is no virtual service 'b'"},
        RefusedCase{
            "NegotiateWithoutProtocol", "check: {type: negotiate}",
            at + "55" + service +
                ".check: negotiate needs a protocol; protocol: http, https, smtp, ... see docs/configuration.md"},
        RefusedCase{"KeyOfAnotherProtocol", "check: {type: negotiate, protocol: redis, expect_status: [200]}",
                    at + "105" + service +
                        ".check.expect_status: redis does not use it; remove it, or change type and protocol"},
        RefusedCase{"UdpWithoutAQuestion", "check: {type: negotiate, protocol: udp, expect: x}",
                    at + "55" + service + ".check: udp needs something to send; send: ..."},
        RefusedCase{
            "HeadHasNoBody", "check: {type: negotiate, protocol: http, method: head, expect_text: x}",
            at + "97" + service +
                ".check.method: the answer to head has no body to look for expect_text or expect_regex in; use method: "
                "get, or expect_status alone"},
        RefusedCase{
            "SpaceInARequest", "check: {type: negotiate, protocol: http, request: /a b}",
            at + "98" + service + ".check.request: has a space or a control character in it; write %20 for a space"},
        RefusedCase{
            "RedisDoesNotSwitch", "check: {type: negotiate, protocol: redis, tls: {starttls: true}}",
            at + "106" + service + ".check.tls.starttls: redis does not switch; remove it: TLS from the first byte"},
        RefusedCase{"LdapUserWithoutPassword", "check: {type: negotiate, protocol: ldap, user: a}",
                    at + "55" + service +
                        ".check: a user without a password proves nothing to ldap; password: ..., or no user"},
        RefusedCase{"BadExpression", "check: {type: negotiate, protocol: http, expect_regex: \"(\"}",
                    at + "103" + service + ".check.expect_regex: '(' is not a regular expression: missing ): ("},
        RefusedCase{"TimeoutLongerThanInterval", "check: {interval: 1s, timeout: 2s}",
                    at + "79" + service +
                        ".check.timeout: is longer than the interval; a probe must end before the next one begins"},
        RefusedCase{
            "OwnVipAsServer", "real_servers: [{label: s, address: 10.0.0.1}]",
            at + "83" + service +
                ".real_servers[0].address: is the service's own address; a real server has an address of its own"},
        RefusedCase{"MixedFamilies", "real_servers: [{label: s, address: \"fd00::1\"}]",
                    at + "83" + service + ".real_servers[0].address: dr cannot mix IPv4 and IPv6; use tun or proxy"},
        RefusedCase{
            "GroupWithAType", "check: {type: ping, all: [{type: connect}]}",
            at + "55" + service +
                ".check: is a group of checks and has a type or protocol as well; put that into one of the group"},
        RefusedCase{
            "TimeoutLongerThanTheDefaultInterval", "check: {timeout: 30s}",
            at + "65" + service +
                ".check.timeout: is longer than the interval, which is 4s by default; a probe must end before the "
                "next one begins"},
        RefusedCase{
            "GroupWithARequest", "check: {all: [{type: ping}], request: /x}",
            at + "86" + service + ".check.request: a group of checks does not use it; put it into one of the group"},
        RefusedCase{
            "GroupWithAPort", "check: {any: [{type: ping}], port: 81}",
            at + "83" + service + ".check.port: a group of checks does not use it; put it into one of the group"},
        RefusedCase{
            "GroupWithACommand", "check: {at_least: {count: 1, of: [{type: ping}]}, command: /bin/true}",
            at + "107" + service + ".check.command: a group of checks does not use it; put it into one of the group"},
        RefusedCase{"PingWithAPort", "check: {type: ping, port: 5}",
                    at + "74" + service + ".check.port: ping has no port; remove it, or change the type"},
        RefusedCase{"AlwaysUpWithAPort", "check: {type: always_up, port: 5}",
                    at + "79" + service + ".check.port: always_up has no port; remove it, or change the type"},
        RefusedCase{"RunAsWithoutACommand", "check: {run_as: root}",
                    at + "64" + service + ".check.run_as: only type: external runs a command; remove it"},
        RefusedCase{
            "TheSameServerTwice",
            "method: nat, real_servers: [{label: s, address: 10.0.0.5}, {label: t, address: 10.0.0.5, port: 80}]",
            at + "127" + service +
                ".real_servers[1].address: the same server as real_servers[0] of this service; remove one of them, "
                "or set enabled: false"},
        RefusedCase{"DisabledFallback", server("enabled: false") + ", fallback: {server: s}",
                    at + "130" + service + ".fallback.server: 's' is disabled; enable it, or name another one"},
        RefusedCase{"HeaderInAHeader", "check: {type: negotiate, protocol: http, headers: {A: \"x\\nB: y\"}}",
                    at + "102" + service + ".check.headers.A: has a control character in it"},
        RefusedCase{"HeaderInTheHost", "check: {type: negotiate, protocol: https, host: \"a\\nB: y\"}",
                    at + "96" + service + ".check.host: has a control character in it"},
        RefusedCase{
            "LineInAUser", "check: {type: negotiate, protocol: smtp, user: \"a\\nB\"}",
            at + "95" + service + ".check.user: has a line break or a control character in it; write it in one line"},
        RefusedCase{"ProxyUriWithoutHttp", "method: proxy, scheduler: uri",
                    at + "74" + service + ".scheduler: uri needs mode: http; set it, or use source"},
        RefusedCase{"ProxyTimeTooLong", "method: proxy, timeouts: {client: 700h}",
                    at + "82" + service + ".timeouts.client: is more than 596h, the longest on layer 7"},
        RefusedCase{
            "ProxyMinConnections",
            "method: proxy, real_servers: [{label: s, address: 10.0.0.5, min_connections: 1, max_connections: 2}]",
            at + "125" + service +
                ".real_servers[0].min_connections: only layer 4 has it; remove it: on layer 7 a server is asked again "
                "as soon as it has less than max_connections"},
        RefusedCase{"ForwardedForWithoutHttp", "method: proxy, forwarded_for: true",
                    at + "78" + service +
                        ".forwarded_for: only layer 7 with mode: http adds headers; remove it, or set the mode"},
        RefusedCase{"MaxConnectionsOnLayer4", "max_connections: 5",
                    at + "65" + service +
                        ".max_connections: only layer 7 (method: proxy) has it; real servers have one on layer 4"},
        RefusedCase{"OnDownOnLayer7", "method: proxy, on_down: quiesce",
                    at + "72" + service + ".on_down: only layer 4 has it; remove it"},
        RefusedCase{"FallbackOfTheOtherFamily", "fallback: {address: \"fd00::1\"}",
                    at + "68" + service +
                        ".fallback.address: dr cannot mix IPv4 and IPv6; use an address of the service's family"},
        RefusedCase{"OnePacketForTcp", "one_packet: true",
                    at + "60" + service + ".one_packet: only UDP on layer 4 has it; remove it"},
        RefusedCase{"IntervalInside", "check: {all: [{type: ping, interval: 1s}]}",
                    at + "85" + service + ".check.all[0].interval: belongs to the outer check; move it there"}),
    [](const auto& info) { return info.param.name; });

TEST(Services, ClashesNameBothPlaces) {
    const LoadResult loaded = load(
        "virtual_services:\n"
        "  - {label: a, address: 10.0.0.1, ports: [80, 81]}\n"
        "  - {label: b, address: 10.0.0.1, ports: [\"70-90\"], method: nat}\n"
        "  - {label: c, address: 10.0.0.1, ports: [80], protocol: udp, check: {type: ping}}\n"
        "  - {label: a, address: 10.0.0.2, ports: [80]}\n");
    EXPECT_EQ(format(loaded.problems),
              "cluster.yaml:3:43: virtual_services[1].ports[0]: 10.0.0.1 port 70-90 belongs to virtual_services[0] (a) "
              "already; use another address or port, or set enabled: false on one of them\n"
              "cluster.yaml:5:13: virtual_services[3].label: 'a' is the label of virtual_services[0] already; each "
              "virtual service has its own\n");
}

// L7-8
TEST(Services, AFallbackServiceIsOfTheSameFamily) {
    const LoadResult loaded = load(
        "virtual_services:\n"
        "  - {label: a, address: 10.0.0.1, ports: [80], fallback: {service: b}}\n"
        "  - {label: b, address: \"fd00::1\", ports: [80], method: proxy}\n");
    EXPECT_EQ(
        format(loaded.problems),
        "cluster.yaml:2:68: virtual_services[0].fallback.service: 'b' is of the other IP family; layer 4 cannot mix "
        "them\n");
}

TEST(Services, FallbacksDoNotGoInCircles) {
    const auto chain = [](const std::string& last) {
        return load(
            "virtual_services:\n"
            "  - {label: a, address: 10.0.0.1, ports: [80], method: proxy, fallback: {service: b}}\n"
            "  - {label: b, address: 10.0.0.2, ports: [80], method: proxy, fallback: {service: c}}\n"
            "  - {label: c, address: 10.0.0.3, ports: [80], method: proxy" +
            last + "}\n  - {label: d, address: 10.0.0.4, ports: [80], method: proxy}\n");
    };
    EXPECT_EQ(format(chain("").problems), "");
    EXPECT_EQ(format(chain(", fallback: {service: d}").problems), "");
    const LoadResult circle = chain(", fallback: {service: b}");
    ASSERT_EQ(circle.problems.size(), 2U) << format(circle.problems);
    EXPECT_EQ(format(circle.problems[0]),
              "cluster.yaml:3:83: virtual_services[1].fallback.service: leads back to this service by way of 'c'; let "
              "one of them end the circle");
}

TEST(Services, SnatAndLayer7DoNotShareARealServersPort) {
    const LoadResult loaded = load(
        "virtual_services:\n"
        "  - {label: a, address: 10.0.0.1, ports: [80], method: snat, real_servers: [{label: s, address: 10.0.0.5}]}\n"
        "  - {label: b, address: 10.0.0.2, ports: [80], method: proxy, real_servers: [{label: s, address: 10.0.0.5}]}\n"
        "  - {label: c, address: 10.0.0.3, ports: [81], method: snat, real_servers: [{label: s, address: "
        "10.0.0.5}]}\n");
    EXPECT_EQ(
        format(loaded.problems),
        "cluster.yaml:2:97: virtual_services[0].real_servers[0].address: 10.0.0.5 port 80 is behind layer 7 as well: "
        "virtual_services[1].real_servers[0] (b); a layer-4 SNAT service and a layer-7 service cannot share a real "
        "server's port\n");
}

}  // namespace
}  // namespace lbcluster::config
