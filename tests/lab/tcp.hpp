// TCP through a floating IP: what a client of a real service sees.
//
// `TcpService` listens on port 7778 of every local address of its hosts and returns what it is sent, after its name.
// `TcpSession` is one connection that sends a number every 10 ms and waits for it: alive as long as neither side ended
// or reset it. A connection never moves to another host: who receives a segment of somebody else's answers with a
// reset.
//
// `TcpCutter` lies in a host's connections to one address and port: it passes on, counts, and resets them when it is
// told.
#pragma once

#include <netinet/in.h>

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

class TcpCutter {
  public:
    // Connections that `host` opens from now on are led through it by the host's own kernel; the other side sees the
    // host's address as before.
    TcpCutter(const Namespace& host, const std::string& address, std::uint16_t port);
    ~TcpCutter();
    TcpCutter(const TcpCutter&) = delete;
    TcpCutter& operator=(const TcpCutter&) = delete;

    // After so many messages from now, all connections that there are are reset, once; those after them pass. A message
    // is what one read brings, from either side: with partners who wait for each other, what one of them says at a
    // time.
    void cut_after(std::size_t messages);
    void pass();
    [[nodiscard]] std::size_t passed() const { return passed_; }  // since cut_after() or pass()
    [[nodiscard]] bool has_cut() const { return has_cut_; }

  private:
    void relay();
    void take_up();
    void pass_on(int from);
    void reset(int fd);
    void reset_all();

    const Namespace& host_;
    sockaddr_in here_{};
    sockaddr_in there_{};
    int listener_ = -1;
    std::map<int, int> partners_;  // both ways
    std::atomic<std::size_t> passed_{0};
    std::atomic<std::size_t> limit_{0};  // 0: none
    std::atomic<bool> has_cut_{false};
    std::atomic<bool> ending_{false};
    std::thread thread_;
};

}  // namespace lbcluster::lab
