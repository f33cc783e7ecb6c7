// HA-4: nodes that are cut off, and ping nodes that are gone, in virtual time.
#include <gtest/gtest.h>

#include "settled.hpp"

namespace lbcluster::heartbeat::testing {
namespace {

TEST(Isolation, ALoneNodeKeepsServingWhenItsGatewayReboots) {
    Pair p;
    settle(p);
    p.power_off(1);
    p.run(30s);
    p.gateway = false;
    p.run(30s);
    p.gateway = true;
    p.run(5s);
    expect_quiet(p);
}

TEST(Isolation, StrictAlwaysReleases) {
    Pair p([](Settings& s) { s.isolation = Isolation::strict; });
    settle(p);
    p.power_off(1);
    p.run(30s);
    p.gateway = false;
    p.run(3s);
    EXPECT_FALSE(p.active(0));
    p.gateway = true;
    p.run(5s);
    EXPECT_TRUE(p.active(0));
}

// Each finds itself isolated, resigns, is heard for a moment, and the other one takes over, to be isolated as well.
TEST(Isolation, AgainAndAgainDoesNotHandTheAddressesToAndFro) {
    Pair p([](Settings& s) {
        single_link(s);
        timers(s, 10ms, 30ms);
    });
    settle(p);
    std::size_t holder = 0;
    unsigned handed_over = 0;
    p.watch = [&] {
        if (p.active(holder) || !p.active(1 - holder)) return;
        holder = 1 - holder;
        ++handed_over;
    };
    p.gateway = false;
    for (int i = 0; i < 20; ++i) {
        p.passes = [](std::size_t, std::uint32_t) { return false; };
        ASSERT_TRUE(p.run_until([&] { return !p.active(0) && !p.active(1); }, 500ms)) << i;
        p.passes = [](std::size_t, std::uint32_t) { return true; };
        p.run(100ms);
        EXPECT_EQ(p.active(0) + p.active(1), 1) << i;
    }
    EXPECT_EQ(handed_over, 1U);
    p.gateway = true;
    p.run(2s);
    EXPECT_EQ(p.active(0) + p.active(1), 1);
}

TEST(Isolation, HoldNeverReleases) {
    Pair p([](Settings& s) {
        s.isolation = Isolation::hold;
        single_link(s);
    });
    settle(p);
    p.set_cable(0, false);
    p.run(5s);
    EXPECT_TRUE(p.active(0));
}

TEST(PingNode, DownForBothMovesNothing) {
    Pair p;
    settle(p);
    p.gateway = false;
    p.run(20s);
    expect_quiet(p);
    EXPECT_TRUE(p.active(0));
}

// Found by the swarm (seed 20066775): cut off while it took over, its announcements were lost, and the caches stayed
// wrong.
TEST(PingNode, BackAgainTheActiveAnnounces) {
    Pair p;
    settle(p);
    p.gateway = false;
    p.run(10s);
    const unsigned before = p.nodes[0].announces;
    p.run(10s);
    EXPECT_EQ(p.nodes[0].announces, before);
    p.gateway = true;
    EXPECT_TRUE(p.run_until([&] { return p.nodes[0].announces > before; }, 2s));
    expect_quiet(p);
}

TEST(PingNode, DownForBothDoesNotPreventTakeover) {
    Pair p;
    settle(p);
    p.gateway = false;
    p.run(10s);
    p.power_off(0);
    EXPECT_TRUE(p.run_until([&] { return p.answers(1); }, 2s));
    // And it stays: the ping nodes did not go away with the peer.
    p.forget_gaps();
    p.run(60s);
    EXPECT_TRUE(p.active(1));
    EXPECT_EQ(p.nodes[1].moves, 1U);
    EXPECT_EQ(p.nobody_answered, Duration{0});
}

TEST(PingNode, DownForBothAPlannedMoveAndThenTheOldOneEnds) {
    Pair p;
    settle(p);
    p.gateway = false;
    p.run(10s);
    p.stop(0);
    ASSERT_TRUE(p.run_until([&] { return p.nodes[0].stopped; }, 3s));
    p.power_off(0);
    p.run(30s);
    EXPECT_TRUE(p.active(1));
    EXPECT_EQ(p.nodes[1].moves, 1U);
    EXPECT_EQ(p.nobody_answered, Duration{0});
}

// `strict` would release at once what it claimed without a witness, so it does not claim.
TEST(PingNode, DownForBothAndStrictNobodyTakesOver) {
    Pair p([](Settings& s) { s.isolation = Isolation::strict; });
    settle(p);
    p.gateway = false;
    p.run(10s);
    EXPECT_TRUE(p.active(0));
    p.power_off(0);
    p.run(20s);
    EXPECT_FALSE(p.active(1));
    EXPECT_EQ(p.nodes[1].moves, 0U);
    p.gateway = true;
    EXPECT_TRUE(p.run_until([&] { return p.answers(1); }, 3s));
}

TEST(PingNode, BlinkingUnderBothMovesNothing) {
    Pair p;
    settle(p);
    for (int i = 0; i < 20; ++i) {
        p.gateway = i % 2 == 1;
        p.run(700ms);
    }
    p.gateway = true;
    p.run(5s);
    expect_quiet(p);
}

TEST(PingNode, NeverAnsweredALoneBootTakesOverWithAnAlarm) {
    Pair p;
    p.gateway = false;
    p.start(0);
    p.run(14s);
    EXPECT_FALSE(p.active(0));
    EXPECT_TRUE(p.run_until([&] { return p.active(0); }, 3s));
    EXPECT_TRUE(p.alarmed(0, "without-witness"));
    p.run(60s);
    EXPECT_TRUE(p.active(0));
    EXPECT_EQ(p.nodes[0].moves, 1U);
}

}  // namespace
}  // namespace lbcluster::heartbeat::testing
