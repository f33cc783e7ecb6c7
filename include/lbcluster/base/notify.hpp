// Tells a supervisor (sd_notify(3)): READY=1, WATCHDOG=1, STOPPING=1. Nothing happens without NOTIFY_SOCKET.
#pragma once

namespace lbcluster {
void notify_supervisor(const char* state);
}
