// One node's files, as pairing sees and changes them. The same on both sides of a pairing.
//
//   CONFIG_DIR/node.yaml                   role and links
//   CONFIG_DIR/cluster.yaml, files/        what the secondary gets, as a revision
//   STATE_DIR/keys/heartbeat.key           the secret of the pair
//   STATE_DIR/keys/heartbeat.key.pairing   the one that the pair will have: a pairing that was broken off goes on with
//   it STATE_DIR/peer.yaml                    message PeerRecord STATE_DIR-peer/.ssh/authorized_keys    lets the peer's
//   key call `lbcluster replica`, and nothing else
//
// A change that fails is taken back. One that a stop interrupts is completed by pairing again: nothing of it keeps that
// from being done. Blocks on the disk.
#pragma once

#include <optional>
#include <string>

#include "lbcluster/base/result.hpp"
#include "lbcluster/config.pb.h"
#include "lbcluster/config/store.hpp"
#include "lbcluster/keys/key_ring.hpp"

namespace lbcluster::replicator {

inline constexpr const char* incoming_name = "pairing";  // what SCP may bring
inline constexpr std::size_t incoming_bytes_max = std::size_t{32} * 1024 * 1024;

struct LocalNode {
    std::string name;
    std::string node_text;
    config::Content content;
    std::string digest;
    std::uint64_t revision = 0;
    unsigned services = 0;  // virtual services and floating IPs
    std::uint16_t heartbeat_port = 6694;
    std::uint16_t peers_port = 7778;
    std::string cluster_id;   // of the key; empty: none
    std::string paired_with;  // name, or an address; empty: a single node
    std::optional<config::PeerRecord> record;
};

// Codes of errors: EINVAL the configuration is not valid, else as the system said.
Result<LocalNode> look_at_node(const config::Paths& paths);
Result<std::optional<config::PeerRecord>> read_peer_record(const config::Paths& paths);

// What a node becomes.
struct NodePlan {
    std::string node_text;
    KeyRing keys;
    std::optional<config::Received> content;  // the secondary's
    config::PeerRecord record;
    std::string authorized_key;  // the peer's, checked
};

// In full, as it would be in force on this node; changes nothing.
Result<void> check_plan(const config::Paths& paths, const NodePlan& plan);
Result<void> put_in_force(const config::Paths& paths, const NodePlan& plan);
// A single node again. `clear`: the floating IPs are the other's from now on; the configuration stays in the history.
Result<void> end_pair(const config::Paths& paths, bool clear, const std::string& author);

// The key of the pair to be: this node's, or the one of a pairing that was broken off, or a new one (stored).
Result<KeyRing> key_for_pair(const config::Paths& paths);

// Writes the heartbeats' keys and waits until the heartbeatd that runs here has them in use.
Result<void> use_keys(const config::Paths& paths, const KeyRing& keys);

// Takes what SCP has brought and removes it.
Result<std::string> take_incoming(const config::Paths& paths);

std::string authorized_keys_text(const std::string& key, const std::string& from);

}  // namespace lbcluster::replicator
