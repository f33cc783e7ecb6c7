// TCP through a floating IP: what a client of a real service sees.
//
// `TcpService` listens on port 7778 of every local address of its hosts and returns what it is sent, after its name.
// `TcpSession` is one connection that sends a number every 10 ms and waits for it: alive as long as neither side ended
// or reset it. A connection never moves to another host: who receives a segment of somebody else's answers with a
// reset.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

class TcpService {
  public:
    explicit TcpService(const std::vector<const Namespace*>& hosts);
    ~TcpService();
    TcpService(const TcpService&) = delete;
    TcpService& operator=(const TcpService&) = delete;

  private:
    void serve();
    void greet(int listener, const std::string& name);
    void echo(int connection);

    std::map<int, std::string> listeners_;
    std::set<int> connections_;
    int epoll_ = -1;
    int wake_ = -1;
    std::thread thread_;
};

class TcpSession {
  public:
    // Connects within `limit`; if nobody answers it is not alive. Less than a second: a first segment that was
    // lost is not repeated, so this asks whether somebody serves now.
    TcpSession(const Namespace& client, const std::string& address, Nanoseconds limit = 500ms);
    ~TcpSession();
    TcpSession(const TcpSession&) = delete;
    TcpSession& operator=(const TcpSession&) = delete;

    [[nodiscard]] const std::string& host() const { return host_; }  // who accepted it; "": nobody did
    [[nodiscard]] bool alive() const { return alive_; }
    [[nodiscard]] std::uint64_t echoes() const { return echoes_; }
    [[nodiscard]] bool wait_echoes(std::uint64_t more, Nanoseconds limit) const;  // that many from now

  private:
    void talk();

    int fd_ = -1;
    std::string host_;
    std::atomic<bool> alive_{false};
    std::atomic<bool> ending_{false};
    std::atomic<std::uint64_t> echoes_{0};
    std::thread thread_;
};

}  // namespace lbcluster::lab
