// `forwarderd --release`: what forwarderd has put into the kernel goes, and sysctls are what they were: one reconcile
// with nothing wanted, of what forwarderd.owned says is ours. For the removal of the package; while a forwarderd runs
// it is refused, since that would put all of it back. Blocks.
#pragma once

#include <string>
#include <vector>

#include "forwarder/kernel.hpp"
#include "lbcluster/config/paths.hpp"

namespace lbcluster::forward {

// What could not be done and what to do, a line each; what is written down of it stays for another try. Empty: nothing
// of ours is left.
std::vector<std::string> release(Kernel& kernel, const config::Paths& paths);

}  // namespace lbcluster::forward
