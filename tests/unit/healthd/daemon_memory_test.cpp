// HC-4: what healthd knew outlives it, and nothing else than what it wrote is believed.
#include <gtest/gtest.h>

#include <random>

#include "healthd/memory_file.hpp"

namespace lbcluster::health {
namespace {

const Instant now{1000s};

MemoryList sample() {
    Remembered up;
    up.verdict.health = Health::up;
    up.verdict.since = now - 100s;
    up.verdict.checked = now - 1s;
    up.verdict.reason = R"(HTTP 200, said \"hello\")";
    Remembered agent;
    agent.weight.percent = 40;
    agent.weight.wish = AgentReading::Wish::drain;
    agent.weight.answered = now - 2s;
    agent.weight.text = "drain 40%";
    return {{17, up}, {0xffffffffffffffffULL, agent}};
}

TEST(MemoryFile, SaysWhatWasKnown) {
    const Memory memory = parse_memory(now + 5s, render_memory(now, sample()));
    ASSERT_EQ(memory.size(), 2U);
    const Verdict& verdict = memory.at(17).verdict;
    EXPECT_EQ(verdict.health, Health::up);
    EXPECT_EQ(verdict.since, now - 100s);
    EXPECT_EQ(verdict.checked, now - 1s);
    EXPECT_EQ(verdict.reason, R"(HTTP 200, said \"hello\")");
    const Weight& weight = memory.at(0xffffffffffffffffULL).weight;
    EXPECT_EQ(weight.percent, 40U);
    EXPECT_EQ(weight.wish, AgentReading::Wish::drain);
    EXPECT_EQ(weight.answered, now - 2s);
    EXPECT_EQ(weight.text, "drain 40%");
}

TEST(MemoryFile, TooOldOrOfAnotherBootIsForgotten) {
    const std::string text = render_memory(now, sample());
    EXPECT_EQ(parse_memory(now + memory_age_max, text).size(), 2U);
    EXPECT_TRUE(parse_memory(now + memory_age_max + 1ns, text).empty());
    EXPECT_TRUE(parse_memory(now - 1ns, text).empty()) << "the clock began anew";
}

TEST(MemoryFile, LinesThatAreNotRightArePassedOver) {
    const std::string head = "healthd-verdicts 1 " + std::to_string(now.time_since_epoch().count()) + "\n";
    const std::string good = "T 5 down 1 2 connection refused; 2 of 2\n";
    for (const char* bad :
         {"", "T", "T x up 1 1 r", "T 6 sideways 1 1 r", "T 6 unknown 1 1 r", "T 6 up 1", "A 6 101 0 1 x",
          "A 6 10 3 1 x", "A 6 10 0 - x", "T 6 up 9999999999999999 1 from the future", "T 6 up -5 1 r", "X 6 up 1 1 r",
          "T 6 up 1junk 1 r"}) {
        const Memory memory = parse_memory(now, head + bad + "\n" + good);
        ASSERT_EQ(memory.size(), 1U) << bad;
        EXPECT_EQ(memory.at(5).verdict.reason, "connection refused; 2 of 2");
    }
    EXPECT_TRUE(parse_memory(now, "healthd-verdicts 2 5\n" + good).empty());
    EXPECT_TRUE(parse_memory(now, good).empty());
    EXPECT_TRUE(parse_memory(now, "").empty());
    EXPECT_TRUE(read_memory(now, "/nonexistent/healthd.verdicts").empty());
}

TEST(MemoryFile, GarbageDoesNoHarm) {
    std::mt19937_64 random(3);
    const std::string good = render_memory(now, sample());
    for (int run = 0; run < 3000; ++run) {
        std::string text = good;
        for (std::uint64_t flips = 1 + random() % 8; flips > 0; --flips) {
            text[random() % text.size()] = static_cast<char>(random() % 256);
        }
        for (const auto& [hash, kept] : parse_memory(now, text)) {
            ASSERT_LE(kept.weight.percent, 100U);
            ASSERT_LE(kept.verdict.reason.size(), reason_bytes_max);
            for (const char c : kept.verdict.reason) ASSERT_TRUE(c >= 0x20 && c <= 0x7e);
        }
    }
}

}  // namespace
}  // namespace lbcluster::health
