// An independent host on the LAN that asks who has an address, every 5 ms, and notes who answers: by ARP (RFC 826) or
// by neighbor solicitation (RFC 4861), as the address is. The sender address of each question tells the answers of
// neighbouring questions apart, so "two answered" means that two machines answered the same question. Announcements
// (gratuitous ARP, RFC 5227; unsolicited advertisements with the override flag, RFC 4861 7.2.6) are noted as well.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/frames.hpp"
#include "tests/lab/process.hpp"

namespace lbcluster::lab {

struct ObserverReport {
    std::uint64_t asked = 0;
    std::uint64_t unanswered = 0;
    std::uint64_t two_answered = 0;      // questions that more than one machine answered
    Nanoseconds two_answered_longest{};  // longest time in which every question was answered by more than one
    Nanoseconds unanswered_longest{};
    std::set<std::string> answering;                               // MAC addresses
    std::vector<std::pair<TimePoint, std::string>> announcements;  // when, MAC
    [[nodiscard]] std::string text() const;
};

class AddressObserver {
  public:
    AddressObserver(const Namespace& host, const std::string& interface, const std::string& address,
                    Nanoseconds pace = 5ms);
    ~AddressObserver();
    AddressObserver(const AddressObserver&) = delete;
    AddressObserver& operator=(const AddressObserver&) = delete;

    void mark();
    [[nodiscard]] ObserverReport report(Nanoseconds linger = 50ms) const;

  private:
    struct Question {
        TimePoint sent;
        std::vector<std::string> answers;
    };
    void watch();
    void ask();
    void receive();

    static constexpr std::size_t senders = 8;

    const std::string target_;
    std::array<std::string, senders> own_;  // the senders' addresses, which take turns
    std::array<Frame, senders> frames_;     // their questions
    const Nanoseconds pace_;
    mutable std::mutex mutex_;
    std::vector<Question> questions_;
    std::vector<std::pair<TimePoint, std::string>> announcements_;
    TimePoint mark_ = Clock::now();
    std::atomic<bool> ending_{false};
    int fd_ = -1;
    std::thread thread_;
};

}  // namespace lbcluster::lab
