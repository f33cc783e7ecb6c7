// From the checked configuration to what healthd does: which servers are asked what (cli-and-config: 'Files'). No
// files, no sockets.
//
//   - enabled servers of enabled services; those in drain and halt too, so that they come back with a known health
//   - a check without a port goes to config::port_of(service, server); several ports: all of them must be up
//   - the virtual address stands in a probe only where it is used (Host header, arguments of a program), so that all
//     other services share their probes
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "healthd/core/core.hpp"
#include "healthd/notify/desk.hpp"
#include "lbcluster/config/load.hpp"

namespace lbcluster::health {

struct ServerSetup {
    std::string service;
    std::string server;
    std::string address;
    std::uint16_t port = 0;  // that is checked, the first of several; 0: none
    std::size_t target = 0;  // of Setup::plan
    std::optional<std::size_t> agent;
    bool online = true;  // not in drain or halt
};

struct Setup {
    std::string node;
    std::string log_level = "info";
    std::uint64_t revision = 0;
    std::string digest;  // hex
    Plan plan;
    std::vector<ServerSetup> servers;
    NotifySettings notify;
};

// Plan and servers only.
Setup make_setup(const config::ClusterConfig& cluster);
// `loaded` must be ok().
Setup make_setup(const config::LoadResult& loaded);

}  // namespace lbcluster::health
