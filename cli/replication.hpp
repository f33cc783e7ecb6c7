// What the verbs share that replicatord answers: sync, config resolve, config diff --peer.
#pragma once

#include <optional>

#include "change.hpp"
#include "lbcluster/state.pb.h"

namespace lbcluster::cli {

// The answer, a refusal told already by fail(); nothing after any failure.
std::optional<bus::Reply> ask_replicatord(Context& context, const bus::Call& call, const WaitOptions& options);

// config resolve mine|peer: both nodes were changed, and one of them counts.
void resolve(Context& context, bool mine, const WaitOptions& options);
// config diff --peer: what differs between the nodes, and what is meant to.
void diff_peer(Context& context);

}  // namespace lbcluster::cli
