// RUN_DIR/healthd.verdicts: what healthd knew, for the next one, so that a restart is no gap in anybody's view. In the
// run folder, as it is of no use after a boot: its times are CLOCK_BOOTTIME, and whoever reads our state has started
// anew then, too.
//
// Text, one line each: `healthd-verdicts 1 WRITTEN`, `T HASH HEALTH SINCE CHECKED REASON`, `A HASH PERCENT WISH
// ANSWERED TEXT`; times in nanoseconds since boot, `-` for none. A hash stands for a question (core/schedule.hpp), so
// that no password is in it. Lines that cannot be read are passed over; a file older than memory_age_max is.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "healthd/core/core.hpp"

namespace lbcluster::health {

inline constexpr Duration memory_age_max = 10min;

using MemoryList = std::vector<std::pair<std::uint64_t, Remembered>>;

std::string memory_path(const std::string& run_dir);
std::string render_memory(Instant now, const MemoryList& list);
Memory parse_memory(Instant now, const std::string& text);

// Nothing there, too old, or more than 16 MiB: empty.
Memory read_memory(Instant now, const std::string& path);

}  // namespace lbcluster::health
