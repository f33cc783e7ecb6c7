// HA-2, HA-4, HA-7: every row of the tables in docs/protocol.md, in virtual time.
#include <gtest/gtest.h>

#include "settled.hpp"

namespace lbcluster::heartbeat::testing {
namespace {

TEST(Starting, ThePrimaryBecomesActiveWhenBothAreWell) {
    Pair p;
    p.start_both();
    EXPECT_TRUE(p.run_until([&] { return p.active(0) && p.passive(1); }, 2s));
}

TEST(Starting, TheFitterOneBecomesActive) {
    Pair p;
    p.nodes[0].cable = false;
    p.start_both();
    EXPECT_TRUE(p.run_until([&] { return p.active(1) && p.passive(0); }, 3s));
    EXPECT_EQ(p.last_reason(1), "nobody was active and this node is fitter");
}

TEST(Starting, SameRoleTheLowerNameBecomesActive) {
    Pair p([](Settings& s) { s.primary = true; });
    p.start_both();
    EXPECT_TRUE(p.run_until([&] { return p.active(0) && p.passive(1); }, 3s));
}

TEST(Starting, ALoneNodeServesAfterInitdead) {
    Pair p;
    p.nodes[0].power = false;
    p.start(1);
    p.run(4900ms);
    EXPECT_FALSE(p.active(1));
    EXPECT_TRUE(p.run_until([&] { return p.active(1); }, 500ms));
}

TEST(Starting, WithoutAPeerItServesAtOnce) {
    Pair p([](Settings& s) { s.links.clear(); });
    p.start(0);
    EXPECT_TRUE(p.run_until([&] { return p.active(0); }, 10ms));
    EXPECT_TRUE(p.run_until([&] { return p.answers(0); }, 310ms));  // once nobody else is known to use it
    p.run(10s);
    EXPECT_TRUE(p.answers(0));
}

TEST(Starting, ANodeThatComesBackStaysPassive) {
    Pair p;
    settle(p);
    p.power_off(0);
    ASSERT_TRUE(p.run_until([&] { return p.active(1); }, 3s));
    p.power_on(0);
    p.run(10s);
    EXPECT_TRUE(p.active(1));
    EXPECT_TRUE(p.passive(0));
    EXPECT_EQ(p.both_answered, Duration{0});
}

TEST(Starting, LeftoversAreRemovedAtOnceWhenThePeerIsActive) {
    Pair p;
    settle(p);
    p.power_off(1);
    p.nodes[1].power = true;
    p.nodes[1].settings.address_probe = AddressProbe::off;  // else it adopts
    p.nodes[1].held_until = p.now + 3s;
    p.start(1);
    EXPECT_TRUE(p.run_until([&] { return p.passive(1) && !p.holds(1); }, 500ms));
    EXPECT_TRUE(p.active(0));
}

TEST(Starting, BothBootWhileCutAndHealLater) {
    for (int offset_ms = 0; offset_ms <= 50; offset_ms += 5) {
        Pair p;
        p.passes = [](std::size_t, std::uint32_t) { return false; };
        p.start(0);
        p.run(milliseconds{offset_ms});
        p.start(1);
        p.run(12s);
        EXPECT_EQ(p.active(0) + p.active(1), 1) << offset_ms;
        EXPECT_LE(p.both_answered, 100ms) << offset_ms;
        p.forget_gaps();
        p.passes = [](std::size_t, std::uint32_t) { return true; };
        p.run(3s);
        EXPECT_EQ(p.active(0) + p.active(1), 1);
        EXPECT_EQ(p.both_answered, Duration{0});
    }
}

class Crash : public ::testing::TestWithParam<std::pair<Duration, Duration>> {};

TEST_P(Crash, ThePeerServesWithinDeadtimeAndTwoKeepalives) {
    const auto [keepalive, deadtime] = GetParam();
    for (const bool ping_node : {true, false}) {
        for (int i = 0; i < 20; ++i) {
            Pair p(
                [&, k = keepalive, d = deadtime](Settings& s) {
                    timers(s, k, d);
                    if (!ping_node) s.ping_nodes.clear();
                },
                static_cast<std::uint64_t>(i + 1));
            settle(p);
            p.run(keepalive * i / 20);
            p.power_off(0);
            ASSERT_TRUE(p.run_until([&] { return p.answers(1); }, 10s));
            EXPECT_LE(p.longest_gap, deadtime + (ping_node ? 2 : 1) * keepalive + 1ms) << i;
            EXPECT_EQ(p.both_answered, Duration{0});
        }
    }
}
INSTANTIATE_TEST_SUITE_P(Timers, Crash,
                         ::testing::Values(std::pair<Duration, Duration>{100ms, 1s},
                                           std::pair<Duration, Duration>{10ms, 30ms},
                                           std::pair<Duration, Duration>{5ms, 15ms},
                                           std::pair<Duration, Duration>{500ms, 6s}));

TEST(Daemon, KilledAndRestartedLosesNothing) {
    for (int pause_ms : {20, 500, 900, 1500, 2000}) {
        Pair p;
        settle(p);
        p.kill(0);
        p.run(milliseconds{pause_ms});
        p.start(0);
        p.run(5s);
        expect_quiet([&]() -> const Pair& {
            p.nodes[0].moves = 0;  // the adoption
            return p;
        }());
        EXPECT_TRUE(p.active(0)) << pause_ms;
        EXPECT_TRUE(p.passive(1)) << pause_ms;
    }
}

TEST(Daemon, KilledAndNotRestartedTheLeaseEndsAndThePeerTakesOver) {
    Pair p;
    settle(p);
    p.kill(0);
    ASSERT_TRUE(p.run_until([&] { return !p.answers(0); }, 5s));
    EXPECT_FALSE(p.active(1));
    EXPECT_TRUE(p.alarmed(1, "peer-serves"));
    ASSERT_TRUE(p.run_until([&] { return p.answers(1); }, 2s));
    EXPECT_LE(p.longest_gap, 400ms + 10ms);
    EXPECT_EQ(p.both_answered, Duration{0});
}

TEST(Freeze, OfAnyLengthNeverTwoAnswerAndServiceComesBack) {
    for (const Duration stop : std::initializer_list<Duration>{200ms, 900ms, 1s, 2500ms, 2700ms, 3100ms, 4500ms, 10s}) {
        for (int phase = 0; phase < 5; ++phase) {
            Pair p({}, static_cast<std::uint64_t>(phase + 1));
            settle(p);
            p.run(phase * 23ms);
            p.freeze(0);
            p.run(stop);
            p.thaw(0);
            p.run(5s);
            EXPECT_EQ(p.active(0) + p.active(1), 1) << format_duration(stop);
            EXPECT_TRUE(p.answers(0) || p.answers(1));
            EXPECT_EQ(p.both_answered, Duration{0}) << format_duration(stop);
            EXPECT_LE(p.longest_gap, 1500ms) << format_duration(stop);
        }
    }
}

TEST(Freeze, OfThePassiveMovesNothing) {
    Pair p;
    settle(p);
    p.freeze(1);
    p.run(10s);
    p.thaw(1);
    p.run(5s);
    expect_quiet(p);
}

TEST(Cable, OfTheActivePulledExactlyOneServes) {
    for (const bool second_link : {true, false}) {
        Pair p([&](Settings& s) {
            if (!second_link) single_link(s);
        });
        settle(p);
        p.set_cable(0, false);
        ASSERT_TRUE(p.run_until([&] { return p.answers(1); }, 3s));
        EXPECT_LE(p.longest_gap, second_link ? 20ms : 1200ms);
        p.run(5s);
        EXPECT_FALSE(p.active(0));
        EXPECT_FALSE(p.holds(0));
        p.set_cable(0, true);
        p.run(10s);
        EXPECT_TRUE(p.active(1));
        EXPECT_TRUE(p.passive(0));
        EXPECT_EQ(p.both_answered, Duration{0});
    }
}

TEST(Cable, OfTheActivePulledWithoutPingNode) {
    Pair p([](Settings& s) {
        single_link(s);
        s.ping_nodes.clear();
    });
    settle(p);
    p.set_cable(0, false);
    ASSERT_TRUE(p.run_until([&] { return p.answers(1); }, 3s));
    EXPECT_LE(p.longest_gap, 1200ms);
    EXPECT_FALSE(p.holds(0));  // carrier lost and the peer silent: it let go
    p.set_cable(0, true);
    p.run(10s);
    EXPECT_EQ(p.active(0) + p.active(1), 1);
    EXPECT_EQ(p.both_answered, Duration{0});
}

TEST(Cable, OfThePassivePulledMovesNothing) {
    Pair p(single_link);
    settle(p);
    p.set_cable(1, false);
    p.run(10s);
    EXPECT_FALSE(p.active(1));
    p.set_cable(1, true);
    p.run(10s);
    expect_quiet(p);
    EXPECT_TRUE(p.active(0));
}

TEST(Cable, BouncingMovesAtMostOnce) {
    Pair p;
    settle(p);
    for (int i = 0; i < 6; ++i) {
        p.set_cable(0, i % 2 == 1);
        p.run(100ms);
    }
    p.run(10s);
    EXPECT_LE(p.nodes[0].moves + p.nodes[1].moves, 2U);
    EXPECT_EQ(p.active(0) + p.active(1), 1);
    EXPECT_EQ(p.both_answered, Duration{0});
}

TEST(Split, HeartbeatsCutButTheLanIsFineMovesNothing) {
    for (const double loss : {0.0, 0.1, 0.2, 0.3}) {
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
            Pair p({}, seed);
            settle(p);
            p.passes = [](std::size_t, std::uint32_t) { return false; };
            p.loss = loss;
            p.run(30s);
            expect_quiet(p);
            EXPECT_TRUE(p.alarmed(1, "peer-serves"));
            EXPECT_TRUE(p.alarmed(0, "peer-dead"));
            p.loss = 0;
            p.passes = [](std::size_t, std::uint32_t) { return true; };
            p.run(5s);
            expect_quiet(p);
        }
    }
}

TEST(Split, OneWayLossMovesNothing) {
    for (std::size_t mute : {0U, 1U}) {
        Pair p;
        settle(p);
        p.passes = [mute](std::size_t from, std::uint32_t) { return from != mute; };
        p.run(15s);
        expect_quiet(p);
        EXPECT_TRUE(p.alarmed(mute, "peer-does-not-hear"));
        p.passes = [](std::size_t, std::uint32_t) { return true; };
        p.run(5s);
        expect_quiet(p);
        EXPECT_TRUE(p.active(0));
    }
}

TEST(Split, EverythingFilteredThenHealedExactlyOneStays) {
    Pair p([](Settings& s) { s.ping_nodes.clear(); });
    settle(p);
    p.passes = [](std::size_t, std::uint32_t) { return false; };
    p.deaf_fabric = true;
    p.run(5s);
    EXPECT_TRUE(p.active(0) && p.active(1));  // what two nodes cannot solve
    const unsigned announced = p.nodes[1].announces;
    p.forget_gaps();
    p.passes = [](std::size_t from, std::uint32_t) { return from == 0; };  // the winner hears first
    p.run(250ms);
    EXPECT_TRUE(p.noted(1, "conflict"));
    p.passes = [](std::size_t, std::uint32_t) { return true; };
    p.run(2s);
    EXPECT_TRUE(p.active(1));  // the later claim has the higher term
    EXPECT_TRUE(p.passive(0));
    EXPECT_LE(p.both_answered, 250ms + 3 * 110ms);
    EXPECT_GE(p.nodes[1].announces, announced + 2);  // at the conflict and after it
    EXPECT_TRUE(p.noted(1, "conflict-end"));
}

TEST(Split, HealedTheWinnerAnnouncesEvenIfItNeverSawTheConflict) {
    Pair p([](Settings& s) { s.ping_nodes.clear(); });
    settle(p);
    p.passes = [](std::size_t, std::uint32_t) { return false; };
    p.deaf_fabric = true;
    p.run(5s);
    ASSERT_TRUE(p.active(0) && p.active(1));
    const unsigned announced = p.nodes[1].announces;
    p.passes = [](std::size_t, std::uint32_t) { return true; };
    p.run(2s);
    EXPECT_TRUE(p.active(1) && p.passive(0));
    EXPECT_GE(p.nodes[1].announces, announced + 1);
}

TEST(Split, OnlyOneDirectionHealsAfterADual) {
    for (std::size_t mute : {0U, 1U}) {
        Pair p([](Settings& s) { s.ping_nodes.clear(); });
        settle(p);
        p.passes = [](std::size_t, std::uint32_t) { return false; };
        p.deaf_fabric = true;
        p.run(5s);
        ASSERT_TRUE(p.active(0) && p.active(1));
        p.passes = [mute](std::size_t from, std::uint32_t) { return from != mute; };
        p.run(6s);
        EXPECT_EQ(p.active(0) + p.active(1), 1) << mute;
    }
}

TEST(Split, BothServeIsNoticedByTheProbeAlone) {
    Pair p([](Settings& s) { s.ping_nodes.clear(); });
    settle(p);
    p.passes = [](std::size_t, std::uint32_t) { return false; };
    p.deaf_fabric = true;
    p.run(5s);
    ASSERT_TRUE(p.active(0) && p.active(1));
    p.deaf_fabric = false;
    p.run(1s);
    EXPECT_TRUE(p.active(0));
    EXPECT_FALSE(p.active(1));  // the configured secondary yields
    p.run(10s);
    EXPECT_EQ(p.active(0) + p.active(1), 1);
}

// A fabric that answers ARP for dead hosts: `arp` never takes over, `arp+echo` believes the echo after a while.
TEST(Probe, ArpEchoOverrulesAGhostInTheFabric) {
    for (const bool echo : {false, true}) {
        Pair p([&](Settings& s) { s.address_probe = echo ? AddressProbe::arp_echo : AddressProbe::arp; });
        settle(p);
        p.power_off(0);
        p.ghost = true;
        p.run(8900ms);  // 3 x vip_lease
        EXPECT_FALSE(p.active(1));
        EXPECT_TRUE(p.alarmed(1, "peer-serves"));
        p.run(5s);
        EXPECT_EQ(p.active(1), echo);
    }
}

// Adopted at once only while the probe's veto keeps the peer away.
TEST(Daemon, WithoutTheProbeItAdoptsOnlyWhenThePeerHadItsSay) {
    for (const bool probe : {true, false}) {
        Pair p([&](Settings& s) {
            if (!probe) s.address_probe = AddressProbe::off;
        });
        settle(p);
        p.passes = [](std::size_t, std::uint32_t) { return false; };
        p.kill(0);
        p.run(100ms);
        p.start(0);
        p.run(900ms);
        EXPECT_EQ(p.active(0), probe);
        p.run(200ms);
        EXPECT_TRUE(p.active(0));
    }
}

// Found by the swarm: killed again 2 ms after its adoption, before its next block of terms was on disk, a node claimed
// the same term a second time. A disk that hangs holds up the adoption for two keepalives, not for good.
TEST(Daemon, KilledRightAfterItsAdoptionItClaimsNoTermTwice) {
    Pair p;
    settle(p);
    std::uint64_t last = p.nodes[0].core->claim()->term;
    p.store_time = 5ms;
    for (int i = 0; i < 10; ++i) {
        p.kill(0);
        p.start(0);
        ASSERT_TRUE(p.run_until([&] { return p.active(0); }, 500ms));
        const std::uint64_t term = p.nodes[0].core->claim()->term;
        EXPECT_GT(term, last);
        last = term;
        p.run(2ms);
    }
    p.store_time = 1h;
    p.kill(0);
    p.start(0);
    EXPECT_TRUE(p.run_until([&] { return p.active(0); }, 250ms));
}

// Who resigned claims nothing for one deadtime: the other one shall have the time to take over.
// Seen in the lab: a busy machine's late loop made the dead peer alive for a deadtime, and a conflict of it.
TEST(Daemon, BeingLateDoesNotBringADeadPeerBack) {
    Pair p;
    settle(p);
    p.power_off(0);
    ASSERT_TRUE(p.run_until([&] { return p.active(1); }, 3s));
    p.run(500ms);
    p.freeze(1);
    p.run(400ms);
    p.thaw(1);
    p.run(3s);
    EXPECT_TRUE(p.active(1));
    for (const char* kind : {"peer-alive", "conflict"}) EXPECT_FALSE(p.noted(1, kind)) << kind;
    EXPECT_FALSE(p.alarmed(1, "both-active"));
}

// Found in the simulator: the secondary let go because the other kernel answered, the primary because of the
// secondary's higher claim.
TEST(Split, WhenADualHealsOnlyOneLetsGo) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        Pair p([](Settings& s) { s.isolation = Isolation::hold; }, seed);
        settle(p);
        p.deaf_fabric = true;
        p.passes = [](std::size_t, std::uint32_t) { return false; };
        p.run(20s);
        ASSERT_TRUE(p.active(0) && p.active(1));
        p.run(milliseconds{seed * 13});
        p.delay = 40ms;
        p.deaf_fabric = false;  // a probe may be answered before the peer has said that it hears
        p.passes = [](std::size_t, std::uint32_t) { return true; };
        p.forget_gaps();
        p.run(5s);
        EXPECT_EQ(p.active(0) + p.active(1), 1) << seed;
        EXPECT_LE(p.nobody_answered, 2 * p.delay + 5ms) << seed;  // each may learn of the other's release once
    }
}

// Found by the swarm: it claimed again after three silent requests, ten times a second.
TEST(Split, WhoYieldedToAServingKernelDoesNotForgetIt) {
    Pair p;
    settle(p);
    p.passes = [](std::size_t, std::uint32_t) { return false; };
    p.deaf_fabric = true;
    ASSERT_TRUE(p.run_until([&] { return p.active(1); }, 5s));
    p.deaf_fabric = false;
    ASSERT_TRUE(p.run_until([&] { return p.passive(1); }, 5s));
    p.deaf_fabric = true;
    p.run(250ms);  // seven requests
    EXPECT_TRUE(p.passive(1));
}

// Found by the swarm: it let go for what a peer had said that was not heard any more, and took the addresses again.
TEST(Split, WhoHasFallenSilentAgainIsNotYieldedTo) {
    Pair p;
    settle(p);
    p.deaf_fabric = true;
    p.passes = [](std::size_t, std::uint32_t) { return false; };
    p.run(5s);
    ASSERT_TRUE(p.active(0) && p.active(1));
    p.passes = [](std::size_t from, std::uint32_t) { return from == 0; };
    p.run(650ms);
    ASSERT_TRUE(p.alarmed(1, "both-active"));
    p.passes = [](std::size_t, std::uint32_t) { return false; };
    EXPECT_FALSE(p.run_until([&] { return !p.active(1); }, 3s));
    // What is still said counts.
    p.passes = [](std::size_t from, std::uint32_t) { return from == 0; };
    EXPECT_TRUE(p.run_until([&] { return p.passive(1); }, 2s));
}

// The silence that a starting node watches is the same one when it has become passive.
TEST(Starting, AKernelThatAnsweredIsNotForgottenWhenItBecomesPassive) {
    Pair p;
    settle(p);
    p.passes = [](std::size_t, std::uint32_t) { return false; };
    p.kill(1);
    p.start(1);
    p.run(4900ms);
    p.deaf_fabric = true;
    ASSERT_TRUE(p.run_until([&] { return p.passive(1); }, 200ms));
    p.run(500ms);  // fifteen requests: enough for a kernel that never answered
    EXPECT_TRUE(p.passive(1));
    EXPECT_TRUE(p.run_until([&] { return p.active(1); }, 1s));
}

// The peer may have served meanwhile, and every cache lead to it.
TEST(Freeze, AnActiveThatStoodStillAnnouncesAgain) {
    Pair p;
    settle(p);
    p.freeze(0);
    p.run(1500ms);
    p.thaw(0);
    const unsigned before = p.nodes[0].announces;
    p.run(2s);
    EXPECT_TRUE(p.active(0));
    EXPECT_GT(p.nodes[0].announces, before);
}

TEST(Idle, WhoResignedWaitsOneDeadtime) {
    Pair p;
    settle(p);
    p.command(1, CommandKind::standby);
    p.run(1s);
    p.freeze(0);
    p.run(5s);  // the lease ends
    ASSERT_FALSE(p.holds(0));
    p.thaw(0);
    ASSERT_TRUE(p.run_until([&] { return p.passive(0); }, 100ms));
    p.run(900ms);
    EXPECT_TRUE(p.passive(0));
    EXPECT_TRUE(p.run_until([&] { return p.active(0) && p.answers(0); }, 600ms));
}

// The caches may lead to a peer that is not heard and let go unseen.
TEST(Alone, AnActiveThatDoesNotHearItsPeerAnnouncesAgainAndAgain) {
    Pair p;
    settle(p);
    const unsigned heard = p.nodes[0].announces;
    p.run(11s);
    EXPECT_EQ(p.nodes[0].announces, heard);
    p.passes = [](std::size_t from, std::uint32_t) { return from == 0; };
    p.run(2s);
    const unsigned before = p.nodes[0].announces;
    p.run(11s);
    EXPECT_TRUE(p.active(0));
    EXPECT_GE(p.nodes[0].announces, before + 2);
    EXPECT_LE(p.nodes[0].announces, before + 3);
}

TEST(Noise, LossMovesNothing) {
    for (const double loss : {0.1, 0.2, 0.3}) {
        for (std::uint64_t seed = 1; seed <= 10; ++seed) {
            Pair p({}, seed);
            settle(p);
            p.loss = loss;
            p.run(120s);
            p.loss = 0;
            p.run(3s);
            expect_quiet(p);
        }
    }
}

TEST(Noise, ReplayIntoALaterLifeChangesNothing) {
    Pair p;
    settle(p);
    const auto tape = p.tape[0];
    p.power_off(1);
    p.run(5s);
    p.power_on(1);
    p.run(3s);
    for (const auto& [link, message] : tape) {
        const Verdict v = p.deliver(1, link, message);
        EXPECT_TRUE(v == Verdict::greeting || v == Verdict::old_session || v == Verdict::replayed) << name_of(v);
    }
    p.run(3s);
    EXPECT_TRUE(p.active(0));
    EXPECT_TRUE(p.passive(1));
    EXPECT_EQ(p.nodes[1].moves, 0U);
}

TEST(Differences, InTheConfigurationMoveNothing) {
    Pair p;
    p.nodes[1].settings.config_digest = 8;
    p.nodes[1].settings.floating_ips.push_back({*IpPrefix::parse("10.77.0.201"), "eth0", ""});
    settle(p);
    p.run(30s);
    expect_quiet(p);
    EXPECT_TRUE(p.alarmed(0, "config-differs"));
}

TEST(Differences, TheLargerDeadtimeCounts) {
    Pair p([](Settings& s) { s.ping_nodes.clear(); });
    p.nodes[0].settings.deadtime = 3s;
    p.nodes[0].settings.vip_lease = 5s;
    settle(p);
    p.power_off(0);
    ASSERT_TRUE(p.run_until([&] { return p.answers(1); }, 10s));
    EXPECT_GE(p.longest_gap, 2800ms);
}

TEST(Differences, ANewerVersionOfThePeerIsStillAlive) {
    Pair p;
    p.tamper = [](Heartbeat& m) { m.set_version(99); };
    settle(p);
    EXPECT_TRUE(p.alarmed(0, "peer-newer"));
    p.run(5s);
    expect_quiet(p);
}

// The rule of three, nine and thirty silent requests.
TEST(ProbeWatchTest, HowMuchSilenceIsEnough) {
    const Instant t0{1000s};
    constexpr Duration keepalive = 100ms;
    constexpr Duration deadtime = 1s;
    constexpr Duration lease = 3s;
    Instant now = t0;
    const auto requests_until_silent = [&](ProbeWatch& watch, bool witness) {
        for (int i = 1; i <= 100; ++i) {
            watch.on_request(now, witness);
            now += keepalive / 3;
            if (watch.judge(now, t0, keepalive, deadtime, lease).silent) return i;
        }
        return 0;
    };
    ProbeWatch never;
    EXPECT_EQ(requests_until_silent(never, true), 4);  // the fourth tells that the third was silent
    ProbeWatch without_witness;
    EXPECT_EQ(requests_until_silent(without_witness, false), 0);

    ProbeWatch lease_may_end;
    now = t0 + 2s;
    lease_may_end.on_answer(now - 1ms, false);
    EXPECT_EQ(requests_until_silent(lease_may_end, true), 10);

    ProbeWatch somebody_renews;
    now = t0 + lease + deadtime + 4 * keepalive + 201ms;
    somebody_renews.on_answer(now - 1ms, false);
    const Instant begin = now;
    EXPECT_EQ(requests_until_silent(somebody_renews, true), 31);
    EXPECT_GE(now - begin, deadtime);
    somebody_renews.on_answer(now, false);
    EXPECT_FALSE(somebody_renews.judge(now, t0, keepalive, deadtime, lease).silent);
}

TEST(Claims, HigherTermThenPrimaryThenLowerName) {
    EXPECT_TRUE(beats({2, false, "b"}, {1, true, "a"}));
    EXPECT_TRUE(beats({1, true, "b"}, {1, false, "a"}));
    EXPECT_TRUE(beats({1, true, "a"}, {1, true, "b"}));
    EXPECT_FALSE(beats({1, true, "a"}, {1, true, "a"}));
}

TEST(Claims, TermsNeverGoDownOverRestarts) {
    Pair p;
    settle(p);
    const auto before = p.nodes[0].core->claim()->term;
    p.power_off(1);
    p.kill(0);
    p.run(10s);
    p.start(0);
    ASSERT_TRUE(p.run_until([&] { return p.active(0); }, 10s));
    EXPECT_GT(p.nodes[0].core->claim()->term, before);
}

TEST(Reasons, EveryTransitionHasOne) {
    Pair p;
    settle(p);
    p.power_off(0);
    p.run(3s);
    for (const Note& n : p.nodes[1].notes) {
        EXPECT_FALSE(n.text.empty());
        if (n.kind == "became-active") {
            EXPECT_TRUE(n.inputs.contains("peer_silence"));
        }
    }
    EXPECT_TRUE(p.noted(1, "became-active"));
}

}  // namespace
}  // namespace lbcluster::heartbeat::testing
