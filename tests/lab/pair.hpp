// A pair of lbcluster nodes, lb1 and lb2, in the lab: configuration files, keys, daemons under supervision, the CLI.
//
// FOLDER/lb1 and FOLDER/lb2 are the configuration folders; run/ and state/ below them are the other two
// places of a node. FOLDER/lb1.log is what its heartbeatd says.
#pragma once

#include <google/protobuf/struct.pb.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "tests/lab/daemon.hpp"
#include "tests/lab/lab.hpp"
#include "tests/lab/prober.hpp"

namespace lbcluster::lab {

// A parsed JSON document; missing members read as null, which is "", 0 and false.
class Json {
  public:
    Json() = default;
    explicit Json(google::protobuf::Value value) : value_(std::move(value)) {}
    static Json parse(const std::string& text);  // throws when it is not JSON

    Json operator[](const std::string& key) const;
    Json operator[](std::size_t index) const;
    [[nodiscard]] std::size_t size() const;
    // Sum of the numbers whose names begin with `prefix`.
    [[nodiscard]] double sum(const std::string& prefix) const;
    [[nodiscard]] std::string text() const { return value_.string_value(); }
    [[nodiscard]] double number() const { return value_.number_value(); }
    [[nodiscard]] bool truth() const { return value_.bool_value(); }

  private:
    google::protobuf::Value value_;
};

// One heartbeat path, as each node's node.yaml has it.
struct LinkSpec {
    std::string lb1;
    std::string lb2;
    static LinkSpec lan();            // eth0
    static LinkSpec heartbeat_net();  // eth1
    static LinkSpec through_relay();  // eth1, each node sends to the relay (see relay.hpp)
    static LinkSpec serial(const std::string& device_lb1, const std::string& device_lb2);
};

struct PairSpec {
    std::string timers = "profile: lan";  // lines under `heartbeat:`
    std::vector<LinkSpec> links = {LinkSpec::lan(), LinkSpec::heartbeat_net()};
    std::vector<std::string> ping_nodes = {};
    std::vector<std::string> floating_ips = {"10.77.0.200"};
    std::string more = {};  // appended to cluster.yaml
    bool single = false;    // lb1 alone, without a peer
};

std::string cluster_yaml(const PairSpec& spec);
std::string node_yaml(const PairSpec& spec, const std::string& node);

class Pair {
  public:
    // Writes the files of both nodes and a common key; starts nothing. An existing cluster.yaml, node.yaml or key
    // stays.
    Pair(Lab& lab, const std::string& folder, const PairSpec& spec = {});

    void start();  // heartbeatd on both
    void start(const std::string& node);
    [[nodiscard]] Daemon& daemon(const std::string& node);
    // Other daemons of a node, made when they are first asked for; FOLDER/<node>.<daemon>.log is what they say.
    [[nodiscard]] Daemon& healthd(const std::string& node) { return companion(node, "healthd"); }
    [[nodiscard]] Daemon& forwarderd(const std::string& node) { return companion(node, "forwarderd"); }
    [[nodiscard]] Daemon& replicatord(const std::string& node) { return companion(node, "replicatord"); }

    [[nodiscard]] std::string config_dir(const std::string& node) const;
    [[nodiscard]] std::string run_dir(const std::string& node) const;
    [[nodiscard]] std::string state_dir(const std::string& node) const;
    [[nodiscard]] std::vector<std::string> environment(const std::string& node) const;
    void write_cluster(const PairSpec& spec);  // both nodes

    // `lbcluster WORDS...` on a node.
    [[nodiscard]] Outcome cli(const std::string& node, const std::vector<std::string>& words,
                              Nanoseconds limit = 20s) const;
    [[nodiscard]] std::string said() const;                             // every line that cli() has brought, once
    [[nodiscard]] Json status(const std::string& node) const;           // empty when nobody answers
    [[nodiscard]] std::string activity(const std::string& node) const;  // "" when nobody answers
    [[nodiscard]] bool has_alarm(const std::string& node, const std::string& id) const;
    // Waits until `active` says active and holds every floating IP, and its peer says passive and holds none.
    [[nodiscard]] bool wait_settled(const std::string& active, Nanoseconds limit = 20s) const;

    // The machine vanishes: its cables go dead at one moment, then its processes; nothing is said to anybody.
    void power_off(const std::string& node);
    void power_on(const std::string& node);

    [[nodiscard]] EchoService& service() { return service_; }
    [[nodiscard]] Lab& lab() { return lab_; }
    [[nodiscard]] const PairSpec& spec() const { return spec_; }
    [[nodiscard]] std::string log(const std::string& node) const;  // of all its daemons
    static std::string peer_of(const std::string& node) { return node == "lb1" ? "lb2" : "lb1"; }

  private:
    Daemon& companion(const std::string& node, const std::string& program);

    Lab& lab_;
    std::string folder_;
    PairSpec spec_;
    EchoService service_;
    std::map<std::string, std::unique_ptr<Daemon>> daemons_;
    std::map<std::string, std::map<std::string, std::unique_ptr<Daemon>>> companions_;  // by node and program
    mutable std::mutex said_mutex_;
    mutable std::unordered_set<std::string> said_;
};

std::string heartbeatd_path();
std::string healthd_path();
std::string forwarderd_path();
std::string replicatord_path();
std::string cli_path();

}  // namespace lbcluster::lab
