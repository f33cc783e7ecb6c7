#include "lbcluster/base/notify.hpp"

#include <systemd/sd-daemon.h>

namespace lbcluster {
void notify_supervisor(const char* state) { ::sd_notify(0, state); }
}  // namespace lbcluster
