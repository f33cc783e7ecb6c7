// Layer 7 with real daemons, a real HAProxy and clients that ask through the virtual IP (L7-1 to L7-3, L7-7, HC-5,
// HA-8; issue 6). Requests under way all the time: what costs one is seen.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <regex>
#include <set>

#include "tests/lab/backend.hpp"
#include "tests/lab/pair_test.hpp"
#include "tests/lab/requests.hpp"
#include "tests/lab/tcp.hpp"

namespace lbcluster::lab {
namespace {

using ::testing::HasSubstr;

constexpr const char* web_address = "10.77.0.210";
// Beside it; TcpService answers with its host's name.
constexpr const char* echo_service =
    "  - label: echo\n"
    "    address: 10.77.0.210\n"
    "    ports: [7778]\n"
    "    method: proxy\n"
    "    persistence: {source_ip: {timeout: 30m}}\n"
    "    check: {interval: 200ms, timeout: 150ms, fall: 2, rise: 2}\n"
    "    real_servers: [{label: rs1, address: 10.77.0.21}, {label: rs2, address: 10.77.0.22}]\n";

class Proxy : public PairTest {
  protected:
    void SetUp() override {
        rs1_.answer(200, "rs1");
        rs2_.answer(200, "rs2");
    }
    // `more`: further keys of the service.
    static PairSpec spec_of(const std::string& more, const std::string& after = "") {
        PairSpec spec;
        spec.more =
            "virtual_services:\n"
            "  - label: web\n"
            "    address: 10.77.0.210\n"
            "    ports: [80]\n"
            "    method: proxy\n" +
            more +
            "    check: {interval: 200ms, timeout: 150ms, fall: 2, rise: 2}\n"
            "    real_servers: [{label: rs1, address: 10.77.0.21}, {label: rs2, address: 10.77.0.22}]\n" +
            after;
        return spec;
    }
    void begin(PairSpec spec, bool single = true) {
        spec.single = single;
        make(spec);
        for (const char* node : {"lb1", "lb2"}) {
            if (single && std::string(node) == "lb2") continue;
            pair().start(node);
            pair().healthd(node).start();
            pair().forwarderd(node).start();
        }
        ASSERT_TRUE(pair().wait_settled("lb1"));
        ASSERT_TRUE(serves("rs1") && serves("rs2"));
    }
    // Somebody asks until that server has answered.
    ::testing::AssertionResult serves(const std::string& who, Nanoseconds limit = 10s) {
        Answer last;
        const bool served = wait_until(
            [&] {
                last = ask_http(lab_.host("client"), web_address, 80, "", 1s);
                return last.status == 200 && last.body == who;
            },
            limit, 10ms);
        if (served) return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << last.status << " " << last.body << "\n"
                                             << pair().cli("lb1", {"status"}).out << pair().log("lb1");
    }
    void load() { requests_.emplace(lab_.host("client"), web_address, 80); }
    // Requests from now on go to these alone.
    ::testing::AssertionResult only(const std::string& who, Nanoseconds limit = 5s) {
        const bool so = wait_until(
            [&] {
                requests_->mark();
                return requests_->wait_asked(100) && requests_->report().answered[who] >= 100 &&
                       requests_->report().answered.size() == 1;
            },
            limit, 1ms);
        if (so) return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << requests_->report().text();
    }
    void expect_no_failure() {
        ASSERT_TRUE(requests_->wait_asked(100));
        const RequestReport report = requests_->report();
        EXPECT_EQ(report.failed, 0U) << report.text();
        std::printf("    clients: %s\n", report.text().c_str());
    }
    double counter(const std::string& name, const std::string& node = "lb1") {
        return pair().status(node)["forwarding"]["counters"][name].number();
    }
    // What the node's HAProxy answers at its runtime socket.
    std::string ask_haproxy(const std::string& node, const std::string& command) {
        return ask_unix(pair().run_dir(node) + "/haproxy.sock", command);
    }
    double haproxy_pid(const std::string& node = "lb1") {
        return pair().status(node)["forwarding"]["proxy"]["pid"].number();
    }
    Json service(const std::string& node = "lb1") { return pair().status(node)["services"][0]; }
    ::testing::AssertionResult does(const std::vector<std::string>& words) {
        const Outcome done = pair().cli("lb1", words);
        if (done.ok()) return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << done.exit_code << " " << done.out << done.err;
    }
    void TearDown() override {
        requests_.reset();
        if (pair_) {
            for (const char* node : {"lb1", "lb2"}) static_cast<void>(pair().forwarderd(node).stop());
        }
        PairTest::TearDown();
    }

    Backend rs1_{lab_.host("rs1"), 80};
    Backend rs2_{lab_.host("rs2"), 80};
    std::optional<Requests> requests_;
};

TEST_F(Proxy, ServesAndTells) {
    begin(spec_of("    mode: http\n"));
    const Answer answer = ask_http(lab_.host("client"), web_address, 80);
    EXPECT_EQ(answer.status, 200U);
    EXPECT_THAT(rs1_.last_request() + rs2_.last_request(), HasSubstr("x-forwarded-for: 10.77.0.100"));  // L7-4
    ASSERT_TRUE(wait_until([&] { return service()["forwarding"]["connections_total"].number() > 0; }, 5s, 50ms))
        << pair().cli("lb1", {"status", "--json"}).out;
    EXPECT_EQ(service()["forwarding"]["state"].text(), "served");
    EXPECT_GT(service()["forwarding"]["bytes_out"].number(), 0);
    EXPECT_EQ(service()["servers"][0]["forwarding"]["state"].text(), "served");
    EXPECT_EQ(service()["servers"][0]["forwarding"]["weight"].number(), 100);
    EXPECT_EQ(counter("proxy_starts"), 1);
    EXPECT_EQ(counter("proxy_reloads"), 0);
    EXPECT_FALSE(pair().has_alarm("lb1", "proxy-not-served"));
    EXPECT_FALSE(pair().has_alarm("lb1", "services-not-served"));
}

// Before healthd has seen it, only who had been accepted already is disappointed; after that nobody.
TEST_F(Proxy, AServerThatDiesIsLeft) {
    begin(spec_of("    mode: http\n"));
    load();
    ASSERT_TRUE(requests_->wait_asked(200));
    requests_->mark();
    rs2_.behave(Conduct::refuse);
    ASSERT_TRUE(wait_until([&] { return service()["servers"][1]["forwarding"]["state"].text() == "gone"; }, 5s));
    EXPECT_LE(requests_->report().failed, 8U) << requests_->report().text();  // one for each client
    requests_->mark();
    expect_no_failure();
    EXPECT_TRUE(only("rs1"));
    rs2_.behave(Conduct::answer);
    EXPECT_TRUE(wait_until([&] { return requests_->report().answered["rs2"] > 0; }, 5s));
    expect_no_failure();
    EXPECT_EQ(counter("proxy_reloads"), 0);
}

TEST_F(Proxy, DrainHaltAndWeightsNeedNoReloadAndCostNothing) {  // L7-7, HC-5
    begin(spec_of("    mode: http\n    scheduler: roundrobin\n"));
    load();
    ASSERT_TRUE(requests_->wait_asked(200));
    requests_->mark();
    ASSERT_TRUE(does({"server", "drain", "web", "rs1"}));
    EXPECT_EQ(requests_->report().failed, 0U) << requests_->report().text();
    EXPECT_TRUE(only("rs2"));
    ASSERT_TRUE(does({"server", "online", "web", "rs1"}));
    EXPECT_TRUE(wait_until([&] { return requests_->report().answered["rs1"] > 0; }, 5s));
    expect_no_failure();
    requests_->mark();
    ASSERT_TRUE(does({"server", "set", "web", "rs2", "weight=50"}));
    ASSERT_TRUE(wait_until([&] { return service()["servers"][1]["forwarding"]["weight"].number() == 50; }, 5s));
    expect_no_failure();
    requests_->mark();
    ASSERT_TRUE(requests_->wait_asked(900));
    const RequestReport halved = requests_->report();
    EXPECT_EQ(halved.failed, 0U) << halved.text();
    const double share = static_cast<double>(halved.answered.at("rs2")) / static_cast<double>(halved.asked);
    EXPECT_NEAR(share, 1.0 / 3, 0.05) << halved.text();
    EXPECT_EQ(counter("proxy_reloads"), 0);
    EXPECT_EQ(counter("proxy_starts"), 1);
}

TEST_F(Proxy, ServersMoveWithoutAReload) {  // L7-7
    Backend elsewhere(lab_.host("rs1"), 8080);
    elsewhere.answer(200, "moved");
    begin(spec_of("    mode: http\n"));
    load();
    ASSERT_TRUE(requests_->wait_asked(200));
    requests_->mark();
    ASSERT_TRUE(does({"server", "set", "web", "rs1", "port=8080"}));
    EXPECT_TRUE(wait_until([&] { return requests_->report().answered["moved"] > 0; }, 10s));
    EXPECT_TRUE(wait_until(
        [&] { return read_file(pair().run_dir("lb1") + "/haproxy.cfg").find("10.77.0.21:8080") != std::string::npos; },
        5s));
    // Its address, which another one had: what is known of that place counts.
    ASSERT_TRUE(does({"server", "set", "web", "rs1", "port="}));
    EXPECT_TRUE(wait_until([&] { return requests_->report().answered["rs1"] > 0; }, 10s));
    expect_no_failure();
    EXPECT_EQ(counter("proxy_reloads"), 0);
    EXPECT_EQ(counter("proxy_drifts"), 0);
    // Who finds a HAProxy with a server elsewhere moves it; what somebody else moves comes back.
    ask_haproxy("lb1", "set server web/rs1 addr 10.77.0.21 port 8080");
    EXPECT_TRUE(wait_until([&] { return counter("proxy_drifts") == 1; }, 10s));
    EXPECT_TRUE(serves("rs1"));
    EXPECT_EQ(counter("proxy_reloads"), 0);
    // A server of the other family is loaded.
    ASSERT_TRUE(does({"server", "set", "web", "rs1", "address=fd77::21"}));
    EXPECT_TRUE(wait_until([&] { return counter("proxy_reloads") == 1; }, 10s, 20ms));
    EXPECT_TRUE(serves("rs1"));
}

// Drain: sessions go on, and nobody new comes, not even who was there before. Halt: they end at once.
TEST_F(Proxy, DrainKeepsAndHaltEndsConnections) {  // L7-2, HC-5
    const TcpService echo({&lab_.host("rs1"), &lab_.host("rs2")});
    begin(spec_of("", echo_service));
    ASSERT_TRUE(wait_until([&] { return TcpSession(lab_.host("client"), web_address).alive(); }, 10s, 20ms));
    const TcpSession first(lab_.host("client"), web_address);
    const std::string& host = first.host();
    for (int i = 0; i < 4; ++i) EXPECT_EQ(TcpSession(lab_.host("client"), web_address).host(), host);
    ASSERT_TRUE(does({"server", "drain", "echo", host}));
    ASSERT_TRUE(wait_until([&] { return TcpSession(lab_.host("client"), web_address).host() != host; }, 5s, 20ms));
    const TcpSession second(lab_.host("client"), web_address);
    EXPECT_TRUE(second.alive());
    EXPECT_NE(second.host(), host);
    EXPECT_TRUE(first.wait_echoes(20, 5s));
    ASSERT_TRUE(does({"server", "halt", "echo", host}));
    EXPECT_TRUE(wait_until([&] { return !first.alive(); }, 5s));
    EXPECT_TRUE(second.wait_echoes(20, 5s));
    EXPECT_EQ(counter("proxy_reloads"), 0);
    // What is left in the worker of before a reload is halted as well.
    ASSERT_TRUE(does({"service", "set", "echo", "timeouts.client=77s"}));
    ASSERT_TRUE(wait_until([&] { return counter("proxy_reloads") == 1; }, 10s, 20ms));
    EXPECT_TRUE(second.wait_echoes(20, 5s));
    ASSERT_TRUE(does({"server", "halt", "echo", second.host()}));
    EXPECT_TRUE(wait_until([&] { return !second.alive(); }, 5s));
}

TEST_F(Proxy, ChangesOfTheConfigurationCostNothing) {  // L7-7
    begin(spec_of("    mode: http\n"));
    load();
    ASSERT_TRUE(requests_->wait_asked(200));
    requests_->mark();
    const int reloads = std::getenv("LBCLUSTER_FULL") == nullptr ? 10 : 100;
    for (int i = 1; i <= reloads; ++i) {
        ASSERT_TRUE(does({"service", "set", "web", "timeouts.client=" + std::to_string(100 + i) + "s"}));
        ASSERT_TRUE(wait_until([&] { return counter("proxy_reloads") == i; }, 10s, 20ms));
    }
    expect_no_failure();
    EXPECT_EQ(counter("proxy_starts"), 1);
    // What is drained stays so through a reload.
    ASSERT_TRUE(does({"server", "drain", "web", "rs1"}));
    ASSERT_TRUE(only("rs2"));
    requests_->mark();
    ASSERT_TRUE(does({"service", "set", "web", "timeouts.client=77s"}));
    ASSERT_TRUE(wait_until([&] { return counter("proxy_reloads") == reloads + 1; }, 10s, 20ms));
    ASSERT_TRUE(requests_->wait_asked(300));
    EXPECT_EQ(requests_->report().answered.count("rs1"), 0U) << requests_->report().text();
    expect_no_failure();
}

TEST_F(Proxy, SurvivesForwarderd) {
    begin(spec_of("    mode: http\n"));
    const double pid = haproxy_pid();
    ASSERT_GT(pid, 0);
    ASSERT_TRUE(does({"server", "drain", "web", "rs1"}));
    load();
    ASSERT_TRUE(only("rs2"));
    requests_->mark();
    pair().forwarderd("lb1").signal(SIGKILL);
    ASSERT_TRUE(wait_until([&] { return pair().forwarderd("lb1").starts() == 2 && counter("proxy_found") == 1; }, 10s));
    EXPECT_EQ(haproxy_pid(), pid);
    // It is ours again: a change gets through.
    ASSERT_TRUE(does({"server", "online", "web", "rs1"}));
    EXPECT_TRUE(wait_until([&] { return requests_->report().answered["rs1"] > 0; }, 5s));
    expect_no_failure();
    EXPECT_EQ(counter("proxy_starts"), 0);
    EXPECT_EQ(counter("proxy_reloads"), 0);
    // A planned end leaves it, too.
    requests_->mark();
    EXPECT_EQ(pair().forwarderd("lb1").stop(), 0);
    ASSERT_TRUE(requests_->wait_asked(300));
    expect_no_failure();
}

TEST_F(Proxy, KilledHaproxyIsBackWithinASecond) {
    begin(spec_of("    mode: http\n"));
    ASSERT_TRUE(does({"server", "drain", "web", "rs1"}));
    for (int i = 1; i <= 2; ++i) {
        const double pid = haproxy_pid();
        ASSERT_GT(pid, 0);
        const TimePoint killed = Clock::now();
        // The master alone, then with its workers, which are in its process group.
        must_run(&lab_.host("lb1"),
                 {"kill", "-KILL", "--", (i == 1 ? "" : "-") + std::to_string(static_cast<int>(pid))});
        ASSERT_TRUE(wait_until([&] { return ask_http(lab_.host("client"), web_address, 80, "", 300ms).body == "rs2"; },
                               5s, 1ms));
        EXPECT_LT((Clock::now() - killed) / 1ms, 1000);
        ASSERT_TRUE(wait_until([&] { return haproxy_pid() > 0 && haproxy_pid() != pid; }, 5s, 20ms));
        EXPECT_EQ(counter("proxy_starts"), i + 1);
    }
    // Administrative states are as before.
    load();
    EXPECT_TRUE(only("rs2"));
}

TEST_F(Proxy, ThePeerTakesOverFromANodeWhoseHaproxyCannotBeStarted) {
    make(spec_of("    mode: http\n"));
    const std::string program = pair().config_dir("lb1") + ".haproxy";
    std::filesystem::create_symlink("/usr/sbin/haproxy", program);
    for (const std::string node : {"lb1", "lb2"}) {
        pair().start(node);
        pair().healthd(node).start();
        if (node == "lb1") ::setenv("LBCLUSTER_HAPROXY", program.c_str(), 1);
        pair().forwarderd(node).start();
        ::unsetenv("LBCLUSTER_HAPROXY");
    }
    ASSERT_TRUE(pair().wait_settled("lb1"));
    ASSERT_TRUE(serves("rs1"));
    ASSERT_TRUE(wait_until([&] { return haproxy_pid("lb2") > 0; }, 10s, 20ms));
    std::filesystem::remove(program);
    must_run(&lab_.host("lb1"), {"kill", "-KILL", "--", "-" + std::to_string(static_cast<int>(haproxy_pid()))});
    ASSERT_TRUE(wait_until([&] { return pair().activity("lb2") == "active"; }, 20s)) << pair().log("lb1");
    EXPECT_TRUE(serves("rs1"));
    EXPECT_TRUE(pair().has_alarm("lb1", "no-haproxy"));
    EXPECT_EQ(pair().activity("lb1"), "passive");
    // It is as fit again as soon as the program is there; that alone moves nothing.
    std::filesystem::create_symlink("/usr/sbin/haproxy", program);
    EXPECT_TRUE(wait_until([&] { return haproxy_pid() > 0 && !pair().has_alarm("lb1", "no-haproxy"); }, 15s, 50ms));
    EXPECT_EQ(pair().activity("lb2"), "active");
}

TEST_F(Proxy, TheOtherNodeServesAtOnce) {  // warm standby: it is bound before the address is there
    begin(spec_of("    mode: http\n"), false);
    ASSERT_TRUE(
        wait_until([&] { return service("lb2")["servers"][1]["forwarding"]["state"].text() == "served"; }, 10s));
    load();
    ASSERT_TRUE(requests_->wait_asked(100));
    pair().power_off("lb1");
    ASSERT_TRUE(wait_until([&] { return pair().activity("lb2") == "active"; }, 10s));
    EXPECT_EQ(ask_http(lab_.host("client"), web_address, 80, "", 500ms).status, 200U);  // at once
    // Requests that lb1 had are lost with it: others begin.
    requests_.reset();
    load();
    ASSERT_TRUE(requests_->wait_asked(500));
    expect_no_failure();
    EXPECT_EQ(counter("proxy_starts", "lb2"), 1);
    EXPECT_EQ(counter("proxy_reloads", "lb2"), 0);
}

TEST_F(Proxy, ClientsKeepTheirServerThroughReloadAndFailover) {  // L7-2, HA-8
    const TcpService echo({&lab_.host("rs1"), &lab_.host("rs2")});
    begin(spec_of("", echo_service), false);
    const std::vector<std::string> clients{"client", "gw", "obs", "relay"};
    const auto all_at = [&](const std::string& host) {
        return std::all_of(clients.begin(), clients.end(), [&](const std::string& one) {
            return TcpSession(lab_.host(one), web_address).host() == host;
        });
    };
    const auto knows_all = [&](const std::string& node) {
        return ask_haproxy(node, "show table echo").find("used:4") != std::string::npos;
    };
    // All of them come to rs1, which they would not of themselves.
    ASSERT_TRUE(does({"server", "drain", "echo", "rs2"}));
    ASSERT_TRUE(wait_until([&] { return all_at("rs1"); }, 10s, 50ms));
    ASSERT_TRUE(does({"server", "online", "echo", "rs2"}));
    const auto online = [&](const std::string& node) {
        return pair().status(node)["services"][1]["servers"][1]["forwarding"]["state"].text() == "served";
    };
    ASSERT_TRUE(wait_until([&] { return online("lb1"); }, 10s));
    EXPECT_TRUE(all_at("rs1"));
    // What a HAProxy has not yet learnt of others it does not teach its successor: 10 s after its first start.
    ASSERT_TRUE(wait_until(
        [&] { return std::regex_search(ask_haproxy("lb1", "show peers"), std::regex("flags=0x[0-9a-f]*3 resync")); },
        20s, 50ms));
    ASSERT_TRUE(does({"service", "set", "echo", "timeouts.client=77s"}));
    ASSERT_TRUE(wait_until([&] { return counter("proxy_reloads") == 1; }, 10s, 20ms));
    ASSERT_TRUE(wait_until([&] { return knows_all("lb1"); }, 5s));
    EXPECT_TRUE(all_at("rs1"));
    // The other node has no files of its own from that; it has to know both servers.
    ASSERT_TRUE(wait_until([&] { return online("lb2") && knows_all("lb2"); }, 10s));
    pair().power_off("lb1");
    ASSERT_TRUE(wait_until([&] { return TcpSession(lab_.host("client"), web_address).alive(); }, 10s, 20ms));
    EXPECT_TRUE(all_at("rs1"));
    EXPECT_TRUE(all_at("rs1"));
}

// By an application's cookie, the user of an RDP connection, and the session of TLS that ends at the servers.
TEST_F(Proxy, WhatApplicationsSayIsKnownAfterAFailoverToo) {  // L7-2, HA-8
    const TcpService echo({&lab_.host("rs1"), &lab_.host("rs2")});
    std::vector<pid_t> tls;
    for (const std::string host : {"rs1", "rs2"}) {
        must_run(nullptr, {"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + host, "-days",
                           "2", "-keyout", "/run/" + host + ".key", "-out", "/run/" + host + ".pem"});
        tls.push_back(spawn(&lab_.host(host), {{"openssl", "s_server", "-quiet", "-accept", "443", "-cert",
                                                "/run/" + host + ".pem", "-key", "/run/" + host + ".key", "-www"}}));
    }
    const auto with = [](const std::string& label, const std::string& port, const std::string& to,
                         const std::string& more) {
        return "  - label: " + label + "\n    address: 10.77.0.210\n    ports: [" + port +
               "]\n    method: proxy\n    scheduler: roundrobin\n    " + more +
               "\n    check: {interval: 200ms, timeout: 150ms, fall: 2, rise: 2}\n"
               "    real_servers: [{label: rs1, address: 10.77.0.21, port: " +
               to + "}, {label: rs2, address: 10.77.0.22, port: " + to + "}]\n";
    };
    begin(spec_of("    mode: http\n",
                  with("app", "83", "80", "mode: http\n    persistence: {cookie: {name: SID, existing: true}}") +
                      with("rdp", "3389", "7778", "persistence: {rdp_cookie: {}}") +
                      with("ssl", "443", "443", "persistence: {ssl_id: {}}")),
          false);
    const Namespace& client = lab_.host("client");
    const auto by_cookie = [&](const std::string& user) {
        return ask_http(client, web_address, 83, "Cookie: SID=" + user + "\r\n", 2s).body;
    };
    const auto by_user = [&](const std::string& user) {
        const std::string request = std::string("\x03\x00\x00\x2f\x2a\xe0\x00\x00\x00\x00\x00", 11) +
                                    "Cookie: mstshash=" + user + "\r\n" +
                                    std::string("\x01\x00\x08\x00\x03\x00\x00\x00", 8);
        return run(&client, {"timeout", "2", "socat", "-t", "0.3", "-", "TCP:10.77.0.210:3389"}, request)
            .out.substr(0, 3);
    };
    // A new session of TLS is kept in a file of the user's name, and taken up by it the next time.
    const auto by_session = [&](const std::string& user) {
        const std::string file = "/run/session-" + user;
        std::vector<std::string> words{"timeout", "3",        "openssl",         "s_client",  "-no_ticket",
                                       "-tls1_2", "-connect", "10.77.0.210:443", "-sess_out", file};
        if (std::filesystem::exists(file)) words.insert(words.end(), {"-sess_in", file});
        const std::string said = run(&client, words, "GET / HTTP/1.0\r\n\r\n").out;
        const std::size_t subject = said.find("CN = ");
        return subject == std::string::npos ? "" : said.substr(subject + 5, 3);
    };
    const std::map<std::string, std::function<std::string(const std::string&)>> ways{
        {"app", by_cookie}, {"rdp", by_user}, {"ssl", by_session}};
    std::map<std::string, std::string> served;
    for (const auto& [label, ask] : ways) {
        ASSERT_TRUE(wait_until([&, &ask = ask] { return ask("first").starts_with("rs"); }, 20s, 50ms)) << label;
        std::set<std::string> hosts;
        for (int i = 0; i < 8; ++i) {
            const std::string user = "u" + std::to_string(i);
            const std::string host = ask(user);
            served[label + " " + user] = host;
            hosts.insert(host);
            EXPECT_EQ(ask(user), host) << label << " " << user;
        }
        EXPECT_EQ(hosts, (std::set<std::string>{"rs1", "rs2"})) << label;
    }
    // "# table: app, type: string, size:204800, used:9"
    const auto known = [&](const std::string& node, const std::string& label) {
        const std::string table = ask_haproxy(node, "show table " + label);
        const std::size_t used = table.find("used:");
        return used == std::string::npos ? 0 : std::atoi(table.c_str() + used + 5);
    };
    for (const auto& [label, ask] : ways) {
        ASSERT_TRUE(wait_until(
            [&, &label = label] { return known("lb1", label) >= 9 && known("lb1", label) == known("lb2", label); }, 10s,
            50ms))
            << ask_haproxy("lb1", "show table " + label) << ask_haproxy("lb2", "show table " + label);
    }
    ASSERT_TRUE(wait_until(
        [&] {
            const Json all = pair().status("lb2")["services"];
            for (std::size_t i = 0; i < all.size(); ++i) {
                for (std::size_t s = 0; s < 2; ++s) {
                    if (all[i]["servers"][s]["forwarding"]["state"].text() != "served") return false;
                }
            }
            return all.size() == 4;
        },
        10s, 50ms));
    pair().power_off("lb1");
    ASSERT_TRUE(wait_until([&] { return by_cookie("u0").starts_with("rs"); }, 10s, 20ms));
    for (const auto& [label, ask] : ways) {
        for (int i = 0; i < 8; ++i) {
            const std::string user = "u" + std::to_string(i);
            EXPECT_EQ(ask(user), served[label + " " + user]) << label << " " << user;
        }
    }
    for (const pid_t pid : tls) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
}

TEST_F(Proxy, WithoutHaproxyThereIsAnAlarm) {
    must_run(nullptr, {"mount", "--bind", "/dev/null", "/usr/sbin/haproxy"});  // in this test's own namespace
    PairSpec spec = spec_of("");
    spec.single = true;
    make(spec);
    pair().start("lb1");
    pair().healthd("lb1").start();
    pair().forwarderd("lb1").start();
    ASSERT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "no-haproxy"); }, 10s, 50ms));
    EXPECT_THAT(pair().cli("lb1", {"status"}).out, HasSubstr("apt-get install haproxy"));
    EXPECT_EQ(service()["forwarding"]["state"].text(), "failed");
    must_run(nullptr, {"umount", "/usr/sbin/haproxy"});
    EXPECT_TRUE(serves("rs1"));
    EXPECT_TRUE(wait_until([&] { return !pair().has_alarm("lb1", "no-haproxy"); }, 5s, 50ms));
}

TEST_F(Proxy, FallbacksAnswerWhileNobodyElseCan) {  // L7-6
    rs1_.answer(200, "rs1");
    const std::string others =
        "  - {label: tcp, address: 10.77.0.210, ports: [81], method: proxy, fallback: page}\n"
        "  - {label: other, address: 10.77.0.210, ports: [82], method: proxy, fallback: {address: 10.77.0.21, port: "
        "80}}\n"
        "  - {label: chain, address: 10.77.0.210, ports: [83], method: proxy, fallback: {service: other, port: 82}}\n"
        "  - {label: four, address: 10.77.0.211, ports: [80], fallback: page}\n";
    begin(spec_of("    mode: http\n    fallback: page\n", others));
    const auto asked = [&](std::uint16_t port, const std::string& address = web_address) {
        const Answer answer = ask_http(lab_.host("client"), address, port);
        return std::to_string(answer.status) + " " + answer.body;
    };
    EXPECT_THAT(asked(81), HasSubstr("503 <!DOCTYPE html>"));
    EXPECT_THAT(asked(9081), HasSubstr("503 <!DOCTYPE html>"));
    EXPECT_EQ(asked(82), "200 rs1");
    EXPECT_EQ(asked(83), "200 rs1");
    // Where layer 4 delivers to this node. This kernel has no IPVS that would do more.
    EXPECT_THAT(asked(80, "10.77.0.211"), HasSubstr("503 <!DOCTYPE html>"));
    EXPECT_THAT(asked(80), HasSubstr("200 rs"));
    ASSERT_TRUE(does({"server", "halt", "web", "rs1"}));
    ASSERT_TRUE(does({"server", "halt", "web", "rs2"}));
    ASSERT_TRUE(wait_until([&] { return service()["forwarding"]["state"].text() == "fallback"; }, 5s));
    EXPECT_TRUE(wait_until([&] { return asked(80).starts_with("503 <!DOCTYPE html>"); }, 5s));
    // A page of one's own.
    std::filesystem::create_directories(pair().config_dir("lb1") + "/files");
    write_file(pair().config_dir("lb1") + "/files/fallback.html", "<p>ours</p>");
    EXPECT_TRUE(wait_until([&] { return asked(80) == "503 <p>ours</p>"; }, 10s, 50ms)) << asked(80);
    ASSERT_TRUE(does({"server", "online", "web", "rs2"}));
    EXPECT_TRUE(wait_until([&] { return asked(80) == "200 rs2"; }, 5s));
}

// Somebody else has the port: said in terms of the configuration, and tried again.
TEST_F(Proxy, WhatCannotBeLoadedChangesNothing) {
    begin(spec_of("    mode: http\n"));
    load();
    std::optional<Backend> squatter;
    squatter.emplace(lab_.host("lb1"), 8080);
    requests_->mark();
    ASSERT_TRUE(does({"service", "set", "web", "ports=80,8080"}));
    ASSERT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "proxy-not-as-wanted"); }, 15s, 50ms))
        << pair().cli("lb1", {"status", "--json"}).out;
    EXPECT_THAT(pair().status("lb1")["forwarding"]["proxy"]["error"].text(), HasSubstr("service 'web'"));
    ASSERT_TRUE(does({"server", "drain", "web", "rs1"}));
    EXPECT_TRUE(only("rs2"));
    expect_no_failure();
    squatter.reset();
    ASSERT_TRUE(does({"service", "set", "web", "ports=80,8080,8081"}));
    ASSERT_TRUE(wait_until([&] { return !pair().has_alarm("lb1", "proxy-not-as-wanted"); }, 15s, 50ms));
    EXPECT_EQ(ask_http(lab_.host("client"), web_address, 80).body, "rs2");
}

// The last service goes, and HAProxy with it.
TEST_F(Proxy, WithoutServicesItIsStopped) {
    begin(spec_of(""));
    ASSERT_TRUE(does({"service", "delete", "web"}));
    EXPECT_TRUE(wait_until([&] { return !pair().status("lb1")["forwarding"]["proxy"]["running"].truth(); }, 10s, 50ms));
    EXPECT_FALSE(pair().has_alarm("lb1", "proxy-failed"));
    EXPECT_EQ(run(&lab_.host("lb1"), {"pgrep", "-x", "haproxy"}).exit_code, 1);  // 1: none; another one: it cannot say
}

}  // namespace
}  // namespace lbcluster::lab
