// RE-5, OP-1: `lbcluster config` and `floating-ip` themselves, without a daemon and against one that is played.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lbcluster/config/store.hpp"
#include "tests/unit/bus/bus_fixture.hpp"

namespace lbcluster::bus {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

struct Outcome {
    int exit_code = -1;
    std::string out;  // stdout and stderr
    [[nodiscard]] Json json() const { return Json::parse(out, nullptr, false); }
};

class ConfigCommand : public BusTest {
  protected:
    void SetUp() override {
        BusTest::SetUp();
        fs::create_directories(folder_ + "/etc");
        put("node.yaml", "node: lb1\ninterfaces: {lan: eth0}\n");
        put("cluster.yaml", "# by hand\nheartbeat: {port: 7000}\n");
        put("good.yaml", "# kept\nheartbeat: {port: 7001}\n");
        put("bad.yaml", "heartbeat: {prot: 1}\n");
    }
    void put(const std::string& name, const std::string& text) const { std::ofstream(file(name)) << text; }
    [[nodiscard]] std::string file(const std::string& name) const { return folder_ + "/etc/" + name; }
    [[nodiscard]] std::string get(const std::string& name) const {
        std::ifstream in(file(name));
        std::stringstream text;
        text << in.rdbuf();
        return text.str();
    }
    Outcome lbcluster(const std::string& arguments) { return lbcluster_as("", arguments); }
    Outcome lbcluster_as(const std::string& who, const std::string& arguments) {
        const std::string command = who + LBCLUSTER_PROGRAM + " --run-dir " + folder_ + " --state-dir " + folder_ +
                                    "/state --config-dir " + folder_ + "/etc " + arguments + " 2>&1";
        return beside([command] {
            Outcome outcome;
            FILE* pipe = ::popen(command.c_str(), "r");
            std::array<char, 4096> part{};
            while (const std::size_t n = std::fread(part.data(), 1, part.size(), pipe)) {
                outcome.out.append(part.data(), n);
            }
            const int status = ::pclose(pipe);
            outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
            return outcome;
        });
    }
    void publish_node(const std::string& activity, const std::string& peer_activity) {
        Item item;
        item.set_key("node");
        item.mutable_node()->set_name("lb1");
        item.mutable_node()->set_activity(activity);
        item.mutable_node()->mutable_peer()->set_name("lb2");
        item.mutable_node()->mutable_peer()->set_state("alive");
        item.mutable_node()->mutable_peer()->set_activity(peer_activity);
        server_->set(item);
    }
    void publish_config(const std::string& digest, const std::string& error) {
        Item item;
        item.set_key("config");
        item.mutable_config()->set_digest(digest);
        item.mutable_config()->set_error(error);
        server_->set(item);
    }
    void answer_reload(std::uint32_t exit_code, const std::string& digest) {
        server_->on_call([=, this](const Call& call, const PeerCredentials&, const Server::Respond& respond) {
            EXPECT_TRUE(call.has_reload());
            publish_config(digest, "");
            Reply reply;
            reply.set_exit_code(exit_code);
            if (exit_code != 0) reply.set_message("no such thing");
            respond(reply);
        });
    }
};

TEST_F(ConfigCommand, CheckTellsEverything) {
    EXPECT_EQ(lbcluster("config check").exit_code, 0);
    const auto text = lbcluster("config check " + file("bad.yaml"));
    EXPECT_EQ(text.exit_code, 3);
    EXPECT_EQ(text.out, file("bad.yaml") + ":1:13: 'prot' is not a key of heartbeat; did you mean 'port'?\n");
    const auto json = lbcluster("config check --json " + file("bad.yaml"));
    EXPECT_EQ(json.exit_code, 3);
    const Json problem = json.json()["problems"][0];
    EXPECT_EQ(problem["file"], file("bad.yaml"));
    EXPECT_EQ(problem["line"], 1);
    EXPECT_EQ(problem["column"], 13);
    EXPECT_EQ(problem["message"], "'prot' is not a key of heartbeat");
    EXPECT_EQ(problem["hint"], "did you mean 'port'?");
    EXPECT_EQ(lbcluster("config check /nowhere").exit_code, 1);
    put("node.yaml", "node: lb1\nlinks: [{local: 10.0.0.1, peer: 10.0.0.2}]\n");
    EXPECT_EQ(lbcluster("config check").exit_code, 0);  // warnings alone are no reason to fail
}

TEST_F(ConfigCommand, ApplyKeepsTheBytesAndABadFileChangesNothing) {
    const auto bad = lbcluster("config apply " + file("bad.yaml"));
    EXPECT_EQ(bad.exit_code, 3);
    EXPECT_THAT(bad.out, HasSubstr("did you mean 'port'?"));
    EXPECT_EQ(get("cluster.yaml"), "# by hand\nheartbeat: {port: 7000}\n");
    EXPECT_EQ(lbcluster("config apply --json " + file("bad.yaml")).json()["error"]["code"], "invalid");

    const auto good = lbcluster("config apply --json " + file("good.yaml"));
    EXPECT_EQ(good.exit_code, 0) << good.out;
    EXPECT_EQ(good.json()["revision"], 2);
    EXPECT_EQ(good.json()["hand_edit"], 1);
    EXPECT_EQ(get("cluster.yaml"), "# kept\nheartbeat: {port: 7001}\n");

    EXPECT_THAT(lbcluster("config diff 1").out,
                HasSubstr("-heartbeat: {port: 7000}\n+# kept\n+heartbeat: {port: 7001}\n"));
    EXPECT_EQ(lbcluster("config rollback 1").exit_code, 0);
    EXPECT_EQ(get("cluster.yaml"), "# by hand\nheartbeat: {port: 7000}\n");
    EXPECT_EQ(lbcluster("config show --json").json()["cluster"]["heartbeat"]["port"], 7000);
    EXPECT_EQ(lbcluster("config reset").exit_code, 0);
    const Json history = lbcluster("config history --json").json();
    ASSERT_EQ(history["revisions"].size(), 4U);
    EXPECT_EQ(history["revisions"][0]["in_force"], true);
    EXPECT_EQ(history["revisions"][0]["reason"], "factory settings");
    EXPECT_EQ(lbcluster("config rollback 77").exit_code, 1);
    EXPECT_EQ(lbcluster("config rollback x").exit_code, 2);
    EXPECT_EQ(lbcluster("config reset --wait x").exit_code, 2);
}

TEST_F(ConfigCommand, FloatingIpsAreAddedAndDeleted) {
    const auto added = lbcluster("floating-ip add 192.0.2.7 --interface lan --note 'a: b'");
    EXPECT_EQ(added.exit_code, 0) << added.out;
    EXPECT_THAT(added.out, HasSubstr("comments in cluster.yaml were dropped; they still stand in revision 1"));
    const Json list = lbcluster("floating-ip list --json").json()["floating_ips"];
    ASSERT_EQ(list.size(), 1U);
    EXPECT_EQ(list[0]["address"], "192.0.2.7");
    EXPECT_EQ(list[0]["interface"], "eth0");
    EXPECT_EQ(list[0]["note"], "a: b");
    EXPECT_TRUE(list[0]["held"].is_null());
    EXPECT_EQ(lbcluster("floating-ip add 192.0.2.7").exit_code, 5);
    EXPECT_EQ(lbcluster("floating-ip add nonsense").exit_code, 2);
    EXPECT_EQ(lbcluster("floating-ip add 127.0.0.1 --interface lan").exit_code, 3);
    EXPECT_EQ(lbcluster("floating-ip delete 192.0.2.8").exit_code, 1);
    const auto deleted = lbcluster("floating-ip delete 192.0.2.7 --json");
    EXPECT_EQ(deleted.exit_code, 0);
    EXPECT_FALSE(deleted.json().contains("comments_dropped"));
    EXPECT_EQ(lbcluster("floating-ip list").out, "There are no floating IPs.\n");
    put("cluster.yaml", "virtual_services: [{label: web, address: 192.0.2.9, ports: [80]}]\n");
    const Json of_service = lbcluster("floating-ip list --json").json()["floating_ips"];
    ASSERT_EQ(of_service.size(), 1U);
    EXPECT_EQ(of_service[0]["address"], "192.0.2.9");
    EXPECT_EQ(of_service[0]["by_hand"], false);
    EXPECT_EQ(list[0]["by_hand"], true);
    const auto kept = lbcluster("floating-ip delete 192.0.2.9");
    EXPECT_EQ(kept.exit_code, 5);
    EXPECT_THAT(kept.out, HasSubstr("belongs to virtual service web"));
}

TEST_F(ConfigCommand, OnThePassiveNodeChangesAreRefusedNamingTheActiveOne) {
    start_server();
    publish_node("passive", "active");
    for (const std::string& verb : {"config apply " + file("good.yaml"), std::string("config reset"),
                                    std::string("config rollback 1"), std::string("floating-ip add 192.0.2.7")}) {
        const auto refused = lbcluster(verb);
        EXPECT_EQ(refused.exit_code, 5) << verb;
        EXPECT_THAT(refused.out, HasSubstr("lb2")) << verb;
    }
    EXPECT_EQ(get("cluster.yaml"), "# by hand\nheartbeat: {port: 7000}\n");
    publish_node("active", "passive");
    EXPECT_EQ(lbcluster("config apply --no-wait " + file("good.yaml")).exit_code, 0);
}

TEST_F(ConfigCommand, WaitsUntilTheDaemonsHaveAppliedIt) {
    start_server();
    publish_node("active", "passive");
    const std::string digest = config::digest_of(config::Content{"# kept\nheartbeat: {port: 7001}\n", {}});
    answer_reload(0, digest);
    const auto done = lbcluster("config apply --json " + file("good.yaml"));
    EXPECT_EQ(done.exit_code, 0) << done.out;
    EXPECT_EQ(done.json()["applied_by"][0], "heartbeatd");
    answer_reload(0, "another");
    EXPECT_EQ(lbcluster("config rollback 1 --wait 200ms").exit_code, 6);
    answer_reload(3, "another");
    const auto refused = lbcluster("config rollback 2");
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.out, HasSubstr("heartbeatd: no such thing"));
}

// A change that is written but not in force everywhere is told like any other.
TEST_F(ConfigCommand, WhatWasDoneIsToldEvenIfADaemonDoesNotFollow) {
    start_server();
    publish_node("active", "passive");
    answer_reload(0, "another");
    const auto late = lbcluster("floating-ip add 192.0.2.7 --interface lan --wait 200ms");
    EXPECT_EQ(late.exit_code, 6);
    EXPECT_THAT(late.out,
                AllOf(HasSubstr("A change by hand was found and is kept as revision 1"),
                      HasSubstr("Revision 2 is written"), HasSubstr("comments in cluster.yaml were dropped")));
    put("cluster.yaml", "# again\nfloating_ips: []\n");
    answer_reload(3, "another");
    const auto refused = lbcluster("--json floating-ip add 192.0.2.7 --interface lan");
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_EQ(refused.json()["error"]["code"], "failed") << refused.out;
    EXPECT_EQ(refused.json()["revision"], 4);
    EXPECT_EQ(refused.json()["hand_edit"], 3);
    EXPECT_EQ(refused.json()["comments_dropped"]["revision"], 3);
    EXPECT_FALSE(refused.json().contains("result"));
}

// Only a daemon that does not run needs no waiting for.
TEST_F(ConfigCommand, ADaemonThatDoesNotTakeTheCallIsNoDaemonThatDoesNotRun) {
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{AF_UNIX, {}};
    const std::string path = folder_ + "/healthd.sock";
    ASSERT_LT(path.size(), sizeof address.sun_path);
    std::copy(path.begin(), path.end(), address.sun_path);
    ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listener, 0), 0);  // nobody accepts: once the backlog is full connect() says EAGAIN
    std::vector<int> waiting;
    for (bool full = false; !full;) {
        waiting.push_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        full = ::connect(waiting.back(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0;
    }
    EXPECT_EQ(lbcluster("config apply --wait 200ms " + file("good.yaml")).exit_code, 6);
    for (const int fd : waiting) ::close(fd);
    ::close(listener);
    EXPECT_EQ(lbcluster("config reset --wait 200ms").exit_code, 0);  // ECONNREFUSED
}

TEST_F(ConfigCommand, AVerbThatChangesNothingLeavesTheFileAlone) {
    const std::string before = "# mine\nvirtual_services: [{label: web, address: 10.0.0.1, ports: [80]}]\n";
    put("cluster.yaml", before);
    const auto same = lbcluster("--json service set web ports=80");
    EXPECT_EQ(same.exit_code, 0) << same.out;
    EXPECT_EQ(same.json()["changed"], false);
    EXPECT_THAT(lbcluster("service set web ports=80").out, HasSubstr("Nothing to change"));
    EXPECT_EQ(get("cluster.yaml"), before);
    EXPECT_EQ(lbcluster("config history --json").json()["revisions"].size(), 0U);
    EXPECT_EQ(lbcluster("service set web ports=81").exit_code, 0);
}

TEST_F(ConfigCommand, ResetSaysWhatItSetAside) {
    fs::create_directories(file("files"));
    fs::create_symlink("x", file("files/link"));
    const auto refused = lbcluster("config apply " + file("good.yaml"));
    EXPECT_EQ(refused.exit_code, 1);
    const auto done = lbcluster("config reset --json");
    EXPECT_EQ(done.exit_code, 0) << done.out;
    const std::string folder = done.json()["set_aside"].get<std::string>();
    EXPECT_TRUE(fs::is_symlink(folder + "/files/link"));
    EXPECT_TRUE(fs::exists(folder + "/cluster.yaml"));
}

// Contract: exit code 5 for a permission that is missing, not 3 for a configuration that is not valid.
TEST_F(ConfigCommand, MissingPermissionIsSaidAsSuch) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
    ASSERT_EQ(lbcluster("config apply " + file("good.yaml")).exit_code, 0);
    fs::permissions(folder_, fs::perms(0755));
    fs::permissions(file("node.yaml"), fs::perms(0644));
    fs::permissions(folder_ + "/state", fs::perms(0700));
    const std::string somebody = "setpriv --reuid 65534 --regid 65534 --clear-groups ";
    for (const bool readable : {false, true}) {
        fs::permissions(file("cluster.yaml"), fs::perms(readable ? 0644 : 0600));
        for (const std::string verb : {"config show", "config check", "service list", "service set web ports=1",
                                       "floating-ip list", "config diff", "config history"}) {
            const auto outcome = lbcluster_as(somebody, verb);
            const bool reads_history = verb == "config diff" || verb == "config history";
            if (readable && verb == "service set web ports=1") continue;  // there is no such service
            EXPECT_EQ(outcome.exit_code, readable && !reads_history ? 0 : 5) << verb << readable << outcome.out;
            if (readable && !reads_history) continue;
            EXPECT_THAT(outcome.out, AllOf(HasSubstr("Permission denied"), HasSubstr("run it as root")));
        }
    }
    EXPECT_TRUE(lbcluster_as(somebody, "config show --json").json()["revision"].is_null());
}

TEST_F(ConfigCommand, MistakesAreToldAtTheirVerb) {
    const auto expect = [&](const std::string& words, const std::string& text) {
        const Outcome outcome = lbcluster(words);
        EXPECT_EQ(outcome.exit_code, 2) << words;
        EXPECT_THAT(outcome.out, HasSubstr(text)) << words;
    };
    expect("config chek", "'lbcluster config' has no command 'chek'\n  did you mean 'check'?");
    expect("config", "one of check, show, diff, apply");
    expect("bogus", "'lbcluster' has no command 'bogus'");
    expect("config rollback 0", "'0' is not the number of a revision");
    expect("config rollback", "'lbcluster config rollback --help'");
    expect("config show --bogus", "'lbcluster config show --help'");
    expect("config reset --wait 0s", "0s is not more than 0 and at most 1h");
    expect("activate --wait 2h", "2h is not more than 0 and at most 1h");
    EXPECT_EQ(lbcluster("config check ''").exit_code, 1);
    put("cluster.yaml", "x: y\n");
    const auto shown = lbcluster("service list");
    EXPECT_EQ(shown.exit_code, 3);
    EXPECT_THAT(shown.out, Not(HasSubstr("nothing was changed")));
}

// OP-1, HC-5, RE-4: virtual services and real servers by KEY=VALUE; drain and halt are configuration.
TEST_F(ConfigCommand, ServicesAndServers) {
    put("cluster.yaml", "{}\n");
    EXPECT_EQ(lbcluster("service add web address=10.0.0.1 ports=80,443 method=nat check.type=negotiate "
                        "check.protocol=http check.request='/a?password=x&b=1' note='a b'")
                  .exit_code,
              0);
    EXPECT_EQ(lbcluster("server add web s1 address=10.0.0.5 weight=50").exit_code, 0);
    EXPECT_EQ(lbcluster("server add web s2 address=10.0.0.6").exit_code, 0);
    EXPECT_EQ(lbcluster("server drain web s2").exit_code, 0);
    const Json listed = lbcluster("--json service list").json()["services"][0];
    EXPECT_EQ(listed["ports"], Json::parse(R"(["80","443"])"));
    EXPECT_EQ(listed["scheduler"], "wlc");
    EXPECT_EQ(listed["layer"], 4);
    EXPECT_EQ(listed["check"]["request"], "/a?password=***&b=1");
    EXPECT_EQ(listed["servers"][0]["weight"], 50);
    EXPECT_EQ(listed["servers"][1]["state"], "drain");
    EXPECT_THAT(get("cluster.yaml"), HasSubstr("password=x"));

    EXPECT_EQ(lbcluster("server online web s2").exit_code, 0);
    EXPECT_EQ(lbcluster("server halt web s1").exit_code, 0);
    EXPECT_EQ(lbcluster("service set web persistence.source_ip.mask=24 check.request= note=").exit_code, 0);
    EXPECT_EQ(lbcluster("service set web persistence=none").exit_code, 0);
    const Json servers = lbcluster("--json server list web").json()["servers"];
    EXPECT_EQ(servers[0]["state"], "halt");
    EXPECT_EQ(servers[1]["state"], "online");
    EXPECT_THAT(get("cluster.yaml"), AllOf(HasSubstr("persistence: none"), Not(HasSubstr("note"))));
    EXPECT_EQ(lbcluster("server delete web s1").exit_code, 0);
    EXPECT_EQ(lbcluster("service delete web").exit_code, 0);
    EXPECT_EQ(lbcluster("--json service list").json()["services"].size(), 0U);
}

TEST_F(ConfigCommand, MistakesInServicesChangeNothing) {
    put("cluster.yaml", "virtual_services: [{label: web, address: 10.0.0.1, ports: [80]}]\n");
    const std::string before = get("cluster.yaml");
    const auto expect = [&](const std::string& words, int code, const std::string& text) {
        const Outcome outcome = lbcluster(words);
        EXPECT_EQ(outcome.exit_code, code) << words << outcome.out;
        EXPECT_THAT(outcome.out, HasSubstr(text)) << words;
        EXPECT_EQ(get("cluster.yaml"), before) << words;
    };
    expect("service set web schedular=wlc", 3, "did you mean 'scheduler'?");
    expect("service set web check.type=pong", 3, "did you mean 'ping'?");
    expect("service set web ports=80,90000", 3, "is not a port");
    expect("service set web label.x=1", 3, "label has no keys of its own");
    expect("service set web weight", 2, "not KEY=VALUE");
    expect("service set wep note=x", 1, "did you mean 'web'?");
    expect("service add web address=10.0.0.2 ports=80", 5, "already");
    expect("service add new address=10.0.0.1 ports=80", 3, "belongs to virtual_services[0] (web) already");
    expect("service add new address=10.0.0.2", 3, "has no 'ports'");
    expect("server add web s address=10.0.0.1", 3, "the service's own address");
    expect("server drain web s", 1, "has no real server 's'");
}

TEST_F(ConfigCommand, BackupAndRestore) {
    const std::string saved = folder_ + "/saved";
    EXPECT_EQ(lbcluster("config backup " + saved).exit_code, 0);
    EXPECT_EQ(fs::status(saved).permissions(), fs::perms::owner_read | fs::perms::owner_write);
    EXPECT_EQ(lbcluster("config backup " + saved).exit_code, 5) << "never over another one";
    EXPECT_EQ(lbcluster("config apply --no-wait " + file("good.yaml")).exit_code, 0);
    const Outcome restored = lbcluster("--json config restore --no-wait " + saved);
    EXPECT_EQ(restored.exit_code, 0) << restored.out;
    EXPECT_EQ(get("cluster.yaml"), "# by hand\nheartbeat: {port: 7000}\n");
    const Outcome broken = lbcluster("config restore --no-wait " + file("good.yaml"));
    EXPECT_EQ(broken.exit_code, 3);
    EXPECT_THAT(broken.out, HasSubstr("no backup"));
}

// OP-3
TEST_F(ConfigCommand, ADuplicateThatClashesIsDisabledAndGetsANumber) {
    put("cluster.yaml",
        "virtual_services: [{label: web, address: 10.0.0.1, ports: [80], real_servers: [{label: s, "
        "address: 10.0.0.5}]}]\n");
    const Outcome clashing = lbcluster("service duplicate web");
    EXPECT_EQ(clashing.exit_code, 0) << clashing.out;
    EXPECT_THAT(clashing.out, AllOf(HasSubstr("'web-1'"), HasSubstr("disabled")));
    const Outcome other = lbcluster("service duplicate web other address=10.0.0.2");
    EXPECT_EQ(other.exit_code, 0) << other.out;
    EXPECT_THAT(other.out, Not(HasSubstr("Warning")));
    const Json services = lbcluster("--json service list").json()["services"];
    ASSERT_EQ(services.size(), 3U);
    EXPECT_EQ(services[1]["enabled"], false);
    EXPECT_EQ(services[2]["label"], "other");
    EXPECT_EQ(services[2]["enabled"], true);
    EXPECT_EQ(services[2]["servers"][0]["address"], "10.0.0.5");
    const std::string longest(63, 'x');
    put("cluster.yaml", "virtual_services: [{label: " + longest + ", address: 10.0.0.1, ports: [80]}]\n");
    const Outcome cut = lbcluster("--json service duplicate " + longest);
    EXPECT_EQ(cut.exit_code, 0) << cut.out;
    EXPECT_EQ(cut.json()["label"], std::string(61, 'x') + "-1");
    EXPECT_THAT(cut.json()["notes"].dump(), AllOf(HasSubstr("is in use"), HasSubstr("disabled")));
}

}  // namespace
}  // namespace lbcluster::bus
