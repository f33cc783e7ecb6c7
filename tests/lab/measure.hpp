// Measurements beside prober and ARP observer: what leaves a node and when (heartbeats, announcements), who answers for
// each of a thousand addresses, and load for the machine. Times of packets are the kernel's (CLOCK_REALTIME),
// so that a late test thread falsifies nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/frames.hpp"
#include "tests/lab/pair.hpp"

namespace lbcluster::lab {

// LBCLUSTER_FULL=1: as often as the issue asks, not only as often as fits into every run.
bool full_run();

// What leaves one interface of a host.
class SentPackets {
  public:
    SentPackets(const Namespace& host, const std::string& interface);
    ~SentPackets();
    SentPackets(const SentPackets&) = delete;
    SentPackets& operator=(const SentPackets&) = delete;

    struct Announcement {  // gratuitous ARP (RFC 5227), unsolicited neighbor advertisement (RFC 4861)
        std::int64_t time_ns;
        std::string address;
    };
    void mark();  // forgets what was seen
    [[nodiscard]] std::vector<std::int64_t> heartbeats() const;
    [[nodiscard]] std::vector<Announcement> announcements() const;
    // Between two heartbeats that followed each other.
    [[nodiscard]] Nanoseconds longest_heartbeat_gap() const;

  private:
    void watch();
    void look(const std::uint8_t* frame, std::size_t bytes, std::int64_t time_ns);

    int fd_ = -1;
    mutable std::mutex mutex_;
    std::vector<std::int64_t> heartbeats_;
    std::vector<Announcement> announcements_;
    std::atomic<bool> ending_{false};
    std::thread thread_;
};

// Asks by ARP (RFC 826) or neighbor solicitation (RFC 4861) from the host who has each address, again and again until
// all were answered or the time is over. The MAC addresses that answered; an address nobody has is missing.
std::map<std::string, std::set<std::string>> who_answers(const Namespace& host, const std::string& interface,
                                                         const std::string& own_v4, const std::string& own_v6,
                                                         const std::vector<std::string>& addresses, Nanoseconds limit);

// Processes that do nothing but compute.
class Burners {
  public:
    explicit Burners(unsigned count);
    ~Burners();
    Burners(const Burners&) = delete;
    Burners& operator=(const Burners&) = delete;

  private:
    std::vector<pid_t> pids_;
};

// The events of a node's daemon in this life, oldest first.
std::vector<Json> events_of(const Pair& pair, const std::string& node);
bool has_event(const Pair& pair, const std::string& node, const std::string& kind, const std::string& part = "");
std::uint64_t counter_of(const Pair& pair, const std::string& node, const std::string& name);

}  // namespace lbcluster::lab
