// What was in force last, in STATE_DIR/applied: heartbeatd keeps it, the daemons start with it where the files are bad,
// and whoever only shows it need not read and check the files again.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lbcluster/base/result.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/paths.hpp"

namespace lbcluster::config {

// As `paths`, but node.yaml, cluster.yaml and files/ are those that were in force last.
Paths applied_paths(const Paths& paths);

// Keeps a configuration that is valid. What could not be written; nothing else depends on it.
std::vector<Error> keep_applied(const Paths& paths, const LoadResult& loaded);

// LoadResult::effective_cluster of the content with this digest (LoadResult::digest), if that is what is kept and this
// version of the program has made it. A fraction of what load() costs.
std::optional<ClusterConfig> applied_cluster(const Paths& paths, std::string_view digest);

}  // namespace lbcluster::config
