// HC-3, HC-4, OP-4: the daemon as a whole, by its bus: what it publishes, reloads, remembers, and its history; no
// network (always up, always down).
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "healthd/daemon.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::health {
namespace {

constexpr const char* pair = R"(
virtual_services:
  - label: web
    address: 10.0.0.100
    ports: 80
    check: {type: always_up, interval: 100ms}
    real_servers: [{label: a, address: 10.0.0.1}, {label: b, address: 10.0.0.2}]
  - label: dead
    address: 10.0.0.101
    ports: 80
    check: {type: always_down, interval: 100ms}
    real_servers: [{label: a, address: 10.0.0.1}]
)";

class DaemonTest : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = "/tmp/lbcluster-healthd-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
        for (const char* name : {"/etc", "/run", "/state", "/state/applied"}) {
            std::filesystem::create_directory(folder_ + name);
        }
        paths_ = {folder_ + "/etc", folder_ + "/run", folder_ + "/state"};
        write("/etc/node.yaml", "node: lb1\n");
    }
    void TearDown() override {
        daemon_.reset();
        std::filesystem::remove_all(folder_);
    }

    // As an editor does: nobody ever reads half of it.
    void write(const std::string& name, const std::string& text) const {
        ASSERT_TRUE(config::write_atomically(folder_ + name, text, 0600));
    }
    void start() {
        daemon_.reset();
        io_ = std::make_unique<boost::asio::io_context>(1);
        auto made = Daemon::create(*io_, paths_);
        ASSERT_TRUE(made.ok()) << made.error().message;
        daemon_ = std::move(*made);
        daemon_->start();
    }
    // As a crash would: no farewell.
    void kill() {
        daemon_.reset();
        io_.reset();
    }
    bool run_until(const std::function<bool()>& done) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{20};
        while (!done()) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            io_->restart();
            io_->run_one_for(std::chrono::milliseconds{5});
        }
        return true;
    }
    // A blocking request on another thread while the daemon runs on this one.
    template <class F>
    auto beside(F function) {
        auto result = std::async(std::launch::async, std::move(function));
        EXPECT_TRUE(run_until([&] { return result.wait_for(std::chrono::seconds{0}) == std::future_status::ready; }));
        return result.get();
    }
    std::map<std::string, bus::Item> items() {
        const auto fetched =
            beside([path = paths_.socket_of("healthd")] { return bus::fetch(path, "", std::chrono::seconds{5}); });
        std::map<std::string, bus::Item> out;
        if (!fetched.ok()) return out;
        for (const bus::Item& item : *fetched) out[item.key()] = item;
        return out;
    }
    bus::Reply call(const bus::Call& call) {
        const auto reply = beside(
            [path = paths_.socket_of("healthd"), call] { return bus::call(path, call, std::chrono::seconds{10}); });
        EXPECT_TRUE(reply.ok());
        return reply.ok() ? *reply : bus::Reply{};
    }
    bus::Reply reload() {
        bus::Call request;
        request.mutable_reload();
        return call(request);
    }
    std::string health(const std::string& key) { return items()["server/" + key].server().health(); }
    bool becomes(const std::string& key, const std::string& health) {
        for (int tries = 0; tries < 200; ++tries) {
            if (this->health(key) == health) return true;
            run_until([until = std::chrono::steady_clock::now() + std::chrono::milliseconds{20}] {
                return std::chrono::steady_clock::now() > until;
            });
        }
        return false;
    }

    std::string folder_;
    config::Paths paths_;
    std::unique_ptr<boost::asio::io_context> io_;
    std::unique_ptr<Daemon> daemon_;
};

TEST_F(DaemonTest, PublishesVerdicts) {
    write("/etc/cluster.yaml", pair);
    start();
    ASSERT_TRUE(becomes("web/a", "up"));
    ASSERT_TRUE(becomes("web/b", "up"));
    ASSERT_TRUE(becomes("dead/a", "down"));
    const auto all = items();
    const bus::ServerHealth& up = all.at("server/web/a").server();
    EXPECT_EQ(up.service(), "web");
    EXPECT_EQ(up.server(), "a");
    EXPECT_EQ(up.address(), "10.0.0.1");
    EXPECT_EQ(up.weight_percent(), 100U);
    EXPECT_EQ(up.feedback(), "");
    EXPECT_EQ(up.detection_ms(), 300U) << "two intervals and a timeout";
    EXPECT_GT(up.since_ms(), 0U);
    EXPECT_GE(up.checked_ms(), up.since_ms());
    EXPECT_FALSE(up.overdue());
    EXPECT_EQ(all.at("server/dead/a").server().reason().substr(0, 11), "always down");
    EXPECT_EQ(all.at("config").config().daemon(), "healthd");
    EXPECT_FALSE(all.at("config").config().digest().empty());
    EXPECT_TRUE(run_until([&] { return items()["health"].health().down() == 1; }));
    EXPECT_EQ(items()["health"].health().targets(), 3U);
}

TEST_F(DaemonTest, SnapshotsSayWhenAServerWasCheckedLast) {
    write("/etc/cluster.yaml", pair);
    start();
    ASSERT_TRUE(becomes("web/a", "up"));
    const auto before = items()["server/web/a"];
    bus::Item after;
    ASSERT_TRUE(run_until([&] {
        after = items()["server/web/a"];
        return after.server().checked_ms() > before.server().checked_ms();
    }));
    EXPECT_EQ(after.generation(), before.generation()) << "nobody was woken for it";
    EXPECT_EQ(after.server().since_ms(), before.server().since_ms());
}

TEST_F(DaemonTest, AReloadChangesWhatIsThereAndKeepsTheRest) {
    write("/etc/cluster.yaml", pair);
    start();
    ASSERT_TRUE(becomes("web/a", "up"));
    const auto since = items()["server/web/a"].server().since_ms();
    std::string next = pair;
    next.replace(next.find("{label: b, address: 10.0.0.2}"), 29, "{label: c, address: 10.0.0.3}");
    write("/etc/cluster.yaml", next);
    EXPECT_EQ(reload().exit_code(), 0U);
    const auto all = items();
    EXPECT_FALSE(all.contains("server/web/b"));
    EXPECT_EQ(all.at("server/web/a").server().health(), "up");
    EXPECT_EQ(all.at("server/web/a").server().since_ms(), since);
    EXPECT_TRUE(becomes("web/c", "up"));
}

TEST_F(DaemonTest, ABadFileChangesNothing) {
    write("/etc/cluster.yaml", pair);
    start();
    ASSERT_TRUE(becomes("web/a", "up"));
    const std::string digest = items()["config"].config().digest();
    write("/etc/cluster.yaml", "virtual_services: [{label: x}]\n");
    const bus::Reply reply = reload();
    EXPECT_EQ(reply.exit_code(), 3U);
    EXPECT_NE(reply.message().find("has no 'address'"), std::string::npos) << reply.message();
    const auto all = items();
    EXPECT_EQ(all.at("config").config().digest(), digest);
    EXPECT_NE(all.at("config").config().error(), "");
    EXPECT_EQ(all.at("health").health().alarms(0).id(), "health-config-invalid");
    EXPECT_EQ(all.at("server/web/a").server().health(), "up");
    write("/etc/cluster.yaml", pair);
    EXPECT_EQ(reload().exit_code(), 0U);
    EXPECT_EQ(items()["config"].config().error(), "");
}

TEST_F(DaemonTest, StartsWithTheLastGoodConfigurationOrWaits) {
    write("/etc/cluster.yaml", "nonsense: 1\n");
    start();
    EXPECT_NE(items()["config"].config().error(), "");
    EXPECT_EQ(items()["health"].health().targets(), 0U);
    write("/etc/cluster.yaml", pair);  // it watches the file
    EXPECT_TRUE(becomes("web/a", "up"));

    write("/etc/cluster.yaml", "nonsense: 1\n");
    write("/state/applied/node.yaml", "node: lb1\n");
    write("/state/applied/cluster.yaml", pair);
    kill();
    start();
    EXPECT_NE(items()["config"].config().error(), "");
    EXPECT_TRUE(becomes("web/a", "up"));
}

TEST_F(DaemonTest, KilledAndStartedAgainItGoesOn) {
    write("/etc/cluster.yaml", pair);
    start();
    ASSERT_TRUE(becomes("web/a", "up"));
    ASSERT_TRUE(becomes("dead/a", "down"));
    const auto since = items()["server/dead/a"].server().since_ms();
    ASSERT_TRUE(run_until([&] {
        std::ifstream file(folder_ + "/run/healthd.verdicts");
        const std::string text(std::istreambuf_iterator<char>(file), {});
        return std::count(text.begin(), text.end(), '\n') == 4;
    }));
    kill();
    start();
    const auto all = items();  // before anything can have been asked
    EXPECT_EQ(all.at("server/dead/a").server().health(), "down");
    EXPECT_EQ(all.at("server/web/a").server().health(), "up");
    EXPECT_NEAR(static_cast<double>(all.at("server/dead/a").server().since_ms()), static_cast<double>(since), 50);
}

// A service may have 1024 servers, and each of them an answer; see probe_now_test.cpp for what is cut.
TEST_F(DaemonTest, ProbesAThousandServersOnRequest) {
    std::string text =
        "virtual_services:\n  - label: web\n    address: 10.0.0.100\n    ports: 80\n"
        "    check: {type: always_down, interval: 10s}\n    real_servers:\n";
    for (int i = 0; i < 1024; ++i) {
        text += "      - {label: " + std::string(55, 'l') + std::to_string(i) + ", address: 10.1." +
                std::to_string(i / 256) + "." + std::to_string(i % 256) + "}\n";
    }
    write("/etc/cluster.yaml", text);
    start();
    bus::Call request;
    request.mutable_probe_now()->set_service("web");
    const bus::Reply reply = call(request);
    EXPECT_EQ(reply.exit_code(), 0U) << reply.message();
    EXPECT_EQ(reply.probes_size(), 1024);
}

TEST_F(DaemonTest, ProbesOnRequest) {
    write("/etc/cluster.yaml", pair);
    start();
    bus::Call request;
    request.mutable_probe_now()->set_service("web");
    bus::Reply reply = call(request);
    EXPECT_EQ(reply.exit_code(), 0U);
    ASSERT_EQ(reply.probes_size(), 2);
    EXPECT_EQ(reply.probes(0).server(), "a");
    EXPECT_EQ(reply.probes(1).finding(), "up");
    request.mutable_probe_now()->set_server("b");
    EXPECT_EQ(call(request).probes_size(), 1);
    request.mutable_probe_now()->set_server("nobody");
    reply = call(request);
    EXPECT_EQ(reply.exit_code(), 1U);
    EXPECT_NE(reply.message().find("'nobody'"), std::string::npos);
    bus::Call other;
    other.mutable_activate();
    EXPECT_EQ(call(other).exit_code(), 2U);
}

TEST_F(DaemonTest, HeartbeatdsViewHoldsFailuresBack) {
    write("/etc/cluster.yaml", pair);
    start();
    ASSERT_TRUE(becomes("web/a", "up"));
    bus::Server heartbeatd(*io_, {paths_.socket_of("heartbeatd"), "heartbeatd", "0.1.0", ""});
    ASSERT_TRUE(heartbeatd.listen().ok());
    bus::Item node;
    node.set_key("node");
    auto& interface = *node.mutable_node()->add_interfaces();
    interface.set_name("eth0");
    interface.set_present(true);
    heartbeatd.set(node);
    EXPECT_TRUE(run_until([&] { return items()["health"].health().holding() == "no carrier on eth0"; }));
    heartbeatd.close();
    EXPECT_TRUE(run_until([&] { return items()["health"].health().holding().empty(); }));
}

TEST_F(DaemonTest, WhatHappensIsHistoryAndStaysOverRestarts) {
    const auto events = [this] {
        std::vector<std::string> out;
        for (std::uint64_t number = 1; number < 100; ++number) {
            const auto all = items();
            const auto found = all.find("event/" + std::to_string(number));
            if (found == all.end()) break;
            EXPECT_EQ(found->second.event().sequence(), number);
            EXPECT_EQ(found->second.event().node(), "lb1");
            out.push_back(found->second.event().kind() + " " + found->second.event().text());
        }
        return out;
    };
    const auto has = [&](const std::string& words) {
        const auto all = events();
        return std::any_of(all.begin(), all.end(), [&](const std::string& line) { return line.find(words) == 0; });
    };
    write("/etc/cluster.yaml", pair);
    start();
    EXPECT_TRUE(run_until([&] { return has("server-down server a of dead (10.0.0.1) is down: always down"); }));
    EXPECT_TRUE(run_until([&] { return has("service-down dead has no server left: 0 of 1 up"); }));
    EXPECT_TRUE(run_until([&] { return has("first-look first look since the start: 2 of 3 servers up, 1 down"); }));
    EXPECT_FALSE(has("server-up")) << "as it should be";
    std::string next = pair;
    next.replace(next.find("always_down"), 11, "always_up");
    write("/etc/cluster.yaml", next);
    EXPECT_EQ(reload().exit_code(), 0U);
    EXPECT_TRUE(has("config-applied healthd: "));
    EXPECT_TRUE(run_until([&] { return has("service-up dead has a server again: 1 of 1 up"); }));
    EXPECT_TRUE(has("server-up server a of dead (10.0.0.1) came up: always up"));
    write("/etc/cluster.yaml", "nonsense: 1\n");
    EXPECT_EQ(reload().exit_code(), 3U);
    EXPECT_TRUE(has("config-refused healthd refused the configuration, the old one stays in force: "));
    const auto before = events();
    write("/etc/cluster.yaml", next);
    EXPECT_EQ(reload().exit_code(), 0U);
    kill();
    start();
    EXPECT_EQ(events(), before) << "a restart is no event";
    write("/etc/cluster.yaml", pair);
    EXPECT_EQ(reload().exit_code(), 0U);
    EXPECT_EQ(events().size(), before.size() + 1) << "numbers go on";
}

TEST_F(DaemonTest, AHistoryThatCannotBeKeptIsAnAlarm) {
    std::filesystem::create_directory(folder_ + "/state/health-events.jsonl");
    write("/etc/cluster.yaml", pair);
    start();
    EXPECT_TRUE(run_until([&] {
        const bus::Item health = items()["health"];
        const auto& alarms = health.health().alarms();
        return std::any_of(alarms.begin(), alarms.end(),
                           [](const bus::Alarm& alarm) { return alarm.id() == "health-events-not-stored"; });
    }));
    EXPECT_TRUE(items().contains("event/1")) << "it is on the bus all the same";
}

// Scale: where not all can be asked at once somebody says so. In a process of its own, which has a lower limit.
TEST_F(DaemonTest, TooFewDescriptorsAreAnAlarm) {
    std::string text =
        "virtual_services:\n  - label: web\n    address: 10.0.0.100\n    ports: 80\n"
        "    check: {type: always_up, interval: 10s}\n    real_servers:\n";
    for (int i = 0; i < 400; ++i) {
        text += "      - {label: s" + std::to_string(i) + ", address: 10.1." + std::to_string(i / 200) + "." +
                std::to_string(1 + i % 200) + "}\n";
    }
    write("/etc/cluster.yaml", text);
    const auto first_alarm = [this] {
        const rlimit few{600, 600};
        if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return std::string("no limit");
        start();
        bus::Item health;
        run_until([&] {
            health = items()["health"];
            return health.health().alarms_size() > 0;
        });
        const bus::Alarm& alarm = health.health().alarms(0);
        return alarm.id() + ": " + alarm.text() + "; " + alarm.action();
    };
    EXPECT_EXIT(
        {
            std::fputs(first_alarm().c_str(), stderr);
            std::_Exit(0);
        },
        ::testing::ExitedWithCode(0),
        "too-few-descriptors: at most 344 of 400 probes can run at once: if many servers hang, the others wait.*"
        "LimitNOFILE=");
}

TEST_F(DaemonTest, EndsInOrder) {
    write("/etc/cluster.yaml", pair);
    start();
    ASSERT_TRUE(becomes("web/a", "up"));
    ::raise(SIGTERM);
    io_->restart();
    io_->run();  // returns
    EXPECT_FALSE(std::filesystem::exists(paths_.socket_of("healthd")));
    EXPECT_TRUE(std::filesystem::exists(folder_ + "/run/healthd.verdicts"));
}

}  // namespace
}  // namespace lbcluster::health
