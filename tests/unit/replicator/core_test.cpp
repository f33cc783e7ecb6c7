// RE-2, RE-4: whose content counts, decided from what both nodes have. Tables and single steps; whole schedules are in
// core_schedule_test.cpp.
#include "replicator/core/core.hpp"

#include <gtest/gtest.h>

namespace lbcluster::replicator {
namespace {

Ledger ledger_of(const Counted& counted, const std::optional<Counted>& incoming = std::nullopt) {
    Ledger ledger;
    ledger.counted = counted;
    ledger.incoming = incoming;
    ledger.pair = "p";
    return ledger;
}

TEST(ReplicaCore, VersionsAreOrderedByTheChangesInThem) {
    struct Row {
        Version own;
        Version other;
        Order order;
    };
    const std::vector<Row> rows{
        {{0, 0}, {0, 0}, Order::same},   {{1, 0}, {0, 0}, Order::ahead},  {{1, 2}, {1, 1}, Order::ahead},
        {{0, 0}, {0, 1}, Order::behind}, {{2, 2}, {3, 3}, Order::behind}, {{1, 0}, {0, 1}, Order::apart},
        {{3, 1}, {2, 2}, Order::apart},
    };
    for (const Row& row : rows) {
        EXPECT_EQ(compare(row.own, row.other), row.order)
            << row.own.mine << "," << row.own.peer << " and " << row.other.mine << "," << row.other.peer;
    }
}

TEST(ReplicaCore, DecidesFromWhatBothHave) {
    const Counted x{"x", {1, 1}};
    struct Row {
        const char* what;
        Situation situation;
        State state;
        const char* word;
    };
    const std::vector<Row> rows{
        {"nothing readable", {"", x, x, ""}, State::unreadable, "failed"},
        {"peer silent", {"x", x, std::nullopt, ""}, State::not_heard, "failed"},
        {"same", {"x", x, x, ""}, State::in_sync, "in-sync"},
        {"same content by two ways", {"x", x, Counted{"x", {0, 4}}, ""}, State::in_sync, "in-sync"},
        {"we changed", {"x", x, Counted{"w", {0, 1}}, ""}, State::push, "behind"},
        {"we changed, he cannot", {"x", x, Counted{"w", {0, 1}}, "x"}, State::refused, "failed"},
        {"he refused an older one", {"x", x, Counted{"w", {0, 1}}, "w"}, State::push, "behind"},
        {"he changed", {"x", x, Counted{"y", {1, 2}}, ""}, State::wait, "behind"},
        {"both changed", {"x", x, Counted{"y", {0, 2}}, ""}, State::diverged, "diverged"},
        {"never replicated", {"x", x, Counted{"y", {1, 1}}, ""}, State::diverged, "diverged"},
        {"an edit that is being set aside", {"e", x, x, ""}, State::setting_aside, "behind"},
    };
    for (const Row& row : rows) {
        EXPECT_EQ(decide(row.situation), row.state) << row.what;
        EXPECT_EQ(word_of(row.state), row.word) << row.what;
    }
}

TEST(ReplicaCore, AChangeWithRightCountsOne) {
    const Ledger ledger = ledger_of({"x", {1, 1}});
    for (const bool by_hand : {false, true}) {
        const Account after = account(ledger, {"y", by_hand, {"y", "x"}}, true);
        EXPECT_FALSE(after.set_aside);
        EXPECT_EQ(after.ledger.counted, (Counted{"y", {2, 1}}));
    }
    EXPECT_EQ(account(ledger, {"x", true, {"x"}}, true).ledger, ledger) << "nothing was changed";
}

TEST(ReplicaCore, AHandEditOnThePassiveNodeIsSetAsideAndCountsForNothing) {
    const Ledger ledger = ledger_of({"x", {1, 1}});
    const Account after = account(ledger, {"e", true, {"e", "x"}}, false);
    EXPECT_TRUE(after.set_aside);
    EXPECT_EQ(after.ledger, ledger);
    // Put back, it is as before.
    EXPECT_FALSE(account(after.ledger, {"x", false, {"x", "e", "x"}}, false).set_aside);
}

TEST(ReplicaCore, ACommandThatWasLetThroughCountsThoughTheNodeIsPassiveByNow) {
    const Ledger ledger = ledger_of({"x", {1, 1}});
    EXPECT_EQ(account(ledger, {"y", false, {"y", "x"}}, false).ledger.counted, (Counted{"y", {2, 1}}));
}

TEST(ReplicaCore, AfterAStopInTheMiddleOfAPushItIsKnownWhatCameTrue) {
    const Ledger ledger = ledger_of({"x", {1, 1}}, Counted{"y", {1, 2}});
    // Before it was in force.
    EXPECT_EQ(account(ledger, {"x", false, {"x"}}, false).ledger, ledger_of({"x", {1, 1}}));
    // After it was.
    EXPECT_EQ(account(ledger, {"y", false, {"y", "x"}}, false).ledger, ledger_of({"y", {1, 2}}));
    // And changed again by a command, on top of it; and on top of the old one.
    EXPECT_EQ(account(ledger, {"z", false, {"z", "y", "x"}}, true).ledger.counted, (Counted{"z", {2, 2}}));
    EXPECT_EQ(account(ledger, {"z", false, {"z", "x"}}, true).ledger.counted, (Counted{"z", {2, 1}}));
    // Edited by hand: what was pushed is what comes back.
    const Account edited = account(ledger, {"e", true, {"e", "y", "x"}}, false);
    EXPECT_TRUE(edited.set_aside);
    EXPECT_EQ(edited.ledger.counted, (Counted{"y", {1, 2}}));
}

TEST(ReplicaCore, APushIsTakenOnlyIfItComesOutOfWhatIsInForce) {
    const Counted own{"x", {1, 1}};
    EXPECT_EQ(refusal_of("x", own, {"y", {1, 2}}), std::nullopt);
    ASSERT_TRUE(refusal_of("x", own, {"w", {1, 0}}));
    EXPECT_EQ(refusal_of("x", own, {"w", {1, 0}})->code, 5) << "an older push that comes late";
    EXPECT_TRUE(refusal_of("x", own, {"y", {0, 2}})) << "both were changed";
    EXPECT_TRUE(refusal_of("x", own, {"y", {1, 1}}));
    EXPECT_TRUE(refusal_of("e", own, {"y", {1, 2}})) << "a change that is not counted yet";
    EXPECT_EQ(refusal_of("", own, {"y", {1, 2}}), std::nullopt) << "what cannot be read may be replaced";
}

TEST(ReplicaCore, AtTheBeginningThePrimarysContentCounts) {
    const Ledger primary = first_ledger("a", "p", true);
    const Ledger secondary = first_ledger("b", "p", false);
    const Version seen_from_secondary{primary.counted.version.peer, primary.counted.version.mine};
    EXPECT_EQ(decide({"b", secondary.counted, Counted{"a", seen_from_secondary}, ""}), State::wait);
}

TEST(ReplicaCore, ResolvingChoosesOneOfThem) {
    const Counted own{"x", {3, 1}};
    const Counted peer{"y", {2, 2}};
    const auto mine = choose_mine(own, peer);
    ASSERT_TRUE(mine);
    EXPECT_EQ(compare(*mine, peer.version), Order::ahead);
    const auto theirs = choose_peer(own, peer);
    ASSERT_TRUE(theirs);
    EXPECT_EQ(compare(*theirs, peer.version), Order::behind);
    EXPECT_FALSE(choose_mine(own, {"y", {2, 1}})) << "the peer is only behind";
    EXPECT_FALSE(choose_peer(own, {"x", {2, 2}})) << "both have the same";
    EXPECT_TRUE(choose_mine({"x", {0, 0}}, {"y", {0, 0}}));
    EXPECT_FALSE(choose_peer({"x", {0, 0}}, {"y", {0, 0}}));
}

TEST(ReplicaCore, EqualContentMergesWhatBothKnow) {
    EXPECT_EQ(merged({"x", {3, 1}}, {"x", {2, 2}}), (Version{3, 2}));
    EXPECT_EQ(merged({"x", {3, 2}}, {"x", {2, 2}}), std::nullopt);
}

}  // namespace
}  // namespace lbcluster::replicator
