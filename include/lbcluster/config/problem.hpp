// One thing that is wrong (or doubtful) in a configuration file, with the place of the offending value.
// Values; lines and columns count from 1, 0 where there is none.
#pragma once

#include <string>
#include <vector>

namespace lbcluster::config {

struct Problem {
    std::string file;
    int line = 0;
    int column = 0;
    std::string message;
    std::string hint;
    bool warning = false;  // doubtful, but it does not keep the configuration from being applied
    // An error only as this machine's interfaces are now: a reason not to apply it, but none for a daemon not to run.
    bool momentary = false;
};

using Problems = std::vector<Problem>;

// cluster.yaml:14:7: message; hint        (a warning: cluster.yaml:14:7: warning: message; hint)
std::string format(const Problem& problem);
// One line each.
std::string format(const Problems& problems);
[[nodiscard]] bool has_errors(const Problems& problems);

}  // namespace lbcluster::config
