// Logging of the daemons: spdlog, one line an event, key=value context, to stderr. Under systemd
// (JOURNAL_STREAM) lines carry the syslog priority prefix (sd-daemon(3)) and no time.
//
// Never blocks the caller and never blocks the process: lines go through a bounded queue to a thread of
// its own, which drops what stderr does not take at once and counts the drops.
#pragma once

#include <spdlog/spdlog.h>

#include <cstdint>
#include <string>

namespace lbcluster {

// Call once, before any thread. `level`: error | warning | info | debug.
void start_logging(const std::string& program, const std::string& level);
void set_log_level(const std::string& level);
std::uint64_t log_lines_dropped();
// Flushes what stderr takes without blocking. Call before the process ends.
void stop_logging();

}  // namespace lbcluster
