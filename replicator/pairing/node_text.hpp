// What pairing writes into node.yaml: role and links, and nothing else. Comments and everything beside these two keys
// stay as they are, if the file is written in a way in which they can be told apart; else it is rendered anew. Pure.
#pragma once

#include <string>

#include "lbcluster/base/result.hpp"
#include "lbcluster/config.pb.h"

namespace lbcluster::replicator {

struct NodeText {
    std::string text;
    bool comments_dropped = false;
};

// Links over a serial line stay; one link over the network is set, unless there are some with this peer already.
Result<NodeText> with_peer(const std::string& node_yaml, config::Role role, const std::string& local,
                           const std::string& peer);
// A single node: no links over the network or a line.
Result<NodeText> without_peer(const std::string& node_yaml);

}  // namespace lbcluster::replicator
