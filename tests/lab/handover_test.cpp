// Planned moves lose nothing (HA-6), what may not be done is refused, and configuration differences move nothing
// (HA-2).
#include "tests/lab/measure.hpp"
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Handover : public PairTest {
  protected:
    void back_and_forth(const std::string& timers) {
        PairSpec spec;
        spec.timers = timers;
        begin(spec);
        if (HasFatalFailure()) return;
        const int tries = full_run() ? 20 : 6;
        for (int i = 0; i < tries; ++i) {
            const std::string target = i % 2 == 0 ? "lb2" : "lb1";
            const Outcome outcome = pair().cli(target, {"activate"});
            ASSERT_EQ(outcome.exit_code, 0) << i << " " << outcome.out << outcome.err;
            ASSERT_TRUE(pair().wait_settled(target)) << i;
            EXPECT_FALSE(pair().has_alarm(target, "both-active")) << "the overlap of a hand-over is no conflict";
        }
        std::this_thread::sleep_for(500ms);
        expect_nobody_noticed();
        std::printf("    client: %s\n", prober_->report().text().c_str());
    }
    unsigned lives(const std::string& node) {
        const std::string log = pair().log(node);
        unsigned count = 0;
        for (std::size_t at = log.find("started node="); at != std::string::npos;
             at = log.find("started node=", at + 1))
            ++count;
        return count;
    }
    // A configuration that differs, on lb2 only.
    void make_lb2_differ() {
        PairSpec other = pair().spec();
        other.floating_ips.emplace_back("10.77.0.201");
        write_file(pair().config_dir("lb2") + "/cluster.yaml", cluster_yaml(other));
        ASSERT_TRUE(wait_until([&] { return pair().status("lb2")["floating_ips"].size() == 2; }, 5s))
            << "editing the file must be enough";
        ASSERT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "config-differs"); }, 5s));
    }
};

TEST_F(Handover, ActivateLosesNothing) { back_and_forth(lan_timers); }
TEST_F(Handover, ActivateLosesNothingAt10And30) { back_and_forth(timers_10_30); }
TEST_F(Handover, ActivateLosesNothingAt5And15) { back_and_forth(timers_5_15); }

TEST_F(Handover, ActivateOnTheActiveIsDoneAtOnce) {
    begin({});
    if (HasFatalFailure()) return;
    EXPECT_EQ(pair().cli("lb1", {"activate"}).exit_code, 0);
    EXPECT_TRUE(pair().wait_settled("lb1", 2s));
    expect_nobody_noticed();
}

// Standby and back, again and again; a node in standby never claims, and says so.
TEST_F(Handover, StandbyLosesNothingAndKeepsTheNodeOut) {
    begin({});
    if (HasFatalFailure()) return;
    const int rounds = full_run() ? 10 : 3;
    for (int i = 0; i < rounds; ++i) {
        const std::string from = i % 2 == 0 ? "lb1" : "lb2";
        const std::string to = Pair::peer_of(from);
        ASSERT_EQ(pair().cli(from, {"standby"}).exit_code, 0) << i;
        ASSERT_TRUE(
            wait_until([&] { return pair().activity(from) == "standby" && pair().activity(to) == "active"; }, 5s));
        EXPECT_FALSE(lab_.holds(from, vip));
        ASSERT_EQ(pair().cli(from, {"unstandby"}).exit_code, 0) << i;
        ASSERT_TRUE(pair().wait_settled(to)) << i;
    }
    const std::string active = rounds % 2 == 1 ? "lb2" : "lb1";
    const std::string other = Pair::peer_of(active);
    ASSERT_EQ(pair().cli(other, {"standby"}).exit_code, 0);
    expect_nobody_noticed();
    pair().power_off(active);
    std::this_thread::sleep_for(3s);
    EXPECT_FALSE(lab_.holds(other, vip)) << "a node in standby never claims";
    EXPECT_TRUE(pair().has_alarm(other, "nobody-serves"));
    EXPECT_EQ(pair().cli(other, {"unstandby"}).exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return lab_.holds(other, vip); }, 10s));
}

TEST_F(Handover, StandbyIsRefusedWhileThePeerIsDeadUnlessForced) {
    begin({});
    if (HasFatalFailure()) return;
    pair().power_off("lb2");
    ASSERT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "peer-dead"); }, 5s));
    const Outcome refused = pair().cli("lb1", {"standby"});
    EXPECT_EQ(refused.exit_code, 5) << refused.out << refused.err;
    EXPECT_EQ(pair().activity("lb1"), "active");
    expect_nobody_noticed();
    const Outcome forced = pair().cli("lb1", {"standby", "--force"});
    EXPECT_EQ(forced.exit_code, 0) << forced.out << forced.err;
    EXPECT_TRUE(wait_until([&] { return !lab_.holds("lb1", vip); }, 3s));
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "nobody-serves"); }, 5s));
}

TEST_F(Handover, StandbyWithoutAPeerIsRefused) {
    make({});
    pair().start("lb1");
    ASSERT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 10s));
    const Outcome outcome = pair().cli("lb1", {"standby"});
    EXPECT_EQ(outcome.exit_code, 5) << outcome.out << outcome.err;
    EXPECT_TRUE(lab_.holds("lb1", vip));
}

// Different configurations: refused both ways with what differs; forced it is done, and still loses nothing.
TEST_F(Handover, DifferentConfigurationsAreRefusedUnlessForced) {
    begin({});
    if (HasFatalFailure()) return;
    make_lb2_differ();
    if (HasFatalFailure()) return;
    const Outcome there = pair().cli("lb2", {"activate"});
    EXPECT_EQ(there.exit_code, 5) << there.out << there.err;
    EXPECT_NE(there.err.find("differ"), std::string::npos) << there.err;
    const Outcome here = pair().cli("lb1", {"standby"});
    EXPECT_EQ(here.exit_code, 5) << here.out << here.err;
    EXPECT_NE(here.err.find("differ"), std::string::npos) << here.err;
    EXPECT_TRUE(pair().wait_settled("lb1", 2s));
    EXPECT_EQ(pair().cli("lb2", {"activate", "--force"}).exit_code, 0);
    EXPECT_TRUE(pair().wait_settled("lb2"));
    expect_nobody_noticed();
}

// An address more in one node's configuration moves nothing.
TEST_F(Handover, OneMoreAddressOnThePassiveMovesNothing) {
    begin({});
    if (HasFatalFailure()) return;
    make_lb2_differ();
    if (HasFatalFailure()) return;
    std::this_thread::sleep_for(3s);
    EXPECT_TRUE(pair().wait_settled("lb1", 2s));
    EXPECT_FALSE(lab_.holds("lb2", "10.77.0.201"));
    expect_nobody_noticed();
    expect_never_two();
}

TEST_F(Handover, SigtermOfTheActiveHandsOver) {
    begin({});
    if (HasFatalFailure()) return;
    for (const std::string node : {"lb1", "lb2", "lb1"}) {
        EXPECT_EQ(pair().daemon(node).stop(), 0);
        EXPECT_FALSE(lab_.holds(node, vip)) << "it ended and left its address behind";
        ASSERT_TRUE(prober_->wait_answers(Pair::peer_of(node), 5s));
        pair().start(node);
        ASSERT_TRUE(pair().wait_settled(Pair::peer_of(node)));
    }
    expect_nobody_noticed();
}

TEST_F(Handover, SigtermOfThePassiveMovesNothing) {
    begin({});
    if (HasFatalFailure()) return;
    EXPECT_EQ(pair().daemon("lb2").stop(), 0);
    std::this_thread::sleep_for(2s);
    EXPECT_TRUE(lab_.holds("lb1", vip));
    expect_nobody_noticed();
    expect_never_two();
}

// Both daemons start anew; asked on either node.
TEST_F(Handover, HeartbeatRestartCostsNothing) {
    begin({});
    if (HasFatalFailure()) return;
    unsigned expected = 1;
    for (const std::string asked : {"lb1", "lb2"}) {
        ++expected;
        const Outcome outcome = pair().cli(asked, {"heartbeat", "restart"});
        ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
        ASSERT_TRUE(wait_until([&] { return lives("lb1") == expected && lives("lb2") == expected; }, 10s))
            << asked << ": " << lives("lb1") << " " << lives("lb2");
        ASSERT_TRUE(pair().wait_settled("lb1"));
    }
    // Longer than any lease.
    std::this_thread::sleep_for(4s);
    EXPECT_TRUE(pair().wait_settled("lb1", 2s));
    expect_nobody_noticed();
    expect_never_two();
}

TEST_F(Handover, AutomaticFailbackReturnsToThePrimary) {
    PairSpec spec;
    spec.timers = "profile: lan\nauto_failback: true\nfailback_delay: 2s";
    begin(spec);
    if (HasFatalFailure()) return;
    pair().power_off("lb1");
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    pair().power_on("lb1");
    ASSERT_TRUE(pair().wait_settled("lb2", 3s));
    mark();
    EXPECT_TRUE(pair().wait_settled("lb1", 15s));
    expect_nobody_noticed();
}

}  // namespace
}  // namespace lbcluster::lab
