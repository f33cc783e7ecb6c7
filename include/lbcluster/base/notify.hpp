// Tells a supervisor (sd_notify(3)): READY=1, WATCHDOG=1, STOPPING=1. Nothing happens without NOTIFY_SOCKET.
#pragma once

namespace lbcluster {
void notify_supervisor(const char* state);
// For a thread that must not wait: not told if the supervisor is behind with reading.
void notify_supervisor_at_once(const char* state);
}  // namespace lbcluster
