// Passes bytes on between two descriptors and a Unix socket, both ways, until either side has ended. Knows nothing of
// what they mean. Blocks; one thread.
#pragma once

#include <string>

#include "lbcluster/base/result.hpp"

namespace lbcluster::cli {

// Connects to `path`, then passes on. Ended in order: no error.
Result<void> relay(const std::string& path, int in, int out);

}  // namespace lbcluster::cli
