// OP-10: what is told of changes, to whom and when; and in which words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "healthd/notify/desk.hpp"

namespace lbcluster::health {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr std::uint64_t wall_ms = 1795226999042;  // 2026-11-21T02:09:59.042Z

config::Notification channel_of(const std::string& label, const std::vector<config::NotificationTopic>& topics = {}) {
    config::Notification channel;
    channel.set_label(label);
    channel.mutable_command()->set_path("/bin/true");
    channel.mutable_gather()->set_seconds(2);
    channel.mutable_pause()->set_seconds(30);
    for (const auto topic : topics) channel.add_on(topic);
    return channel;
}

// A desk, its clock, and what it is given; services are called a, b ... with servers 0, 1 ...
class DeskTest : public ::testing::Test {
  protected:
    void configure(int services, int servers, std::vector<config::Notification> channels = {channel_of("ops")}) {
        settings_ = {};
        settings_.node = "lb1";
        settings_.channels = std::move(channels);
        for (int i = 0; i < services; ++i) {
            NotifySettings::Service service{
                std::string(1, static_cast<char>('a' + i)), "10.0.0." + std::to_string(i), {}};
            for (int n = 0; n < servers; ++n) service.servers.push_back({std::to_string(n), "10.1.0.1", true});
            settings_.services.push_back(std::move(service));
        }
        desk_.configure(now_, settings_);
    }
    void role(const std::string& activity) {
        bus::NodeStatus node;
        node.set_activity(activity);
        node.set_reason("because");
        desk_.on_role(now_, node);
    }
    void server(const std::string& service, int number, const std::string& health, const std::string& reason = "") {
        bus::ServerHealth one;
        one.set_service(service);
        one.set_server(std::to_string(number));
        one.set_health(health);
        one.set_reason(reason);
        desk_.on_server(now_, one);
    }
    void all(const std::string& health) {
        for (const auto& service : settings_.services) {
            for (const auto& one : service.servers) server(service.label, std::stoi(one.label), health);
        }
    }
    // What goes out until `span` has passed; each message is delivered at once unless `error`.
    std::vector<Message> run(Duration span, const std::string& error = "") {
        std::vector<Message> out;
        const Instant end = now_ + span;
        for (int turns = 0; turns < 10000; ++turns) {
            const Instant next = std::max(desk_.next_deadline(), now_);
            if (next > end) {
                now_ = end;
                return out;
            }
            now_ = next;
            for (auto& dispatch : desk_.take_due(now_, wall_ms)) {
                at_.push_back(now_);
                out.push_back(dispatch.message);
                desk_.on_done(now_, wall_ms, dispatch.channel.label(), error);
            }
        }
        ADD_FAILURE() << "the desk does not come to rest";
        return out;
    }
    void start_as_active(int services, int servers) {
        configure(services, servers);
        role("active");
        all("up");
        ASSERT_EQ(run(60s).size(), 1U);
        at_.clear();
    }

    Instant now_{1000s};
    NotifySettings settings_;
    Desk desk_;
    std::vector<Instant> at_;  // when each message went out
};

TEST_F(DeskTest, AStartIsOneWholeMessageOnceEverythingIsKnown) {
    configure(2, 2);
    role("active");
    server("a", 0, "up");
    server("a", 1, "down", "refused");
    server("b", 0, "up");
    EXPECT_TRUE(run(5s).empty()) << "b/1 is not known yet";
    server("b", 1, "up");
    const auto told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(at_[0], Instant(1005s));
    EXPECT_TRUE(told[0].whole);
    EXPECT_EQ(told[0].role->activity, "active");
    EXPECT_EQ(told[0].role->before, "");
    ASSERT_EQ(told[0].services.size(), 2U);
    EXPECT_EQ(told[0].services[0].color, "yellow");
    ASSERT_EQ(told[0].servers.size(), 1U);
    EXPECT_EQ(told[0].servers[0].reason, "refused");
}

TEST_F(DeskTest, AStartDoesNotWaitForeverForWhatIsNotKnown) {
    configure(1, 2);  // nor for heartbeatd
    server("a", 0, "up");
    const auto told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(at_[0], Instant(1000s) + Desk::settle_max);
    EXPECT_FALSE(told[0].role);
    ASSERT_EQ(told[0].servers.size(), 1U);
    EXPECT_EQ(told[0].servers[0].health, "unknown");
}

TEST_F(DeskTest, AHundredServersThatDieTogetherAreOneMessage) {
    start_as_active(1, 100);
    for (int i = 0; i < 100; ++i) {  // their checks are spread over some seconds
        server("a", i, "down", "connect: connection refused");
        EXPECT_TRUE(run(40ms).empty());
    }
    const auto told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_FALSE(told[0].whole);
    EXPECT_EQ(told[0].servers.size(), 100U);
    EXPECT_EQ(told[0].services[0].color, "red");
    EXPECT_EQ(told[0].services[0].before, "green");
    EXPECT_EQ(told[0].servers[7].before, "up");
    EXPECT_EQ(summary_of(told[0]), "lb1: a is red; 100 servers down");
}

TEST_F(DeskTest, ALongBurstIsToldAfterFiveTimesGatherAndThenAfterPause) {
    start_as_active(1, 100);
    const Instant begin = now_;
    std::size_t servers = 0;
    for (int i = 0; i < 100; ++i) {
        server("a", i, "down");
        for (const Message& message : run(500ms)) servers += message.servers.size();
    }
    for (const Message& message : run(1h)) servers += message.servers.size();
    ASSERT_EQ(at_.size(), 3U);
    EXPECT_EQ(at_[0] - begin, 10s);
    EXPECT_EQ(at_[1] - begin, 40s);
    EXPECT_EQ(servers, 100U);
}

TEST_F(DeskTest, WhatWentThereAndBackIsNotTold) {
    start_as_active(1, 2);
    server("a", 0, "down");
    EXPECT_TRUE(run(1s).empty());
    server("a", 0, "up");
    EXPECT_TRUE(run(1h).empty());
}

TEST_F(DeskTest, TheNewestStateWinsWhenItCouldNotBeDelivered) {
    start_as_active(1, 2);
    server("a", 0, "down", "refused");
    auto told = run(60s, "no route to host");
    EXPECT_EQ(told.size(), 4U) << "after 2 s, then after 5, 10 and 20 s more";
    ASSERT_EQ(desk_.troubles().size(), 1U);
    EXPECT_EQ(desk_.troubles()[0].error, "no route to host");
    EXPECT_EQ(desk_.troubles()[0].failures, 4U);
    server("a", 0, "up");
    server("a", 1, "standby", "HTTP 503");
    told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    ASSERT_EQ(told[0].servers.size(), 1U);
    EXPECT_EQ(told[0].servers[0].server, "1");
    EXPECT_EQ(told[0].servers[0].before, "up");
    EXPECT_TRUE(told[0].services.empty()) << "green all the time";
    EXPECT_TRUE(desk_.troubles().empty());
}

TEST_F(DeskTest, RetriesGetRareButNeverEnd) {
    start_as_active(1, 1);
    server("a", 0, "down");
    (void)run(24h, "refused");
    ASSERT_GT(at_.size(), 250U);
    EXPECT_EQ(at_[2] - at_[1], 10s);
    for (std::size_t i = 10; i < at_.size(); ++i) EXPECT_EQ(at_[i] - at_[i - 1], Desk::retry_max);
}

TEST_F(DeskTest, ARoleIsToldAtOnceWithAllTheNodeKnows) {
    configure(1, 2);
    role("passive");
    all("up");
    auto told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].role->activity, "passive");
    EXPECT_TRUE(told[0].services.empty() && told[0].servers.empty()) << "the active node tells of them";
    server("a", 0, "down");
    EXPECT_TRUE(run(1h).empty());

    const Instant taken_over = now_;
    at_.clear();
    role("active");
    told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(at_[0], taken_over);
    EXPECT_TRUE(told[0].whole);
    EXPECT_EQ(told[0].role->before, "passive");
    EXPECT_EQ(told[0].services[0].color, "yellow");
    EXPECT_EQ(told[0].servers[0].server, "0");

    server("a", 1, "down");
    role("standby");  // before that was told
    told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_FALSE(told[0].whole);
    EXPECT_EQ(told[0].role->activity, "standby");
    EXPECT_TRUE(told[0].servers.empty());
}

TEST_F(DeskTest, ARoleThatChangesWhileAMessageIsUnderWayIsToldAfterwards) {
    start_as_active(1, 1);
    server("a", 0, "down");
    now_ += 2s;
    ASSERT_EQ(desk_.take_due(now_, wall_ms).size(), 1U);
    role("passive");
    EXPECT_TRUE(desk_.take_due(now_, wall_ms).empty()) << "one at a time";
    role("active");
    desk_.on_done(now_, wall_ms, "ops", "");
    const auto told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_TRUE(told[0].whole);
    EXPECT_EQ(told[0].servers.size(), 1U);
}

TEST_F(DeskTest, StartingIsNoRole) {
    start_as_active(1, 1);
    role("starting");
    EXPECT_TRUE(run(1h).empty());
    role("active");
    EXPECT_TRUE(run(1h).empty());
}

TEST_F(DeskTest, EachChannelGetsItsTopics) {
    configure(1, 1,
              {channel_of("servers", {config::NOTIFICATION_TOPIC_SERVERS}),
               channel_of("services", {config::NOTIFICATION_TOPIC_SERVICES}),
               channel_of("roles", {config::NOTIFICATION_TOPIC_ROLES})});
    role("active");
    all("up");
    auto told = run(1h);
    ASSERT_EQ(told.size(), 2U) << "of servers there is nothing to tell: all are up";
    EXPECT_TRUE(!told[0].role && told[0].services.size() == 1);
    EXPECT_TRUE(told[1].role && told[1].services.empty());
    all("down");
    told = run(1h);
    ASSERT_EQ(told.size(), 2U);
    EXPECT_TRUE(told[0].servers.size() == 1 && told[0].services.empty());
    EXPECT_TRUE(told[1].servers.empty() && told[1].services.size() == 1);
}

TEST_F(DeskTest, TheOperatorsWishIsNoNewsButItsColourIs) {
    start_as_active(1, 2);
    settings_.services[0].servers[0].online = false;
    desk_.configure(now_, settings_);
    server("a", 0, "down", "being repaired");
    EXPECT_TRUE(run(1h).empty());
    settings_.services[0].servers[1].online = false;
    desk_.configure(now_, settings_);
    auto told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].services[0].color, "blue");
    EXPECT_TRUE(told[0].servers.empty());
    for (auto& one : settings_.services[0].servers) one.online = true;
    desk_.configure(now_, settings_);
    told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].servers[0].health, "down") << "back, and not well";
}

TEST_F(DeskTest, AShortUnknownIsNotTold) {
    start_as_active(1, 2);
    server("a", 0, "unknown");
    EXPECT_TRUE(run(10s).empty());
    server("a", 0, "up");
    EXPECT_TRUE(run(1h).empty());
    server("a", 0, "unknown", "the check hangs");
    const auto told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].servers[0].health, "unknown");
    EXPECT_EQ(told[0].services[0].color, "yellow");
}

TEST_F(DeskTest, AChangedConfigurationKeepsWhatWasTold) {
    start_as_active(2, 1);
    settings_.channels.push_back(channel_of("new"));
    settings_.services.erase(settings_.services.begin());
    settings_.services[0].servers.push_back({"1", "10.1.0.2", true});
    desk_.configure(now_, settings_);
    EXPECT_TRUE(run(1s).empty()) << "the new server is not known yet";
    server("b", 1, "up");
    server("gone", 0, "down");
    const auto told = run(1h);
    ASSERT_EQ(told.size(), 2U);
    EXPECT_TRUE(told[0].whole) << "the new channel is told all";
    EXPECT_EQ(told[0].services.size(), 1U);
    ASSERT_EQ(told[1].servers.size(), 1U);
    EXPECT_EQ(told[1].servers[0].server, "1");
    EXPECT_FALSE(told[1].whole);
    desk_.configure(now_, {});
    EXPECT_EQ(desk_.next_deadline(), Instant::max());
}

TEST_F(DeskTest, AMessageIsBounded) {
    start_as_active(3, 400);
    for (int i = 0; i < 400; ++i) server("b", i, "down", std::string(200, 'x'));
    const auto told = run(1h);
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].servers.size(), Message::entries_max);
    EXPECT_EQ(told[0].servers_left_out, 200U);
    EXPECT_THAT(text_of(told[0]), HasSubstr("  and 200 more\n"));
    EXPECT_EQ(Json::parse(json_of(told[0]))["left_out"], 200);
    EXPECT_LT(json_of(told[0]).size(), 128U * 1024);
}

TEST(NotifySettings, OnlyWhatIsEnabledAndNothingWithoutAChannel) {
    config::ClusterConfig cluster;
    auto& service = *cluster.add_virtual_services();
    service.set_label("web");
    service.add_real_servers()->set_label("a");
    auto& drained = *service.add_real_servers();
    drained.set_label("b");
    drained.set_state(config::SERVER_STATE_DRAIN);
    auto& off = *service.add_real_servers();
    off.set_label("c");
    off.set_enabled(false);
    cluster.add_virtual_services()->set_enabled(false);
    EXPECT_TRUE(notify_settings(cluster, "lb1").services.empty());
    *cluster.add_notifications() = channel_of("ops");
    *cluster.add_notifications() = channel_of("off");
    cluster.mutable_notifications(1)->set_enabled(false);
    const NotifySettings settings = notify_settings(cluster, "lb1");
    EXPECT_EQ(settings.channels.size(), 1U);
    ASSERT_EQ(settings.services.size(), 1U);
    ASSERT_EQ(settings.services[0].servers.size(), 2U);
    EXPECT_TRUE(settings.services[0].servers[0].online);
    EXPECT_FALSE(settings.services[0].servers[1].online);
}

Message example() {
    Message message;
    message.node = "lb1";
    message.time_ms = wall_ms;
    message.role = RoleNews{"active", "passive", "the peer is silent", wall_ms};
    message.services = {{"web", "10.0.0.1", "red", "green", 0, 2}};
    message.servers = {{"web", "s1", "10.0.0.5", 80, "down", "up", "HTTP 503, wanted 200; 3 of 3", wall_ms},
                       {"web", "s2", "10.0.0.6", 0, "down", "", "no\r\n.\r\nanswer", 0}};
    return message;
}

TEST(Message, ForPeople) {
    EXPECT_EQ(summary_of(example()), "lb1 is active (was passive); web is red; server web/s1 down; server web/s2 down");
    EXPECT_EQ(
        text_of(example()),
        "Node lb1 is active (was passive): the peer is silent\n"
        "\nServices:\n"
        "  web 10.0.0.1 is red (was green), 0 of 2 servers up\n"
        "\nServers:\n"
        "  web/s1 10.0.0.5 port 80 is down (was up) since 2026-11-21T02:09:59.042Z: HTTP 503, wanted 200; 3 of 3\n"
        "  web/s2 10.0.0.6 is down: no\\r\\n.\\r\\nanswer\n"
        "\nThis is what changed, as lb1 saw it at 2026-11-21T02:09:59.042Z.\n");
}

TEST(Message, ForPrograms) {
    const Json json = Json::parse(json_of(example()));
    EXPECT_EQ(json["event"], "change");
    EXPECT_EQ(json["node"], "lb1");
    EXPECT_EQ(json["role"]["before"], "passive");
    EXPECT_EQ(json["services"][0]["color"], "red");
    EXPECT_EQ(json["servers"][0]["label"], "s1");
    EXPECT_EQ(json["servers"][1]["before"], nullptr);
    EXPECT_EQ(json["servers"][1]["since"], nullptr);
}

TEST(Message, AsMail) {
    const std::string mail = mail_of(example(), "lb@example.org", {"a@example.org", "b@example.org"}, "lbcluster.1");
    EXPECT_THAT(mail, HasSubstr("Date: Sat, 21 Nov 2026 02:09:59 +0000\r\n"));
    EXPECT_THAT(mail,
                HasSubstr("From: lbcluster on lb1 <lb@example.org>\r\nTo: <a@example.org>,\r\n <b@example.org>\r\n"));
    EXPECT_THAT(mail, HasSubstr("Subject: [lbcluster] lb1 is active (was passive); web is red;"));
    EXPECT_THAT(mail, HasSubstr("Message-ID: <lbcluster.1@example.org>\r\n"));
    EXPECT_THAT(mail, Not(HasSubstr("\r\n.\r\n"))) << "a reason cannot end the mail";
    for (std::size_t at = mail.find('\n'); at != std::string::npos; at = mail.find('\n', at + 1)) {
        EXPECT_EQ(mail[at - 1], '\r');
    }
}

}  // namespace
}  // namespace lbcluster::health
