// Clients that come again and again, many a second, and what became of each of them. For tests of what a fault does to
// traffic: no single question shows that.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/ipvs/name_service.hpp"

namespace lbcluster::lab {

struct Attempt {
    TimePoint begun;
    TimePoint ended;
    Answer answer;
    [[nodiscard]] bool failed() const { return answer.server.empty(); }
};

class Load {
  public:
    // Each of the clients asks, waits for the answer, and asks again after `pace`, always by a new connection.
    Load(const Namespace& host, const Question& question, unsigned clients = 3, Nanoseconds pace = 20ms);
    ~Load();
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;

    // Those that ended since, by the time of their end.
    [[nodiscard]] std::vector<Attempt> since(TimePoint begun) const;  // and were begun then or later
    [[nodiscard]] std::vector<Attempt> failures_since(TimePoint begun) const;
    // That many which began from now on have ended, well or not.
    [[nodiscard]] bool wait_attempts(std::size_t count, Nanoseconds limit = 60s) const;

  private:
    void ask_forever(const Namespace& host, const Question& question, Nanoseconds pace);

    mutable std::mutex mutex_;
    std::vector<Attempt> attempts_;
    std::atomic<bool> ending_{false};
    std::vector<std::thread> threads_;
};

// "3 of 120 failed, the first 0.2 s after it, the last 1.1 s; rs1 57, rs2 60": for messages.
std::string text_of(const std::vector<Attempt>& attempts, TimePoint after);

}  // namespace lbcluster::lab
