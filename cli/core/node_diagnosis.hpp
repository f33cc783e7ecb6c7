// What is wrong with the node as a whole, beyond what the daemons' alarms say: paths, interfaces, addresses, files,
// disk, certificates, versions. Pure: facts in, findings out. A fact that could not be had is empty, and gives no
// finding.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/core/diagnosis.hpp"
#include "cli/core/ports.hpp"

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

struct ConfigError {
    std::string text;  // with file and line
    std::string hint;
};

// Of the peer's wall clock, less this node's; negative: it is late.
struct ClockFacts {
    std::string peer;
    std::int64_t ahead_ms = 0;
    std::uint64_t uncertain_ms = 0;
};

struct NodeFacts {
    std::vector<ConfigError> errors;    // of the configuration: it is not in force
    std::vector<std::string> problems;  // of the configuration that do not keep it from being in force
    std::vector<TakenPorts> taken;
    std::optional<ClockFacts> clock;
    std::uint16_t port = 6694;  // of the heartbeat
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

// Files that are not valid.
std::vector<Finding> judge_errors(const std::vector<ConfigError>& errors);
std::vector<Finding> judge_node(const NodeFacts& facts);

}  // namespace lbcluster::cli
