// HC-1, HC-4: which server is asked what, from the configuration.
#include <gtest/gtest.h>

#include "healthd/setup.hpp"
#include "lbcluster/config/load.hpp"

namespace lbcluster::health {
namespace {

health::Setup setup_of(const std::string& services) {
    const auto loaded = config::load_texts("node: lb1\nlog_level: debug\n", "virtual_services:\n" + services,
                                           "cluster.yaml", std::nullopt);
    EXPECT_TRUE(loaded.ok()) << config::format(loaded.problems);
    return make_setup(loaded);
}

TEST(Targets, PortsAndDefaults) {
    const health::Setup setup = setup_of(R"(
  - {label: a, address: 10.0.0.100, ports: [9191, 9192], real_servers: [{label: s, address: 10.0.0.1}]}
  - {label: b, address: 10.0.0.101, ports: 80, method: nat, real_servers: [{label: s, address: 10.0.0.2, port: 8080}]}
  - {label: c, address: 10.0.0.102, ports: all, check: {port: 22}, real_servers: [{label: s, address: 10.0.0.3}]}
  - {label: d, address: 10.0.0.103, ports: 80, check: {type: ping}, real_servers: [{label: s, address: 10.0.0.4}]}
)");
    EXPECT_EQ(setup.node, "lb1");
    EXPECT_EQ(setup.log_level, "debug");
    ASSERT_EQ(setup.servers.size(), 4U);
    const std::uint16_t ports[] = {9191, 8080, 22, 0};
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(setup.servers[i].port, ports[i]);
        const Target& target = setup.plan.targets.at(setup.servers[i].target);
        ASSERT_EQ(target.leaves.size(), 1U);
        EXPECT_EQ(target.leaves[0].port, ports[i]);
        EXPECT_EQ(target.leaves[0].virtual_address, "") << "so that services share probes";
        EXPECT_EQ(target.interval, 4s);
        EXPECT_EQ(target.timeout, 3s);
        EXPECT_EQ(target.fall, 2U);
        EXPECT_EQ(target.rise, 2U);
        EXPECT_FALSE(setup.servers[i].agent);
    }
}

TEST(Targets, WhoIsAsked) {
    const health::Setup setup = setup_of(R"(
  - {label: off, address: 10.0.0.100, ports: 80, enabled: false, real_servers: [{label: s, address: 10.0.0.1}]}
  - label: on
    address: 10.0.0.101
    ports: 80
    real_servers:
      - {label: off, address: 10.0.0.2, enabled: false}
      - {label: draining, address: 10.0.0.3, state: drain}
      - {label: halted, address: 10.0.0.4, state: halt}
)");
    ASSERT_EQ(setup.servers.size(), 2U);
    EXPECT_EQ(setup.servers[0].server, "draining");
    EXPECT_EQ(setup.servers[1].server, "halted");
}

TEST(Targets, TheSameQuestionToTheSameServerIsOneTarget) {
    const health::Setup setup = setup_of(R"(
  - {label: a, address: 10.0.0.100, ports: 80, real_servers: [{label: s, address: 10.0.0.1}, {label: t, address: 10.0.0.2}]}
  - {label: b, address: 10.0.0.101, ports: 80, real_servers: [{label: x, address: 10.0.0.1}]}
  - {label: c, address: 10.0.0.102, ports: 80, check: {interval: 5s}, real_servers: [{label: x, address: 10.0.0.1}]}
  - {label: d, address: 10.0.0.103, ports: 80, check: {type: negotiate, protocol: http}, real_servers: [{label: x, address: 10.0.0.1}]}
  - {label: e, address: 10.0.0.104, ports: 80, check: {type: negotiate, protocol: http}, real_servers: [{label: x, address: 10.0.0.1}]}
  - {label: f, address: 10.0.0.105, ports: 80, check: {type: negotiate, protocol: http, host: h}, real_servers: [{label: x, address: 10.0.0.1}]}
  - {label: g, address: 10.0.0.106, ports: 80, check: {type: negotiate, protocol: http, host: h}, real_servers: [{label: x, address: 10.0.0.1}]}
  - {label: h, address: 10.0.0.107, ports: 80, note: n, check: {feedback: {}}, real_servers: [{label: s, address: 10.0.0.1, weight: 5}]}
)");
    const auto key = [&](std::size_t i) { return key_of(setup.plan.targets.at(setup.servers.at(i).target)); };
    EXPECT_EQ(key(0), key(2));
    EXPECT_NE(key(0), key(1)) << "another server";
    EXPECT_NE(key(0), key(3)) << "another pace";
    EXPECT_NE(key(4), key(5)) << "the Host header is the virtual address";
    EXPECT_EQ(key(6), key(7)) << "the Host header is given";
    EXPECT_EQ(key(0), key(8)) << "an agent is no part of the question";
    const auto& targets = setup.plan.targets;
    EXPECT_EQ(targets[0].question(), targets[3].question());
    EXPECT_EQ(targets[4].leaves[0].virtual_address, "10.0.0.103");
    EXPECT_EQ(targets[4].leaves[0].virtual_port, 80);

    Core core({"lb1", 1, 10});
    Actions actions;
    const Ids ids = core.configure(Instant{1s}, setup.plan, actions);
    const std::set<Id> different(ids.targets.begin(), ids.targets.end());
    EXPECT_EQ(different.size(), 6U);
    EXPECT_EQ(core.totals().unknown, 6U);
}

TEST(Targets, SeveralPortsAndComposites) {
    const health::Setup setup = setup_of(R"(
  - {label: a, address: 10.0.0.100, ports: 80, check: {port: [80, 443, 22]}, real_servers: [{label: s, address: 10.0.0.1}]}
  - label: b
    address: 10.0.0.101
    ports: 80
    check:
      interval: 7s
      all:
        - {type: ping}
        - any:
            - {type: negotiate, protocol: http, request: /a}
            - {type: negotiate, protocol: http, request: /b, port: [81, 82]}
    real_servers: [{label: s, address: 10.0.0.1}]
  - label: c
    address: 10.0.0.102
    ports: 80
    check: {at_least: {count: 2, of: [{port: 1}, {port: 2}, {port: 3}]}}
    real_servers: [{label: s, address: 10.0.0.1}]
)");
    const auto& targets = setup.plan.targets;
    EXPECT_EQ(targets[0].tree.need, 3U);
    ASSERT_EQ(targets[0].leaves.size(), 3U);
    EXPECT_EQ(targets[0].leaves[2].port, 22);

    ASSERT_EQ(targets[1].leaves.size(), 4U);
    EXPECT_EQ(targets[1].interval, 7s);
    EXPECT_EQ(targets[1].tree.need, 2U);
    ASSERT_EQ(targets[1].tree.parts.size(), 2U);
    EXPECT_EQ(targets[1].leaves[0].port, 0);
    EXPECT_EQ(targets[1].leaves[1].port, 80);
    EXPECT_EQ(targets[1].leaves[1].check.request(), "/a");
    EXPECT_EQ(targets[1].tree.parts[1].need, 1U);
    EXPECT_EQ(targets[1].tree.parts[1].parts[1].need, 2U);
    EXPECT_EQ(setup.servers[1].port, 80) << "the first one that has a port";
    for (const ProbeSpec& leaf : targets[1].leaves) {
        EXPECT_FALSE(leaf.check.has_interval() || leaf.check.has_timeout() || leaf.check.has_fall() ||
                     leaf.check.has_rise() || !leaf.check.port().empty());
    }
    EXPECT_EQ(targets[2].tree.need, 2U);
    EXPECT_EQ(targets[2].leaves.size(), 3U);
}

TEST(Targets, AgentsAndTheArgumentsOfPrograms) {
    const health::Setup setup = setup_of(R"(
  - label: a
    address: 10.0.0.100
    ports: 80
    check: {type: external, command: /bin/true, feedback: {interval: 2s}}
    real_servers: [{label: s, address: 10.0.0.1}, {label: t, address: 10.0.0.2}]
)");
    ASSERT_EQ(setup.plan.agents.size(), 2U);
    EXPECT_EQ(setup.plan.agents[1].address.to_string(), "10.0.0.2");
    EXPECT_EQ(setup.plan.agents[1].port, 3333);
    EXPECT_EQ(setup.plan.agents[1].interval, 2s);
    EXPECT_EQ(setup.servers[1].agent, 1U);
    const ProbeSpec& leaf = setup.plan.targets[0].leaves[0];
    EXPECT_EQ(leaf.virtual_address, "10.0.0.100");
    EXPECT_EQ(leaf.virtual_port, 80);
    EXPECT_EQ(leaf.port, 80);
}

}  // namespace
}  // namespace lbcluster::health
