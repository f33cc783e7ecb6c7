// HA-3: a floating IP that a machine outside the pair uses is not taken when the pair starts to serve.
#include <gtest/gtest.h>

#include "heartbeat/core/conflict_check.hpp"
#include "pair.hpp"

namespace lbcluster::heartbeat::testing {
namespace {

const IpAddress first = *IpAddress::parse("10.77.0.200");
const IpAddress second = *IpAddress::parse("10.77.0.201");
const MacAddress stranger{{2, 0, 0, 0, 0, 99}};

class ConflictCheckTest : public ::testing::Test {
  protected:
    ConflictCheckTest() {
        check.set_addresses(
            {{*IpPrefix::parse("10.77.0.200"), "eth0", ""}, {*IpPrefix::parse("10.77.0.201"), "eth0", ""}});
    }
    std::vector<IpAddress> ask() {
        return check.ask(now, [this](const std::string&) { return carrier; }, next);
    }
    // Until nothing is asked any more; how many requests went out.
    std::size_t ask_all(Duration limit) {
        std::size_t count = 0;
        for (const Instant end = now + limit; now < end; now += 10ms) count += ask().size();
        return count;
    }
    ConflictCheck check;
    Instant now{1000s};
    bool carrier = true;
    std::optional<Instant> next;
};

TEST_F(ConflictCheckTest, AsksThreeTimesAndThenTrusts) {
    EXPECT_EQ(check.held_back(), (std::vector{first, second}));
    EXPECT_EQ(ask().size(), 2U);
    EXPECT_EQ(next, now + ConflictCheck::pace);
    EXPECT_EQ(ask_all(5s), 4U);
    EXPECT_TRUE(check.held_back().empty());
    EXPECT_FALSE(next);
}

// A thousand addresses: never many requests in one turn of the loop, and yet all three rounds within half a second.
TEST_F(ConflictCheckTest, ManyAreAskedInPortions) {
    std::vector<FloatingIp> many;
    for (int i = 0; i < 1000; ++i) {
        const auto text = "10.99." + std::to_string(i / 250) + "." + std::to_string(1 + i % 250);
        many.push_back({*IpPrefix::parse(text), "eth0", ""});
    }
    check.set_addresses(many);
    std::map<IpAddress, std::vector<Instant>> asked;
    const Instant start = now;
    do {
        const auto addresses = ask();
        EXPECT_LE(addresses.size(), ConflictCheck::burst);
        for (const IpAddress& address : addresses) asked[address].push_back(now);
        ASSERT_TRUE(!next || *next > now);
        if (next) now = *next;
    } while (next && now < start + 5s);
    EXPECT_LE(now - start, 500ms);
    EXPECT_TRUE(check.held_back().empty());
    EXPECT_EQ(asked.size(), 1000U);
    for (const auto& [address, times] : asked) {
        ASSERT_EQ(times.size(), 3U) << address.to_string();
        EXPECT_GE(times[1] - times[0], ConflictCheck::pace);
        EXPECT_GE(times[2] - times[1], ConflictCheck::pace);
    }
}

TEST_F(ConflictCheckTest, RefusesWhatIsAnsweredAndAsksAgain) {
    ask();
    EXPECT_TRUE(check.on_use(now, first, stranger));
    ask_all(1s);
    EXPECT_EQ(check.held_back(), std::vector{first});
    EXPECT_EQ(check.refused().at(first), stranger);
    EXPECT_EQ(ask_all(8s), 0U);  // no hail of requests
    EXPECT_EQ(ask_all(3s), 3U);  // silent now
    EXPECT_TRUE(check.held_back().empty());
}

TEST_F(ConflictCheckTest, WithoutCarrierNothingIsKnown) {
    ask();
    now += 100ms;
    ask();
    carrier = false;
    EXPECT_EQ(ask_all(5s), 0U);
    EXPECT_EQ(check.held_back().size(), 2U);
    carrier = true;
    EXPECT_EQ(ask_all(5s), 6U);
    EXPECT_TRUE(check.held_back().empty());
}

TEST_F(ConflictCheckTest, WhatThePairHeldIsTrusted) {
    check.on_use(now, first, stranger);
    check.trust_all(false);
    EXPECT_EQ(check.held_back(), std::vector{first});
    EXPECT_FALSE(check.on_use(now, second, stranger));
    check.trust_all(true);
    EXPECT_TRUE(check.held_back().empty());
}

TEST_F(ConflictCheckTest, ThePeerIsNoStranger) {
    check.on_use(now, first, stranger);
    check.forgive([](const MacAddress& mac) { return mac == stranger; });
    EXPECT_TRUE(check.refused().empty());
    EXPECT_EQ(ask_all(5s), 6U);
}

TEST_F(ConflictCheckTest, OnlyWhatIsNewInTheListIsChecked) {
    ask_all(1s);
    check.set_addresses({{*IpPrefix::parse("10.77.0.200"), "eth0", ""}, {*IpPrefix::parse("10.77.0.202"), "eth0", ""}});
    EXPECT_EQ(check.held_back(), std::vector{*IpAddress::parse("10.77.0.202")});
}

// ---- in the election ----

TEST(Conflict, ASingleNodeDoesNotTakeAnAddressThatIsInUse) {
    Pair p([](Settings& s) { s.links.clear(); });
    p.stranger_uses = true;
    p.start(0);
    p.run(5s);
    EXPECT_TRUE(p.active(0));
    EXPECT_FALSE(p.holds(0));
    EXPECT_TRUE(p.alarmed(0, "address-conflict/10.77.0.200"));
    p.stranger_uses = false;
    EXPECT_TRUE(p.run_until([&] { return p.answers(0); }, 11s));
    EXPECT_TRUE(p.run_until([&] { return !p.alarmed(0, "address-conflict"); }, 5s));
}

TEST(Conflict, APairDoesNotTakeItEither) {
    Pair p;
    p.stranger_uses = true;
    p.start_both();
    p.run(5s);
    EXPECT_TRUE(p.active(0));
    EXPECT_FALSE(p.holds(0));
    EXPECT_FALSE(p.holds(1));
    EXPECT_TRUE(p.alarmed(0, "address-conflict/10.77.0.200"));
}

// The peer serves, and its kernel answers before its first heartbeat comes.
TEST(Conflict, ThePeerIsNoStranger) {
    Pair p;
    p.start_both();
    ASSERT_TRUE(p.run_until([&] { return p.active(0) && p.passive(1) && p.answers(0); }, 10s));
    p.power_off(1);
    p.run(3s);
    p.passes = [](std::size_t, std::uint32_t) { return false; };
    p.power_on(1);
    p.run(1s);
    EXPECT_FALSE(p.alarmed(1, "address-conflict"));
    p.passes = [](std::size_t, std::uint32_t) { return true; };
    EXPECT_TRUE(p.run_until([&] { return p.passive(1); }, 5s));
    EXPECT_FALSE(p.alarmed(1, "address-conflict"));
}

TEST(Conflict, TheOperatorMayInsist) {
    Pair p([](Settings& s) { s.links.clear(); });
    p.stranger_uses = true;
    p.start(0);
    p.run(3s);
    ASSERT_FALSE(p.holds(0));
    p.command(0, CommandKind::activate, true);
    EXPECT_TRUE(p.run_until([&] { return p.holds(0); }, 100ms));
}

// A service that ran goes on: the stranger is the newcomer.
TEST(Conflict, ATakeOverDoesNotAskForLeave) {
    Pair p;
    p.start_both();
    ASSERT_TRUE(p.run_until([&] { return p.active(0) && p.passive(1) && p.answers(0); }, 10s));
    p.run(3s);
    p.power_off(0);
    p.stranger_uses = true;
    EXPECT_TRUE(p.run_until([&] { return p.answers(1); }, 3s));
}

TEST(Conflict, AnAddressAddedLaterIsCheckedFirst) {
    Pair p([](Settings& s) { s.floating_ips.clear(); });
    p.start_both();
    ASSERT_TRUE(p.run_until([&] { return p.active(0) && p.passive(1); }, 10s));
    p.run(3s);
    p.stranger_uses = true;
    const auto add = [](Settings& s) { s.floating_ips = {{*IpPrefix::parse("10.77.0.200"), "eth0", ""}}; };
    p.reload(0, add);
    p.reload(1, add);
    p.run(3s);
    EXPECT_FALSE(p.holds(0));
    EXPECT_TRUE(p.alarmed(0, "address-conflict/10.77.0.200"));
}

}  // namespace
}  // namespace lbcluster::heartbeat::testing
