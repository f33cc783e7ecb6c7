// Looks at this node for `lbcluster diagnose`: daemons, kernel, connections, and what answers to probes. Blocks for a
// few seconds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/core/diagnosis.hpp"
#include "context.hpp"
#include "lbcluster/config/load.hpp"

namespace lbcluster::cli {

struct Gathered {
    Facts facts;
    std::vector<std::string> not_examined;  // and why
};

// `only`: one service, by label. `loaded`: as for gather_node().
void gather(const Context& context, const config::LoadResult& loaded, const std::optional<std::string>& only,
            Gathered& out);

}  // namespace lbcluster::cli
