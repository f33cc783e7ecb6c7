#include "replicator/core/pairing.hpp"

#include <cerrno>

namespace lbcluster::replicator {

Result<void> may_pair(const replica::PairBegin& asked, const replica::PairState& peer) {
    if (asked.protocol() != peer.protocol()) {
        return Error{"the nodes' programs are too different to be paired: " + asked.version() + " here, " +
                         peer.version() + " on the peer",
                     "install the same version of lbcluster on both", EPROTONOSUPPORT};
    }
    if (asked.node() == peer.node()) {
        return Error{"both nodes are called '" + peer.node() + "'",
                     "give one of them another name: 'node:' in its node.yaml", EPERM};
    }
    const bool same_pair =
        !peer.paired_with().empty() && !peer.cluster_id().empty() && peer.cluster_id() == asked.cluster_id();
    if (!peer.paired_with().empty() && !same_pair && !asked.replace_peer()) {
        return Error{peer.node() + " is paired with " + peer.paired_with() + " already",
                     "'lbcluster unpair' there ends that; --replace-peer does it from here", EPERM};
    }
    if (peer.services() > 0 && peer.digest() != asked.digest() && !same_pair && !asked.replace_peer()) {
        return Error{
            peer.node() + " has " + std::to_string(peer.services()) +
                " virtual services and floating IPs of its own, which would be replaced",
            "--replace-peer does that (they stay in its history, see 'lbcluster config history' there); or pair "
            "from that node",
            EPERM};
    }
    return {};
}

replica::Frame error_frame(std::uint32_t exit_code, const Error& error) {
    replica::Frame frame;
    auto& body = *frame.mutable_error();
    body.set_exit_code(exit_code);
    body.set_message(error.message);
    body.set_hint(error.hint);
    return frame;
}

}  // namespace lbcluster::replicator
