// HC-4, HC-7, OP-2: the colour of a service from its servers.
#include "lbcluster/health/color.hpp"

#include <gtest/gtest.h>

namespace lbcluster::health {
namespace {

std::vector<ServerView> servers_of(const std::string& words) {
    std::vector<ServerView> servers;
    for (const char c : words) {
        switch (c) {
            case 'u':
                servers.push_back({config::SERVER_STATE_ONLINE, "up"});
                break;
            case 'd':
                servers.push_back({config::SERVER_STATE_ONLINE, "down"});
                break;
            case 's':
                servers.push_back({config::SERVER_STATE_ONLINE, "standby"});
                break;
            case '?':
                servers.push_back({config::SERVER_STATE_ONLINE, "unknown"});
                break;
            case 'D':  // drained although up
                servers.push_back({config::SERVER_STATE_DRAIN, "up"});
                break;
            case 'H':  // halted and down
                servers.push_back({config::SERVER_STATE_HALT, "down"});
                break;
            default:
                ADD_FAILURE() << c;
        }
    }
    return servers;
}

TEST(Color, FollowsTheRule) {
    const std::vector<std::pair<const char*, const char*>> table{
        {"", "red"},   {"u", "green"}, {"uuu", "green"}, {"ud", "yellow"},  {"dud", "yellow"},  {"d", "red"},
        {"dd", "red"}, {"?", "red"},   {"u?", "yellow"}, {"us", "green"},   {"uds", "yellow"},  {"ds", "red"},
        {"s", "red"},  {"ss", "red"},  {"uD", "green"},  {"uH", "green"},   {"dD", "red"},      {"sD", "red"},
        {"D", "blue"}, {"H", "blue"},  {"DDHH", "blue"}, {"uusH", "green"}, {"udHH", "yellow"}, {"?H", "red"},
    };
    for (const auto& [servers, color] : table) {
        EXPECT_EQ(word_of(color_of(servers_of(servers))), color) << servers;
    }
}

TEST(Color, AServerWithoutAStateIsOnline) {
    EXPECT_EQ(color_of({{config::SERVER_STATE_UNSPECIFIED, "up"}}), Color::green);
    EXPECT_EQ(color_of({{config::SERVER_STATE_UNSPECIFIED, "down"}}), Color::red);
}

}  // namespace
}  // namespace lbcluster::health
