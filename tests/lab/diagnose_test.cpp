// `lbcluster diagnose` of real daemons (OP-4): a sound pair has nothing, and each fault is found as long as it lasts.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Some other program on a host: this test itself.
class Stranger {
  public:
    Stranger(const Namespace& host, int type, const char* address, std::uint16_t port) {
        host.run([&] {
            fd_ = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
            sockaddr_in at{};
            at.sin_family = AF_INET;
            at.sin_port = htons(port);
            ::inet_pton(AF_INET, address, &at.sin_addr);
            if (fd_ < 0 || ::bind(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) fail_errno("bind");
            if (type == SOCK_STREAM && ::listen(fd_, 1) != 0) fail_errno("listen");
        });
    }
    ~Stranger() { ::close(fd_); }
    Stranger(const Stranger&) = delete;
    Stranger& operator=(const Stranger&) = delete;
    static std::string text() {
        std::string name = read_file("/proc/self/comm");
        return "held by " + name.substr(0, name.find('\n')) + ", process " + std::to_string(::getpid()) + ":";
    }

  private:
    int fd_ = -1;
};

class Diagnose : public PairTest {
  protected:
    // With everything that has ports: services of layer 7, the fallback page and the statistics page.
    static PairSpec spec_of() {
        PairSpec spec;
        spec.ping_nodes = {"10.77.0.1"};
        spec.more =
            "virtual_services:\n"
            "  - label: web\n    address: 10.77.0.210\n    ports: [80]\n    method: proxy\n    fallback: page\n"
            "    check: {type: always_up}\n"
            "    real_servers: [{label: rs1, address: 10.77.0.21}]\n"
            "layer7: {statistics: {port: 7779, user: me, password: tell-nobody}}\n";
        return spec;
    }
    void start_all(const std::string& node) {
        pair().start(node);
        pair().healthd(node).start();
        pair().forwarderd(node).start();
    }
    // Both nodes with all they need, and nothing to be said of them.
    void begin_sound(const PairSpec& spec = spec_of()) {
        make(spec);
        for (const char* node : {"lb1", "lb2"}) start_all(node);
        ASSERT_TRUE(pair().wait_settled("lb1"));
        expect_sound();
    }
    void expect_sound() {
        for (const char* node : {"lb1", "lb2"})
            ASSERT_TRUE(wait_until([&] { return look(node) == 0; }, 40s, 100ms)) << text_;
        EXPECT_THAT(text_, HasSubstr("\"findings\": []"));
    }
    // Looks at a node; its findings by id, each as `text -> action`. Returns the exit code.
    int look(const std::string& node) {
        const Outcome outcome = pair().cli(node, {"diagnose", "--json"});
        text_ = outcome.out + outcome.err;
        found_.clear();
        const Json findings = Json::parse(outcome.out)["findings"];
        for (std::size_t i = 0; i < findings.size(); ++i)
            found_.emplace(findings[i]["id"].text(),
                           findings[i]["text"].text() + " -> " + findings[i]["action"].text());
        return outcome.exit_code;
    }
    // Until the daemons have seen the fault as well.
    ::testing::AssertionResult finds(const std::string& node, const std::string& id, const std::string& words,
                                     int exit_code = 1) {
        const bool found = wait_until(
            [&] {
                const int code = look(node);
                const auto [begin, end] = found_.equal_range(id);
                return code == exit_code && std::any_of(begin, end, [&](const auto& one) {
                           return one.second.find(words) != std::string::npos;
                       });
            },
            20s, 100ms);
        if (found) return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << node << ": no " << id << " with '" << words << "' in " << text_;
    }

    [[nodiscard]] std::string said(const std::string& id) const {
        const auto found = found_.find(id);
        return found == found_.end() ? "" : found->second;
    }

    std::multimap<std::string, std::string> found_;
    std::string text_;
};

TEST_F(Diagnose, ASoundPairThenPathsThatAreCut) {
    begin_sound();
    if (HasFatalFailure()) return;
    lab_.drop("lb2", "eth1", heartbeats);
    EXPECT_TRUE(finds("lb1", "link-one-way", "eth1 10.78.0.11-10.78.0.12 is one-way"));
    EXPECT_THAT(said("link-one-way"), HasSubstr("UDP 6694"));
    EXPECT_TRUE(finds("lb2", "link-down", "eth1 10.78.0.12-10.78.0.11 is down"));
    lab_.heal("lb2");
    expect_sound();
    lab_.cable("lb1", "eth1", false);
    EXPECT_TRUE(finds("lb1", "link-down", "eth1 10.78.0.11-10.78.0.12 is down"));
    EXPECT_EQ(found_.count("link-down"), 1U) << text_;
    lab_.cable("lb1", "eth1", true);
    expect_sound();
}

TEST_F(Diagnose, ADaemonThatWasKilledAndNotStartedAgain) {
    begin_sound();
    if (HasFatalFailure()) return;
    pair().healthd("lb1").vanish();
    EXPECT_TRUE(finds("lb1", "daemon-down", "healthd does not run"));
    EXPECT_EQ(found_.count("daemon-down"), 1U) << text_;
    pair().healthd("lb1").start();
    expect_sound();
    pair().forwarderd("lb1").vanish();
    EXPECT_TRUE(finds("lb1", "daemon-down", "forwarderd does not run"));
    EXPECT_EQ(found_.count("port-taken"), 0U) << "HAProxy goes on: " << text_;
    pair().forwarderd("lb1").start();
    expect_sound();
    pair().daemon("lb1").vanish();
    EXPECT_TRUE(finds("lb1", "daemon-down", "heartbeatd does not run"));
    EXPECT_EQ(found_.count("port-taken"), 0U) << text_;
}

TEST_F(Diagnose, AnInvalidConfigurationAndWhatElseIsWrong) {
    PairSpec spec = spec_of();
    spec.timers += "\nport: 7000";
    begin_sound(spec);
    if (HasFatalFailure()) return;
    const std::string file = pair().config_dir("lb1") + "/cluster.yaml";
    write_file(file, "heartbeat:\n  keepalive: never\n");
    EXPECT_TRUE(finds("lb1", "config-invalid", "cluster.yaml:2:", 3));
    ASSERT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "config-invalid"); }, 10s));
    EXPECT_EQ(look("lb1"), 3);
    EXPECT_EQ(found_.count("config-invalid"), 1U) << "the alarm says the same: " << text_;
    EXPECT_EQ(found_.count("daemon-down"), 0U) << text_;
    lab_.cable("lb1", "eth1", false);
    EXPECT_TRUE(finds("lb1", "link-down", "eth1 10.78.0.11-10.78.0.12 is down", 3));
    pair().daemon("lb1").vanish();
    const Stranger stranger(lab_.host("lb1"), SOCK_DGRAM, "0.0.0.0", 7000);
    EXPECT_TRUE(finds("lb1", "port-taken", "UDP port 7000", 3)) << "as it was configured when it was valid last";
    EXPECT_TRUE(finds("lb1", "daemon-down", "heartbeatd does not run", 3));
    EXPECT_EQ(pair().cli("lb1", {"diagnose"}).exit_code, 3);
}

TEST_F(Diagnose, WhoHoldsTheHeartbeatsPort) {
    make(spec_of());
    {
        const Stranger stranger(lab_.host("lb1"), SOCK_DGRAM, "0.0.0.0", 6694);
        EXPECT_TRUE(finds("lb1", "port-taken", "UDP port 6694 is " + Stranger::text())) << "heartbeatd does not run";
        for (const char* node : {"lb1", "lb2"}) start_all(node);
        ASSERT_TRUE(wait_until([&] { return pair().status("lb1")["links"][0]["state"].text() == "down"; }, 10s));
        EXPECT_TRUE(finds("lb1", "port-taken", "UDP port 6694 is " + Stranger::text()));
        EXPECT_THAT(said("port-taken"),
                    AllOf(HasSubstr("heartbeats (10.77.0.11, 10.78.0.11)"), HasSubstr("heartbeat.port")));
        EXPECT_EQ(found_.count("link-down"), 0U) << "the port is the reason: " << text_;
        look("lb2");
        EXPECT_EQ(found_.count("port-taken"), 0U) << text_;
    }
    ASSERT_TRUE(
        wait_until([&] { return pair().activity("lb1") == "active" || pair().activity("lb2") == "active"; }, 20s));
    expect_sound();
}

TEST_F(Diagnose, WhoHoldsAPortOfHaproxy) {
    make(spec_of());
    {
        const Stranger tables(lab_.host("lb1"), SOCK_STREAM, "10.77.0.11", 7778);
        const Stranger web(lab_.host("lb1"), SOCK_STREAM, "0.0.0.0", 80);
        for (const char* node : {"lb1", "lb2"}) start_all(node);  // lb2 may be the fitter one then
        EXPECT_TRUE(finds("lb1", "proxy-failed", "")) << "HAProxy does not start";
        EXPECT_TRUE(finds("lb1", "port-taken", "TCP port 7778 is " + Stranger::text()));
        EXPECT_TRUE(finds("lb1", "port-taken", "TCP port 80 is " + Stranger::text()));
        EXPECT_EQ(found_.count("port-taken"), 2U) << text_;
        look("lb2");
        EXPECT_EQ(found_.count("port-taken"), 0U) << text_;
    }
    expect_sound();
}

}  // namespace
}  // namespace lbcluster::lab
