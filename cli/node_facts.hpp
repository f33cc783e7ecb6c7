// What `diagnose` sees of the node as a whole: files, the peer's SSH port, and what heartbeatd tells. Changes nothing.
#pragma once

#include <string>
#include <vector>

#include "cli/core/node_diagnosis.hpp"
#include "context.hpp"
#include "lbcluster/config/load.hpp"

namespace lbcluster::cli {

// Those of them that keep the files from being in force.
std::vector<ConfigError> errors_of(const config::Problems& problems);
// `loaded`: its problems are those of the files as they are; the rest may be of what was valid last.
NodeFacts gather_node(const Context& context, const config::LoadResult& loaded, std::vector<std::string>& not_examined);

}  // namespace lbcluster::cli
