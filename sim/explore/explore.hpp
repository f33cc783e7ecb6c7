// One configuration with many timers: for each pair of keepalive and deadtime, and each rate of loss, what a crash
// costs and how often the addresses move although nothing is broken. Each cell of that table is simulated in a process
// of its own; the same settings give the same result, whatever the number of processes.
//
// A crash: the node that serves vanishes at a different moment between two heartbeats each time. A quiet run: only loss
// and jitter, and 600 keepalives of time, so that each cell costs the same. Loss and jitter act between the nodes
// and between nodes and ping nodes, on every network; clients lose nothing.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "sim/scenario/scenario.hpp"

namespace lbcluster::sim {

struct TriedTimers {
    Duration keepalive{0};
    Duration deadtime{0};
    bool configured = false;  // as the configuration has them
    [[nodiscard]] std::string text() const;
};

struct ExploreSettings {
    std::vector<TriedTimers> timers;
    std::vector<double> losses;  // per cent
    Duration jitter{0};
    unsigned runs = 6;  // of each kind, in each cell
    std::uint64_t seed = 1;
    unsigned jobs = 2;
};

struct Cell {
    TriedTimers timers;
    double loss = 0;
    std::vector<Duration> crashes;  // the longest gap of each, in order
    unsigned unserved = 0;          // crashes after which nobody served until the end
    unsigned moves = 0;             // without any fault
    Duration quiet{0};              // simulated time for that
    std::string problem;            // it could not be simulated

    [[nodiscard]] Duration median() const { return crashes.empty() ? Duration{0} : crashes[crashes.size() / 2]; }
    [[nodiscard]] Duration worst() const { return crashes.empty() ? Duration{0} : crashes.back(); }
    [[nodiscard]] double moves_an_hour() const;
};

// From a scenario file, or from a folder: with lb1/ and lb2/ (as `./dev lab up` makes), each a configuration folder, or
// a configuration folder itself; then the peer is made from it by exchanging `local` and `peer`.
Loaded load_base(const std::string& path);
// keepalive and deadtime in force there.
TriedTimers timers_of(const Loaded& base);
// Those of the configuration, and a grid of usual ones; sorted.
std::vector<TriedTimers> usual_timers(const TriedTimers& configured);
std::vector<TriedTimers> grid(const std::vector<Duration>& keepalives, const std::vector<double>& factors);

// By timers, then by loss. `progress` hears how many are done.
std::vector<Cell> explore(const Loaded& base, const ExploreSettings& settings,
                          const std::function<void(std::size_t done, std::size_t of)>& progress);

}  // namespace lbcluster::sim
