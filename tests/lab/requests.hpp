// HTTP requests without a pause, each over a connection of its own, as many small clients make them. Counts who
// answered, and keeps what failed. Each client is a thread that enters its host's network once.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

struct Answer {
    unsigned status = 0;  // 0: none came; `body` says why
    std::string head;
    std::string body;
};

// One request; `limit` for all of it. `more`: further header lines, each with its line end.
Answer ask_http(const Namespace& client, const std::string& address, std::uint16_t port, const std::string& more = "",
                Nanoseconds limit = 5s);

// One line to a Unix socket, and what comes until the other end closes; empty when nobody is there.
std::string ask_unix(const std::string& path, const std::string& line);

struct RequestReport {
    std::uint64_t asked = 0;
    std::uint64_t failed = 0;                       // anything but 200
    std::map<std::string, std::uint64_t> answered;  // by body
    std::vector<std::string> failures;              // the first of them
    Nanoseconds longest{};
    [[nodiscard]] std::string text() const;
};

class Requests {
  public:
    Requests(const Namespace& client, std::string address, std::uint16_t port, unsigned clients = 8);
    ~Requests();
    Requests(const Requests&) = delete;
    Requests& operator=(const Requests&) = delete;

    // From now on. Those that were under way count, too.
    void mark();
    [[nodiscard]] RequestReport report() const;
    // Until that many more have been asked.
    [[nodiscard]] bool wait_asked(std::uint64_t more, Nanoseconds limit = 20s) const;

  private:
    void work();

    const Namespace& client_;
    const std::string address_;
    const std::uint16_t port_;
    mutable std::mutex mutex_;
    RequestReport report_;
    std::atomic<bool> ending_{false};
    std::vector<std::thread> threads_;
};

}  // namespace lbcluster::lab
