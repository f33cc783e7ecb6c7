#include "lbcluster/base/time.hpp"
#include "status_view.hpp"

namespace lbcluster::cli {
namespace {

Json time_json(std::uint64_t realtime_ms) {
    return realtime_ms == 0 ? Json(nullptr) : Json(format_rfc3339(realtime_ms));
}

template <class List, class F>
Json array_of(const List& list, F make) {
    Json out = Json::array();
    for (const auto& entry : list) {
        out.push_back(make(entry));
    }
    return out;
}

Json counters_json(const google::protobuf::Map<std::string, std::uint64_t>& counters) {
    Json out = Json::object();
    for (const auto& [name, count] : std::map<std::string, std::uint64_t>(counters.begin(), counters.end())) {
        out[name] = count;
    }
    return out;
}

Json replication_json(const StatusView& view) {
    if (!view.replication) return {{"state", "none"}, {"peer_revision", nullptr}, {"error", ""}};
    const bus::ReplicationStatus& one = *view.replication;
    return {{"state", one.state()},
            {"peer_revision", one.peer_revision() == 0 ? Json(nullptr) : Json(one.peer_revision())},
            {"error", one.error()},
            {"text", one.text()},
            {"peer", one.peer()},
            {"peer_address", one.peer_address()},
            {"peer_digest", one.peer_digest()},
            {"peer_version", one.peer_version()},
            {"connected", one.connected()},
            {"peer_clock", one.has_peer_clock() ? Json{{"ahead_ms", one.peer_clock().ahead_ms()},
                                                       {"uncertain_ms", one.peer_clock().uncertain_ms()}}
                                                : Json(nullptr)},
            {"since", time_json(one.synced_ms())},
            {"took_us", one.took_us()},
            {"counters", counters_json(one.counters())}};
}

Json peer_json(const bus::PeerStatus& peer) {
    return {{"name", peer.name()},
            {"role", peer.role()},
            {"activity", peer.activity()},
            {"state", peer.state().empty() ? "none" : peer.state()},
            {"last_heard_ms", peer.heard() ? Json(peer.last_heard_ms()) : Json(nullptr)}};
}

void add_node(Json& out, const bus::NodeStatus& node) {
    out["node"] = {{"name", node.name()},         {"role", node.role()},
                   {"activity", node.activity()}, {"since", time_json(node.since_ms())},
                   {"term", node.term()},         {"reason", node.reason()}};
    out["peer"] = peer_json(node.peer());
    out["link"] = node.link().empty() ? "none" : node.link();
    out["links"] = array_of(node.links(), [](const bus::LinkStatus& link) {
        return Json{{"name", link.name()},
                    {"kind", link.kind()},
                    {"state", link.state()},
                    {"rtt_us", link.rtt_us()},
                    {"error", link.error()}};
    });
    out["ping_nodes"] = array_of(node.ping_nodes(), [](const bus::PingNodeStatus& ping) {
        return Json{{"address", ping.address()}, {"reachable", ping.reachable()}, {"rtt_us", ping.rtt_us()}};
    });
    out["floating_ips"] = array_of(node.floating_ips(), [](const bus::FloatingIpStatus& ip) {
        return Json{
            {"address", ip.address()}, {"interface", ip.interface()}, {"held", ip.held()}, {"error", ip.error()}};
    });
}

}  // namespace

Json status_json(const StatusView& view) {
    Json out = Json::object();
    if (view.node) {
        add_node(out, *view.node);
    } else {
        out["node"] = nullptr;
        out["peer"] = nullptr;
        out["link"] = "down";
        out["links"] = out["ping_nodes"] = out["floating_ips"] = Json::array();
    }
    out["services"] = services_json(view);
    out["config"] = {
        {"revision", view.config.revision()}, {"digest", view.config.digest()}, {"error", view.config.error()}};
    out["replication"] = replication_json(view);
    out["alarms"] = array_of(all_alarms(view), [](const bus::Alarm& alarm) {
        return Json{{"id", alarm.id()},
                    {"since", time_json(alarm.since_ms())},
                    {"text", alarm.text()},
                    {"action", alarm.action()}};
    });
    if (view.node) out["counters"] = counters_json(view.node->counters());
    out["health"] = nullptr;
    if (view.health) {
        const bus::HealthStatus& health = *view.health;
        out["health"] = {{"targets", health.targets()},
                         {"up", health.up()},
                         {"down", health.down()},
                         {"standby", health.standby()},
                         {"unknown", health.unknown()},
                         {"holding", health.holding()},
                         {"counters", counters_json(health.counters())}};
    }
    out["forwarding"] = forwarding_json(view);
    out["daemons"] = array_of(view.daemons, [](const DaemonView& daemon) {
        return Json{
            {"name", daemon.name}, {"running", daemon.running}, {"stale", daemon.stale}, {"version", daemon.version}};
    });
    return out;
}

Json forwarding_json(const StatusView& view) {
    if (!view.forward) return nullptr;
    const bus::ForwardStatus& forward = *view.forward;
    return {{"ipvs", forward.ipvs()},
            {"ipvs_version", forward.ipvs_version()},
            {"services", forward.services()},
            {"failed", forward.failed()},
            {"error", forward.error()},
            {"connections", forward.connections_active()},
            {"connections_inactive", forward.connections_inactive()},
            {"connections_per_second", forward.connections_per_second()},
            {"sync",
             {{"role", forward.sync().role()},
              {"interface", forward.sync().interface()},
              {"id", forward.sync().id()},
              {"error", forward.sync().error()}}},
            {"sysctls", array_of(forward.sysctls(),
                                 [](const bus::SysctlStatus& one) {
                                     return Json{{"name", one.name()},     {"value", one.value()},
                                                 {"wanted", one.wanted()}, {"before", one.before()},
                                                 {"reason", one.reason()}, {"error", one.error()}};
                                 })},
            {"proxy",
             {{"services", forward.proxy().services()},
              {"failed", forward.proxy().failed()},
              {"running", forward.proxy().running()},
              {"pid", forward.proxy().pid()},
              {"version", forward.proxy().version()},
              {"error", forward.proxy().error()}}},
            {"drift", forward.drift()},
            {"drift_at", time_json(forward.drift_ms())},
            {"counters", counters_json(forward.counters())}};
}

Json event_json(const bus::Event& event) {
    Json inputs = Json::object();
    for (const auto& [name, value] : std::map<std::string, std::string>(event.inputs().begin(), event.inputs().end())) {
        inputs[name] = value;
    }
    return {{"sequence", event.sequence()}, {"time", time_json(event.time_ms())}, {"node", event.node()},
            {"kind", event.kind()},         {"severity", event.severity()},       {"text", event.text()},
            {"inputs", std::move(inputs)}};
}

}  // namespace lbcluster::cli
