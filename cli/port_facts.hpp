// Who holds the ports that this node's daemons listen on, as /proc shows it.
#pragma once

#include <string>
#include <vector>

#include "cli/core/ports.hpp"

namespace lbcluster::cli {

// Those of `own` that others hold.
std::vector<TakenPorts> look_at_ports(const std::vector<OwnPorts>& own, std::vector<std::string>& not_examined);

}  // namespace lbcluster::cli
