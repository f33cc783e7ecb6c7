// healthd with real servers on real packets (HC-1 to HC-7; RE-4 on one node; OP-4): what a server does,
// what `lbcluster status` says of it and how soon; what must not be held against a server; what the history says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "tests/lab/backend.hpp"
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Health : public PairTest {
  protected:
    static constexpr const char* quick = "interval: 200ms, timeout: 150ms, fall: 2, rise: 2";

    // heartbeatd and healthd on lb1, which is alone.
    void begin(const std::string& services, PairSpec spec = {}) {
        spec.single = true;
        spec.more = "virtual_services:\n" + services;
        make(spec);
        pair().start();
        pair().healthd("lb1").start();
        ASSERT_TRUE(pair().wait_settled("lb1"));
    }
    static std::string web(const std::string& check, const std::string& servers =
                                                         "{label: rs1, address: 10.77.0.21}, "
                                                         "{label: rs2, address: 10.77.0.22}") {
        return "  - {label: web, address: 10.77.0.210, ports: [80], check: {" + check + "}, real_servers: [" + servers +
               "]}\n";
    }
    static std::string http(const std::string& more = quick) {
        return "type: negotiate, protocol: http, request: /health, " + more;
    }
    Json service(const std::string& label = "web") {
        const Json services = pair().status("lb1")["services"];
        for (std::size_t i = 0; i < services.size(); ++i) {
            if (services[i]["label"].text() == label) return services[i];
        }
        return {};
    }
    Json server(const std::string& label, const std::string& of = "web") {
        const Json servers = service(of)["servers"];
        for (std::size_t i = 0; i < servers.size(); ++i) {
            if (servers[i]["label"].text() == label) return servers[i];
        }
        return {};
    }
    std::string health(const std::string& label) { return server(label)["health"].text(); }
    std::string reason(const std::string& label) { return server(label)["reason"].text(); }
    ::testing::AssertionResult becomes(const std::string& label, const std::string& health, Nanoseconds limit = 4s) {
        if (wait_until([&] { return this->health(label) == health; }, limit, 10ms))
            return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << label << " is " << this->health(label) << ": " << reason(label);
    }
    ::testing::AssertionResult shows(const std::string& color, Nanoseconds limit = 4s) {
        if (wait_until([&] { return service()["color"].text() == color; }, limit, 10ms))
            return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << "the service is " << service()["color"].text();
    }
    // Lines of `lbcluster events` with these words.
    std::size_t told(const std::string& words) {
        const std::string all = pair().cli("lb1", {"events"}).out;
        std::size_t count = 0;
        for (std::size_t at = all.find(words); at != std::string::npos; at = all.find(words, at + 1)) ++count;
        return count;
    }
    ::testing::AssertionResult tells(const std::string& words, Nanoseconds limit = 5s) {
        if (wait_until([&] { return told(words) > 0; }, limit, 50ms)) return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << "not in the history: " << words << "\n"
                                             << pair().cli("lb1", {"events"}).out;
    }
    void TearDown() override {
        if (pair_) {
            // Sanitizers tell at an orderly end.
            if (std::getenv("LBCLUSTER_BIN_DIR") != nullptr) static_cast<void>(pair().healthd("lb1").stop());
            if (HasFailure()) std::printf("%s\n", pair().cli("lb1", {"status"}, 3s).out.c_str());
        }
        PairTest::TearDown();
    }

    Backend rs1_{lab_.host("rs1"), 80};
    Backend rs2_{lab_.host("rs2"), 80};
};

TEST_F(Health, ConnectIsTheDefault) {
    begin(web(quick));
    if (HasFatalFailure()) return;
    EXPECT_TRUE(becomes("rs1", "up"));
    EXPECT_TRUE(becomes("rs2", "up"));
    EXPECT_TRUE(shows("green"));
    rs1_.behave(Conduct::refuse);
    EXPECT_TRUE(becomes("rs1", "down"));
    EXPECT_THAT(reason("rs1"), ::testing::HasSubstr("refused"));
    EXPECT_TRUE(shows("yellow"));
    rs2_.behave(Conduct::refuse);
    EXPECT_TRUE(shows("red"));
    rs1_.behave(Conduct::answer);
    EXPECT_TRUE(becomes("rs1", "up"));
    EXPECT_TRUE(shows("yellow"));
    // A machine that is off: nobody answers at all.
    lab_.cable("rs1", "eth0", false);
    EXPECT_TRUE(becomes("rs1", "down"));
}

TEST_F(Health, EveryWayToBeIllHasItsReason) {
    begin(web(http("interval: 200ms, timeout: 150ms, fall: 2, rise: 1, expect_text: OK")));
    if (HasFatalFailure()) return;
    ASSERT_TRUE(becomes("rs2", "up"));
    const std::vector<std::pair<Conduct, std::string>> ways{
        {Conduct::refuse, "refused"},   {Conduct::hang, "150ms"}, {Conduct::reset, "reset"}, {Conduct::close, "closed"},
        {Conduct::cut_short, "closed"}, {Conduct::slow, "150ms"}, {Conduct::garbage, "HTTP"}};
    for (const auto& [conduct, words] : ways) {
        rs1_.answer(200);
        ASSERT_TRUE(becomes("rs1", "up"));
        rs1_.behave(conduct);
        ASSERT_TRUE(becomes("rs1", "down")) << words;
        EXPECT_TRUE(wait_until([&] { return reason("rs1").find(words) != std::string::npos; }, 2s, 20ms))
            << words << ": " << reason("rs1");
        std::printf("    %s\n", reason("rs1").c_str());
    }
    rs1_.answer(200);
    ASSERT_TRUE(becomes("rs1", "up"));
    rs1_.answer(503);
    ASSERT_TRUE(becomes("rs1", "down"));
    EXPECT_THAT(reason("rs1"), ::testing::HasSubstr("HTTP 503, wanted 2"));
    EXPECT_THAT(reason("rs1"), ::testing::HasSubstr("2 of 2"));
    rs1_.answer(200, "not well");
    EXPECT_TRUE(wait_until([&] { return reason("rs1").find("\"OK\"") != std::string::npos; }, 2s, 20ms))
        << reason("rs1");
    rs1_.behave(Conduct::endless);
    EXPECT_TRUE(wait_until(
        [&] {
            return reason("rs1").find("64 KiB") != std::string::npos ||
                   reason("rs1").find("65536") != std::string::npos ||
                   reason("rs1").find("\"OK\"") != std::string::npos;
        },
        2s, 20ms))
        << reason("rs1");
    EXPECT_EQ(health("rs1"), "down");
    EXPECT_EQ(health("rs2"), "up") << "it was not disturbed";
}

// HC-7: PaperCut. Exactly the one that answers 200 is up, the other is on standby; they swap.
TEST_F(Health, AnApplicationPairIsFollowedWithinAnIntervalAndATimeout) {
    rs2_.answer(503);
    begin(
        "  - {label: web, address: 10.77.0.210, ports: [80], check: {type: negotiate, protocol: http,\n"
        "      request: '/api/health/application-server/status?disk-threshold-mb=1&Authorization=secret1',\n"
        "      expect_status: [200], standby_status: [503], interval: 1s, timeout: 500ms, fall: 3, rise: 2},\n"
        "     real_servers: [{label: rs1, address: 10.77.0.21}, {label: rs2, address: 10.77.0.22}]}\n");
    if (HasFatalFailure()) return;
    EXPECT_TRUE(becomes("rs1", "up"));
    EXPECT_TRUE(becomes("rs2", "standby"));
    EXPECT_TRUE(shows("green"));
    EXPECT_THAT(
        rs1_.last_request(),
        ::testing::StartsWith(
            "GET /api/health/application-server/status?disk-threshold-mb=1&Authorization=secret1 HTTP/1.1\r\n"));
    EXPECT_THAT(rs1_.last_request(), ::testing::HasSubstr("\r\nHost: 10.77.0.210\r\n"));
    for (int i = 0; i < 3; ++i) {
        Backend& from = i % 2 == 0 ? rs1_ : rs2_;
        Backend& to = i % 2 == 0 ? rs2_ : rs1_;
        const TimePoint swapped = Clock::now();
        from.answer(503);
        to.answer(200);
        EXPECT_TRUE(becomes(i % 2 == 0 ? "rs1" : "rs2", "standby"));
        EXPECT_TRUE(becomes(i % 2 == 0 ? "rs2" : "rs1", "up"));
        EXPECT_LE(Clock::now() - swapped, 1s + 500ms + 700ms) << "the CLI needs some of it";  // noise of the machine
        EXPECT_TRUE(shows("green"));
    }
    // The secret stands in the file, and nowhere else.
    EXPECT_EQ(pair().log("lb1").find("secret1"), std::string::npos);
    EXPECT_EQ(pair().cli("lb1", {"status", "--json"}).out.find("secret1"), std::string::npos);
    EXPECT_EQ(pair().cli("lb1", {"check", "web"}).out.find("secret1"), std::string::npos);
}

// The first verdict comes quickly, also with long intervals.
TEST_F(Health, TheFirstVerdictDoesNotWaitForTheInterval) {
    rs2_.behave(Conduct::refuse);
    begin(web("interval: 10m, timeout: 1s"));
    if (HasFatalFailure()) return;
    EXPECT_TRUE(becomes("rs1", "up", 5s));
    EXPECT_TRUE(becomes("rs2", "down", 5s));
}

TEST_F(Health, ADeathIsSeenInTheTimeThatIsShown) {
    begin(web(http("interval: 500ms, timeout: 200ms, fall: 3, rise: 2")));
    if (HasFatalFailure()) return;
    ASSERT_TRUE(becomes("rs1", "up"));
    ASSERT_TRUE(becomes("rs2", "up"));
    const TimePoint died = Clock::now();
    rs1_.behave(Conduct::hang);
    ASSERT_TRUE(becomes("rs1", "down"));
    EXPECT_LE(Clock::now() - died, 3 * 500ms + 200ms + 700ms);  // fall x interval + timeout, and noise
}

// HC-5, RE-4: what the operator wishes is configuration; it stays through restarts of everything.
TEST_F(Health, DrainAndHaltSurviveRestarts) {
    begin(web(http()));
    if (HasFatalFailure()) return;
    ASSERT_TRUE(shows("green"));
    ASSERT_EQ(pair().cli("lb1", {"server", "drain", "web", "rs1"}).exit_code, 0);
    EXPECT_EQ(server("rs1")["state"].text(), "drain");
    EXPECT_EQ(service()["color"].text(), "green") << "who is offline by wish does not count";
    ASSERT_EQ(pair().cli("lb1", {"server", "halt", "web", "rs2"}).exit_code, 0);
    EXPECT_TRUE(shows("blue"));
    pair().healthd("lb1").signal(SIGKILL);
    pair().daemon("lb1").signal(SIGKILL);
    EXPECT_TRUE(
        wait_until([&] { return pair().healthd("lb1").starts() > 1 && pair().daemon("lb1").starts() > 1; }, 5s));
    EXPECT_TRUE(becomes("rs1", "up"));
    EXPECT_TRUE(becomes("rs2", "up")) << "it is probed all the same";
    EXPECT_EQ(server("rs1")["state"].text(), "drain");
    EXPECT_EQ(server("rs2")["state"].text(), "halt");
    EXPECT_TRUE(shows("blue"));
    ASSERT_EQ(pair().cli("lb1", {"server", "online", "web", "rs1"}).exit_code, 0);
    EXPECT_TRUE(shows("green"));
}

// healthd killed and started again: no service flaps, neither to unknown for good nor to down.
TEST_F(Health, AKilledDaemonForgetsNothing) {
    begin(web(http("interval: 2s, timeout: 1s, fall: 2, rise: 5")));
    if (HasFatalFailure()) return;
    ASSERT_TRUE(becomes("rs1", "up"));
    rs2_.answer(500);
    ASSERT_TRUE(becomes("rs2", "down", 8s));
    for (unsigned i = 1; i <= 5; ++i) {
        const TimePoint killed = Clock::now();
        pair().healthd("lb1").signal(SIGKILL);
        ASSERT_TRUE(wait_until([&] { return pair().healthd("lb1").starts() > i; }, 5s));
        const TimePoint end = Clock::now() + 1s;
        while (Clock::now() < end) {
            EXPECT_NE(health("rs1"), "down");
            EXPECT_NE(health("rs2"), "up");
        }
        EXPECT_TRUE(becomes("rs1", "up"));
        EXPECT_TRUE(becomes("rs2", "down"));
        // Remembered, not found anew: the verdicts are older than this life.
        const double life_ms = std::chrono::duration<double, std::milli>(Clock::now() - killed).count();
        EXPECT_GT(server("rs1")["age_ms"].number(), life_ms);
        EXPECT_GT(server("rs2")["age_ms"].number(), life_ms);
    }
}

// Our own cable: the servers did nothing.
TEST_F(Health, OurOwnCableIsNotHeldAgainstTheServers) {
    PairSpec spec;
    spec.ping_nodes = {"10.77.0.1"};
    begin(web(http()), spec);
    if (HasFatalFailure()) return;
    ASSERT_TRUE(becomes("rs1", "up"));
    ASSERT_TRUE(becomes("rs2", "up"));
    lab_.cable("lb1", "eth0", false);
    const TimePoint end = Clock::now() + 3s;
    while (Clock::now() < end) {
        EXPECT_NE(health("rs1"), "down");
        EXPECT_NE(health("rs2"), "down");
    }
    EXPECT_TRUE(tells("failures do not count against servers: no carrier on eth0"));
    EXPECT_EQ(told("went down"), 0U);
    lab_.cable("lb1", "eth0", true);
    rs1_.answer(500);
    EXPECT_TRUE(becomes("rs1", "down", 10s)) << "what happens afterwards counts again";
    EXPECT_TRUE(becomes("rs2", "up"));
    EXPECT_TRUE(tells("failures count against servers again"));
}

// The cables are fine, but beyond them nothing is: our ping nodes are gone with the servers.
TEST_F(Health, ASwitchThatDropsEverythingIsNotHeldAgainstTheServers) {
    PairSpec spec;
    spec.ping_nodes = {"10.77.0.1"};
    begin(web(http("interval: 1s, timeout: 500ms, fall: 4, rise: 1")), spec);
    if (HasFatalFailure()) return;
    ASSERT_TRUE(becomes("rs1", "up"));
    ASSERT_TRUE(becomes("rs2", "up"));
    ASSERT_TRUE(wait_until([&] { return pair().status("lb1")["ping_nodes"][0]["reachable"].truth(); }, 5s));
    lab_.drop("lb1", "eth0", "");
    EXPECT_TRUE(tells("failures do not count against servers: no ping node answers", 10s));
    const TimePoint end = Clock::now() + 6s;
    while (Clock::now() < end) {
        EXPECT_NE(health("rs1"), "down") << reason("rs1");
        EXPECT_NE(health("rs2"), "down") << reason("rs2");
    }
    lab_.heal("lb1");
    EXPECT_TRUE(tells("failures count against servers again", 10s));
    rs1_.answer(500);
    EXPECT_TRUE(becomes("rs1", "down", 10s));
    EXPECT_TRUE(becomes("rs2", "up"));
    EXPECT_EQ(told("server rs2 of web"), 0U);
}

// HC-3, HC-6: what is not a conversation with one port, in the daemon: composites, several ports, ping, programs,
// agents.
TEST_F(Health, CompositesPingsProgramsAndAgents) {
    Backend second(lab_.host("rs1"), 81);
    Backend agent(lab_.host("rs1"), 3333);
    agent.greet("50%\n");
    std::string programs = "/tmp/lab-check-XXXXXX";
    ASSERT_NE(::mkdtemp(programs.data()), nullptr);
    ::chmod(programs.c_str(), 0755);
    write_file(programs + "/check.sh", "#!/bin/sh\necho asked $1 $2 $3 $4\n[ $3 = 10.77.0.21 ]\n", 0755);
    std::string services;
    int number = 210;
    const auto add = [&](const std::string& label, const std::string& check) {
        services += "  - {label: " + label + ", address: 10.77.0." + std::to_string(number++) +
                    ", ports: [80], check: {" + check + ", interval: 500ms, timeout: 450ms, fall: 2, rise: 2" +
                    "}, real_servers: [{label: rs1, address: 10.77.0.21}, {label: rs2, address: 10.77.0.22}]}\n";
    };
    add("both", "all: [{type: connect}, {type: connect, port: 81}]");
    add("ports", "type: connect, port: [80, 81]");
    add("either", "any: [{type: connect, port: 81}, {type: connect}]");
    add("most", "at_least: {count: 2, of: [{type: connect}, {type: connect, port: 81}, {type: ping}]}");
    add("ping", "type: ping");
    add("program", "type: external, command: " + programs + "/check.sh");
    add("agent", "type: connect, feedback: {port: 3333, interval: 500ms}");
    begin(services);
    if (HasFatalFailure()) return;
    const auto is = [&](const std::string& service, const std::string& label, const std::string& health) {
        if (wait_until([&] { return server(label, service)["health"].text() == health; }, 5s, 20ms))
            return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure()
               << service << "/" << label << " is " << server(label, service)["health"].text() << ": "
               << server(label, service)["reason"].text();
    };
    for (const char* service : {"both", "ports", "either", "most", "ping", "program", "agent"}) {
        EXPECT_TRUE(is(service, "rs1", "up"));
    }
    for (const char* service : {"both", "ports", "program"}) EXPECT_TRUE(is(service, "rs2", "down"));
    for (const char* service : {"either", "most", "ping", "agent"}) EXPECT_TRUE(is(service, "rs2", "up"));
    EXPECT_THAT(server("rs2", "both")["reason"].text(), ::testing::HasSubstr("connect 81: "));
    const auto program = [&] { return server("rs2", "program")["reason"].text(); };
    EXPECT_TRUE(
        wait_until([&] { return program().find("asked 10.77.0.215 80 10.77.0.22 80") != std::string::npos; }, 5s, 20ms))
        << program();

    second.behave(Conduct::refuse);
    EXPECT_TRUE(is("both", "rs1", "down"));
    EXPECT_TRUE(is("ports", "rs1", "down"));
    EXPECT_TRUE(is("either", "rs1", "up"));
    EXPECT_TRUE(is("most", "rs1", "up"));
    rs1_.behave(Conduct::refuse);
    EXPECT_TRUE(is("either", "rs1", "down"));
    EXPECT_TRUE(is("most", "rs1", "down"));
    EXPECT_TRUE(is("ping", "rs1", "up"));
    rs1_.answer(200);
    lab_.cable("rs2", "eth0", false);
    EXPECT_TRUE(is("ping", "rs2", "down"));
    EXPECT_TRUE(is("ping", "rs1", "up"));
    lab_.cable("rs2", "eth0", true);

    const auto weighs = [&](double percent, const std::string& wish) {
        return wait_until(
            [&] {
                const Json one = server("rs1", "agent");
                return one["weight_percent"].number() == percent && one["feedback_state"].text() == wish;
            },
            5s, 20ms);
    };
    EXPECT_TRUE(weighs(50, ""));
    agent.greet("drain\n");
    EXPECT_TRUE(weighs(100, "drain"));
    agent.greet("up 75%\n");
    EXPECT_TRUE(weighs(75, ""));
    agent.greet("down\n");
    EXPECT_TRUE(weighs(100, "down"));
    EXPECT_TRUE(is("agent", "rs1", "up")) << "an agent never changes a verdict";
    agent.greet("12");  // without a newline: it ends when the agent closes
    EXPECT_TRUE(weighs(12, ""));
    agent.behave(Conduct::hang);
    EXPECT_TRUE(wait_until(
        [&] { return server("rs1", "agent")["feedback"].text().find("its last word counts") != std::string::npos; }, 8s,
        50ms))
        << server("rs1", "agent")["feedback"].text();
    EXPECT_EQ(server("rs1", "agent")["weight_percent"].number(), 12);
    EXPECT_THAT(server("rs2", "agent")["feedback"].text(), ::testing::HasSubstr("refused"));
    std::filesystem::remove_all(programs);
}

// OP-4: in the morning they find one line for each thing that happened, beside heartbeatd's.
TEST_F(Health, TheHistorySaysWhatHappenedToWhomAndWhy) {
    begin(web(http()));
    if (HasFatalFailure()) return;
    ASSERT_TRUE(becomes("rs1", "up"));
    ASSERT_TRUE(becomes("rs2", "up"));
    EXPECT_TRUE(tells("first look since the start: 2 of 2 servers up"));
    rs1_.answer(500);
    EXPECT_TRUE(tells("server rs1 of web (10.77.0.21 port 80) went down: HTTP 500, wanted 2"));
    rs2_.behave(Conduct::refuse);
    EXPECT_TRUE(tells("server rs2 of web (10.77.0.22 port 80) went down: connect: connection refused"));
    EXPECT_TRUE(tells("web has no server left: 0 of 2 up"));
    rs2_.answer(200);
    EXPECT_TRUE(tells("server rs2 of web (10.77.0.22 port 80) came up: HTTP 200"));
    EXPECT_TRUE(tells("web has a server again: 1 of 2 up"));
    ASSERT_EQ(pair().cli("lb1", {"service", "set", "web", "check.expect_status=200,500"}).exit_code, 0);
    EXPECT_TRUE(tells("healthd: configuration revision 2 is in force, with 2 servers to check"));
    EXPECT_TRUE(tells("server rs1 of web (10.77.0.21 port 80) came up: HTTP 500"));
    EXPECT_EQ(told("went down"), 2U) << "a change of the check is no death";

    const auto lines = [&] { return pair().cli("lb1", {"events", "--json"}).out; };
    const std::string before = lines();
    const Json last = Json::parse(before.substr(before.rfind('\n', before.size() - 2) + 1));
    EXPECT_EQ(last["daemon"].text(), "healthd");
    EXPECT_EQ(last["inputs"]["service"].text(), "web");
    EXPECT_EQ(last["inputs"]["server"].text(), "rs1");
    EXPECT_THAT(before, ::testing::HasSubstr(R"("kind":"became-active")")) << "heartbeatd's are there as well";
    pair().healthd("lb1").signal(SIGKILL);
    ASSERT_TRUE(wait_until([&] { return pair().healthd("lb1").starts() > 1; }, 5s));
    ASSERT_TRUE(becomes("rs1", "up"));
    EXPECT_EQ(lines(), before) << "a restart is no event, and nothing is forgotten";
    static_cast<void>(pair().healthd("lb1").stop());
    const Outcome without = pair().cli("lb1", {"events", "--json"});
    EXPECT_EQ(without.exit_code, 0);
    EXPECT_EQ(without.out, before);
    EXPECT_THAT(without.err, ::testing::HasSubstr("healthd is not running"));
}

// OP-4: a thousand servers that die together leave room for what else happened.
TEST_F(Health, AThousandDeathsAreAFewLines) {
    Backend many(lab_.host("rs2"), 9000);
    Backend::redirect(lab_.host("rs2"), 20000, 20999, 9000);
    std::string services = web(http()) +
                           "  - label: farm\n    address: 10.77.0.220\n    ports: [80]\n    method: nat\n"
                           "    check: {type: connect, interval: 1s, timeout: 500ms, fall: 2}\n    real_servers:\n";
    for (int i = 0; i < 1000; ++i) {
        services += "      - {label: d" + std::to_string(i) +
                    ", address: 10.77.0.22, port: " + std::to_string(20000 + i) + "}\n";
    }
    begin(services);
    if (HasFatalFailure()) return;
    ASSERT_TRUE(tells("first look since the start: 1002 of 1002 servers up", 20s));
    many.behave(Conduct::refuse);
    ASSERT_TRUE(tells("farm has no server left: 0 of 1000 up", 20s));
    EXPECT_GE(told("of 1000 servers of farm went down: "), 1U);
    EXPECT_LE(told("went down"), 30U);
    rs1_.answer(500);
    EXPECT_TRUE(tells("server rs1 of web (10.77.0.21 port 80) went down: HTTP 500", 10s));
}

// A stopped healthd: its verdicts are old, not wrong; after it goes on nobody is down for the time that it stood still.
TEST_F(Health, AStallIsNotHeldAgainstTheServers) {
    begin(web(http()));
    if (HasFatalFailure()) return;
    ASSERT_TRUE(becomes("rs1", "up"));
    ASSERT_TRUE(becomes("rs2", "up"));
    for (int i = 0; i < 3; ++i) {
        pair().healthd("lb1").signal(SIGSTOP);
        std::this_thread::sleep_for(700ms);  // the fault itself
        pair().healthd("lb1").signal(SIGCONT);
        const TimePoint end = Clock::now() + 800ms;
        while (Clock::now() < end) {
            EXPECT_NE(health("rs1"), "down") << reason("rs1");
            EXPECT_NE(health("rs2"), "down") << reason("rs2");
        }
    }
}

// Nothing stays green because the checker hangs.
TEST_F(Health, AHangingCheckerIsShown) {
    begin(web(http()));
    if (HasFatalFailure()) return;
    ASSERT_TRUE(shows("green"));
    ASSERT_TRUE(tells("first look since the start"));
    pair().healthd("lb1").signal(SIGSTOP);
    const Json hanging = pair().status("lb1");
    EXPECT_EQ(hanging["services"][0]["color"].text(), "red");
    EXPECT_EQ(hanging["services"][0]["servers"][0]["health"].text(), "unknown");
    EXPECT_TRUE(hanging["daemons"][1]["stale"].truth());
    EXPECT_TRUE(hanging["daemons"][1]["running"].truth());
    EXPECT_THAT(pair().cli("lb1", {"status"}).out, ::testing::HasSubstr("healthd does not answer"));
    const Outcome events = pair().cli("lb1", {"events"});
    EXPECT_EQ(events.exit_code, 0);
    EXPECT_THAT(events.out, ::testing::HasSubstr("first look since the start")) << "from its file";
    EXPECT_THAT(events.err, ::testing::HasSubstr("healthd"));
    pair().healthd("lb1").signal(SIGCONT);
    EXPECT_TRUE(shows("green"));
}

// The same definition for the same server is asked once, however many services use it.
TEST_F(Health, SharedChecksAreAskedOnce) {
    const std::string check = "check: {" + http("host: app.example, interval: 500ms, timeout: 400ms") + "}";
    std::string services;
    for (int i = 0; i < 10; ++i) {
        services += "  - {label: s" + std::to_string(i) + ", address: 10.77.0.21" + std::to_string(i) +
                    ", ports: [80], " + check + ", real_servers: [{label: rs1, address: 10.77.0.21}]}\n";
    }
    begin(services);
    if (HasFatalFailure()) return;
    ASSERT_TRUE(wait_until([&] { return server("rs1", "s9")["health"].text() == "up"; }, 5s));
    const std::uint64_t before = rs1_.accepted();
    std::this_thread::sleep_for(3s);
    const std::uint64_t asked = rs1_.accepted() - before;
    EXPECT_GE(asked, 5U);
    EXPECT_LE(asked, 9U);
}

// A bad revision changes nothing; a good one is taken up without a flap.
TEST_F(Health, ChangesOfTheConfigurationAreTakenUp) {
    begin(web(http()));
    if (HasFatalFailure()) return;
    ASSERT_TRUE(shows("green"));
    PairSpec spec = pair().spec();
    spec.more = "virtual_services: [";
    pair().write_cluster(spec);
    EXPECT_TRUE(wait_until([&] { return !pair().status("lb1")["config"]["error"].text().empty(); }, 5s));
    rs1_.answer(500);
    EXPECT_TRUE(becomes("rs1", "down")) << "the old checks go on";
    rs1_.answer(200);
    spec.more = "virtual_services:\n" + web(http() + ", expect_status: [204]");
    pair().write_cluster(spec);
    EXPECT_TRUE(becomes("rs1", "down"));
    EXPECT_TRUE(wait_until([&] { return reason("rs1").find("wanted 204") != std::string::npos; }, 3s));
    ASSERT_EQ(pair().cli("lb1", {"service", "set", "web", "check.expect_status=200,204"}).exit_code, 0);
    EXPECT_TRUE(becomes("rs1", "up"));
    EXPECT_TRUE(becomes("rs2", "up"));
}

// HC-1 ... HC-4 for a person: one probe now, with what was sent and what came back.
TEST_F(Health, CheckShowsTheConversation) {
    rs2_.answer(503, "in maintenance");
    begin(web(http("interval: 10s, timeout: 1s")));
    if (HasFatalFailure()) return;
    ASSERT_TRUE(becomes("rs1", "up"));
    const Outcome good = pair().cli("lb1", {"check", "web", "rs1"});
    EXPECT_EQ(good.exit_code, 0) << good.err;
    EXPECT_THAT(good.out, ::testing::HasSubstr("GET /health HTTP/1.1"));
    EXPECT_THAT(good.out, ::testing::HasSubstr("HTTP/1.1 200"));
    const Outcome both = pair().cli("lb1", {"check", "web"});
    EXPECT_EQ(both.exit_code, 1);
    EXPECT_THAT(both.out, ::testing::HasSubstr("HTTP 503, wanted 2"));
    EXPECT_NE(pair().cli("lb1", {"check", "nothing"}).exit_code, 0);
    static_cast<void>(pair().healthd("lb1").stop());
    EXPECT_EQ(pair().cli("lb1", {"check", "web"}).exit_code, 4);
}

// Five thousand servers accept and never answer, all the time. Others are judged as if they were alone.
TEST_F(Health, FiveThousandSilentServersDisturbNobody) {
    Backend silent(lab_.host("rs2"), 9000);
    silent.behave(Conduct::hang);
    Backend::redirect(lab_.host("rs2"), 20000, 25999, 9000);
    std::string services = web(http());
    for (int s = 0; s < 5; ++s) {
        services += "  - label: dead" + std::to_string(s) + "\n    address: 10.77.0.22" + std::to_string(s) +
                    "\n    ports: [80]\n    method: nat\n"
                    "    check: {type: negotiate, protocol: http, interval: 2s, timeout: 1900ms}\n    real_servers:\n";
        for (int i = 0; i < 1000; ++i) {
            services += "      - {label: d" + std::to_string(i) +
                        ", address: 10.77.0.22, port: " + std::to_string(20000 + s * 1000 + i) + "}\n";
        }
    }
    begin(services);
    if (HasFatalFailure()) return;
    EXPECT_TRUE(becomes("rs1", "up"));
    ASSERT_TRUE(wait_until([&] { return silent.accepted() >= 5000; }, 30s, 50ms)) << silent.accepted();
    ASSERT_TRUE(wait_until([&] { return service("dead4")["color"].text() == "red"; }, 30s, 100ms));
    for (int i = 0; i < 2; ++i) {
        rs1_.answer(500);
        EXPECT_TRUE(becomes("rs1", "down", 6s));
        rs1_.answer(200);
        EXPECT_TRUE(becomes("rs1", "up", 6s));
        EXPECT_EQ(health("rs2"), "up");
    }
    EXPECT_EQ(pair().healthd("lb1").starts(), 1U);
}

}  // namespace
}  // namespace lbcluster::lab
