// What `lbcluster status` shows, as a value, and the two pure functions that show it: for people and for scripts.
// The six cases of HA-5 (and the states in between) are told apart by summarize() alone.
#pragma once

#include <lbcluster/state.pb.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "context.hpp"

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
};

enum class Level { good, warning, bad };

struct Summary {
    Level level = Level::good;
    std::string text;  // one or two plain sentences
};

Summary summarize(const StatusView& view);
// At most `width` columns wide; colours only if asked for.
std::string render_page(const StatusView& view, bool color, std::size_t width = 80);
Json status_json(const StatusView& view);

Json event_json(const bus::Event& event);
std::string event_line(const bus::Event& event, bool color);

}  // namespace lbcluster::cli
