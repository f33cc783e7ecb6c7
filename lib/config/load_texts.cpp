// load_texts(): the configuration from texts; no file is touched, nothing is digested.
#include <algorithm>

#include "lbcluster/config/load.hpp"

namespace lbcluster::config {
namespace {

// Fills in the effective form from what was written.
void make_effective(LoadResult& result) {
    result.effective_node = result.node.config;
    with_defaults(result.effective_node);
    for (Link& link : *result.effective_node.mutable_links()) {
        if (link.has_serial() && !link.has_baud()) link.set_baud(baud_default);
    }
    result.effective_cluster = result.cluster.config;
    with_defaults(result.effective_cluster);
    result.heartbeat = heartbeat_settings(result.cluster.config.heartbeat());
    // What is derived stands there, too: `show` says what is in force.
    Heartbeat& heartbeat = *result.effective_cluster.mutable_heartbeat();
    const auto fill = [](google::protobuf::Duration& target, Duration value) {
        target.set_seconds(value.count() / 1'000'000'000);
        target.set_nanos(static_cast<std::int32_t>(value.count() % 1'000'000'000));
    };
    fill(*heartbeat.mutable_keepalive(), result.heartbeat.keepalive);
    fill(*heartbeat.mutable_warntime(), result.heartbeat.warntime);
    fill(*heartbeat.mutable_deadtime(), result.heartbeat.deadtime);
    fill(*heartbeat.mutable_initdead(), result.heartbeat.initdead);
    fill(*heartbeat.mutable_vip_lease(), result.heartbeat.vip_lease);
}

}  // namespace

LoadResult load_texts(const std::optional<std::string>& node_yaml, const std::string& cluster_yaml,
                      const std::string& cluster_name, const std::optional<Facts>& facts) {
    LoadResult result;
    result.cluster.name = cluster_name;
    bool node_read = false;
    if (node_yaml) {
        parse_yaml(*node_yaml, result.node.name, result.node.config, result.node.positions, result.problems);
        node_read = !has_errors(result.problems);
    }
    parse_yaml(cluster_yaml, cluster_name, result.cluster.config, result.cluster.positions, result.problems);
    // With a node.yaml that could not be read, what is checked against it would be wrong as well.
    const Problems more = check(node_read ? &result.node : nullptr, result.cluster, facts);
    result.problems.insert(result.problems.end(), more.begin(), more.end());
    std::stable_sort(result.problems.begin(), result.problems.end(), [](const Problem& a, const Problem& b) {
        if (a.file != b.file) return a.file < b.file;
        return a.line != b.line ? a.line < b.line : a.column < b.column;
    });
    make_effective(result);
    return result;
}

}  // namespace lbcluster::config
