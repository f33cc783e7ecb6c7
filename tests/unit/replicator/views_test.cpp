// RE-2: the verdicts of both nodes on each real server, and which of them have differed for long.
#include "replicator/core/views.hpp"

#include <gtest/gtest.h>

namespace lbcluster::replicator {
namespace {

const Instant start{};

TEST(ReplicaViews, WhatDiffersForLongIsNamed) {
    Views views;
    views.set_own(start, "web/s1", "up");
    views.set_peer(start, "web/s1", "up");
    views.set_own(start, "web/s2", "down");
    views.set_peer(start, "web/s2", "up");
    EXPECT_TRUE(views.differing(start + 59s, 60s).empty());
    const auto differing = views.differing(start + 60s, 60s);
    ASSERT_EQ(differing.size(), 1U);
    EXPECT_EQ(differing[0].server + " " + differing[0].own + " " + differing[0].peer, "web/s2 down up");
    views.set_peer(start + 61s, "web/s2", "down");
    EXPECT_TRUE(views.differing(start + 200s, 60s).empty());
    views.set_peer(start + 201s, "web/s2", "up");
    EXPECT_TRUE(views.differing(start + 202s, 60s).empty()) << "it begins anew";
}

TEST(ReplicaViews, WhoKnowsNothingDiffersFromNobody) {
    Views views;
    views.set_own(start, "web/s1", "up");
    views.set_peer(start, "web/s1", "unknown");
    views.set_own(start, "web/s2", "down");
    views.set_peer(start, "web/s3", "up");
    EXPECT_TRUE(views.differing(start + 600s, 60s).empty());
    views.set_peer(start, "web/s1", "down");
    ASSERT_EQ(views.differing(start + 600s, 60s).size(), 1U);
    views.forget_peer();
    EXPECT_TRUE(views.differing(start + 600s, 60s).empty());
    views.set_own(start, "web/s1", "");
    views.set_peer(start, "web/s1", "down");
    EXPECT_TRUE(views.differing(start + 600s, 60s).empty()) << "gone here";
}

}  // namespace
}  // namespace lbcluster::replicator
