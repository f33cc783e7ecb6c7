#include "lbcluster/config/paths.hpp"

#include <cstdlib>

namespace lbcluster::config {

Paths Paths::from_environment() {
    Paths paths;
    const auto take = [](const char* name, std::string& target) {
        const char* value = std::getenv(name);
        if (value != nullptr && *value != '\0') target = value;
    };
    take("LBCLUSTER_CONFIG_DIR", paths.config_dir);
    take("LBCLUSTER_RUN_DIR", paths.run_dir);
    take("LBCLUSTER_STATE_DIR", paths.state_dir);
    return paths;
}

}  // namespace lbcluster::config
