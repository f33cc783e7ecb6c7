// From the checked configuration to what forwarderd does (cli-and-config: 'Files'). No files, no sockets.
//
//   - enabled services with their enabled servers
//   - persistence tables of layer 7 go to the peer over the first UDP link
//   - a fallback service (layer 7) is its address on this node, reached by masquerading
//   - connection sync runs with a peer, on `sync_interface`, else on the interface of the first UDP link; its id comes
//   from
//     the two addresses of that link, so that several pairs in one network do not take each other's connections
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "forwarder/core/plan.hpp"
#include "forwarder/core/proxy.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/state.pb.h"

namespace lbcluster::forward {

// What this machine has just now.
struct NodeFacts {
    std::vector<std::string> interfaces;
    std::vector<std::string> listens_to_routers;    // those with accept_ra=1
    std::map<IpAddress, std::string> interface_of;  // own addresses
    bool operator==(const NodeFacts&) const = default;
};

struct Setup {
    std::string node;
    std::string log_level = "info";
    std::uint64_t revision = 0;
    std::string digest;  // hex
    config::NodeConfig node_config;
    config::ClusterConfig cluster;
    std::string page;                          // CONFIG_DIR/files/fallback.html; empty: there is none
    std::map<std::string, std::string> files;  // below CONFIG_DIR/files those that services of layer 7 need
};

// `loaded` must be ok().
Setup make_setup(const config::LoadResult& loaded);
Spec make_spec(const config::ClusterConfig& cluster, const config::NodeConfig& node, const NodeFacts& facts);
// `page`: HTML; empty: a plain one. `files`: what services name, path below CONFIG_DIR/files -> bytes.
ProxySpec make_proxy_spec(const config::ClusterConfig& cluster, const config::NodeConfig& node, const std::string& page,
                          const std::map<std::string, std::string>& files = {});
Verdict verdict_of(const bus::ServerHealth& health);

}  // namespace lbcluster::forward
