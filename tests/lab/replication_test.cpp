// RE-2, RE-4: two nodes with all that is between them: replicatords, the system's SSH servers, keys, the forced command
// `lbcluster replica`. The nodes are paired by hand here; pairing has tests of its own.
#include <sys/stat.h>

#include <filesystem>
#include <random>
#include <set>

#include "tests/lab/backend.hpp"
#include "tests/lab/pair_test.hpp"
#include "tests/lab/sshd.hpp"

namespace lbcluster::lab {
namespace {

std::string service_yaml(const std::string& label, unsigned weight = 100) {
    return "virtual_services:\n  - {label: " + label +
           ", address: 10.77.0.200, ports: [80], real_servers: [{label: rs1, address: 10.77.0.21, weight: " +
           std::to_string(weight) + "}]}\n";
}

class Replication : public PairTest {
  protected:
    void begin_paired(PairSpec spec = {}) {
        if (spec.more.empty()) spec.more = service_yaml("web");
        make(spec);
        for (const std::string node : {"lb1", "lb2"}) {
            sshd_[node] = std::make_unique<Sshd>(lab_.host(node), sshd_spec(pair(), node, "/bin/sh"));
            sshd_[node]->start();
        }
        for (const std::string node : {"lb1", "lb2"}) introduce(pair(), node, *sshd_.at(Pair::peer_of(node)));
        pair().start();
        for (const char* node : {"lb1", "lb2"}) pair().replicatord(node).start();
        ASSERT_TRUE(pair().wait_settled("lb1"));
        ASSERT_TRUE(wait_until([&] { return in_sync(); }, 20s)) << both();
    }

    [[nodiscard]] std::string state(const std::string& node) {
        return pair().status(node)["replication"]["state"].text();
    }
    [[nodiscard]] std::string digest(const std::string& node) { return pair().status(node)["config"]["digest"].text(); }
    [[nodiscard]] std::set<std::string> digests_of(const std::string& node) {  // of its revisions
        std::set<std::string> found;
        const Json list = Json::parse(pair().cli(node, {"config", "history", "--json"}).out)["revisions"];
        for (std::size_t i = 0; i < list.size(); ++i) found.insert(list[i]["digest"].text());
        return found;
    }
    [[nodiscard]] bool in_sync() {
        const Json one = pair().status("lb1");
        const Json other = pair().status("lb2");
        return one["replication"]["state"].text() == "in-sync" && other["replication"]["state"].text() == "in-sync" &&
               one["config"]["digest"].text() == other["config"]["digest"].text();
    }
    [[nodiscard]] std::string both() {
        return pair().cli("lb1", {"status", "--json"}).out + pair().cli("lb2", {"status", "--json"}).out;
    }
    [[nodiscard]] std::string cluster(const std::string& node) {
        return read_file(pair().config_dir(node) + "/cluster.yaml");
    }
    Outcome apply(const std::string& node, const std::string& more) {
        const std::string path = pair().config_dir(node) + ".new.yaml";
        write_file(path, cluster_yaml(PairSpec{}) + more);
        return pair().cli(node, {"config", "apply", path});
    }

    void TearDown() override {
        for (const auto& [node, sshd] : sshd_) said_ += sshd->log();
        if (HasFailure()) {
            for (const auto& [node, sshd] : sshd_)
                std::printf("---- sshd of %s\n%s\n", node.c_str(), sshd->log().c_str());
        }
        PairTest::TearDown();
    }

    std::map<std::string, std::unique_ptr<Sshd>> sshd_;
};

TEST_F(Replication, AChangeIsLiveOnTheOtherNodeWithinASecond) {
    begin_paired();
    if (HasFatalFailure()) return;
    std::filesystem::create_directories(pair().config_dir("lb1") + "/files/certs");
    write_file(pair().config_dir("lb1") + "/files/certs/web.pem", "certificate\n");
    write_file(pair().config_dir("lb1") + "/files/fallback.html", std::string(50'000, 'p'));
    ASSERT_TRUE(wait_until([&] { return in_sync(); }, 10s)) << both();
    for (const char* word : {"one", "two", "three"}) {
        ASSERT_EQ(apply("lb1", service_yaml(word)).exit_code, 0);
        const auto begin = std::chrono::steady_clock::now();
        // In force there: heartbeatd has taken it up.
        ASSERT_TRUE(wait_until([&] { return digest("lb2") == digest("lb1"); }, 10s, 10ms)) << both();
        const auto took = std::chrono::steady_clock::now() - begin;
        std::printf("    %s: in force on lb2 %lld ms after `config apply` has ended on lb1\n", word,
                    static_cast<long long>(took / 1ms));
        EXPECT_LT(took, 1s);
        EXPECT_NE(cluster("lb2").find(word), std::string::npos);
    }
    EXPECT_EQ(read_file(pair().config_dir("lb2") + "/files/certs/web.pem"), "certificate\n");
    EXPECT_EQ(read_file(pair().config_dir("lb2") + "/files/fallback.html"), std::string(50'000, 'p'));
    EXPECT_EQ(read_file(pair().config_dir("lb2") + "/node.yaml"), node_yaml(pair().spec(), "lb2"));
    const Outcome sync = pair().cli("lb1", {"sync"});
    EXPECT_EQ(sync.exit_code, 0) << sync.err;
    const Json history = Json::parse(pair().cli("lb2", {"config", "history", "--json"}).out)["revisions"];
    EXPECT_EQ(history[0]["reason"].text(), "apply lb1.new.yaml");
}

// They are of one machine here; that a difference is told is in tests/unit.
TEST_F(Replication, TheClocksOfTheNodesAreCompared) {
    begin_paired();
    if (HasFatalFailure()) return;
    for (const char* node : {"lb1", "lb2"}) {
        const Json clock = pair().status(node)["replication"]["peer_clock"];
        EXPECT_GT(clock["uncertain_ms"].number(), 0) << both();
        EXPECT_LE(std::abs(clock["ahead_ms"].number()), clock["uncertain_ms"].number()) << both();
    }
}

TEST_F(Replication, WhatNobodyConfirmsIsTakenBackOnBothNodes) {
    begin_paired();
    if (HasFatalFailure()) return;
    const std::string before = cluster("lb1");
    const std::string file = pair().config_dir("lb1") + ".new.yaml";
    const auto apply_for = [&](const std::string& label, const std::string& patience) {
        write_file(file, cluster_yaml(PairSpec{}) + service_yaml(label));
        return pair().cli("lb1", {"config", "apply", file, "--confirm", patience});
    };
    const auto both_have = [&](const std::string& words) {
        return cluster("lb1").find(words) != std::string::npos && cluster("lb2").find(words) != std::string::npos;
    };
    const Outcome applied = apply_for("risky", "5s");
    ASSERT_EQ(applied.exit_code, 0) << applied.err;
    EXPECT_NE(applied.out.find("lbcluster config confirm"), std::string::npos) << applied.out;
    EXPECT_TRUE(wait_until([&] { return both_have("risky") && pair().has_alarm("lb2", "config-unconfirmed"); }, 4s))
        << both();
    EXPECT_TRUE(wait_until([&] { return cluster("lb1") == before && cluster("lb2") == before && in_sync(); }, 20s))
        << both();
    EXPECT_NE(pair().cli("lb1", {"events"}).out.find("nobody has confirmed the configuration"), std::string::npos);
    EXPECT_FALSE(pair().has_alarm("lb1", "config-unconfirmed"));
    // The node that takes over in the meantime takes it back as well.
    ASSERT_EQ(apply_for("risky", "8s").exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return both_have("risky") && pair().has_alarm("lb2", "config-unconfirmed"); }, 7s))
        << both();
    // Refused until the heartbeats have told that the configurations are the same again.
    ASSERT_TRUE(wait_until([&] { return pair().cli("lb1", {"standby"}, 30s).exit_code == 0; }, 5s)) << both();
    EXPECT_TRUE(wait_until([&] { return cluster("lb1") == before && cluster("lb2") == before && in_sync(); }, 30s))
        << both();
    ASSERT_TRUE(wait_until([&] { return pair().cli("lb1", {"activate"}, 30s).exit_code == 0; }, 5s)) << both();
    // Confirmed: it stays.
    ASSERT_EQ(apply_for("good", "4s").exit_code, 0);
    const Outcome confirmed = pair().cli("lb1", {"config", "confirm"});
    EXPECT_EQ(confirmed.exit_code, 0) << confirmed.err;
    EXPECT_TRUE(wait_until([&] { return both_have("good") && in_sync(); }, 10s)) << both();
    EXPECT_FALSE(wait_until([&] { return !both_have("good"); }, 6s)) << both();
    EXPECT_EQ(pair().cli("lb1", {"config", "confirm"}).exit_code, 5) << "nothing waits any more";
}

TEST_F(Replication, ABackupIsRestoredOnBothNodes) {
    begin_paired();
    if (HasFatalFailure()) return;
    std::filesystem::create_directories(pair().config_dir("lb1") + "/files/certs");
    write_file(pair().config_dir("lb1") + "/files/certs/web.pem", "certificate\n");
    ASSERT_TRUE(wait_until([&] { return in_sync(); }, 10s)) << both();
    const std::string before = cluster("lb1");
    const std::string file = pair().config_dir("lb1") + ".backup";
    ASSERT_EQ(pair().cli("lb1", {"config", "backup", file}).exit_code, 0);
    EXPECT_EQ(pair().cli("lb1", {"config", "backup", file}).exit_code, 5) << "never over another one";
    ASSERT_EQ(apply("lb1", service_yaml("other")).exit_code, 0);
    std::filesystem::remove(pair().config_dir("lb1") + "/files/certs/web.pem");
    const std::string gone = pair().config_dir("lb2") + "/files/certs/web.pem";
    ASSERT_TRUE(wait_until([&] { return in_sync() && !std::filesystem::exists(gone); }, 10s)) << both();
    const Outcome refused = pair().cli("lb2", {"config", "restore", file});
    EXPECT_EQ(refused.exit_code, 5) << refused.err;
    const Outcome restored = pair().cli("lb1", {"config", "restore", file});
    ASSERT_EQ(restored.exit_code, 0) << restored.err;
    EXPECT_TRUE(wait_until([&] { return in_sync() && cluster("lb2") == before && std::filesystem::exists(gone); }, 10s))
        << both();
    // Half of one changes nothing.
    const std::string whole = read_file(file);
    write_file(file, whole.substr(0, whole.size() / 2));
    const Outcome cut = pair().cli("lb1", {"config", "restore", file});
    EXPECT_EQ(cut.exit_code, 3) << cut.err;
    EXPECT_EQ(cluster("lb1"), before);
}

TEST_F(Replication, HandEditsOnThePassiveNodeAreKeptAlarmedAndNotInForce) {
    begin_paired();
    if (HasFatalFailure()) return;
    const std::string before = cluster("lb2");
    write_file(pair().config_dir("lb2") + "/cluster.yaml", before + "# by hand\n");
    ASSERT_TRUE(
        wait_until([&] { return cluster("lb2") == before && pair().has_alarm("lb2", "hand-edit-set-aside"); }, 10s))
        << both();
    ASSERT_TRUE(wait_until([&] { return in_sync(); }, 10s)) << both();
    EXPECT_EQ(cluster("lb1"), before);
    const Json history = Json::parse(pair().cli("lb2", {"config", "history", "--json"}).out)["revisions"];
    EXPECT_EQ(history[1]["author"].text(), "hand edit");
    EXPECT_NE(pair().cli("lb2", {"events"}).out.find("edited by hand"), std::string::npos);
    // Commands are refused there, with the active node's name.
    const Outcome refused = pair().cli("lb2", {"server", "drain", "web", "rs1"});
    EXPECT_EQ(refused.exit_code, 5);
    EXPECT_NE(refused.err.find("lb1"), std::string::npos) << refused.err;
}

TEST_F(Replication, DrainFollowsAFailoverAndChangesGoTheOtherWayThen) {
    begin_paired();
    if (HasFatalFailure()) return;
    ASSERT_EQ(pair().cli("lb1", {"server", "drain", "web", "rs1"}).exit_code, 0);
    // Refused until lb2 has the new configuration, and lb1 has heard so.
    ASSERT_TRUE(wait_until([&] { return pair().cli("lb2", {"activate"}).exit_code == 0; }, 10s)) << both();
    EXPECT_TRUE(
        wait_until([&] { return pair().status("lb2")["services"][0]["servers"][0]["state"].text() == "drain"; }, 10s));
    ASSERT_TRUE(wait_until([&] { return pair().activity("lb1") == "passive"; }, 10s));
    ASSERT_EQ(pair().cli("lb2", {"server", "online", "web", "rs1"}).exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return in_sync() && cluster("lb1") == cluster("lb2"); }, 10s)) << both();
    EXPECT_EQ(cluster("lb1").find("drain"), std::string::npos);
}

TEST_F(Replication, BothChangedWhileCutOffIsAskedAndNothingIsOverwritten) {
    begin_paired();
    if (HasFatalFailure()) return;
    lab_.cut_off("lb2", true);
    ASSERT_TRUE(wait_until([&] { return pair().status("lb2")["peer"]["state"].text() != "alive"; }, 10s));
    ASSERT_TRUE(wait_until([&] { return pair().status("lb1")["peer"]["state"].text() != "alive"; }, 10s));
    ASSERT_EQ(apply("lb1", service_yaml("mine")).exit_code, 0);
    ASSERT_EQ(apply("lb2", service_yaml("theirs")).exit_code, 0);
    lab_.cut_off("lb2", false);
    ASSERT_TRUE(wait_until([&] { return state("lb1") == "diverged" && state("lb2") == "diverged"; }, 60s)) << both();
    EXPECT_TRUE(pair().has_alarm("lb1", "config-diverged"));
    EXPECT_NE(cluster("lb1").find("mine"), std::string::npos);
    EXPECT_NE(cluster("lb2").find("theirs"), std::string::npos);
    const Outcome diff = pair().cli("lb1", {"config", "diff", "--peer"});
    EXPECT_EQ(diff.exit_code, 0) << diff.err;
    EXPECT_NE(diff.out.find("theirs"), std::string::npos) << diff.out;
    EXPECT_NE(diff.out.find("Meant to differ"), std::string::npos) << diff.out;
    // Either may be the active one by now.
    const auto active = [&]() -> std::string {
        const std::string one = pair().activity("lb1");
        const std::string other = pair().activity("lb2");
        return one == "active" && other == "passive" ? "lb1" : one == "passive" && other == "active" ? "lb2" : "";
    };
    ASSERT_TRUE(wait_until([&] { return !active().empty(); }, 20s)) << both();
    const std::string chooser = active();
    EXPECT_EQ(pair().cli(Pair::peer_of(chooser), {"config", "resolve", "mine"}).exit_code, 5);
    const Outcome resolved = pair().cli(chooser, {"config", "resolve", chooser == "lb1" ? "mine" : "peer"});
    EXPECT_EQ(resolved.exit_code, 0) << resolved.err;
    EXPECT_TRUE(wait_until([&] { return in_sync(); }, 10s)) << both();
    EXPECT_NE(cluster("lb2").find("mine"), std::string::npos);
}

TEST_F(Replication, AFailoverInTheMiddleOfAReplicationLosesNoChange) {
    begin_paired();
    if (HasFatalFailure()) return;
    // Large, so that it takes a while.
    std::mt19937 random(1);
    std::string page(8'000'000, ' ');
    for (char& c : page) c = static_cast<char>('a' + random() % 26);
    std::filesystem::create_directories(pair().config_dir("lb1") + "/files");
    write_file(pair().config_dir("lb1") + "/files/fallback.html", page);
    static_cast<void>(apply("lb1", service_yaml("last")));
    pair().power_off("lb1");
    ASSERT_TRUE(wait_until([&] { return pair().activity("lb2") == "active"; }, 20s));
    const std::string kept = cluster("lb2");
    EXPECT_TRUE(kept.find("last") != std::string::npos || kept.find("web") != std::string::npos) << "half of something";
    pair().power_on("lb1");
    sshd_.at("lb1")->start();
    pair().replicatord("lb1").start();
    ASSERT_TRUE(wait_until([&] { return in_sync(); }, 60s)) << both();
    EXPECT_NE(cluster("lb2").find("last"), std::string::npos) << "a change with right comes back with its node";
    EXPECT_EQ(read_file(pair().config_dir("lb2") + "/files/fallback.html"), page);
}

TEST_F(Replication, ChangesWhileLinksFailAreAllThereInTheEnd) {
    begin_paired();
    if (HasFatalFailure()) return;
    std::mt19937 random(3);
    for (unsigned weight = 1; weight <= 40; ++weight) {
        if (random() % 4 == 0) sshd_.at("lb2")->cut();
        if (random() % 4 == 0) sshd_.at("lb1")->cut();
        if (random() % 8 == 0) pair().replicatord(random() % 2 == 0 ? "lb1" : "lb2").signal(SIGKILL);
        const Outcome applied =
            pair().cli("lb1", {"server", "set", "web", "rs1", "weight=" + std::to_string(weight), "--no-wait"});
        ASSERT_EQ(applied.exit_code, 0) << applied.err;
    }
    ASSERT_TRUE(wait_until([&] { return in_sync(); }, 60s)) << both();
    const auto here = digests_of("lb1");
    const auto there = digests_of("lb2");
    EXPECT_GE(here.size(), 40U);
    for (const std::string& one : here) EXPECT_TRUE(there.contains(one)) << one;
}

// RE-3: killed while it takes a change over, by the sign of a revision that is being written or at any moment: old or
// new is in force, never anything else, and started again it goes on.
TEST_F(Replication, ReplicatordKilledWhileItTakesChangesOver) {
    begin_paired();
    if (HasFatalFailure()) return;
    std::mt19937 random(5);
    std::set<std::string> texts{cluster("lb1")};
    const std::string revisions = pair().state_dir("lb2") + "/revisions";
    const auto commits = [&] {
        return std::filesystem::exists(revisions + "/.new") || std::filesystem::exists(revisions + "/pending");
    };
    unsigned in_the_middle = 0;
    for (unsigned weight = 1; weight <= 30; ++weight) {
        const Outcome applied =
            pair().cli("lb1", {"server", "set", "web", "rs1", "weight=" + std::to_string(weight), "--no-wait"});
        ASSERT_EQ(applied.exit_code, 0) << applied.err;
        texts.insert(cluster("lb1"));
        // Every third at a moment that nothing tells.
        const bool blind = weight % 3 == 0;
        const Nanoseconds patience = blind ? std::chrono::milliseconds(random() % 200) : 3s;
        const bool seen = wait_until([&] { return !blind && commits(); }, patience, 20us);
        pair().replicatord("lb2").signal(SIGKILL);
        in_the_middle += seen ? 1 : 0;
        const std::string now = cluster("lb2");
        EXPECT_TRUE(texts.contains(now)) << now;
    }
    std::printf("    killed %u times while a revision was written\n", in_the_middle);
    EXPECT_GE(in_the_middle, 5U);
    ASSERT_TRUE(wait_until([&] { return in_sync(); }, 60s)) << both();
    EXPECT_EQ(cluster("lb2"), cluster("lb1"));
    EXPECT_FALSE(commits());
    const auto there = digests_of("lb2");
    for (const std::string& one : digests_of("lb1")) EXPECT_TRUE(there.contains(one)) << one;
}

TEST_F(Replication, WhatTheOtherNodeCannotTakeOverIsNamed) {
    begin_paired();
    if (HasFatalFailure()) return;
    lab_.ip("lb1", "addr add 10.66.0.11/24 dev eth0\n");
    ASSERT_EQ(apply("lb1", "virtual_services: []\n").exit_code, 0);
    ASSERT_TRUE(wait_until([&] { return in_sync(); }, 10s)) << both();
    const std::string before = cluster("lb2");
    // lb2 owns this address itself.
    lab_.ip("lb2", "addr add 10.77.0.230/24 dev eth0\n");
    const std::string path = pair().config_dir("lb1") + ".vip.yaml";
    PairSpec spec;
    spec.floating_ips.emplace_back("10.77.0.230");
    write_file(path, cluster_yaml(spec));
    ASSERT_EQ(pair().cli("lb1", {"config", "apply", path}).exit_code, 0);
    ASSERT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "replication-failed"); }, 10s)) << both();
    EXPECT_TRUE(pair().has_alarm("lb2", "replication-refused-here"));
    const Outcome sync = pair().cli("lb1", {"sync"});
    EXPECT_EQ(sync.exit_code, 3) << sync.out << sync.err;
    EXPECT_NE(sync.err.find("10.77.0.230"), std::string::npos) << sync.err;
    EXPECT_EQ(cluster("lb2"), before);
    // Put right there, it goes over.
    lab_.ip("lb2", "addr del 10.77.0.230/24 dev eth0\n");
    const Outcome again = pair().cli("lb1", {"sync"});
    EXPECT_EQ(again.exit_code, 0) << again.err;
    EXPECT_NE(cluster("lb2").find("10.77.0.230"), std::string::npos);
}

TEST_F(Replication, TheVerdictsOfBothNodesAreSeenOnBoth) {
    PairSpec spec;
    spec.more =
        "virtual_services:\n  - label: web\n    address: 10.77.0.200\n    ports: [80]\n"
        "    check: {type: connect, interval: 500ms, timeout: 400ms, fall: 2, rise: 1}\n"
        "    real_servers: [{label: rs1, address: 10.77.0.21}]\n";
    begin_paired(spec);
    if (HasFatalFailure()) return;
    const Backend rs1(lab_.host("rs1"), 80);
    for (const char* node : {"lb1", "lb2"}) pair().healthd(node).start();
    const auto seen = [&](const std::string& node, const std::string& own, const std::string& peer) {
        const Json server = pair().status(node)["services"][0]["servers"][0];
        return server["health"].text() == own && server["peer_health"].text() == peer;
    };
    ASSERT_TRUE(wait_until([&] { return seen("lb1", "up", "up") && seen("lb2", "up", "up"); }, 20s)) << both();
    // Only lb2's probes are lost.
    lab_.drop("lb2", "eth0", "ip saddr 10.77.0.21");
    EXPECT_TRUE(wait_until([&] { return seen("lb1", "up", "down") && seen("lb2", "down", "up"); }, 20s)) << both();
    lab_.heal("lb2");
    EXPECT_TRUE(wait_until([&] { return seen("lb1", "up", "up"); }, 20s)) << both();
    // A peer whose replicatord is gone says nothing.
    pair().replicatord("lb2").stop();
    EXPECT_TRUE(wait_until([&] { return seen("lb1", "up", ""); }, 20s)) << both();
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "replication-failed"); }, 30s)) << both();
    pair().replicatord("lb2").start();
    EXPECT_TRUE(wait_until([&] { return in_sync() && seen("lb1", "up", "up"); }, 30s)) << both();
}

// Passwords of every kind go to the other node, and nowhere else: what is said about this configuration, all daemons'
// logs at their wordiest and what is stored is searched when the test ends (PairTest).
TEST_F(Replication, PasswordsInTheConfigurationAreShownNowhere) {
    const std::map<std::string, std::string> words{
        {"TOKEN", "tell-nobody-1"},  {"BEARER", "tell-nobody-2"}, {"LOGIN", "tell-nobody-3"},
        {"SHARED", "tell-nobody-4"}, {"MAIL", "tell-nobody-5"},   {"HOOK", "tell-nobody-6"},
        {"PAGE", "tell-nobody-7"},   {"NEWER", "tell-nobody-8"},  {"MISTAKE", "tell-nobody-9"}};
    for (const auto& [name, word] : words) secrets_.add("a configured word, " + name, word);
    const auto filled = [&](std::string text) {
        for (const auto& [name, word] : words)
            for (std::size_t at = 0; (at = text.find(name, at)) != std::string::npos;)
                text.replace(at, name.size(), word);
        return text;
    };
    const std::string key = must_run(nullptr, {"openssl", "genpkey", "-algorithm", "ed25519"});
    secrets_.add_private_keys("a certificate's private key", key);
    PairSpec spec;
    spec.more = filled(
        "virtual_services:\n"
        "  - label: web\n    address: 10.77.0.200\n    ports: [80]\n"
        "    check: {type: negotiate, protocol: http, request: '/?token=TOKEN', headers: {Authorization: 'Bearer "
        "BEARER'}}\n"
        "    real_servers: [{label: rs1, address: 10.77.0.21}]\n"
        "  - label: radius\n    address: 10.77.0.200\n    ports: [81]\n"
        "    check: {type: negotiate, protocol: radius, user: me, password: LOGIN, secret: SHARED, timeout: 500ms}\n"
        "    real_servers: [{label: rs1, address: 10.77.0.21}]\n"
        "layer7: {statistics: {user: me, password: PAGE}}\n"
        "notifications:\n"
        "  - {label: a, mail: {server: 10.77.0.22, port: 465, from: a@b.c, to: [a@b.c], user: u, password: MAIL}}\n"
        "  - {label: b, webhook: {url: 'https://me:HOOK@10.77.0.22/'}}\n");
    begin_paired(spec);
    if (HasFatalFailure()) return;
    const Backend rs1(lab_.host("rs1"), 80);
    for (const char* node : {"lb1", "lb2"}) {
        write_file(pair().config_dir(node) + "/node.yaml", node_yaml(pair().spec(), node) + "log_level: debug\n");
        pair().healthd(node).start();
        pair().forwarderd(node).start();
    }
    std::filesystem::create_directories(pair().config_dir("lb1") + "/files/certs");
    write_file(pair().config_dir("lb1") + "/files/certs/web.pem", key, 0640);
    const auto up = [&] { return pair().status("lb1")["services"][0]["servers"][0]["health"].text() == "up"; };
    ASSERT_TRUE(wait_until([&] { return in_sync() && up(); }, 20s)) << both();
    EXPECT_EQ(read_file(pair().config_dir("lb2") + "/files/certs/web.pem"), key) << "it does go there";

    // Every way to have it told, then mistakes that are told as well.
    ASSERT_EQ(pair().cli("lb1", {"service", "set", "radius", filled("check.secret=NEWER")}).exit_code, 0);
    ASSERT_TRUE(wait_until([&] { return in_sync(); }, 20s)) << both();
    EXPECT_NE(cluster("lb2").find(words.at("NEWER")), std::string::npos);
    // Lines that differ on the nodes.
    pair().replicatord("lb2").stop();
    ASSERT_EQ(pair().cli("lb1", {"service", "set", "radius", filled("check.password=NEWER")}).exit_code, 0);
    pair().replicatord("lb2").start();
    const std::string wrong = pair().config_dir("lb1") + ".wrong.yaml";
    write_file(wrong,
               filled("virtual_services:\n  - {label: web, password: MISTAKE, check: {password: [MISTAKE], "
                      "secret: {MISTAKE: MISTAKE}}}\nlayer7: {statistics: {password: }}\n"),
               0600);
    const std::vector<std::vector<std::string>> asked = {{"config", "show"},
                                                         {"config", "diff"},
                                                         {"config", "diff", "1"},
                                                         {"config", "diff", "--peer"},
                                                         {"config", "history"},
                                                         {"config", "check"},
                                                         {"config", "check", wrong},
                                                         {"config", "apply", wrong},
                                                         {"service", "list"},
                                                         {"server", "list"},
                                                         {"check", "web"},
                                                         {"check", "radius"},
                                                         {"status"},
                                                         {"events"},
                                                         {"diagnose"},
                                                         {"sync"},
                                                         {"key", "show"}};
    for (const std::string node : {"lb1", "lb2"}) {
        for (std::vector<std::string> command : asked) {
            EXPECT_NE(pair().cli(node, command).exit_code, -1);
            command.insert(command.begin(), "--json");
            EXPECT_NE(pair().cli(node, command).exit_code, -1);
        }
    }
    EXPECT_NE(pair().said().find("***"), std::string::npos);
    ASSERT_TRUE(wait_until([&] { return in_sync(); }, 20s)) << both();
}

TEST_F(Replication, TheKeyCanDoNothingElse) {
    begin_paired();
    if (HasFatalFailure()) return;
    const std::string key = pair().state_dir("lb1") + "/keys/replica";
    const std::vector<std::string> ssh{"ssh",
                                       "-F",
                                       "/dev/null",
                                       "-i",
                                       key,
                                       "-o",
                                       "BatchMode=yes",
                                       "-o",
                                       "StrictHostKeyChecking=no",
                                       "-o",
                                       "UserKnownHostsFile=/dev/null",
                                       "-b",
                                       "10.77.0.11"};
    const auto try_it = [&](std::vector<std::string> more) {
        std::vector<std::string> argv = ssh;
        argv.insert(argv.end(), more.begin(), more.end());
        return run(&lab_.host("lb1"), argv, "cat /etc/shadow\n", {}, 20s);
    };
    // Whatever is asked for, frames are what it gets to talk to, and this is none.
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"loadbalancer@10.77.0.12", "cat /etc/passwd"},
          {"loadbalancer@10.77.0.12"},
          {"-s", "loadbalancer@10.77.0.12", "sftp"}}) {
        const Outcome outcome = try_it(words);
        EXPECT_EQ(outcome.out.find("root:"), std::string::npos) << outcome.out;
    }
    const Outcome forward = try_it({"-W", "127.0.0.1:22", "loadbalancer@10.77.0.12"});
    EXPECT_NE(forward.exit_code, 0);
    EXPECT_EQ(forward.out.find("SSH-2.0"), std::string::npos) << forward.out;
    EXPECT_TRUE(wait_until([&] { return in_sync(); }, 10s)) << both();
}

}  // namespace
}  // namespace lbcluster::lab
