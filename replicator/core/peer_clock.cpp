#include "replicator/core/peer_clock.hpp"

#include <algorithm>

namespace lbcluster::replicator {

PeerClock compare_clocks(Duration round_trip, std::uint64_t own_ms, std::uint64_t peer_ms) {
    const std::uint64_t latest_ms = 253'402'300'799'999;  // of the year 9999: a peer may say anything
    const auto of = [&](std::uint64_t ms) { return static_cast<std::int64_t>(std::min(ms, latest_ms)); };
    const std::int64_t whole = std::max<std::int64_t>((round_trip + 999us) / 1ms, 0);
    const std::int64_t half = whole / 2;
    // One more for what both clocks leave out below a millisecond.
    return {of(peer_ms) - (of(own_ms) - half), static_cast<std::uint64_t>(whole - half) + 1};
}

}  // namespace lbcluster::replicator
