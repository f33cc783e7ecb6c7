#pragma once

#include <optional>
#include <string>

#include "lbcluster/config/load.hpp"

namespace lbcluster::config {

// A cluster.yaml alone, on no machine in particular.
inline LoadResult load(const std::string& cluster) {
    return load_texts(std::nullopt, cluster, "cluster.yaml", std::nullopt);
}

}  // namespace lbcluster::config
