// What faults of servers and daemons do to traffic: a node with heartbeatd, healthd and forwarderd on a real IPVS, and
// clients that come many times a second. HC-5 (drain), L4-6 (fallback), and that the daemons' deaths take nothing away.
#include <gtest/gtest.h>

#include <csignal>
#include <memory>

#include "tests/ipvs/load.hpp"
#include "tests/ipvs/single_node_test.hpp"
#include "tests/lab/tcp.hpp"

namespace lbcluster::lab {
namespace {

class UnderLoad : public SingleNodeTest {
  protected:
    static constexpr const char* vip = "10.77.0.210";
    static constexpr const char* check = "check: {type: connect, interval: 500ms, timeout: 500ms, fall: 2, rise: 1}";
    static constexpr unsigned clients = 3;

    static void serve(const std::string& more) {
        put("virtual_services:\n" + by_dr(vip, more + ", " + check));
        ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:"));
        ASSERT_TRUE(ipvs_becomes("-r 10.77.0.22:"));
        ASSERT_TRUE(holds(vip));
    }
    static bool wait_log(const std::string& words, std::size_t after) {
        return wait_until(
            [&] { return cluster_->pair().forwarderd("lb1").log().find(words, after) != std::string::npos; }, 60s,
            20ms);
    }
};

TEST_F(UnderLoad, ServersThatDieAreLeftInTheTimeThatIsShown) {
    const NameService rs1(host("rs1"), {80});
    const NameService rs2(host("rs2"), {80});
    const NameService elsewhere(host("gw"), {8080});
    serve("ports: 80, fallback: {address: 10.77.0.1, port: 8080, method: snat}");
    ASSERT_TRUE(ipvs_loses("8080"));
    const Load load(host("client"), {.address = vip, .limit = 3s}, clients);
    const TimePoint begun = Clock::now();
    ASSERT_TRUE(load.wait_attempts(100));
    EXPECT_TRUE(load.failures_since(begun).empty()) << text_of(load.since(begun), begun);
    const auto shown_ms = cluster_->server("lb1", "web", "rs1")["detection_ms"].number();
    ASSERT_GT(shown_ms, 0);

    const TimePoint died = Clock::now();
    lab_->cable("rs1", "eth0", false);
    ASSERT_TRUE(ipvs_loses("-r 10.77.0.21:"));
    const TimePoint gone = Clock::now();
    ASSERT_TRUE(load.wait_attempts(100));
    EXPECT_TRUE(load.failures_since(gone).empty()) << "after it was gone: " << text_of(load.since(gone), gone);
    EXPECT_FALSE(load.failures_since(died).empty()) << "nobody asked while it was dead?";
    const double lasted_ms = std::chrono::duration<double, std::milli>(gone - died).count();
    // The rest is this test's: ipvsadm is started again and again, and that costs 50 ms and more.
    EXPECT_LE(lasted_ms, shown_ms + 3000);
    std::printf("    shown %.0f ms, seen %.0f ms: %s\n", shown_ms, lasted_ms, text_of(load.since(died), died).c_str());

    lab_->cable("rs2", "eth0", false);
    ASSERT_TRUE(ipvs_becomes("10.77.0.1:8080"));
    const TimePoint alone = Clock::now();
    ASSERT_TRUE(load.wait_attempts(100));
    EXPECT_TRUE(load.failures_since(alone).empty()) << "fallback: " << text_of(load.since(alone), alone);
    EXPECT_EQ(load.since(alone).back().answer.server, "gw");

    const TimePoint back = Clock::now();
    for (const char* server : {"rs1", "rs2"}) lab_->cable(server, "eth0", true);
    ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:"));
    ASSERT_TRUE(ipvs_becomes("-r 10.77.0.22:"));
    ASSERT_TRUE(ipvs_loses("8080"));
    const TimePoint returned = Clock::now();
    ASSERT_TRUE(load.wait_attempts(100));
    // The fallback's own connections end when it goes: of each client that was just there, one.
    EXPECT_LE(load.failures_since(back).size(), clients) << text_of(load.since(back), back);
    EXPECT_TRUE(load.failures_since(returned).empty()) << text_of(load.since(returned), returned);
    std::map<std::string, unsigned> who;
    for (const Attempt& one : load.since(returned)) ++who[one.answer.server];
    EXPECT_GT(who["rs1"], 0U);
    EXPECT_GT(who["rs2"], 0U);
    EXPECT_EQ(who["gw"], 0U);
}

TEST_F(UnderLoad, ADrainLosesNotOneConnection) {
    const NameService rs1(host("rs1"), {80});
    const NameService rs2(host("rs2"), {80});
    const TcpService echo({&host("rs1"), &host("rs2")});
    serve("ports: [80, 7778], scheduler: rr");
    ASSERT_TRUE(wait_until([&] { return TcpSession(host("client"), vip, 1s).alive(); }, 60s, 50ms));
    std::vector<std::unique_ptr<TcpSession>> sessions;
    for (int i = 0; i < 4; ++i) sessions.push_back(std::make_unique<TcpSession>(host("client"), vip, 10s));
    const auto on = [&](const std::string& server) {
        return std::count_if(sessions.begin(), sessions.end(),
                             [&](const auto& one) { return one->host() == server && one->alive(); });
    };
    const Load load(host("client"), {.address = vip, .limit = 20s}, clients);
    const TimePoint begun = Clock::now();
    ASSERT_TRUE(load.wait_attempts(50));
    EXPECT_EQ(on("rs1"), 2);
    for (int round = 0; round < 3; ++round) {
        ASSERT_TRUE(cli({"server", "drain", "web", "rs1"}).ok());
        ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:0 -g -w 0"));
        const TimePoint drained = Clock::now();
        ASSERT_TRUE(load.wait_attempts(50));
        for (const Attempt& one : load.since(drained)) EXPECT_EQ(one.answer.server, "rs2");
        ASSERT_TRUE(cli({"server", "online", "web", "rs1"}).ok());
        ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:0 -g -w 100"));
        ASSERT_TRUE(load.wait_attempts(20));
    }
    EXPECT_TRUE(load.failures_since(begun).empty()) << text_of(load.since(begun), begun);
    for (const auto& one : sessions) EXPECT_TRUE(one->wait_echoes(5, 20s)) << one->host();
    EXPECT_EQ(on("rs1"), 2);
    std::printf("    %s\n", text_of(load.since(begun), begun).c_str());
}

TEST_F(UnderLoad, DeathsOfTheDaemonsLoseNothingAndTheirStartsChangeNothing) {
    const NameService rs1(host("rs1"), {80, 81});
    const NameService rs2(host("rs2"), {80, 81});
    const TcpService echo({&host("rs1"), &host("rs2")});
    serve("ports: [80, 81, 7778], persistence: {source_ip: {timeout: 5m}}");
    ASSERT_TRUE(wait_until([&] { return TcpSession(host("client"), vip, 1s).alive(); }, 60s, 50ms));
    const TcpSession session(host("client"), vip, 10s);
    const Load load(host("client"), {.address = vip, .limit = 20s}, clients);
    const TimePoint begun = Clock::now();
    ASSERT_TRUE(load.wait_attempts(50));
    const std::string before = cluster_->ipvs("lb1");
    Daemon& forwarderd = cluster_->pair().forwarderd("lb1");
    Daemon& healthd = cluster_->pair().healthd("lb1");
    const std::size_t told = forwarderd.log().size();
    for (int round = 0; round < 3; ++round) {
        const std::size_t life = forwarderd.log().size();
        forwarderd.signal(SIGKILL);
        if (round > 0) healthd.signal(SIGKILL);
        ASSERT_TRUE(wait_log("started node", life));
        ASSERT_TRUE(load.wait_attempts(50));
    }
    EXPECT_TRUE(load.failures_since(begun).empty()) << text_of(load.since(begun), begun);
    EXPECT_TRUE(session.wait_echoes(10, 20s));
    EXPECT_EQ(cluster_->ipvs("lb1"), before);
    // What it does to the kernel, it says.
    EXPECT_EQ(forwarderd.log().find("kernel put right", told), std::string::npos) << forwarderd.log().substr(told);
    std::printf("    %s\n", text_of(load.since(begun), begun).c_str());
}

}  // namespace
}  // namespace lbcluster::lab
