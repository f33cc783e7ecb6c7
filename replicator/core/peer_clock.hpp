// How far the wall clocks of the two nodes are apart, by question and answer (Cristian, "Probabilistic clock
// synchronization", Distributed Computing 1989): the peer read its clock at some moment of the round trip, so half of
// that is not known. Pure; for people only, nothing is decided by it.
#pragma once

#include <cstdint>

#include "lbcluster/base/time.hpp"

namespace lbcluster::replicator {

struct PeerClock {
    std::int64_t ahead_ms = 0;  // of this node's
    std::uint64_t uncertain_ms = 0;
    bool operator==(const PeerClock&) const = default;
};

// `own_ms`: this node's wall clock when the answer came, `peer_ms`: what the answer says.
PeerClock compare_clocks(Duration round_trip, std::uint64_t own_ms, std::uint64_t peer_ms);

}  // namespace lbcluster::replicator
