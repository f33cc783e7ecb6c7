// Planned moves lose nothing (HA-6), and configuration differences move nothing.
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
        for (int i = 0; i < 20; ++i) {
            const std::string target = i % 2 == 0 ? "lb2" : "lb1";
            const Outcome outcome = pair().cli(target, {"activate"});
            ASSERT_EQ(outcome.exit_code, 0) << i << " " << outcome.out << outcome.err;
            ASSERT_TRUE(pair().wait_settled(target)) << i;
        }
        std::this_thread::sleep_for(500ms);
        const ProbeReport report = prober_->report();
        EXPECT_EQ(report.lost, 0U) << report.text();
        std::printf("    client: %s\n", report.text().c_str());
    }
};

TEST_F(Handover, ActivateLosesNothingInTwentyTries) { back_and_forth(lan_timers); }
TEST_F(Handover, ActivateLosesNothingInTwentyTriesAt10And30) { back_and_forth(timers_10_30); }

TEST_F(Handover, StandbyLosesNothingAndKeepsTheNodeOut) {
    begin({});
    if (HasFatalFailure()) return;
    EXPECT_EQ(pair().cli("lb1", {"standby"}).exit_code, 0);
    ASSERT_TRUE(
        wait_until([&] { return pair().activity("lb1") == "standby" && pair().activity("lb2") == "active"; }, 5s));
    std::this_thread::sleep_for(500ms);
    expect_nobody_noticed();
    pair().power_off("lb2");
    std::this_thread::sleep_for(4s);
    EXPECT_FALSE(lab_.holds("lb1", vip)) << "a node in standby never claims";
    EXPECT_GE(pair().status("lb1")["alarms"].size(), 1U);
    EXPECT_EQ(pair().cli("lb1", {"unstandby"}).exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 10s));
}

TEST_F(Handover, StandbyWithoutAPeerIsRefused) {
    make({});
    pair().start("lb1");
    ASSERT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 10s));
    const Outcome outcome = pair().cli("lb1", {"standby"});
    EXPECT_EQ(outcome.exit_code, 5) << outcome.out << outcome.err;
    EXPECT_TRUE(lab_.holds("lb1", vip));
}

// Both are started anew, each once; the active adopts what it holds.
TEST_F(Handover, HeartbeatRestartCostsNothing) {
    begin({});
    if (HasFatalFailure()) return;
    EXPECT_EQ(pair().cli("lb1", {"heartbeat", "restart"}).exit_code, 0);
    const auto starts = [&](const std::string& node) {
        const std::string log = pair().log(node);
        unsigned count = 0;
        for (std::size_t at = log.find("started node="); at != std::string::npos;
             at = log.find("started node=", at + 1))
            ++count;
        return count;
    };
    EXPECT_TRUE(wait_until([&] { return starts("lb1") >= 2 && starts("lb2") >= 2; }, 10s));
    std::this_thread::sleep_for(4s);
    EXPECT_EQ(starts("lb1"), 2U);
    EXPECT_EQ(starts("lb2"), 2U);
    EXPECT_TRUE(pair().wait_settled("lb1"));
    expect_nobody_noticed();
    expect_never_two();
}

// An address more in one node's configuration moves nothing, and it is said.
TEST_F(Handover, OneMoreAddressOnThePassiveMovesNothing) {
    PairSpec spec;
    make(spec);
    PairSpec more = spec;
    more.floating_ips.emplace_back("10.77.0.201");
    write_file(pair().config_dir("lb2") + "/cluster.yaml", cluster_yaml(more));
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1"));
    watch();
    EXPECT_EQ(pair().status("lb2")["floating_ips"].size(), 2U);
    std::this_thread::sleep_for(4s);
    EXPECT_TRUE(pair().wait_settled("lb1", 2s));
    EXPECT_FALSE(lab_.holds("lb2", "10.77.0.201"));
    EXPECT_GE(pair().status("lb2")["alarms"].size(), 1U);
    expect_nobody_noticed();
    expect_never_two();
    // The heartbeat is what decides: the passive takes over all the same when the active dies.
    mark();
    pair().power_off("lb1");
    EXPECT_TRUE(prober_->wait_answers("lb2", 5s));
    expect_gap_at_most(1200ms);
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
