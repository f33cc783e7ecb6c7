// OP-1, OP-2, OP-4, HC-3, HC-5, RE-4: `check`, `status`, `events`, `server drain --deadline` and waiting for a change,
// against a bus server that plays healthd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/config/applied.hpp"
#include "tests/unit/bus/bus_fixture.hpp"
#include "tests/unit/cli/outcome.hpp"

namespace lbcluster::bus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

class HealthCommand : public BusTest {
  protected:
    void SetUp() override {
        BusTest::SetUp();
        put("node.yaml", "node: lb1\n");
        put("cluster.yaml",
            "virtual_services:\n"
            "  - label: web\n    address: 10.0.0.1\n    ports: [80]\n"
            "    real_servers: [{label: s1, address: 10.0.0.5}, {label: s2, address: 10.0.0.6}]\n");
    }
    void TearDown() override {
        healthd_.reset();
        BusTest::TearDown();
    }
    void put(const std::string& name, const std::string& text) const { std::ofstream(folder_ + "/" + name) << text; }
    [[nodiscard]] std::string get(const std::string& name) const {
        std::stringstream text;
        text << std::ifstream(folder_ + "/" + name).rdbuf();
        return text.str();
    }
    cli::Outcome lbcluster(const std::string& arguments) {
        return beside([command = cli::command_in(folder_, arguments)] { return cli::outcome_of(command); });
    }
    void start_healthd() {
        healthd_ = std::make_unique<Server>(io_, Server::Options{folder_ + "/healthd.sock", "healthd", "0.1.0", ""});
        ASSERT_TRUE(healthd_->listen().ok());
        Item item;
        item.set_key("health");
        item.mutable_health()->set_targets(2);
        healthd_->set(item);
    }
    void publish(const std::string& server, const std::string& health, const std::string& reason) {
        Item item;
        item.set_key("server/web/" + server);
        ServerHealth& one = *item.mutable_server();
        one.set_service("web");
        one.set_server(server);
        one.set_health(health);
        one.set_reason(reason);
        one.set_since_ms(realtime_ms_now() - 12'000);
        one.set_weight_percent(100);
        healthd_->set(item);
    }
    // Each probe finds what is said, "up" without more.
    void answer_probes(const std::vector<std::pair<std::string, std::string>>& findings) {
        healthd_->on_call([findings](const Call& call, const PeerCredentials&, const Server::Respond& respond) {
            Reply reply;
            for (const auto& [server, finding] : findings) {
                if (!call.probe_now().server().empty() && call.probe_now().server() != server) continue;
                ProbeReport& probe = *reply.add_probes();
                probe.set_service(call.probe_now().service());
                probe.set_server(server);
                probe.set_address("10.0.0.5");
                probe.set_port(80);
                probe.set_finding(finding);
                probe.set_reason("HTTP 200");
                probe.set_took_us(1234);
                probe.set_transcript("> GET / HTTP/1.1\n< HTTP/1.1 200 \x1b[2JOK\n");
            }
            respond(reply);
        });
    }
    std::unique_ptr<Server> healthd_;
};

TEST_F(HealthCommand, CheckShowsWhatWasSentAndWhatCameBack) {
    start_healthd();
    answer_probes({{"s1", "up"}, {"s2", "standby"}});
    const cli::Outcome good = lbcluster("check web");
    EXPECT_EQ(good.exit_code, 0) << good.out;
    EXPECT_EQ(good.out,
              "s1  10.0.0.5 port 80  up after 1.2 ms: HTTP 200\n"
              "    > GET / HTTP/1.1\n    < HTTP/1.1 200 \\x1b[2JOK\n"
              "s2  10.0.0.5 port 80  standby after 1.2 ms: HTTP 200\n"
              "    > GET / HTTP/1.1\n    < HTTP/1.1 200 \\x1b[2JOK\n");
    answer_probes({{"s1", "up"}, {"s2", "down"}});
    EXPECT_EQ(lbcluster("check web").exit_code, 1);
    EXPECT_EQ(lbcluster("check web s1").exit_code, 0);
    const cli::Outcome json = lbcluster("--json check web");
    EXPECT_EQ(json.exit_code, 1);
    EXPECT_EQ(json.json()["good"], 1);
    EXPECT_EQ(json.json()["probes"][1]["finding"], "down");
    EXPECT_EQ(json.json()["probes"][1]["took_us"], 1234);
    answer_probes({{"s1", "unusable"}});
    EXPECT_EQ(lbcluster("check web").exit_code, 1);
    answer_probes({});
    EXPECT_EQ(lbcluster("check web").exit_code, 1) << "nothing is up";
}

TEST_F(HealthCommand, CheckSaysWhatIsMissing) {
    const cli::Outcome absent = lbcluster("check web --json");
    EXPECT_EQ(absent.exit_code, 4);
    EXPECT_EQ(absent.json()["error"]["code"], "unreachable");
    EXPECT_THAT(lbcluster("check wep").out, HasSubstr("did you mean 'web'?"));
    EXPECT_EQ(lbcluster("check wep").exit_code, lbcluster("service show wep").exit_code);
    EXPECT_THAT(lbcluster("check web s3").out, HasSubstr("has no real server 's3'"));
    EXPECT_EQ(lbcluster("check").exit_code, 2);
    start_healthd();
    put("cluster.yaml", "no: yaml");  // healthd has the configuration that is in force
    healthd_->on_call([](const Call&, const PeerCredentials&, const Server::Respond& respond) {
        Reply reply;
        reply.set_exit_code(1);
        reply.set_message("there is no virtual service 'web'");
        respond(reply);
    });
    const cli::Outcome refused = lbcluster("check web");
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.out, HasSubstr("there is no virtual service 'web'"));
}

TEST_F(HealthCommand, StatusAnswersWhileAnyDaemonDoes) {
    EXPECT_EQ(lbcluster("status").exit_code, 4);
    start_healthd();
    publish("s1", "up", "");
    publish("s2", "down", "HTTP 503, wanted 200; 3 of 3");
    const cli::Outcome only_healthd = lbcluster("status");
    EXPECT_EQ(only_healthd.exit_code, 0);
    EXPECT_THAT(only_healthd.out, AllOf(HasSubstr("HEARTBEAT DOES NOT RUN"), HasSubstr("YELLOW  web"),
                                        HasSubstr("HTTP 503, wanted 200; 3 of 3; for 12 s")));
    const Json json = lbcluster("status --json").json();
    EXPECT_EQ(json["services"][0]["color"], "yellow");
    EXPECT_EQ(json["daemons"][0]["running"], false);
    EXPECT_EQ(json["daemons"][1],
              Json({{"name", "healthd"}, {"running", true}, {"stale", false}, {"version", "0.1.0"}}));
    healthd_.reset();
    start_server();
    const Json without = lbcluster("status --json").json();
    EXPECT_EQ(without["services"][0]["servers"][0]["health"], "unknown");
    EXPECT_EQ(without["services"][0]["servers"][0]["reason"], "healthd does not run");
    EXPECT_EQ(without["daemons"][1]["running"], false);
}

TEST_F(HealthCommand, StatusShowsTheServicesOfBeforeWhenTheFilesAreBad) {
    start_healthd();
    std::filesystem::create_directory(folder_ + "/applied");
    for (const char* name : {"node.yaml", "cluster.yaml"}) put(std::string("applied/") + name, get(name));
    put("cluster.yaml", "virtual_services: [{label: web, adress: x}]\n");
    EXPECT_THAT(lbcluster("status").out,
                AllOf(HasSubstr("cluster.yaml is not valid: these are the"), HasSubstr("RED     web")));
}

// Whatever is kept of the very content is shown as it is: reading a large configuration takes longer than all the rest.
TEST_F(HealthCommand, StatusTakesWhatHeartbeatdKeepsOfTheSameFiles) {
    config::Paths paths;
    paths.config_dir = paths.state_dir = paths.run_dir = folder_;
    auto loaded = config::load(paths, std::nullopt);
    loaded.effective_cluster.mutable_virtual_services(0)->set_label("kept");
    ASSERT_TRUE(config::keep_applied(paths, loaded).empty());
    start_healthd();
    EXPECT_THAT(lbcluster("status").out, HasSubstr("RED     kept"));
    put("cluster.yaml", get("cluster.yaml") + "# changed\n");
    EXPECT_THAT(lbcluster("status").out, HasSubstr("RED     web"));
}

TEST_F(HealthCommand, WatchFollowsHealthdToo) {
    start_healthd();
    publish("s1", "up", "");
    publish("s2", "up", "");
    healthd_->on_call([this](const Call&, const PeerCredentials&, const Server::Respond& respond) {
        publish("s2", "down", "refused");
        respond(Reply{});
    });
    const cli::Outcome watched =
        lbcluster("status --watch --json | { read a; " + cli::command_in(folder_, "check web") +
                  " >/dev/null; read b; echo \"[$a,$b]\"; }");
    const Json lines = watched.json();
    ASSERT_EQ(lines.size(), 2U) << watched.out;
    EXPECT_EQ(lines[0]["services"][0]["color"], "green");
    EXPECT_EQ(lines[1]["services"][0]["color"], "yellow");
}

TEST_F(HealthCommand, AChangeWaitsUntilHealthdHasAppliedIt) {
    start_healthd();
    int reloads = 0;
    healthd_->on_call([&](const Call& call, const PeerCredentials&, const Server::Respond& respond) {
        if (call.has_reload()) ++reloads;
        respond(Reply{});
    });
    const cli::Outcome late = lbcluster("server drain web s1 --wait 300ms");
    EXPECT_EQ(late.exit_code, 6) << late.out;
    EXPECT_EQ(reloads, 1);
    healthd_->on_call([&](const Call&, const PeerCredentials&, const Server::Respond& respond) {
        Item item;
        item.set_key("config");
        item.mutable_config()->set_daemon("healthd");
        const Json history = cli::outcome_of(cli::command_in(folder_, "config history --json")).json();
        item.mutable_config()->set_digest(history["revisions"][0]["digest"].get<std::string>());
        healthd_->set(item);
        respond(Reply{});
    });
    const cli::Outcome done = lbcluster("server online web s1 --json");
    EXPECT_EQ(done.exit_code, 0) << done.out;
    EXPECT_EQ(done.json()["applied_by"], Json({"healthd"}));
}

TEST_F(HealthCommand, ADrainMayEndByItself) {
    const std::uint64_t before = realtime_ms_now();
    const cli::Outcome drained = lbcluster("server drain web s1 --deadline 10m");
    EXPECT_EQ(drained.exit_code, 0) << drained.out;
    EXPECT_THAT(drained.out, HasSubstr("It counts as halted from 20"));
    const Json server = lbcluster("--json service show web").json()["servers"][0];
    EXPECT_EQ(server["state"], "drain");
    EXPECT_EQ(server["effective_state"], "drain");
    const auto until = parse_rfc3339(server["drain_until"].get<std::string>());
    ASSERT_TRUE(until);
    EXPECT_GE(*until, before + 600'000);
    EXPECT_LE(*until, realtime_ms_now() + 600'000);
    EXPECT_THAT(lbcluster("server list web").out, HasSubstr("drain until 20"));

    EXPECT_EQ(lbcluster("server drain web s1").exit_code, 0);
    EXPECT_THAT(get("cluster.yaml"), AllOf(HasSubstr("state: drain"), Not(HasSubstr("drain_until"))));
    for (const char* verb : {"online", "halt"}) {
        EXPECT_EQ(lbcluster("server drain web s1 --deadline 1h").exit_code, 0);
        EXPECT_EQ(lbcluster(std::string("server ") + verb + " web s1").exit_code, 0);
        EXPECT_THAT(get("cluster.yaml"),
                    AllOf(HasSubstr(std::string("state: ") + verb), Not(HasSubstr("drain_until"))));
    }
    EXPECT_EQ(lbcluster("server set web s1 state=drain drain_until=2026-01-01T00:00:00Z").exit_code, 0);
    EXPECT_EQ(lbcluster("--json server list web").json()["servers"][0]["effective_state"], "halt");
    EXPECT_THAT(lbcluster("server list web").out, HasSubstr("halt, its drain ended 2026-01-01T00:00:00Z"));
    for (const char* bad : {"0s", "soon", "10", "745h"}) {
        EXPECT_EQ(lbcluster(std::string("server drain web s1 --deadline ") + bad).exit_code, 2) << bad;
    }
    EXPECT_EQ(lbcluster("server halt web s1 --deadline 1m").exit_code, 2);
}

// OP-4: one history of two daemons.
class EventsCommand : public HealthCommand {
  protected:
    static void publish_event(Server& server, std::uint64_t number, std::uint64_t time_ms, const std::string& text) {
        Item item = item_of("event/" + std::to_string(number), text);
        item.mutable_event()->set_sequence(number);
        item.mutable_event()->set_time_ms(time_ms);
        item.mutable_event()->set_kind("kind");
        server.set(item);
    }
    static std::vector<std::string> texts(const std::string& lines) {
        std::vector<std::string> out;
        std::istringstream stream(lines);
        for (std::string line; std::getline(stream, line);) {
            const auto event = Json::parse(line, nullptr, false);
            out.push_back(event.is_discarded()
                              ? line
                              : event["daemon"].get<std::string>() + " " + event["text"].get<std::string>());
        }
        return out;
    }
};

TEST_F(EventsCommand, BothHistoriesAreOneByTime) {
    start_server();
    start_healthd();
    publish_event(*server_, 9, 1000, "second");
    publish_event(*server_, 10, 9000, "fifth");
    publish_event(*healthd_, 1, 500, "first");
    publish_event(*healthd_, 2, 8000, "third");
    publish_event(*healthd_, 3, 7000, "fourth");  // the clock was set back: its own order stays
    publish_event(*healthd_, 4, 9500, "last");
    const auto json = lbcluster("events --json");
    EXPECT_EQ(json.exit_code, 0);
    EXPECT_THAT(texts(json.out), ::testing::ElementsAre("healthd first", "heartbeatd second", "healthd third",
                                                        "healthd fourth", "heartbeatd fifth", "healthd last"));
    const auto text = lbcluster("events");
    EXPECT_LT(text.out.find("first"), text.out.find("second"));
    EXPECT_LT(text.out.find("fourth"), text.out.find("fifth"));
    EXPECT_THAT(text.out, Not(HasSubstr("lbcluster:")));
}

TEST_F(EventsCommand, ADaemonThatDoesNotRunHidesNothing) {
    start_healthd();
    publish_event(*healthd_, 1, 500, "of healthd");
    auto outcome = lbcluster("events --json");
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("of healthd"));
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("heartbeatd is not running"), HasSubstr("; its events are not shown")));
    put("events.jsonl", "{\"sequence\":4,\"time\":400,\"kind\":\"config\",\"text\":\"of heartbeatd\"}\n");
    outcome = lbcluster("events --json");
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("of healthd"), HasSubstr("of heartbeatd"),
                                   HasSubstr("these are the events that it kept")));

    healthd_.reset();
    start_server();
    publish_event(*server_, 5, 600, "of the bus");
    outcome = lbcluster("events --json");
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("of the bus"), HasSubstr("healthd is not running")));
    put("health-events.jsonl.1", "{\"sequence\":1,\"time\":300,\"kind\":\"server-down\",\"text\":\"older\"}\n");
    put("health-events.jsonl", "{\"sequence\":2,\"time\":800,\"kind\":\"server-up\",\"text\":\"newer\"}\n");
    outcome = lbcluster("events --json 2>/dev/null | cat");
    EXPECT_THAT(texts(outcome.out), ::testing::ElementsAre("healthd older", "heartbeatd of the bus", "healthd newer"));
    // A node that has nothing to check misses nobody.
    for (const char* file : {"/health-events.jsonl", "/health-events.jsonl.1"}) {
        std::filesystem::remove(folder_ + file);
    }
    put("cluster.yaml", "heartbeat: {profile: lan}\n");
    EXPECT_THAT(lbcluster("events --json").out, Not(HasSubstr("healthd")));
}

TEST_F(EventsCommand, FollowsBoth) {
    start_server();
    start_healthd();
    publish_event(*server_, 1, 1000, "before");
    std::uint64_t number = 1;
    server_->on_call([&](const Call&, const PeerCredentials&, const Server::Respond& respond) {
        publish_event(*server_, ++number, 2000, "of heartbeatd");
        publish_event(*healthd_, number, 2001, "of healthd");
        respond(Reply{});
    });
    const std::string trigger = cli::command_in(folder_, "heartbeat restart") + " >/dev/null 2>&1; ";
    const auto followed = lbcluster("events --follow --json | { read a; " + trigger +
                                    "read b; read c; printf '%s\\n' \"$a\" \"$b\" \"$c\"; }");
    EXPECT_THAT(texts(followed.out),
                ::testing::UnorderedElementsAre("heartbeatd before", "heartbeatd of heartbeatd", "healthd of healthd"));
}

}  // namespace
}  // namespace lbcluster::bus
