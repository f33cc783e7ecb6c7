// Where one node keeps its files. Three folders, so that several nodes can run on one machine, each with its own
// (cli-and-config: 'Places'). A value type; only from_environment() looks at the process's environment.
#pragma once

#include <string>

namespace lbcluster::config {

struct Paths {
    std::string config_dir = "/etc/lbcluster";     // node.yaml, cluster.yaml, files/
    std::string run_dir = "/run/lbcluster";        // sockets, pid files
    std::string state_dir = "/var/lib/lbcluster";  // keys, revisions, history

    // LBCLUSTER_CONFIG_DIR, LBCLUSTER_RUN_DIR and LBCLUSTER_STATE_DIR; where one is unset or empty, the default.
    static Paths from_environment();

    [[nodiscard]] std::string node_file() const { return config_dir + "/node.yaml"; }
    [[nodiscard]] std::string cluster_file() const { return config_dir + "/cluster.yaml"; }
    [[nodiscard]] std::string files_dir() const { return config_dir + "/files"; }
    [[nodiscard]] std::string revisions_dir() const { return state_dir + "/revisions"; }
    [[nodiscard]] std::string keys_dir() const { return state_dir + "/keys"; }
    [[nodiscard]] std::string peer_file() const { return state_dir + "/peer.yaml"; }  // message PeerRecord
    // What `config apply --confirm` waits for; message replica.Unconfirmed.
    [[nodiscard]] std::string unconfirmed_file() const { return state_dir + "/unconfirmed.yaml"; }
    // Home of the account that the peer logs in to; a folder of its own, as that account may see nothing of the state.
    [[nodiscard]] std::string peer_home() const { return state_dir + "-peer"; }
    // `daemon` as the program is called: heartbeatd.
    [[nodiscard]] std::string socket_of(const std::string& daemon) const { return run_dir + "/" + daemon + ".sock"; }
};

}  // namespace lbcluster::config
