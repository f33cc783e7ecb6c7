// Services of layer 7 whose servers see the client's own address (L7-4, TProxy), with a real HAProxy. The client comes
// from another network, to which the servers' way leads through a floating IP of the pair.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/lab/backend.hpp"
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* client_v4 = "198.51.100.100";
constexpr const char* client_v6 = "2001:db8::100";
constexpr const char* web = "http://10.77.0.210/";
constexpr const char* six = "http://[fd77::210]:8080/";
constexpr const char* plain = "http://10.77.0.211/";

const std::string transparent_services = R"(
virtual_services:
  - label: web
    address: 10.77.0.210
    ports: [80]
    method: proxy
    mode: http
    transparent: true
    CHECK
    real_servers: [{label: rs1, address: 10.77.0.21}]
  - label: six
    address: "fd77::210"
    ports: [8080]
    method: proxy
    transparent: true
    CHECK
    real_servers: [{label: rs1, address: "fd77::21", port: 80}]
  - label: told
    address: 10.77.0.210
    ports: [81]
    method: proxy
    mode: http
    transparent: true
    proxy_protocol: {accept: true}
    CHECK
    real_servers: [{label: rs1, address: 10.77.0.21, port: 80}]
  - label: plain
    address: 10.77.0.211
    ports: [80]
    method: proxy
    CHECK
    real_servers: [{label: rs1, address: 10.77.0.21}]
)";

class Transparent : public PairTest {
  protected:
    void SetUp() override {
        rs1_.answer(200, "rs1");
        lab_.ip("client", std::string("addr add ") + client_v4 + "/32 dev eth0\naddr add " + client_v6 +
                              "/128 dev eth0 nodad\nroute add 10.77.0.210/32 dev eth0 src " + client_v4 +
                              "\nroute add 10.77.0.211/32 dev eth0 src " + client_v4 +
                              "\nroute add fd77::210/128 dev eth0 src " + client_v6 + "\n");
        for (const std::string node : {"lb1", "lb2"}) {
            lab_.ip(node,
                    "route add 198.51.100.0/24 via 10.77.0.100 dev eth0\n"
                    "route add 2001:db8::/64 via fd77::100 dev eth0\n");
        }
        lab_.ip("rs1",
                "route replace default via 10.77.0.200 dev eth0\nroute replace default via fd77::200 dev eth0\n");
        PairSpec spec = both_families();
        spec.more = transparent_services;
        const std::string check = "check: {interval: 200ms, timeout: 150ms, fall: 2, rise: 2}";
        for (std::size_t at = 0; (at = spec.more.find("CHECK")) != std::string::npos;) spec.more.replace(at, 5, check);
        make(spec);
        for (const char* node : {"lb1", "lb2"}) {
            pair().start(node);
            pair().healthd(node).start();
            pair().forwarderd(node).start();
        }
        ASSERT_TRUE(pair().wait_settled("lb1"));
        for (const char* node : {"lb1", "lb2"}) ASSERT_TRUE(wait_until([&] { return serves_all(node); }, 20s, 50ms));
        ASSERT_TRUE(wait_until([&] { return all_seen(); }, 10s, 50ms)) << all_seen();
    }
    void TearDown() override {
        if (pair_) {
            for (const char* node : {"lb1", "lb2"}) static_cast<void>(pair().forwarderd(node).stop());
        }
        PairTest::TearDown();
    }
    bool serves_all(const std::string& node) {
        const Json all = pair().status(node)["services"];
        std::size_t served = 0;
        for (std::size_t i = 0; i < all.size(); ++i)
            served += all[i]["servers"][0]["forwarding"]["state"].text() == "served" ? 1 : 0;
        return served == 4;
    }
    // Who the server saw, or what came instead of its answer.
    std::string seen_of(const std::string& url) {
        const Outcome asked = run(&lab_.host("client"), {"curl", "-s", "--max-time", "2", url});
        return asked.out == "rs1" ? rs1_.last_client() : "answer: " + asked.out;
    }
    ::testing::AssertionResult all_seen() {
        const std::string first = seen_of(web);
        const std::string second = seen_of(six);
        if (first == client_v4 && second == client_v6) return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << first << ", " << second << "\n" << kernel("lb1") << kernel("lb2");
    }
    // What the node's kernel has of it.
    std::string kernel(const std::string& node) {
        std::string out;
        for (const char* family : {"-4", "-6"}) {
            out += run(&lab_.host(node), {"ip", family, "rule", "show", "pref", "19456"}).out;
            out += run(&lab_.host(node), {"ip", family, "route", "show", "table", "19456"}).out;
        }
        return out + run(&lab_.host(node), {"nft", "list", "table", "inet", "lbcluster"}).out;
    }
    double proxy_of(const std::string& node, const std::string& what) {
        const Json forwarding = pair().status(node)["forwarding"];
        return what == "pid" ? forwarding["proxy"]["pid"].number() : forwarding["counters"][what].number();
    }
    Backend rs1_{lab_.host("rs1"), 80};
};

TEST_F(Transparent, ServersSeeTheClientThroughAFailoverToo) {
    EXPECT_TRUE(all_seen());
    EXPECT_EQ(seen_of(plain), "10.77.0.11");
    // Who the PROXY protocol says that it is. Nobody has that address: its answer is for the node.
    const std::string told = "PROXY TCP4 198.51.100.77 10.77.0.210 4444 81\r\nGET / HTTP/1.0\r\nHost: x\r\n\r\n";
    const std::vector<std::string> raw{"timeout", "3", "socat", "-t", "2", "-", "TCP:10.77.0.210:81,shut-none"};
    EXPECT_THAT(run(&lab_.host("client"), raw, told).out, HasSubstr("200"));
    EXPECT_EQ(rs1_.last_client(), "198.51.100.77");
    // More than a packet each way.
    rs1_.answer(200, std::string(50000, 'x'));
    const std::vector<std::string> words{"curl", "-s", "--max-time", "5", "-H", "X-Long: " + std::string(6000, 'y'),
                                         web};
    EXPECT_EQ(run(&lab_.host("client"), words).out.size(), 50000U);
    rs1_.answer(200, "rs1");
    pair().power_off("lb1");
    ASSERT_TRUE(wait_until([&] { return pair().activity("lb2") == "active"; }, 10s));
    EXPECT_TRUE(wait_until([&] { return seen_of(web) == client_v4; }, 5s, 20ms)) << kernel("lb2");
    EXPECT_TRUE(wait_until([&] { return seen_of(six) == client_v6; }, 5s, 20ms)) << kernel("lb2");
    EXPECT_EQ(seen_of(plain), "10.77.0.12");
}

TEST_F(Transparent, WhatItNeedsStaysPutRightAndGoesWithTheOption) {
    const std::string before = kernel("lb1");
    EXPECT_THAT(before, HasSubstr("fwmark 0x4d000000"));
    EXPECT_THAT(before, HasSubstr("local default dev lo"));
    EXPECT_THAT(before, HasSubstr("elements = { fd77::21 . 80 }"));
    // forwarderd killed and started changes nothing.
    const double pid = proxy_of("lb1", "pid");
    pair().forwarderd("lb1").signal(SIGKILL);
    ASSERT_TRUE(wait_until(
        [&] { return pair().forwarderd("lb1").starts() == 2 && proxy_of("lb1", "proxy_found") == 1; }, 10s, 20ms));
    EXPECT_TRUE(all_seen());
    EXPECT_EQ(kernel("lb1"), before);
    EXPECT_EQ(proxy_of("lb1", "pid"), pid);
    EXPECT_EQ(proxy_of("lb1", "proxy_reloads"), 0);
    EXPECT_EQ(proxy_of("lb1", "steps"), 0);
    // What somebody else removes comes back.
    must_run(&lab_.host("lb1"), {"ip", "rule", "del", "pref", "19456"});
    must_run(&lab_.host("lb1"), {"ip", "-6", "route", "flush", "table", "19456"});
    EXPECT_THAT(seen_of(web), HasSubstr("answer: "));
    EXPECT_TRUE(wait_until([&] { return kernel("lb1") == before; }, 15s, 100ms)) << kernel("lb1");
    EXPECT_TRUE(all_seen());
    EXPECT_EQ(proxy_of("lb1", "drifts"), 2);
    // One of two: the other one goes on; without any nothing is left.
    ASSERT_TRUE(pair().cli("lb1", {"service", "set", "six", "transparent="}).ok());
    EXPECT_TRUE(wait_until([&] { return seen_of(six) == "fd77::11"; }, 10s, 50ms)) << seen_of(six);
    EXPECT_EQ(seen_of(web), client_v4);
    ASSERT_TRUE(pair().cli("lb1", {"service", "set", "told", "transparent="}).ok());
    ASSERT_TRUE(pair().cli("lb1", {"service", "set", "web", "transparent=false"}).ok());
    EXPECT_TRUE(wait_until([&] { return seen_of(web) == "10.77.0.11"; }, 10s, 50ms)) << seen_of(web);
    EXPECT_TRUE(wait_until([&] { return kernel("lb1").empty(); }, 5s, 50ms)) << kernel("lb1");
    // Its workers need no rights any more.
    if (run(nullptr, {"getent", "passwd", "haproxy"}).ok()) {
        const auto all = processes_named("haproxy");
        EXPECT_TRUE(std::any_of(all.begin(), all.end(), [](pid_t pid) {
            const std::string user = process_status(pid, "Uid");
            return !user.empty() && !user.starts_with("0\t");
        }));
    }
    EXPECT_FALSE(pair().has_alarm("lb1", "transparent-failed"));
}

TEST_F(Transparent, ReleaseLeavesNothingOfItAndThePeersAlone) {
    const auto forwards = [&] { return run(&lab_.host("lb1"), {"cat", "/proc/sys/net/ipv4/ip_forward"}).out; };
    const auto release = [&] {
        return run(&lab_.host("lb1"),
                   {forwarderd_path(), "--release", "--run-dir", pair().run_dir("lb1"), "--config-dir",
                    pair().config_dir("lb1"), "--state-dir", pair().state_dir("lb1")});
    };
    const std::string before = forwards();
    ASSERT_EQ(before, "0\n");
    const std::string text = read_file(pair().config_dir("lb1") + "/cluster.yaml") + "forwarding: {auto_nat: [eth0]}\n";
    write_file(pair().config_dir("lb1") + "/cluster.yaml", text);
    ASSERT_TRUE(wait_until([&] { return forwards() == "1\n"; }, 10s, 50ms));
    const auto pid = static_cast<pid_t>(proxy_of("lb1", "pid"));
    ASSERT_GT(pid, 0);
    const std::string peer = kernel("lb2");
    const std::size_t proxies = processes_named("haproxy").size();
    // While forwarderd runs, it would put all of it back.
    const Outcome refused = release();
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.err, HasSubstr("another forwarderd already serves"));
    EXPECT_EQ(forwards(), "1\n");

    static_cast<void>(pair().forwarderd("lb1").stop());
    EXPECT_THAT(kernel("lb1"), HasSubstr("fwmark 0x4d000000")) << "its end leaves all of it";
    const Outcome released = release();
    EXPECT_TRUE(released.ok()) << released.err;
    EXPECT_EQ(kernel("lb1"), "");
    EXPECT_EQ(forwards(), before);
    EXPECT_THAT(run(&lab_.host("lb1"), {"ss", "-Hltnp"}).out, Not(HasSubstr("haproxy")));
    EXPECT_LT(processes_named("haproxy").size(), proxies);
    EXPECT_EQ(kernel("lb2"), peer);
    EXPECT_GT(proxy_of("lb2", "pid"), 0);
    // And it begins anew where it is started again.
    pair().forwarderd("lb1").start();
    EXPECT_TRUE(wait_until([&] { return all_seen(); }, 20s, 100ms));
    EXPECT_EQ(forwards(), "1\n");
}

}  // namespace
}  // namespace lbcluster::lab
