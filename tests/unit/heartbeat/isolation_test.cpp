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

// Found by the swarm (seed 90013929): the LAN was cut for less than a deadtime, but for all the rounds in which the new
// active announced.
TEST(PingNode, BackAfterASilenceShorterThanDeadtimeTheNewActiveAnnounces) {
    Pair p([](Settings& s) { timers(s, 500ms, 6s); });
    settle(p);
    p.gateway = false;
    p.command(1, CommandKind::activate);
    ASSERT_TRUE(p.run_until([&] { return p.active(1) && p.passive(0); }, 1s));
    p.run(3s);
    const unsigned before = p.nodes[1].announces;
    p.gateway = true;
    EXPECT_TRUE(p.run_until([&] { return p.nodes[1].announces > before; }, 1s));
    // Nothing was announced into a later silence: the caches are right.
    p.run(20s);
    const unsigned announced = p.nodes[1].announces;
    p.gateway = false;
    p.run(4s);
    p.gateway = true;
    p.run(4s);
    EXPECT_EQ(p.nodes[1].announces, announced);
}

// The same, where only the heartbeat path on the LAN can tell.
TEST(PingNode, WithoutOneAPathOnTheLanThatIsBackMakesTheNewActiveAnnounce) {
    Pair p([](Settings& s) {
        timers(s, 500ms, 6s);
        s.ping_nodes.clear();
    });
    settle(p);
    p.passes = [](std::size_t, std::uint32_t link) { return link != 0; };
    p.command(1, CommandKind::activate);
    ASSERT_TRUE(p.run_until([&] { return p.active(1) && p.passive(0); }, 1s));
    p.run(3s);
    const unsigned before = p.nodes[1].announces;
    p.passes = [](std::size_t, std::uint32_t) { return true; };
    EXPECT_TRUE(p.run_until([&] { return p.nodes[1].announces > before; }, 1s));
    // A path beside the LAN tells nothing about it.
    p.command(0, CommandKind::activate);
    ASSERT_TRUE(p.run_until([&] { return p.active(0) && p.passive(1); }, 1s));
    p.passes = [](std::size_t, std::uint32_t link) { return link != 1; };
    p.run(3s);
    const unsigned announced = p.nodes[0].announces;
    p.passes = [](std::size_t, std::uint32_t) { return true; };
    p.run(3s);
    EXPECT_EQ(p.nodes[0].announces, announced);
}

// Seed 90044775: started anew during the cut, it had never heard the path on the LAN.
TEST(PingNode, APathOnTheLanThatIsHeardForTheFirstTimeMakesTheNewActiveAnnounce) {
    Pair p([](Settings& s) {
        timers(s, 500ms, 6s);
        s.ping_nodes.clear();
    });
    settle(p);
    p.passes = [](std::size_t, std::uint32_t link) { return link != 0; };
    p.power_off(1);
    p.run(200ms);
    p.power_on(1);
    p.run(200ms);
    p.command(1, CommandKind::activate);
    ASSERT_TRUE(p.run_until([&] { return p.active(1) && p.passive(0); }, 1s));
    p.run(3s);
    const unsigned before = p.nodes[1].announces;
    p.passes = [](std::size_t, std::uint32_t) { return true; };
    EXPECT_TRUE(p.run_until([&] { return p.nodes[1].announces > before; }, 1s));
}

// Where gap follows gap, announcing does not fill the LAN.
TEST(PingNode, ThatBlinksMakesNobodyAnnounceForEver) {
    Pair p([](Settings& s) {
        timers(s, 10ms, 30ms);
        for (int i = 1; i < 200; ++i) {
            s.floating_ips.push_back({*IpPrefix::parse("10.77.1." + std::to_string(i)), "eth0", ""});
        }
    });
    settle(p);
    p.command(1, CommandKind::activate);
    ASSERT_TRUE(p.run_until([&] { return p.active(1) && p.passive(0); }, 1s));
    const unsigned before = p.nodes[1].announces;
    for (int i = 0; i < 8; ++i) {
        p.passes = [](std::size_t, std::uint32_t link) { return link != 0; };
        p.run(600ms);
        p.passes = [](std::size_t, std::uint32_t) { return true; };
        p.run(100ms);
    }
    EXPECT_LE(p.nodes[1].announces, before + 3);
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
