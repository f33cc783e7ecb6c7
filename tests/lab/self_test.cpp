// The lab tests itself: what it says about gaps, answers and faults must be true before it judges anybody else.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <tuple>

#include "tests/lab/observer.hpp"
#include "tests/lab/pair.hpp"
#include "tests/lab/secrets.hpp"
#include "tests/lab/tcp.hpp"

namespace lbcluster::lab {
namespace {

const std::string vip = "10.77.0.200";

void add(const Lab& lab, const std::string& host, const std::string& address = vip + "/32") {
    lab.ip(host, "addr add " + address + " dev eth0\n");
}
void remove(const Lab& lab, const std::string& host) { lab.ip(host, "addr del " + vip + "/32 dev eth0\n"); }

// As a real take-over announces itself; arping is too slow for that.
void announce(const Lab& lab, const std::string& host) {
    must_run(&lab.host(host), {"arping", "-q", "-c", "1", "-A", "-I", "eth0", vip});
}

TEST(LabSelf, HostsReachEachOtherOnBothNetworks) {
    Lab lab;
    for (const char* target : {"10.77.0.11", "10.77.0.12", "10.77.0.1", "10.77.0.21", "fd77::12"})
        EXPECT_TRUE(run(&lab.host("client"), {"ping", "-c", "1", "-W", "2", target}).ok()) << target;
    EXPECT_TRUE(run(&lab.host("lb1"), {"ping", "-c", "1", "-W", "2", "10.78.0.12"}).ok());
    EXPECT_FALSE(run(&lab.host("client"), {"ping", "-c", "1", "-W", "1", "10.78.0.12"}).ok());
    EXPECT_TRUE(lab.holds("lb1", "10.77.0.11"));
    EXPECT_FALSE(lab.holds("lb1", vip));
}

TEST(LabSelf, ProberSeesAGapAndWhoAnswers) {
    Lab lab;
    EchoService service({&lab.host("lb1"), &lab.host("lb2")});
    add(lab, "lb1");
    Prober prober(lab.host("client"), service, vip);
    ASSERT_TRUE(prober.wait_answers("lb1", 5s));
    prober.mark();
    ASSERT_TRUE(prober.wait_answers("lb1", 5s, 500));
    const ProbeReport quiet = prober.report();
    EXPECT_EQ(quiet.lost, 0U) << quiet.text();
    prober.mark();
    remove(lab, "lb1");
    std::this_thread::sleep_for(300ms);
    add(lab, "lb2");
    announce(lab, "lb2");
    ASSERT_TRUE(prober.wait_answers("lb2", 5s));
    const ProbeReport report = prober.report();
    EXPECT_GE(report.longest_gap, 300ms) << report.text();
    EXPECT_LE(report.longest_gap, 900ms) << report.text();
    EXPECT_GE(report.lost, 250U) << report.text();
    EXPECT_EQ(report.before, "lb1");
    EXPECT_EQ(report.after, "lb2");
}

TEST(LabSelf, ProberSeesNoLossWhenAnAddressIsOnBothForAWhile) {
    Lab lab;
    EchoService service({&lab.host("lb1"), &lab.host("lb2")});
    add(lab, "lb1");
    Prober prober(lab.host("client"), service, vip);
    ASSERT_TRUE(prober.wait_answers("lb1", 5s));
    prober.mark();
    add(lab, "lb2");
    announce(lab, "lb2");
    ASSERT_TRUE(prober.wait_answers("lb2", 5s));
    remove(lab, "lb1");
    ASSERT_TRUE(prober.wait_answers("lb2", 5s, 200));
    const ProbeReport report = prober.report();
    EXPECT_EQ(report.lost, 0U) << report.text();
}

TEST(LabSelf, ProberReachesIpv6) {
    Lab lab;
    EchoService service({&lab.host("lb1"), &lab.host("lb2")});
    add(lab, "lb2", "fd77::200/128");
    Prober prober(lab.host("client"), service, "fd77::200");
    EXPECT_TRUE(prober.wait_answers("lb2", 5s));
}

TEST(LabSelf, ObserverSeesTwoAnswerers) {
    Lab lab;
    add(lab, "lb1");
    AddressObserver observer(lab.host("obs"), "eth0", vip);
    std::this_thread::sleep_for(300ms);
    const ObserverReport alone = observer.report();
    EXPECT_GT(alone.asked, 20U);
    EXPECT_EQ(alone.unanswered, 0U) << alone.text();
    EXPECT_EQ(alone.two_answered, 0U) << alone.text();
    EXPECT_EQ(alone.answering, std::set<std::string>{Lab::mac("lb1", "eth0")});
    observer.mark();
    add(lab, "lb2");
    announce(lab, "lb2");
    std::this_thread::sleep_for(300ms);
    const ObserverReport both = observer.report();
    EXPECT_GT(both.two_answered, 20U) << both.text();
    EXPECT_GE(both.two_answered_longest, 100ms) << both.text();
    EXPECT_GE(both.announcements.size(), 1U);
}

// What ndisc6's or the kernel's announcement would be; the daemons are not asked here.
TEST(LabSelf, ObserverSeesTwoAnswerersOfNeighborDiscovery) {
    Lab lab;
    add(lab, "lb1", "fd77::200/128");
    AddressObserver observer(lab.host("obs"), "eth0", "fd77::200");
    std::this_thread::sleep_for(300ms);
    const ObserverReport alone = observer.report();
    EXPECT_GT(alone.asked, 20U);
    EXPECT_EQ(alone.unanswered, 0U) << alone.text();
    EXPECT_EQ(alone.two_answered, 0U) << alone.text();
    EXPECT_EQ(alone.answering, std::set<std::string>{Lab::mac("lb1", "eth0")});
    EXPECT_TRUE(alone.announcements.empty());
    observer.mark();
    // The kernel announces an address that is added (RFC 4861 7.2.6).
    must_run(&lab.host("lb2"), {"sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/ndisc_notify"});
    add(lab, "lb2", "fd77::200/128");
    std::this_thread::sleep_for(300ms);
    const ObserverReport both = observer.report();
    EXPECT_GT(both.two_answered, 20U) << both.text();
    EXPECT_GE(both.two_answered_longest, 100ms) << both.text();
}

// A connection lives as long as its packets reach the host that accepted it, and no longer.
TEST(LabSelf, TcpSessionEndsWhenAnotherHostGetsItsPackets) {
    Lab lab;
    TcpService service({&lab.host("lb1"), &lab.host("lb2")});
    EXPECT_EQ(TcpSession(lab.host("client"), vip, 200ms).host(), "") << "nobody has the address";
    for (const std::string& address : {vip, std::string("fd77::200")}) {
        add(lab, "lb1", address.find(':') == std::string::npos ? address + "/32" : address + "/128");
        const TcpSession session(lab.host("client"), address, 2s);
        EXPECT_EQ(session.host(), "lb1") << address;
        EXPECT_TRUE(session.wait_echoes(20, 2s)) << address;
    }
    const TcpSession session(lab.host("client"), vip);
    ASSERT_TRUE(session.wait_echoes(5, 2s));
    remove(lab, "lb1");
    add(lab, "lb2");
    announce(lab, "lb2");
    EXPECT_TRUE(wait_until([&] { return !session.alive(); }, 5s));
    EXPECT_EQ(TcpSession(lab.host("client"), vip).host(), "lb2");
}

TEST(LabSelf, PulledCableTakesTheCarrier) {
    Lab lab;
    const auto carrier = [&] {
        return must_run(&lab.host("lb1"), {"ip", "-br", "link", "show", "eth0"}).find("NO-CARRIER") ==
               std::string::npos;
    };
    EXPECT_TRUE(wait_until(carrier, 2s));
    lab.cable("lb1", "eth0", false);
    EXPECT_TRUE(wait_until([&] { return !carrier(); }, 2s));
    EXPECT_FALSE(run(&lab.host("client"), {"ping", "-c", "1", "-W", "1", "10.77.0.11"}).ok());
    lab.cable("lb1", "eth0", true);
    EXPECT_TRUE(wait_until(carrier, 2s));
    EXPECT_TRUE(run(&lab.host("client"), {"ping", "-c", "1", "-W", "2", "10.77.0.11"}).ok());
}

TEST(LabSelf, DropsAreInOneDirectionAndHeal) {
    Lab lab;
    EchoService service({&lab.host("lb1")});
    Prober prober(lab.host("client"), service, "10.77.0.11");
    ASSERT_TRUE(prober.wait_answers("lb1", 5s));
    lab.drop("lb1", "eth0", "udp dport 7777", 30);
    prober.mark();
    std::this_thread::sleep_for(1s);
    const ProbeReport some = prober.report();
    EXPECT_GT(some.lost, some.sent / 5) << some.text();
    EXPECT_LT(some.lost, some.sent * 2 / 5) << some.text();
    lab.heal("lb1");
    prober.mark();
    ASSERT_TRUE(prober.wait_answers("lb1", 5s, 100));
    lab.drop("lb1", "eth0", "");
    std::this_thread::sleep_for(50ms);
    prober.mark();
    std::this_thread::sleep_for(200ms);
    const ProbeReport all = prober.report();
    EXPECT_EQ(all.lost, all.sent) << all.text();
}

TEST(LabSelf, InterfaceCanBeRemovedAndRestored) {
    Lab lab;
    lab.remove_interface("lb2", "eth0");
    EXPECT_FALSE(lab.holds("lb2", "10.77.0.12"));
    lab.restore_interface("lb2", "eth0");
    EXPECT_TRUE(lab.holds("lb2", "10.77.0.12"));
    EXPECT_TRUE(run(&lab.host("client"), {"ping", "-c", "1", "-W", "2", "10.77.0.12"}).ok());
}

TEST(LabSelf, SupervisorRestartsAtOnceUnlessTold) {
    Lab lab;
    Daemon daemon(lab.host("lb1"), {"sleep", "1000"}, "/run/sleep.log");
    daemon.start();
    const pid_t first = daemon.pid();
    ASSERT_GT(first, 0);
    std::this_thread::sleep_for(30ms);
    daemon.signal(SIGKILL);
    EXPECT_TRUE(wait_until([&] { return daemon.starts() == 2 && daemon.pid() > 0; }, 1s));
    EXPECT_NE(daemon.pid(), first);
    daemon.set_restart(false);
    std::this_thread::sleep_for(30ms);
    daemon.signal(SIGKILL);
    EXPECT_TRUE(wait_until([&] { return !daemon.running(); }, 1s));
    EXPECT_EQ(daemon.starts(), 2U);
    daemon.start();
    EXPECT_EQ(daemon.stop(), 128 + SIGTERM);
}

TEST(LabSelf, SecretsAreFoundInEveryForm) {
    Secrets secrets;
    secrets.add("the password", "open, sesame!");
    secrets.add_hex("the key", "00ff10e0c3a5b47788996655443322110102030405060708090a0b0c0d0e0f10");
    secrets.add_private_keys("the private key",
                             "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5v\n"
                             "-----END OPENSSH PRIVATE KEY-----\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI\n");
    secrets.add("a word", "web");
    const std::set<std::string> nothing;
    EXPECT_EQ(secrets.found_in("the password is not here; neither is web, nor ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"),
              nothing);
    EXPECT_EQ(secrets.found_in("login: open, sesame! failed"), std::set<std::string>{"the password"});
    EXPECT_EQ(secrets.found_in("6f70656e2c20736573616d6521"), std::set<std::string>{"the password in hex"});
    // "\0me\0open, sesame!", "1open, sesame!!" and "12open, sesame!", as base64(1) writes them.
    for (const char* text : {"AG1lAG9wZW4sIHNlc2FtZSE=", "MW9wZW4sIHNlc2FtZSEh", "MTJvcGVuLCBzZXNhbWUh"})
        EXPECT_EQ(secrets.found_in(text), std::set<std::string>{"the password in base64"}) << text;
    EXPECT_EQ(secrets.found_in("key 00FF10E0C3A5B47788996655443322110102030405060708090A0B0C0D0E0F10"),
              std::set<std::string>{"the key in hex"});
    EXPECT_EQ(secrets.found_in("{\"key\": \"AP8Q4MOltHeImWZVRDMiEQECAwQFBgcICQoLDA0ODxA=\"}"),
              std::set<std::string>{"the key in base64"});
    EXPECT_EQ(secrets.found_in("  b3BlbnNzaC1rZXktdjEAAAAABG5v"), std::set<std::string>{"the private key"});
}

TEST(LabSelf, SecretsInFilesThatOthersReadAreFound) {
    Secrets secrets;
    secrets.add("a heartbeat key", "0123456789");
    secrets.add("a configured password", "abcdefghij");
    const std::string folder = "/run/kept";
    std::filesystem::create_directories(folder + "/keys");
    std::filesystem::permissions(folder + "/keys", std::filesystem::perms(0700));
    write_file(folder + "/keys/heartbeat.key", "key: 0123456789\n", 0600);
    write_file(folder + "/cluster.yaml", "password: abcdefghij\n", 0640);
    write_file(folder + "/peer.yaml", "node: lb2\n", 0644);
    EXPECT_EQ(secrets.exposed_below(folder), std::set<std::string>{});
    for (const auto& [path, right, wrong] : {std::tuple{"/keys", 0700, 0750}, std::tuple{"/cluster.yaml", 0640, 0644},
                                             std::tuple{"/keys/heartbeat.key", 0600, 0640}}) {
        std::filesystem::permissions(folder + path, std::filesystem::perms(wrong));
        const auto exposed = secrets.exposed_below(folder);
        ASSERT_EQ(exposed.size(), 1U) << path;
        EXPECT_EQ(exposed.begin()->find(folder + path + ","), 0U) << *exposed.begin();
        std::filesystem::permissions(folder + path, std::filesystem::perms(right));
    }
}

TEST(LabSelf, SecretsThatProcessesShowAreFound) {
    Lab lab;
    Secrets secrets;
    secrets.add("the password", "open, sesame!");
    const auto watched = [&](const std::vector<std::string>& words, const std::vector<std::string>& env) {
        ProcessWatch watch(secrets);
        const pid_t pid = spawn(&lab.host("lb1"), {words, env});
        const bool seen =
            wait_until([&] { return read_file("/proc/" + std::to_string(pid) + "/comm") == "sleep\n"; }, 5s);
        const std::size_t before = watch.rounds();
        EXPECT_TRUE(seen && wait_until([&] { return watch.rounds() > before + 1; }, 5s));
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        return watch.end();
    };
    EXPECT_EQ(watched({"sleep", "60"}, {"OTHER=thing"}), std::set<std::string>{});
    EXPECT_FALSE(watched({"sleep", "60"}, {"PASSWORD=open, sesame!"}).empty());
    EXPECT_FALSE(watched({"bash", "-c", "exec -a 'open, sesame!' sleep 60"}, {}).empty());
}

TEST(LabSelf, LabsInOneProcessFollowEachOther) {
    for (int i = 0; i < 3; ++i) {
        Lab lab;
        EXPECT_TRUE(lab.holds("client", "10.77.0.100"));
    }
}

}  // namespace
}  // namespace lbcluster::lab
