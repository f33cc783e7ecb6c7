// OP-4: what of the health of servers becomes history, and in how few lines. HC-4, HC-5, HC-7.
#include "healthd/history/chronicle.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace lbcluster::health {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class ChronicleTest : public ::testing::Test {
  protected:
    std::uint64_t ms() const { return 1'000'000 + static_cast<std::uint64_t>(now_.time_since_epoch() / 1ms); }

    // `count` servers s0, s1 ... of each service, all up and known from before.
    void begin(const std::vector<std::string>& services, int count) {
        for (const std::string& service : services) {
            for (int i = 0; i < count; ++i) members_.push_back({service, "s" + std::to_string(i), true});
        }
        configure();
        for (const auto& member : members_) is(member.service, member.server, "up", "HTTP 200");
        chronicle_.begin();
        EXPECT_THAT(after(1s), IsEmpty()) << "a restart is no news";
    }
    void configure() { chronicle_.configure(now_, ms(), "lb1", members_); }
    void is(const std::string& service, const std::string& server, const std::string& health,
            const std::string& reason = "connection refused") {
        bus::ServerHealth out;
        out.set_service(service);
        out.set_server(server);
        out.set_address("10.0.0.1");
        out.set_port(80);
        out.set_health(health);
        out.set_reason(reason);
        chronicle_.on_server(now_, ms(), out);
    }
    std::vector<bus::Event> events_after(Duration time) {
        std::vector<bus::Event> out;
        for (const Instant end = now_ + time; now_ < end;) {
            now_ += std::min<Duration>(1s, end - now_);
            for (bus::Event& event : chronicle_.take(now_, ms())) out.push_back(std::move(event));
        }
        return out;
    }
    std::vector<std::string> after(Duration time) {
        std::vector<std::string> out;
        for (const bus::Event& event : events_after(time)) out.push_back(event.kind() + " " + event.text());
        return out;
    }

    Chronicle chronicle_;
    std::vector<Chronicle::Member> members_;
    Instant now_{1000s};
};

TEST_F(ChronicleTest, AServerThatGoesDownAndComesBackIsTwoLinesWithTheirReasons) {
    begin({"web"}, 2);
    is("web", "s0", "down", "HTTP 503, wanted 200; 3 of 3");
    const std::uint64_t died_ms = ms();
    const auto down = events_after(3s);
    ASSERT_EQ(down.size(), 1U);
    EXPECT_EQ(down[0].text(), "server s0 of web (10.0.0.1 port 80) went down: HTTP 503, wanted 200; 3 of 3");
    EXPECT_EQ(down[0].kind(), "server-down");
    EXPECT_EQ(down[0].severity(), "warning");
    EXPECT_EQ(down[0].node(), "lb1");
    EXPECT_EQ(down[0].time_ms(), died_ms) << "when it happened, not when it was told";
    EXPECT_EQ(down[0].inputs().at("service"), "web");
    EXPECT_EQ(down[0].inputs().at("server"), "s0");
    EXPECT_EQ(down[0].inputs().at("before"), "up");
    EXPECT_EQ(down[0].inputs().at("reason"), "HTTP 503, wanted 200; 3 of 3");
    is("web", "s0", "down", "connection refused; 4 of 3");
    EXPECT_THAT(after(3s), IsEmpty()) << "another reason is no other verdict";
    is("web", "s0", "up", "HTTP 200");
    EXPECT_THAT(after(3s), ElementsAre("server-up server s0 of web (10.0.0.1 port 80) came up: HTTP 200"));
    is("web", "s1", "standby", "HTTP 503");
    EXPECT_THAT(after(3s), ElementsAre("server-standby server s1 of web (10.0.0.1 port 80) went on standby: HTTP 503"));
}

TEST_F(ChronicleTest, AServiceWithoutAServerIsAnAlarmAndItsReturnIsTold) {
    begin({"web", "db"}, 2);
    is("web", "s0", "down");
    is("web", "s1", "down");
    const auto lost = events_after(5s);
    ASSERT_EQ(lost.size(), 3U);
    EXPECT_EQ(lost[2].kind(), "service-down");
    EXPECT_EQ(lost[2].severity(), "alarm");
    EXPECT_EQ(lost[2].text(), "web has no server left: 0 of 2 up");
    EXPECT_EQ(lost[2].inputs().at("service"), "web");
    is("web", "s1", "up");
    EXPECT_THAT(after(5s),
                ElementsAre(StartsWith("server-up server s1 of web"), "service-up web has a server again: 1 of 2 up"));
}

// HC-7
TEST_F(ChronicleTest, ApplicationsThatSwapWithinASecondAreNoOutage) {
    begin({"web"}, 2);
    is("web", "s1", "standby");
    (void)after(5s);
    is("web", "s0", "standby");
    now_ += 500ms;
    is("web", "s1", "up");
    EXPECT_THAT(after(5s), ElementsAre(StartsWith("server-standby server s0"), StartsWith("server-up server s1")));
    is("web", "s1", "standby");
    EXPECT_THAT(after(5s), ElementsAre(StartsWith("server-standby server s1"),
                                       "service-down web has no server left: 0 of 2 up, 2 on standby"));
}

TEST_F(ChronicleTest, AfterAStartThereIsOneFirstLookAndWhoIsDown) {
    members_ = {{"web", "s0", true}, {"web", "s1", true}, {"web", "s2", true}};
    configure();
    chronicle_.begin();
    EXPECT_THAT(after(2s), IsEmpty());
    is("web", "s0", "up");
    is("web", "s1", "down", "no answer in 1s");
    EXPECT_THAT(after(1s), ElementsAre("server-down server s1 of web (10.0.0.1 port 80) is down: no answer in 1s"));
    is("web", "s2", "standby");
    EXPECT_THAT(after(60s),
                ElementsAre("first-look first look since the start: 1 of 3 servers up, 1 down, 1 on standby"));
    members_.push_back({"web", "s3", true});
    configure();
    EXPECT_THAT(after(60s), IsEmpty());
    is("web", "s3", "up");
    EXPECT_THAT(after(60s), IsEmpty()) << "as it should be";
}

TEST_F(ChronicleTest, TheFirstLookDoesNotWaitForEver) {
    members_ = {{"web", "s0", true}, {"web", "s1", true}};
    configure();
    chronicle_.begin();
    is("web", "s0", "up");
    EXPECT_THAT(after(14s), IsEmpty());
    EXPECT_THAT(after(3s), ElementsAre("first-look first look since the start: 1 of 2 servers up, 1 not known yet"));
}

TEST_F(ChronicleTest, WhatIsNotKnownUndoesNothing) {
    begin({"web"}, 1);
    is("web", "s0", "unknown", "");
    EXPECT_THAT(after(5s), IsEmpty());
    is("web", "s0", "up");
    EXPECT_THAT(after(5s), IsEmpty());
    is("web", "s0", "unknown", "");
    is("web", "s0", "down");
    EXPECT_THAT(after(5s), ElementsAre(HasSubstr("went down"), HasSubstr("no server left")));
}

// HC-5
TEST_F(ChronicleTest, WhatTheOperatorTookOfflineIsNoAlarm) {
    begin({"web"}, 2);
    members_[0].online = false;
    configure();
    is("web", "s0", "down");
    auto events = events_after(5s);
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0].severity(), "info");
    EXPECT_THAT(events[0].text(), HasSubstr("in drain or halt by the operator's wish: connection refused"));
    // The last one that is to serve: now nobody does.
    is("web", "s1", "down");
    EXPECT_THAT(after(5s), ElementsAre(HasSubstr("s1 of web"), "service-down web has no server left: 0 of 1 up"));
    // All offline by wish: not lost, not back.
    members_[1].online = false;
    configure();
    EXPECT_THAT(after(5s), IsEmpty());
    is("web", "s0", "up");
    EXPECT_THAT(after(5s), ElementsAre(HasSubstr("s0 of web")));
    members_[0].online = true;
    configure();
    EXPECT_THAT(after(5s), ElementsAre("service-up web has a server again: 1 of 1 up"));
}

TEST_F(ChronicleTest, ManyServersOfAServiceAreOneLine) {
    begin({"web", "db"}, 1000);
    for (int i = 0; i < 120; ++i) is("web", "s" + std::to_string(100 + i), "down", "no answer in 1s; 2 of 2");
    is("db", "s7", "down");
    const auto events = events_after(5s);
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(events[0].text(), "server s7 of db (10.0.0.1 port 80) went down: connection refused");
    EXPECT_EQ(
        events[1].text(),
        "120 of 1000 servers of web went down: s100, s101, s102 and 117 more; the first: no answer in 1s; 2 of 2");
    EXPECT_EQ(events[1].kind(), "server-down");
    EXPECT_EQ(events[1].severity(), "warning");
    EXPECT_EQ(events[1].inputs().at("servers"), "120");
    EXPECT_EQ(events[1].inputs().at("of"), "1000");
    EXPECT_THAT(events[1].inputs().at("names"), StartsWith("s100,s101,s102,s103,"));
    EXPECT_LT(events[1].ByteSizeLong(), 4096U);
}

TEST_F(ChronicleTest, ManyServicesAreOneLine) {
    std::vector<std::string> services;
    for (int i = 0; i < 1000; ++i) services.push_back("service" + std::to_string(i));
    begin(services, 1);
    for (const std::string& service : services) is(service, "s0", "down");
    EXPECT_THAT(
        after(5s),
        ElementsAre("server-down 1000 of 1000 servers went down: service0/s0, service1/s0, service10/s0 and 997 "
                    "more, of 1000 services; the first: connection refused",
                    "service-down 1000 of 1000 services have no server left: service0, service1, service10 and "
                    "997 more"));
    for (const std::string& service : services) is(service, "s0", "up");
    EXPECT_THAT(after(5s), ElementsAre(StartsWith("server-up 1000 of 1000 servers came up"),
                                       StartsWith("service-up 1000 of 1000 services have a server again")));
}

TEST_F(ChronicleTest, UpToTenAreNamedOneByOne) {
    begin({"web"}, 50);
    for (int i = 0; i < 10; ++i) is("web", "s" + std::to_string(i), "down");
    EXPECT_EQ(after(3s).size(), 10U);
    for (int i = 10; i < 21; ++i) is("web", "s" + std::to_string(i), "down");
    EXPECT_THAT(after(3s), ElementsAre(StartsWith("server-down 11 of 50 servers of web went down")));
}

// A server that flaps all night leaves room for the one line of another one.
TEST_F(ChronicleTest, WhoFlapsIsToldLessAndLessOften) {
    begin({"web"}, 3);
    std::size_t lines = 0;
    std::vector<std::string> last;
    for (int i = 0; i < 12 * 60 * 15; ++i) {  // twelve hours
        is("web", "s0", i % 2 == 0 ? "down" : "up");
        for (const std::string& line : after(4s)) {
            ++lines;
            last = {line};
        }
    }
    EXPECT_GE(lines, 50U);
    EXPECT_LE(lines, 100U);
    EXPECT_THAT(last, ElementsAre(HasSubstr(" changes in ")));
    is("web", "s1", "down");
    EXPECT_THAT(after(2s), ElementsAre(StartsWith("server-down server s1 of web")));
    // Its last word is told, however long it takes.
    is("web", "s0", "down");
    EXPECT_THAT(after(Chronicle::pause_max), ::testing::Contains(StartsWith("server-down server s0 of web")));
    // Once it has been quiet for long it is told at once again.
    (void)after(2 * Chronicle::pause_max);
    is("web", "s0", "up");
    EXPECT_THAT(after(1s), ElementsAre(StartsWith("server-up server s0 of web")));
}

TEST_F(ChronicleTest, ThereAndBackWithinASecondIsOneLine) {
    begin({"web"}, 2);
    is("web", "s0", "down", "reset");
    is("web", "s0", "up", "HTTP 200");
    EXPECT_THAT(after(3s), ElementsAre("server-up server s0 of web (10.0.0.1 port 80) failed and came back: reset"));
}

// Property: whatever happens, the history of a night is not pushed out of its thousand lines within minutes.
TEST_F(ChronicleTest, NothingFloodsTheHistory) {
    std::vector<std::string> services;
    for (int i = 0; i < 100; ++i) services.push_back("service" + std::to_string(i));
    begin(services, 10);
    std::mt19937 random(4);
    std::size_t lines = 0;
    for (int second = 0; second < 3600; ++second) {
        for (int i = 0; i < 50; ++i) {
            const auto& member = members_[random() % members_.size()];
            is(member.service, member.server, random() % 2 == 0 ? "down" : "up");
        }
        if (second % 3 == 0) chronicle_.on_holding(now_, ms(), second % 2 == 0 ? "no carrier on eth0" : "");
        chronicle_.on_excused(now_, ms(), static_cast<std::uint64_t>(second), "healthd itself was late");
        lines += after(1s).size();
    }
    EXPECT_LE(lines, 60U + 360U + 10U);
    EXPECT_GE(lines, 100U);
}

// Property: when all is quiet the last line of each server and service says what it is.
TEST_F(ChronicleTest, TheHistoryEndsWithTheTruth) {
    begin({"a", "b"}, 2);
    std::mt19937 random(7);
    std::map<std::string, std::string> truth;
    std::map<std::string, std::string> told;
    const auto read = [&](const std::vector<bus::Event>& events) {
        for (const bus::Event& event : events) {
            if (!event.inputs().contains("server")) continue;
            told[event.inputs().at("service") + event.inputs().at("server")] = event.inputs().at("health");
        }
    };
    for (const auto& member : members_)
        truth[member.service + member.server] = told[member.service + member.server] = "up";
    for (int i = 0; i < 2000; ++i) {
        const auto& member = members_[random() % members_.size()];
        const std::string health = std::array{"up", "down", "standby", "unknown"}.at(random() % 4);
        is(member.service, member.server, health);
        if (health != "unknown") truth[member.service + member.server] = health;
        read(events_after(milliseconds{random() % 20000}));
    }
    read(events_after(2 * Chronicle::pause_max));
    EXPECT_EQ(told, truth);
}

TEST_F(ChronicleTest, OurOwnFaultIsToldWithItsReasonAndCount) {
    begin({"web"}, 2);
    chronicle_.on_holding(now_, ms(), "no carrier on eth0");
    auto events = events_after(2s);
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0].kind(), "held");
    EXPECT_EQ(events[0].severity(), "warning");
    EXPECT_EQ(events[0].text(), "failures do not count against servers: no carrier on eth0");
    chronicle_.on_excused(now_, ms(), 12, "no carrier on eth0");
    EXPECT_THAT(after(5s), IsEmpty()) << "counted at the end";
    chronicle_.on_holding(now_, ms(), "");
    EXPECT_THAT(after(2s), ElementsAre("held-end failures count against servers again; 12 failed checks did not"));
    chronicle_.on_excused(now_, ms(), 13, "healthd itself was late");
    EXPECT_THAT(after(2s), ElementsAre("held 1 failed check did not count against servers: healthd itself was late"));
    for (int i = 0; i < 60; ++i) {
        chronicle_.on_excused(now_, ms(), static_cast<std::uint64_t>(14 + i), "healthd itself was late");
        if (after(1s).size() > 1) ADD_FAILURE();
    }
    EXPECT_THAT(after(Chronicle::pause_max), ElementsAre(HasSubstr("did not count against servers")));
}

TEST_F(ChronicleTest, AlarmsBeginAndEnd) {
    begin({"web"}, 2);
    chronicle_.on_alarms(now_, ms(), {{"notify-ops", "'ops' could not be delivered, 1 times by now: refused"}});
    EXPECT_THAT(after(2s), ElementsAre("alarm notify-ops: 'ops' could not be delivered, 1 times by now: refused"));
    chronicle_.on_alarms(now_, ms(), {{"notify-ops", "'ops' could not be delivered, 2 times by now: refused"}});
    EXPECT_THAT(after(2s), IsEmpty());
    chronicle_.on_alarms(now_, ms(), {});
    EXPECT_THAT(after(2s), ElementsAre(StartsWith("alarm-end notify-ops: ")));
}

TEST_F(ChronicleTest, WhatWaitsIsToldAtTheEnd) {
    begin({"web"}, 1);
    is("web", "s0", "down");
    const auto events = chronicle_.take(now_, ms(), true);
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(events[1].kind(), "service-down");
}

TEST_F(ChronicleTest, WhoIsGoneIsNotTold) {
    begin({"web"}, 2);
    is("web", "s0", "down");
    members_.erase(members_.begin());
    configure();
    EXPECT_THAT(after(5s), IsEmpty());
    is("web", "s0", "up");
    EXPECT_THAT(after(5s), IsEmpty());
}

}  // namespace
}  // namespace lbcluster::health
