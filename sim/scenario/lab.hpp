// The lab's pair, which a scenario gets that brings no configuration of its own: the same addresses as tests/lab.
#pragma once

namespace lbcluster::sim::lab {

inline constexpr const char* node_yaml[2] = {
    R"(node: lb1
role: primary
interfaces: {lan: eth0, hb: eth1}
links:
  - {interface: eth0, local: 10.77.0.11, peer: 10.77.0.12}
  - {interface: eth1, local: 10.78.0.11, peer: 10.78.0.12}
)",
    R"(node: lb2
role: secondary
interfaces: {lan: eth0, hb: eth1}
links:
  - {interface: eth0, local: 10.77.0.12, peer: 10.77.0.11}
  - {interface: eth1, local: 10.78.0.12, peer: 10.78.0.11}
)"};

inline constexpr const char* cluster_yaml = R"(heartbeat:
  profile: lan
  ping_nodes: [10.77.0.1]
floating_ips:
  - {address: 10.77.0.200, interface: lan}
  - {address: 'fd77::200', interface: lan}
)";

}  // namespace lbcluster::sim::lab
