// The heartbeat is broken, the nodes are not (HA-1, HA-2): paths cut in both or in one direction, lossy networks, nodes
// that start while they cannot hear each other, nodes that are configured differently. Nothing moves.
#include <cstdlib>

#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Split : public PairTest {
  protected:
    void on_both_networks(const std::string& node, const std::string& match, unsigned percent = 100) {
        for (const char* interface : {"eth0", "eth1"}) lab_.drop(node, interface, match, percent);
    }
    void heal() {
        for (const char* node : {"lb1", "lb2"}) lab_.heal(node);
    }
    std::string link_states(const std::string& node) {
        const Json links = pair().status(node)["links"];
        std::string text;
        for (std::size_t i = 0; i < links.size(); ++i) text += (i == 0 ? "" : " ") + links[i]["state"].text();
        return text;
    }
    void remember_term() { term_ = pair().status("lb1")["node"]["term"].number(); }
    void expect_unmoved() {
        EXPECT_TRUE(pair().wait_settled("lb1", 5s));
        EXPECT_EQ(pair().status("lb1")["node"]["term"].number(), term_);
        EXPECT_EQ(prober_->report().answered_by.count("lb2"), 0U);
        expect_never_two();
    }

    void heartbeats_cut(const PairSpec& spec, Nanoseconds time) {
        begin(spec);
        if (HasFatalFailure()) return;
        remember_term();
        for (const char* node : {"lb1", "lb2"}) on_both_networks(node, heartbeats);
        EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb2", "peer-serves"); }, 5s))
            << pair().cli("lb2", {"status"}).out;
        std::this_thread::sleep_for(time);
        EXPECT_TRUE(pair().has_alarm("lb2", "peer-serves"));
        EXPECT_TRUE(lab_.holds("lb1", vip));
        EXPECT_FALSE(lab_.holds("lb2", vip));
        heal();
        EXPECT_TRUE(pair().wait_settled("lb1"));
        EXPECT_TRUE(wait_until([&] { return !pair().has_alarm("lb2", "peer-serves"); }, 8s));
        expect_unmoved();
        expect_nobody_noticed();
    }

    // `deaf` hears nothing of the other node, which hears it: both can see that, and nothing moves.
    void one_way(const std::string& deaf) {
        begin({});
        if (HasFatalFailure()) return;
        remember_term();
        const std::string hearing = Pair::peer_of(deaf);
        on_both_networks(deaf, heartbeats);
        EXPECT_TRUE(wait_until([&] { return pair().has_alarm(hearing, "peer-does-not-hear"); }, 8s))
            << pair().cli(hearing, {"status"}).out;
        EXPECT_TRUE(wait_until([&] { return link_states(hearing) == "one-way one-way"; }, 5s)) << link_states(hearing);
        EXPECT_EQ(link_states(deaf), "down down");
        std::this_thread::sleep_for(5s);  // longer than the lease and deadtime
        EXPECT_TRUE(lab_.holds("lb1", vip));
        EXPECT_FALSE(lab_.holds("lb2", vip));
        heal();
        EXPECT_TRUE(wait_until([&] { return link_states("lb1") == "up up" && link_states("lb2") == "up up"; }, 8s));
        expect_unmoved();
        expect_nobody_noticed();
    }

    // That share of everything that arrives, ARP and echoes included, on both networks of both nodes.
    void loss(unsigned percent) {
        PairSpec spec;
        spec.ping_nodes = {"10.77.0.1"};
        begin(spec);
        if (HasFatalFailure()) return;
        remember_term();
        for (const char* node : {"lb1", "lb2"}) on_both_networks(node, "", percent);
        std::this_thread::sleep_for(std::getenv("LBCLUSTER_FULL") == nullptr ? 15s : 60s);
        EXPECT_TRUE(lab_.holds("lb1", vip));
        EXPECT_FALSE(lab_.holds("lb2", vip));
        std::printf("    client: %s\n", prober_->report().text().c_str());
        heal();
        expect_unmoved();
    }

    double term_ = 0;
};

TEST_F(Split, BothHeartbeatPathsCutMovesNothing) { heartbeats_cut({}, 8s); }
TEST_F(Split, BothHeartbeatPathsCutMovesNothingAt10And30WithAPingNode) {
    PairSpec spec;
    spec.timers = timers_10_30;
    spec.ping_nodes = {"10.77.0.1"};
    heartbeats_cut(spec, 6s);
}

TEST_F(Split, PassiveIsDeaf) { one_way("lb2"); }
TEST_F(Split, ActiveIsDeaf) { one_way("lb1"); }

TEST_F(Split, OneWayLinkBesideASoundOneShowsInStatus) {
    begin({});
    if (HasFatalFailure()) return;
    remember_term();
    lab_.drop("lb2", "eth1", heartbeats);
    EXPECT_TRUE(wait_until([&] { return link_states("lb1") == "up one-way" && link_states("lb2") == "up down"; }, 10s))
        << link_states("lb1") << ", " << link_states("lb2");
    EXPECT_FALSE(pair().has_alarm("lb1", "peer-does-not-hear"));
    heal();
    EXPECT_TRUE(wait_until([&] { return link_states("lb1") == "up up" && link_states("lb2") == "up up"; }, 10s));
    expect_unmoved();
    expect_nobody_noticed();
}

TEST_F(Split, TenPercentLossMovesNothing) { loss(10); }
TEST_F(Split, TwentyPercentLossMovesNothing) { loss(20); }
TEST_F(Split, ThirtyPercentLossMovesNothing) { loss(30); }

// Without carrier nobody claims; afterwards one does.
TEST_F(Split, BootWithEveryCableOutHealsToOne) {
    make({});
    observer_.emplace(lab_.host("obs"), "eth0", vip);
    for (const char* node : {"lb1", "lb2"})
        for (const char* interface : {"eth0", "eth1"}) lab_.cable(node, interface, false);
    pair().start();
    std::this_thread::sleep_for(7s);  // longer than initdead
    EXPECT_FALSE(lab_.holds("lb1", vip));
    EXPECT_FALSE(lab_.holds("lb2", vip));
    for (const char* node : {"lb1", "lb2"})
        for (const char* interface : {"eth0", "eth1"}) lab_.cable(node, interface, true);
    EXPECT_TRUE(pair().wait_settled("lb1", 10s));
    expect_never_two();
}

// No heartbeat passes, and ARP for the floating IP is filtered between the nodes while others see both: no witness can
// show it, so both serve. Healed, it ends within 3 keepalives and a round trip (invariant 1). Neighbour entries stay
// whole: a kernel that has to resolve an address anew may take a second for it.
TEST_F(Split, BootWhileNothingShowsTheOtherNodeHealsToOne) {
    make({});
    for (const char* node : {"lb1", "lb2"}) {
        on_both_networks(node, heartbeats);
        lab_.drop(node, "eth0",
                  "ether saddr " + Lab::mac(Pair::peer_of(node), "eth0") + " arp daddr ip " + std::string(vip));
    }
    pair().start();
    ASSERT_TRUE(wait_until([&] { return lab_.holds("lb1", vip) && lab_.holds("lb2", vip); }, 15s));
    watch();
    mark();
    const TimePoint healing = Clock::now();
    heal();  // one node after the other
    const Nanoseconds took = Clock::now() - healing;
    const auto one = [&] { return lab_.holds("lb1", vip) != lab_.holds("lb2", vip); };
    ASSERT_TRUE(wait_until(one, 5s));
    const std::string serving = lab_.holds("lb1", vip) ? "lb1" : "lb2";
    EXPECT_TRUE(pair().wait_settled(serving, 5s));
    EXPECT_TRUE(prober_->wait_answers(serving, 5s, 500));
    const ObserverReport seen = observer_->report();
    std::printf("    healing took %.0f ms, observer: %s\n", static_cast<double>(took.count()) / 1e6,
                seen.text().c_str());
    EXPECT_LE(seen.two_answered_longest, took + 350ms) << seen.text();
    mark();
    std::this_thread::sleep_for(2s);
    expect_never_two();
    expect_nobody_noticed();
}

// An address more in the active's configuration: it is served, and nothing moves.
TEST_F(Split, OneMoreAddressOnTheActiveMovesNothing) {
    begin({});
    if (HasFatalFailure()) return;
    remember_term();
    PairSpec more = pair().spec();
    more.floating_ips.emplace_back("10.77.0.201");
    write_file(pair().config_dir("lb1") + "/cluster.yaml", cluster_yaml(more));
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.77.0.201"); }, 5s));
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb2", "config-differs"); }, 5s));
    std::this_thread::sleep_for(3s);
    EXPECT_FALSE(lab_.holds("lb2", "10.77.0.201"));
    expect_unmoved();
    expect_nobody_noticed();
}

}  // namespace
}  // namespace lbcluster::lab
