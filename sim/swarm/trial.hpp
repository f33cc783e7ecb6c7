// One run of the swarm, in a process of its own: a core that aborts, or that never comes to rest, is a find like any
// other; and no run can see anything of another one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "sim/swarm/mix.hpp"

namespace lbcluster::sim {

struct Outcome {
    bool violated = false;
    // 0: the process ended by a signal, or its scenario was refused.
    unsigned invariant = 0;
    std::string name;
    std::string what;
    Duration at{0};
    std::string text;  // with the events before it, if they were asked for
    std::uint64_t moves = 0;
    std::uint64_t heartbeats = 0;
};

// Starts runs, at most so many at once, and collects them.
class Trials {
  public:
    Trials() = default;
    ~Trials();
    Trials(const Trials&) = delete;
    Trials& operator=(const Trials&) = delete;

    // `events`: with the story of what happened; slower.
    bool begin(std::uint64_t number, const Scenario& scenario, bool events);
    [[nodiscard]] std::size_t running() const { return running_.size(); }
    // Waits until one has ended.
    std::optional<std::pair<std::uint64_t, Outcome>> next();

  private:
    struct Running {
        pid_t pid = -1;
        int pipe = -1;
        std::string said;
    };
    std::map<std::uint64_t, Running> running_;
};

// One run, now.
Outcome run_trial(const Scenario& scenario, bool events);

}  // namespace lbcluster::sim
