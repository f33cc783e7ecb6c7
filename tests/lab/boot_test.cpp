// Starting: alone, together, while cut (HA-1, HA-2, HA-7).
#include <filesystem>

#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Boot : public PairTest {};

// initdead 5 s, then the claim.
TEST_F(Boot, AloneServesAfterInitdead) {
    make({});
    pair().start("lb2");
    const TimePoint begin = Clock::now();
    ASSERT_TRUE(wait_until([&] { return lab_.holds("lb2", vip); }, 8s));
    EXPECT_GE(Clock::now() - begin, 4s);
    watch();
    pair().start("lb1");
    EXPECT_TRUE(pair().wait_settled("lb2"));
    expect_nobody_noticed();
    expect_never_two();
}

TEST_F(Boot, TogetherThePrimaryServesAtOnce) {
    make({});
    const TimePoint begin = Clock::now();
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1", 4s));
    EXPECT_LE(Clock::now() - begin, 3s);
}

// HA-7: no peer configured.
TEST_F(Boot, SingleNodeServesAtOnce) {
    PairSpec spec;
    spec.single = true;
    make(spec);
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1", 4s));
    EXPECT_EQ(pair().status("lb1")["link"].text(), "none");
    EXPECT_EQ(pair().status("lb1")["peer"]["state"].text(), "none");
}

// HA-3: the LAN has no address yet (no DHCP, no cable): heartbeatd runs, and serves when the address is there.
TEST_F(Boot, WithoutTheNetworkOfAFloatingIp) {
    PairSpec spec;
    spec.single = true;
    spec.floating_ips = {"{address: 10.77.0.200}"};
    make(spec);
    lab_.ip("lb1", "addr flush dev eth0\n");
    pair().start();
    const std::string alarm = std::string("no-interface/") + vip;
    ASSERT_TRUE(wait_until([&] { return pair().has_alarm("lb1", alarm); }, 5s)) << pair().log("lb1");
    EXPECT_EQ(pair().daemon("lb1").starts(), 1U);
    EXPECT_EQ(pair().cli("lb1", {"config", "check"}).exit_code, 3) << "nobody should apply that";
    lab_.ip("lb1", "addr add 10.77.0.11/24 dev eth0\n");
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 5s));
    EXPECT_TRUE(wait_until([&] { return !pair().has_alarm("lb1", alarm); }, 3s));
}

// An interface took the address as its own while no daemon ran: told, not touched, and the other one is served.
TEST_F(Boot, WithAFloatingIpThatAnInterfaceHas) {
    PairSpec spec;
    spec.single = true;
    spec.floating_ips = {vip, "10.77.0.201"};
    make(spec);
    lab_.ip("lb1", "addr add 10.77.0.201/32 dev eth0\n");
    pair().start();
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 5s)) << pair().log("lb1");
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "config-invalid"); }, 3s));
    EXPECT_EQ(pair().daemon("lb1").starts(), 1U);
}

// HA-6: a standby that the disk did not take is in force, and told.
TEST_F(Boot, AStandbyThatCannotBeStoredIsAlarmed) {
    make({});
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1"));
    const std::string in_the_way = pair().state_dir("lb2") + "/standby";
    std::filesystem::create_directories(in_the_way + "/full");  // no file can take its place
    ASSERT_EQ(pair().cli("lb2", {"standby"}).exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb2", "standby-not-stored"); }, 3s));
    EXPECT_EQ(pair().activity("lb2"), "standby");
    std::filesystem::remove_all(in_the_way);
    ASSERT_EQ(pair().cli("lb2", {"unstandby"}).exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return !pair().has_alarm("lb2", "standby-not-stored"); }, 3s));
}

// A history that cannot be written is told; the node serves.
TEST_F(Boot, EventsThatCannotBeStoredAreAlarmed) {
    PairSpec spec;
    spec.single = true;
    make(spec);
    const std::string in_the_way = pair().state_dir("lb1") + "/events.jsonl";
    std::filesystem::create_directories(in_the_way);
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1", 5s));
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "events-not-stored"); }, 3s));
    std::filesystem::remove_all(in_the_way);
    ASSERT_EQ(pair().cli("lb1", {"floating-ip", "add", "10.77.0.201"}).exit_code, 0);  // another event
    EXPECT_TRUE(wait_until([&] { return !pair().has_alarm("lb1", "events-not-stored"); }, 3s));
}

TEST_F(Boot, TheHistoryGoesBackBeforeTheRotationOfItsFile) {
    PairSpec spec;
    spec.single = true;
    make(spec);
    const auto line = [](int number, const char* text) {
        return "{\"sequence\":" + std::to_string(number) +
               ",\"time\":1700000000000,\"node\":\"lb1\",\"kind\":\"note\",\"severity\":\"info\",\"text\":\"" + text +
               "\"}\n";
    };
    write_file(pair().state_dir("lb1") + "/events.jsonl.1", line(1, "the oldest") + line(2, "before it"));
    write_file(pair().state_dir("lb1") + "/events.jsonl", line(3, "after it"));
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1", 5s));
    const std::string events = pair().cli("lb1", {"events"}).out;
    for (const char* text : {"the oldest", "before it", "after it"}) {
        EXPECT_NE(events.find(text), std::string::npos) << text << " in\n" << events;
    }
}

// HA-6: a restart on command, and signals at any moment of it.
TEST_F(Boot, NoSignalIsLostDuringARestart) {
    PairSpec spec;
    spec.single = true;
    make(spec);
    Daemon& daemon = pair().daemon("lb1");
    for (const auto after : {0ms, 10ms, 25ms, 33ms, 40ms, 50ms, 70ms, 100ms}) {
        pair().start();
        ASSERT_TRUE(pair().wait_settled("lb1", 4s));
        ASSERT_EQ(pair().cli("lb1", {"heartbeat", "restart"}).exit_code, 0);
        std::this_thread::sleep_for(after);
        EXPECT_EQ(daemon.stop(5s), 0) << after.count() << " ms after the restart";
        EXPECT_FALSE(lab_.holds("lb1", vip));
    }
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1", 4s));
    const unsigned starts = daemon.starts();
    ASSERT_EQ(pair().cli("lb1", {"heartbeat", "restart"}).exit_code, 0);
    for (int i = 0; i < 100; ++i) {
        daemon.signal(SIGHUP);
        std::this_thread::sleep_for(2ms);
    }
    EXPECT_TRUE(pair().wait_settled("lb1", 4s));
    EXPECT_EQ(daemon.starts(), starts) << "a signal killed it";
}

// Heartbeats cut from the start: the first one serves, the second one sees by ARP that it does.
TEST_F(Boot, WhileHeartbeatsAreCutAndHealedLater) {
    make({});
    observer_.emplace(lab_.host("obs"), "eth0", vip);
    for (const char* node : {"lb1", "lb2"})
        for (const char* interface : {"eth0", "eth1"}) lab_.drop(node, interface, heartbeats);
    pair().start("lb1");
    std::this_thread::sleep_for(1s);
    pair().start("lb2");
    ASSERT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 10s));
    std::this_thread::sleep_for(6s);
    EXPECT_FALSE(lab_.holds("lb2", vip));
    for (const char* node : {"lb1", "lb2"}) lab_.heal(node);
    EXPECT_TRUE(pair().wait_settled("lb1"));
    expect_never_two();
}

}  // namespace
}  // namespace lbcluster::lab
