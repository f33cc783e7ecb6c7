// What this machine has, for the checks of a configuration: its interfaces with their own addresses, from the kernel.
// Blocks for a moment; any thread.
#pragma once

#include <optional>
#include <set>

#include "lbcluster/config/check.hpp"

namespace lbcluster {

// Without the addresses that heartbeatd has put there: those that bear its mark, and (kernels before 5.18 keep none)
// those with a lease that are among `floating`. Nothing if the kernel does not say.
std::optional<config::Facts> machine_facts(const std::set<IpPrefix>& floating);

}  // namespace lbcluster
