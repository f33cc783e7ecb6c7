// What is wrong with the node as a whole, beyond what the daemons' alarms say: paths, interfaces, addresses, files,
// disk, certificates, versions. Pure: facts in, findings out. A fact that could not be had is empty, and gives no
// finding.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/core/diagnosis.hpp"

namespace lbcluster::cli {

struct PathFacts {
    std::string name;
    std::string kind;   // udp | serial
    std::string state;  // up | down | one-way
    std::string error;
};

struct CertificateFacts {
    std::string file;
    std::string error;                    // it cannot be read
    std::optional<std::int64_t> seconds;  // that it is still valid; negative: it has expired
};

struct NodeFacts {
    std::vector<std::string> problems;  // of the configuration that do not keep it from being in force
    std::uint16_t port = 6694;          // of the heartbeat
    std::vector<PathFacts> paths;
    std::vector<std::string> silent_ping_nodes;
    bool any_ping_node_answers = false;                         // else an alarm says it
    std::vector<std::pair<std::string, std::string>> versions;  // daemon, version; others than this program's
    std::string own_version;
    std::vector<CertificateFacts> certificates;
    std::vector<std::pair<std::string, std::uint32_t>> open_keys;  // files that others may read, mode
    std::string disk;                                              // folder
    std::optional<std::uint64_t> disk_free_bytes;
    std::string peer_ssh;          // where the peer's SSH server should answer; empty: there is no peer
    std::string peer_ssh_error;    // empty: it does
    std::optional<bool> realtime;  // heartbeatd runs with real-time priority
};

std::vector<Finding> judge_node(const NodeFacts& facts);

}  // namespace lbcluster::cli
