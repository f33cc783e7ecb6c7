// What is explored: the user's pair, from a scenario or from configuration folders.
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>

#include "lbcluster/config/load.hpp"
#include "sim/explore/explore.hpp"

namespace lbcluster::sim {

namespace {

bool is_folder(const std::string& path) {
    struct stat info{};
    return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}
bool is_there(const std::string& path) {
    struct stat info{};
    return ::stat(path.c_str(), &info) == 0;
}

std::optional<std::string> read_text(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    if (!(text << file.rdbuf())) return std::nullopt;
    return text.str();
}

Loaded failed(const std::string& path, const std::string& message, const std::string& hint) {
    Loaded out;
    out.file = path;
    out.problems.push_back({path, 0, 0, message, hint});
    return out;
}

// The other node as this one's configuration describes it.
std::string mirrored(const config::NodeConfig& node) {
    config::NodeConfig peer = node;
    peer.set_node(node.node() == "peer" ? "other" : "peer");
    peer.set_role(node.role() == config::ROLE_SECONDARY ? config::ROLE_PRIMARY : config::ROLE_SECONDARY);
    for (config::Link& link : *peer.mutable_links()) {
        if (!link.has_local() || !link.has_peer()) continue;
        const std::string local = link.local();
        link.set_local(link.peer());
        link.set_peer(local);
    }
    return config::to_yaml(peer);
}

}  // namespace

Loaded load_base(const std::string& path) {
    if (!is_folder(path)) return load_scenario(path);
    Scenario scenario;
    scenario.set_title(path);
    if (is_there(path + "/lb1/node.yaml") && is_there(path + "/lb2/node.yaml")) {
        for (const char* name : {"/lb1", "/lb2"}) {
            NodeEntry& node = *scenario.add_nodes();
            node.set_node_file(path + name + "/node.yaml");
            node.set_cluster_file(path + name + "/cluster.yaml");
        }
        return load_scenario_message(scenario, "");
    }
    const auto cluster = read_text(path + "/cluster.yaml");
    if (!cluster) {
        return failed(path, "this folder has neither cluster.yaml nor lb1/ and lb2/ with configurations",
                      "give a configuration folder such as /etc/lbcluster");
    }
    scenario.set_cluster(*cluster);
    if (const auto node = read_text(path + "/node.yaml")) {
        const config::LoadResult read = config::load_texts(*node, *cluster, path + "/cluster.yaml", std::nullopt);
        scenario.add_nodes()->set_node(*node);
        scenario.add_nodes()->set_node(mirrored(read.node.config));
    }
    return load_scenario_message(scenario, path);
}

std::string TriedTimers::text() const { return format_duration(keepalive) + " / " + format_duration(deadtime); }

TriedTimers timers_of(const Loaded& base) {
    const heartbeat::Settings& settings = base.nodes.front().setup.settings;
    return {settings.keepalive, settings.deadtime, true};
}

std::vector<TriedTimers> grid(const std::vector<Duration>& keepalives, const std::vector<double>& factors) {
    std::vector<TriedTimers> out;
    for (const Duration keepalive : keepalives) {
        for (const double factor : factors) {
            const double deadtime = static_cast<double>(keepalive.count()) * factor;
            const auto whole = std::chrono::round<milliseconds>(Duration{static_cast<Duration::rep>(deadtime)});
            out.push_back({keepalive, whole, false});
        }
    }
    return out;
}

std::vector<TriedTimers> usual_timers(const TriedTimers& configured) {
    std::vector<TriedTimers> out = grid({10ms, 20ms, 50ms, 100ms, 200ms}, {3, 5, 10});
    out.push_back({500ms, 6s, false});  // profile vm
    std::erase_if(out, [&](const TriedTimers& one) {
        return one.keepalive == configured.keepalive && one.deadtime == configured.deadtime;
    });
    out.push_back(configured);
    std::sort(out.begin(), out.end(), [](const TriedTimers& a, const TriedTimers& b) {
        return std::pair(a.keepalive, a.deadtime) < std::pair(b.keepalive, b.deadtime);
    });
    return out;
}

}  // namespace lbcluster::sim
