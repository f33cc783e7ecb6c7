// An independent host on the LAN that asks by ARP (RFC 826) who has an address, every 5 ms, and notes who answers.
// The sender address of each request tells the answers of neighbouring requests apart, so "two answered" means
// that two machines answered the same request. Gratuitous ARPs (announcements, RFC 5227) are noted as well.
#pragma once

#include <netinet/in.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

struct ObserverReport {
    std::uint64_t asked = 0;
    std::uint64_t unanswered = 0;
    std::uint64_t two_answered = 0;      // requests that more than one machine answered
    Nanoseconds two_answered_longest{};  // longest time in which every request was answered by more than one
    Nanoseconds unanswered_longest{};
    std::set<std::string> answering;                               // MAC addresses
    std::vector<std::pair<TimePoint, std::string>> announcements;  // when, MAC
    [[nodiscard]] std::string text() const;
};

class ArpObserver {
  public:
    ArpObserver(const Namespace& host, const std::string& interface, const std::string& address,
                Nanoseconds pace = 5ms);
    ~ArpObserver();
    ArpObserver(const ArpObserver&) = delete;
    ArpObserver& operator=(const ArpObserver&) = delete;

    void mark();
    [[nodiscard]] ObserverReport report(Nanoseconds linger = 50ms) const;

  private:
    struct Request {
        TimePoint sent;
        std::vector<std::string> answers;
    };
    void watch();
    void ask();
    void receive();

    in_addr target_{};
    std::array<std::uint8_t, 6> mac_{};
    int interface_ = 0;
    const Nanoseconds pace_;
    mutable std::mutex mutex_;
    std::vector<Request> requests_;
    std::vector<std::pair<TimePoint, std::string>> announcements_;
    TimePoint mark_ = Clock::now();
    std::atomic<bool> ending_{false};
    int fd_ = -1;
    std::thread thread_;
};

}  // namespace lbcluster::lab
