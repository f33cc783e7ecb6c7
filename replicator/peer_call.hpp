// Calls the peer's replicatord: SSH to the address that pairing has written down, with this node's own key, to the one
// host key that is right, and there the forced command that passes bytes on to RUN_DIR/replica.sock.
#pragma once

#include "lbcluster/config/paths.hpp"
#include "replicator/caller.hpp"

namespace lbcluster::replicator {

Caller::Connect call_by_ssh(const config::Paths& paths);

}  // namespace lbcluster::replicator
