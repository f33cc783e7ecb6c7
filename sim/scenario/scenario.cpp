#include "sim/scenario/scenario.hpp"

#include <fstream>
#include <set>
#include <sstream>

#include "lib/config/reflect.hpp"
#include "sim/scenario/check.hpp"
#include "sim/scenario/lab.hpp"
#include "sim/scenario/plan.hpp"

namespace lbcluster::sim {

namespace {

using config::Position;
using config::Positions;
using config::Problem;

constexpr const char* cluster_id = "simulated-pair-1";  // 16 bytes

Result<std::string> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return Error{"cannot read '" + path + "'", "paths are relative to the scenario's file", 0};
    std::ostringstream text;
    text << file.rdbuf();
    std::string out = text.str();
    if (out.size() > config::text_bytes_max) return Error{"'" + path + "' is too long", "", 0};
    return out;
}

std::string folder_of(const std::string& file) {
    const std::size_t slash = file.rfind('/');
    return slash == std::string::npos ? "" : file.substr(0, slash + 1);
}

// Only compared with the peer's.
std::string digest_of(const std::string& text) {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    std::ostringstream out;
    out << std::hex << hash;
    return out.str();
}

struct Text {
    std::string name;
    std::string text;
};

class Loader {
  public:
    Loader(Loaded& loaded, const Positions& positions) : loaded_(loaded), positions_(positions) {}

    void run() {
        read_configurations();
        if (!loaded_.ok()) return;
        load_nodes();
        if (!loaded_.ok()) return;
        plan_networks(loaded_, cablings_);
        check_cabling();
        check_scenario(loaded_, positions_);
        if (loaded_.ok()) load_faults();
    }

  private:
    void report(const std::string& path, const std::string& message, const std::string& hint) {
        const Position at = positions_.find(path);
        loaded_.problems.push_back({loaded_.file, at.line, at.column, message, hint});
    }

    // A path or the text itself; `otherwise` where neither is given.
    Text text_of(const std::string& path, bool has_file, const std::string& file, bool has_text,
                 const std::string& text, const std::string& otherwise) {
        const std::string key = path.substr(path.rfind('.') + 1);
        if (has_file && has_text) report(path, path + " and " + path + "_file are both given", "give one of them");
        if (has_text) return {loaded_.file + " (" + path + ")", text};
        if (!has_file) return {"the lab's " + key + ".yaml", otherwise};
        const std::string full = file.front() == '/' ? file : folder_of(loaded_.file) + file;
        auto read = read_file(full);
        if (read) return {full, std::move(*read)};
        report(path + "_file", read.error().message, read.error().hint);
        return {full, "{}"};
    }

    void read_configurations() {
        const Scenario& s = loaded_.scenario;
        const Text shared =
            text_of("cluster", s.has_cluster_file(), s.cluster_file(), s.has_cluster(), s.cluster(), lab::cluster_yaml);
        const int count = s.nodes_size() == 0 ? 2 : s.nodes_size();
        for (int i = 0; i < count; ++i) {
            const NodeEntry node = i < s.nodes_size() ? s.nodes(i) : NodeEntry();
            const std::string path = "nodes[" + std::to_string(i) + "]";
            node_texts_.push_back(text_of(path + ".node", node.has_node_file(), node.node_file(), node.has_node(),
                                          node.node(), lab::node_yaml[i]));
            const bool own = node.has_cluster_file() || node.has_cluster();
            cluster_texts_.push_back(own ? text_of(path + ".cluster", node.has_cluster_file(), node.cluster_file(),
                                                   node.has_cluster(), node.cluster(), "")
                                         : shared);
        }
    }

    void load_nodes() {
        const Scenario& s = loaded_.scenario;
        const std::vector<NetworkEntry> networks(s.networks().begin(), s.networks().end());
        for (std::size_t i = 0; i < node_texts_.size(); ++i) {
            const auto index = static_cast<int>(i);
            const NodeEntry given = index < s.nodes_size() ? s.nodes(index) : NodeEntry();
            // Once without knowing the machine, to learn what it is like.
            config::LoadResult first =
                config::load_texts(node_texts_[i].text, cluster_texts_[i].text, "", std::nullopt);
            cablings_.push_back(cabling_of(first.effective_node, first.effective_cluster, given, networks, i));
            NodePlan plan;
            plan.facts.interfaces = cablings_.back().interfaces;
            plan.node_yaml = node_texts_[i].text;
            plan.cluster_yaml = cluster_texts_[i].text;
            plan.boot = to_duration(given.boot());
            config::LoadResult result =
                config::load_texts(plan.node_yaml, plan.cluster_yaml, cluster_texts_[i].name, plan.facts);
            for (Problem& problem : result.problems) {
                if (problem.file == result.node.name) problem.file = node_texts_[i].name;
                if (i == 0 || std::none_of(loaded_.problems.begin(), loaded_.problems.end(), [&](const Problem& known) {
                        return known.file == problem.file && known.line == problem.line &&
                               known.message == problem.message;
                    })) {
                    loaded_.problems.push_back(problem);
                }
            }
            if (!loaded_.ok()) continue;
            result.digest = digest_of(plan.cluster_yaml);
            plan.setup = heartbeat::make_setup(result, plan.facts, node_texts_.size() < 2 ? "" : cluster_id);
            for (const config::Link& link : result.effective_node.links()) {
                if (!link.has_serial()) continue;
                loaded_.serial = true;
                loaded_.baud = link.baud();
            }
            loaded_.nodes.push_back(std::move(plan));
        }
        if (loaded_.nodes.size() == 2 && loaded_.nodes[0].setup.settings.node == loaded_.nodes[1].setup.settings.node) {
            report("nodes", "both nodes are named '" + loaded_.nodes[0].setup.settings.node + "'",
                   "lbcluster pair refuses this, too");
        }
    }

    void check_cabling() {
        for (const NodePlan& node : loaded_.nodes) {
            for (const config::LocalInterface& interface : node.facts.interfaces) {
                bool plugged = false;
                for (const NetworkPlan& network : loaded_.networks) {
                    for (const Station& station : network.stations) {
                        plugged = plugged ||
                                  (station.machine == node.setup.settings.node && station.interface == interface.name);
                    }
                }
                if (!plugged) {
                    report("networks",
                           interface.name + " of " + node.setup.settings.node + " is in none of the networks",
                           "add its subnet to one of them");
                }
            }
        }
    }

    void load_faults() {
        const Scenario& s = loaded_.scenario;
        for (int i = 0; i < s.faults_size(); ++i) {
            FaultPlan plan;
            plan.fault = s.faults(i);
            plan.at = to_duration(plan.fault.at());
            if (plan.fault.has_for_()) plan.end = plan.at + to_duration(plan.fault.for_());
            if (plan.fault.has_until()) plan.end = to_duration(plan.fault.until());
            if (plan.fault.fault() == FAULT_KIND_RELOAD) load_reload(plan, "faults[" + std::to_string(i) + "].cluster");
            loaded_.faults.push_back(std::move(plan));
        }
    }

    void load_reload(FaultPlan& plan, const std::string& path) {
        for (std::size_t i = 0; i < loaded_.nodes.size(); ++i) {
            const NodePlan& node = loaded_.nodes[i];
            config::LoadResult result =
                config::load_texts(node.node_yaml, plan.fault.cluster(), loaded_.file + " (" + path + ")", node.facts);
            if (config::has_errors(result.problems)) {
                loaded_.problems.insert(loaded_.problems.end(), result.problems.begin(), result.problems.end());
                return;
            }
            result.digest = digest_of(plan.fault.cluster());
            plan.reload.push_back(
                heartbeat::make_setup(result, node.facts, loaded_.nodes.size() < 2 ? "" : cluster_id));
        }
    }

    Loaded& loaded_;
    const Positions& positions_;
    std::vector<Text> node_texts_;
    std::vector<Text> cluster_texts_;
    std::vector<Cabling> cablings_;
};

void finish(Loaded& loaded, const Positions& positions) {
    if (!loaded.ok()) return;
    config::with_defaults(loaded.scenario);
    Loader(loaded, positions).run();
}

}  // namespace

Duration to_duration(const google::protobuf::Duration& duration) { return config::duration_of(duration); }

google::protobuf::Duration from_duration(Duration duration) {
    google::protobuf::Duration out;
    config::set_duration(out, duration);
    return out;
}

std::string word(FaultKind kind) { return config::enum_text(*FaultKind_descriptor()->FindValueByNumber(kind)); }

Loaded load_scenario_text(const std::string& text, const std::string& file) {
    Loaded loaded;
    loaded.file = file;
    Positions positions;
    config::parse_yaml(text, file, loaded.scenario, positions, loaded.problems);
    finish(loaded, positions);
    return loaded;
}

Loaded load_scenario_message(const Scenario& scenario, const std::string& name) {
    Loaded loaded;
    loaded.file = name;
    loaded.scenario = scenario;
    finish(loaded, Positions());
    return loaded;
}

Loaded load_scenario(const std::string& file) {
    auto text = read_file(file);
    if (text) return load_scenario_text(*text, file);
    Loaded loaded;
    loaded.file = file;
    loaded.problems.push_back({file, 0, 0, text.error().message, "is the path right?"});
    return loaded;
}

}  // namespace lbcluster::sim
