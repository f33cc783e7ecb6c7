// Layer 7's pure core: what HAProxy shall do with each server, the text for it, and the way from what it has (L7-1 to
// L7-4, L7-7, L7-9, HC-5).
#include "forwarder/core/proxy.hpp"

#include <gmock/gmock.h>

#include "forwarder/core/proxy_text.hpp"
#include "forwarder/core/proxy_view.hpp"
#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward {
namespace {

using namespace test;
using testing::ElementsAre;

ProxyServiceSpec proxy(const std::string& label, const std::vector<std::string>& servers) {
    ProxyServiceSpec out;
    out.label = label;
    out.address = ip("10.0.0.100");
    out.ports = {80};
    for (const std::string& one : servers)
        out.servers.push_back(server("s" + std::to_string(out.servers.size() + 1), one));
    return out;
}

// "ready 100", "ready", "maint", "maint ends"
std::string state_text(const ProxyServerState& state) {
    if (state.ready) return state.weight == 0 ? "ready" : "ready " + std::to_string(state.weight);
    return state.ends_sessions ? "maint ends" : "maint";
}

struct ServerRow {
    const char* name;
    State wish;
    std::uint32_t weight;
    Verdict verdict;
    const char* state;
};

class ProxyServerRow : public testing::TestWithParam<ServerRow> {};

TEST_P(ProxyServerRow, Becomes) {
    ProxyServiceSpec spec = proxy("web", {"10.0.0.1"});
    spec.servers[0].state = GetParam().wish;
    spec.servers[0].weight = GetParam().weight;
    ProxyStates states;
    const auto plan = plan_proxy_service(spec, {GetParam().verdict}, 0, states);
    EXPECT_EQ(state_text(states.at({"web", "s1"})), GetParam().state);
    EXPECT_EQ(plan.serves, std::string(GetParam().state).starts_with("ready"));
}

INSTANTIATE_TEST_SUITE_P(
    L7, ProxyServerRow,
    testing::Values(ServerRow{"Up", State::online, 100, {Health::up, 100, Wish::none}, "ready 100"},
                    ServerRow{"HalfByItsAgent", State::online, 100, {Health::up, 50, Wish::none}, "ready 50"},
                    ServerRow{"NeverLessThanOne", State::online, 10, {Health::up, 1, Wish::none}, "ready 1"},
                    ServerRow{"AgentSaysNothing", State::online, 10, {Health::up, 0, Wish::none}, "maint"},
                    ServerRow{"WeightZero", State::online, 0, {Health::up, 100, Wish::none}, "maint"},
                    ServerRow{"Unknown", State::online, 100, {}, "maint"},
                    ServerRow{"Drain", State::drain, 100, {Health::up, 100, Wish::none}, "maint"},
                    ServerRow{"AgentDrains", State::online, 100, {Health::up, 100, Wish::drain}, "maint"},
                    ServerRow{"DownWinsOverDrain", State::drain, 100, {Health::down, 100, Wish::none}, "maint ends"},
                    ServerRow{"Down", State::online, 100, {Health::down, 100, Wish::none}, "maint ends"},
                    ServerRow{"Standby", State::online, 100, {Health::standby, 100, Wish::none}, "maint ends"},
                    ServerRow{"AgentSaysDown", State::online, 100, {Health::up, 100, Wish::down}, "maint ends"},
                    ServerRow{"Halt", State::halt, 100, {Health::up, 100, Wish::none}, "maint ends"}),
    [](const auto& row) { return row.param.name; });

TEST(Proxy, FallbackAnswersWhileNobodyElseCan) {
    ProxyServiceSpec spec = proxy("web", {"10.0.0.1"});
    ProxyStates states;
    EXPECT_FALSE(plan_proxy_service(spec, {down()}, 0, states).fallback);
    EXPECT_FALSE(states.contains({"web", proxy_fallback_name}));
    spec.fallback.kind = FallbackSpec::Kind::page;
    EXPECT_TRUE(plan_proxy_service(spec, {down()}, 0, states).fallback);
    EXPECT_FALSE(plan_proxy_service(spec, {up()}, 0, states).fallback);
    // A server as its own service's fallback answers though it is down, but not against the operator's wish.
    spec.fallback = {FallbackSpec::Kind::server, "s1", {}, 0, Method::nat};
    EXPECT_TRUE(plan_proxy_service(spec, {down()}, 0, states).fallback);
    spec.servers[0].state = State::halt;
    EXPECT_FALSE(plan_proxy_service(spec, {down()}, 0, states).fallback);
    EXPECT_EQ(state_text(states.at({"web", proxy_fallback_name})), "maint ends");
}

TEST(ProxyCore, WhatIsKnownStays) {
    ProxySpec spec{{proxy("web", {"10.0.0.1", "10.0.0.2"})}, {}, "", {}};
    ProxyCore core;
    core.configure(spec, 0);
    EXPECT_EQ(state_text(core.states().at({"web", "s1"})), "maint");
    core.on_health("web", "s1", ip("10.0.0.1"), up());
    core.on_health("web", "s2", ip("10.9.9.9"), up());  // of another machine
    EXPECT_TRUE(core.catch_up(0));
    EXPECT_FALSE(core.catch_up(0));
    EXPECT_EQ(state_text(core.states().at({"web", "s1"})), "ready 100");
    EXPECT_EQ(state_text(core.states().at({"web", "s2"})), "maint");
    core.on_health("web", "s1", ip("10.0.0.1"), {});  // nothing new
    EXPECT_FALSE(core.catch_up(0));
    // A new name, another service: what is known of the place.
    spec.services[0].label = "shop";
    spec.services[0].servers[0].label = "first";
    core.configure(spec, 0);
    EXPECT_EQ(state_text(core.states().at({"shop", "first"})), "ready 100");
    // Another address: nothing is known.
    spec.services[0].servers[0].address = ip("10.0.0.7");
    core.configure(spec, 0);
    EXPECT_EQ(state_text(core.states().at({"shop", "first"})), "maint");
}

TEST(ProxyCore, AfterAStartWhatHaproxyHasIsWhatWasKnown) {
    ProxyCore core;
    core.configure({{proxy("web", {"10.0.0.1", "10.0.0.2", "10.0.0.3"})}, {}, "", {}}, 0);
    core.on_health("web", "s3", ip("10.0.0.3"), down());
    core.catch_up(0);
    core.adopt({{{"web", "s1"}, {true, 50, false}}, {{"web", "s2"}, {}}, {{"web", "s3"}, {true, 100, false}}}, 0);
    EXPECT_EQ(state_text(core.states().at({"web", "s1"})), "ready 50");
    EXPECT_EQ(state_text(core.states().at({"web", "s2"})), "maint");
    EXPECT_EQ(state_text(core.states().at({"web", "s3"})), "maint ends");  // healthd was quicker
    // What is ready at another address tells nothing.
    core.configure({{proxy("web", {"10.0.0.4"})}, {}, "", {}}, 0);
    core.adopt({{{"web", "s1"}, {true, 100, false, DestinationKey{ip("10.0.0.1"), 80}}}}, 0);
    EXPECT_EQ(state_text(core.states().at({"web", "s1"})), "maint");
    core.adopt({{{"web", "s1"}, {true, 100, false, DestinationKey{ip("10.0.0.4"), 80}}}}, 0);
    EXPECT_EQ(state_text(core.states().at({"web", "s1"})), "ready 100");
}

TEST(ProxyCore, ADrainEndsAtItsTime) {  // HC-5
    ProxySpec spec{{proxy("web", {"10.0.0.1"})}, {}, "", {}};
    spec.services[0].servers[0].state = State::drain;
    spec.services[0].servers[0].drain_until_ms = 5000;
    ProxyCore core;
    core.configure(spec, 1000);
    core.on_health("web", "s1", ip("10.0.0.1"), up());
    core.catch_up(1000);
    EXPECT_EQ(state_text(core.states().at({"web", "s1"})), "maint");
    EXPECT_EQ(core.next_deadline_ms(), 5000U);
    EXPECT_TRUE(core.catch_up(5000));
    EXPECT_EQ(state_text(core.states().at({"web", "s1"})), "maint ends");
    EXPECT_FALSE(core.next_deadline_ms());
}

// ---- text ----

const ProxyPlace here{"/run/lb", "haproxy", "haproxy", 5000};

ProxySpec everything() {
    ProxyServiceSpec web = proxy("Web.shop_1", {"10.0.0.1", "10.0.0.2"});
    web.http = true;
    web.ports = {80, 8080};
    web.balance = "header";
    web.cookie = "SRV";
    web.forwarded_for = true;
    web.max_connections = 200;
    web.client_timeout = 300s;
    web.server_timeout = 1500ms;
    web.servers[1].max_connections = 7;
    web.fallback.kind = FallbackSpec::Kind::page;
    ProxyServiceSpec tcp = proxy("DA_VIP", {"fd00::5"});
    tcp.address = ip("fd00::100");
    tcp.ports = {9001};
    tcp.balance = "static";
    tcp.persistence = Persistence{1800s, 64};
    tcp.servers[0].port = 9002;
    tcp.fallback = {FallbackSpec::Kind::server, "s1", {}, 0, Method::nat};
    ProxySpec spec{{web, tcp}, ProxyPeers{ip("10.78.0.11"), ip("10.78.0.12")}, "<p>no</p>", {}};
    spec.page_places = {{"four", ip("10.0.0.101"), {{80, 80}, {8000, 8010}}}};
    return spec;
}

TEST(ProxyText, Snapshot) {
    const ProxyText text = render_proxy(everything(), here);
    EXPECT_EQ(text.loaded({{{"Web.shop_1", "s1"}, {true, 42, false}},
                           {{"Web.shop_1", ":fallback"}, {true, 0, false}},
                           {{"DA_VIP", "s1"}, {true, 0, false}}}),
              "global\n"
              "    description lbcluster " +
                  text.hash +
                  "\n"
                  R"(    maxconn 5000
    no strict-limits
    mworker-max-reloads 50
    stats socket '/run/lb/haproxy.sock' mode 600 level admin expose-fd listeners
    user 'haproxy'
    group 'haproxy'
    localpeer 10.78.0.11
defaults
    timeout connect 4s
    timeout queue 4s
    timeout client 43s
    timeout server 45s
    retries 3
    option redispatch 1
peers lbcluster:peers
    bind ipv4@10.78.0.11:7778 transparent
    server 10.78.0.11
    server 10.78.0.12 ipv4@10.78.0.12:7778
frontend lbcluster:page
    mode http
    bind ipv4@*:9081
    bind ipv4@10.0.0.101:80 transparent
    bind ipv4@10.0.0.101:8000-8010 transparent
    timeout http-request 10s
    # 659da98695979ed9
    http-request return status 503 content-type "text/html; charset=utf-8" file '/run/lb/haproxy-page.html'
frontend Web.shop_1:in
    mode http
    bind ipv4@10.0.0.100:80 transparent
    bind ipv4@10.0.0.100:8080 transparent
    maxconn 200
    timeout client 300000ms
    timeout http-request 10000ms
    default_backend Web.shop_1
backend Web.shop_1
    mode http
    balance hdr(Host)
    hash-type consistent
    timeout server 1500ms
    option forwardfor
    cookie SRV insert indirect nocache httponly
    server s1 ipv4@10.0.0.1 cookie s1 weight 42
    server s2 ipv4@10.0.0.2 cookie s2 maxconn 7 disabled
    server :fallback ipv4@127.0.0.1:9081 backup non-stick
frontend DA_VIP:in
    mode tcp
    bind ipv6@[fd00::100]:9001 transparent
    timeout client 43000ms
    default_backend DA_VIP
backend DA_VIP
    mode tcp
    balance static-rr
    timeout server 45000ms
    stick-table type ipv6 size 1m expire 1800000ms peers lbcluster:peers
    stick on src,ipmask(32,64)
    server s1 ipv6@[fd00::5]:9002 weight 100
    server :fallback ipv6@[fd00::5]:9002 backup non-stick disabled
)");
}

// The client's address may be used by root alone, before HAProxy 2.9; a fallback elsewhere is asked as ever.
TEST(ProxyText, TransparentServicesAskFromTheClientsAddress) {  // L7-4
    ProxySpec spec;
    spec.services = {proxy("web", {"10.0.0.1", "fd00::1"}), proxy("own", {"10.0.0.1"})};
    spec.services[0].transparent = true;
    spec.services[0].fallback = {FallbackSpec::Kind::address, "", ip("10.0.0.9"), 80, Method::nat};
    const auto text = [&] { return render_proxy(spec, {"/run/lb", "haproxy", "haproxy", 5000}).loaded({}); };
    EXPECT_THAT(text(), testing::HasSubstr("    .if version_atleast(2.9)\n    setcap cap_net_raw\n    user 'haproxy'\n"
                                           "    group 'haproxy'\n    .endif\n"));
    EXPECT_THAT(text(),
                testing::HasSubstr("server s1 ipv4@10.0.0.1:80 source ipv4@0.0.0.0 usesrc clientip disabled\n"));
    EXPECT_THAT(text(), testing::HasSubstr("server s2 ipv6@[fd00::1]:80 source ipv6@[::] usesrc clientip disabled\n"));
    EXPECT_THAT(text(), testing::HasSubstr("server :fallback ipv4@10.0.0.9:80 backup non-stick disabled\n"));
    EXPECT_THAT(text(), testing::HasSubstr("server s1 ipv4@10.0.0.1:80 disabled\n"));
    spec.services[0].fallback = {FallbackSpec::Kind::server, "s1", {}, 0, Method::nat};
    EXPECT_THAT(text(),
                testing::HasSubstr("server :fallback ipv4@10.0.0.1:80 source ipv4@0.0.0.0 usesrc clientip backup"));
    spec.services.erase(spec.services.begin());
    EXPECT_THAT(text(), testing::Not(testing::HasSubstr(".if")));
    EXPECT_THAT(text(), testing::HasSubstr("    user 'haproxy'\n"));
}

// What a service can have beside that, each thing at its place.
ProxySpec ornate() {
    ProxyServiceSpec web = proxy("web", {"10.0.0.1"});
    web.http = true;
    web.ports = {8443, 443};
    web.forwarded_for = true;
    web.connect_timeout = 1500ms;
    web.queue_timeout = 60s;
    web.tls = {{"b.pem", "a.pem"}, "1.3", true, true, true, "ca.pem", "in.example.org"};
    web.accept_proxy = true;
    web.send_proxy = 2;
    web.source = ip("10.0.0.100");
    web.headers = {{false, HeaderSpec::Action::set, "X-Who", "100% ${client}:${client_port} ${host}${path}"},
                   {true, HeaderSpec::Action::add, "Via", "it's ${address} ${port}"},
                   {true, HeaderSpec::Action::remove, "Server", ""}};
    web.rewrite = {{"^/old/(.*)$", "/new%20/\\1"}};
    web.routes = {{{"www.example.org", "*.example.net"}, {"/shop", "/cart/"}, "shop"}, {{}, {}, "all"}};
    web.compression = true;
    web.keep_by = KeepBy::cookie;
    web.keep_cookie = "JSESSIONID";
    web.frontend_lines = {{"option httplog", "files/haproxy/web line 2"}};
    web.backend_lines = {{"option http-pretend-keepalive", "files/haproxy/web line 4"}};
    web.fallback.kind = FallbackSpec::Kind::page;
    ProxyServiceSpec rdp = proxy("rdp", {"10.0.0.1"});
    rdp.ports = {3389};
    rdp.send_proxy = 1;
    rdp.tls.reencrypt = true;
    rdp.keep_by = KeepBy::rdp;
    rdp.fallback = {FallbackSpec::Kind::server, "s1", {}, 0, Method::nat};
    ProxyServiceSpec ssl = proxy("ssl", {"10.0.0.1"});
    ssl.ports = {443};
    ssl.keep_by = KeepBy::ssl_id;
    ssl.keep_timeout = 60s;
    ProxySpec spec;
    spec.services = {web, rdp, ssl};
    spec.peers_port = 1;
    spec.page_port = 9;
    spec.statistics = StatisticsSpec{7, "me", "it's:"};
    spec.certificates = {{"a.pem", "A"}, {"b.pem", "B"}};
    spec.additions = {{"frontend own", "files/haproxy/additions.cfg line 1"}, {"", ""}, {"mode http", "x"}};
    return spec;
}

TEST(ProxyText, SnapshotOfTheRest) {  // L7-2 to L7-6
    const ProxyText text = render_proxy(ornate(), {"/run/lb", "", "", 5000});
    const std::string all = text.loaded({});
    EXPECT_EQ(all.substr(all.find("    tune.ssl")), R"TEXT(    tune.ssl.default-dh-param 2048
    crt-base '/run/lb/haproxy-certs'
    ssl-load-extra-files none
    # web:list fabd6bcc3cda0aa6
    set-var proc.lbcluster_certificates str(60182a2ea2a1d62c)
defaults
    timeout connect 4s
    timeout queue 4s
    timeout client 43s
    timeout server 45s
    retries 3
    option redispatch 1
frontend lbcluster:page
    mode http
    bind ipv4@*:9
    timeout http-request 10s
    # cbf29ce484222325
    http-request return status 503 content-type "text/html; charset=utf-8" file '/run/lb/haproxy-page.html'
frontend lbcluster:statistics
    mode http
    bind ipv4@*:7
    bind ipv6@[::]:7 v6only
    timeout http-request 10s
    stats enable
    stats uri /
    stats auth 'me:it'\''s:'
frontend web:in
    mode http
    bind ipv4@10.0.0.100:8443 transparent accept-proxy ssl crt-list '/run/lb/haproxy-certs/web:list' ssl-min-ver TLSv1.3 alpn h2,http/1.1
    bind ipv4@10.0.0.100:443 transparent accept-proxy ssl crt-list '/run/lb/haproxy-certs/web:list' ssl-min-ver TLSv1.3 alpn h2,http/1.1
    timeout client 43000ms
    timeout http-request 10000ms
    http-request set-header X-Forwarded-Proto https
    option httplog
    acl route0.host hdr(host),host_only -i 'www.example.org'
    acl route0.host hdr(host),host_only -i -m end '.example.net'
    acl route0.path path '/shop'
    acl route0.path path_beg '/shop/'
    acl route0.path path '/cart/'
    acl route0.path path_beg '/cart/'
    use_backend shop if route0.host route0.path
    use_backend all
    default_backend web
frontend web:http
    mode http
    bind ipv4@10.0.0.100:80 transparent accept-proxy
    timeout client 43000ms
    timeout http-request 10000ms
    http-request deny deny_status 400 unless { req.hdr(host) -m found }
    http-request redirect code 301 location https://%[req.hdr(host),host_only]:8443%[pathq]
backend web
    mode http
    balance leastconn
    timeout server 45000ms
    timeout connect 1500ms
    timeout queue 60000ms
    option forwardfor
    http-request set-header X-Who '100%% %[src]:%[src_port] %[req.hdr(host)]%[path]'
    http-response add-header Via 'it'\''s %[dst] %[dst_port]'
    http-response del-header Server
    http-request replace-path '^/old/(.*)$' '/new%%20/\1'
    compression algo gzip
    compression type text/html text/plain text/css text/xml application/json application/javascript application/xml image/svg+xml
    stick-table type string len 128 size 200k expire 1800000ms
    stick on req.cook(JSESSIONID)
    stick store-response res.cook(JSESSIONID)
    option http-pretend-keepalive
    server s1 ipv4@10.0.0.1 source ipv4@10.0.0.100 send-proxy-v2 ssl verify required ca-file '/run/lb/haproxy-certs/ca.pem' verifyhost in.example.org sni str(in.example.org) disabled
    server :fallback ipv4@127.0.0.1:9 backup non-stick disabled
frontend rdp:in
    mode tcp
    bind ipv4@10.0.0.100:3389 transparent
    timeout client 43000ms
    default_backend rdp
backend rdp
    mode tcp
    balance leastconn
    timeout server 45000ms
    stick-table type string len 128 size 200k expire 1800000ms
    tcp-request inspect-delay 5s
    tcp-request content accept if RDP_COOKIE
    stick on req.rdp_cookie(mstshash)
    server s1 ipv4@10.0.0.1:3389 send-proxy ssl verify none disabled
    server :fallback ipv4@10.0.0.1:3389 send-proxy ssl verify none backup non-stick disabled
frontend ssl:in
    mode tcp
    bind ipv4@10.0.0.100:443 transparent
    timeout client 43000ms
    default_backend ssl
backend ssl
    mode tcp
    balance leastconn
    timeout server 45000ms
    stick-table type binary len 32 size 200k expire 60000ms
    acl lbcluster:clienthello req.ssl_hello_type 1
    acl lbcluster:serverhello res.ssl_hello_type 2
    tcp-request inspect-delay 5s
    tcp-request content accept if lbcluster:clienthello
    tcp-response inspect-delay 5s
    tcp-response content accept if lbcluster:serverhello
    stick on req.payload_lv(43,1) if lbcluster:clienthello
    stick store-response res.payload_lv(43,1) if lbcluster:serverhello
    server s1 ipv4@10.0.0.1:443 disabled
frontend own

mode http
)TEXT");
    EXPECT_THAT(
        text.explain("[ALERT] (7) : config : parsing [/x:" +
                     std::to_string(
                         1 + std::count(all.begin(),
                                        all.begin() + static_cast<std::ptrdiff_t>(all.find("option httplog")), '\n')) +
                     "] : no"),
        testing::StartsWith("files/haproxy/web line 2: no"));
}

// L7-7: other bytes go there by commands; another authority, or a list with another order, has to be loaded.
TEST(ProxyText, ARenewedCertificateIsNoReasonToLoad) {
    ProxySpec spec = ornate();
    spec.certificates["ca.pem"] = "CA";
    const ProxyText text = render_proxy(spec, here);
    EXPECT_EQ(text.renewable, (std::set<std::string>{"a.pem", "b.pem"}));
    spec.certificates["a.pem"] = "C";
    const ProxyText renewed = render_proxy(spec, here);
    EXPECT_EQ(renewed.hash, text.hash);
    EXPECT_NE(renewed.certificates, text.certificates);
    EXPECT_NE(renewed.version(), text.version());
    EXPECT_THAT(renewed.loaded({}),
                testing::HasSubstr("set-var proc.lbcluster_certificates str(" + renewed.certificates + ")\n"));
    spec.certificates["ca.pem"] = "C";
    EXPECT_NE(render_proxy(spec, here).hash, text.hash);
    spec = ornate();
    spec.certificates["ca.pem"] = "CA";
    std::swap(spec.services[0].tls.certificates[0], spec.services[0].tls.certificates[1]);
    EXPECT_NE(render_proxy(spec, here).hash, text.hash);
    EXPECT_EQ(proxy_certificate_files(spec).at("web:list"), "a.pem\nb.pem\n");
    EXPECT_EQ(proxy_certificate_files(spec).size(), 4U);
}

// L7-7: neither health nor state nor weight is a reason to load anything.
TEST(ProxyText, StructureKnowsNoStates) {
    ProxySpec spec = everything();
    const std::string hash = render_proxy(spec, here).hash;
    spec.services[0].servers[0].weight = 7;
    spec.services[0].servers[0].state = State::drain;
    spec.services[0].servers[1].drain_until_ms = 5;
    EXPECT_EQ(render_proxy(spec, here).hash, hash);
    spec.services[1].servers[0].weight = 7;  // static
    EXPECT_NE(render_proxy(spec, here).hash, hash);
    spec = everything();
    spec.page = "<p>yes</p>";
    EXPECT_NE(render_proxy(spec, here).hash, hash);
    spec = everything();
    spec.services[0].servers[0].address = ip("10.0.0.9");
    spec.services[1].servers[0].port = 99;
    EXPECT_EQ(render_proxy(spec, here).hash, hash);
    EXPECT_THAT(render_proxy(spec, here).loaded({}), testing::HasSubstr("server s1 ipv4@10.0.0.9 "));
    // Of another family, or with a port where it had the client's, it is loaded.
    spec.services[0].servers[0].address = ip("fd00::9");
    EXPECT_NE(render_proxy(spec, here).hash, hash);
    spec = everything();
    spec.services[0].servers[0].port = 80;
    EXPECT_NE(render_proxy(spec, here).hash, hash);
    // The page's place is in the text alone.
    spec = everything();
    spec.services[0].fallback = {FallbackSpec::Kind::address, "", ip("127.0.0.1"), 9081, Method::nat};
    EXPECT_NE(render_proxy(spec, here).hash, hash);
}

TEST(ProxyText, WordsThatUsersWrite) {
    EXPECT_EQ(proxy_word("/run/a b#c$d\"e\\f"), "'/run/a b#c$d\"e\\f'");
    EXPECT_EQ(proxy_word("it's"), "'it'\\''s'");
    EXPECT_EQ(proxy_word("two\nlines"), "'twolines'");
}

TEST(ProxyText, FaultsInTermsOfOurConfiguration) {
    const ProxyText text = render_proxy(everything(), here);
    std::size_t line = 1;
    while (text.lines[line - 1].text.find("server s2") == std::string::npos) ++line;
    const std::string at = "[/run/x:y.new:" + std::to_string(line) + "]";
    EXPECT_EQ(text.explain("[NOTICE]   (7) : haproxy version is 2.6.12\n"
                           "[ALERT]    (7) : config : parsing " +
                           at +
                           " : unknown keyword 'x'.\n"
                           "[ALERT]    (7) : Binding " +
                           at +
                           " for frontend x: cannot bind [10.0.0.1:80]\n"
                           "[ALERT]    (7) : config : Error(s) found in configuration file : /run/x\n"
                           "[ALERT]    (7) : config : Fatal errors found in configuration.\n"),
              "server 's2' of service 'Web.shop_1': unknown keyword 'x'. | "
              "server 's2' of service 'Web.shop_1': for frontend x: cannot bind [10.0.0.1:80]");
    EXPECT_EQ(text.explain("[ALERT] (1) : parsing [x:99999] : y"), "parsing [x:99999] : y");
    EXPECT_EQ(text.explain("[ALERT"), "");
    EXPECT_EQ(text.explain("[ALERT] ]["), "[ALERT] ][");
}

// ---- what it has ----

const std::string csv =
    "# pxname,svname,scur,stot,bin,bout,ereq,econ,eresp,status,weight,rate,type,addr,\n"
    "web:in,FRONTEND,3,10,100,200,1,,,OPEN,,4,0,\n"
    "web,s1,2,8,80,160,,1,0,no check,100,3,2,10.0.0.1:80,\n"
    "web,s2,1,2,20,40,,0,0,MAINT,100,1,2,10.0.0.2:80,\n"
    "web,BACKEND,3,10,100,200,,1,2,UP,100,4,1,\n"
    "\"a,b\",s1,0,0,0,0,,0,0,\"DOWN (agent)\",1,0,2,[fd00::2]:0,\n"
    "broken\n"
    "\n";

TEST(ProxyView, Reads) {
    const ProxyView view = parse_proxy_view(csv);
    ASSERT_EQ(view.servers.size(), 3U);
    EXPECT_EQ(view.frontends.at("web").errors, 1U);
    EXPECT_EQ(view.backends.at("web").errors, 3U);
    const ProxyRow& s1 = view.servers.at({"web", "s1"});
    EXPECT_TRUE(s1.ready);
    EXPECT_EQ(s1.sessions, 2U);
    EXPECT_EQ(s1.total, 8U);
    EXPECT_EQ(s1.per_second, 3U);
    EXPECT_EQ(s1.bytes_out, 160U);
    EXPECT_FALSE(view.servers.at({"web", "s2"}).ready);
    EXPECT_EQ(s1.at, (DestinationKey{ip("10.0.0.1"), 80}));
    EXPECT_EQ(view.servers.at({"a,b", "s1"}).at, (DestinationKey{ip("fd00::2"), 0}));
    EXPECT_FALSE(view.servers.at({"a,b", "s1"}).ready);
    EXPECT_TRUE(parse_proxy_view("Unknown command.\n").servers.empty());
    EXPECT_TRUE(parse_proxy_view("").servers.empty());
    const ProxyInfo info = parse_proxy_info("Name: HAProxy\nVersion: 2.6.12\nPid: 77\ndescription: lbcluster 1f\n\n");
    EXPECT_EQ(info.version, "2.6.12");
    EXPECT_EQ(info.pid, 77U);
    EXPECT_EQ(info.description, proxy_description("1f"));
}

TEST(ProxyView, OldWorkersAndTheirSessions) {
    EXPECT_THAT(
        parse_old_workers("#<PID>  <type>\n5  master  1\n# workers\n138  worker  0\n# old workers\n26  worker  1\n"
                          "27  worker  2\n# programs\n\n"),
        ElementsAre(26U, 27U));
    EXPECT_THAT(parse_old_workers("138  worker  0\n"), ElementsAre());
    EXPECT_THAT(session_commands("0x56: proto=tcpv4 src=1.2.3.4:5 fe=web be=web srv=s1 ts=00\n"
                                 "0x57: proto=tcpv4 src=1.2.3.4:6 fe=web be=web srv=s2 ts=00\n"
                                 "0x58: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00\n0x\n",
                                 {{{"web", "s1"}, {false, 0, true}}, {{"web", "s2"}, {}}}),
                ElementsAre("shutdown session 0x56"));
}

TEST(ProxyView, CommandsKeepAServiceServed) {
    const ProxyView view = parse_proxy_view(csv);
    EXPECT_THAT(proxy_commands(view, {{{"web", "s1"}, {true, 100, false}}, {{"web", "s2"}, {}}}), ElementsAre());
    // Those that come, come first; what ends, ends last.
    EXPECT_THAT(proxy_commands(view, {{{"web", "s1"}, {false, 0, true}}, {{"web", "s2"}, {true, 7, false}}}),
                ElementsAre("set server web/s2 weight 7", "set server web/s2 state ready",
                            "set server web/s1 state maint", "shutdown sessions server web/s1"));
    EXPECT_THAT(proxy_commands(view, {{{"web", "s2"}, {false, 0, true}}}),
                ElementsAre("shutdown sessions server web/s2"));
    EXPECT_THAT(proxy_commands(view, {{{"web", "new"}, {true, 1, false}}}), ElementsAre());
    // Who comes, comes at the right place; who moves and is not wanted there yet, goes first.
    const DestinationKey there{ip("10.0.0.9"), 81};
    EXPECT_THAT(
        proxy_commands(view, {{{"web", "s1"}, {false, 0, false, there}}, {{"web", "s2"}, {true, 0, false, there}}}),
        ElementsAre("set server web/s2 addr 10.0.0.9 port 81", "set server web/s2 state ready",
                    "set server web/s1 state maint", "set server web/s1 addr 10.0.0.9 port 81"));
    const DestinationKey same{ip("10.0.0.1"), 80};
    EXPECT_THAT(proxy_commands(view, {{{"web", "s1"}, {true, 0, false, same}}}), ElementsAre());
    const DestinationKey mapped{ip("fd00::3"), 0};
    EXPECT_THAT(proxy_commands(view, {{{"a,b", "s1"}, {false, 0, false, mapped}}}),
                ElementsAre("set server a,b/s1 addr fd00::3"));
    EXPECT_TRUE(is_move("set server web/s2 addr 10.0.0.9 port 81"));
    EXPECT_FALSE(is_move("set server web/addr state ready"));
}

TEST(ProxyView, RenewalsAreCommandsWithoutEmptyLines) {
    const std::string pem =
        "of a.b\r\n-----BEGIN X-----\r\nAB\n\n-----END X-----\nBag\n\n-----BEGIN Y-----\nCD\n-----END Y-----";
    const auto renewals = certificate_renewals("/run/certs", {{"a.pem", pem}});
    ASSERT_TRUE(renewals);
    EXPECT_THAT(*renewals, ElementsAre(CertificateRenewal{
                               "set ssl cert /run/certs/a.pem <<\n-----BEGIN X-----\nAB\n-----END X-----\n"
                               "-----BEGIN Y-----\nCD\n-----END Y-----\n",
                               "commit ssl cert /run/certs/a.pem", "abort ssl cert /run/certs/a.pem"}));
    EXPECT_FALSE(certificate_renewals("/run", {{"a", "-----BEGIN X-----\n" + std::string(15000, 'A')}}));
    EXPECT_EQ(parse_proxy_info("proc.lbcluster_certificates: type=str value=<1f>\n").certificates, "1f");
    EXPECT_EQ(parse_proxy_info("proc.lbcluster_certificates: undefined\n").certificates, "");
}

}  // namespace
}  // namespace lbcluster::forward
