// What a network does to datagrams, and what an attacker on it can do (HA-1; invariants 3 and 9 of the protocol): the
// only heartbeat path goes through a relay. Nothing moves, and counters count.
#include <algorithm>
#include <map>
#include <random>

#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Noise : public PairTest {
  protected:
    void begin_through_relay(const std::string& timers = lan_timers) {
        relay_ = std::make_unique<UdpRelay>(lab_.host("relay"));
        PairSpec spec;
        spec.timers = timers;
        spec.links = {LinkSpec::through_relay()};
        begin(spec);
    }
    void TearDown() override {
        PairTest::TearDown();
        relay_.reset();
    }
    double drops(const std::string& node) { return pair().status(node)["counters"].sum("dropped_"); }
    void expect_unmoved() {
        EXPECT_TRUE(pair().wait_settled("lb1", 5s));
        expect_nobody_noticed();
        expect_never_two();
        EXPECT_EQ(pair().status("lb1")["node"]["term"].number(), term_);
    }
    void remember_term() { term_ = pair().status("lb1")["node"]["term"].number(); }

    std::mt19937 random_{20261121};
    std::unique_ptr<UdpRelay> relay_;
    double term_ = 0;
};

TEST_F(Noise, DuplicatesAndReorderingMoveNothing) {
    begin_through_relay();
    if (HasFatalFailure()) return;
    remember_term();
    std::map<std::string, std::vector<Datagram>> waiting;
    relay_->set_rule([&](const std::string& from, const Datagram& datagram) {
        auto& queue = waiting[from];
        queue.push_back(datagram);
        if (queue.size() < 3) return std::vector<Datagram>{};
        std::vector<Datagram> out = queue;
        std::shuffle(out.begin(), out.end(), random_);
        out.push_back(out[random_() % out.size()]);  // and one of them twice
        queue.clear();
        return out;
    });
    std::this_thread::sleep_for(8s);
    relay_->set_rule({});
    expect_unmoved();
    EXPECT_EQ(pair().status("lb2")["peer"]["state"].text(), "alive");
}

// Everything that ever passed, again and again, to both nodes: own and the peer's (reflection).
TEST_F(Noise, ReplayAndReflectionMoveNothing) {
    begin_through_relay();
    if (HasFatalFailure()) return;
    remember_term();
    const auto recorded = relay_->heard();
    ASSERT_GT(recorded.size(), 4U);
    for (int round = 0; round < 40; ++round) {
        for (const auto& [from, datagram] : recorded) {
            relay_->inject("lb1", datagram);
            relay_->inject("lb2", datagram);
        }
        std::this_thread::sleep_for(100ms);
    }
    expect_unmoved();
    EXPECT_GT(drops("lb1"), 0) << pair().cli("lb1", {"status", "--json"}).out;
    EXPECT_GT(drops("lb2"), 0);
}

// Recorded in an earlier life of both nodes, played back in a later one.
TEST_F(Noise, ReplayFromAnEarlierLifeMovesNothing) {
    begin_through_relay();
    if (HasFatalFailure()) return;
    EXPECT_EQ(pair().cli("lb2", {"activate"}).exit_code, 0);
    ASSERT_TRUE(pair().wait_settled("lb2"));
    EXPECT_EQ(pair().cli("lb1", {"activate"}).exit_code, 0);
    ASSERT_TRUE(pair().wait_settled("lb1"));
    const auto recorded = relay_->heard();
    for (const char* node : {"lb2", "lb1"}) {
        const unsigned starts = pair().daemon(node).starts();
        pair().daemon(node).signal(SIGKILL);
        ASSERT_TRUE(wait_until([&] { return pair().daemon(node).starts() > starts; }, 5s));
        ASSERT_TRUE(pair().wait_settled("lb1"));
    }
    mark();
    remember_term();
    for (int round = 0; round < 20; ++round) {
        for (const auto& [from, datagram] : recorded) relay_->inject(Pair::peer_of(from), datagram);
        std::this_thread::sleep_for(100ms);
    }
    expect_unmoved();
}

// Forged, truncated, extended, every one with a flipped bit, beside the true ones.
TEST_F(Noise, ForgeryAndTruncationMoveNothing) {
    begin_through_relay();
    if (HasFatalFailure()) return;
    remember_term();
    const double before = drops("lb2");
    relay_->set_rule([&](const std::string&, const Datagram& datagram) {
        std::vector<Datagram> out{datagram};
        for (int i = 0; i < 20; ++i) {
            Datagram changed = datagram;
            switch (random_() % 5) {
                case 0:
                    changed[random_() % changed.size()] ^= static_cast<std::uint8_t>(1U << (random_() % 8));
                    break;
                case 1:
                    changed.resize(random_() % changed.size());
                    break;
                case 2:
                    changed.resize(changed.size() + 1 + random_() % 600, 0x55);
                    break;
                case 3:
                    for (auto& byte : changed) byte = static_cast<std::uint8_t>(random_());
                    break;
                default:
                    changed.assign(1400, static_cast<std::uint8_t>(random_()));
                    break;
            }
            out.push_back(changed);
        }
        return out;
    });
    std::this_thread::sleep_for(8s);
    relay_->set_rule({});
    expect_unmoved();
    EXPECT_GT(drops("lb2"), before + 100) << pair().cli("lb2", {"status", "--json"}).out;
}

// A peer with the wrong key is nobody: it must not be heard, and whoever serves goes on doing so.
TEST_F(Noise, WrongKeyIsNotHeard) {
    PairSpec spec;
    make(spec);
    write_file(pair().state_dir("lb2") + "/keys/heartbeat.key",
               "cluster: 00112233445566778899aabbccddeeff\nkey: "
               "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n",
               0600);
    pair().start("lb1");
    ASSERT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 10s));
    watch();
    pair().start("lb2");
    std::this_thread::sleep_for(8s);
    EXPECT_TRUE(lab_.holds("lb1", vip));
    EXPECT_FALSE(lab_.holds("lb2", vip));
    EXPECT_NE(pair().status("lb1")["peer"]["state"].text(), "alive");
    EXPECT_GT(drops("lb1"), 0) << pair().cli("lb1", {"status", "--json"}).out;
    expect_nobody_noticed();
    expect_never_two();
}

TEST_F(Noise, LossInBurstsMovesNothing) {
    begin_through_relay();
    if (HasFatalFailure()) return;
    remember_term();
    std::uint64_t seen = 0;
    // Six of ten in a row are gone, each way: just less than deadtime.
    relay_->set_rule([&](const std::string&, const Datagram& datagram) {
        return ++seen % 20 < 12 ? std::vector<Datagram>{} : std::vector<Datagram>{datagram};
    });
    std::this_thread::sleep_for(10s);
    relay_->set_rule({});
    expect_unmoved();
}

}  // namespace
}  // namespace lbcluster::lab
