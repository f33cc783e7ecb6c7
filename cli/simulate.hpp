// Handing over to lbcluster-sim.
#pragma once

#include <string>
#include <vector>

#include "context.hpp"

namespace lbcluster::cli {

// Becomes lbcluster-sim, the one beside this program or in PATH; returns, with why, only if that cannot be.
Error exec_simulator(const Context& context, std::vector<std::string> arguments);

}  // namespace lbcluster::cli
