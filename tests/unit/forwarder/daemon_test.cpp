// The daemon as a whole, between a bus on which the test plays healthd and heartbeatd, and a model of the kernel (issue
// 5: level-triggered, fail static, crash-only; HC-5, HA-8).
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>

#include "forwarder/daemon.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/bus/server.hpp"
#include "lbcluster/config/store.hpp"
#include "tests/unit/forwarder/model_kernel.hpp"
#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward {
namespace {

using namespace test;
using testing::HasSubstr;

const std::string web = R"(
virtual_services:
  - label: web
    address: 10.0.0.100
    ports: 80
    real_servers: [{label: a, address: 10.0.0.1}, {label: b, address: 10.0.0.2}]
)";

class ForwarderDaemon : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = "/tmp/lbcluster-forwarderd-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
        for (const char* name : {"/etc", "/run", "/state", "/state/applied"}) {
            std::filesystem::create_directory(folder_ + name);
        }
        paths_ = {folder_ + "/etc", folder_ + "/run", folder_ + "/state"};
        write("/etc/node.yaml", "node: lb1\nsync_interface: eth1\nlinks: [{local: 10.78.0.11, peer: 10.78.0.12}]\n");
        write("/etc/cluster.yaml", web);
    }
    void TearDown() override {
        kill();
        std::filesystem::remove_all(folder_);
    }
    // As an editor does: nobody ever reads half of it.
    void write(const std::string& name, const std::string& text) const {
        ASSERT_TRUE(config::write_atomically(folder_ + name, text, 0600));
    }
    void start() {
        kill();
        io_ = std::make_unique<boost::asio::io_context>(1);
        auto made =
            Daemon::create(*io_, paths_, kernel_, {std::chrono::milliseconds(300), std::chrono::milliseconds(30)});
        ASSERT_TRUE(made.ok()) << made.error().message;
        daemon_ = std::move(*made);
        daemon_->start();
    }
    // As a crash would: no farewell.
    void kill() {
        daemon_.reset();
        healthd_.reset();
        heartbeatd_.reset();
        io_.reset();
    }
    void play(std::unique_ptr<bus::Server>& server, const std::string& name) {
        server = std::make_unique<bus::Server>(*io_, bus::Server::Options{paths_.socket_of(name), name, "1"});
        ASSERT_TRUE(server->listen());
    }
    void health(const std::string& server, const std::string& address, const std::string& word) {
        if (!healthd_) play(healthd_, "healthd");
        bus::Item item;
        item.set_key("server/web/" + server);
        item.mutable_server()->set_service("web");
        item.mutable_server()->set_server(server);
        item.mutable_server()->set_address(address);
        item.mutable_server()->set_health(word);
        item.mutable_server()->set_weight_percent(100);
        healthd_->set(std::move(item));
    }
    void activity(const std::string& word) {
        if (!heartbeatd_) play(heartbeatd_, "heartbeatd");
        bus::Item item;
        item.set_key("node");
        item.mutable_node()->set_activity(word);
        heartbeatd_->set(std::move(item));
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
    bool table_becomes(const std::string& text) {
        const bool done = run_until([&] { return table() == text; });
        EXPECT_EQ(table(), text);
        return done;
    }
    // The kernel was read back and compared this many times more.
    void reconciled(std::uint64_t times = 2) {
        const std::size_t until = kernel_.reads + times;
        EXPECT_TRUE(run_until([&] { return kernel_.reads >= until; }));
    }
    std::string table() {
        const auto found = kernel_.table.find(key_);
        return found == kernel_.table.end() ? "none" : text_of(found->second);
    }
    std::map<std::string, bus::Item> items() {
        auto fetched = std::async(std::launch::async, [path = paths_.socket_of("forwarderd")] {
            return bus::fetch(path, "", std::chrono::seconds{5});
        });
        EXPECT_TRUE(run_until([&] { return fetched.wait_for(std::chrono::seconds{0}) == std::future_status::ready; }));
        std::map<std::string, bus::Item> out;
        const auto result = fetched.get();
        if (!result.ok()) return out;
        for (const bus::Item& item : *result) out[item.key()] = item;
        return out;
    }

    const ServiceKey key_ = ServiceKey::of_address(protocol_tcp, ip("10.0.0.100"), 80);
    std::string folder_;
    config::Paths paths_;
    ModelKernel kernel_;
    std::unique_ptr<boost::asio::io_context> io_;
    std::unique_ptr<bus::Server> healthd_;
    std::unique_ptr<bus::Server> heartbeatd_;
    std::unique_ptr<Daemon> daemon_;
};

const std::string both = "10.0.0.1:80 w100 direct, 10.0.0.2:80 w100 direct";

TEST_F(ForwarderDaemon, FollowsVerdicts) {
    start();
    EXPECT_EQ(table(), "");  // it is there, and nothing is known of its servers
    health("a", "10.0.0.1", "up");
    health("b", "10.0.0.2", "up");
    ASSERT_TRUE(table_becomes(both));
    health("a", "10.0.0.1", "down");
    ASSERT_TRUE(table_becomes("10.0.0.2:80 w100 direct"));
    health("a", "10.0.0.1", "standby");
    health("b", "10.0.0.2", "standby");
    ASSERT_TRUE(table_becomes(""));
}

TEST_F(ForwarderDaemon, ItsEndAndItsStartChangeNothing) {
    start();
    health("a", "10.0.0.1", "up");
    health("b", "10.0.0.2", "up");
    ASSERT_TRUE(table_becomes(both));
    reconciled();
    kill();
    EXPECT_EQ(table(), both);
    kernel_.done.clear();
    start();  // without healthd
    reconciled(3);
    EXPECT_TRUE(kernel_.done.empty());
    EXPECT_EQ(table(), both);
    EXPECT_FALSE(items()["forward"].forward().health());
}

TEST_F(ForwarderDaemon, LosingHealthdChangesNothing) {
    start();
    health("a", "10.0.0.1", "up");
    health("b", "10.0.0.2", "up");
    ASSERT_TRUE(table_becomes(both));
    healthd_.reset();
    EXPECT_TRUE(run_until([&] { return !items()["forward"].forward().health(); }));
    reconciled();
    EXPECT_EQ(table(), both);
    // It comes back, and knows nothing yet of one of them.
    health("a", "10.0.0.1", "unknown");
    health("b", "10.0.0.2", "down");
    ASSERT_TRUE(table_becomes("10.0.0.1:80 w100 direct"));
}

TEST_F(ForwarderDaemon, DriftIsPutRightAndTold) {
    start();
    health("a", "10.0.0.1", "up");
    ASSERT_TRUE(table_becomes("10.0.0.1:80 w100 direct"));
    reconciled();
    kernel_.table.erase(key_);
    ASSERT_TRUE(table_becomes("10.0.0.1:80 w100 direct"));
    const bus::ForwardStatus status = items()["forward"].forward();
    EXPECT_THAT(status.drift(), HasSubstr("remove service tcp 10.0.0.100 80"));
    EXPECT_GT(status.drift_ms(), 0U);
    EXPECT_EQ(status.counters().at("drifts"), 1U);
    const auto events = [&] {
        std::vector<bus::Event> out;
        for (const auto& [key, item] : items()) {
            if (item.has_event()) out.push_back(item.event());
        }
        return out;
    };
    ASSERT_EQ(events().size(), 1U);
    EXPECT_EQ(events()[0].kind(), "drift");
    EXPECT_THAT(events()[0].text(), HasSubstr("remove service tcp 10.0.0.100 80; put right"));
    // What something does again and again is one line a minute.
    kernel_.table.erase(key_);
    ASSERT_TRUE(run_until([&] { return items()["forward"].forward().counters().at("drifts") == 2U; }));
    EXPECT_EQ(events().size(), 1U);
}

TEST_F(ForwarderDaemon, TakesUpANewConfigurationAndKeepsTheOldOneIfThatIsBad) {
    start();
    health("a", "10.0.0.1", "up");
    health("b", "10.0.0.2", "up");
    ASSERT_TRUE(table_becomes(both));
    std::string changed = web;
    changed.replace(changed.find("10.0.0.2}"), 9, "10.0.0.2, state: drain}");
    write("/etc/cluster.yaml", changed);
    ASSERT_TRUE(table_becomes("10.0.0.1:80 w100 direct, 10.0.0.2:80 w0 direct"));
    write("/etc/cluster.yaml", "virtual_services: nonsense\n");
    EXPECT_TRUE(run_until([&] { return !items()["config"].config().error().empty(); }));
    EXPECT_EQ(table(), "10.0.0.1:80 w100 direct, 10.0.0.2:80 w0 direct");
    EXPECT_EQ(items()["forward"].forward().alarms(0).id(), "forward-config-invalid");
    write("/etc/cluster.yaml", "virtual_services: []\n");
    EXPECT_TRUE(run_until([&] { return kernel_.table.empty(); }));
    EXPECT_FALSE(items().contains("service/web"));
}

TEST_F(ForwarderDaemon, ABadConfigurationAtTheStartLeavesTheKernelAlone) {
    write("/etc/cluster.yaml", "nonsense: 1\n");
    kernel_.table[key_].settings.scheduler = "rr";
    start();
    EXPECT_EQ(kernel_.table[key_].settings.scheduler, "rr");
    EXPECT_EQ(kernel_.reads, 0U);
    write("/etc/cluster.yaml", web);
    EXPECT_TRUE(run_until([&] { return kernel_.table[key_].settings.scheduler == "wlc"; }));
}

TEST_F(ForwarderDaemon, TheLastConfigurationInForceIsUsedWhenTheFilesAreBad) {
    write("/etc/cluster.yaml", "nonsense: 1\n");
    write("/state/applied/cluster.yaml", web);
    write("/state/applied/node.yaml", "node: lb1\n");
    start();
    EXPECT_EQ(table(), "");
}

TEST_F(ForwarderDaemon, ConnectionSyncFollowsTheRole) {
    start();
    activity("starting");
    reconciled();
    EXPECT_TRUE(kernel_.running.empty());
    activity("passive");
    EXPECT_TRUE(run_until([&] { return !kernel_.running.empty() && kernel_.running[0].role == SyncRole::backup; }));
    activity("active");
    EXPECT_TRUE(run_until([&] { return !kernel_.running.empty() && kernel_.running[0].role == SyncRole::master; }));
    const bus::SyncStatus sync = items()["forward"].forward().sync();
    EXPECT_EQ(sync.role(), "master");
    EXPECT_EQ(sync.interface(), "eth1");
    const auto sync_id = static_cast<std::uint8_t>(sync.id());
    // heartbeatd ends, and begins again: the node forwards meanwhile.
    heartbeatd_.reset();
    reconciled();
    activity("starting");
    reconciled();
    EXPECT_EQ(kernel_.running, (std::vector<Sync>{{SyncRole::master, "eth1", sync_id}}));
}

TEST_F(ForwarderDaemon, TakingOverChangesNoEntry) {  // warm standby
    start();
    activity("passive");
    health("a", "10.0.0.1", "up");
    health("b", "10.0.0.2", "up");
    ASSERT_TRUE(table_becomes(both));
    reconciled();
    kernel_.done.clear();
    activity("active");
    EXPECT_TRUE(run_until([&] { return !kernel_.running.empty() && kernel_.running[0].role == SyncRole::master; }));
    EXPECT_TRUE(kernel_.done.empty());
}

TEST_F(ForwarderDaemon, TellsWhatIsThere) {
    start();
    health("a", "10.0.0.1", "up");
    health("b", "10.0.0.2", "down");
    ASSERT_TRUE(table_becomes("10.0.0.1:80 w100 direct"));
    kernel_.connections = 5;
    EXPECT_TRUE(run_until([&] { return items()["service/web"].forward_service().connections_active() == 5; }));
    auto all = items();
    const bus::ForwardStatus& status = all["forward"].forward();
    EXPECT_TRUE(status.ipvs());
    EXPECT_EQ(status.ipvs_version(), "1.2.1");
    EXPECT_EQ(status.services(), 1U);
    EXPECT_EQ(status.failed(), 0U);
    EXPECT_EQ(status.error(), "");
    EXPECT_EQ(status.connections_active(), 5U);
    ASSERT_EQ(status.sysctls_size(), 3);
    EXPECT_EQ(status.sysctls(0).name(), "net.ipv4.vs.expire_nodest_conn");
    EXPECT_EQ(status.sysctls(0).value(), "1");
    EXPECT_EQ(status.sysctls(0).before(), "0");
    const bus::ForwardService& service = all["service/web"].forward_service();
    EXPECT_EQ(service.method(), "dr");
    EXPECT_EQ(service.state(), "served");
    ASSERT_EQ(service.servers_size(), 2);
    EXPECT_EQ(service.servers(0).state(), "served");
    EXPECT_EQ(service.servers(0).weight(), 100U);
    EXPECT_EQ(service.servers(0).connections_active(), 5U);
    EXPECT_EQ(service.servers(0).bytes_in(), 1000U);
    EXPECT_EQ(service.servers(1).state(), "gone");
    EXPECT_EQ(all["config"].config().daemon(), "forwarderd");
    EXPECT_FALSE(all["config"].config().digest().empty());
}

TEST_F(ForwarderDaemon, AKernelWithoutIpvsIsAnAlarmAndNoEnd) {
    kernel_.has_ipvs = false;
    start();
    auto all = items();
    EXPECT_FALSE(all["forward"].forward().ipvs());
    EXPECT_THAT(all["forward"].forward().error(), HasSubstr("no IPVS"));
    ASSERT_GT(all["forward"].forward().alarms_size(), 0);
    EXPECT_EQ(all["forward"].forward().alarms(0).id(), "no-ipvs");
    EXPECT_EQ(all["service/web"].forward_service().state(), "failed");
    EXPECT_THAT(all["service/web"].forward_service().error(), HasSubstr("no IPVS"));
    // The module comes later.
    kernel_.has_ipvs = true;
    EXPECT_TRUE(run_until([&] { return table() == ""; }));
    EXPECT_TRUE(run_until([&] { return items()["forward"].forward().alarms_size() == 0; }));
}

TEST_F(ForwarderDaemon, ADrainEndsAtItsDeadline) {
    std::string draining = web;
    const std::uint64_t until = static_cast<std::uint64_t>(::time(nullptr)) * 1000 + 2000;
    draining.replace(draining.find("10.0.0.2}"), 9,
                     "10.0.0.2, state: drain, drain_until: \"" + format_rfc3339(until) + "\"}");
    write("/etc/cluster.yaml", draining);
    start();
    health("a", "10.0.0.1", "up");
    health("b", "10.0.0.2", "up");
    ASSERT_TRUE(table_becomes("10.0.0.1:80 w100 direct, 10.0.0.2:80 w0 direct"));
    ASSERT_TRUE(table_becomes("10.0.0.1:80 w100 direct"));
}

TEST_F(ForwarderDaemon, AnswersACallToReloadAndRefusesOthers) {
    start();
    const auto call = [&](const bus::Call& request) {
        auto answer = std::async(std::launch::async, [path = paths_.socket_of("forwarderd"), request] {
            return bus::call(path, request, std::chrono::seconds{5});
        });
        EXPECT_TRUE(run_until([&] { return answer.wait_for(std::chrono::seconds{0}) == std::future_status::ready; }));
        const auto reply = answer.get();
        return reply.ok() ? *reply : bus::Reply();
    };
    bus::Call request;
    request.mutable_reload();
    EXPECT_EQ(call(request).message(), "the configuration is in force");
    request.mutable_activate();
    EXPECT_EQ(call(request).exit_code(), 2U);
}

}  // namespace
}  // namespace lbcluster::forward
