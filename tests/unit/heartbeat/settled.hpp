// Where most tests of a pair begin, and what they expect of one in which nothing should have happened.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "pair.hpp"

namespace lbcluster::heartbeat::testing {

// Both up, lb1 (the primary) active.
inline void settle(Pair& p) {
    p.start_both();
    ASSERT_TRUE(p.run_until([&] { return p.active(0) && p.passive(1) && p.answers(0); }, 10s));
    p.run(3s);
    p.forget_gaps();
    p.nodes[0].moves = p.nodes[1].moves = 0;
}
inline void expect_quiet(const Pair& p) {
    EXPECT_EQ(p.nodes[0].moves + p.nodes[1].moves, 0U);
    EXPECT_EQ(p.both_answered, Duration{0});
    EXPECT_EQ(p.nobody_answered, Duration{0});
}
inline void single_link(Settings& s) { s.links.resize(1); }
inline void timers(Settings& s, Duration keepalive, Duration deadtime) {
    s.keepalive = keepalive;
    s.warntime = std::max<Duration>(2 * keepalive, deadtime * 3 / 10);
    s.deadtime = deadtime;
    s.vip_lease = 2s;
}

}  // namespace lbcluster::heartbeat::testing
