// Starting: alone, together, while cut (HA-1, HA-2, HA-7).
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Boot : public PairTest {};

// initdead 5 s, then the claim.
TEST_F(Boot, AloneServesAfterInitdead) {
    make({});
    pair().start("lb2");
    const TimePoint begin = Clock::now();
    ASSERT_TRUE(wait_until([&] { return lab_.holds("lb2", vip); }, 8s));
    EXPECT_GE(Clock::now() - begin, 4s);
    watch();
    pair().start("lb1");
    EXPECT_TRUE(pair().wait_settled("lb2"));
    expect_nobody_noticed();
    expect_never_two();
}

TEST_F(Boot, TogetherThePrimaryServesAtOnce) {
    make({});
    const TimePoint begin = Clock::now();
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1", 4s));
    EXPECT_LE(Clock::now() - begin, 3s);
}

// HA-7: no peer configured.
TEST_F(Boot, SingleNodeServesAtOnce) {
    PairSpec spec;
    spec.single = true;
    make(spec);
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1", 4s));
    EXPECT_EQ(pair().status("lb1")["link"].text(), "none");
    EXPECT_EQ(pair().status("lb1")["peer"]["state"].text(), "none");
}

// Heartbeats cut from the start: the first one serves, the second one sees by ARP that it does.
TEST_F(Boot, WhileHeartbeatsAreCutAndHealedLater) {
    make({});
    observer_.emplace(lab_.host("obs"), "eth0", vip);
    for (const char* node : {"lb1", "lb2"})
        for (const char* interface : {"eth0", "eth1"}) lab_.drop(node, interface, heartbeats);
    pair().start("lb1");
    std::this_thread::sleep_for(1s);
    pair().start("lb2");
    ASSERT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 10s));
    std::this_thread::sleep_for(6s);
    EXPECT_FALSE(lab_.holds("lb2", vip));
    for (const char* node : {"lb1", "lb2"}) lab_.heal(node);
    EXPECT_TRUE(pair().wait_settled("lb1"));
    expect_never_two();
}

}  // namespace
}  // namespace lbcluster::lab
