// Loading the configuration of a node: both files, checked, with defaults, digest and revision. Reads only; blocks on
// the disk, so not for a thread that must not wait.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lbcluster/base/result.hpp"
#include "lbcluster/config/check.hpp"
#include "lbcluster/config/paths.hpp"
#include "lbcluster/config/settings.hpp"

namespace lbcluster::config {

inline constexpr std::size_t files_max = 1000;
inline constexpr std::size_t files_bytes_max = 16UL * 1024 * 1024;  // all of them together

// What both nodes share: one revision's content.
struct Content {
    std::string cluster_yaml;
    std::map<std::string, std::string> files;  // path under CONFIG_DIR/files -> bytes

    bool operator==(const Content&) const = default;
};

// SHA-256 in hex over names and bytes of all of it.
std::string digest_of(const Content& content);

// cluster.yaml and files/ below `folder`. A missing files/ is empty; links and special files in it are refused.
Result<Content> read_content(const std::string& folder);
// files/ below `folder` alone, whether there is a cluster.yaml or not.
Result<std::map<std::string, std::string>> read_files(const std::string& folder);

struct LoadResult {
    Problems problems;  // sorted by file, line, column; warnings among them
    NodeFile node;      // as written
    ClusterFile cluster;
    std::string node_text;  // the files' bytes; empty if they could not be read
    std::string cluster_text;
    std::map<std::string, std::string> files;  // below CONFIG_DIR/files, by path
    NodeConfig effective_node;                 // with defaults
    ClusterConfig effective_cluster;
    HeartbeatSettings heartbeat;
    std::string digest;                   // of what both nodes share; empty if it could not be read
    std::uint64_t revision = 0;           // its number; 0: a hand edit that no revision was made of yet
    std::optional<Error> denied;          // a file of it that this user may not read; it is among the problems, too
    std::optional<Error> history_denied;  // STATE_DIR/revisions; then `revision` says nothing

    // The rest is only to be used if this holds.
    [[nodiscard]] bool ok() const { return !has_errors(problems); }
};

// outline: node.yaml, digest and revision; what cluster.yaml says is neither read nor checked.
enum class Depth { outline, whole };
LoadResult load(const Paths& paths, const std::optional<Facts>& facts, Depth depth = Depth::whole);

// The same of texts that are not, or not yet, the files in force. `cluster_name` is what problems call it.
LoadResult load_texts(const std::optional<std::string>& node_yaml, const std::string& cluster_yaml,
                      const std::string& cluster_name, const std::optional<Facts>& facts);

// Files that the cluster's configuration goes with: problems of those that it names are added to `result`'s.
void take_files(LoadResult& result, std::map<std::string, std::string> files);

// Revisions kept in STATE_DIR, newest first; those that cannot be read are left out. `denied`: this user may not.
std::vector<Revision> history(const Paths& paths, std::optional<Error>* denied = nullptr);

// A configuration file that the user named; at most text_bytes_max.
Result<std::string> read_text(const std::string& path);
// Any file; at most `bytes_max`.
Result<std::string> read_bytes(const std::string& path, std::size_t bytes_max);

}  // namespace lbcluster::config
