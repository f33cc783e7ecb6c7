// Serial links (HA-1): a pair on a pseudo terminal pair alone, and mixed with UDP.
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Serial : public PairTest {
  protected:
    LinkSpec line() { return LinkSpec::serial(cable_.device(0), cable_.device(1)); }
    std::string link_state(const std::string& node, std::size_t index) {
        return pair().status(node)["links"][index]["state"].text();
    }

    SerialCable cable_;
};

TEST_F(Serial, OnlyLinkFailsOver) {
    PairSpec spec;
    spec.links = {line()};
    begin(spec);
    if (HasFatalFailure()) return;
    EXPECT_EQ(pair().status("lb1")["links"][0]["kind"].text(), "serial");
    for (const char* node : {"lb2", "lb1"}) {
        EXPECT_EQ(pair().cli(node, {"activate"}).exit_code, 0);
        EXPECT_TRUE(pair().wait_settled(node));
    }
    expect_nobody_noticed();  // both hold the address for a moment: a planned move lets nobody wait
    mark();
    pair().power_off("lb1");
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s, 200));
    expect_gap_at_most(1200ms);
    expect_never_two();
    mark();
    pair().power_on("lb1");
    EXPECT_TRUE(pair().wait_settled("lb2"));
    expect_nobody_noticed();
    expect_never_two();
}

// The line is pulled: the address probe shows that the other one serves.
TEST_F(Serial, OnlyLinkPulledMovesNothing) {
    PairSpec spec;
    spec.links = {line()};
    begin(spec);
    if (HasFatalFailure()) return;
    cable_.plug(false);
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb2", "peer-serves"); }, 5s));
    std::this_thread::sleep_for(5s);
    EXPECT_TRUE(lab_.holds("lb1", vip));
    EXPECT_FALSE(lab_.holds("lb2", vip));
    cable_.plug(true);
    EXPECT_TRUE(wait_until([&] { return link_state("lb1", 0) == "up" && link_state("lb2", 0) == "up"; }, 5s));
    EXPECT_TRUE(pair().wait_settled("lb1"));
    expect_nobody_noticed();
    expect_never_two();
}

// Every UDP path is cut and the line lives: not even late. Then the other way round, then the machine vanishes.
TEST_F(Serial, MixedLinksSurviveTheLossOfEither) {
    PairSpec spec;
    spec.links = {LinkSpec::lan(), LinkSpec::heartbeat_net(), line()};
    begin(spec);
    if (HasFatalFailure()) return;
    const double term = pair().status("lb1")["node"]["term"].number();
    for (const char* node : {"lb1", "lb2"})
        for (const char* interface : {"eth0", "eth1"}) lab_.drop(node, interface, heartbeats);
    EXPECT_TRUE(wait_until([&] { return link_state("lb2", 0) == "down" && link_state("lb2", 1) == "down"; }, 5s));
    std::this_thread::sleep_for(5s);
    for (const char* node : {"lb1", "lb2"}) {
        EXPECT_EQ(link_state(node, 2), "up") << node;
        EXPECT_EQ(pair().status(node)["peer"]["state"].text(), "alive") << node;
        EXPECT_FALSE(pair().has_alarm(node, "peer-serves")) << node;
        lab_.heal(node);
    }
    EXPECT_TRUE(wait_until([&] { return link_state("lb2", 0) == "up" && link_state("lb2", 1) == "up"; }, 5s));
    cable_.plug(false);
    EXPECT_TRUE(wait_until([&] { return link_state("lb2", 2) == "down"; }, 5s));
    std::this_thread::sleep_for(3s);
    EXPECT_EQ(pair().status("lb2")["peer"]["state"].text(), "alive");
    cable_.plug(true);
    EXPECT_TRUE(wait_until([&] { return link_state("lb2", 2) == "up"; }, 5s));
    EXPECT_TRUE(pair().wait_settled("lb1"));
    EXPECT_EQ(pair().status("lb1")["node"]["term"].number(), term);
    expect_nobody_noticed();
    expect_never_two();
    mark();
    pair().power_off("lb1");
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s, 200));
    expect_gap_at_most(1200ms);
    expect_never_two();
}

// The LAN cable of the active is pulled; the line is the second link that tells.
TEST_F(Serial, PulledLanCableCostsAtMost20Ms) {
    PairSpec spec;
    spec.links = {LinkSpec::lan(), line()};
    begin(spec);
    if (HasFatalFailure()) return;
    lab_.cable("lb1", "eth0", false);
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s, 200));
    expect_gap_at_most(20ms);
    mark();
    lab_.cable("lb1", "eth0", true);
    EXPECT_TRUE(pair().wait_settled("lb2"));
    std::this_thread::sleep_for(1s);
    expect_nobody_noticed();
    expect_never_two();
}

}  // namespace
}  // namespace lbcluster::lab
