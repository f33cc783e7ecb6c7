// The active's machine vanishes, or only its heartbeatd dies (HA-1, HA-2, HA-3).
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Failover : public PairTest {
  protected:
    // All daemons of the active killed and its links down at one moment. The peer serves within deadtime + 2 x
    // keepalive.
    // Less than `deadtime` - 2 x keepalive would mean that the machine was able to say goodbye.
    void vanish(const std::string& timers, Nanoseconds limit, Nanoseconds least) {
        PairSpec spec;
        spec.timers = timers;
        begin(spec);
        if (HasFatalFailure()) return;
        pair().power_off("lb1");
        ASSERT_TRUE(prober_->wait_answers("lb2", limit + 5s));
        expect_gap_at_most(limit);
        EXPECT_GE(prober_->report().longest_gap, least);
        expect_never_two();
        EXPECT_TRUE(wait_until([&] { return pair().activity("lb2") == "active"; }, 5s));
        mark();
        pair().power_on("lb1");
        EXPECT_TRUE(pair().wait_settled("lb2"));
        expect_nobody_noticed();
        expect_never_two();
    }
};

TEST_F(Failover, MachineVanishesAtLanTimers) { vanish(lan_timers, 1200ms, 800ms); }
TEST_F(Failover, MachineVanishesAt10And30) { vanish(timers_10_30, 50ms, 10ms); }
TEST_F(Failover, MachineVanishesAt5And15) { vanish(timers_5_15, 25ms, 5ms); }

TEST_F(Failover, KilledDaemonIsRestartedAndAdoptsWithoutLoss) {
    begin({});
    if (HasFatalFailure()) return;
    for (int i = 0; i < 5; ++i) {
        const unsigned starts = pair().daemon("lb1").starts();
        pair().daemon("lb1").signal(SIGKILL);
        ASSERT_TRUE(wait_until([&] { return pair().daemon("lb1").starts() > starts; }, 2s));
        ASSERT_TRUE(pair().wait_settled("lb1"));
    }
    // Longer than any lease: what was adopted is also refreshed.
    std::this_thread::sleep_for(4s);
    expect_nobody_noticed();
    expect_never_two();
    EXPECT_TRUE(pair().wait_settled("lb1"));
}

// Lease 3 s at lan timers (deadtime + 1.5 s rounded up), refreshed twice a second; the kernel lets go up to 0.2 s late.
TEST_F(Failover, KilledDaemonNobodyRestartsLosesItsLeaseAndThePeerTakes) {
    begin({});
    if (HasFatalFailure()) return;
    pair().daemon("lb1").set_restart(false);
    const TimePoint killed = Clock::now();
    pair().daemon("lb1").signal(SIGKILL);
    ASSERT_TRUE(wait_until([&] { return !lab_.holds("lb1", vip); }, 10s));
    EXPECT_LE(Clock::now() - killed, 3500ms) << "the lease did not end";
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    expect_gap_at_most(400ms);
    expect_never_two();
    EXPECT_TRUE(wait_until([&] { return pair().activity("lb2") == "active"; }, 5s));
}

TEST_F(Failover, Ipv6FloatingIpMovesAsWell) {
    begin(both_families());
    if (HasFatalFailure()) return;
    Prober v6(lab_.host("client"), pair().service(), vip_v6);
    ASSERT_TRUE(v6.wait_answers("lb1", 5s));
    v6.mark();
    pair().power_off("lb1");
    ASSERT_TRUE(v6.wait_answers("lb2", 6s));
    const ProbeReport report = v6.report();
    EXPECT_LE(report.longest_gap, 1200ms + report.own_lateness + 1ms) << report.text();
    EXPECT_TRUE(announced_by("lb2", observer_v6_)) << observer_v6_->report().text();
    pair().power_on("lb1");
    EXPECT_TRUE(pair().wait_settled("lb2"));
    expect_never_two();
}

// SIGTERM with a live peer is a planned hand-over.
TEST_F(Failover, OrderlyStopLosesNothing) {
    begin({});
    if (HasFatalFailure()) return;
    EXPECT_EQ(pair().daemon("lb1").stop(), 0);
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    EXPECT_FALSE(lab_.holds("lb1", vip));
    expect_nobody_noticed();
}

}  // namespace
}  // namespace lbcluster::lab
