// HA-2: the timers in force follow from profile and given values as config.proto says.
#include "lbcluster/config/settings.hpp"

#include <gtest/gtest.h>

#include "lbcluster/config/schema.hpp"

namespace lbcluster::config {
namespace {

HeartbeatSettings settings_of(const std::string& yaml) {
    ClusterConfig config;
    Positions positions;
    Problems problems;
    EXPECT_TRUE(parse_yaml("heartbeat: {" + yaml + "}", "c", config, positions, problems)) << format(problems);
    return heartbeat_settings(config.heartbeat());
}

struct Row {
    const char* yaml;
    Duration keepalive, warntime, deadtime, initdead, vip_lease;
};

TEST(HeartbeatSettings, HA2Timers) {
    const Row rows[] = {
        {"", 100ms, 300ms, 1s, 5s, 3s},
        {"profile: lan", 100ms, 300ms, 1s, 5s, 3s},
        {"profile: fast", 10ms, 20ms, 50ms, 5s, 2s},
        {"profile: vm", 500ms, 1500ms, 6s, 30s, 8s},
        {"keepalive: 10ms, deadtime: 30ms", 10ms, 20ms, 30ms, 5s, 2s},
        {"keepalive: 5ms, deadtime: 15ms", 5ms, 10ms, 15ms, 5s, 2s},
        {"keepalive: 400ms", 400ms, 800ms, 1s, 5s, 3s},
        {"deadtime: 10s", 100ms, 3s, 10s, 10s, 12s},
        {"deadtime: 10s, warntime: 1s", 100ms, 1s, 10s, 10s, 12s},
        {"deadtime: 1500ms", 100ms, 450ms, 1500ms, 5s, 3s},
        {"initdead: 20s", 100ms, 300ms, 1s, 20s, 3s},
        {"vip_lease: 0s", 100ms, 300ms, 1s, 5s, 0s},
        {"vip_lease: 5s", 100ms, 300ms, 1s, 5s, 5s},
    };
    for (const Row& row : rows) {
        const HeartbeatSettings s = settings_of(row.yaml);
        EXPECT_EQ(s.keepalive, row.keepalive) << row.yaml;
        EXPECT_EQ(s.warntime, row.warntime) << row.yaml;
        EXPECT_EQ(s.deadtime, row.deadtime) << row.yaml;
        EXPECT_EQ(s.initdead, row.initdead) << row.yaml;
        EXPECT_EQ(s.vip_lease, row.vip_lease) << row.yaml;
    }
}

TEST(HeartbeatSettings, DefaultsOfTheStructAreThoseOfTheSchema) {
    EXPECT_EQ(heartbeat_settings(Heartbeat{}), HeartbeatSettings{});
}

TEST(HeartbeatSettings, TheRest) {
    const HeartbeatSettings s = settings_of(
        "port: 7000, auto_failback: true, failback_delay: 2m, isolation: strict, address_probe: off, "
        "ping_nodes: [10.0.0.1], announce_rate: 5, announce_refresh: 10s");
    EXPECT_EQ(s.port, 7000);
    EXPECT_TRUE(s.auto_failback);
    EXPECT_EQ(s.failback_delay, 120s);
    EXPECT_EQ(s.isolation, ISOLATION_STRICT);
    EXPECT_EQ(s.address_probe, ADDRESS_PROBE_OFF);
    ASSERT_EQ(s.ping_nodes.size(), 1U);
    EXPECT_EQ(s.ping_nodes[0].to_string(), "10.0.0.1");
    EXPECT_EQ(s.announce_rate, 5U);
    EXPECT_EQ(s.announce_refresh, 10s);
}

}  // namespace
}  // namespace lbcluster::config
