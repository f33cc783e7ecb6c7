// Sysctls as files below /proc/sys. A name is written with dots; a dot that belongs to it (an interface eth0.7) as a
// slash, as sysctl(8) does. Each call is one system call or two; any thread.
#pragma once

#include <string>

#include "lbcluster/base/result.hpp"

namespace lbcluster::forward {

// Without the newline. ENOENT: this kernel has it not.
Result<std::string> read_sysctl(const std::string& name);
Result<void> write_sysctl(const std::string& name, const std::string& value);

}  // namespace lbcluster::forward
