// Was it our own fault? Probes that failed while this node was cut off, or while this process was late, say nothing
// about a server. Pure.
//
// Two kinds of evidence:
//   environment   heartbeatd's view: an interface without carrier, or no ping node answers although one had answered
//                 before. While that is so failures are held back, and for `settle_time` afterwards (switches and
//                 neighbour tables need a moment). At most for hold_max, counted from the appearance of each reason:
//                 what lasts longer is how the network is now, and nothing may stay green for ever.
//                 No heartbeatd, no hold: without its view there is no evidence.
//   stalls        our own deadlines that came late. A round that ran into its deadline is void if it saw a stall of
//                 more than a quarter of its timeout (at least 50 ms); one that failed otherwise if the stall was
//                 longer than all of its timeout: a refused connection is refused, however late we look. The core
//                 takes this excuse once until the next success: who is late all the time must see the dead, too.
// Successes always count.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "healthd/core/types.hpp"

namespace lbcluster::health {

// What heartbeatd says of this node.
struct Environment {
    std::vector<std::string> without_carrier;  // interfaces
    bool ping_nodes = false;                   // there are some
    bool reached = false;                      // one of them answers
};

class Guard {
  public:
    static constexpr Duration hold_max = 60s;
    static constexpr Duration settle_time = 1s;
    static constexpr Duration stall_min = 50ms;
    static constexpr const char* lateness = "healthd itself was late";  // the excuse of a stall

    // Nothing: heartbeatd does not tell. True: a hold began, so failures that were seen just now are not believed
    // either.
    bool on_environment(Instant now, const std::optional<Environment>& environment);
    // We were due at `due` and come only now.
    void on_late(Instant due, Instant now);

    // Why failures are held back now; empty: they count.
    [[nodiscard]] std::string holding(Instant now) const;
    // Why a failure of this round would not count; empty: it counts.
    [[nodiscard]] std::string excuse(Instant now, Instant round_start, Duration timeout, bool timed_out) const;

  private:
    struct Stall {
        Instant end;
        Duration length;
    };
    [[nodiscard]] Instant hold_end() const;

    std::map<std::string, Instant> reasons_;  // since when
    Instant held_until_ = Instant::min();     // failures of rounds that began before do not count
    bool reached_once_ = false;
    std::deque<Stall> stalls_;  // the newest ones
};

}  // namespace lbcluster::health
