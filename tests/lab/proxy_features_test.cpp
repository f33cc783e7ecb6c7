// What layer 7 does with connections and requests beside balancing them, with a real HAProxy and clients that ask
// through the virtual IP: TLS, PROXY protocol, source address, headers, rewriting, routes, compression, persistence by
// the application, hand-written lines (L7-2 to L7-5; issue 6). Services stand behind one another, so HAProxy itself is
// the server that speaks TLS, and the one that takes the PROXY protocol.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "tests/lab/backend.hpp"
#include "tests/lab/pair_test.hpp"
#include "tests/lab/tcp.hpp"

namespace lbcluster::lab {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string services = R"(
virtual_services:
  - label: web
    address: 10.77.0.210
    ports: [443]
    method: proxy
    mode: http
    scheduler: roundrobin
    tls: {certificates: [a.pem, b.pem], redirect_http: true}
    headers:
      - {name: X-Who, value: "100% ${client} ${scheme}://${host}${path}"}
      - {in: response, name: X-Node, value: "${address}:${port}"}
    rewrite: [{path: "^/old/(.*)$", to: '/new/\1'}]
    routes: [{host: [shop.example.org, "*.shops.example.org"], path: /cart, service: shop}]
    compression: true
    check: &check {interval: 200ms, timeout: 150ms, fall: 2, rise: 2}
    real_servers: [{label: rs1, address: 10.77.0.21, port: 80}, {label: rs2, address: 10.77.0.22, port: 80}]
  - label: shop
    address: 10.77.0.211
    ports: [80]
    method: proxy
    mode: http
    headers: [{in: response, action: delete, name: Content-Type}, {in: response, name: X-Shop, value: "yes"}]
    CHECK
    real_servers: [{label: rs2, address: 10.77.0.22}]
  - label: again
    address: 10.77.0.211
    ports: [8443]
    method: proxy
    mode: http
    tls: {reencrypt: true, server_ca: ca.pem, server_name: a.example.org}
    CHECK
    real_servers: [{label: web, address: 10.77.0.210, port: 443}]
  - label: wrong
    address: 10.77.0.211
    ports: [8444]
    method: proxy
    mode: http
    tls: {reencrypt: true, server_ca: ca.pem, server_name: other.example.org}
    CHECK
    real_servers: [{label: web, address: 10.77.0.210, port: 443}]
  - label: pass
    address: 10.77.0.212
    ports: [443]
    method: proxy
    persistence: {ssl_id: {}}
    CHECK
    real_servers: [{label: web, address: 10.77.0.210}]
  - label: back
    address: 10.77.0.213
    ports: [80]
    method: proxy
    mode: http
    proxy_protocol: {accept: true}
    CHECK
    real_servers: [{label: rs1, address: 10.77.0.21}]
  - label: front1
    address: 10.77.0.212
    ports: [81]
    method: proxy
    proxy_protocol: {send: v1}
    CHECK
    real_servers: [{label: back, address: 10.77.0.213, port: 80}]
  - label: front2
    address: 10.77.0.212
    ports: [82]
    method: proxy
    proxy_protocol: {send: v2}
    CHECK
    real_servers: [{label: back, address: 10.77.0.213, port: 80}]
  - label: app
    address: 10.77.0.212
    ports: [83]
    method: proxy
    mode: http
    scheduler: roundrobin
    persistence: {cookie: {name: SID, existing: true}}
    CHECK
    real_servers: [{label: rs1, address: 10.77.0.21, port: 80}, {label: rs2, address: 10.77.0.22, port: 80}]
  - label: plain
    address: 10.77.0.213
    ports: [84]
    method: proxy
    mode: http
    CHECK
    real_servers: [{label: rs1, address: 10.77.0.21, port: 80}]
  - label: from
    address: 10.77.0.212
    ports: [84]
    method: proxy
    mode: http
    forwarded_for: false
    source: 10.77.0.212
    manual: own
    CHECK
    real_servers: [{label: plain, address: 10.77.0.213}]
  - label: rdp
    address: 10.77.0.212
    ports: [3389]
    method: proxy
    scheduler: roundrobin
    persistence: {rdp_cookie: {}}
    CHECK
    real_servers: [{label: rs1, address: 10.77.0.21, port: 7778}, {label: rs2, address: 10.77.0.22, port: 7778}]
layer7: {statistics: {user: me, password: "a b"}}
)";

class ProxyFeatures : public PairTest {
  protected:
    void SetUp() override {
        rs1_.answer(200, "rs1", "Set-Cookie: SID=one; Path=/\r\n");
        rs2_.answer(200, "rs2", "Set-Cookie: SID=two; Path=/\r\n");
        PairSpec spec;
        spec.single = true;
        spec.more = services;
        const std::string check = "check: {interval: 200ms, timeout: 150ms, fall: 2, rise: 2}";
        for (std::size_t at = 0; (at = spec.more.find("CHECK")) != std::string::npos;) spec.more.replace(at, 5, check);
        spec.more.erase(spec.more.find("&check "), 7);
        make(spec);
        std::filesystem::create_directories(files() + "/certs");
        std::filesystem::create_directories(files() + "/haproxy");
        certify("a");
        certify("b");
        write_file(files() + "/certs/ca.pem", must_run(nullptr, {"cat", pem("a")}));
        write_file(files() + "/haproxy/own",
                   "http-request set-header X-Backend yes\nfrontend\nhttp-request set-header X-Frontend yes\n");
        write_file(files() + "/haproxy/additions.cfg",
                   "frontend own\n  mode http\n  bind 10.77.0.210:8999 transparent\n"
                   "  http-request return status 200 content-type text/plain string own\n");
        pair().start("lb1");
        pair().healthd("lb1").start();
        pair().forwarderd("lb1").start();
        ASSERT_TRUE(pair().wait_settled("lb1"));
        const auto serve = [&] {
            const Json all = pair().status("lb1")["services"];
            std::size_t served = 0;
            for (std::size_t i = 0; i < all.size(); ++i) {
                const Json servers = all[i]["servers"];
                bool whole = servers.size() > 0;
                for (std::size_t s = 0; s < servers.size(); ++s)
                    whole = whole && servers[s]["forwarding"]["state"].text() == "served";
                served += whole ? 1 : 0;
            }
            return all.size() == 12 && served == 12;
        };
        ASSERT_TRUE(wait_until(serve, 20s, 50ms)) << pair().cli("lb1", {"status"}).out << pair().log("lb1");
    }
    void TearDown() override {
        if (pair_) static_cast<void>(pair().forwarderd("lb1").stop());
        PairTest::TearDown();
    }
    std::string files() { return pair().config_dir("lb1") + "/files"; }
    std::string pem(const std::string& name) { return files() + "/certs/" + name + ".pem"; }
    // A certificate for NAME.example.org in files/certs/NAME.pem; its first line says whose it is.
    void certify(const std::string& name) {
        const std::string host = name + ".example.org";
        const std::string key = pair().run_dir("lb1") + "/key";
        std::filesystem::create_directories(pair().run_dir("lb1"));
        std::string both = must_run(
            nullptr, {"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + host, "-addext",
                      "subjectAltName=DNS:" + host, "-days", "2", "-keyout", key, "-out", "/dev/stdout"});
        both += must_run(nullptr, {"cat", key});
        std::filesystem::remove(key);
        write_file(pem(name) + ".new", both);
        std::filesystem::rename(pem(name) + ".new", pem(name));
    }
    // What curl says: header, body, and what is asked for by -w.
    Outcome curl(std::vector<std::string> words) {
        words.insert(words.begin(), {"curl", "-s", "-i", "--max-time", "5"});
        return run(&lab_.host("client"), words);
    }
    Outcome https(const std::string& host, const std::string& path, const std::string& authority,
                  std::vector<std::string> more = {}) {
        more.insert(more.end(),
                    {"--cacert", pem(authority), "--resolve", host + ":443:10.77.0.210", "https://" + host + path});
        return curl(std::move(more));
    }
    std::string last_requests() const { return rs1_.last_request() + rs2_.last_request(); }

    Backend rs1_{lab_.host("rs1"), 80};
    Backend rs2_{lab_.host("rs2"), 80};
    const TcpService echo_{{&lab_.host("rs1"), &lab_.host("rs2")}};  // answers with its host's name
};

TEST_F(ProxyFeatures, TlsEndsHereWithTheCertificateThatIsAskedFor) {  // L7-3
    const Outcome first = https("a.example.org", "/", "a", {"-w", "%{http_version}"});
    EXPECT_THAT(first.out, HasSubstr("HTTP/2 200")) << first.err;
    EXPECT_THAT(last_requests(), HasSubstr("x-forwarded-proto: https"));
    EXPECT_THAT(https("b.example.org", "/", "b").out, HasSubstr("HTTP/2 200"));
    EXPECT_EQ(https("b.example.org", "/", "a").exit_code, 60);
    EXPECT_THAT(https("a.example.org", "/", "a", {"--http1.1"}).out, HasSubstr("HTTP/1.1 200"));
    EXPECT_NE(https("a.example.org", "/", "a", {"--tls-max", "1.1"}).exit_code, 0);
    const std::string sent = curl({"-H", "Host: a.example.org:80", "http://10.77.0.210/x/y?z=1"}).out;
    EXPECT_THAT(sent, StartsWith("HTTP/1.1 301"));
    EXPECT_THAT(sent, HasSubstr("location: https://a.example.org/x/y?z=1\r\n"));
    // To a server that speaks TLS: the right name, and another one.
    EXPECT_THAT(curl({"http://10.77.0.211:8443/"}).out, StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(curl({"http://10.77.0.211:8444/"}).out, StartsWith("HTTP/1.1 503"));
    // Through, and known again by its session's id.
    const Outcome through = curl({"--tls-max", "1.2", "--cacert", pem("a"), "--resolve",
                                  "a.example.org:443:10.77.0.212", "https://a.example.org/"});
    EXPECT_THAT(through.out, HasSubstr("HTTP/2 200")) << through.err;
    const std::vector<std::string> without_tickets{"openssl", "s_client", "-no_ticket",
                                                   "-tls1_2", "-connect", "10.77.0.212:443"};
    const std::string said = run(&lab_.host("client"), without_tickets, "Q\n").out;
    const std::size_t id = said.find("Session-ID: ");
    ASSERT_NE(id, std::string::npos) << said;
    const std::string table =
        run(nullptr, {"socat", "-t", "2", "-", "UNIX:" + pair().run_dir("lb1") + "/haproxy.sock"}, "show table pass\n")
            .out;
    EXPECT_THAT(table, HasSubstr("key=" + said.substr(id + 12, 64)));
    // Another certificate is taken up, a wrong one is refused and costs nothing.
    const std::string old = must_run(nullptr, {"cat", pem("a")});
    certify("a");
    ASSERT_TRUE(wait_until([&] { return https("a.example.org", "/", "a").exit_code == 0; }, 15s, 100ms));
    const std::string fresh = must_run(nullptr, {"cat", pem("a")});
    write_file(pem("a"), old.substr(0, old.find("-----BEGIN PRIVATE")));
    const Outcome checked = pair().cli("lb1", {"config", "check"});
    EXPECT_EQ(checked.exit_code, 3) << checked.out;
    EXPECT_THAT(checked.out, HasSubstr("files/certs/a.pem has no private key"));
    // Nor do starts with it: what was in force has its files.
    for (Daemon* daemon : {&pair().daemon("lb1"), &pair().forwarderd("lb1")}) {
        const unsigned starts = daemon->starts();
        daemon->signal(SIGKILL);
        ASSERT_TRUE(wait_until([&] { return daemon->starts() > starts; }, 5s));
    }
    EXPECT_TRUE(pair().wait_settled("lb1")) << pair().log("lb1");
    EXPECT_TRUE(pair().has_alarm("lb1", "config-invalid"));
    EXPECT_EQ(https("a.example.org", "/", "a", {"-k"}).exit_code, 0);
    write_file(pem("a"), fresh);
    EXPECT_EQ(https("a.example.org", "/", "a").exit_code, 0);
}

TEST_F(ProxyFeatures, RenewedCertificatesNeedNoReload) {  // L7-7
    const auto counter = [&](const std::string& name) {
        return pair().status("lb1")["forwarding"]["counters"][name].number();
    };
    const auto served = [&] {
        return wait_until([&] { return https("a.example.org", "/", "a").exit_code == 0; }, 15s, 50ms);
    };
    ASSERT_TRUE(served());
    certify("a");
    ASSERT_TRUE(served());
    ASSERT_TRUE(wait_until([&] { return counter("proxy_renewals") == 1; }, 5s));
    EXPECT_EQ(counter("proxy_reloads"), 0);
    // Who begins anew finds all as it shall be; a HAProxy that is killed comes back with the new one.
    pair().forwarderd("lb1").signal(SIGKILL);
    ASSERT_TRUE(wait_until([&] { return counter("proxy_found") == 1; }, 10s, 20ms));
    ASSERT_TRUE(served());
    EXPECT_EQ(counter("proxy_reloads") + counter("proxy_renewals"), 0);
    const double pid = pair().status("lb1")["forwarding"]["proxy"]["pid"].number();
    must_run(&lab_.host("lb1"), {"kill", "-KILL", "--", "-" + std::to_string(static_cast<int>(pid))});
    ASSERT_TRUE(wait_until([&] { return counter("proxy_starts") == 1; }, 10s, 20ms));
    ASSERT_TRUE(served());
    // What HAProxy refuses as a command is loaded: somebody else is about another certificate just now.
    const std::string socket = "UNIX:" + pair().run_dir("lb1") + "/haproxy.sock";
    const std::string path = pair().run_dir("lb1") + "/haproxy-certs/b.pem";
    const std::string other = must_run(nullptr, {"cat", pem("b")});
    EXPECT_THAT(run(nullptr, {"socat", "-t", "2", "-", socket}, "set ssl cert " + path + " <<\n" + other + "\n").out,
                HasSubstr("Transaction created"));
    certify("a");
    ASSERT_TRUE(served());
    ASSERT_TRUE(wait_until([&] { return counter("proxy_reloads") == 1; }, 5s));
    EXPECT_EQ(counter("proxy_renewals"), 0);
    EXPECT_EQ(https("b.example.org", "/", "b").exit_code, 0);
    // And what is too long for one.
    std::string chain;
    for (int i = 0; i < 16; ++i) chain += must_run(nullptr, {"openssl", "x509", "-in", pem("b")});
    certify("a");
    write_file(pem("a") + ".new", must_run(nullptr, {"cat", pem("a")}) + chain);
    std::filesystem::rename(pem("a") + ".new", pem("a"));
    ASSERT_TRUE(wait_until([&] { return counter("proxy_reloads") >= 2; }, 15s, 50ms));
    ASSERT_TRUE(served());
    EXPECT_FALSE(pair().has_alarm("lb1", "proxy-not-as-wanted"));
}

TEST_F(ProxyFeatures, RequestsAreChangedAndSentElsewhere) {  // L7-4, L7-5
    const Outcome changed = https("a.example.org", "/old/x?y=1", "a", {"--http1.1"});
    EXPECT_THAT(changed.out, HasSubstr("x-node: 10.77.0.210:443")) << changed.err;
    EXPECT_THAT(last_requests(), HasSubstr("GET /new/x?y=1 HTTP/1.1"));
    EXPECT_THAT(last_requests(), HasSubstr("x-who: 100% 10.77.0.100 https://a.example.org/old/x"));
    const auto asks = [&](const std::string& host, const std::string& path) {
        return https("a.example.org", path, "a", {"--http1.1", "-H", "Host: " + host}).out;
    };
    for (const std::string path : {"/cart", "/cart/1", "/cart/?x"}) {
        EXPECT_THAT(asks("Shop.example.org", path), HasSubstr("x-shop: yes")) << path;
        EXPECT_THAT(asks("x.shops.example.org:443", path), HasSubstr("x-shop: yes")) << path;
    }
    EXPECT_THAT(asks("shop.example.org", "/cart"), Not(HasSubstr("content-type")));
    for (const std::string path : {"/", "/carts", "/x/cart"})
        EXPECT_THAT(asks("shop.example.org", path), Not(HasSubstr("x-shop"))) << path;
    EXPECT_THAT(asks("shops.example.org", "/cart"), Not(HasSubstr("x-shop")));
    EXPECT_THAT(https("a.example.org", "/", "a", {"--http1.1", "-H", "Accept-Encoding: gzip"}).out,
                HasSubstr("content-encoding: gzip"));
    EXPECT_THAT(https("a.example.org", "/", "a", {"--http1.1"}).out, Not(HasSubstr("content-encoding")));
    // Lines by hand, and the address that a server sees.
    EXPECT_THAT(curl({"http://10.77.0.212:84/"}).out, HasSubstr("200"));
    EXPECT_THAT(rs1_.last_request(), HasSubstr("x-backend: yes"));
    EXPECT_THAT(rs1_.last_request(), HasSubstr("x-frontend: yes"));
    EXPECT_THAT(rs1_.last_request(), HasSubstr("x-forwarded-for: 10.77.0.212"));
    EXPECT_THAT(curl({"http://10.77.0.210:8999/"}).out, HasSubstr("own"));
    EXPECT_THAT(curl({"-u", "me:a b", "http://10.77.0.210:7777/"}).out, HasSubstr("Statistics Report"));
    EXPECT_THAT(curl({"http://10.77.0.210:7777/"}).out, StartsWith("HTTP/1.1 401"));
}

TEST_F(ProxyFeatures, ServersLearnWhoTheClientIs) {  // L7-4
    for (const std::string port : {"81", "82"}) {
        EXPECT_THAT(curl({"http://10.77.0.212:" + port + "/" + port}).out, HasSubstr("rs1"));
        EXPECT_THAT(rs1_.last_request(), HasSubstr("GET /" + port));
        EXPECT_THAT(rs1_.last_request(), HasSubstr("x-forwarded-for: 10.77.0.100"));
    }
    EXPECT_THAT(curl({"--haproxy-protocol", "http://10.77.0.213/"}).out, HasSubstr("rs1"));
    EXPECT_NE(curl({"http://10.77.0.213/"}).exit_code, 0);  // who does not begin with it
}

TEST_F(ProxyFeatures, ClientsAreKnownByWhatTheApplicationSays) {  // L7-2
    const auto ask = [&](const std::string& cookie) {
        const std::string out = curl({"-H", "Cookie: SID=" + cookie, "http://10.77.0.212:83/"}).out;
        return out.substr(std::min(out.size(), out.find("\r\n\r\n") + 4));
    };
    // Each server says its own once, and is found by it from then on.
    std::set<std::string> said;
    for (int i = 0; i < 4; ++i) said.insert(curl({"http://10.77.0.212:83/"}).out.substr(0, 12));
    EXPECT_EQ(said, std::set<std::string>{"HTTP/1.1 200"});
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(ask("one"), "rs1");
        EXPECT_EQ(ask("two"), "rs2");
    }
    const auto log_in = [&](const std::string& user) {
        const std::string request = std::string("\x03\x00\x00\x2f\x2a\xe0\x00\x00\x00\x00\x00", 11) +
                                    "Cookie: mstshash=" + user + "\r\n" +
                                    std::string("\x01\x00\x08\x00\x03\x00\x00\x00", 8);
        const std::string out =
            run(&lab_.host("client"), {"timeout", "2", "socat", "-t", "0.3", "-", "TCP:10.77.0.212:3389"}, request).out;
        return out.substr(0, 3);
    };
    ASSERT_TRUE(wait_until([&] { return log_in("first").starts_with("rs"); }, 10s, 50ms));
    std::set<std::string> hosts;
    for (const std::string user : {"u1", "u2", "u3", "u4"}) {
        const std::string host = log_in(user);
        hosts.insert(host);
        for (int i = 0; i < 3; ++i) EXPECT_EQ(log_in(user), host) << user;
    }
    EXPECT_EQ(hosts, (std::set<std::string>{"rs1", "rs2"}));
}

// The guides' services as packaging/examples has them; their addresses are the lab's.
class Guides : public PairTest {
  protected:
    void serve(const std::string& example, const std::map<std::string, std::string>& addresses, std::size_t count) {
        PairSpec spec;
        spec.single = true;
        spec.more = must_run(nullptr, {"cat", LAB_EXAMPLES "/" + example});
        for (const auto& [theirs, ours] : addresses) {
            for (std::size_t at = 0; (at = spec.more.find(theirs, at)) != std::string::npos; at += ours.size())
                spec.more.replace(at, theirs.size(), ours);
        }
        make(spec);
        pair().start("lb1");
        pair().healthd("lb1").start();
        pair().forwarderd("lb1").start();
        ASSERT_TRUE(pair().wait_settled("lb1"));
        const auto served = [&] {
            const Json all = pair().status("lb1")["services"];
            std::size_t found = 0;
            for (std::size_t i = 0; i < all.size(); ++i) {
                found += all[i]["forwarding"]["state"].text() == "served" ? 1 : 0;
                const Json servers = all[i]["servers"];
                for (std::size_t s = 0; s < servers.size(); ++s) {
                    const std::string health = servers[s]["health"].text();
                    if (health != "up" && health != "standby") return false;
                }
            }
            return all.size() == count && found == count;
        };
        ASSERT_TRUE(wait_until(served, 30s, 50ms)) << pair().cli("lb1", {"status"}).out << pair().log("lb1");
    }
    void TearDown() override {
        if (pair_) static_cast<void>(pair().forwarderd("lb1").stop());
        PairTest::TearDown();
    }
    std::string ask(const std::string& address, const std::string& port, const std::string& from = "client") {
        return run(&lab_.host(from), {"curl", "-s", "--max-time", "5", "http://" + address + ":" + port + "/"}).out;
    }
};

TEST_F(Guides, Dynamyx) {
    Backend rs1(lab_.host("rs1"), 443);
    Backend rs2(lab_.host("rs2"), 443);
    rs1.answer(200, "rs1");
    rs2.answer(200, "rs2");
    for (const std::string host : {"rs1", "rs2"}) Backend::redirect(lab_.host(host), 9001, 9001, 443);
    serve("dynamyx.yaml",
          {{"192.168.86.177", "10.77.0.210"},
           {"192.168.86.166", "10.77.0.211"},
           {"192.168.86.50", "10.77.0.21"},
           {"192.168.86.51", "10.77.0.22"}},
          2);
    std::set<std::string> archives;
    const std::string first = ask("10.77.0.210", "443");
    EXPECT_THAT(first, StartsWith("rs"));
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(ask("10.77.0.210", "443"), first);  // by its address
        archives.insert(ask("10.77.0.211", "9001"));
    }
    EXPECT_EQ(archives, (std::set<std::string>{"rs1", "rs2"}));
}

TEST_F(Guides, Papercut) {
    Backend rs1(lab_.host("rs1"), 9191);
    Backend rs2(lab_.host("rs2"), 9191);
    rs1.answer(200, "rs1");
    rs2.answer(503, "rs2");  // the application server that waits
    for (const std::string host : {"rs1", "rs2"}) {
        for (const std::uint16_t port : {9192, 9193, 445, 53, 9163, 9164, 9173, 9175})
            Backend::redirect(lab_.host(host), port, port, 9191);
    }
    serve("papercut-l7.yaml",
          {{"172.24.11.38", "10.77.0.210"},
           {"172.24.11.36", "10.77.0.21"},
           {"172.24.11.37", "10.77.0.22"},
           {"172.24.11.39", "10.77.0.21"},
           {"172.24.11.40", "10.77.0.22"}},
          4);
    for (const std::string port : {"9191", "9192", "9193", "9173", "9175"}) {
        for (int i = 0; i < 4; ++i) EXPECT_EQ(ask("10.77.0.210", port), "rs1");
    }
    for (const std::string port : {"445", "53", "9163", "9164"}) {
        std::set<std::string> hosts;
        for (int i = 0; i < 8; ++i) hosts.insert(ask("10.77.0.210", port));
        EXPECT_EQ(hosts, (std::set<std::string>{"rs1", "rs2"})) << port;
    }
}

}  // namespace
}  // namespace lbcluster::lab
