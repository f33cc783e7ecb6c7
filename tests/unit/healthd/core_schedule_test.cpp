// HC-4: when probes happen: spread, start, reload, deadlines, a bounded number at once, the promised detection time.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/unit/healthd/core_rig.hpp"

namespace lbcluster::health::testing {
namespace {

// The most starts within any 10 ms.
std::size_t densest(const std::vector<Rig::Start>& starts, Instant from, Duration window = 10ms) {
    std::size_t most = 0;
    std::size_t first = 0;
    for (std::size_t i = 0; i < starts.size(); ++i) {
        if (starts[i].at < from) {
            first = i + 1;
            continue;
        }
        while (starts[i].at - starts[first].at > window) ++first;
        most = std::max(most, i - first + 1);
    }
    return most;
}

std::vector<Target> many(std::size_t count, Duration interval) {
    std::vector<Target> targets;
    for (std::size_t n = 0; n < count; ++n) targets.push_back(target_of(address_of(n), interval, interval / 2));
    return targets;
}

TEST(Agenda, GivesTheEarliestWhateverWasSetAndErased) {
    std::mt19937_64 random(7);
    Agenda agenda;
    std::map<Id, Instant> model;
    for (int n = 0; n < 20000; ++n) {
        const Id id = static_cast<Id>(random() % 50);
        if (random() % 3 == 0) {
            agenda.erase(id);
            model.erase(id);
        } else {
            const Instant at{Duration{static_cast<Duration::rep>(random() % 1000)}};
            agenda.set(id, at);
            model[id] = at;
        }
        Instant earliest = Instant::max();
        for (const auto& [known, at] : model) earliest = std::min(earliest, at);
        ASSERT_EQ(agenda.next(), earliest);
        ASSERT_EQ(agenda.empty(), model.empty());
        if (!model.empty()) {
            ASSERT_EQ(model.at(agenda.next_id()), earliest);
        }
    }
}

TEST(Schedule, FiveThousandASecondAreSpread) {
    Rig rig({"lb1", 3, 10000});
    rig.configure(many(5000, 1s));
    rig.run(8s);
    EXPECT_GE(rig.starts.size(), 5000U * 8);
    EXPECT_LE(densest(rig.starts, Instant::min()), 75U) << "the mean is 50";
}

TEST(Schedule, TenThousandStartWithinASecondWithoutAHerd) {
    Rig rig({"lb1", 3, 20000});
    rig.configure(many(10000, 4s));
    rig.run(1s);
    std::set<Id> asked;
    for (const auto& start : rig.starts) asked.insert(start.id);
    EXPECT_EQ(asked.size(), 10000U);
    EXPECT_LE(densest(rig.starts, Instant::min()), 180U) << "10,000 in a second are 100 in 10 ms";
    rig.run(12s);
    EXPECT_LE(densest(rig.starts, rig.now - 8s), 45U) << "10,000 in 4 s are 26 in 10 ms";
}

TEST(Schedule, TheIntervalIsTheLongestTimeBetweenTwoRounds) {
    Rig rig;
    const Ids ids = rig.configure({target_of("10.0.0.1", 10s), target_of("10.0.0.2", 200ms)});
    rig.run(100s);
    for (const Id id : ids.targets) {
        const Duration interval = rig.core.target(id).interval;
        std::vector<Instant> at;
        for (const auto& start : rig.starts) {
            if (start.id == id) at.push_back(start.at);
        }
        ASSERT_GT(at.size(), 9U);
        EXPECT_LE(at[0], Instant{1001s}) << "the first one comes soon";
        for (std::size_t i = 1; i < at.size(); ++i) {
            EXPECT_LE(at[i] - at[i - 1], interval);
            if (i > 1) {
                EXPECT_GE(at[i] - at[i - 1], interval * 9 / 10);
            }
        }
    }
}

TEST(Schedule, NodesAskAtOtherTimes) {
    const auto first_start = [](const std::string& node) {
        Rig rig({node, 3, 10});
        rig.configure({target_of("10.0.0.1", 10s)});
        rig.run(20s);
        return rig.starts.at(1).at;
    };
    EXPECT_EQ(first_start("lb1"), first_start("lb1"));
    EXPECT_NE(first_start("lb1"), first_start("lb2"));
}

TEST(Schedule, ASilentServerIsEndedByTheDeadlineAndTheReasonSaysWhere) {
    Rig rig;
    rig.server = [](Id, const ProbeSpec&) { return Answer{Finding::up, Duration::max()}; };
    const Ids ids = rig.configure({target_of("10.0.0.1", 1s, 300ms)});
    rig.run(1400ms);
    EXPECT_EQ(rig.health(ids.targets[0]), Health::down);
    EXPECT_EQ(rig.core.verdict(ids.targets[0]).reason, "no greeting within 300ms; first probe");
    EXPECT_EQ(rig.core.verdict(ids.targets[0]).took, 300ms);
    EXPECT_EQ(rig.core.counters().timeouts, rig.core.counters().failures);
}

TEST(Schedule, ServersThatDieAreFoundWithinThePromisedTime) {
    std::mt19937_64 random(99);
    for (int run = 0; run < 60; ++run) {
        Rig rig({"lb1", random(), 1000});
        std::vector<Target> targets;
        for (std::size_t n = 0; n < 20; ++n) {
            const Duration interval = milliseconds{100 + random() % 5000};
            Target target =
                target_of(address_of(n), interval, std::max<Duration>(50ms, interval * (1 + random() % 4) / 4));
            target.fall = static_cast<unsigned>(1 + random() % 4);
            targets.push_back(target);
        }
        const Ids ids = rig.configure(targets);
        rig.run(Duration{10s} + milliseconds{random() % 3000});
        const bool silent = run % 2 == 0;
        rig.server = [&](Id, const ProbeSpec&) {
            return silent ? Answer{Finding::up, Duration::max()} : Answer{Finding::down, 1ms, "connection refused"};
        };
        const Instant death = rig.now;
        rig.run(40s);
        for (const Id id : ids.targets) {
            const auto found = std::find_if(rig.changes.begin(), rig.changes.end(), [&](const Rig::Change& change) {
                return change.id == id && change.after == Health::down;
            });
            ASSERT_NE(found, rig.changes.end());
            // What was under way when it died may still have answered: that is 1 ms here.
            EXPECT_LE(found->at - death, detection_time(rig.core.target(id)) + 1ms);
        }
    }
}

TEST(Schedule, AFirstFailureAndAFirstSuccessAreLookedAtAgainSoon) {
    Rig rig;
    Finding now_found = Finding::up;
    rig.server = [&](Id, const ProbeSpec&) { return Answer{now_found, 1ms, "said so"}; };
    const Ids ids = rig.configure({target_of("10.0.0.1", 40s, 10s)});
    rig.run(100s);
    const auto gap_after = [&](Finding finding, Health expected) {
        now_found = finding;
        const std::size_t known = rig.starts.size();
        rig.run(100s);
        EXPECT_EQ(rig.health(ids.targets[0]), expected);
        return rig.starts.at(known + 1).at - rig.starts.at(known).at;
    };
    EXPECT_EQ(gap_after(Finding::down, Health::down), 10s + 1ms);
    EXPECT_EQ(gap_after(Finding::up, Health::up), 10s + 1ms);
}

TEST(Schedule, ProbesAtOnceAreBoundedAndNobodyIsForgotten) {
    Rig rig({"lb1", 3, 50});
    rig.server = [](Id, const ProbeSpec& spec) {
        // Every fifth accepts and never answers.
        return spec.address.bytes()[3] % 5 == 0 ? Answer{Finding::up, Duration::max()} : Answer{Finding::up, 20ms};
    };
    const Ids ids = rig.configure(many(500, 2s));
    rig.run(30s);
    EXPECT_EQ(rig.most_under_way, 50U);
    EXPECT_GT(rig.core.counters().queued, 0U);
    for (const Id id : ids.targets) {
        const bool silent = rig.core.target(id).leaves[0].address.bytes()[3] % 5 == 0;
        ASSERT_EQ(rig.health(id), silent ? Health::down : Health::up);
    }
}

TEST(Schedule, ARoundWithMorePartsThanPlacesStillEnds) {
    Rig rig({"lb1", 3, 2});
    Target target = target_of("10.0.0.1");
    target.tree = CheckTree{};
    target.leaves.clear();
    for (std::size_t n = 0; n < 8; ++n) {
        target.tree.parts.push_back({n, 0, {}});
        target.leaves.push_back(spec_of("10.0.0.1", static_cast<std::uint16_t>(80 + n)));
    }
    target.tree.need = 8;
    const Ids ids = rig.configure({target, target_of("10.0.0.2")});
    rig.run(5s);
    EXPECT_EQ(rig.most_under_way, 2U);
    EXPECT_EQ(rig.health(ids.targets[0]), Health::up);
    EXPECT_EQ(rig.core.verdict(ids.targets[0]).reason, "8 of 8 checks up, 8 needed");
    EXPECT_EQ(rig.health(ids.targets[1]), Health::up);
}

TEST(Schedule, WhoWaitsForAPlaceTooLongIsOverdue) {
    Rig rig({"lb1", 3, 1});
    bool hang = false;
    rig.server = [&](Id, const ProbeSpec& spec) {
        return hang && spec.address.bytes()[3] == 1 ? Answer{Finding::up, Duration::max()} : Answer{};
    };
    const Ids ids = rig.configure({target_of("10.0.0.1", 1h, 1h), target_of("10.0.0.2", 1s, 500ms)});
    rig.run(5s);
    hang = true;
    rig.run(2h);  // its next round takes an hour, and the only place
    Actions ignored;
    rig.core.find_overdue(rig.now, ignored);
    EXPECT_EQ(rig.health(ids.targets[1]), Health::up);
    EXPECT_TRUE(rig.core.verdict(ids.targets[1]).overdue);
    EXPECT_EQ(rig.core.totals().overdue, 1U);
    hang = false;
    rig.run(2h);
    EXPECT_FALSE(rig.core.verdict(ids.targets[1]).overdue);
    EXPECT_EQ(rig.core.totals().overdue, 0U);
}

TEST(Reload, KeepsVerdictAndScheduleOfWhatIsUnchanged) {
    Rig rig({"lb1", 3, 1000});
    rig.server = [](Id, const ProbeSpec& spec) {
        return Answer{spec.address.bytes()[3] % 2 == 0 ? Finding::up : Finding::down, 1ms, "odd or even"};
    };
    std::vector<Target> targets = many(200, 2s);
    const Ids before = rig.configure(targets);
    rig.run(10s);
    const Instant reloaded = rig.now;
    rig.changes.clear();

    std::vector<Target> next = many(100, 2s);        // half of them go
    next.push_back(targets[0]);                      // twice: one target
    next.push_back(target_of("192.0.2.1", 2s, 1s));  // new
    targets[50].interval = 3s;                       // asked the same, at another pace
    next[50] = targets[50];
    const Ids after = rig.configure(next);
    EXPECT_EQ(after.targets[0], before.targets[0]);
    EXPECT_EQ(after.targets[100], before.targets[0]);
    EXPECT_NE(after.targets[101], before.targets[0]);
    EXPECT_EQ(rig.forgotten.size(), 101U);
    EXPECT_EQ(rig.health(after.targets[50]), Health::up) << "its verdict outlives the change of its timing";
    EXPECT_EQ(rig.health(after.targets[101]), Health::unknown);
    const auto& totals = rig.core.totals();
    EXPECT_EQ(totals.up + totals.down + totals.standby + totals.unknown, 101U);

    rig.run(20s);
    for (const auto& change : rig.changes) EXPECT_EQ(change.id, after.targets[101]) << "nothing else has changed";
    // The reload itself made nobody ask earlier or later.
    std::map<Id, Instant> last;
    for (const auto& start : rig.starts) {
        const bool same =
            std::find(before.targets.begin(), before.targets.begin() + 50, start.id) != before.targets.begin() + 50;
        if (same && start.at > reloaded - 4s && last.contains(start.id)) {
            EXPECT_LE(start.at - last[start.id], 2s);
            EXPECT_GE(start.at - last[start.id], 1800ms);
        }
        last[start.id] = start.at;
    }
}

TEST(Reload, StopsWhatIsUnderWayForOneThatIsGone) {
    Rig rig;
    rig.server = [](Id, const ProbeSpec&) { return Answer{Finding::up, Duration::max()}; };
    rig.configure({target_of("10.0.0.1", 10s, 10s)});
    rig.run(1s);
    EXPECT_EQ(rig.core.under_way(), 1U);
    rig.configure(std::vector<Target>{});
    EXPECT_EQ(rig.core.under_way(), 0U);
    EXPECT_EQ(rig.core.next_deadline(), Instant::max());
}

TEST(Reload, RandomReloadsInTheMiddleOfEverything) {
    std::mt19937_64 random(5);
    for (int run = 0; run < 30; ++run) {
        Rig rig({"lb1", random(), 1 + random() % 20});
        rig.server = [&](Id, const ProbeSpec&) {
            const Finding findings[] = {Finding::up, Finding::down, Finding::standby, Finding::unusable};
            return Answer{findings[random() % 4],
                          random() % 5 == 0 ? Duration::max() : Duration{milliseconds{random() % 300}}, "x"};
        };
        rig.agent = [&](Id) {
            return AgentReading{random() % 3 != 0, static_cast<unsigned>(random() % 300), AgentReading::Wish::drain,
                                "x"};
        };
        for (int reload = 0; reload < 20; ++reload) {
            Plan plan;
            for (std::size_t n = 0; n < 30; ++n) {
                if (random() % 3 == 0) continue;
                Target target = target_of(address_of(random() % 20), milliseconds{200 + 100 * (random() % 3)}, 200ms);
                if (random() % 2 == 0) {
                    target.leaves.push_back(spec_of("10.0.0.9", 81));
                    target.tree.need = 1 + random() % 2;
                    target.tree.parts = {{0, 0, {}}, {1, 0, {}}};
                }
                plan.targets.push_back(target);
                if (random() % 4 == 0) plan.agents.push_back({*IpAddress::parse(address_of(n)), 3333, 100ms});
            }
            const Ids ids = rig.configure(plan);
            rig.agents_answer = random() % 2 == 0;
            if (random() % 4 == 0) rig.environment(Environment{{"eth0"}, true, random() % 2 == 0});
            if (random() % 4 == 0) rig.environment(std::nullopt);
            if (random() % 4 == 0) rig.freeze(milliseconds{random() % 2000});
            rig.run(milliseconds{random() % 1500});
            const auto& totals = rig.core.totals();
            const std::set<Id> different(ids.targets.begin(), ids.targets.end());
            ASSERT_EQ(totals.up + totals.down + totals.standby + totals.unknown, different.size());
            for (const Id id : ids.agents) ASSERT_LE(rig.core.weight(id).percent, 100U);
        }
        rig.configure(Plan{});
        ASSERT_EQ(rig.core.under_way(), 0U);
    }
}

}  // namespace
}  // namespace lbcluster::health::testing
