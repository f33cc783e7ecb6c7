// What the table of explore() means: which timers to take and why, and the table as text, JSON and SVG. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/explore/explore.hpp"

namespace lbcluster::sim {

struct Advice {
    std::optional<TriedTimers> timers;  // none: nothing can be advised
    double up_to_loss = 0;              // no needless move up to this
    std::string text;                   // one or two sentences
};

// The timers with the shortest outage after a crash among those that moved nothing without a fault at any of the
// losses; if there are none, at as high a loss as possible.
Advice advise(const std::vector<Cell>& cells);

std::string explore_text(const std::vector<Cell>& cells, const Advice& advice);
std::string explore_json(const std::vector<Cell>& cells, const Advice& advice, const ExploreSettings& settings);
// Outage after a crash (across, logarithmic) against moves without a fault (up), a colour for each loss.
std::string explore_svg(const std::vector<Cell>& cells, const Advice& advice, const std::string& title);

}  // namespace lbcluster::sim
