// A loop with a probe factory, and scripted servers on loopback to ask.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "healthd/probes/factory.hpp"

namespace lbcluster::health::test {

inline constexpr std::chrono::seconds patience{10};  // a test that waits longer has failed

// The server's end of one connection. Reading and writing block, not longer than `patience`.
class Connection {
  public:
    explicit Connection(int fd) : fd_(fd) {
        const timeval limit{patience.count(), 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }
    ~Connection() { close(); }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    [[nodiscard]] int fd() const { return fd_; }
    // False: the client is gone.
    bool say(std::string_view bytes) const {
        while (!bytes.empty()) {
            const ssize_t put = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (put <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(put));
        }
        return true;
    }
    // All until `end` came, or the client closed.
    [[nodiscard]] std::string hear(std::string_view end) const {
        std::string out;
        char c = 0;
        while (!out.ends_with(end) && ::recv(fd_, &c, 1, 0) == 1) out += c;
        return out;
    }
    // Until the client goes away.
    void wait_for_close() const {
        std::array<char, 4096> bytes{};
        while (::recv(fd_, bytes.data(), bytes.size(), 0) > 0) {
        }
    }
    void reset() {
        const linger at_once{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close();
    }
    void close() {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
    }

  private:
    int fd_;
};

// Listens on 127.0.0.1 and plays `script` for one client after the other, on a thread of its own.
class Peer {
  public:
    using Script = std::function<void(Connection&)>;

    explicit Peer(Script script) : script_(std::move(script)) {
        listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t bytes = sizeof address;
        EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), bytes), 0);
        EXPECT_EQ(::listen(listener_, 16), 0);
        EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] {
            for (;;) {
                const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
                if (fd < 0) return;
                Connection connection(fd);
                script_(connection);
            }
        });
    }
    ~Peer() {
        ::shutdown(listener_, SHUT_RDWR);
        thread_.join();
        ::close(listener_);
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    [[nodiscard]] std::uint16_t port() const { return port_; }

  private:
    Script script_;
    int listener_ = -1;
    std::uint16_t port_ = 0;
    std::thread thread_;
};

// A port on which nobody listens, as long as this lives: bound, but without listen().
class SilentPort {
  public:
    explicit SilentPort(int type = SOCK_STREAM) : fd_(::socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t bytes = sizeof address;
        EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), bytes), 0);
        EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
        port_ = ntohs(address.sin_port);
        const timeval limit{patience.count(), 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    }
    ~SilentPort() { ::close(fd_); }
    SilentPort(const SilentPort&) = delete;
    SilentPort& operator=(const SilentPort&) = delete;
    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] std::uint16_t port() const { return port_; }

  private:
    int fd_;
    std::uint16_t port_ = 0;
};

class Rig : public ::testing::Test {
  protected:
    // Turns the loop until it is so; false after `patience`.
    bool turn_until(const std::function<bool()>& condition) {
        const auto end = std::chrono::steady_clock::now() + patience;
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end) return false;
            io_.restart();
            io_.run_one_for(std::chrono::milliseconds(5));
        }
        return true;
    }
    Outcome ask(Probe& probe) {
        std::optional<Outcome> outcome;
        probe.start([&](Outcome came) { outcome = std::move(came); }, &transcript_);
        EXPECT_FALSE(outcome) << "done was called from inside start()";
        if (!turn_until([&] { return outcome.has_value(); })) return {Finding::unusable, "no end: " + probe.stop()};
        EXPECT_LE(outcome->reason.size(), reason_bytes_max);
        return *outcome;
    }
    std::unique_ptr<Probe> make(const ProbeSpec& spec) {
        auto probe = factory_.make(spec);
        if (probe) return std::move(*probe);
        ADD_FAILURE() << probe.error().message;
        return nullptr;
    }
    Outcome ask(const ProbeSpec& spec) { return ask(*make(spec)); }

    static ProbeSpec connect_to(std::uint16_t port) {
        ProbeSpec spec;
        spec.address = IpAddress::v4({127, 0, 0, 1});
        spec.port = port;
        spec.check.set_type(config::CHECK_TYPE_CONNECT);
        return spec;
    }
    static ProbeSpec negotiate(config::CheckProtocol protocol, std::uint16_t port) {
        ProbeSpec spec = connect_to(port);
        spec.check.set_type(config::CHECK_TYPE_NEGOTIATE);
        spec.check.set_protocol(protocol);
        return spec;
    }

    boost::asio::io_context io_{1};
    ProbeFactory factory_{io_};
    Transcript transcript_;
};

inline std::string text_of(Finding finding) {
    switch (finding) {
        case Finding::up:
            return "up";
        case Finding::standby:
            return "standby";
        case Finding::down:
            return "down";
        case Finding::unusable:
            break;
    }
    return "unusable";
}
// "down: connect: connection refused": both parts in one comparison.
inline std::string text_of(const Outcome& outcome) { return text_of(outcome.finding) + ": " + outcome.reason; }

}  // namespace lbcluster::health::test
