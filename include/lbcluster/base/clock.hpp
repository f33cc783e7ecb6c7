// The clocks. Shells only: a core gets the time passed in.
#pragma once

#include <cstdint>

#include "lbcluster/base/time.hpp"

namespace lbcluster {

Instant boottime_now();           // CLOCK_BOOTTIME
std::uint64_t realtime_ms_now();  // CLOCK_REALTIME, milliseconds since 1970: for people only, never for decisions

}  // namespace lbcluster
