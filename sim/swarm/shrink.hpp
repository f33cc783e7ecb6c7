// Makes a failing mix small: fewer faults, then fewer features, then shorter faults, as long as the same invariant
// breaks. What is left is what somebody reads.
#pragma once

#include <functional>

#include "sim/swarm/mix.hpp"
#include "sim/swarm/trial.hpp"

namespace lbcluster::sim {

// `runs_max`: re-runs in all.
Mix shrink(const Mix& failing, const Outcome& outcome, unsigned runs_max);
// The scenario file of it, with its story as a comment.
std::string scenario_file(const Mix& mix, const Outcome& outcome);

}  // namespace lbcluster::sim
