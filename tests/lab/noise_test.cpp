// What a network does to datagrams, and what an attacker on it can do (HA-1; invariants 3 and 9 of the protocol): the
// only heartbeat path goes through a relay. Nothing moves, and the counters tell what was dropped and why.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <random>

#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Noise : public PairTest {
  protected:
    void begin_through_relay() {
        relay_ = std::make_unique<UdpRelay>(lab_.host("relay"));
        PairSpec spec;
        spec.links = {LinkSpec::through_relay()};
        begin(spec);
        if (!HasFatalFailure()) remember_term();
    }
    void TearDown() override {
        PairTest::TearDown();
        relay_.reset();
    }
    double counter(const std::string& node, const std::string& name) {
        return pair().status(node)["counters"]["dropped_" + name].number();
    }
    double drops(const std::string& node) { return pair().status(node)["counters"].sum("dropped_"); }
    std::string counters(const std::string& node) { return pair().cli(node, {"status", "--json"}).out; }
    void remember_term() { term_ = pair().status("lb1")["node"]["term"].number(); }
    void expect_unmoved() {
        EXPECT_TRUE(pair().wait_settled("lb1", 5s));
        expect_nobody_noticed();
        expect_never_two();
        EXPECT_EQ(pair().status("lb1")["node"]["term"].number(), term_);
        for (const char* node : {"lb1", "lb2"}) {
            EXPECT_EQ(pair().status(node)["peer"]["state"].text(), "alive") << node;
            EXPECT_EQ(pair().daemon(node).starts(), starts_[node]) << node;
        }
    }
    void expect_counted(const std::string& node, const std::string& name, double at_least = 1) {
        EXPECT_TRUE(wait_until([&] { return counter(node, name) >= at_least; }, 3s))
            << node << " dropped_" << name << ": " << counters(node);
    }
    // Paced, so that no receive buffer overflows and every one counts.
    void inject(const std::string& node, const std::vector<Datagram>& datagrams) {
        for (std::size_t i = 0; i < datagrams.size(); ++i) {
            relay_->inject(node, datagrams[i]);
            if (i % 20 == 19) std::this_thread::sleep_for(2ms);
        }
    }
    std::vector<Datagram> heard_from(const std::string& node) {
        std::vector<Datagram> found;
        for (auto& [from, datagram] : relay_->heard())
            if (from == node) found.push_back(std::move(datagram));
        return found;
    }
    void restart(const std::string& node) {
        const unsigned starts = pair().daemon(node).starts();
        pair().daemon(node).signal(SIGKILL);
        ASSERT_TRUE(wait_until([&] { return pair().daemon(node).starts() > starts; }, 5s));
        starts_[node] = starts + 1;
        ASSERT_TRUE(pair().wait_settled("lb1"));
    }

    // lb2 was active with a claim, and resigned; a node is restarted; all that lb2 said comes again to lb1.
    void replay_after_restart_of(const std::string& restarted, const std::string& counted_as) {
        begin_through_relay();
        if (HasFatalFailure()) return;
        for (const char* node : {"lb2", "lb1"}) {
            ASSERT_EQ(pair().cli(node, {"activate"}).exit_code, 0);
            ASSERT_TRUE(pair().wait_settled(node));
        }
        const auto recorded = heard_from("lb2");
        ASSERT_NO_FATAL_FAILURE(restart(restarted));
        mark();
        remember_term();
        for (int round = 0; round < 20; ++round) {
            inject("lb1", recorded);
            std::this_thread::sleep_for(100ms);
        }
        expect_unmoved();
        expect_counted("lb1", counted_as, 20);
    }

    std::mt19937 random_{20261121};
    std::unique_ptr<UdpRelay> relay_;
    double term_ = 0;
    std::map<std::string, unsigned> starts_{{"lb1", 1}, {"lb2", 1}};
};

TEST_F(Noise, DuplicatesAndReorderingMoveNothing) {
    begin_through_relay();
    if (HasFatalFailure()) return;
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
    for (const char* node : {"lb1", "lb2"}) {
        expect_counted(node, "replayed", 5);
        expect_counted(node, "accepted_late", 5);
    }
}

// Everything that ever passed, again and again, to both nodes: the peer's (replay) and the own (reflection).
TEST_F(Noise, ReplayAndReflectionMoveNothing) {
    begin_through_relay();
    if (HasFatalFailure()) return;
    const auto from_lb1 = heard_from("lb1");
    const auto from_lb2 = heard_from("lb2");
    ASSERT_GT(from_lb1.size() + from_lb2.size(), 4U);
    for (int round = 0; round < 40; ++round) {
        for (const char* node : {"lb1", "lb2"}) {
            inject(node, from_lb1);
            inject(node, from_lb2);
        }
        std::this_thread::sleep_for(100ms);
    }
    expect_unmoved();
    for (const char* node : {"lb1", "lb2"}) {
        expect_counted(node, "replayed", 20);
        expect_counted(node, "reflected", 20);
    }
}

// The sender was restarted; what its former life said while it was active is void for the receiver that lived on.
TEST_F(Noise, ReplayOfASendersFormerLifeMovesNothing) { replay_after_restart_of("lb2", "old_session"); }

// The receiver was restarted: it has forgotten the sequence numbers, but nothing recorded names its new boot id.
TEST_F(Noise, ReplayIntoARestartedReceiverMovesNothing) { replay_after_restart_of("lb1", "greeting"); }

// Truncated, extended, random, too long, beside the true ones.
TEST_F(Noise, ForgeryAndTruncationMoveNothing) {
    begin_through_relay();
    if (HasFatalFailure()) return;
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
    std::this_thread::sleep_for(6s);
    relay_->set_rule({});
    expect_unmoved();
    EXPECT_GT(drops("lb2"), before + 500) << counters("lb2");
    for (const char* reason : {"bad-mac", "bad-magic", "too-short", "too-long"}) expect_counted("lb2", reason, 10);
}

// Every single bit of a true heartbeat turned, and every shorter length of it.
TEST_F(Noise, EveryFlippedBitAndEveryTruncationIsRejected) {
    begin_through_relay();
    if (HasFatalFailure()) return;
    const Datagram heartbeat = heard_from("lb2").back();
    std::vector<Datagram> changed;
    for (std::size_t bit = 0; bit < heartbeat.size() * 8; ++bit) {
        changed.push_back(heartbeat);
        changed.back()[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    }
    for (std::size_t length = 1; length < heartbeat.size(); ++length)
        changed.emplace_back(heartbeat.begin(), heartbeat.begin() + static_cast<std::ptrdiff_t>(length));
    // Well-formed heartbeats that are dropped by the session count elsewhere.
    const auto rejected = [&] {
        const Json now = pair().status("lb1")["counters"];
        double sum = 0;
        for (const char* reason : {"too-short", "bad-magic", "format-version", "unknown-key", "bad-name", "bad-mac"})
            sum += now["dropped_" + std::string(reason)].number();
        return sum;
    };
    const double before = rejected();
    inject("lb1", changed);
    EXPECT_TRUE(wait_until([&] { return rejected() - before >= static_cast<double>(changed.size()); }, 5s))
        << rejected() - before << " of " << changed.size() << ": " << counters("lb1");
    EXPECT_EQ(rejected() - before, static_cast<double>(changed.size()));
    std::printf("    %zu altered heartbeats, all rejected\n", changed.size());
    expect_unmoved();
}

// A machine that is not the peer sends to the port.
TEST_F(Noise, StrangersAreCountedAndIgnored) {
    begin({});
    if (HasFatalFailure()) return;
    remember_term();
    lab_.host("rs1").run([] {
        const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(6694);
        ::inet_pton(AF_INET, "10.77.0.11", &to.sin_addr);
        const Datagram junk(300, 0x4c);
        for (int i = 0; i < 200; ++i) {
            ::sendto(fd, junk.data(), junk.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
            std::this_thread::sleep_for(5ms);
        }
        ::close(fd);
    });
    expect_unmoved();
    expect_counted("lb1", "stranger", 100);
}

// A peer with the wrong key, or of another cluster, is nobody: it must not be heard, and whoever serves goes on.
class NoiseOtherKey : public Noise {
  protected:
    void other_key(const std::string& key_file, const std::string& reason) {
        relay_ = std::make_unique<UdpRelay>(lab_.host("relay"));
        PairSpec spec;
        spec.links = {LinkSpec::through_relay()};
        make(spec);
        write_file(pair().state_dir("lb2") + "/keys/heartbeat.key", key_file, 0600);
        pair().start("lb1");
        ASSERT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 10s));
        watch();
        pair().start("lb2");
        std::this_thread::sleep_for(8s);  // longer than initdead
        EXPECT_TRUE(lab_.holds("lb1", vip));
        EXPECT_FALSE(lab_.holds("lb2", vip));
        for (const char* node : {"lb1", "lb2"}) {
            EXPECT_NE(pair().status(node)["peer"]["state"].text(), "alive") << node;
            expect_counted(node, reason, 10);
        }
        EXPECT_TRUE(pair().has_alarm("lb2", "peer-serves"));
        expect_nobody_noticed();
        expect_never_two();
    }
};

TEST_F(NoiseOtherKey, WrongKeyIsNotHeard) {
    other_key(
        "cluster: 00112233445566778899aabbccddeeff\nkey: "
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n",
        "unknown-key");
}

// The same secret under another cluster id derives other keys.
TEST_F(NoiseOtherKey, WrongClusterIsNotHeard) {
    // Pair keeps a key that is there already.
    const std::string secret = "key: 8899aabbccddeeff00112233445566778899aabbccddeeff0011223344556677\n";
    const std::string folder = "/run/WrongClusterIsNotHeard/lb1/state/keys";
    must_run(nullptr, {"mkdir", "-p", "-m", "0700", folder});
    write_file(folder + "/heartbeat.key", "cluster: 00112233445566778899aabbccddeeff\n" + secret, 0600);
    other_key("cluster: ffeeddccbbaa99887766554433221100\n" + secret, "bad-mac");
}

TEST_F(Noise, LossInBurstsMovesNothing) {
    begin_through_relay();
    if (HasFatalFailure()) return;
    std::uint64_t seen = 0;
    // Twelve of twenty in a row are gone, which is six each way: just less than deadtime.
    relay_->set_rule([&](const std::string&, const Datagram& datagram) {
        return ++seen % 20 < 12 ? std::vector<Datagram>{} : std::vector<Datagram>{datagram};
    });
    std::this_thread::sleep_for(10s);
    relay_->set_rule({});
    expect_unmoved();
}

}  // namespace
}  // namespace lbcluster::lab
