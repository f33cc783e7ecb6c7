// OP-10: people and programs are told by real daemons what changed, over the lab's network: a program, a webhook and a
// mail, on changes of servers, services and roles; and nothing of it is in the way of a take-over. HC-4, RE-4: both
// nodes probe, one may be changed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "tests/lab/backend.hpp"
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Takes mail on a port of a host, one sender after the other.
class MailSink {
  public:
    MailSink(const Namespace& host, std::uint16_t port) {
        host.run([&] {
            listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            const int on = 1;
            ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
            sockaddr_in address{};
            address.sin_family = AF_INET;
            address.sin_port = htons(port);
            if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
                ::listen(listener_, 16) != 0) {
                fail_errno("listening for mail");
            }
        });
        thread_ = std::thread([this] {
            while (!ending_) {
                if (!readable(listener_)) continue;
                const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
                if (fd < 0) continue;
                talk(fd);
                ::close(fd);
            }
        });
    }
    ~MailSink() {
        ending_ = true;
        thread_.join();
        ::close(listener_);
    }
    MailSink(const MailSink&) = delete;
    MailSink& operator=(const MailSink&) = delete;

    // Whole mails, with their envelopes before them.
    [[nodiscard]] std::vector<std::string> mails() const {
        const std::lock_guard lock(mutex_);
        return mails_;
    }

  private:
    static bool readable(int fd) {
        pollfd entry{fd, POLLIN, 0};
        return ::poll(&entry, 1, 50) > 0;
    }
    static void say(int fd, const std::string& line) {
        [[maybe_unused]] const ssize_t sent = ::send(fd, line.data(), line.size(), MSG_NOSIGNAL);
    }
    void talk(int fd) {
        say(fd, "220 client ESMTP\r\n");
        std::string input;
        std::string mail;
        bool data = false;
        std::array<char, 4096> buffer{};
        TimePoint heard = Clock::now();
        while (!ending_) {
            const std::size_t end = input.find("\r\n");
            if (end == std::string::npos) {
                if (Clock::now() - heard > 1s) return;  // a machine that is off says nothing more
                if (!readable(fd)) continue;
                heard = Clock::now();
                const ssize_t size = ::recv(fd, buffer.data(), buffer.size(), 0);
                if (size <= 0) return;
                input.append(buffer.data(), static_cast<std::size_t>(size));
                continue;
            }
            const std::string line = input.substr(0, end);
            input.erase(0, end + 2);
            if (data && line == ".") {
                const std::lock_guard lock(mutex_);
                mails_.push_back(std::exchange(mail, ""));
                data = false;
            } else if (line != "QUIT") {
                mail += line + "\n";
            }
            if (data) continue;
            data = line == "DATA";
            say(fd, data ? "354 go on\r\n" : line == "QUIT" ? "221 bye\r\n" : "250 ok\r\n");
            if (line == "QUIT") return;
        }
    }

    int listener_ = -1;
    std::atomic<bool> ending_{false};
    mutable std::mutex mutex_;
    std::vector<std::string> mails_;
    std::thread thread_;
};

class Notify : public PairTest {
  protected:
    // Both daemons on both nodes; three channels that tell everything soon.
    void begin_telling(const std::string& script) {
        box_ = std::string("/run/") + ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".told";
        std::filesystem::create_directories(box_);
        std::filesystem::permissions(box_, std::filesystem::perms::all);
        write_file(box_ + "/told.sh", "#!/bin/sh\n" + script, 0755);
        PairSpec spec;
        const std::string soon = "gather: 100ms, pause: 0s, timeout: 2s";
        spec.more =
            "virtual_services:\n"
            "  - {label: web, address: 10.77.0.210, ports: [80], check: {type: negotiate, protocol: http, request: "
            "/health, interval: 200ms, timeout: 150ms, fall: 2, rise: 2}, real_servers: [{label: rs1, address: "
            "10.77.0.21}, {label: rs2, address: 10.77.0.22}]}\n"
            "notifications:\n"
            "  - {label: script, command: {path: " +
            box_ + "/told.sh}, " + soon +
            "}\n"
            "  - {label: hook, webhook: {url: 'http://10.77.0.100:8080/hook', headers: {X-Token: one}}, " +
            soon +
            "}\n"
            "  - {label: mail, mail: {server: 10.77.0.100, port: 2525, from: lb@example.org, to: [ops@example.org]}, " +
            soon + "}\n";
        make(spec);
        pair().start();
        for (const char* node : {"lb1", "lb2"}) pair().healthd(node).start();
        ASSERT_TRUE(pair().wait_settled("lb1"));
    }
    static constexpr const char* keep =
        "cd \"$(dirname \"$0\")\" && { echo \"$LBCLUSTER_NODE $LBCLUSTER_EVENT $LBCLUSTER_ACTIVITY "
        "$LBCLUSTER_SUMMARY\"; cat; } > \"new.$LBCLUSTER_NODE.$$\" && mv \"new.$LBCLUSTER_NODE.$$\" "
        "\"$LBCLUSTER_NODE.$(date +%s%N).told\"\n";

    // What each channel was told: the JSON of the program and the webhook, and mails.
    std::map<std::string, std::vector<std::string>> told() const {
        std::map<std::string, std::vector<std::string>> out;
        for (const auto& file : std::filesystem::directory_iterator(box_)) {
            if (file.path().extension() == ".told") out["script"].push_back(read_file(file.path().string()));
        }
        out["script"];
        out["hook"] = hook_.requests();
        out["mail"] = mails_.mails();
        return out;
    }
    std::size_t whole_messages(const std::string& node) const {
        const auto all = hook_.requests();
        return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [&](const std::string& message) {
            return message.find(R"("event":"state","node":")" + node + '"') != std::string::npos;
        }));
    }
    // One message of every channel has all these words. The JSON is dense, mails are words for people.
    ::testing::AssertionResult all_tell(const std::vector<std::string>& json, const std::vector<std::string>& mail,
                                        Nanoseconds limit = 15s) const {
        std::string missing;
        const auto has = [&](const std::string& channel, const std::vector<std::string>& words) {
            const auto all = told()[channel];
            const bool found = std::any_of(all.begin(), all.end(), [&](const std::string& message) {
                return std::all_of(words.begin(), words.end(),
                                   [&](const std::string& word) { return message.find(word) != std::string::npos; });
            });
            if (!found) missing = channel;
            return found;
        };
        if (wait_until([&] { return has("script", json) && has("hook", json) && has("mail", mail); }, limit, 50ms)) {
            return ::testing::AssertionSuccess();
        }
        auto result = ::testing::AssertionFailure() << missing << " was not told. It was told:";
        const auto all = told();
        for (const std::string& message : all.at(missing)) result << "\n" << message;
        return result;
    }
    void TearDown() override {
        if (pair_ && std::getenv("LBCLUSTER_BIN_DIR") != nullptr) {
            for (const char* node : {"lb1", "lb2"}) static_cast<void>(pair().healthd(node).stop());
        }
        PairTest::TearDown();
    }

    std::string box_;
    Backend rs1_{lab_.host("rs1"), 80};
    Backend rs2_{lab_.host("rs2"), 80};
    Backend hook_{lab_.host("client"), 8080};
    MailSink mails_{lab_.host("client"), 2525};
};

TEST_F(Notify, ProgramWebhookAndMailTellOfServersServicesAndRoles) {
    begin_telling(keep);
    if (HasFatalFailure()) return;
    // At the start: the whole picture, by the active node; its own role, by each.
    EXPECT_TRUE(all_tell(
        {R"("event":"state","node":"lb1")", R"("activity":"active")", R"("label":"web")", R"("color":"green")"},
        {"Node lb1 is active", "web 10.77.0.210 is green, 2 of 2 servers up"}));
    EXPECT_TRUE(all_tell({R"("node":"lb2")", R"("activity":"passive")", R"("services":[],"servers":[])"},
                         {"Node lb2 is passive"}));
    EXPECT_THAT(hook_.last_request(), AllOf(HasSubstr("POST /hook HTTP/1.1\r\n"), HasSubstr("\r\nX-Token: one\r\n")));

    rs1_.answer(503);
    EXPECT_TRUE(all_tell({R"("event":"change","node":"lb1")", R"("label":"rs1")", R"("health":"down","before":"up")",
                          "HTTP 503, wanted 2", R"("color":"yellow","before":"green")"},
                         {"server web/rs1 down", "web/rs1 10.77.0.21 port 80 is down (was up)", "HTTP 503, wanted 2",
                          "RCPT TO:<ops@example.org>", "From: lbcluster on lb1 <lb@example.org>"}));
    rs2_.behave(Conduct::refuse);
    EXPECT_TRUE(all_tell({R"("event":"change","node":"lb1")", R"("label":"rs2")", "connection refused",
                          R"("color":"red","before":"yellow")"},
                         {"web is red", "web/rs2 10.77.0.22 port 80 is down (was up)"}));
    rs2_.answer(200);
    EXPECT_TRUE(all_tell(
        {R"("event":"change","node":"lb1")", R"("color":"yellow","before":"red")", R"("health":"up","before":"down")"},
        {"web 10.77.0.210 is yellow (was red), 1 of 2 servers up", "web/rs2 10.77.0.22"}));
    for (const auto& [channel, messages] : told()) {
        for (const std::string& message : messages) {
            const bool of_lb2 = message.find("lb2 is") != std::string::npos;
            EXPECT_TRUE(!of_lb2 || message.find("rs1") == std::string::npos)
                << "only the active node tells: " << message;
        }
    }

    // RE-4: who changes something on the other node is told where to go. It probes all the same.
    const Outcome refused = pair().cli("lb2", {"server", "drain", "web", "rs1"});
    EXPECT_EQ(refused.exit_code, 5) << refused.err;
    EXPECT_THAT(refused.err, HasSubstr("lb1"));
    EXPECT_TRUE(wait_until([&] { return pair().status("lb2")["services"][0]["servers"][0]["health"].text() == "down"; },
                           5s, 50ms));

    // The last state is told again after a restart.
    const std::size_t before = whole_messages("lb1");
    pair().healthd("lb1").signal(SIGKILL);
    EXPECT_TRUE(wait_until([&] { return whole_messages("lb1") > before; }, 20s, 50ms));

    // heartbeatd's role comes over the bus; who becomes active tells all of it.
    pair().power_off("lb1");
    EXPECT_TRUE(all_tell({R"("event":"state","node":"lb2")", R"("activity":"active","before":"passive")",
                          R"("label":"rs1")", R"("health":"down")", R"("color":"yellow")"},
                         {"Node lb2 is active (was passive): ", "web 10.77.0.210 is yellow", "web/rs1 10.77.0.21"}));
    const auto all = told();
    for (const std::string& message : all.at("script")) {
        if (message.find(R"("activity":"active","before":"passive")") == std::string::npos) continue;
        EXPECT_THAT(message, ::testing::StartsWith("lb2 state active lb2 is active (was passive); web is yellow"));
    }
}

// Nobody who is to be told answers: all of it waits, and the pair does not.
TEST_F(Notify, WhoHangsIsNotInTheWayOfATakeOver) {
    hook_.behave(Conduct::hang);
    begin_telling("exec sleep 1000\n");
    if (HasFatalFailure()) return;
    lab_.drop("client", "eth0", "tcp dport 2525");
    EXPECT_TRUE(wait_until(
        [&] { return pair().has_alarm("lb1", "notify-hook") && pair().has_alarm("lb1", "notify-script"); }, 20s, 50ms));
    pair().power_off("lb1");
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb2", vip) && pair().activity("lb2") == "active"; }, 5s))
        << "deadtime is a second";
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb2", "notify-hook"); }, 20s, 50ms));
    hook_.answer(200);
    EXPECT_TRUE(wait_until(
        [&] {
            return hook_.last_request().find(R"("activity":"active")") != std::string::npos &&
                   !pair().has_alarm("lb2", "notify-hook");
        },
        30s, 50ms))
        << "told when somebody listens: " << hook_.last_request();
}

}  // namespace
}  // namespace lbcluster::lab
