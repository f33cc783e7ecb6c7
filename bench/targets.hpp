// The servers that are checked: 10.50.0.0/16, port 80, in a network namespace of their own; and the checker's namespace
// beside it, with one cable between them:
//
//   checker  10.49.0.1/24 eth0 ---- eth0 10.49.0.2/24  servers (all of 10.50.0.0/16 is local there)
//
// Every check is noted where it arrives, as the kernel's time of its SYN: the same for whoever checks, also for a
// handshake that is ended before any accept(2) sees it. A SYN sent again (same sequence number) is no new check.
//
// A thread serves, a thread collects what the kernel noted. It looks every 20 ms instead of being woken, as waking it
// would be done, and paid, by whoever sends the SYN. Errors throw std::runtime_error (see tests/lab/process.hpp).
#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bench/spread.hpp"
#include "tests/lab/process.hpp"

namespace lbcluster::bench {

class Targets {
  public:
    static constexpr std::size_t max = 16000;
    static constexpr std::uint16_t port = 80;

    Targets();
    ~Targets();
    Targets(const Targets&) = delete;
    Targets& operator=(const Targets&) = delete;

    [[nodiscard]] const lab::Namespace& checker() const { return checker_; }
    static std::string address(std::size_t target);
    // The other way round; `max` if it is none of ours.
    static std::size_t target_of(const std::string& address);

    // What arrived since the last call, and how many the kernel could not note.
    std::vector<Arrival> take();
    [[nodiscard]] std::size_t missed();

    // These answer nothing any more, all from one moment on, as machines without power; or all are back. The moment was
    // before now by no more than what is returned.
    lab::Nanoseconds kill(const std::vector<std::size_t>& targets);
    void revive();

  private:
    void open_tap();
    void collect();
    std::size_t collect_some();

    lab::Namespace servers_{"servers"};
    lab::Namespace checker_{"checker"};
    int stop_ = -1;
    int listener_ = -1;
    int tap_ = -1;
    std::mutex mutex_;
    std::vector<Arrival> arrivals_;
    std::vector<std::uint32_t> last_sequence_;
    std::size_t missed_ = 0;
    bool silent_ = false;
    std::thread server_;
    std::thread collector_;
};

}  // namespace lbcluster::bench
