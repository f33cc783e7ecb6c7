// What `lbcluster status` shows, as a value, and the two pure functions that show it: for people and for scripts.
// The six cases of HA-5 (and the states in between) are told apart by summarize() alone.
#pragma once

#include <lbcluster/state.pb.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "context.hpp"
#include "lbcluster/config.pb.h"
#include "lbcluster/health/color.hpp"

namespace lbcluster::cli {

struct DaemonView {
    std::string name;
    bool running = false;  // somebody listens on its socket
    bool stale = false;    // and what is shown of it is old
    std::string version;
};

struct StatusView {
    std::optional<bus::NodeStatus> node;  // nothing: heartbeatd has not answered
    bus::ConfigStatus config;
    std::vector<DaemonView> daemons;
    std::uint64_t now_ms = 0;  // CLOCK_REALTIME

    config::ClusterConfig cluster;                                             // with defaults
    std::string cluster_error;                                                 // why it is not the newest; empty: it is
    std::optional<bus::HealthStatus> health;                                   // nothing: healthd has not answered
    std::string health_error;                                                  // why not
    std::map<std::pair<std::string, std::string>, bus::ServerHealth> servers;  // by labels
    std::optional<bus::ForwardStatus> forward;                                 // nothing: forwarderd has not answered
    std::map<std::string, bus::ForwardService> forwarded;                      // by label
    std::optional<bus::ReplicationStatus> replication;                         // nothing: replicatord has not answered
    std::map<std::pair<std::string, std::string>, std::string> peer_health;    // by labels, as the peer judges
};

// A real server and a virtual service as both forms of `status` show them: what is wanted beside what is.
struct ServerRow {
    std::string label;
    std::string address;
    std::uint32_t port = 0;  // 0: all of the service
    std::uint32_t weight = 0;
    std::string state;        // online | drain | halt, of now
    std::string drain_until;  // of a drain with a deadline, also when it has passed
    bus::ServerHealth health;
    std::string peer_health;                      // as the peer judges; empty: it says nothing
    std::optional<bus::ForwardServer> forwarded;  // as the kernel has it
};
struct ServiceRow {
    std::string label;
    std::string address;
    std::vector<std::string> ports;
    std::string protocol;
    std::string method;
    int layer = 4;
    health::Color color = health::Color::red;  // of its servers; red as well if it is not forwarded
    std::optional<bus::ForwardService> forwarded;
    std::vector<ServerRow> servers;
};
// Those that are enabled, in the order of the configuration.
std::vector<ServiceRow> service_rows(const StatusView& view);

enum class Level { good, warning, bad };

struct Summary {
    Level level = Level::good;
    std::string text;  // one or two plain sentences
};

Summary summarize(const StatusView& view);
// Of every daemon that was asked.
std::vector<bus::Alarm> all_alarms(const StatusView& view);
// At most `width` columns wide; colours only if asked for.
std::string render_page(const StatusView& view, bool color, std::size_t width = 80);
Json status_json(const StatusView& view);
// The System Overview: a part of the page, and "services" of the JSON.
std::string render_services(const StatusView& view, bool color, std::size_t width);
Json services_json(const StatusView& view);
Json forwarding_json(const StatusView& view);  // null: forwarderd has not answered

Json event_json(const bus::Event& event);
std::string event_line(const bus::Event& event, bool color);

}  // namespace lbcluster::cli
