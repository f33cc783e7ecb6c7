// HC-4, HC-7: fall and rise, composites, standby.
#include <gtest/gtest.h>

#include <random>

#include "healthd/core/judge.hpp"
#include "healthd/core/target.hpp"
#include "tests/unit/healthd/core_rig.hpp"

namespace lbcluster::health::testing {
namespace {

Finding finding_of(char c) {
    return c == 'u' ? Finding::up : c == 's' ? Finding::standby : c == 'd' ? Finding::down : Finding::unusable;
}
char letter_of(Health health) {
    return word_of(health)[0] == 'u' && health == Health::unknown ? '?' : word_of(health)[0];
}

TEST(Judge, FollowsItsTable) {
    struct Row {
        unsigned fall;
        unsigned rise;
        const char* outcomes;
        const char* verdicts;
    };
    const Row rows[] = {
        {2, 2, "uuddd", "uuudd"},        // fall
        {2, 2, "uduuu", "uuuuu"},        // one failure is forgotten
        {3, 2, "udduddd", "uuuuuud"},    // in a row
        {2, 2, "dduu", "dddu"},          // rise
        {2, 3, "dduuduuu", "dddddddu"},  // in a row
        {3, 3, "du", "dd"},              // the first one decides alone, then the rule holds
        {3, 3, "u", "u"},
        {2, 2, "uss", "uss"},  // at once, both ways
        {2, 2, "sus", "sus"},
        {2, 2, "ssdd", "sssd"},
        {2, 2, "ddsu", "dddu"},  // both are successes
        {2, 2, "ddus", "ddds"},  // the newest one says which
        {1, 1, "udsd", "udsd"},
    };
    for (const Row& row : rows) {
        Judge judge;
        std::string seen;
        for (const char* c = row.outcomes; *c != 0; ++c) {
            judge.on_finding(finding_of(*c), row.fall, row.rise);
            seen += letter_of(judge.health());
        }
        EXPECT_EQ(seen, row.verdicts) << row.outcomes << " fall " << row.fall << " rise " << row.rise;
    }
}

// The rule said once more, as a look back at all outcomes: slow, and too simple to be wrong.
Health oracle(const std::vector<Finding>& all, unsigned fall, unsigned rise) {
    Health health = Health::unknown;
    for (std::size_t n = 1; n <= all.size(); ++n) {
        const auto last = [&](unsigned count, bool down) {
            if (n < count) return false;
            for (std::size_t i = n - count; i < n; ++i) {
                if ((all[i] == Finding::down) != down) return false;
            }
            return true;
        };
        const Finding newest = all[n - 1];
        const Health good = newest == Finding::standby ? Health::standby : Health::up;
        if (n == 1) health = newest == Finding::down ? Health::down : good;
        else if (last(fall, true)) health = Health::down;
        else if (newest != Finding::down && (health != Health::down || last(rise, false))) health = good;
    }
    return health;
}

TEST(Judge, AnySequenceOfOutcomesFollowsFallAndRise) {
    std::mt19937_64 random(4711);
    for (int run = 0; run < 2000; ++run) {
        const auto fall = static_cast<unsigned>(1 + random() % 5);
        const auto rise = static_cast<unsigned>(1 + random() % 5);
        Judge judge;
        std::vector<Finding> all;
        const auto bias = random() % 4;
        for (int n = 0; n < 60; ++n) {
            const Finding finding = random() % 4 < bias ? Finding::down
                                    : random() % 3 == 0 ? Finding::standby
                                                        : Finding::up;
            all.push_back(finding);
            const Health before = judge.health();
            const bool changed = judge.on_finding(finding, fall, rise);
            ASSERT_EQ(judge.health(), oracle(all, fall, rise)) << "run " << run << " outcome " << n;
            ASSERT_EQ(changed, before != judge.health());
        }
    }
}

TEST(Judge, CountsForPeople) {
    Judge judge;
    judge.on_finding(Finding::up, 3, 2);
    EXPECT_EQ(judge.count(3, 2), "");
    judge.on_finding(Finding::down, 3, 2);
    EXPECT_EQ(judge.count(3, 2), "1 of 3");
    judge.on_finding(Finding::down, 3, 2);
    judge.on_finding(Finding::down, 3, 2);
    EXPECT_EQ(judge.count(3, 2), "3 of 3");
    judge.on_finding(Finding::up, 3, 2);
    EXPECT_EQ(judge.count(3, 2), "1 of 2");
    Judge fresh;
    fresh.on_finding(Finding::down, 3, 2);
    EXPECT_EQ(fresh.count(3, 2), "first probe");
}

// Leaves by letter: u s d ! (unusable), '.' has not ended.
std::vector<LeafState> leaves_of(const std::string& letters) {
    std::vector<LeafState> leaves;
    for (const char c : letters) {
        LeafState leaf;
        leaf.stage = c == '.' ? LeafState::Stage::running : LeafState::Stage::ended;
        leaf.outcome.finding = finding_of(c);
        leaves.push_back(leaf);
    }
    return leaves;
}
CheckTree flat(std::size_t need, std::size_t parts) {
    CheckTree tree;
    tree.need = need;
    for (std::size_t i = 0; i < parts; ++i) tree.parts.push_back({i, 0, {}});
    return tree;
}
char result_of(const CheckTree& tree, const std::string& letters) {
    const auto finding = evaluate(tree, leaves_of(letters));
    if (!finding) return '.';
    return *finding == Finding::up ? 'u' : *finding == Finding::standby ? 's' : *finding == Finding::down ? 'd' : '!';
}

TEST(Composite, FollowsItsTable) {
    struct Row {
        std::size_t need;
        const char* leaves;
        char result;
    };
    const Row rows[] = {
        {2, "uu", 'u'},  {2, "ud", 'd'},  {2, "u.", '.'},  {2, "d.", 'd'},  {2, "us", 's'},  {2, "ss", 's'},
        {2, "s.", '.'},  {2, "sd", 'd'},  {2, "u!", '!'},  {2, "d!", 'd'},  {2, "s!", '!'},  // all of two
        {1, "ud", 'u'},  {1, "u.", 'u'},  {1, "dd", 'd'},  {1, "d.", '.'},  {1, "sd", 's'},  {1, "s.", '.'},
        {1, "u!", 'u'},  {1, "d!", '!'},  {1, "s!", '!'},  {1, "su", 'u'},  // any of two
        {2, "uud", 'u'}, {2, "udd", 'd'}, {2, "ud.", '.'}, {2, "usd", 's'}, {2, "dd.", 'd'}, {2, "uu.", 'u'},
    };
    for (const Row& row : rows) {
        const std::string leaves = row.leaves;
        EXPECT_EQ(result_of(flat(row.need, leaves.size()), leaves), row.result) << row.need << " of " << leaves;
    }
    // any: [all: [0, 1], 2]
    CheckTree nested;
    nested.need = 1;
    nested.parts = {flat(2, 2), {2, 0, {}}};
    EXPECT_EQ(result_of(nested, "uud"), 'u');
    EXPECT_EQ(result_of(nested, "udd"), 'd');
    EXPECT_EQ(result_of(nested, "ud."), '.');
    EXPECT_EQ(result_of(nested, "..u"), 'u');
}

// What is decided early stays, whatever the missing leaves say.
TEST(Composite, AnEarlyResultIsTheFinalOne) {
    std::mt19937_64 random(42);
    for (int run = 0; run < 20000; ++run) {
        const std::size_t parts = 1 + random() % 5;
        const CheckTree tree = flat(1 + random() % parts, parts);
        std::string whole;
        std::string part;
        for (std::size_t i = 0; i < parts; ++i) {
            whole += "usd!"[random() % 4];
            part += random() % 2 == 0 ? '.' : whole.back();
        }
        const char early = result_of(tree, part);
        if (early != '.') {
            ASSERT_EQ(result_of(tree, whole), early) << part << " " << whole << " need " << tree.need;
        }
        ASSERT_NE(result_of(tree, whole), '.');
    }
}

TEST(Composite, TheReasonNamesTheFirstOneThatIsWrong) {
    Target target;
    target.leaves = {spec_of("10.0.0.1", 80), spec_of("10.0.0.1", 443)};
    target.leaves[1].check.set_type(config::CHECK_TYPE_NEGOTIATE);
    target.leaves[1].check.set_protocol(config::CHECK_PROTOCOL_HTTPS);
    target.tree = flat(2, 2);
    auto leaves = leaves_of("ud");
    leaves[1].outcome.reason = "HTTP 503, wanted 200";
    EXPECT_EQ(reason_of(target, leaves, Finding::down), "1 of 2 checks up, 2 needed; https 443: HTTP 503, wanted 200");
    leaves[1].outcome.reason = std::string(reason_bytes_max, 'x');
    EXPECT_EQ(reason_of(target, leaves, Finding::down).size(), reason_bytes_max);
    EXPECT_EQ(reason_of(target, leaves_of("uu"), Finding::up), "2 of 2 checks up, 2 needed");
}

TEST(Detection, IsNeverLongerThanFallIntervalsAndATimeout) {
    for (const Duration interval : {Duration{100ms}, Duration{1s}, Duration{4s}, Duration{30s}, Duration{1h}}) {
        for (int quarter = 1; quarter <= 4; ++quarter) {
            for (const unsigned fall : {1U, 2U, 3U, 100U}) {
                Target target = target_of("10.0.0.1", interval, interval * quarter / 4);
                target.fall = fall;
                EXPECT_LE(detection_time(target), interval * fall + target.timeout);
                EXPECT_GE(detection_time(target), interval + target.timeout);
            }
        }
    }
    Target target = target_of("10.0.0.1", 4s, 3s);
    EXPECT_EQ(detection_time(target), 4s + (3s + 1s) + 3s);
    EXPECT_EQ(recheck_delay(target), 1s);
    EXPECT_EQ(recheck_delay(target_of("10.0.0.1", 100ms)), 100ms);
}

}  // namespace
}  // namespace lbcluster::health::testing
