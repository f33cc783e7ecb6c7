// OP-10: webhooks, mail and commands for real: a scripted HTTP and SMTP server on loopback, and a script.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>

#include "healthd/notify/notifier.hpp"
#include "tests/unit/healthd/probes_certificates.hpp"
#include "tests/unit/healthd/probes_rig.hpp"

namespace lbcluster::health::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

// What a server on another thread has heard.
class Heard {
  public:
    void add(const std::string& text) {
        const std::lock_guard lock(mutex_);
        all_.push_back(text);
    }
    [[nodiscard]] std::vector<std::string> all() const {
        const std::lock_guard lock(mutex_);
        return all_;
    }

  private:
    mutable std::mutex mutex_;
    std::vector<std::string> all_;
};

std::string body_of(const std::string& head) {
    const std::size_t at = head.find("Content-Length: ");
    return at == std::string::npos ? "0" : head.substr(at + 16, head.find('\r', at) - at - 16);
}

// Answers each POST with `status`.
Peer::Script http_sink(Heard& heard, std::function<std::string()> status) {
    return [&heard, status = std::move(status)](Connection& client) {
        std::string request = client.hear("\r\n\r\n");
        for (std::size_t left = std::stoul(body_of(request)); left > 0; --left) {
            char c = 0;
            if (::recv(client.fd(), &c, 1, 0) != 1) return;
            request += c;
        }
        heard.add(request);
        client.say("HTTP/1.1 " + status() + "\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
    };
}

// Talks SMTP in the clear or, after STARTTLS or from the first byte, through TLS; takes every mail but for `refused`.
class SmtpSession {
  public:
    SmtpSession(Connection& client, SSL_CTX* tls, Heard& heard) : client_(client), context_(tls), heard_(heard) {}
    ~SmtpSession() { SSL_free(ssl_); }
    SmtpSession(const SmtpSession&) = delete;
    SmtpSession& operator=(const SmtpSession&) = delete;

    void serve(bool tls_first) {
        if (tls_first && !begin_tls()) return;
        say("220 sink ESMTP");
        std::string log;
        for (std::string line = hear(); !line.empty(); line = hear()) {
            log += line;
            const std::string verb = line.substr(0, 4);
            if (verb == "EHLO") {
                say(ssl_ == nullptr && context_ != nullptr ? "250-sink\r\n250 STARTTLS" : "250-sink\r\n250 AUTH PLAIN");
            } else if (verb == "STAR") {
                say("220 go on");
                if (!begin_tls()) return;
            } else if (verb == "AUTH") {
                if (line == "AUTH PLAIN\r\n") {
                    say("334 ");
                    log += hear();
                }
                say("235 welcome");
            } else if (verb == "RCPT" && line.find("nobody@") != std::string::npos) {
                say("550 no such user");
            } else if (verb == "DATA") {
                say("354 go on");
                std::string mail;
                while (!mail.ends_with("\r\n.\r\n")) {
                    const std::string more = hear();
                    if (more.empty()) return;
                    mail += more;
                }
                heard_.add(log + mail);
                say("250 taken");
            } else {
                say("250 ok");
                if (verb == "QUIT") return;
            }
        }
    }

  private:
    bool begin_tls() {
        ssl_ = SSL_new(context_);
        SSL_set_fd(ssl_, client_.fd());
        return SSL_accept(ssl_) == 1;
    }
    void say(const std::string& line) {
        const std::string bytes = line + "\r\n";
        if (ssl_ != nullptr) {
            SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
        } else {
            client_.say(bytes);
        }
    }
    std::string hear() {
        if (ssl_ == nullptr) return client_.hear("\r\n");
        std::string line;
        char c = 0;
        while (!line.ends_with("\r\n") && SSL_read(ssl_, &c, 1) == 1) line += c;
        return line;
    }
    Connection& client_;
    SSL_CTX* context_;
    Heard& heard_;
    SSL* ssl_ = nullptr;
};

class NotifyTest : public Rig {
  protected:
    void SetUp() override {
        std::string name = "/tmp/lbcluster-notify-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
        ::chmod(folder_.c_str(), 0777);  // scripts run as somebody else
    }
    void TearDown() override {
        notifier_.reset();
        std::filesystem::remove_all(folder_);
    }

    static config::Notification channel() {
        config::Notification one;
        one.set_label("ops");
        one.mutable_gather()->set_nanos(1'000'000);
        one.mutable_pause();
        one.mutable_timeout()->set_seconds(5);
        return one;
    }
    static config::Notification webhook_to(const std::string& url) {
        config::Notification one = channel();
        one.mutable_webhook()->set_url(url);
        one.mutable_webhook()->set_verify(true);
        return one;
    }
    static config::Notification mail_to(std::uint16_t port) {
        config::Notification one = channel();
        one.mutable_mail()->set_server("127.0.0.1");
        one.mutable_mail()->set_port(port);
        one.mutable_mail()->set_from("lb@example.org");
        one.mutable_mail()->add_to("ops@example.org");
        one.mutable_mail()->set_verify(true);
        return one;
    }
    // The notifier of an active node with one service, its server up.
    void start(const config::Notification& channel) {
        NotifySettings settings;
        settings.node = "lb1";
        settings.channels = {channel};
        settings.services = {{"web", "10.0.0.1", {{"s1", "10.0.0.5", true}}}};
        notifier_ = std::make_unique<Notifier>(io_);
        notifier_->configure(settings);
        bus::NodeStatus node;
        node.set_activity("active");
        notifier_->on_role(node);
        server("up", "HTTP 200");
    }
    void server(const std::string& health, const std::string& reason) {
        bus::ServerHealth one;
        one.set_service("web");
        one.set_server("s1");
        one.set_health(health);
        one.set_reason(reason);
        notifier_->on_server(one);
    }
    // The alarm's text once there is one.
    std::string trouble() {
        EXPECT_TRUE(turn_until([&] { return !notifier_->alarms().empty(); }));
        const auto alarms = notifier_->alarms();
        return alarms.empty() ? "" : alarms[0].text();
    }
    [[nodiscard]] std::string get(const std::string& name) const {
        std::stringstream text;
        text << std::ifstream(folder_ + "/" + name).rdbuf();
        return text.str();
    }
    config::Notification command(const std::string& script) {
        const std::string path = folder_ + "/script";
        std::ofstream(path) << "#!/bin/sh\ncd " << folder_ << "\n" << script;
        EXPECT_EQ(::chmod(path.c_str(), 0755), 0);
        config::Notification one = channel();
        one.mutable_command()->set_path(path);
        one.mutable_command()->set_run_as("nobody");
        return one;
    }

    std::string folder_;
    Heard heard_;
    std::unique_ptr<Notifier> notifier_;
};

TEST_F(NotifyTest, AWebhookGetsJson) {
    const Peer sink(http_sink(heard_, [] { return "204 No Content"; }));
    auto one = webhook_to("http://127.0.0.1:" + std::to_string(sink.port()) + "/hooks/1?a=b");
    (*one.mutable_webhook()->mutable_headers())["Authorization"] = "Bearer 1234";
    start(one);
    ASSERT_TRUE(turn_until([&] { return heard_.all().size() == 1; }));
    const std::string request = heard_.all()[0];
    EXPECT_THAT(request, AllOf(HasSubstr("POST /hooks/1?a=b HTTP/1.1\r\n"), HasSubstr("Authorization: Bearer 1234\r\n"),
                               HasSubstr("Content-Type: application/json\r\n"), Not(HasSubstr("Expect"))));
    const Json first = Json::parse(request.substr(request.find("\r\n\r\n") + 4));
    EXPECT_EQ(first["event"], "state");
    EXPECT_EQ(first["role"]["activity"], "active");
    EXPECT_EQ(first["services"][0]["color"], "green");
    // Delivered is only what was answered: from here on it is what changed.
    server("down", "HTTP 503, wanted 200");
    ASSERT_TRUE(turn_until([&] { return heard_.all().size() == 2; }));
    const Json second = Json::parse(heard_.all()[1].substr(heard_.all()[1].find("\r\n\r\n") + 4));
    EXPECT_EQ(second["event"], "change");
    EXPECT_EQ(second["servers"][0]["reason"], "HTTP 503, wanted 200");
    EXPECT_EQ(second["servers"][0]["before"], "up");
    EXPECT_TRUE(notifier_->alarms().empty());
}

TEST_F(NotifyTest, AWebhookThatFailsIsAnAlarmUntilItWorks) {
    std::atomic<bool> works{false};
    const Peer sink(http_sink(heard_, [&] { return works ? "200 OK" : "302 Found\r\nLocation: http://127.0.0.1:1/"; }));
    start(webhook_to("http://127.0.0.1:" + std::to_string(sink.port()) + "/"));
    EXPECT_EQ(trouble(), "notification 'ops' could not be delivered, 1 times by now: HTTP 302, wanted 200 to 299");
    EXPECT_EQ(notifier_->alarms()[0].id(), "notify-ops");
    works = true;
    bus::NodeStatus node;
    node.set_activity("passive");
    notifier_->on_role(node);  // is told at once
    EXPECT_TRUE(turn_until([&] { return notifier_->alarms().empty(); }));
    EXPECT_THAT(heard_.all().back(), HasSubstr("\"activity\":\"passive\""));
}

TEST_F(NotifyTest, NobodyListeningIsToldWithTheReason) {
    const SilentPort silent;
    start(webhook_to("http://127.0.0.1:" + std::to_string(silent.port()) + "/"));
    EXPECT_THAT(trouble(), HasSubstr("Couldn't connect to server"));
}

TEST_F(NotifyTest, AServerThatNeverAnswersEndsWithTheTimeout) {
    const Peer sink([](Connection& client) { client.wait_for_close(); });
    auto one = webhook_to("http://127.0.0.1:" + std::to_string(sink.port()) + "/");
    one.mutable_timeout()->set_seconds(1);
    start(one);
    EXPECT_THAT(trouble(), HasSubstr("timed out after 100"));
}

TEST_F(NotifyTest, HttpsIsVerified) {
    const Authority authority;
    authority.write(authority.sign("IP:127.0.0.1"), "server");
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
    ASSERT_EQ(SSL_CTX_use_certificate_file(context.get(), authority.file("server.pem").c_str(), SSL_FILETYPE_PEM), 1);
    ASSERT_EQ(SSL_CTX_use_PrivateKey_file(context.get(), authority.file("server.key").c_str(), SSL_FILETYPE_PEM), 1);
    const Peer sink([&](Connection& client) {
        const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context.get()), &SSL_free);
        SSL_set_fd(ssl.get(), client.fd());
        if (SSL_accept(ssl.get()) != 1) return;
        std::string request;
        char c = 0;
        while (!request.ends_with("}\n") && SSL_read(ssl.get(), &c, 1) == 1) request += c;
        heard_.add(request);
        const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        SSL_write(ssl.get(), answer.data(), static_cast<int>(answer.size()));
    });
    auto one = webhook_to("https://127.0.0.1:" + std::to_string(sink.port()) + "/");
    start(one);
    EXPECT_THAT(trouble(), HasSubstr("certificate"));
    one.mutable_webhook()->set_ca_file(authority.file("authority.pem"));
    start(one);
    EXPECT_TRUE(turn_until([&] { return heard_.all().size() == 1; }));
}

TEST_F(NotifyTest, MailIsSentInTheClearWhereThatIsWanted) {
    const Peer sink([this](Connection& client) { SmtpSession(client, nullptr, heard_).serve(false); });
    auto one = mail_to(sink.port());
    one.mutable_mail()->add_to("nobody@example.org");  // refused; the others get it all the same
    one.mutable_mail()->add_to("chief@example.org");
    start(one);
    ASSERT_TRUE(turn_until([&] { return heard_.all().size() == 1; }));
    EXPECT_THAT(heard_.all()[0], AllOf(HasSubstr("MAIL FROM:<lb@example.org>"), HasSubstr("RCPT TO:<ops@example.org>"),
                                       HasSubstr("RCPT TO:<chief@example.org>"),
                                       HasSubstr("From: lbcluster on lb1 <lb@example.org>\r\n"),
                                       HasSubstr("Subject: [lbcluster] lb1 is active; web is green\r\n"),
                                       HasSubstr("Auto-Submitted: auto-generated\r\n"),
                                       HasSubstr("  web 10.0.0.1 is green, 1 of 1 servers up\r\n")));
}

TEST_F(NotifyTest, MailWithStarttlsAndLogin) {
    const Authority authority;
    authority.write(authority.sign("IP:127.0.0.1"), "server");
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
    ASSERT_EQ(SSL_CTX_use_certificate_file(context.get(), authority.file("server.pem").c_str(), SSL_FILETYPE_PEM), 1);
    ASSERT_EQ(SSL_CTX_use_PrivateKey_file(context.get(), authority.file("server.key").c_str(), SSL_FILETYPE_PEM), 1);
    const Peer sink([&](Connection& client) { SmtpSession(client, context.get(), heard_).serve(false); });
    auto one = mail_to(sink.port());
    one.mutable_mail()->set_starttls(true);
    one.mutable_mail()->set_user("lb");
    one.mutable_mail()->set_password("secret");
    start(one);
    EXPECT_THAT(trouble(), AllOf(HasSubstr("certificate"), Not(HasSubstr("secret"))));
    EXPECT_TRUE(heard_.all().empty());
    one.mutable_mail()->set_ca_file(authority.file("authority.pem"));
    start(one);
    ASSERT_TRUE(turn_until([&] { return heard_.all().size() == 1; })) << trouble();
    EXPECT_THAT(heard_.all()[0], AllOf(HasSubstr("STARTTLS"), HasSubstr("AUTH PLAIN"), HasSubstr("web is green")));
}

TEST_F(NotifyTest, WithoutStarttlsNoMailGoesOutThatWantsIt) {
    const Peer sink([this](Connection& client) { SmtpSession(client, nullptr, heard_).serve(false); });
    auto one = mail_to(sink.port());
    one.mutable_mail()->set_starttls(true);
    start(one);
    EXPECT_THAT(trouble(), HasSubstr("STARTTLS"));
    EXPECT_TRUE(heard_.all().empty());
}

TEST_F(NotifyTest, ACommandGetsItsEnvironmentAndTheJson) {
    start(command("cat >json\nenv | grep LBCLUSTER >env\nid -un >user\nmv env done\n"));
    ASSERT_TRUE(turn_until([&] { return std::filesystem::exists(folder_ + "/done"); })) << trouble();
    EXPECT_THAT(get("done"),
                AllOf(HasSubstr("LBCLUSTER_EVENT=state\n"), HasSubstr("LBCLUSTER_CHANNEL=ops\n"),
                      HasSubstr("LBCLUSTER_NODE=lb1\n"), HasSubstr("LBCLUSTER_ACTIVITY=active\n"),
                      HasSubstr("LBCLUSTER_BEFORE=\n"), HasSubstr("LBCLUSTER_SUMMARY=lb1 is active; web is green\n")));
    EXPECT_EQ(Json::parse(get("json"))["services"][0]["label"], "web");
    EXPECT_EQ(get("user"), "nobody\n");
}

TEST_F(NotifyTest, ACommandThatFailsSaysWhy) {
    start(command("echo out of paper\nexit 3\n"));
    EXPECT_THAT(trouble(), HasSubstr("exit code 3: out of paper"));
    start(command("kill -9 $$\n"));
    EXPECT_THAT(trouble(), HasSubstr("killed by signal 9"));
    auto one = command("");
    one.mutable_command()->set_path("/nowhere/at/all");
    start(one);
    EXPECT_THAT(trouble(), HasSubstr("cannot be run: execve: no such file"));
    one.mutable_command()->set_run_as("no-such-user");
    start(one);
    EXPECT_THAT(trouble(), HasSubstr("there is no user 'no-such-user'"));
}

TEST_F(NotifyTest, ACommandThatDoesNotEndIsKilled) {
    auto one = command("echo $$ >pid\nexec sleep 1000\n");
    one.mutable_timeout()->set_seconds(1);
    start(one);
    EXPECT_THAT(trouble(), HasSubstr("had not ended in time"));
    const int pid = std::stoi(get("pid"));
    EXPECT_TRUE(turn_until([&] { return ::kill(pid, 0) != 0; }));
}

TEST_F(NotifyTest, EndingInTheMiddleLeavesNothingBehind) {
    const Peer sink([](Connection& client) { client.wait_for_close(); });
    start(webhook_to("http://127.0.0.1:" + std::to_string(sink.port()) + "/"));
    for (int i = 0; i < 20; ++i) io_.run_one_for(std::chrono::milliseconds(5));
    notifier_.reset();
    io_.restart();
    io_.run_for(std::chrono::milliseconds(50));
}

}  // namespace
}  // namespace lbcluster::health::test
