// Which ports are ours, so that `diagnose` can say who else has one of them.
#include "cli/own_ports.hpp"

#include <gtest/gtest.h>

#include <optional>

#include "lbcluster/config/load.hpp"

namespace lbcluster::cli {
namespace {

// One a line: protocol, addresses, ports, program, key.
std::string ports_of(const std::string& cluster, const std::string& node = "") {
    const auto loaded = config::load_texts("node: lb1\n" + node, cluster, "cluster.yaml", std::nullopt);
    EXPECT_TRUE(loaded.ok()) << config::format(loaded.problems);
    std::string out;
    for (const OwnPorts& one : own_ports(loaded.effective_node, loaded.effective_cluster, "/run/x", {})) {
        out += one.udp ? "udp" : "tcp";
        for (const IpAddress& address : one.addresses) out += " " + address.to_string();
        out += " " + std::to_string(one.first);
        if (one.last != one.first) out += "-" + std::to_string(one.last);
        out += " " + one.daemon + " " + one.key + "\n";
    }
    return out;
}

const std::string links = "links: [{interface: eth0, local: 10.0.0.1, peer: 10.0.0.2}]\n";

TEST(OwnPortsOf, ANodeThatServesNothingHasItsHeartbeats) {
    EXPECT_EQ(ports_of("{}"), "");
    EXPECT_EQ(ports_of("{}", links), "udp 10.0.0.1 6694 heartbeatd heartbeat.port\n");
    EXPECT_EQ(ports_of("heartbeat: {port: 7000}\n", links), "udp 10.0.0.1 7000 heartbeatd heartbeat.port\n");
}

TEST(OwnPortsOf, OfLayer4TheKernelTakesWhatComes) {
    const std::string service = "virtual_services: [{label: a, address: 10.0.0.9, ports: [80], method: dr";
    EXPECT_EQ(ports_of(service + "}]\n"), "");
    EXPECT_EQ(ports_of(service + ", fallback: page}]\n"),
              "tcp 10.0.0.9 80 haproxy the ports of the service\n"
              "tcp 0.0.0.0 9081 haproxy layer7.page_port\n");
}

TEST(OwnPortsOf, OfLayer7HaproxyListensForClientsPagesAndThePeer) {
    const std::string service =
        "virtual_services: [{label: a, address: 10.0.0.9, ports: [443, 8000], method: proxy}";
    const std::string clients =
        "tcp 10.0.0.9 443 haproxy the ports of the service\n"
        "tcp 10.0.0.9 8000 haproxy the ports of the service\n";
    const std::string heartbeats = "udp 10.0.0.1 6694 heartbeatd heartbeat.port\n";
    EXPECT_EQ(ports_of(service + "]\n"), clients);
    EXPECT_EQ(ports_of(service + "]\n", links), heartbeats + clients + "tcp 10.0.0.1 7778 haproxy layer7.peers_port\n");
    EXPECT_EQ(ports_of(service + ", {label: off, address: 10.0.0.8, ports: [80], method: proxy, enabled: false}]\n"),
              clients);
    EXPECT_EQ(
        ports_of(service + "]\nlayer7: {statistics: {user: anna, password: \"long enough word\"}, peers_port: 7999}\n", links),
        heartbeats + clients + "tcp 0.0.0.0 :: 7777 haproxy layer7.statistics.port\n" +
            "tcp 10.0.0.1 7999 haproxy layer7.peers_port\n");
}

}  // namespace
}  // namespace lbcluster::cli
