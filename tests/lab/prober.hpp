// The client's view of the service, and the service.
//
// `EchoService` answers UDP on port 7777 of every local address of its hosts, floating IPs included, and says which
// host answered. It is independent of the daemons: it stands for kernel and service of the machine. `Prober` sends a
// numbered datagram to one address every millisecond (real-time priority where permitted) and notes when which host
// answered. Its own lateness is recorded, so that a slow machine is not taken for a gap.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

constexpr std::uint16_t service_port = 7777;

class EchoService {
  public:
    explicit EchoService(const std::vector<const Namespace*>& hosts);
    ~EchoService();
    EchoService(const EchoService&) = delete;
    EchoService& operator=(const EchoService&) = delete;

    // A machine that is off does not answer.
    void set_powered(const std::string& host, bool on);
    [[nodiscard]] std::string host_name(std::size_t index) const { return names_[index]; }
    [[nodiscard]] std::size_t hosts() const { return names_.size(); }

  private:
    struct Socket {
        int fd;
        std::size_t host;
    };
    void serve();
    void answer(const Socket& socket);

    std::vector<std::string> names_;
    std::vector<std::unique_ptr<std::atomic<bool>>> powered_;
    std::vector<Socket> sockets_;
    int epoll_ = -1;
    int wake_ = -1;
    std::thread thread_;
};

struct ProbeReport {
    std::uint64_t sent = 0;
    std::uint64_t lost = 0;
    Nanoseconds longest_gap{};  // between two answers that followed each other (or the window's edge)
    TimePoint gap_begin{};
    std::string before;  // who answered before the longest gap, and after it
    std::string after;
    Nanoseconds own_lateness{};  // worst delay of an own probe: noise of this machine
    std::map<std::string, std::uint64_t> answered_by;
    [[nodiscard]] std::string text() const;
};

class Prober {
  public:
    Prober(const Namespace& client, const EchoService& service, const std::string& address, Nanoseconds pace = 1ms);
    ~Prober();
    Prober(const Prober&) = delete;
    Prober& operator=(const Prober&) = delete;

    // Reports begin here from now on.
    void mark();
    // What was sent since the mark; waits `linger` for answers under way. Probes of the last `linger` are not counted.
    [[nodiscard]] ProbeReport report(Nanoseconds linger = 50ms) const;
    // True as soon as `count` probes in a row were answered by `host` ("": anybody).
    [[nodiscard]] bool wait_answers(const std::string& host, Nanoseconds limit, unsigned count = 20) const;

  private:
    struct Probe {
        std::atomic<std::int64_t> sent_ns{0};
        std::atomic<std::int64_t> answered_ns{0};
        std::atomic<std::int32_t> host{-1};
        std::atomic<std::int32_t> late_us{0};
    };
    void probe_forever();
    void receive(int fd);

    const EchoService& service_;
    const Nanoseconds pace_;
    std::vector<Probe> probes_;
    std::atomic<std::size_t> count_{0};
    std::atomic<std::size_t> mark_{0};
    std::atomic<std::int32_t> last_host_{-1};
    std::atomic<std::uint32_t> in_a_row_{0};
    std::atomic<std::int64_t> last_answer_ns_{0};
    std::atomic<bool> ending_{false};
    int fd_ = -1;
    std::vector<std::uint8_t> target_;
    std::thread thread_;
};

}  // namespace lbcluster::lab
