// One simulation from beginning to end: run_simulation() is what `lbcluster-sim run`, swarm and explore call. It may
// be called again and again in a process, one after the other; the same scenario and seed give the same result.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/invariants/invariants.hpp"
#include "sim/run/recorder.hpp"
#include "sim/run/service_watch.hpp"
#include "sim/scenario/scenario.hpp"

namespace lbcluster::sim {

struct RunOptions {
    std::optional<std::uint64_t> seed;  // instead of the scenario's
    bool events = true;                 // keep the timeline; without it a run is faster
    bool invariants = true;
    bool stop_at_violation = false;  // a swarm has seen enough then
    Duration probe_min{0};           // clients ask no more often
    std::string pcap_dir;
    Observer* observer = nullptr;  // one more who looks
};

struct Failure {
    Duration at{0};
    std::string what;  // the expectation, and what was instead
};

struct RunResult {
    std::uint64_t seed = 0;
    Duration duration{0};
    std::vector<Violation> violations;
    std::vector<Failure> failures;
    // The timeline.
    std::vector<TimelineEvent> events;
    std::map<std::string, std::vector<Span>> activities;
    std::map<std::string, std::vector<Span>> kernels;
    std::vector<ServiceWatch::Gap> gaps;
    std::vector<ServiceWatch::Stretch> both;
    std::vector<ServiceWatch::Move> moves;
    Duration longest_gap{0};
    Duration longest_both{0};
    std::uint64_t heartbeats = 0;  // sent by both
    std::uint64_t steps = 0;       // of ns-3
    [[nodiscard]] bool good() const { return violations.empty() && failures.empty(); }
};

// `scenario` must be ok().
RunResult run_simulation(const Loaded& scenario, const RunOptions& options);

}  // namespace lbcluster::sim
