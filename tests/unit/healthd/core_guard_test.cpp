// HC-4, HC-6: our own faults are not the servers'; what outlives a restart; feedback agents.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "healthd/core/guard.hpp"
#include "tests/unit/healthd/core_rig.hpp"

namespace lbcluster::health::testing {
namespace {

const Environment fine{{}, true, true};
const Environment cut_off{{}, true, false};
const Environment unplugged{{"eth0"}, true, false};

class Guarded : public ::testing::Test {
  protected:
    void SetUp() override {
        rig.server = [this](Id, const ProbeSpec&) { return dead ? Answer{Finding::down, 1ms, "no route"} : Answer{}; };
        ids = rig.configure({target_of("10.0.0.1"), target_of("10.0.0.2")});
        rig.run(5s);
        ASSERT_EQ(health(), Health::up);
    }
    [[nodiscard]] Health health() const { return rig.health(ids.targets[0]); }
    [[nodiscard]] const Verdict& verdict() const { return rig.core.verdict(ids.targets[0]); }

    Rig rig;
    Ids ids;
    bool dead = false;
};

TEST_F(Guarded, WithoutHeartbeatdFailuresCount) {
    dead = true;
    rig.run(3s);
    EXPECT_EQ(health(), Health::down);
}

TEST_F(Guarded, WhileWeAreCutOffFailuresDoNotCount) {
    rig.environment(fine);
    rig.environment(cut_off);
    dead = true;
    rig.run(20s);
    EXPECT_EQ(health(), Health::up);
    EXPECT_EQ(rig.core.holding(rig.now), "no ping node answers");
    EXPECT_EQ(verdict().reason, "not counted (no ping node answers): no route");
    EXPECT_TRUE(verdict().overdue) << "but nobody takes it for fresh";
    EXPECT_GT(rig.core.counters().excused, 0U);
    dead = false;
    rig.environment(fine);
    EXPECT_EQ(rig.core.holding(rig.now), "");
    rig.run(1s);
    EXPECT_EQ(verdict().reason, "fine") << "asked anew at once";
    EXPECT_FALSE(verdict().overdue);
    EXPECT_EQ(rig.changes.size(), 2U) << "only the first verdicts";
}

TEST_F(Guarded, SuccessesCountWhileWeHold) {
    dead = true;
    rig.run(3s);
    ASSERT_EQ(health(), Health::down);
    rig.environment(fine);
    rig.environment(unplugged);
    dead = false;
    rig.run(3s);
    EXPECT_EQ(health(), Health::up);
}

TEST_F(Guarded, PingNodesThatNeverAnsweredAreNoEvidence) {
    rig.environment(cut_off);
    EXPECT_EQ(rig.core.holding(rig.now), "");
    rig.environment(unplugged);
    EXPECT_EQ(rig.core.holding(rig.now), "no carrier on eth0") << "a missing carrier is, always";
}

TEST_F(Guarded, AfterTheHoldTheNetworkGetsAMoment) {
    rig.environment(fine);
    rig.environment(unplugged);
    rig.run(10s);
    dead = true;
    rig.environment(fine);
    rig.run(900ms);  // the neighbour tables fill
    dead = false;
    rig.run(5s);
    EXPECT_EQ(rig.changes.size(), 2U) << "only the first verdicts";
    dead = true;
    rig.run(3s);
    EXPECT_EQ(health(), Health::down);
}

TEST_F(Guarded, AFailureJustBeforeTheHoldIsForgiven) {
    rig.environment(fine);
    dead = true;
    while (verdict().reason != "no route; 1 of 2") rig.run(10ms);
    rig.environment(unplugged);
    rig.run(10s);
    ASSERT_EQ(verdict().reason.substr(0, 11), "not counted");
    rig.environment(fine);
    const Instant back = rig.now;
    while (verdict().reason.starts_with("not counted") && rig.now < back + 5s) rig.run(10ms);
    EXPECT_EQ(verdict().reason, "no route; 1 of 2") << "the first one that counts";
    EXPECT_EQ(health(), Health::up);
}

TEST_F(Guarded, AHoldHasAnEnd) {
    rig.environment(fine);
    rig.environment(cut_off);
    dead = true;
    rig.run(Guard::hold_max - 1s);
    EXPECT_EQ(health(), Health::up);
    rig.run(5s);
    EXPECT_EQ(health(), Health::down) << "what lasts is how the network is now";
    EXPECT_EQ(rig.core.holding(rig.now), "");
    // Another reason is new evidence.
    rig.environment(unplugged);
    EXPECT_EQ(rig.core.holding(rig.now), "no carrier on eth0");
}

TEST_F(Guarded, HeartbeatdThatGoesEndsTheHold) {
    rig.environment(fine);
    rig.environment(cut_off);
    rig.run(5s);
    dead = true;
    rig.environment(std::nullopt);
    EXPECT_EQ(rig.core.holding(rig.now), "");
    rig.run(3s);
    EXPECT_EQ(health(), Health::down);
}

TEST_F(Guarded, AStallIsNotTheServersFault) {
    rig.server = [](Id, const ProbeSpec&) { return Answer{Finding::up, Duration::max()}; };
    rig.run(900ms);  // one is under way
    ASSERT_GT(rig.core.under_way(), 0U);
    const auto before = rig.core.counters().excused;
    rig.freeze(10s);
    rig.server = [](Id, const ProbeSpec&) { return Answer{}; };
    rig.run(5s);
    EXPECT_GT(rig.core.counters().excused, before);
    EXPECT_GT(rig.core.counters().late, 0U);
    EXPECT_EQ(rig.changes.size(), 2U) << "only the first verdicts";
}

// On a machine that is too slow for its work, where every look comes late.
TEST_F(Guarded, WhoIsLateAllTheTimeSeesTheDeadAllTheSame) {
    const auto late_all_the_time = [this](int times) {
        for (int i = 0; i < times; ++i) {
            rig.run(400ms);
            rig.freeze(300ms);
        }
    };
    late_all_the_time(10);
    EXPECT_EQ(health(), Health::up);
    rig.server = [](Id, const ProbeSpec&) { return Answer{Finding::up, Duration::max()}; };
    const auto before = rig.core.counters().excused;
    late_all_the_time(10);
    EXPECT_EQ(health(), Health::down);
    EXPECT_LE(rig.core.counters().excused - before, 2U) << "the first failure of each server";
    // A success makes it lenient again.
    rig.server = [](Id, const ProbeSpec&) { return Answer{}; };
    rig.run(5s);
    ASSERT_EQ(health(), Health::up);
    rig.server = [](Id, const ProbeSpec&) { return Answer{Finding::up, Duration::max()}; };
    const auto again = rig.core.counters().excused;
    late_all_the_time(3);
    EXPECT_GT(rig.core.counters().excused, again);
}

TEST(Stall, ExcusesWhatItCanHaveCaused) {
    Guard guard;
    const Instant start{100s};
    guard.on_late(start + 1s, start + 1s + 300ms);
    const Instant end = start + 2s;
    EXPECT_EQ(guard.excuse(end, start, 1s, true), "healthd itself was late");
    EXPECT_EQ(guard.excuse(end, start, 1s, false), "") << "refused is refused";
    EXPECT_EQ(guard.excuse(end, start, 2s, true), "") << "there was time enough";
    EXPECT_EQ(guard.excuse(end, start, 200ms, false), "healthd itself was late") << "longer than all of it";
    EXPECT_EQ(guard.excuse(end, start + 1s + 300ms, 100ms, true), "") << "it began after the stall";
    guard.on_late(start + 3s, start + 3s + 40ms);
    EXPECT_EQ(guard.excuse(start + 4s, start + 2s, 100ms, true), "") << "forty milliseconds are nothing";
}

TEST(Stall, MakesNoHerd) {
    Rig rig({"lb1", 3, 10000});
    std::vector<Target> targets;
    for (std::size_t n = 0; n < 5000; ++n) targets.push_back(target_of(address_of(n), 4s, 1s));
    rig.configure(targets);
    rig.run(10s);
    rig.starts.clear();
    rig.freeze(10s);
    EXPECT_LE(rig.starts.size(), 10U) << "5000 were due";
    const Instant thawed = rig.now;
    rig.run(1s);
    std::set<Id> asked;
    for (const auto& start : rig.starts) asked.insert(start.id);
    EXPECT_EQ(asked.size(), 5000U) << "within a second after " << (thawed - Instant{0s}).count();
}

TEST(Unusable, NeverCountsAndIsNotHidden) {
    Rig rig;
    bool broken = false;
    rig.server = [&](Id, const ProbeSpec&) {
        return broken ? Answer{Finding::unusable, 1ms, "too many open files"} : Answer{};
    };
    const Ids ids = rig.configure({target_of("10.0.0.1")});
    rig.run(3s);
    broken = true;
    rig.run(20s);
    const Verdict& verdict = rig.core.verdict(ids.targets[0]);
    EXPECT_EQ(verdict.health, Health::up);
    EXPECT_TRUE(verdict.overdue);
    EXPECT_EQ(verdict.reason, "not counted: too many open files");
    EXPECT_EQ(rig.core.totals().overdue, 1U);
}

TEST(Unusable, AsTheFirstOutcomeLeavesTheVerdictUnknown) {
    Rig rig;
    rig.server = [](Id, const ProbeSpec&) { return Answer{Finding::unusable, 1ms, "no route"}; };
    const Ids ids = rig.configure({target_of("10.0.0.1")});
    rig.run(3s);
    EXPECT_EQ(rig.health(ids.targets[0]), Health::unknown);
    EXPECT_EQ(rig.core.verdict(ids.targets[0]).since, std::nullopt);
}

TEST(Restart, VerdictsAndWeightsAreRemembered) {
    Plan plan;
    plan.targets = {target_of("10.0.0.1"), target_of("10.0.0.2")};
    plan.agents = {{*IpAddress::parse("10.0.0.1"), 3333, 1s}};
    Memory memory;
    Instant later;
    {
        Rig rig;
        rig.server = [](Id, const ProbeSpec& spec) {
            return Answer{spec.address.bytes()[3] == 1 ? Finding::up : Finding::down, 1ms, "x"};
        };
        rig.agent = [](Id) { return AgentReading{true, 40, AgentReading::Wish::none, "40%"}; };
        rig.configure(plan);
        rig.run(5s);
        rig.core.remember([&](std::uint64_t hash, const Remembered& kept) { memory[hash] = kept; });
        later = rig.now + 2s;
    }
    EXPECT_EQ(memory.size(), 3U);
    Rig rig({"lb1", 2, 100}, memory);
    rig.now = later;
    rig.server = [](Id, const ProbeSpec&) { return Answer{Finding::down, 1ms, "lost packet"}; };
    plan.targets[0].interval = 2s;  // changed meanwhile: the question is the same
    const Ids ids = rig.configure(plan);
    EXPECT_EQ(rig.health(ids.targets[0]), Health::up);
    EXPECT_EQ(rig.health(ids.targets[1]), Health::down);
    EXPECT_EQ(rig.core.weight(ids.agents[0]).percent, 40U);
    const Instant restarted = rig.now;
    while (rig.core.verdict(ids.targets[0]).reason != "lost packet; 1 of 2" && rig.now < restarted + 1s) rig.run(10ms);
    EXPECT_LT(rig.now, restarted + 1s) << "asked soon";
    EXPECT_EQ(rig.health(ids.targets[0]), Health::up) << "one failure does not decide";
}

class AgentTest : public ::testing::Test {
  protected:
    void SetUp() override {
        rig.agent = [this](Id) { return reading; };
        id = rig.configure(Plan{{}, {{*IpAddress::parse("10.0.0.1"), 3333, 2s}}}).agents.at(0);
    }
    const Weight& weight() { return rig.core.weight(id); }
    Rig rig;
    Id id = 0;
    AgentReading reading{true, 75, AgentReading::Wish::none, "75%"};
};

TEST_F(AgentTest, SetsTheWeight) {
    EXPECT_EQ(weight().percent, 100U);
    rig.run(1s);
    EXPECT_EQ(weight().percent, 75U);
    reading = {true, 100, AgentReading::Wish::drain, "drain"};
    rig.run(2s);
    EXPECT_EQ(weight().wish, AgentReading::Wish::drain);
    reading = {true, 30, AgentReading::Wish::none, "30%"};
    rig.run(2s);
    EXPECT_EQ(weight().wish, AgentReading::Wish::none);
    EXPECT_EQ(weight().percent, 30U);
    reading = {true, 4000, AgentReading::Wish::none, "4000%"};
    rig.run(2s);
    EXPECT_EQ(weight().percent, 100U) << "in range, whatever it says";
    EXPECT_GE(rig.agent_reads.size(), 4U);
}

TEST_F(AgentTest, ASilentOneKeepsItsLastWeightForAMinute) {
    rig.run(1s);
    rig.agents_answer = false;
    rig.run(30s);
    EXPECT_EQ(weight().percent, 75U);
    EXPECT_EQ(weight().text, "no answer within 2s; its last word counts");
    rig.run(40s);
    EXPECT_EQ(weight().percent, 100U);
    EXPECT_EQ(weight().text, "no answer within 2s; silent for more than 1m: full weight");
    EXPECT_GT(rig.core.counters().agent_silences, 10U);
    rig.agents_answer = true;
    rig.run(2s);
    EXPECT_EQ(weight().percent, 75U);
}

TEST_F(AgentTest, GarbageIsSilence) {
    rig.run(1s);
    reading = {false, 100, AgentReading::Wish::none, "\"lol\" is no answer of an agent"};
    rig.run(2s);
    EXPECT_EQ(weight().percent, 75U);
    EXPECT_EQ(weight().text, "\"lol\" is no answer of an agent; its last word counts");
}

// Property: whatever agents say, and however often they say nothing, the weight is a percentage, and after a plain word
// it is what was said.
TEST_F(AgentTest, AnySequenceOfReadingsKeepsTheWeightInRange) {
    using Wish = AgentReading::Wish;
    std::mt19937 random(5);
    for (int i = 0; i < 2000; ++i) {
        const unsigned percent = random() % 4 == 0 ? static_cast<unsigned>(random()) : random() % 101;
        reading = {random() % 5 != 0, percent, std::array{Wish::none, Wish::drain, Wish::down}.at(random() % 3), "x"};
        rig.agents_answer = random() % 7 != 0;
        const std::size_t read = rig.agent_reads.size();
        rig.run(milliseconds{2000 + random() % 20000});
        EXPECT_LE(weight().percent, 100U);
        if (!rig.agents_answer || !reading.understood || rig.agent_reads.size() == read) continue;
        EXPECT_EQ(weight().percent, std::min(percent, 100U));
        EXPECT_EQ(weight().wish, reading.wish);
    }
}

}  // namespace
}  // namespace lbcluster::health::testing
