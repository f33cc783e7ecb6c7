// HA-1: which heartbeats may change state.
#include <gtest/gtest.h>

#include "heartbeat/core/session.hpp"

namespace lbcluster::heartbeat {
namespace {

const Instant t0{1000s};
const std::string cluster(16, 'c');

class SessionTest : public ::testing::Test {
  protected:
    Session a{"lb1", cluster, 11, 2};
    Session b{"lb2", cluster, 22, 2};

    static Heartbeat from(Session& s, Instant now, std::uint32_t link = 0) {
        Heartbeat m;
        s.fill(now, link, m);
        return m;
    }
    // A greeting each way, answered: afterwards both know each other.
    void meet() {
        EXPECT_EQ(b.receive(t0, 0, from(a, t0)).verdict, Verdict::greeting);
        Heartbeat answer = from(b, t0);
        answer.set_peer_boot_id(*b.take_greeting());
        const auto first = a.receive(t0, 0, answer);
        EXPECT_EQ(first.verdict, Verdict::accepted);
        EXPECT_TRUE(first.restarted);
        EXPECT_EQ(b.receive(t0, 0, from(a, t0)).verdict, Verdict::accepted);
    }
};

TEST_F(SessionTest, TwoNodesMeetInOneRoundTrip) {
    meet();
    EXPECT_EQ(a.peer_boot_id(), 22U);
    EXPECT_EQ(b.peer_boot_id(), 11U);
}

TEST_F(SessionTest, AGreetingChangesNothing) {
    EXPECT_EQ(b.receive(t0, 0, from(a, t0)).verdict, Verdict::greeting);
    EXPECT_FALSE(b.established());
    EXPECT_FALSE(b.last_heard(0));
}

TEST_F(SessionTest, RefusesWhatIsNotForMe) {
    meet();
    Heartbeat m = from(a, t0);
    auto with = [&](auto change) {
        Heartbeat changed = m;
        change(changed);
        return b.receive(t0, 0, changed).verdict;
    };
    EXPECT_EQ(with([](Heartbeat& h) { h.set_cluster_id(std::string(16, 'x')); }), Verdict::wrong_cluster);
    EXPECT_EQ(with([](Heartbeat& h) { h.set_receiver("lb3"); }), Verdict::misdirected);
    EXPECT_EQ(with([](Heartbeat& h) { h.set_boot_id(0); }), Verdict::no_boot_id);
    EXPECT_EQ(with([](Heartbeat& h) { h.set_sender("lb2"); }), Verdict::same_name);
    EXPECT_EQ(with([](Heartbeat& h) { h.set_peer_boot_id(77); }), Verdict::greeting);
    EXPECT_EQ(b.receive(t0, 7, m).verdict, Verdict::unknown_link);
    EXPECT_EQ(b.receive(t0, 0, from(b, t0)).verdict, Verdict::reflected);
    EXPECT_EQ(b.receive(t0, 0, m).verdict, Verdict::accepted);
    EXPECT_EQ(b.receive(t0, 0, m).verdict, Verdict::replayed);
}

TEST_F(SessionTest, AnOldLifeOfThePeerNeverComesBack) {
    meet();
    const Heartbeat recorded = from(a, t0);
    Session reborn("lb1", cluster, 12, 2);
    EXPECT_EQ(b.receive(t0, 0, from(reborn, t0)).verdict, Verdict::greeting);
    Heartbeat answer = from(b, t0);
    answer.set_peer_boot_id(*b.take_greeting());
    ASSERT_EQ(reborn.receive(t0, 0, answer).verdict, Verdict::accepted);
    const auto fresh = b.receive(t0, 0, from(reborn, t0));
    EXPECT_EQ(fresh.verdict, Verdict::accepted);
    EXPECT_TRUE(fresh.restarted);
    EXPECT_EQ(b.receive(t0, 0, recorded).verdict, Verdict::old_session);
    EXPECT_EQ(b.peer_boot_id(), 12U);
}

TEST_F(SessionTest, AnOldLifeOfMineCannotBePlayedBack) {
    meet();
    const Heartbeat recorded = from(a, t0);
    Session reborn("lb2", cluster, 23, 2);
    EXPECT_EQ(reborn.receive(t0, 0, recorded).verdict, Verdict::greeting);
    EXPECT_FALSE(reborn.established());
}

TEST_F(SessionTest, AnOlderStateDoesNotOverwriteANewerOne) {
    meet();
    Heartbeat older = from(a, t0, 0);
    Heartbeat newer = from(a, t0, 1);
    newer.set_activity(ACTIVITY_ACTIVE);
    EXPECT_EQ(b.receive(t0, 1, newer).verdict, Verdict::accepted);
    EXPECT_EQ(b.receive(t0 + 1ms, 0, older).verdict, Verdict::accepted_late);
    EXPECT_EQ(b.newest().activity(), ACTIVITY_ACTIVE);
    EXPECT_EQ(b.last_heard(0), t0 + 1ms);
}

TEST_F(SessionTest, AcknowledgementGivesRoundTripAndTheSendTime) {
    meet();
    const Heartbeat ping = from(a, t0 + 10ms);
    ASSERT_EQ(b.receive(t0 + 11ms, 0, ping).verdict, Verdict::accepted);
    ASSERT_EQ(a.receive(t0 + 14ms, 0, from(b, t0 + 13ms)).verdict, Verdict::accepted);
    EXPECT_EQ(a.acked_sent_at(), t0 + 10ms);
    EXPECT_GT(a.rtt(0), 0ms);
    EXPECT_LE(a.rtt(0), 2ms);
    EXPECT_EQ(a.newest_transit_max(), 2ms);
}

TEST_F(SessionTest, ARestartOfThePeerDoesNotForgetWhatItHadHeard) {
    meet();
    ASSERT_EQ(a.receive(t0, 0, from(b, t0)).verdict, Verdict::accepted);
    const auto acked = a.acked_sent_at();
    ASSERT_TRUE(acked);
    Session again("lb2", cluster, 77, 2);
    Heartbeat m = from(again, t0 + 1s, 1);  // names lb1's life, but has heard it on the other link only
    m.set_peer_boot_id(a.own_boot_id());
    m.set_heard_sequence(from(a, t0 + 1s, 0).sequence());
    EXPECT_TRUE(a.receive(t0 + 1s, 1, m).restarted);
    EXPECT_EQ(a.acked_sent_at(), acked);
}

// A life of the peer whose heartbeats were held back on the way, while a later one came to be heard, is over.
TEST_F(SessionTest, ALifeThatNeverArrivedCannotBePlayedBackAfterTheNextOne) {
    meet();
    const auto answered = [&](Session& life) {
        Heartbeat answer = from(b, t0);
        answer.set_peer_boot_id(life.own_boot_id());
        EXPECT_EQ(life.receive(t0, 0, answer).verdict, Verdict::accepted);
        return from(life, t0);
    };
    Session held_back("lb1", cluster, 12, 2);
    const Heartbeat recorded = answered(held_back);  // names b's life and has heard it
    Session present("lb1", cluster, 13, 2);
    ASSERT_TRUE(b.receive(t0, 0, answered(present)).restarted);
    EXPECT_EQ(b.receive(t0, 0, recorded).verdict, Verdict::greeting);
    EXPECT_EQ(b.peer_boot_id(), 13U);
    EXPECT_EQ(b.receive(t0, 0, from(present, t0)).verdict, Verdict::accepted);
}

// Played back before the present life was heard, it is believed for a moment, but does not keep the real one out.
TEST_F(SessionTest, AnOldLifePlayedFirstGivesWayToTheRealOne) {
    meet();
    Session held_back("lb1", cluster, 12, 2);
    Heartbeat answer = from(b, t0);
    answer.set_peer_boot_id(12);
    ASSERT_EQ(held_back.receive(t0, 0, answer).verdict, Verdict::accepted);
    EXPECT_TRUE(b.receive(t0, 0, from(held_back, t0)).restarted);
    Session present("lb1", cluster, 13, 2);
    EXPECT_EQ(b.receive(t0, 0, from(present, t0)).verdict, Verdict::greeting);
    answer = from(b, t0);
    answer.set_peer_boot_id(*b.take_greeting());
    ASSERT_EQ(present.receive(t0, 0, answer).verdict, Verdict::accepted);
    EXPECT_TRUE(b.receive(t0, 0, from(present, t0)).restarted);
    EXPECT_EQ(b.peer_boot_id(), 13U);
}

// What it claims to have heard must have been sent.
TEST_F(SessionTest, ANewLifeHasToHaveHeardSomethingRecent) {
    meet();
    Session again("lb1", cluster, 12, 2);
    Heartbeat m = from(again, t0);
    m.set_peer_boot_id(b.own_boot_id());
    EXPECT_EQ(b.receive(t0, 0, m).verdict, Verdict::greeting);
    m.set_heard_sequence(1u << 30);
    EXPECT_EQ(b.receive(t0, 0, m).verdict, Verdict::greeting);
    EXPECT_EQ(b.peer_boot_id(), 11U);
}

// What a new life said before it was believed was a greeting, and stays one: else it could be played back into it once.
TEST_F(SessionTest, AGreetingOfANewLifeCannotBePlayedBackIntoIt) {
    meet();
    Session again("lb1", cluster, 12, 2);
    const auto hears = [&] {
        Heartbeat answer = from(b, t0);
        answer.set_peer_boot_id(12);
        ASSERT_EQ(again.receive(t0, 0, answer).verdict, Verdict::accepted);
    };
    hears();
    ASSERT_EQ(b.receive(t0, 0, from(a, t0)).verdict, Verdict::accepted);  // the old life had one more on the way
    const Heartbeat early = from(again, t0);
    EXPECT_EQ(b.receive(t0, 0, early).verdict, Verdict::greeting);
    hears();
    ASSERT_TRUE(b.receive(t0, 0, from(again, t0)).restarted);
    EXPECT_EQ(b.receive(t0, 0, early).verdict, Verdict::greeting);
    EXPECT_EQ(b.receive(t0, 1, from(again, t0)).verdict, Verdict::accepted);
}

TEST(SequenceWindowTest, AcceptsEachNumberOnce) {
    SequenceWindow w;
    EXPECT_FALSE(w.accept(0));
    EXPECT_TRUE(w.accept(5));
    EXPECT_FALSE(w.accept(5));
    EXPECT_TRUE(w.accept(3));
    EXPECT_TRUE(w.accept(200));
    EXPECT_FALSE(w.accept(5));
    EXPECT_TRUE(w.accept(73));
    EXPECT_FALSE(w.accept(72));
    EXPECT_TRUE(w.accept(1ULL << 63));
    EXPECT_FALSE(w.accept(200));
}

}  // namespace
}  // namespace lbcluster::heartbeat
