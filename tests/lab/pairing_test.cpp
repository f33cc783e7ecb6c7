// RE-1, HA-6: `lbcluster pair` and `unpair` between two nodes that know nothing of one another: real daemons, the
// system's SSH servers, the account of the peer with its password. And what that account can not do.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/lab/pair_test.hpp"
#include "tests/lab/sshd.hpp"
#include "tests/lab/tcp.hpp"

namespace lbcluster::lab {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* services =
    "virtual_services:\n  - {label: web, address: 10.77.0.210, ports: [80], "
    "real_servers: [{label: rs1, address: 10.77.0.21}]}  # kept\n";
constexpr const char* other_services =
    "virtual_services:\n  - {label: other, address: 10.77.0.220, ports: [80], "
    "real_servers: [{label: rs2, address: 10.77.0.22}]}\n";

class Pairing : public PairTest {
  protected:
    // Two single nodes with their daemons; lb2 has nothing configured, if nothing is said.
    void begin_apart(const std::string& cluster_of_lb2 = "floating_ips: []\n", const std::string& shell = "") {
        PairSpec spec;
        spec.links.clear();
        spec.more = services;
        spec.timers = "profile: lan\ninitdead: 1s";
        make(spec);
        write_file(pair().config_dir("lb2") + "/cluster.yaml", cluster_of_lb2);
        write_file(pair().config_dir("lb1") + "/node.yaml", "# the first\n" + node_yaml(spec, "lb1") + "# its end\n");
        write_file(pair().config_dir("lb2") + "/node.yaml",
                   "node: lb2  # the second\nrole: primary\ninterfaces: {lan: eth0}\n");
        for (const std::string node : {"lb1", "lb2"}) {
            std::filesystem::remove(pair().state_dir(node) + "/keys/heartbeat.key");
            sshd_[node] = std::make_unique<Sshd>(lab_.host(node), sshd_spec(pair(), node, shell));
            sshd_[node]->start();
            pair().daemon(node).start();
            pair().replicatord(node).start();
        }
        ASSERT_TRUE(wait_until([&] { return pair().activity("lb1") == "active" && pair().activity("lb2") == "active"; },
                               20s, 50ms));
        ASSERT_TRUE(wait_until([&] { return std::filesystem::exists(pair().run_dir("lb2") + "/replica.sock"); }, 5s));
    }
    // The password must not be seen while it is used, by whoever lists processes; nor anywhere afterwards.
    Outcome pair_up(const std::vector<std::string>& more = {}, const std::string& password = Sshd::password) {
        std::vector<std::string> words{cli_path(), "pair",       "--local",         "10.77.0.11",
                                       "--peer",   "10.77.0.12", "--password-stdin"};
        if (std::find(more.begin(), more.end(), "--fingerprint") == more.end()) {
            words.insert(words.end(), {"--fingerprint", sshd_.at("lb2")->fingerprint()});
        }
        words.insert(words.end(), more.begin(), more.end());
        secrets_.add("the account's password", password);
        note_secrets();
        ProcessWatch watch(secrets_);
        Outcome outcome = run(&lab_.host("lb1"), words, password + "\n", pair().environment("lb1"), 60s);
        EXPECT_EQ(watch.end(), std::set<std::string>{});
        EXPECT_TRUE(watch.programs().contains("lbcluster")) << "the watch was blind";
        said_ += outcome.out + outcome.err;
        note_secrets();
        return outcome;
    }
    [[nodiscard]] std::string file(const std::string& node, const std::string& name) {
        return read_file(pair().config_dir(node) + "/" + name);
    }
    [[nodiscard]] std::string state_file(const std::string& node, const std::string& name) {
        return read_file(pair().state_dir(node) + "/" + name);
    }
    // What a pairing that was refused must leave alone.
    std::string everything() {
        std::string all;
        for (const std::string node : {"lb1", "lb2"}) {
            all += file(node, "node.yaml") + file(node, "cluster.yaml") + state_file(node, "keys/heartbeat.key") +
                   state_file(node, "peer.yaml") + read_file(sshd_.at(node)->authorized_keys_path());
        }
        return all;
    }
    void expect_refused(const Outcome& outcome, int code, const std::string& what, const std::string& before) {
        EXPECT_EQ(outcome.exit_code, code) << outcome.out << outcome.err;
        EXPECT_THAT(outcome.err, HasSubstr(what));
        EXPECT_EQ(everything(), before) << "nothing was changed";
    }
    void expect_paired() {
        EXPECT_EQ(file("lb2", "cluster.yaml"), file("lb1", "cluster.yaml"));
        EXPECT_EQ(state_file("lb1", "keys/heartbeat.key"), state_file("lb2", "keys/heartbeat.key"));
        EXPECT_NE(state_file("lb1", "keys/heartbeat.key"), "");
        EXPECT_TRUE(wait_until(
            [&] {
                return pair().activity("lb1") == "active" && pair().activity("lb2") == "passive" &&
                       pair().status("lb1")["link"].text() == "up";
            },
            20s, 50ms))
            << pair().cli("lb1", {"status"}).out << pair().cli("lb2", {"status"}).out;
    }
    void TearDown() override {
        for (const auto& [node, sshd] : sshd_) said_ += sshd->log();
        PairTest::TearDown();
        sshd_.clear();
    }

    std::map<std::string, std::unique_ptr<Sshd>> sshd_;
};

TEST_F(Pairing, MakesAPair) {
    begin_apart();
    if (HasFatalFailure()) return;
    const Outcome outcome = pair_up();
    ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("attempting to pair\nconfiguring\ndone: paired with lb2"));
    expect_paired();
    EXPECT_THAT(file("lb1", "node.yaml"), HasSubstr("# the first\n"));
    EXPECT_THAT(file("lb1", "node.yaml"), HasSubstr("# its end\n"));
    EXPECT_THAT(file("lb2", "node.yaml"), HasSubstr("role: secondary"));
    EXPECT_THAT(file("lb2", "node.yaml"), HasSubstr("# the second"));
    for (const char* node : {"lb1", "lb2"}) {
        for (const char* key : {"/keys/replica", "/keys/heartbeat.key"}) {
            struct stat info{};
            ASSERT_EQ(::stat((pair().state_dir(node) + key).c_str(), &info), 0) << key;
            EXPECT_EQ(info.st_mode & 0777U, 0600U) << key;
        }
    }
    EXPECT_TRUE(secrets_.knows("private key of lb1") && secrets_.knows("private key of lb2"));
    EXPECT_FALSE(std::filesystem::exists(pair().state_dir("lb2") + "-peer/incoming/pairing"));
    // Replication goes on with it: a change here is there.
    ASSERT_TRUE(wait_until([&] { return pair().status("lb1")["replication"]["state"].text() == "in-sync"; }, 20s, 50ms))
        << pair().cli("lb1", {"status", "--json"}).out << pair().log("lb1") << pair().log("lb2");
    ASSERT_EQ(pair().cli("lb1", {"floating-ip", "add", "10.77.0.201"}).exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return file("lb2", "cluster.yaml").find("10.77.0.201") != std::string::npos; }, 10s));
    // Once more does no harm.
    const Outcome again = pair_up();
    EXPECT_EQ(again.exit_code, 0) << again.out << again.err;
    expect_paired();
}

// Whatever was said last before the connection breaks: nothing has happened, or the next `pair` completes it.
TEST_F(Pairing, CutAfterAnyMessageItIsMended) {
    begin_apart();
    if (HasFatalFailure()) return;
    TcpCutter cutter(lab_.host("lb1"), "10.77.0.12", 22);
    const auto untouched = [&] {
        return state_file("lb1", "peer.yaml").empty() && state_file("lb2", "peer.yaml").empty();
    };
    const auto part = [&] {
        const Outcome outcome = pair().cli("lb1", {"unpair"}, 60s);
        ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
        ASSERT_TRUE(untouched());
        ASSERT_TRUE(wait_until([&] { return pair().activity("lb1") == "active" && pair().activity("lb2") == "active"; },
                               20s, 20ms));
    };
    ASSERT_EQ(pair_up().exit_code, 0);
    const std::size_t messages = cutter.passed();
    ASSERT_GE(messages, 20U);
    const std::size_t cuts = std::getenv("LBCLUSTER_FULL") != nullptr ? messages : std::min<std::size_t>(messages, 36);
    std::map<std::string, unsigned> endings;
    for (std::size_t cut = 1; cut <= cuts; ++cut) {
        if (!untouched()) part();
        if (HasFatalFailure()) return;
        const std::string before = everything();
        const std::size_t after = cut * messages / cuts;
        cutter.cut_after(after);
        const Outcome outcome = pair_up();
        const bool broke = outcome.exit_code != 0;
        cutter.pass();
        if (broke && everything() == before) {
            ++endings["nothing changed"];
            continue;
        }
        ++endings[broke ? "completed by the next" : "done in spite of it"];
        if (broke) {
            const Outcome again = pair_up();
            ASSERT_EQ(again.exit_code, 0)
                << "after " << after << " messages: " << outcome.err << again.out << again.err;
        }
        EXPECT_EQ(state_file("lb1", "keys/heartbeat.key"), state_file("lb2", "keys/heartbeat.key"));
        EXPECT_EQ(file("lb2", "cluster.yaml"), file("lb1", "cluster.yaml"));
    }
    for (const auto& [ending, count] : endings)
        std::printf("    of %zu cuts among %zu messages: %u %s\n", cuts, messages, count, ending.c_str());
    EXPECT_GT(endings["nothing changed"], 0U);
    EXPECT_GT(endings["completed by the next"], 0U);
    ASSERT_EQ(pair_up().exit_code, 0);
    expect_paired();
}

TEST_F(Pairing, WrongPasswordAndWrongHostKey) {
    begin_apart();
    if (HasFatalFailure()) return;
    const std::string before = everything();
    expect_refused(pair_up({}, "not this one"), 5, "does not accept the password", before);
    expect_refused(pair_up({"--fingerprint", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}), 5,
                   "the host key of 10.77.0.12 is " + sshd_.at("lb2")->fingerprint(), before);
    // Nobody to ask, and none given: named, so that it can be given.
    const Outcome asked = run(&lab_.host("lb1"),
                              {"setsid", "-w", cli_path(), "pair", "--local", "10.77.0.11", "--peer", "10.77.0.12",
                               "--password-stdin", "--json"},
                              Sshd::password + "\n", pair().environment("lb1"), 30s);
    EXPECT_EQ(asked.exit_code, 5) << asked.out << asked.err;
    EXPECT_THAT(asked.out, HasSubstr("--fingerprint " + sshd_.at("lb2")->fingerprint()));
    EXPECT_EQ(everything(), before);
}

TEST_F(Pairing, FirewallsAreNamed) {
    begin_apart();
    if (HasFatalFailure()) return;
    const std::string before = everything();
    lab_.drop("lb2", "eth0", "udp dport 6694");
    expect_refused(pair_up(), 1, "UDP port 6694", before);
    lab_.heal("lb2");
    lab_.drop("lb2", "eth0", "tcp dport 7778");
    expect_refused(pair_up(), 1, "TCP port 7778", before);
    lab_.heal("lb2");
    lab_.drop("lb1", "eth0", "tcp dport 7778");
    expect_refused(pair_up(), 1, "TCP port 7778", before);
    lab_.heal("lb1");
    lab_.drop("lb2", "eth0", "tcp dport 22");
    expect_refused(pair_up(), 6, "10.77.0.12 port 22", before);
    lab_.heal("lb2");
    EXPECT_EQ(pair_up().exit_code, 0);
    expect_paired();
}

TEST_F(Pairing, PeerWithServicesIsKeptUnlessItIsSaid) {
    begin_apart(other_services);
    if (HasFatalFailure()) return;
    const std::string before = everything();
    expect_refused(pair_up(), 5, "--replace-peer", before);
    EXPECT_EQ(pair_up({"--replace-peer"}).exit_code, 0);
    expect_paired();
    const Outcome history = pair().cli("lb2", {"config", "history", "--json"});
    bool kept = false;
    for (int number = 1; number < 6; ++number) {
        const std::string old = state_file("lb2", "revisions/" + std::to_string(number) + "/cluster.yaml");
        kept = kept || old == other_services;
    }
    EXPECT_TRUE(kept) << history.out;
}

TEST_F(Pairing, PeerWithoutLbcluster) {
    begin_apart("floating_ips: []\n", "/bin/sh");
    if (HasFatalFailure()) return;
    const std::string before = everything();
    const Outcome outcome = pair_up();
    expect_refused(outcome, 1, "not found", before);
    EXPECT_THAT(outcome.err, HasSubstr("is lbcluster installed on the peer?"));
}

TEST_F(Pairing, PeerWithoutReplicatord) {
    begin_apart();
    if (HasFatalFailure()) return;
    static_cast<void>(pair().replicatord("lb2").stop());
    const std::string before = everything();
    const Outcome outcome = pair_up();
    EXPECT_NE(outcome.exit_code, 0);
    EXPECT_THAT(outcome.err, HasSubstr("is replicatord running on the peer?"));
    EXPECT_EQ(everything(), before);
}

TEST_F(Pairing, SameNameIsRefused) {
    begin_apart();
    if (HasFatalFailure()) return;
    write_file(pair().config_dir("lb2") + "/node.yaml", "node: lb1\n");
    const std::string before = everything();
    expect_refused(pair_up(), 5, "both nodes are called 'lb1'", before);
}

// A floating IP that the peer's own interface has: found before anything is changed.
TEST_F(Pairing, WhatIsNotValidThereIsNotTakenOver) {
    begin_apart();
    if (HasFatalFailure()) return;
    write_file(pair().config_dir("lb1") + "/cluster.yaml", "floating_ips: [{address: 10.77.0.12, interface: lan}]\n");
    const std::string before = everything();
    expect_refused(pair_up(), 3, "10.77.0.12", before);
}

TEST_F(Pairing, FullDiskOnThePeer) {
    begin_apart();
    if (HasFatalFailure()) return;
    const std::string before = everything();
    const std::string incoming = pair().state_dir("lb2") + "-peer/incoming";
    must_run(nullptr, {"mount", "-t", "tmpfs", "-o", "size=4k,mode=777", "none", incoming});
    write_file(incoming + "/fill", std::string(4096, 'x'));
    const Outcome outcome = pair_up();
    EXPECT_EQ(outcome.exit_code, 1) << outcome.out << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("could not store"));
    EXPECT_EQ(everything(), before);
    must_run(nullptr, {"umount", incoming});
    EXPECT_EQ(pair_up().exit_code, 0);
    expect_paired();
}

TEST_F(Pairing, KeyFilesThatOthersReadAreRefused) {
    begin_apart();
    if (HasFatalFailure()) return;
    ASSERT_EQ(pair_up().exit_code, 0);
    for (const char* key : {"/keys/replica", "/keys/heartbeat.key"}) {
        const std::string path = pair().state_dir("lb1") + key;
        std::filesystem::permissions(path, std::filesystem::perms(0644));
        const Outcome outcome = pair_up();
        EXPECT_NE(outcome.exit_code, 0);
        EXPECT_THAT(outcome.err, HasSubstr(path)) << "names the file";
        EXPECT_THAT(outcome.err, HasSubstr("chmod 600"));
        std::filesystem::permissions(path, std::filesystem::perms(0600));
    }
    EXPECT_EQ(pair_up().exit_code, 0);
}

// 256 kbit/s, 200 KB of files: it takes its time, and no deadline is too short for it.
TEST_F(Pairing, SlowLink) {
    begin_apart();
    if (HasFatalFailure()) return;
    std::filesystem::create_directories(pair().config_dir("lb1") + "/files");
    std::string page;
    for (unsigned i = 0, x = 1; i < 200000; ++i)
        page += static_cast<char>(' ' + ((x = x * 1103515245 + 12345) >> 16) % 90);
    write_file(pair().config_dir("lb1") + "/files/fallback.html", page);
    must_run(&lab_.host("lb1"), {"tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "256kbit", "burst", "4kb",
                                 "latency", "400ms"});
    const TimePoint begun = Clock::now();
    const Outcome outcome = pair_up();
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    EXPECT_GT(Clock::now() - begun, 5s) << "it was slow";
    EXPECT_EQ(file("lb2", "files/fallback.html"), page);
    expect_paired();
}

// The password's session and the installed key: pairing calls and the relay, nothing else.
TEST_F(Pairing, TheAccountCanDoNothingElse) {
    begin_apart();
    if (HasFatalFailure()) return;
    ASSERT_EQ(pair_up().exit_code, 0);
    const auto ssh = [&](const std::vector<std::string>& words, const std::string& program = "ssh") {
        std::vector<std::string> argv{program,
                                      "-F",
                                      "/dev/null",
                                      "-i",
                                      pair().state_dir("lb1") + "/keys/replica",
                                      "-o",
                                      "IdentitiesOnly=yes",
                                      "-o",
                                      "BatchMode=yes",
                                      "-o",
                                      "StrictHostKeyChecking=no",
                                      "-o",
                                      "UserKnownHostsFile=/dev/null",
                                      "-o",
                                      "ExitOnForwardFailure=yes",
                                      "-o",
                                      "BindAddress=10.77.0.11"};
        argv.insert(argv.end(), words.begin(), words.end());
        return run(&lab_.host("lb1"), argv, "", {}, 10s);
    };
    const std::string whom = "loadbalancer@10.77.0.12";
    write_file("/run/secret", "the content of a file\n");
    const std::vector<std::vector<std::string>> tries = {
        {whom, "cat", "/run/secret"},
        {whom, "/bin/sh", "-c", "'cat /run/secret'"},
        {"-tt", whom},
        {whom, "lbcluster", "replica", ";", "cat", "/run/secret"},
        {whom, "scp", "-f", "/run/secret"},
    };
    for (const auto& words : tries) {
        const Outcome got = ssh(words);
        EXPECT_THAT(got.out + got.err, Not(HasSubstr("the content of a file"))) << words.back();
        EXPECT_THAT(got.out, Not(HasSubstr("$"))) << "a prompt";
    }
    const Outcome sftp = ssh({whom + ":/run/secret", "/run/got"}, "sftp");
    EXPECT_NE(sftp.exit_code, 0);
    EXPECT_FALSE(std::filesystem::exists("/run/got"));
    const Outcome scp = ssh({"-O", whom + ":/run/secret", "/run/got"}, "scp");
    EXPECT_NE(scp.exit_code, 0);
    EXPECT_FALSE(std::filesystem::exists("/run/got"));
    // A forwarded port is refused when somebody comes (-L) or at once (-R).
    const Outcome forward = ssh({"-W", "10.77.0.12:22", whom});
    EXPECT_THAT(forward.out, Not(HasSubstr("SSH-2.0"))) << forward.out;
    const Outcome back = ssh({"-N", "-R", "2222:127.0.0.1:22", whom});
    EXPECT_NE(back.exit_code, 0);
    EXPECT_THAT(back.err, HasSubstr("remote port forwarding failed"));
    // The key counts from the peer's address only.
    Outcome elsewhere =
        run(&lab_.host("rs1"),
            {"ssh", "-F", "/dev/null", "-i", pair().state_dir("lb1") + "/keys/replica", "-o", "BatchMode=yes", "-o",
             "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", whom, "x"},
            "", {}, 10s);
    EXPECT_THAT(elsewhere.err, HasSubstr("Permission denied"));
    // The shell itself, as with the password: words that it does not know.
    for (const char* words : {"id", "scp -t /etc/passwd", "scp -t pairing2", "lbcluster replica; id",
                              "/usr/lib/openssh/sftp-server", "scp -f 'pairing'"}) {
        const Outcome got = run(nullptr, {"/run/lbcluster-peer", "-c", words}, "", pair().environment("lb2"), 5s);
        EXPECT_EQ(got.exit_code, 5) << words;
        EXPECT_EQ(got.out, "") << words;
    }
    EXPECT_EQ(run(nullptr, {"/run/lbcluster-peer"}, "id\n", {}, 5s).exit_code, 5) << "no interactive shell";
    // A call that is not the beginning of a pairing (PairCheck, without fields) is answered to the key only.
    const std::string pair_check("\0\0\0\3\x92\3\0", 7);
    auto environment = pair().environment("lb2");
    EXPECT_EQ(run(nullptr, {"/run/lbcluster-peer", "-c", "lbcluster replica"}, pair_check, environment, 5s).out, "");
    environment.push_back("SSH_ORIGINAL_COMMAND=");
    EXPECT_NE(run(nullptr, {"/run/lbcluster-peer", "-c", "lbcluster replica"}, pair_check, environment, 5s).out, "");
}

// Part 5 of RE-1: the key of the heartbeats changes while they go on; also after a rotation that was broken off.
TEST_F(Pairing, KeysRotateWithoutAGap) {
    begin_apart();
    if (HasFatalFailure()) return;
    EXPECT_EQ(pair().cli("lb1", {"key", "rotate"}).exit_code, 5) << "no peer to bring it to";
    ASSERT_EQ(pair_up().exit_code, 0);
    expect_paired();
    const auto secret_of = [&](const std::string& node) { return state_file(node, "keys/heartbeat.key"); };
    const auto deaths = [&] { return pair().cli("lb1", {"events"}).out + pair().cli("lb2", {"events"}).out; };
    const double term = pair().status("lb1")["node"]["term"].number();
    for (const std::string by : {"lb1", "lb2", "lb1"}) {
        const std::string before = secret_of("lb1");
        note_secrets();
        const Outcome outcome = pair().cli(by, {"key", "rotate"}, 60s);
        ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
        EXPECT_NE(secret_of("lb1"), before);
        EXPECT_EQ(secret_of("lb1"), secret_of("lb2"));
        EXPECT_EQ(secret_of("lb1").find("\nkey: "), secret_of("lb1").rfind("\nkey: ")) << "one key is left";
        if (by == "lb2") {  // as if the last one had been broken off: one node has two keys, the other's comes second
            const std::string now = secret_of("lb1");
            const std::string older = before.substr(before.rfind("key: "));
            write_file(pair().state_dir("lb1") + "/keys/heartbeat.key", now + older, 0600);
        }
    }
    std::this_thread::sleep_for(2s);  // twice the deadtime: whoever was not understood would be dead
    EXPECT_EQ(pair().status("lb1")["node"]["term"].number(), term);
    EXPECT_EQ(pair().status("lb1")["link"].text(), "up");
    EXPECT_EQ(deaths().find("peer-dead"), std::string::npos) << deaths();
}

// HA-6: what is served stays where it is; the other node forgets it, and keeps it in its history.
TEST_F(Pairing, UnpairFromEitherSide) {
    begin_apart();
    if (HasFatalFailure()) return;
    for (const std::string by : {"lb1", "lb2"}) {
        ASSERT_EQ(pair_up().exit_code, 0) << by;
        expect_paired();
        const Outcome outcome = pair().cli(by, {"unpair"}, 60s);
        ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
        EXPECT_THAT(outcome.out, Not(HasSubstr("does not know"))) << by;
        EXPECT_TRUE(wait_until(
            [&] {
                return pair().status("lb1")["link"].text() == "none" && pair().status("lb2")["link"].text() == "none";
            },
            20s, 50ms));
        EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.77.0.210"); }, 10s));
        EXPECT_FALSE(lab_.holds("lb2", "10.77.0.210"));
        EXPECT_THAT(file("lb2", "cluster.yaml"), Not(HasSubstr("web"))) << by;
        for (const char* node : {"lb1", "lb2"}) {
            EXPECT_EQ(state_file(node, "peer.yaml"), "") << by;
            EXPECT_EQ(read_file(sshd_.at(node)->authorized_keys_path()), "") << by;
        }
        EXPECT_EQ(pair().cli(by, {"unpair"}).exit_code, 5) << "there is none any more";
    }
}

TEST_F(Pairing, UnpairWhenThePeerIsGone) {
    begin_apart();
    if (HasFatalFailure()) return;
    ASSERT_EQ(pair_up().exit_code, 0);
    expect_paired();
    pair().power_off("lb2");
    const Outcome outcome = pair().cli("lb1", {"unpair"}, 60s);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("run 'lbcluster unpair --clear' there"));
    const auto lb1_serves = [&] { return lab_.holds("lb1", "10.77.0.210") && pair().activity("lb1") == "active"; };
    EXPECT_TRUE(wait_until(lb1_serves, 10s));
    // Back again, it does not know who serves: not for the command to guess.
    pair().start("lb2");
    pair().replicatord("lb2").start();
    ASSERT_TRUE(
        wait_until([&] { return !pair().activity("lb2").empty() && pair().activity("lb2") != "starting"; }, 10s));
    EXPECT_EQ(pair().cli("lb2", {"unpair"}, 60s).exit_code, 5);
    EXPECT_NE(state_file("lb2", "peer.yaml"), "");
    const Outcome cleared = pair().cli("lb2", {"unpair", "--clear"}, 60s);
    EXPECT_EQ(cleared.exit_code, 0) << cleared.out << cleared.err;
    EXPECT_THAT(file("lb2", "cluster.yaml"), Not(HasSubstr("web")));
    EXPECT_THAT(file("lb1", "cluster.yaml"), HasSubstr("web"));
    EXPECT_FALSE(lab_.holds("lb2", "10.77.0.210"));
    EXPECT_TRUE(lb1_serves());
}

// Who serves is never cleared, whatever the other node believes.
TEST_F(Pairing, UnpairDoesNotClearTheNodeThatServes) {
    begin_apart();
    if (HasFatalFailure()) return;
    ASSERT_EQ(pair_up().exit_code, 0);
    expect_paired();
    EXPECT_EQ(pair().daemon("lb2").stop(), 0);
    EXPECT_EQ(pair().cli("lb2", {"unpair"}, 60s).exit_code, 5) << "without heartbeatd nothing is known";
    const Outcome kept = pair().cli("lb2", {"unpair", "--keep"}, 60s);
    EXPECT_EQ(kept.exit_code, 5) << "both would have the same addresses";
    EXPECT_THAT(kept.err, HasSubstr("lb1 serves the floating IPs just now")) << kept.out;
    EXPECT_NE(state_file("lb2", "peer.yaml"), "") << "nothing was changed";
    EXPECT_THAT(file("lb1", "cluster.yaml"), HasSubstr("web"));
    EXPECT_TRUE(lab_.holds("lb1", "10.77.0.210"));
}

// The peer's machine was replaced behind our back: its key is another one, and nothing is sent there.
TEST_F(Pairing, HostKeyChangedLater) {
    begin_apart();
    if (HasFatalFailure()) return;
    ASSERT_EQ(pair_up().exit_code, 0);
    sshd_.at("lb2")->new_host_key();
    const Outcome outcome = pair().cli("lb1", {"unpair"}, 60s);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("is not the one that was paired"));
    EXPECT_NE(state_file("lb2", "peer.yaml"), "") << "it was not told";
}

}  // namespace
}  // namespace lbcluster::lab
