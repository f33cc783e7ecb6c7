// The rules of a scenario that its schema cannot say: which fault needs what, names that exist, times in order.
#pragma once

#include "sim/scenario/scenario.hpp"

namespace lbcluster::sim {

void check_scenario(Loaded& loaded, const config::Positions& positions);

}  // namespace lbcluster::sim
