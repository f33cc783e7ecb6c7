// Cables pulled and plugged in again (HA-1, HA-2, HA-3): exactly one node serves, whatever is pulled.
#include "tests/lab/measure.hpp"
#include "tests/lab/pair_test.hpp"
#include "tests/lab/tcp.hpp"

namespace lbcluster::lab {
namespace {

const std::vector<std::string> gateway{"10.77.0.1"};

class Cable : public PairTest {
  protected:
    TcpService tcp_{{&lab_.host("lb1"), &lab_.host("lb2")}};

    // More repetitions where time does not matter.
    static int pulls(int normally) { return full_run() ? 20 : normally; }

    bool exactly_one_holds() { return lab_.holds("lb1", vip) != lab_.holds("lb2", vip); }

    bool announced_by(const std::string& node) {
        return PairTest::announced_by(node, observer_) && PairTest::announced_by(node, observer_v6_);
    }
    // One client for each floating IP, with an established connection.
    struct Clients {
        TcpSession v4;
        TcpSession v6;
        explicit Clients(const Lab& lab) : v4(lab.host("client"), vip), v6(lab.host("client"), vip_v6) {}
        [[nodiscard]] bool served_by(const std::string& node) const {
            return v4.host() == node && v6.host() == node && v4.wait_echoes(20, 2s) && v6.wait_echoes(20, 2s);
        }
    };
    // Pulled: the other one serves within `limit`, new clients as well. Who was connected is told (reset) and hangs no
    // longer than its next repetition.
    void pull(const std::string& active, Nanoseconds limit) {
        const std::string next = Pair::peer_of(active);
        const Clients before(lab_);
        ASSERT_TRUE(before.served_by(active));
        mark();
        lab_.cable(active, "eth0", false);
        ASSERT_TRUE(prober_->wait_answers(next, 5s, 200));
        expect_gap_at_most(limit);
        EXPECT_TRUE(Clients(lab_).served_by(next)) << "no new connection";
        EXPECT_TRUE(wait_until([&] { return !before.v4.alive() && !before.v6.alive(); }, 5s));
    }
    // Plugged in again: nobody notices, nothing moves back, and the server announces itself anew, for what was cut off
    // with the other one still has its MAC address. Long after the take-over, whose last repetition comes after 7 s.
    void plug_in(const std::string& was_active, bool heartbeats_were_cut) {
        const std::string serving = Pair::peer_of(was_active);
        const Clients established(lab_);
        ASSERT_TRUE(established.served_by(serving));
        mark();
        lab_.cable(was_active, "eth0", true);
        ASSERT_TRUE(pair().wait_settled(serving, 5s));
        if (heartbeats_were_cut) {
            EXPECT_TRUE(wait_until([&] { return announced_by(serving); }, 5s)) << observer_->report().text();
        }
        EXPECT_TRUE(prober_->wait_answers(serving, 5s, 500));
        EXPECT_FALSE(PairTest::announced_by(was_active, observer_));
        EXPECT_FALSE(PairTest::announced_by(was_active, observer_v6_));
        EXPECT_TRUE(established.served_by(serving)) << "an established connection was lost";
        EXPECT_TRUE(Clients(lab_).served_by(serving)) << "no new connection";
        expect_nobody_noticed();
        expect_never_two();
    }

    // The only path of the heartbeats goes with the cable: silence decides.
    void only_link(const std::vector<std::string>& ping_nodes) {
        PairSpec spec = both_families();
        spec.links = {LinkSpec::lan()};
        spec.ping_nodes = ping_nodes;
        begin(spec);
        if (HasFatalFailure()) return;
        std::string active = "lb1";
        for (int i = 0; i < pulls(1); ++i) {
            // One fault at a time: after carrier and ping nodes came back nothing is claimed for one deadtime.
            for (const char* node : {"lb1", "lb2"}) {
                ASSERT_TRUE(wait_until([&] { return pair().status(node)["peer"]["state"].text() == "alive"; }, 5s));
                ASSERT_TRUE(wait_until([&] { return !pair().has_alarm(node, "ping-nodes-lost"); }, 5s));
            }
            std::this_thread::sleep_for(1500ms);
            ASSERT_NO_FATAL_FAILURE(pull(active, 1200ms));
            if (HasFailure()) return;  // the end of the logs tells why
            // Nobody can see it any more, but what is cut off lets go: plugged in again it must not answer.
            ASSERT_TRUE(wait_until([&] { return exactly_one_holds(); }, 5s)) << "who is cut off keeps its address";
            std::this_thread::sleep_for(8s);
            ASSERT_NO_FATAL_FAILURE(plug_in(active, true));
            active = Pair::peer_of(active);
        }
    }

    // A second path lives: said by heartbeat at once.
    void second_link(PairSpec spec, Nanoseconds limit) {
        begin(spec);
        if (HasFatalFailure()) return;
        std::string active = "lb1";
        for (int i = 0; i < pulls(4); ++i) {
            ASSERT_TRUE(wait_until([&] { return !pair().has_alarm(Pair::peer_of(active), "interface/eth0"); }, 8s));
            ASSERT_NO_FATAL_FAILURE(pull(active, limit));
            ASSERT_TRUE(wait_until([&] { return !lab_.holds(active, vip); }, 2s));
            ASSERT_NO_FATAL_FAILURE(plug_in(active, false));
            active = Pair::peer_of(active);
        }
    }
};

TEST_F(Cable, OnlyLinkPulledWithAPingNode) { only_link(gateway); }
TEST_F(Cable, OnlyLinkPulledWithoutPingNode) { only_link({}); }

TEST_F(Cable, PulledCableCostsAtMost20MsWithASecondLink) { second_link(both_families(), 20ms); }
TEST_F(Cable, PulledCableCostsAtMost20MsWithASecondLinkAndAPingNode) {
    PairSpec spec = both_families();
    spec.ping_nodes = gateway;
    second_link(spec, 20ms);
}
TEST_F(Cable, PulledCableCostsAtMost20MsAt10And30) {
    PairSpec spec = both_families();
    spec.timers = timers_10_30;
    second_link(spec, 20ms);
}

TEST_F(Cable, PassivesCableMovesNothing) {
    PairSpec spec;
    spec.ping_nodes = gateway;
    begin(spec);
    if (HasFatalFailure()) return;
    lab_.cable("lb2", "eth0", false);
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb2", "interface/eth0"); }, 3s));
    std::this_thread::sleep_for(3s);
    lab_.cable("lb2", "eth0", true);
    std::this_thread::sleep_for(2s);
    expect_nobody_noticed();
    expect_never_two();
    EXPECT_TRUE(pair().wait_settled("lb1"));
}

// The heartbeat network alone: nothing but an alarm.
TEST_F(Cable, HeartbeatCableMovesNothing) {
    begin({});
    if (HasFatalFailure()) return;
    lab_.cable("lb1", "eth1", false);
    EXPECT_TRUE(wait_until([&] { return pair().status("lb2")["links"][1]["state"].text() == "down"; }, 5s));
    std::this_thread::sleep_for(3s);
    lab_.cable("lb1", "eth1", true);
    EXPECT_TRUE(wait_until([&] { return pair().status("lb2")["links"][1]["state"].text() == "up"; }, 5s));
    EXPECT_TRUE(pair().wait_settled("lb1"));
    expect_nobody_noticed();
    expect_never_two();
}

// The ping node reboots: first under the eyes of both, then while one node serves alone.
TEST_F(Cable, GatewayRebootMovesNothingAndALoneNodeKeepsServing) {
    PairSpec spec;
    spec.ping_nodes = gateway;
    begin(spec);
    if (HasFatalFailure()) return;
    lab_.cable("gw", "eth0", false);
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "ping-nodes-lost"); }, 5s));
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb2", "ping-nodes-lost"); }, 5s));
    std::this_thread::sleep_for(3s);
    lab_.cable("gw", "eth0", true);
    EXPECT_TRUE(wait_until([&] { return !pair().has_alarm("lb1", "ping-nodes-lost"); }, 8s));
    EXPECT_TRUE(pair().wait_settled("lb1"));
    pair().power_off("lb2");
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "peer-dead"); }, 5s));
    std::this_thread::sleep_for(3s);  // longer than what "at the same time" means
    lab_.cable("gw", "eth0", false);
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "ping-nodes-lost"); }, 5s));
    std::this_thread::sleep_for(4s);
    EXPECT_TRUE(lab_.holds("lb1", vip));
    lab_.cable("gw", "eth0", true);
    std::this_thread::sleep_for(2s);
    EXPECT_EQ(pair().activity("lb1"), "active");
    expect_nobody_noticed();
    expect_never_two();
}

// The switches die for both nodes: both are cut off, and afterwards one serves. During the first 3 keepalives and a
// round trip both may answer (invariant 1).
TEST_F(Cable, SwitchDeadForBothHealsToOne) {
    PairSpec spec;
    spec.ping_nodes = gateway;
    begin(spec);
    if (HasFatalFailure()) return;
    for (const char* node : {"lb1", "lb2"})
        for (const char* interface : {"eth0", "eth1"}) lab_.cable(node, interface, false);
    std::this_thread::sleep_for(5s);
    mark();
    for (const char* node : {"lb1", "lb2"})
        for (const char* interface : {"eth0", "eth1"}) lab_.cable(node, interface, true);
    EXPECT_TRUE(prober_->wait_answers("", 10s, 500));
    EXPECT_TRUE(wait_until([&] { return exactly_one_holds(); }, 10s));
    EXPECT_TRUE(pair().wait_settled(lab_.holds("lb1", vip) ? "lb1" : "lb2", 5s));
    const ObserverReport seen = observer_->report();
    EXPECT_LE(seen.two_answered_longest, 350ms) << seen.text();
    std::printf("    client: %s\n    observer: %s\n", prober_->report().text().c_str(), seen.text().c_str());
}

}  // namespace
}  // namespace lbcluster::lab
