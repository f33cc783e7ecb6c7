// OP-1, HA-5, HA-6: the program itself against a bus server that plays heartbeatd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/unit/bus/bus_fixture.hpp"
#include "tests/unit/cli/outcome.hpp"

namespace lbcluster::bus {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

class CommandTest : public BusTest {
  protected:
    cli::Outcome lbcluster(const std::string& arguments) {
        return beside([command = cli::command_in(folder_, arguments)] { return cli::outcome_of(command); });
    }
    void publish_node(const std::string& activity) {
        Item item;
        item.set_key("node");
        item.mutable_node()->set_name("lb1");
        item.mutable_node()->set_role("primary");
        item.mutable_node()->set_activity(activity);
        item.mutable_node()->set_link("none");
        server_->set(item);
    }
    void publish_event(std::uint64_t sequence, const std::string& text) {
        Item item = item_of("event/" + std::to_string(sequence), text);
        item.mutable_event()->set_sequence(sequence);
        item.mutable_event()->set_kind("config");
        server_->set(item);
    }
    void answer_calls(std::uint32_t exit_code, const std::string& message) {
        server_->on_call([=, this](const Call& call, const PeerCredentials&, const Server::Respond& respond) {
            calls_.push_back(call);
            Reply reply;
            reply.set_exit_code(exit_code);
            reply.set_message(message);
            reply.set_hint("ask lb2");
            respond(reply);
        });
    }
    std::vector<Call> calls_;
};

TEST_F(CommandTest, UsageMistakesExitWith2) {
    for (const char* arguments :
         {"", "bogus", "status --bogus", "heartbeat", "activate --wait never", "activate --wait 0"}) {
        EXPECT_EQ(lbcluster(arguments).exit_code, 2) << arguments;
    }
    const auto json = lbcluster("status --bogus --json");
    EXPECT_EQ(json.exit_code, 2);
    EXPECT_EQ(json.json()["error"]["code"], "usage");
    EXPECT_EQ(lbcluster("--version").exit_code, 0);
    EXPECT_EQ(lbcluster("status --help").exit_code, 0);
}

TEST_F(CommandTest, WithoutADaemonStatusExitsWith4) {
    const auto text = lbcluster("status");
    EXPECT_EQ(text.exit_code, 4);
    EXPECT_THAT(text.out, HasSubstr("heartbeatd is not running (no socket at " + path_ + ")"));
    const auto json = lbcluster("--json status");
    EXPECT_EQ(json.exit_code, 4);
    EXPECT_EQ(json.json()["error"]["code"], "unreachable");
    EXPECT_EQ(lbcluster("activate").exit_code, 4);
    EXPECT_EQ(lbcluster("events").exit_code, 4);
}

TEST_F(CommandTest, StatusShowsWhatHeartbeatdSays) {
    start_server();
    publish_node("active");
    const auto text = lbcluster("status");
    EXPECT_EQ(text.exit_code, 0);
    EXPECT_THAT(text.out, HasSubstr("lb1   PRIMARY | ACTIVE | LINK NONE"));
    const auto json = lbcluster("status --json");
    EXPECT_EQ(json.json()["node"]["activity"], "active");
    EXPECT_EQ(json.json()["daemons"].size(), 1U);
    EXPECT_EQ(json.json()["daemons"][0]["version"], "0.1.0");
}

TEST_F(CommandTest, WatchFollowsAndEndsWithItsReader) {
    start_server();
    publish_node("passive");
    int changes = 0;
    server_->on_call([&](const Call&, const PeerCredentials&, const Server::Respond& respond) {
        publish_node(++changes % 2 == 1 ? "active" : "passive");
        respond(Reply{});
    });
    const auto watched = lbcluster("status --watch --json | { read a; " + std::string(LBCLUSTER_PROGRAM) +
                                   " --run-dir " + folder_ + " activate >/dev/null; read b; echo \"$b\"; }");
    EXPECT_EQ(watched.json()["node"]["activity"], "active") << watched.out;
}

TEST_F(CommandTest, EventsComeFromTheBusOrTheFile) {
    std::ofstream(folder_ + "/events.jsonl")
        << R"({"sequence":4,"time":"2026-11-21T02:08:54.042Z","kind":"config","text":"old"})"
        << "\n";
    EXPECT_THAT(lbcluster("events").out, HasSubstr("2026-11-21 02:08:54.042Z  config            old"));
    start_server();
    publish_event(10, "ten");
    publish_event(9, "nine");
    const auto events = lbcluster("events");
    EXPECT_EQ(events.exit_code, 0);
    EXPECT_LT(events.out.find("nine"), events.out.find("ten"));
    const auto line = lbcluster("events --json | head -n 1");
    EXPECT_EQ(line.json()["sequence"], 9);
    EXPECT_EQ(line.json()["text"], "nine");
}

TEST_F(CommandTest, CallsPassOnTheAnswer) {
    start_server();
    publish_node("active");
    answer_calls(0, "");
    const auto done = lbcluster("activate --force");
    EXPECT_EQ(done.exit_code, 0);
    EXPECT_EQ(done.out, "lb1 is active now\n");
    EXPECT_EQ(lbcluster("standby").exit_code, 0);
    EXPECT_EQ(lbcluster("unstandby").exit_code, 0);
    EXPECT_EQ(lbcluster("heartbeat restart").exit_code, 0);
    ASSERT_EQ(calls_.size(), 4U);
    EXPECT_TRUE(calls_[0].activate().force());
    EXPECT_TRUE(calls_[1].has_standby() && !calls_[1].standby().force());
    EXPECT_TRUE(calls_[2].has_unstandby());
    EXPECT_TRUE(calls_[3].has_heartbeat_restart());

    answer_calls(5, "lb2 is \x1b[5mactive");
    const auto refused = lbcluster("standby");
    EXPECT_EQ(refused.exit_code, 5);
    EXPECT_THAT(refused.out, HasSubstr("lb2 is \\x1b[5mactive"));
    EXPECT_THAT(refused.out, HasSubstr("ask lb2"));
    EXPECT_EQ(lbcluster("standby --json").json()["error"]["code"], "refused");
}

TEST_F(CommandTest, ACallThatTakesTooLongExitsWith6) {
    start_server();
    std::vector<Server::Respond> waiting;
    server_->on_call(
        [&](const Call&, const PeerCredentials&, Server::Respond respond) { waiting.push_back(std::move(respond)); });
    const auto late = lbcluster("activate --wait 100ms --json");
    EXPECT_EQ(late.exit_code, 6);
    EXPECT_EQ(late.json()["error"]["code"], "timeout");
    EXPECT_EQ(lbcluster("activate --no-wait").exit_code, 0);
}

}  // namespace
}  // namespace lbcluster::bus
