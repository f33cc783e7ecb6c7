// The active's heartbeatd is stopped for a while and goes on (HA-2): independent observers of ARP and neighbor
// discovery never see two nodes answer, and service is back without anybody's help. The kernel under it serves on until
// the lease ends.
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Freeze : public PairTest {
  protected:
    void freeze(const std::string& timers, Nanoseconds time) {
        PairSpec spec = both_families();
        spec.timers = timers;
        begin(spec);
        if (HasFatalFailure()) return;
        pair().daemon("lb1").signal(SIGSTOP);
        std::this_thread::sleep_for(time);
        pair().daemon("lb1").signal(SIGCONT);
        EXPECT_TRUE(wait_until(
            [&] {
                const std::string one = pair().activity("lb1");
                const std::string two = pair().activity("lb2");
                return (one == "active" && two == "passive") || (one == "passive" && two == "active");
            },
            10s));
        EXPECT_TRUE(prober_->wait_answers("", 5s, 200));
        std::this_thread::sleep_for(1s);
        expect_never_two();
        const ProbeReport report = prober_->report();
        std::printf("    client: %s\n", report.text().c_str());
    }
};

TEST_F(Freeze, OneSecond) {
    freeze(lan_timers, 1s);
    // The lease is longer: nothing happened at all.
    expect_nobody_noticed();
    EXPECT_TRUE(pair().wait_settled("lb1"));
}
TEST_F(Freeze, TwoAndAHalfSeconds) {
    freeze(lan_timers, 2500ms);
    expect_gap_at_most(1200ms);
}
TEST_F(Freeze, TenSeconds) {
    freeze(lan_timers, 10s);
    expect_gap_at_most(400ms);
    EXPECT_TRUE(pair().wait_settled("lb2"));
}
TEST_F(Freeze, TenSecondsAt10And30) {
    freeze(timers_10_30, 10s);
    expect_gap_at_most(400ms);
    EXPECT_TRUE(pair().wait_settled("lb2"));
}

}  // namespace
}  // namespace lbcluster::lab
