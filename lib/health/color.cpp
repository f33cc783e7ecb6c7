#include "lbcluster/health/color.hpp"

namespace lbcluster::health {

Color color_of(const std::vector<ServerView>& servers) {
    std::size_t online = 0;
    std::size_t count = 0;
    std::size_t up = 0;
    for (const ServerView& server : servers) {
        if (server.state == config::SERVER_STATE_DRAIN || server.state == config::SERVER_STATE_HALT) continue;
        ++online;
        if (server.health == "standby") continue;
        ++count;
        if (server.health == "up") ++up;
    }
    if (online == 0 && !servers.empty()) return Color::blue;
    if (up == 0) return Color::red;
    return up == count ? Color::green : Color::yellow;
}

std::string_view word_of(Color color) {
    switch (color) {
        case Color::green:
            return "green";
        case Color::yellow:
            return "yellow";
        case Color::red:
            return "red";
        case Color::blue:
            return "blue";
    }
    return "red";
}

}  // namespace lbcluster::health
