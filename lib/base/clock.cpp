#include "lbcluster/base/clock.hpp"

#include <ctime>

namespace lbcluster {

Instant boottime_now() {
    timespec ts{};
    ::clock_gettime(CLOCK_BOOTTIME, &ts);
    return Instant{seconds{ts.tv_sec} + nanoseconds{ts.tv_nsec}};
}

std::uint64_t realtime_ms_now() {
    timespec ts{};
    ::clock_gettime(CLOCK_REALTIME, &ts);
    return static_cast<std::uint64_t>(ts.tv_sec) * 1000 + static_cast<std::uint64_t>(ts.tv_nsec) / 1'000'000;
}

}  // namespace lbcluster
