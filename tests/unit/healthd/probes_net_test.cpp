// Probes over TCP and UDP against scripted servers: refused, hanging, slow, wrong, endless, reset, closed in the
// middle. HC-1, HC-2, HC-3.
#include <gmock/gmock.h>
#include <sched.h>

#include <atomic>

#include "tests/unit/healthd/probes_rig.hpp"

namespace lbcluster::health::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Connect : public Rig {};
class Stream : public Rig {};
class Datagram : public Rig {};
class Constant : public Rig {};

TEST_F(Connect, ListeningIsUp) {
    const Peer peer([](Connection& c) { c.wait_for_close(); });
    EXPECT_EQ(text_of(ask(connect_to(peer.port()))), "up: connected");
}

TEST_F(Connect, ProbeIsUsedAgainAndAgain) {
    const Peer peer([](Connection& c) { c.wait_for_close(); });
    const auto probe = make(connect_to(peer.port()));
    for (int i = 0; i < 100; ++i) ASSERT_EQ(text_of(ask(*probe)), "up: connected");
}

TEST_F(Connect, RefusedIsDown) {
    const SilentPort port;
    EXPECT_EQ(text_of(ask(connect_to(port.port()))), "down: connect: connection refused");
}

TEST_F(Connect, IPv6) {
    ProbeSpec spec = connect_to(1);
    spec.address = *IpAddress::parse("::1");
    EXPECT_EQ(text_of(ask(spec)), "down: connect: connection refused");
}

// In a network namespace without a route, which one thread can have for itself.
TEST_F(Connect, NoRouteIsOurOwnFault) {
    std::string found;
    std::thread([&] {
        if (::unshare(CLONE_NEWNET) != 0) {
            found = "needs root";
            return;
        }
        ProbeSpec spec = connect_to(80);
        spec.address = IpAddress::v4({192, 0, 2, 1});
        found = text_of(ask(spec));
        spec.check.set_type(config::CHECK_TYPE_PING);
        found += "; " + text_of(ask(spec));
    }).join();
    EXPECT_EQ(found, "unusable: connect: network is unreachable; unusable: ping: network is unreachable");
}

// A server whose queue is full answers no SYN.
TEST_F(Connect, HangingIsStoppedAtConnect) {
    const SilentPort full;
    ASSERT_EQ(::listen(full.fd(), 0), 0);
    const SocketAddress to(IpAddress::v4({127, 0, 0, 1}), full.port());
    std::vector<std::unique_ptr<Connection>> clients;
    for (int i = 0; i < 4; ++i) {
        clients.push_back(std::make_unique<Connection>(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)));
        (void)::connect(clients.back()->fd(), to.get(), to.bytes());
    }
    const auto probe = make(connect_to(full.port()));
    bool done = false;
    probe->start([&](const Outcome&) { done = true; });
    io_.run_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(done);
    EXPECT_EQ(probe->stop(), "connect");
    EXPECT_EQ(probe->stop(), "");
    io_.restart();
    io_.run_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(done);
}

TEST_F(Connect, DestroyedUnderWay) {
    const Peer peer([](Connection& c) { c.wait_for_close(); });
    for (int i = 0; i < 10; ++i) {
        auto probe = make(connect_to(peer.port()));
        probe->start([](const Outcome&) { FAIL(); });
        probe.reset();
    }
    io_.run_for(std::chrono::milliseconds(20));
}

TEST_F(Connect, MayDestroyItselfAndOthersWhenDone) {
    const Peer peer([](Connection& c) { c.wait_for_close(); });
    std::vector<std::unique_ptr<Probe>> probes;
    for (int i = 0; i < 20; ++i) probes.push_back(make(connect_to(peer.port())));
    int ended = 0;
    for (const auto& probe : probes) {
        probe->start([&](const Outcome&) {
            ++ended;
            probes.clear();
        });
    }
    EXPECT_TRUE(turn_until([&] { return ended > 0; }));
    io_.restart();
    io_.run_for(std::chrono::milliseconds(20));
    EXPECT_EQ(ended, 1);
}

// Thousands that hang at once disturb no other one, and when no descriptor is left it is our own fault.
TEST_F(Connect, LimitOfSocketsIsOurOwnFault) {
    boost::asio::io_context io{1};
    Poller poller(io, 2);
    struct Client final : Poller::Client {
        void on_ready(std::uint32_t) override {}
    } client;
    Watch a(poller, client);
    Watch b(poller, client);
    Watch c(poller, client);
    EXPECT_EQ(a.open(AF_INET, SOCK_STREAM, 0), 0);
    EXPECT_EQ(b.open(AF_INET, SOCK_STREAM, 0), 0);
    EXPECT_EQ(c.open(AF_INET, SOCK_STREAM, 0), EMFILE);
    b.close();
    EXPECT_EQ(c.open(AF_INET, SOCK_STREAM, 0), 0);
    EXPECT_EQ(poller.open_sockets(), 2U);
}

TEST_F(Constant, AlwaysUpAndAlwaysDown) {
    ProbeSpec spec;
    spec.check.set_type(config::CHECK_TYPE_ALWAYS_UP);
    EXPECT_EQ(text_of(ask(spec)), "up: always up");
    spec.check.set_type(config::CHECK_TYPE_ALWAYS_DOWN);
    EXPECT_EQ(text_of(ask(spec)), "down: always down");
}

TEST_F(Stream, HttpIsAskedAndJudged) {
    std::string heard;
    const Peer peer([&](Connection& c) {
        heard = c.hear("\r\n\r\n");
        c.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
        c.wait_for_close();
    });
    ProbeSpec spec = negotiate(config::CHECK_PROTOCOL_HTTP, peer.port());
    spec.check.set_request("/status?Authorization=KEY123");
    (*spec.check.mutable_headers())["Authorization"] = "Basic SECRET456";
    EXPECT_EQ(text_of(ask(spec)), "up: HTTP 200");
    EXPECT_THAT(heard, StartsWith("GET /status?Authorization=KEY123 HTTP/1.1\r\n"));
    EXPECT_THAT(transcript_.text(), HasSubstr("* connected to 127.0.0.1 port "));
    EXPECT_THAT(transcript_.text(), HasSubstr("> GET /status?Authorization=***"));
    EXPECT_THAT(transcript_.text(), HasSubstr("< HTTP/1.1 200 OK\n"));
    EXPECT_THAT(transcript_.text(), HasSubstr("* HTTP 200\n"));
    EXPECT_THAT(transcript_.text(), Not(HasSubstr("KEY123")));
    EXPECT_THAT(transcript_.text(), Not(HasSubstr("SECRET456")));
}

// PaperCut's pair: exactly the one that answers 200 serves; they swap.
TEST_F(Stream, ActiveAndStandbySwap) {
    std::atomic<bool> swapped{false};
    const auto script = [&](bool first) {
        return [&swapped, first](Connection& c) {
            (void)c.hear("\r\n\r\n");
            c.say(first == swapped ? "HTTP/1.1 503 Passive\r\nContent-Length: 0\r\n\r\n"
                                   : "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        };
    };
    const Peer one(script(true));
    const Peer two(script(false));
    const auto probe_of = [&](const Peer& peer) {
        ProbeSpec spec = negotiate(config::CHECK_PROTOCOL_HTTP, peer.port());
        spec.check.add_expect_status(200);
        spec.check.add_standby_status(503);
        return make(spec);
    };
    const auto first = probe_of(one);
    const auto second = probe_of(two);
    EXPECT_EQ(text_of(ask(*first)), "up: HTTP 200");
    EXPECT_EQ(text_of(ask(*second)), "standby: HTTP 503, standby");
    swapped = true;
    EXPECT_EQ(text_of(ask(*first)), "standby: HTTP 503, standby");
    EXPECT_EQ(text_of(ask(*second)), "up: HTTP 200");
}

TEST_F(Stream, RefusedIsDown) {
    const SilentPort port;
    EXPECT_EQ(text_of(ask(negotiate(config::CHECK_PROTOCOL_HTTP, port.port()))), "down: connect: connection refused");
}

TEST_F(Stream, HangingIsStoppedWithWhatIsMissing) {
    std::atomic<bool> asked{false};
    const Peer peer([&](Connection& c) {
        (void)c.hear("\r\n\r\n");
        asked = true;
        c.wait_for_close();
    });
    const auto probe = make(negotiate(config::CHECK_PROTOCOL_HTTP, peer.port()));
    probe->start([](const Outcome& outcome) { ADD_FAILURE() << outcome.reason; });
    EXPECT_TRUE(turn_until([&] { return asked.load(); }));
    EXPECT_EQ(probe->stop(), "answer to GET");
}

TEST_F(Stream, SlowLorisIsStoppedWithWhatIsMissing) {
    std::atomic<int> said{0};
    const Peer peer([&](Connection& c) {
        (void)c.hear("\r\n\r\n");
        c.say("HTTP/1.1 200 OK\r\n");
        while (c.say("X: y\r\n")) {
            ++said;
            std::this_thread::yield();
            if (said > 100) break;
        }
        c.wait_for_close();
    });
    const auto probe = make(negotiate(config::CHECK_PROTOCOL_HTTP, peer.port()));
    probe->start([](const Outcome& outcome) { ADD_FAILURE() << outcome.reason; });
    EXPECT_TRUE(turn_until([&] { return said > 100; }));
    EXPECT_EQ(probe->stop(), "rest of the header");
}

TEST_F(Stream, AnswerByteByByte) {
    const Peer peer([](Connection& c) {
        (void)c.hear("\r\n\r\n");
        for (const char byte : std::string("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")) {
            if (!c.say({&byte, 1})) return;
        }
    });
    ProbeSpec spec = negotiate(config::CHECK_PROTOCOL_HTTP, peer.port());
    spec.check.set_expect_regex("^hello$");
    EXPECT_EQ(text_of(ask(spec)), "up: HTTP 200");
}

TEST_F(Stream, WrongAnswerIsDown) {
    const Peer peer([](Connection& c) {
        c.say("SSH-2.0-OpenSSH_9.2p1\r\n");
        c.wait_for_close();
    });
    EXPECT_THAT(text_of(ask(negotiate(config::CHECK_PROTOCOL_HTTP, peer.port()))), StartsWith("down: not HTTP: "));
}

TEST_F(Stream, EndlessAnswerIsCut) {
    const Peer peer([](Connection& c) {
        (void)c.hear("\r\n\r\n");
        c.say("HTTP/1.1 200 OK\r\n\r\n");
        while (c.say(std::string(8192, 'x'))) {
        }
    });
    ProbeSpec spec = negotiate(config::CHECK_PROTOCOL_HTTP, peer.port());
    spec.check.set_expect_text("needle");
    EXPECT_THAT(text_of(ask(spec)), StartsWith("down: HTTP 200, but no \"needle\" in the answer (64 KiB of it)"));
    EXPECT_LE(transcript_.text().size(), Transcript::bytes_max);
}

// The shell's own limit, for a Talk that never has enough.
class Greedy final : public Talk {
  public:
    Step on_connected() override { return {}; }
    Step on_bytes(std::string_view) override { return {}; }
    Step on_tls() override { return {}; }
    Step on_end() override { return {.next = Next::done, .outcome = {Finding::down, "ended"}}; }
    std::string waiting_for() const override { return "more"; }
};

TEST_F(Stream, EndlessAnswerIsCutForAnyTalk) {
    const Peer peer([](Connection& c) {
        while (c.say(std::string(8192, 'x'))) {
        }
    });
    const auto probe = factory_.make_conversation(IpAddress::v4({127, 0, 0, 1}), peer.port(),
                                                  [] { return std::make_unique<Greedy>(); });
    EXPECT_EQ(text_of(ask(*probe)), "down: more than 64 KiB came without an end, waiting for more");
}

TEST_F(Stream, ResetIsDown) {
    const Peer peer([](Connection& c) {
        (void)c.hear("\r\n\r\n");
        c.reset();
    });
    EXPECT_EQ(text_of(ask(negotiate(config::CHECK_PROTOCOL_HTTP, peer.port()))),
              "down: waiting for answer to GET: connection reset by peer");
}

TEST_F(Stream, ClosedInTheMiddleIsDown) {
    const Peer peer([](Connection& c) {
        (void)c.hear("\r\n\r\n");
        c.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    });
    ProbeSpec spec = negotiate(config::CHECK_PROTOCOL_HTTP, peer.port());
    spec.check.set_expect_text("whole");
    EXPECT_EQ(text_of(ask(spec)),
              "down: HTTP 200, but the connection was closed in the middle of the body (4 bytes came)");
}

TEST_F(Stream, GoodbyeArrives) {
    std::atomic<bool> quit{false};
    const Peer peer([&](Connection& c) {
        c.say("220 mail.example ESMTP\r\n");
        if (c.hear("\r\n").starts_with("EHLO")) c.say("250 mail.example\r\n");
        quit = c.hear("\r\n") == "QUIT\r\n";
    });
    EXPECT_EQ(ask(negotiate(config::CHECK_PROTOCOL_SMTP, peer.port())).finding, Finding::up);
    EXPECT_TRUE(turn_until([&] { return quit.load(); }));
}

// More than the socket takes at once, to a server that reads late.
TEST_F(Stream, LongRequestIsSentToItsEnd) {
    class Long final : public Talk {
      public:
        Step on_connected() override { return {.send = std::string(8 * 1024 * 1024, 'x') + "\n"}; }
        Step on_bytes(std::string_view bytes) override {
            return {.next = Next::done, .outcome = {Finding::up, std::string(bytes)}};
        }
        Step on_tls() override { return {}; }
        Step on_end() override { return {.next = Next::done, .outcome = {Finding::down, "ended"}}; }
        std::string waiting_for() const override { return "answer"; }
    };
    const Peer peer([](Connection& c) {
        std::array<char, 65536> bytes{};
        std::size_t heard = 0;
        while (heard < 8 * 1024 * 1024 + 1) {
            const ssize_t got = ::recv(c.fd(), bytes.data(), bytes.size(), 0);
            if (got <= 0) return;
            heard += static_cast<std::size_t>(got);
        }
        c.say("all");
        c.wait_for_close();
    });
    const auto probe =
        factory_.make_conversation(IpAddress::v4({127, 0, 0, 1}), peer.port(), [] { return std::make_unique<Long>(); });
    EXPECT_EQ(text_of(ask(*probe)), "up: all");
}

TEST_F(Stream, HangingOnesDisturbNoOther) {
    const SilentPort hanging;
    ASSERT_EQ(::listen(hanging.fd(), 4096), 0);
    std::vector<std::unique_ptr<Probe>> probes;
    for (int i = 0; i < 200; ++i) {
        probes.push_back(make(negotiate(config::CHECK_PROTOCOL_HTTP, hanging.port())));
        probes.back()->start([](const Outcome& outcome) { ADD_FAILURE() << outcome.reason; });
    }
    const Peer peer([](Connection& c) {
        (void)c.hear("\r\n\r\n");
        c.say("HTTP/1.1 200 OK\r\n\r\n");
    });
    EXPECT_EQ(text_of(ask(negotiate(config::CHECK_PROTOCOL_HTTP, peer.port()))), "up: HTTP 200");
    for (const auto& probe : probes) EXPECT_EQ(probe->stop(), "answer to GET");
}

// A server on UDP: receives, and answers what `reply` makes of it ("": nothing).
class UdpPeer {
  public:
    explicit UdpPeer(std::function<std::string(std::string_view)> reply) : port_(SOCK_DGRAM) {
        thread_ = std::thread([this, reply = std::move(reply)] {
            std::array<char, 2048> bytes{};
            for (;;) {
                sockaddr_in from{};
                socklen_t from_bytes = sizeof from;
                const ssize_t got = ::recvfrom(port_.fd(), bytes.data(), bytes.size(), 0,
                                               reinterpret_cast<sockaddr*>(&from), &from_bytes);
                if (got < 0 || std::string_view(bytes.data(), static_cast<std::size_t>(got)) == "end") return;
                const std::string answer = reply({bytes.data(), static_cast<std::size_t>(got)});
                if (answer.empty()) continue;
                (void)::sendto(port_.fd(), answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from),
                               from_bytes);
            }
        });
    }
    ~UdpPeer() {
        const SocketAddress to(IpAddress::v4({127, 0, 0, 1}), port_.port());
        (void)::sendto(port_.fd(), "end", 3, 0, to.get(), to.bytes());
        thread_.join();
    }
    UdpPeer(const UdpPeer&) = delete;
    UdpPeer& operator=(const UdpPeer&) = delete;
    [[nodiscard]] std::uint16_t port() const { return port_.port(); }

  private:
    SilentPort port_;
    std::thread thread_;
};

ProbeSpec udp_ping(ProbeSpec spec) {
    spec.check.set_send("ping");
    spec.check.set_expect("pong");
    return spec;
}

TEST_F(Datagram, AnswerIsUp) {
    const UdpPeer peer([](std::string_view said) { return said == "ping" ? "pong" : "?"; });
    EXPECT_EQ(ask(udp_ping(negotiate(config::CHECK_PROTOCOL_UDP, peer.port()))).finding, Finding::up);
    EXPECT_THAT(transcript_.text(), HasSubstr("> ping\n< pong\n"));
}

TEST_F(Datagram, WrongAnswerIsDown) {
    const UdpPeer peer([](std::string_view) { return "error"; });
    EXPECT_EQ(ask(udp_ping(negotiate(config::CHECK_PROTOCOL_UDP, peer.port()))).finding, Finding::down);
}

TEST_F(Datagram, NobodyThereIsRefusedAtOnce) {
    std::uint16_t port = 0;
    {
        const SilentPort closed(SOCK_DGRAM);
        port = closed.port();
    }
    EXPECT_THAT(text_of(ask(udp_ping(negotiate(config::CHECK_PROTOCOL_UDP, port)))),
                ::testing::AllOf(StartsWith("down: "), HasSubstr("connection refused")));
}

TEST_F(Datagram, LostQuestionIsAskedAgain) {
    int heard = 0;
    const UdpPeer peer([&](std::string_view) { return ++heard < 2 ? "" : "pong"; });
    EXPECT_EQ(ask(udp_ping(negotiate(config::CHECK_PROTOCOL_UDP, peer.port()))).finding, Finding::up);
    EXPECT_EQ(heard, 2);
}

TEST_F(Datagram, SilenceIsNeverAnAnswer) {
    const SilentPort silent(SOCK_DGRAM);
    ProbeSpec spec = negotiate(config::CHECK_PROTOCOL_UDP, silent.port());
    spec.check.set_send("ping");
    const auto probe = make(spec);
    probe->start([](const Outcome& outcome) { ADD_FAILURE() << outcome.reason; });
    io_.run_for(std::chrono::milliseconds(50));
    EXPECT_THAT(probe->stop(), HasSubstr("answer"));
}

TEST_F(Datagram, NothingToSendIsUnusable) {
    EXPECT_EQ(ask(negotiate(config::CHECK_PROTOCOL_UDP, 9)).finding, Finding::unusable);
}

TEST(Transcript, IsBoundedAndHidesSecrets) {
    Transcript transcript;
    transcript.sent("GET /?password=one HTTP/1.1\r\nAuthorization: Basic t\\wo\r\nX-Api-Key: three\r\n\r\n");
    transcript.received("bin\x01\xff\n\nend");
    EXPECT_EQ(transcript.text(),
              "> GET /?password=*** HTTP/1.1\n> Authorization:***\n> X-Api-Key:***\n> \n< bin\\x01\\xff\n< \n< end\n");
    for (int i = 0; i < 1000; ++i) transcript.received(std::string(200, 'x'));
    EXPECT_LE(transcript.text().size(), Transcript::bytes_max);
    EXPECT_THAT(transcript.text(), ::testing::EndsWith("... (no more is kept)\n"));
}

}  // namespace
}  // namespace lbcluster::health::test
