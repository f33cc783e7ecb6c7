#include "replicator/core/peer_clock.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace lbcluster::replicator {
namespace {

TEST(PeerClocks, HalfOfTheRoundTripIsNotKnown) {
    // Asked at 10'000, answered with 13'000, back at 10'100: it was read at 10'050, 50 ms more or less.
    EXPECT_EQ(compare_clocks(100ms, 10'100, 13'000), (PeerClock{2'950, 51}));
    EXPECT_EQ(compare_clocks(0ms, 10'000, 4'000), (PeerClock{-6'000, 1}));
    EXPECT_EQ(compare_clocks(0ms, 10'000, 10'000), (PeerClock{0, 1}));
    // Read at once by a clock that is right, back 3.9 ms later: 3 or 4 on the wall.
    EXPECT_EQ(compare_clocks(3900us, 10'004, 10'000), (PeerClock{-2, 3}));
    EXPECT_EQ(compare_clocks(2100us, 10'003, 10'000), (PeerClock{-2, 3}));
}

TEST(PeerClocks, WhateverAPeerSaysHasAnAnswer) {
    const PeerClock far = compare_clocks(1h, 0, std::numeric_limits<std::uint64_t>::max());
    EXPECT_GT(far.ahead_ms, 250'000'000'000'000);
    EXPECT_LT(compare_clocks(-1ms, std::numeric_limits<std::uint64_t>::max(), 0).ahead_ms, 0);
}

}  // namespace
}  // namespace lbcluster::replicator
