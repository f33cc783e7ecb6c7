// A real server that behaves as it is told: HTTP on one TCP port of a host. What it does can change at any moment and
// counts for the connections that are accepted from then on. It counts what it was asked.
//
// One thread of its own. To stand for many servers let the host redirect a range of ports to it (redirect()).
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

enum class Conduct {
    answer,     // `status` and `body`, then closes
    refuse,     // does not listen: the kernel resets
    hang,       // accepts and says nothing
    reset,      // accepts and resets
    close,      // accepts and closes without a word
    cut_short,  // half of an answer, then closes
    endless,    // a header, then body for ever
    slow,       // a byte of the answer every 50 ms
    garbage,    // bytes that are no HTTP
    greet,      // says a text at once, unasked, then closes
};

class Backend {
  public:
    Backend(const Namespace& host, std::uint16_t port);
    ~Backend();
    Backend(const Backend&) = delete;
    Backend& operator=(const Backend&) = delete;

    void behave(Conduct conduct);
    // Implies Conduct::answer. `more`: further header lines, each with its line end.
    void answer(unsigned status, const std::string& body = "OK", const std::string& more = "");
    void greet(const std::string& text);  // implies Conduct::greet
    [[nodiscard]] std::uint64_t accepted() const { return accepted_; }
    [[nodiscard]] std::vector<TimePoint> accept_times() const;  // of all
    [[nodiscard]] std::string last_request() const;
    [[nodiscard]] std::string last_client() const;            // the address that it came from
    [[nodiscard]] std::vector<std::string> requests() const;  // the newest 1000, with their bodies

    // TCP to ports first..last of the host arrives at this one.
    static void redirect(const Namespace& host, std::uint16_t first, std::uint16_t last, std::uint16_t to);

  private:
    struct Connection {
        Conduct conduct;
        std::string answer;  // not yet sent
        std::string request;
        TimePoint next{};  // when `slow` sends again
    };
    void listen();
    void serve();
    void accept_all();
    // False: the connection is done with.
    bool serve_one(int fd, Connection& connection, TimePoint now);
    bool on_request(int fd, Connection& connection);

    const Namespace& host_;
    const std::uint16_t port_;
    mutable std::mutex mutex_;  // conduct_, text_, accept_times_, requests_, last_client_
    Conduct conduct_ = Conduct::answer;
    std::string text_;
    std::vector<TimePoint> accept_times_;
    std::deque<std::string> requests_;
    std::string last_client_;
    std::atomic<std::uint64_t> accepted_{0};
    std::atomic<bool> ending_{false};
    std::map<int, Connection> connections_;
    int listener_ = -1;
    int wake_ = -1;
    int epoll_ = -1;
    std::thread thread_;
};

}  // namespace lbcluster::lab
