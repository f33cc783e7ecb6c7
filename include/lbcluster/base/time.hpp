// Time as values. `Instant` is a point on CLOCK_BOOTTIME (monotonic, runs on during suspend); cores get
// it passed in and never read a clock. The clock itself is in base/clock.hpp, for shells only.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lbcluster/base/result.hpp"

namespace lbcluster {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using namespace std::chrono_literals;

using Duration = nanoseconds;

struct BootClockTag {
    using duration = Duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<BootClockTag>;
    static constexpr bool is_steady = true;
};
using Instant = BootClockTag::time_point;

// "100ms", "1.5s", "5m", "250us": the shortest exact form with one unit.
std::string format_duration(Duration d);

// "500ms", "3s", "1.5s", "5m", "2h", "10us"; a unit is needed except for "0". Refuses negative values and overflow.
Result<Duration> parse_duration(std::string_view text);

// RFC 3339 in UTC with milliseconds, from CLOCK_REALTIME milliseconds since 1970: 2026-11-21T02:08:19.042Z
std::string format_rfc3339(std::uint64_t realtime_ms);

// The other way round; the fraction may be missing, digits beyond milliseconds are dropped. UTC only ("Z"), from 1970
// on.
std::optional<std::uint64_t> parse_rfc3339(std::string_view text);

}  // namespace lbcluster
