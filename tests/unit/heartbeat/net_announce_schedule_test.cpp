// HA-3: a take-over is announced at once, again at fixed moments, and paced.
#include <gtest/gtest.h>

#include "heartbeat/net/announce_schedule.hpp"

namespace lbcluster::heartbeat {
namespace {

const Instant t0{1000s};

IpAddress v4(int i) {
    return IpAddress::v4({10, 0, static_cast<std::uint8_t>(i / 250), static_cast<std::uint8_t>(i % 250)});
}

TEST(AnnounceSchedule, OneAddressFollowsTheRounds) {
    AnnounceSchedule schedule({800, 60s});
    EXPECT_EQ(schedule.next(), Instant::max());
    schedule.start(t0, v4(1));
    std::vector<Duration> seen;
    while (seen.size() < 7) {
        const Instant next = schedule.next();
        EXPECT_TRUE(schedule.take(next - 1ms, 10).empty());
        const auto due = schedule.take(next, 10);
        ASSERT_EQ(due.size(), 1u);
        EXPECT_TRUE(due[0].ask_neighbor);
        seen.push_back(next - t0);
    }
    EXPECT_EQ(seen, (std::vector<Duration>{0s, 100ms, 500ms, 2s, 7s, 67s, 127s}));
}

TEST(AnnounceSchedule, StartAgainRestartsAndStopEnds) {
    AnnounceSchedule schedule({800, 60s});
    schedule.start(t0, v4(1));
    (void)schedule.take(t0, 10);
    schedule.start(t0 + 50ms, v4(1));
    EXPECT_EQ(schedule.take(t0 + 50ms, 10).size(), 1u);
    EXPECT_EQ(schedule.next(), t0 + 150ms);
    schedule.stop(v4(1));
    EXPECT_EQ(schedule.next(), Instant::max());
    EXPECT_TRUE(schedule.empty());
}

TEST(AnnounceSchedule, ThousandAddressesFirstRoundAtOnceThenPaced) {
    AnnounceSchedule schedule({800, 60s});
    for (int i = 0; i < 1000; ++i) schedule.start(t0, v4(i));
    std::size_t packets = 0;
    std::size_t first = 0;
    std::map<IpAddress, int> rounds;
    Instant now = t0;
    const auto run_until = [&](Instant end) {
        for (; now < end; now += 1ms)
            for (;;) {
                const auto due = schedule.take(now, 64);
                if (due.empty()) break;
                for (const auto& one : due) {
                    packets += one.ask_neighbor ? 3 : 2;
                    ++rounds[one.ip];
                }
                if (now == t0) first += due.size();
            }
    };
    run_until(t0 + 1s);
    EXPECT_EQ(first, 1000u);
    EXPECT_LE(packets, 3000u);
    EXPECT_GE(packets, 2700u);
    const std::size_t before = packets;
    run_until(t0 + 2s);
    EXPECT_LE(packets - before, 801u);
    run_until(t0 + 20s);
    for (int i = 0; i < 1000; ++i) EXPECT_GE(rounds[v4(i)], 3) << i;
}

// A round that is repeated for good measure keeps to the rate from its first packet on.
TEST(AnnounceSchedule, PacedStartWaitsForTokens) {
    AnnounceSchedule schedule({800, 60s});
    for (int i = 0; i < 1000; ++i) schedule.start(t0, v4(i), true);
    EXPECT_LE(schedule.take(t0, 1000).size(), 100u / 3 + 1);
    EXPECT_GT(schedule.next(), t0);
}

// More than the rate can carry, started again all the time: everybody has his turn.
TEST(AnnounceSchedule, PacedStartsAgainAndAgainStarveNobody) {
    AnnounceSchedule schedule({200, 60s});
    std::map<IpAddress, int> rounds;
    for (Instant now = t0; now < t0 + 60s; now += 50ms) {
        if ((now - t0) % 5s == 0s) {
            for (int i = 0; i < 1000; ++i) schedule.start(now, v4(i), true);
        }
        for (const auto& due : schedule.take(now, 1000)) ++rounds[due.ip];
    }
    for (int i = 0; i < 1000; ++i) EXPECT_GE(rounds[v4(i)], 2) << i;
}

}  // namespace
}  // namespace lbcluster::heartbeat
