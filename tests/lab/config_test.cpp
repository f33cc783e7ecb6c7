// Configuration on running nodes (RE-5): a good revision is applied, a bad one changes nothing and is told.
#include <filesystem>

#include "tests/lab/measure.hpp"
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Config : public PairTest {
  protected:
    std::string file(const std::string& node) { return pair().config_dir(node) + "/cluster.yaml"; }
    PairSpec with_second_address() {
        PairSpec spec = pair().spec();
        spec.floating_ips.emplace_back("10.77.0.201");
        return spec;
    }
};

TEST_F(Config, AHandEditOnTheActiveIsApplied) {
    begin({});
    if (HasFatalFailure()) return;
    write_file(file("lb1"), cluster_yaml(with_second_address()));
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.77.0.201"); }, 5s)) << pair().cli("lb1", {"status"}).out;
    write_file(file("lb1"), cluster_yaml(pair().spec()));
    EXPECT_TRUE(wait_until([&] { return !lab_.holds("lb1", "10.77.0.201"); }, 5s));
    expect_nobody_noticed();
}

// The file is a link into a folder that heartbeatd does not watch: only the signal tells it to look.
TEST_F(Config, SighupReloads) {
    begin({});
    if (HasFatalFailure()) return;
    const std::string folder = pair().config_dir("lb1") + "-elsewhere";
    std::filesystem::create_directory(folder);
    write_file(folder + "/cluster.yaml", cluster_yaml(pair().spec()));
    std::filesystem::create_symlink(folder + "/cluster.yaml", file("lb1") + ".link");
    std::filesystem::rename(file("lb1") + ".link", file("lb1"));
    std::this_thread::sleep_for(1s);  // that is noticed, and changes nothing
    write_file(folder + "/cluster.yaml", cluster_yaml(with_second_address()));
    std::this_thread::sleep_for(1s);
    EXPECT_FALSE(lab_.holds("lb1", "10.77.0.201"));
    pair().daemon("lb1").signal(SIGHUP);
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.77.0.201"); }, 5s));
    EXPECT_EQ(pair().daemon("lb1").starts(), 1U);
    expect_nobody_noticed();
}

// HA-3: the address of a virtual service is a floating IP by itself; one without a network here waits for it.
TEST_F(Config, AVirtualServicesAddressFloatsByItself) {
    PairSpec spec;
    spec.more =
        "virtual_services:\n"
        "  - {label: web, address: 10.77.0.210, ports: [80], real_servers: [{label: rs1, address: 10.77.0.21}]}\n"
        "  - {label: later, address: 10.66.0.5, ports: [80]}\n"
        "  - {label: off, address: 10.77.0.211, ports: [80], enabled: false}\n";
    begin(spec);
    if (HasFatalFailure()) return;
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.77.0.210"); }, 3s));
    Prober service(lab_.host("client"), pair().service(), "10.77.0.210");
    EXPECT_TRUE(service.wait_answers("lb1", 5s));
    EXPECT_FALSE(lab_.holds("lb1", "10.77.0.211"));
    for (const char* alarm : {"no-interface/10.66.0.5", "services-not-served"}) {
        EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb1", alarm); }, 3s)) << alarm;
    }
    for (const char* node : {"lb1", "lb2"}) {
        lab_.ip(node, std::string("addr add 10.66.0.") + (node[2] == '1' ? "11" : "12") + "/24 dev eth0\n");
    }
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.66.0.5"); }, 5s));
    EXPECT_TRUE(wait_until([&] { return !pair().has_alarm("lb1", "no-interface/10.66.0.5"); }, 3s));
    EXPECT_TRUE(wait_until([&] { return !pair().has_alarm("lb2", "no-interface/10.66.0.5"); }, 3s));
    ASSERT_EQ(pair().cli("lb2", {"activate"}).exit_code, 0);
    for (const char* address : {"10.77.0.210", "10.66.0.5"}) {
        EXPECT_TRUE(wait_until([&] { return lab_.holds("lb2", address) && !lab_.holds("lb1", address); }, 3s))
            << address;
    }
    EXPECT_TRUE(service.wait_answers("lb2", 3s));
}

// The address of a heartbeat path that names no interface comes back: no reason to start anew.
TEST_F(Config, AnAddressThatComesAndGoesIsNoOtherLink) {
    PairSpec spec;
    spec.links = {LinkSpec::lan(), {"{local: 10.78.0.11, peer: 10.78.0.12}", "{local: 10.78.0.12, peer: 10.78.0.11}"}};
    begin(spec);
    if (HasFatalFailure()) return;
    const auto link = [&](const char* key) { return pair().status("lb1")["links"][1][key].text(); };
    ASSERT_TRUE(wait_until([&] { return link("state") == "up"; }, 5s));
    lab_.ip("lb1", "addr del 10.78.0.11/24 dev eth1\n");
    ASSERT_TRUE(wait_until([&] { return link("state") != "up"; }, 5s));
    ASSERT_EQ(pair().cli("lb1", {"floating-ip", "add", "10.77.0.202"}).exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.77.0.202"); }, 5s));
    lab_.ip("lb1", "addr add 10.78.0.11/24 dev eth1\n");
    EXPECT_TRUE(wait_until([&] { return link("state") == "up"; }, 5s));
    EXPECT_FALSE(has_event(pair(), "lb1", "restart", "links, node or key changed"));
    EXPECT_EQ(pair().daemon("lb1").starts(), 1U);
    expect_nobody_noticed();
}

TEST_F(Config, ABadRevisionChangesNothingAndIsTold) {
    begin({});
    if (HasFatalFailure()) return;
    write_file(file("lb1"), "heartbeat:\n  keepaliv: 100ms\nfloating_ips: []\n");
    pair().daemon("lb1").signal(SIGHUP);
    EXPECT_TRUE(wait_until([&] { return !pair().status("lb1")["config"]["error"].text().empty(); }, 5s));
    const std::string error = pair().status("lb1")["config"]["error"].text();
    EXPECT_NE(error.find("keepalive"), std::string::npos) << error;
    EXPECT_TRUE(lab_.holds("lb1", vip));
    const Outcome outcome = pair().cli("lb1", {"config", "check"});
    EXPECT_EQ(outcome.exit_code, 3);
    EXPECT_NE((outcome.out + outcome.err).find("cluster.yaml:2:3"), std::string::npos) << outcome.out << outcome.err;
    write_file(file("lb1"), cluster_yaml(pair().spec()));
    pair().daemon("lb1").signal(SIGHUP);
    EXPECT_TRUE(wait_until([&] { return pair().status("lb1")["config"]["error"].text().empty(); }, 5s));
    expect_nobody_noticed();
}

TEST_F(Config, ApplyHistoryDiffAndRollback) {
    begin({});
    if (HasFatalFailure()) return;
    const std::string draft = "/run/draft.yaml";
    write_file(draft, "# kept as it is\n" + cluster_yaml(with_second_address()));
    const double before = pair().status("lb1")["config"]["revision"].number();
    const Outcome applied = pair().cli("lb1", {"config", "apply", draft});
    ASSERT_EQ(applied.exit_code, 0) << applied.out << applied.err;
    EXPECT_TRUE(lab_.holds("lb1", "10.77.0.201")) << "apply waits until the daemons have it";
    EXPECT_EQ(read_file(file("lb1")), read_file(draft));
    EXPECT_GT(pair().status("lb1")["config"]["revision"].number(), before);
    EXPECT_EQ(pair().cli("lb1", {"config", "history"}).exit_code, 0);
    const Outcome diff = pair().cli("lb1", {"config", "diff", std::to_string(static_cast<int>(before))});
    EXPECT_NE(diff.out.find("10.77.0.201"), std::string::npos) << diff.out << diff.err;
    const Outcome back = pair().cli("lb1", {"config", "rollback", std::to_string(static_cast<int>(before))});
    EXPECT_EQ(back.exit_code, 0) << back.out << back.err;
    EXPECT_TRUE(wait_until([&] { return !lab_.holds("lb1", "10.77.0.201"); }, 5s));
    expect_nobody_noticed();
}

TEST_F(Config, ChangesAreRefusedOnThePassive) {
    begin({});
    if (HasFatalFailure()) return;
    const std::string draft = "/run/draft.yaml";
    write_file(draft, cluster_yaml(with_second_address()));
    const Outcome outcome = pair().cli("lb2", {"config", "apply", draft});
    EXPECT_EQ(outcome.exit_code, 5) << outcome.out << outcome.err;
    EXPECT_NE(outcome.err.find("lb1"), std::string::npos) << outcome.err;
    EXPECT_EQ(read_file(file("lb2")), cluster_yaml(pair().spec()));
}

TEST_F(Config, FloatingIpsAreAddedAndDeletedByTheCli) {
    begin({});
    if (HasFatalFailure()) return;
    const Outcome added = pair().cli("lb1", {"floating-ip", "add", "10.77.0.202"});
    EXPECT_EQ(added.exit_code, 0) << added.out << added.err;
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.77.0.202"); }, 5s));
    EXPECT_NE(pair().cli("lb1", {"floating-ip", "list"}).out.find("10.77.0.202"), std::string::npos);
    EXPECT_EQ(pair().cli("lb1", {"floating-ip", "delete", "10.77.0.202"}).exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return !lab_.holds("lb1", "10.77.0.202"); }, 5s));
    EXPECT_EQ(pair().cli("lb1", {"floating-ip", "add", "10.77.0.11"}).exit_code, 3) << "an interface's own address";
    expect_nobody_noticed();
}

TEST_F(Config, LinkLocalAddressesNeedAnInterface) {
    PairSpec spec;
    make(spec);
    const auto check = [&](const std::string& link, const std::string& ping_node) {
        spec.links = {{link, link}};
        spec.ping_nodes = {ping_node};
        write_file(pair().config_dir("lb1") + "/node.yaml", node_yaml(spec, "lb1"));
        write_file(file("lb1"), cluster_yaml(spec));
        const Outcome outcome = pair().cli("lb1", {"config", "check"});
        return std::pair(outcome.exit_code, outcome.out + outcome.err);
    };
    const auto [code, text] = check("{local: 'fe80::11', peer: 'fe80::12'}", "10.77.0.1");
    EXPECT_EQ(code, 3) << text;
    EXPECT_NE(text.find("links[0].local"), std::string::npos) << text;
    EXPECT_EQ(check("{interface: eth0, local: 'fe80::11', peer: 'fe80::12'}", "10.77.0.1").first, 0);
    EXPECT_EQ(check("{interface: eth0, local: 'fe80::11', peer: 'fe80::12'}", "fe80::1").first, 3);
}

TEST_F(Config, WithoutDaemonTheCliSaysSo) {
    make({});
    const Outcome outcome = pair().cli("lb1", {"status"});
    EXPECT_EQ(outcome.exit_code, 4) << outcome.out << outcome.err;
    EXPECT_EQ(pair().cli("lb1", {"nonsense"}).exit_code, 2);
}

// One address more leaves the others alone: they are not announced again, and nobody loses anything.
TEST_F(Config, OneAddressMoreOrLessDoesNotTouchTheOthers) {
    PairSpec spec;
    for (int i = 1; i <= 40; ++i) spec.floating_ips.push_back("10.99.0." + std::to_string(i));
    begin(spec);
    if (HasFatalFailure()) return;
    std::this_thread::sleep_for(8s);  // the rounds of the first claim are over
    const SentPackets sent(lab_.host("lb1"), "eth0");
    const double term = pair().status("lb1")["node"]["term"].number();
    ASSERT_EQ(pair().cli("lb1", {"floating-ip", "add", "10.77.0.202"}).exit_code, 0);
    ASSERT_TRUE(lab_.holds("lb1", "10.77.0.202"));
    std::this_thread::sleep_for(300ms);
    ASSERT_EQ(pair().cli("lb1", {"floating-ip", "delete", "10.77.0.202"}).exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return !lab_.holds("lb1", "10.77.0.202"); }, 2s));
    std::this_thread::sleep_for(300ms);
    std::size_t own = 0;
    std::size_t others = 0;
    for (const auto& one : sent.announcements()) ++(one.address == "10.77.0.202" ? own : others);
    EXPECT_GE(own, 2U) << "the new one must be announced";
    EXPECT_EQ(others, 0U) << "what stays must not be announced again";
    EXPECT_EQ(pair().status("lb1")["node"]["term"].number(), term);
    expect_nobody_noticed();
}

TEST_F(Config, TimersChangeLive) {
    begin({});
    if (HasFatalFailure()) return;
    const pid_t pid = pair().daemon("lb1").pid();
    PairSpec fast = pair().spec();
    fast.timers = timers_10_30;
    pair().write_cluster(fast);
    const auto heartbeats = [&](const std::string& node) { return counter_of(pair(), node, "sent"); };
    for (const char* node : {"lb1", "lb2"}) {
        EXPECT_TRUE(wait_until(
            [&] {
                const std::uint64_t before = heartbeats(node);
                std::this_thread::sleep_for(1s);
                return heartbeats(node) > before + 100;  // two links, 10 ms each, published once a second
            },
            8s))
            << node;
    }
    EXPECT_EQ(pair().daemon("lb1").pid(), pid);
    mark();
    pair().power_off("lb1");
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    expect_gap_at_most(50ms);
}

// A bad file on disk when the daemon starts: it goes on with the last one that was in force.
TEST_F(Config, ARestartWithABadFileGoesOnWithTheLastGoodOne) {
    begin({});
    if (HasFatalFailure()) return;
    write_file(file("lb1"), "floating_ips: [{address: nonsense}]\n");
    ASSERT_TRUE(wait_until([&] { return !pair().status("lb1")["config"]["error"].text().empty(); }, 5s));
    EXPECT_TRUE(has_event(pair(), "lb1", "config-refused", "nonsense"));
    const unsigned starts = pair().daemon("lb1").starts();
    pair().daemon("lb1").signal(SIGKILL);
    ASSERT_TRUE(wait_until([&] { return pair().daemon("lb1").starts() > starts; }, 2s));
    EXPECT_TRUE(pair().wait_settled("lb1"));
    EXPECT_FALSE(pair().status("lb1")["config"]["error"].text().empty());
    EXPECT_TRUE(pair().has_alarm("lb1", "config-invalid"));
    std::this_thread::sleep_for(4s);  // longer than a lease
    EXPECT_TRUE(lab_.holds("lb1", vip));
    expect_nobody_noticed();
}

// RE-5: a start with bad files goes on with a copy of good ones; that copy is no change and makes no revision.
TEST_F(Config, AStartWithABadFileMakesNoRevision) {
    begin({});
    if (HasFatalFailure()) return;
    ASSERT_TRUE(wait_until([&] { return pair().status("lb1")["config"]["revision"].number() >= 1; }, 5s));
    const std::string bad = "floating_ips: [{address: nonsense}]\n";
    write_file(file("lb1"), bad);
    ASSERT_TRUE(wait_until([&] { return !pair().status("lb1")["config"]["error"].text().empty(); }, 5s));
    const std::string history = pair().cli("lb1", {"config", "history"}).out;
    write_file(pair().state_dir("lb1") + "/applied/cluster.yaml", cluster_yaml(with_second_address()));
    const unsigned starts = pair().daemon("lb1").starts();
    pair().daemon("lb1").signal(SIGKILL);
    ASSERT_TRUE(wait_until([&] { return pair().daemon("lb1").starts() > starts; }, 2s));
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.77.0.201"); }, 5s));
    EXPECT_TRUE(pair().has_alarm("lb1", "config-invalid"));
    EXPECT_EQ(pair().cli("lb1", {"config", "history"}).out, history);
    EXPECT_EQ(read_file(file("lb1")), bad);
}

// RE-5: a hand edit becomes a revision, and can be gone back from.
TEST_F(Config, AHandEditBecomesARevision) {
    begin({});
    if (HasFatalFailure()) return;
    const double before = pair().status("lb1")["config"]["revision"].number();
    EXPECT_GE(before, 1);
    write_file(file("lb1"), cluster_yaml(with_second_address()));
    EXPECT_TRUE(wait_until([&] { return pair().status("lb1")["config"]["revision"].number() > before; }, 5s));
    ASSERT_EQ(pair().cli("lb1", {"config", "rollback", std::to_string(static_cast<int>(before))}).exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return !lab_.holds("lb1", "10.77.0.201"); }, 5s));
    expect_nobody_noticed();
}

// RE-4: a hand edit on the passive node is kept as a revision of its own and alarmed, and moves nothing.
TEST_F(Config, AHandEditOnThePassiveIsKeptAndAlarmed) {
    begin({});
    if (HasFatalFailure()) return;
    const double before = pair().status("lb2")["config"]["revision"].number();
    write_file(file("lb2"), cluster_yaml(with_second_address()));
    EXPECT_TRUE(wait_until([&] { return pair().status("lb2")["config"]["revision"].number() > before; }, 5s));
    const std::string history = pair().cli("lb2", {"config", "history"}).out;
    EXPECT_NE(history.find("hand edit"), std::string::npos) << history;
    for (const char* node : {"lb1", "lb2"}) {
        EXPECT_TRUE(wait_until([&] { return pair().has_alarm(node, "config-differs"); }, 5s)) << node;
    }
    EXPECT_EQ(read_file(file("lb1")), cluster_yaml(pair().spec())) << "it must not spread";
    EXPECT_FALSE(lab_.holds("lb1", "10.77.0.201") || lab_.holds("lb2", "10.77.0.201"));
    write_file(file("lb2"), cluster_yaml(pair().spec()));
    for (const char* node : {"lb1", "lb2"}) {
        EXPECT_TRUE(wait_until([&] { return !pair().has_alarm(node, "config-differs"); }, 8s)) << node;
    }
    EXPECT_TRUE(pair().wait_settled("lb1", 2s));
    expect_nobody_noticed();
    expect_never_two();
}

// It takes over with what was in force before.
TEST_F(Config, ABadHandEditOnThePassiveIsAlarmedAndTheOldStateTakesOver) {
    begin({});
    if (HasFatalFailure()) return;
    write_file(file("lb2"), "floating_ips: [{address: nonsense}]\n");
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb2", "config-invalid"); }, 5s));
    EXPECT_TRUE(has_event(pair(), "lb2", "config-refused", "nonsense"));
    EXPECT_FALSE(pair().has_alarm("lb1", "config-invalid"));
    EXPECT_TRUE(pair().wait_settled("lb1", 2s));
    expect_nobody_noticed();
    mark();
    pair().power_off("lb1");
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    expect_gap_at_most(1200ms);
    expect_never_two();
}

// HA-1: a key is changed on a running pair: the new one behind the old one on both, then before it, then alone.
TEST_F(Config, TheKeyChangesWithoutAGap) {
    begin({});
    if (HasFatalFailure()) return;
    const auto key_file = [&](const std::string& node) { return pair().state_dir(node) + "/keys/heartbeat.key"; };
    const auto times_changed = [&](const std::string& node) {
        const std::string text = pair().cli(node, {"events", "--json"}).out;
        std::size_t count = 0;
        for (auto at = text.find("keys-changed"); at != std::string::npos; at = text.find("keys-changed", at + 1))
            ++count;
        return count;
    };
    const std::string before = read_file(key_file("lb1"));
    const std::string cluster = before.substr(0, before.find('\n') + 1);
    const std::string old_key = before.substr(cluster.size());
    const std::string new_key = "key: " + std::string(62, 'a') + "01\n";
    const std::vector<unsigned> starts{pair().daemon("lb1").starts(), pair().daemon("lb2").starts()};
    const double term = pair().status("lb1")["node"]["term"].number();
    std::size_t changes = 0;
    for (const std::string& keys : {old_key + new_key, new_key + old_key, new_key}) {
        ++changes;
        for (const std::string node : {"lb1", "lb2"}) {
            write_file(key_file(node) + ".new", cluster + keys, 0600);
            std::filesystem::rename(key_file(node) + ".new", key_file(node));
            if (node == "lb1") pair().daemon(node).signal(SIGHUP);  // lb2 notices by itself
            ASSERT_TRUE(wait_until([&] { return times_changed(node) >= changes; }, 5s)) << node << " " << changes;
        }
    }
    std::this_thread::sleep_for(2s);  // longer than deadtime: a peer that is not understood is dead by then
    EXPECT_EQ(pair().status("lb1")["peer"]["state"].text(), "alive");
    EXPECT_EQ(counter_of(pair(), "lb1", "dropped_unknown-key"), 0U);
    EXPECT_EQ(pair().status("lb1")["node"]["term"].number(), term);
    EXPECT_EQ((std::vector<unsigned>{pair().daemon("lb1").starts(), pair().daemon("lb2").starts()}), starts);
    expect_nobody_noticed();
}

TEST_F(Config, EveryChangingVerbIsRefusedOnThePassive) {
    begin({});
    if (HasFatalFailure()) return;
    const std::string untouched = read_file(file("lb2"));
    const std::vector<std::vector<std::string>> verbs = {{"floating-ip", "add", "10.77.0.202"},
                                                         {"floating-ip", "delete", vip},
                                                         {"config", "rollback", "1"},
                                                         {"config", "reset"}};
    for (const auto& words : verbs) {
        const Outcome outcome = pair().cli("lb2", words);
        EXPECT_EQ(outcome.exit_code, 5) << words[0] << " " << words[1] << ": " << outcome.out << outcome.err;
        EXPECT_NE(outcome.err.find("lb1"), std::string::npos) << "the active node is named: " << outcome.err;
    }
    EXPECT_EQ(read_file(file("lb2")), untouched);
}

}  // namespace
}  // namespace lbcluster::lab
