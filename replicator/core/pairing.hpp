// Who may be paired with whom. Pure: both nodes' standing in, a refusal or nothing out. The same rules on both sides:
// the node that asks reads the answer with them, too, as the other may be of another version.
#pragma once

#include <lbcluster/replica.pb.h>

#include <cstdint>

#include "lbcluster/base/result.hpp"

namespace lbcluster::replicator {

inline constexpr std::uint32_t pairing_protocol = 1;

// A refusal is for people; every one names what to do.
Result<void> may_pair(const replica::PairBegin& asked, const replica::PairState& peer);

// What ends a call: the frame, and back. `exit_code` as the CLI's.
replica::Frame error_frame(std::uint32_t exit_code, const Error& error);

}  // namespace lbcluster::replicator
