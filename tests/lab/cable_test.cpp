// Cables pulled and paths cut (HA-1, HA-2, HA-4): exactly one serves, whatever is cut.
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Cable : public PairTest {
  protected:
    void cut_heartbeats(unsigned percent = 100) {
        for (const char* node : {"lb1", "lb2"})
            for (const char* interface : {"eth0", "eth1"}) lab_.drop(node, interface, heartbeats, percent);
    }
    void heal() {
        for (const char* node : {"lb1", "lb2"}) lab_.heal(node);
    }
    bool exactly_one_holds() { return lab_.holds("lb1", vip) != lab_.holds("lb2", vip); }
};

// One link, on the LAN itself: the active loses everything at once.
TEST_F(Cable, ActivesOnlyCablePulledWithAPingNode) {
    PairSpec spec;
    spec.links = {LinkSpec::lan()};
    spec.ping_nodes = {"10.77.0.1"};
    begin(spec);
    if (HasFatalFailure()) return;
    lab_.cable("lb1", "eth0", false);
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    expect_gap_at_most(1200ms);
    ASSERT_TRUE(wait_until([&] { return exactly_one_holds(); }, 5s)) << "the isolated active keeps its address";
    mark();
    lab_.cable("lb1", "eth0", true);
    ASSERT_TRUE(pair().wait_settled("lb2"));
    std::this_thread::sleep_for(3s);
    expect_nobody_noticed();
    expect_never_two();
    EXPECT_TRUE(pair().wait_settled("lb2", 1s));
}

// A network dead for both, seen from the active; what was the active's before is announced again when it heals.
TEST_F(Cable, ActivesOnlyCablePulledWithoutPingNode) {
    PairSpec spec;
    spec.links = {LinkSpec::lan()};
    begin(spec);
    if (HasFatalFailure()) return;
    lab_.cable("lb1", "eth0", false);
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    ASSERT_TRUE(wait_until([&] { return exactly_one_holds(); }, 5s)) << "the active without carrier keeps its address";
    mark();
    lab_.cable("lb1", "eth0", true);
    ASSERT_TRUE(pair().wait_settled("lb2"));
    std::this_thread::sleep_for(2s);
    expect_nobody_noticed();
    expect_never_two();
}

TEST_F(Cable, PulledCableCostsAtMost20MsWithASecondLink) {
    begin({});
    if (HasFatalFailure()) return;
    lab_.cable("lb1", "eth0", false);
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    expect_gap_at_most(20ms);
    ASSERT_TRUE(wait_until([&] { return !lab_.holds("lb1", vip); }, 2s));
    mark();
    lab_.cable("lb1", "eth0", true);
    ASSERT_TRUE(pair().wait_settled("lb2"));
    std::this_thread::sleep_for(1s);
    expect_nobody_noticed();
    expect_never_two();
}

TEST_F(Cable, PulledCableCostsAtMost10MsAt10And30) {
    PairSpec spec;
    spec.timers = timers_10_30;
    begin(spec);
    if (HasFatalFailure()) return;
    lab_.cable("lb1", "eth0", false);
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    expect_gap_at_most(10ms);
}

TEST_F(Cable, PassivesCableMovesNothing) {
    PairSpec spec;
    spec.ping_nodes = {"10.77.0.1"};
    begin(spec);
    if (HasFatalFailure()) return;
    lab_.cable("lb2", "eth0", false);
    std::this_thread::sleep_for(4s);
    lab_.cable("lb2", "eth0", true);
    std::this_thread::sleep_for(2s);
    expect_nobody_noticed();
    expect_never_two();
    EXPECT_TRUE(pair().wait_settled("lb1"));
}

// Both heartbeat paths cut, both nodes on the LAN: no take-over, a clear alarm, never two answer.
TEST_F(Cable, BothHeartbeatPathsCutMovesNothing) {
    begin({});
    if (HasFatalFailure()) return;
    cut_heartbeats();
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb2", "peer-serves"); }, 5s))
        << pair().cli("lb2", {"status"}).out;
    std::this_thread::sleep_for(12s);
    EXPECT_TRUE(lab_.holds("lb1", vip));
    EXPECT_FALSE(lab_.holds("lb2", vip));
    expect_nobody_noticed();
    expect_never_two();
    heal();
    EXPECT_TRUE(pair().wait_settled("lb1"));
    std::this_thread::sleep_for(2s);
    expect_nobody_noticed();
    expect_never_two();
    EXPECT_FALSE(pair().has_alarm("lb2", "peer-serves"));
}

TEST_F(Cable, BothHeartbeatPathsCutMovesNothingAtFastTimersWithPingNode) {
    PairSpec spec;
    spec.timers = timers_10_30;
    spec.ping_nodes = {"10.77.0.1"};
    begin(spec);
    if (HasFatalFailure()) return;
    cut_heartbeats();
    std::this_thread::sleep_for(8s);
    expect_nobody_noticed();
    expect_never_two();
    heal();
    EXPECT_TRUE(pair().wait_settled("lb1"));
}

TEST_F(Cable, OneWayLossMovesNothing) {
    begin({});
    if (HasFatalFailure()) return;
    for (const char* deaf : {"lb2", "lb1"}) {
        for (const char* interface : {"eth0", "eth1"}) lab_.drop(deaf, interface, heartbeats);
        std::this_thread::sleep_for(6s);
        EXPECT_TRUE(lab_.holds("lb1", vip)) << deaf;
        EXPECT_FALSE(lab_.holds("lb2", vip)) << deaf;
        lab_.heal(deaf);
        EXPECT_TRUE(pair().wait_settled("lb1")) << deaf;
    }
    expect_nobody_noticed();
    expect_never_two();
}

TEST_F(Cable, OneWayLinkShowsInStatus) {
    begin({});
    if (HasFatalFailure()) return;
    lab_.drop("lb2", "eth1", heartbeats);
    const auto state = [&](const std::string& node) { return pair().status(node)["links"][1]["state"].text(); };
    EXPECT_TRUE(wait_until([&] { return state("lb1") == "one-way" && state("lb2") != "up"; }, 10s))
        << state("lb1") << " " << state("lb2");
    lab_.heal("lb2");
    EXPECT_TRUE(wait_until([&] { return state("lb1") == "up" && state("lb2") == "up"; }, 10s));
    expect_nobody_noticed();
}

// 30 % of everything on both networks, ARP and echoes included.
TEST_F(Cable, ThirtyPercentLossMovesNothing) {
    PairSpec spec;
    spec.ping_nodes = {"10.77.0.1"};
    begin(spec);
    if (HasFatalFailure()) return;
    for (const char* node : {"lb1", "lb2"})
        for (const char* interface : {"eth0", "eth1"}) lab_.drop(node, interface, "", 30);
    std::this_thread::sleep_for(30s);
    EXPECT_TRUE(lab_.holds("lb1", vip));
    EXPECT_FALSE(lab_.holds("lb2", vip));
    heal();
    EXPECT_TRUE(pair().wait_settled("lb1"));
    expect_never_two();
    EXPECT_EQ(prober_->report().answered_by.count("lb2"), 0U);
}

TEST_F(Cable, SwitchDeadForBothHealsToOne) {
    PairSpec spec;
    spec.ping_nodes = {"10.77.0.1"};
    begin(spec);
    if (HasFatalFailure()) return;
    for (const char* node : {"lb1", "lb2"})
        for (const char* interface : {"eth0", "eth1"}) lab_.cable(node, interface, false);
    std::this_thread::sleep_for(5s);
    for (const char* node : {"lb1", "lb2"})
        for (const char* interface : {"eth0", "eth1"}) lab_.cable(node, interface, true);
    EXPECT_TRUE(wait_until([&] { return exactly_one_holds(); }, 10s));
    EXPECT_TRUE(prober_->wait_answers("", 10s, 500));
    std::this_thread::sleep_for(2s);
    EXPECT_TRUE(exactly_one_holds());
}

}  // namespace
}  // namespace lbcluster::lab
