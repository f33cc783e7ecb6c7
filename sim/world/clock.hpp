// Simulated time: a thin cover over ns-3's scheduler. There is one simulation at a time in a process (ns-3's rule).
// `Instant` of the world counts from an arbitrary start, so that "never" and "an hour ago" exist.
#pragma once

#include <ns3/event-id.h>
#include <ns3/nstime.h>
#include <ns3/simulator.h>

#include <functional>
#include <utility>

#include "lbcluster/base/time.hpp"

namespace lbcluster::sim {

// The world's time at the beginning of a simulation.
inline constexpr Instant beginning{std::chrono::hours{1000}};

inline Instant world_now() { return beginning + Duration{ns3::Simulator::Now().GetNanoSeconds()}; }
// Since the beginning.
inline Duration elapsed() { return Duration{ns3::Simulator::Now().GetNanoSeconds()}; }

template <class Function>
ns3::EventId after(Duration wait, Function&& what) {
    return ns3::Simulator::Schedule(ns3::NanoSeconds(std::max<Duration>(wait, Duration{0}).count()),
                                    std::function<void()>(std::forward<Function>(what)));
}

// One pending event; setting it again replaces it, destroying it cancels.
class Timer {
  public:
    Timer() = default;
    ~Timer() { cancel(); }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    template <class Function>
    void set(Duration wait, Function&& what) {
        cancel();
        event_ = after(wait, std::forward<Function>(what));
    }
    void cancel() { ns3::Simulator::Cancel(event_); }
    [[nodiscard]] bool pending() const { return event_.IsRunning(); }

  private:
    ns3::EventId event_;
};

}  // namespace lbcluster::sim
