#include "tests/lab/demo.hpp"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

#include "tests/lab/backend.hpp"
#include "tests/lab/observer.hpp"
#include "tests/lab/pair.hpp"

namespace lbcluster::lab {

namespace {

const char* const floating_ip = "10.77.0.200";
const char* const floating_ip6 = "fd77::200";

class Demo {
  public:
    Demo();
    int run();

  private:
    void chapter(const std::string& title);
    static void say(const std::string& text) { std::printf("  %s\n", text.c_str()); }
    // One line with a verdict; a failed one makes the demo fail.
    bool check(bool good, const std::string& what);
    void show(const std::string& node, const std::vector<std::string>& words);
    bool settled(const std::string& active, const std::string& what) { return check(pair_.wait_settled(active), what); }
    void crash();
    void come_back();
    void hand_over();
    void server_fails();
    void forwards();
    std::string health_of(const std::string& node, std::size_t server);

    const bool color_ = ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
    int failures_ = 0;
    Lab lab_;
    Backend rs1_{lab_.host("rs1"), 80};
    Backend rs2_{lab_.host("rs2"), 80};
    Pair pair_;
    std::optional<Prober> prober_;
    std::optional<AddressObserver> observer_;
};

PairSpec demo_spec() {
    PairSpec spec;
    spec.ping_nodes = {"10.77.0.1"};
    spec.floating_ips = {floating_ip, floating_ip6};
    spec.more =
        "virtual_services:\n"
        "  - label: web\n"
        "    address: 10.77.0.200\n"
        "    ports: [80]\n"
        "    method: snat\n"
        "    check: {type: negotiate, protocol: http, request: /health, interval: 500ms, timeout: 300ms}\n"
        "    real_servers: [{label: rs1, address: 10.77.0.21}, {label: rs2, address: 10.77.0.22}]\n";
    return spec;
}

Demo::Demo() : pair_(lab_, "/run/demo", demo_spec()) {}

void Demo::chapter(const std::string& title) {
    std::printf("\n%s== %s%s\n", color_ ? "\033[1m" : "", title.c_str(), color_ ? "\033[0m" : "");
    std::fflush(stdout);
}

bool Demo::check(bool good, const std::string& what) {
    const char* mark = good ? (color_ ? "\033[32mok\033[0m  " : "ok  ") : (color_ ? "\033[31mFAIL\033[0m" : "FAIL");
    std::printf("  %s %s\n", mark, what.c_str());
    std::fflush(stdout);
    if (!good) ++failures_;
    return good;
}

void Demo::show(const std::string& node, const std::vector<std::string>& words) {
    std::string line = node + " $ lbcluster";
    for (const auto& word : words) line += " " + word;
    std::printf("\n  %s\n", line.c_str());
    const Outcome outcome = pair_.cli(node, words);
    std::string text = outcome.out + outcome.err;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        std::printf("  | %s\n", text.substr(begin, end - begin).c_str());
        begin = end + 1;
    }
    if (!outcome.ok()) check(false, line + " ended with " + std::to_string(outcome.exit_code));
}

std::string in_ms(Nanoseconds time) { return std::to_string(time / 1ms) + " ms"; }

void Demo::crash() {
    chapter("lb1 loses power: cables dead, all processes gone, nothing said to anybody");
    prober_->mark();
    observer_->mark();
    pair_.power_off("lb1");
    check(prober_->wait_answers("lb2", 15s), "lb2 serves now");
    std::this_thread::sleep_for(2s);  // what comes after counts as well
    const ProbeReport report = prober_->report();
    say("the client saw: " + report.text());
    // deadtime 1 s + 2 x keepalive 100 ms (a ping node is configured: one keepalive of it is for that), + this
    // machine's noise
    check(report.longest_gap <= 1200ms + report.own_lateness + 20ms,
          "the client's gap is " + in_ms(report.longest_gap) + " (deadtime 1 s + 2 x keepalive 100 ms allows 1200 ms)");
    check(wait_until([&] { return pair_.activity("lb2") == "active"; }, 5s), "lb2 says that it is active");
    show("lb2", {"status"});
}

void Demo::come_back() {
    chapter("lb1 comes back: it finds lb2 serving and stays passive (auto_failback is off)");
    prober_->mark();
    pair_.power_on("lb1");
    settled("lb2", "lb1 is passive, lb2 serves on");
    std::this_thread::sleep_for(2s);  // what comes after counts as well
    const ProbeReport report = prober_->report();
    say("the client saw: " + report.text());
    check(report.lost == 0, "no probe lost");
}

void Demo::hand_over() {
    chapter("planned hand-over back to lb1");
    prober_->mark();
    show("lb1", {"activate"});
    settled("lb1", "lb1 serves");
    std::this_thread::sleep_for(2s);  // what comes after counts as well
    const ProbeReport report = prober_->report();
    say("the client saw: " + report.text());
    check(report.lost == 0, "no probe lost");
    const ObserverReport seen = observer_->report();
    say("an independent ARP observer, since the power cut: " + seen.text());
}

std::string Demo::health_of(const std::string& node, std::size_t server) {
    return pair_.status(node)["services"][0]["servers"][server]["health"].text();
}

void Demo::server_fails() {
    chapter("the application on rs1 fails: it answers 503");
    rs1_.answer(503);
    for (const char* node : {"lb1", "lb2"}) {
        check(wait_until([&] { return health_of(node, 0) == "down" && health_of(node, 1) == "up"; }, 5s, 20ms),
              std::string(node) + " sees rs1 down and rs2 up");
    }
    show("lb1", {"status"});
    const Outcome probe = pair_.cli("lb1", {"check", "web", "rs1"});
    check(probe.exit_code == 1, "lbcluster check web rs1 probes at once and shows the conversation");
    for (std::size_t begin = 0; begin < probe.out.size();) {
        const std::size_t end = std::min(probe.out.find('\n', begin), probe.out.size());
        std::printf("  | %s\n", probe.out.substr(begin, end - begin).c_str());
        begin = end + 1;
    }
    rs1_.answer(200);
    check(wait_until([&] { return health_of("lb1", 0) == "up"; }, 5s, 20ms), "rs1 is well again, and lb1 sees it");
}

void Demo::forwards() {
    chapter("the service itself: clients of 10.77.0.200 port 80 get answers from the real servers");
    const Json forwarding = pair_.status("lb1")["forwarding"];
    if (!forwarding["ipvs"].truth()) {
        say("this machine's kernel has no IPVS, so layer 4 is served to nobody and shown red, with the reason;");
        say("docs/ipvs-tests.md: the same in a virtual machine whose kernel has it");
        check(wait_until([&] { return pair_.has_alarm("lb1", "no-ipvs"); }, 12s), "lb1 says so in an alarm");
        return;
    }
    const auto asked = [&] { return rs1_.requests().size() + rs2_.requests().size(); };
    const std::size_t before = asked();
    std::size_t answers = 0;
    for (int i = 0; i < 20; ++i) {
        const Outcome page =
            lbcluster::lab::run(&lab_.host("client"),
                                {"bash", "-c",
                                 "exec 3<>/dev/tcp/10.77.0.200/80; printf 'GET /page HTTP/1.1\\r\\nHost: web\\r\\n"
                                 "\\r\\n' >&3; timeout 5 cat <&3"},
                                "", {}, 10s);
        if (page.out.find("200") != std::string::npos) ++answers;
    }
    check(answers == 20, std::to_string(answers) + " of 20 requests answered through the floating IP");
    check(asked() >= before + 20, "by the real servers");
}

int Demo::run() {
    chapter("A pair on this machine: lb1, lb2, a client, two real servers, a gateway");
    say("LAN 10.77.0.0/24, heartbeat network 10.78.0.0/24; floating IPs " + std::string(floating_ip) + " and " +
        floating_ip6);
    say("timers of profile lan: a heartbeat every 100 ms, deadtime 1 s; the gateway is the ping node");
    pair_.start();
    for (const char* node : {"lb1", "lb2"}) {
        pair_.healthd(node).start();
        pair_.forwarderd(node).start();
    }
    if (!settled("lb1", "lb1 (primary) is active and holds the addresses, lb2 is passive")) {
        show("lb1", {"status"});
        show("lb2", {"status"});
        std::printf("\nlog of lb1:\n%s\nlog of lb2:\n%s\n", pair_.log("lb1").c_str(), pair_.log("lb2").c_str());
        return 1;
    }
    show("lb1", {"status"});
    show("lb2", {"status"});

    prober_.emplace(lab_.host("client"), pair_.service(), floating_ip);
    observer_.emplace(lab_.host("obs"), "eth0", floating_ip);
    say("");
    if (!check(prober_->wait_answers("lb1", 5s),
               "a client asks " + std::string(floating_ip) + " every millisecond; lb1 answers"))
        return 1;
    crash();
    come_back();
    hand_over();
    forwards();
    server_fails();
    chapter("What happened, as the nodes recorded it");
    show("lb1", {"events"});
    show("lb2", {"events"});
    show("lb1", {"status"});
    if (failures_ == 0) std::printf("\ndemo: all as it should be\n");
    else std::printf("\ndemo: %d checks FAILED\n", failures_);
    return failures_ == 0 ? 0 : 1;
}

}  // namespace

int demo() {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    return Demo().run();
}

}  // namespace lbcluster::lab
