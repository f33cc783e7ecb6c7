// OP-1, HA-3: the rules over both files and over what the machine has.
#include "lbcluster/config/check.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "lbcluster/config/load.hpp"

namespace lbcluster::config {
namespace {

Facts machine() {
    return {{{"lo", {*IpPrefix::parse("127.0.0.1/8"), *IpPrefix::parse("::1")}},
             {"eth0", {*IpPrefix::parse("10.77.0.11/24"), *IpPrefix::parse("fd77::11/64")}},
             {"eth1", {*IpPrefix::parse("10.78.0.11/24")}},
             {"eth2", {*IpPrefix::parse("10.77.0.77/32"), *IpPrefix::parse("10.64.0.1/10")}}}};
}

const std::string good_node =
    "node: lb1\n"
    "interfaces: {lan: eth0}\n"
    "links:\n"
    "  - {interface: eth0, local: 10.77.0.11, peer: 10.77.0.12}\n"
    "  - {local: 10.78.0.11, peer: 10.78.0.12}\n";
const std::string good_cluster = "heartbeat: {ping_nodes: [10.77.0.1]}\n";

struct Case {
    const char* name;
    std::string node;
    std::string cluster;
    std::string problems;
};

class Checks : public testing::TestWithParam<Case> {};

TEST_P(Checks, AreReportedExactly) {
    const auto result = load_texts(GetParam().node, GetParam().cluster, "cluster.yaml", machine());
    EXPECT_EQ(format(result.problems), GetParam().problems);
}

std::string floating(const std::string& text) { return good_cluster + "floating_ips: [{" + text + "}]\n"; }
std::string timers(const std::string& text) { return "heartbeat: {ping_nodes: [10.77.0.1], " + text + "}\n"; }
std::string links(const std::string& text) { return "node: lb1\nlinks:\n" + text; }
constexpr const char* free_hint = "; a floating IP must belong to neither node alone; choose a free address\n";
constexpr const char* lan_hint = "; a floating IP is an address of its own in a LAN\n";
constexpr const char* ping_hint =
    "; a ping node is a third machine, best a router, that tells whether this one is cut off\n";
const std::string at_address = "cluster.yaml:2:26: floating_ips[0].address: ";
const std::string second_link = "  - {local: 10.78.0.11, peer: 10.78.0.12}\n";

INSTANTIATE_TEST_SUITE_P(
    OP1, Checks,
    testing::Values(
        Case{"Good", good_node, floating("address: 10.77.0.200, interface: lan"), ""},
        Case{"GoodWithoutInterface", good_node, floating("address: fd77::200"), ""},
        Case{"OwnAddress", good_node, floating("address: 10.78.0.11"),
             at_address + "10.78.0.11 is the own address of this machine's interface eth1" + free_hint},
        Case{"PeerAddress", good_node, floating("address: 10.78.0.12"),
             at_address + "10.78.0.12 is the peer's own address on links[1]" + free_hint},
        Case{"NoNetwork", good_node, floating("address: 172.16.0.1"),
             at_address + "172.16.0.1 is in no network of this machine's interfaces; give 'interface', or put an "
                          "address of that network on one\n"},
        Case{"MissingInterface", good_node, floating("address: 172.16.0.1, interface: eth7"),
             "cluster.yaml:2:49: warning: floating_ips[0].interface: this machine has no interface 'eth7'; the address "
             "waits until it appears\n"},
        Case{"LongInterface", good_node, floating("address: 172.16.0.1, interface: a123456789abcdef"),
             "cluster.yaml:2:49: floating_ips[0].interface: 'a123456789abcdef' is longer than an interface's name can "
             "be and not one of node.yaml's interfaces; add it to 'interfaces' in node.yaml\n"},
        Case{"Duplicate", good_node,
             good_cluster + "floating_ips:\n  - {address: fd77::200}\n  - {address: 'fd77:0::200/128'}\n",
             "cluster.yaml:4:15: floating_ips[1].address: fd77::200 is floating_ips[0] already; remove one of them\n"},
        Case{"Multicast", good_node, floating("address: 224.0.0.1"),
             at_address + "224.0.0.1 is a multicast address" + lan_hint},
        Case{"Unspecified", good_node, floating("address: 0.0.0.0"),
             at_address + "0.0.0.0 is the unspecified address" + lan_hint},
        Case{"Loopback", good_node, floating("address: 127.0.0.5"),
             at_address + "127.0.0.5 is a loopback address" + lan_hint},
        Case{"Reserved", good_node, floating("address: 255.255.255.255"),
             at_address + "255.255.255.255 is a reserved address" + lan_hint},
        Case{"Network", good_node, floating("address: 10.77.0.0"),
             at_address + "10.77.0.0 is the network address" + lan_hint},
        Case{"Broadcast", good_node, floating("address: 10.77.0.255"),
             at_address + "10.77.0.255 is the broadcast address" + lan_hint},
        Case{"Anycast", good_node, floating("address: 'fd77::'"),
             at_address + "fd77:: is the network address" + lan_hint},
        Case{"NetworkOfItsPrefix", good_node, floating("address: 172.16.0.0/16, interface: lan"),
             at_address + "172.16.0.0 is the network address" + lan_hint},
        Case{"PingOwn", good_node, "heartbeat: {ping_nodes: [10.77.0.11]}\n",
             std::string("cluster.yaml:1:26: heartbeat.ping_nodes[0]: 10.77.0.11 is the own address of this machine's "
                         "interface eth0") +
                 ping_hint},
        Case{"PingPeer", good_node, "heartbeat: {ping_nodes: [10.77.0.12]}\n",
             std::string(
                 "cluster.yaml:1:26: heartbeat.ping_nodes[0]: 10.77.0.12 is the peer's own address on links[0]") +
                 ping_hint},
        Case{"PingFloating", good_node,
             "heartbeat: {ping_nodes: [10.77.0.200]}\nfloating_ips: [{address: 10.77.0.200}]\n",
             std::string("cluster.yaml:1:26: heartbeat.ping_nodes[0]: 10.77.0.200 is floating_ips[0]") + ping_hint},
        Case{"PingTwice", good_node, "heartbeat: {ping_nodes: [10.77.0.1, 10.77.0.1]}\n",
             "cluster.yaml:1:37: heartbeat.ping_nodes[1]: 10.77.0.1 is ping_nodes[0] already; remove one of them\n"},
        Case{"NoPing", good_node, "heartbeat: {}\n",
             "cluster.yaml:1:12: warning: heartbeat: no ping_nodes; without one a node cannot tell a dead peer from "
             "being cut off itself; name the router\n"},
        Case{
            "Warntime", good_node, timers("warntime: 150ms"),
            "cluster.yaml:1:48: heartbeat.warntime: warntime 150ms is less than twice keepalive (100ms); give at least "
            "200ms\n"},
        Case{"DeadtimeKeepalive", good_node, timers("deadtime: 200ms"),
             "cluster.yaml:1:48: heartbeat.deadtime: deadtime 200ms is not more than twice keepalive (100ms); three or "
             "more keepalives are advised: 300ms\n"},
        Case{"WarntimeDeadtime", good_node, timers("warntime: 1s"),
             "cluster.yaml:1:48: heartbeat.warntime: warntime 1s is not less than deadtime (1s)\n"},
        Case{"Initdead", good_node, timers("initdead: 900ms"),
             "cluster.yaml:1:48: heartbeat.initdead: initdead 900ms is less than deadtime (1s); give at least 1s\n"},
        Case{"LeaseFraction", good_node, timers("vip_lease: 3500ms"),
             "cluster.yaml:1:49: heartbeat.vip_lease: 3.5s is not a whole number of seconds; the kernel counts "
             "lifetimes "
             "in seconds; give 3s or more\n"},
        Case{"LeaseShort", good_node, timers("vip_lease: 2s"),
             "cluster.yaml:1:49: heartbeat.vip_lease: vip_lease 2s is less than deadtime + 1.5s; give at least 3s, or "
             "0s "
             "to do without\n"},
        Case{"LeaseOff", good_node, timers("vip_lease: 0s"), ""},
        Case{"TimerRefusedByTheReader", good_node, timers("keepalive: 1, warntime: 10ms"),
             "cluster.yaml:1:49: heartbeat.keepalive: '1' is not a duration; write a number and a unit: 500ms, 3s, 5m, "
             "2h\n"},
        Case{"OneLink", links("  - {local: 10.77.0.11, peer: 10.77.0.12}\n"), good_cluster,
             "node.yaml:3:3: warning: links: only one heartbeat path; two are advised: with one, a broken cable looks "
             "like a dead peer\n"},
        Case{"SamePeer", links("  - {local: 10.77.0.11, peer: 10.77.0.11}\n" + second_link), good_cluster,
             "node.yaml:3:31: links[0].peer: local and peer are the same address, 10.77.0.11; peer is the other node's "
             "address on this path\n"},
        Case{"Families", links("  - {local: 10.77.0.11, peer: fd77::12}\n" + second_link), good_cluster,
             "node.yaml:3:31: links[0].peer: local and peer are of different families; use IPv4 for both or IPv6 for "
             "both\n"},
        Case{"DuplicateLink", links(second_link + second_link), good_cluster,
             "node.yaml:4:5: links[1]: the same path as links[0]; remove one of them\n"},
        Case{"Both", links("  - {serial: /dev/ttyS0, peer: 10.77.0.12}\n" + second_link), good_cluster,
             "node.yaml:3:32: links[0].peer: a link is either a serial line or UDP, not both; remove 'serial' or "
             "'peer'\n"},
        Case{"Neither", links("  - {interface: eth0}\n" + second_link), good_cluster,
             "node.yaml:3:5: links[0]: neither a serial link nor a UDP link; give 'local' and 'peer', or 'serial'\n"},
        Case{"HalfALink", links("  - {local: 10.77.0.11}\n" + second_link), good_cluster,
             "node.yaml:3:5: links[0]: has no 'peer'; a UDP link needs both addresses\n"},
        Case{"BaudOfUdp", links("  - {local: 10.77.0.11, peer: 10.77.0.12, baud: 9600}\n" + second_link), good_cluster,
             "node.yaml:3:49: links[0].baud: only a serial link has a speed; remove it or add 'serial'\n"},
        Case{"ForeignLocal", links("  - {local: 10.77.0.99, peer: 10.77.0.12}\n" + second_link), good_cluster,
             "node.yaml:3:13: warning: links[0].local: this machine does not have the address 10.77.0.99; the link "
             "stays "
             "down until it does\n"},
        Case{"MulticastPeer", links("  - {local: 10.77.0.11, peer: 224.0.0.1}\n" + second_link), good_cluster,
             "node.yaml:3:31: links[0].peer: 224.0.0.1 is a multicast address\n"},
        Case{"SlowSerial", links("  - {serial: /dev/ttyS0, baud: 9600}\n" + second_link), good_cluster,
             "node.yaml:3:32: warning: links[0].baud: a heartbeat takes 365ms at 9600 bit/s, longer than keepalive "
             "(100ms); heartbeats on this line go out as often as it takes them; raise baud or keepalive\n"},
        Case{
            "MissingNamedInterface", "node: lb1\ninterfaces: {lan: eth9}\n", good_cluster,
            "node.yaml:2:19: warning: interfaces.lan: this machine has no interface 'eth9'; addresses on it wait until "
            "it appears\n"}),
    [](const auto& info) { return info.param.name; });

std::string example(const std::string& name) {
    std::ifstream in(std::string(LBCLUSTER_EXAMPLES) + "/" + name);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
}

TEST(Checks, TheExamplesAreRight) {
    const auto result = load_texts(example("node.yaml"), example("cluster.yaml"), "cluster.yaml", std::nullopt);
    EXPECT_EQ(format(result.problems), "");
    EXPECT_EQ(result.cluster.config.floating_ips_size(), 2);
}

void expect_documented(const google::protobuf::Descriptor& type, const std::string& page, std::set<std::string>& done) {
    if (!done.insert(type.full_name()).second) return;
    for (int i = 0; i < type.field_count(); ++i) {
        const auto& field = *type.field(i);
        const bool nested = field.message_type() != nullptr && !field.is_map() &&
                            field.message_type()->full_name().starts_with("lbcluster.");
        const std::string name = "`" + field.name() + "`";
        EXPECT_NE(page.find(nested ? name : "| " + name + " |"), std::string::npos) << field.full_name();
        const std::string& standard = field.options().GetExtension(key).default_text();
        if (!standard.empty()) {
            const bool same = page.find("| " + name + " | `" + standard + "` |") != std::string::npos;
            EXPECT_TRUE(same) << field.full_name();
        }
        if (nested) expect_documented(*field.message_type(), page, done);
    }
}

TEST(Documentation, NamesEveryKeyAndItsDefault) {
    std::ifstream in(LBCLUSTER_DOCS "/configuration.md");
    std::stringstream page;
    page << in.rdbuf();
    std::set<std::string> done;
    expect_documented(*NodeConfig::descriptor(), page.str(), done);
    expect_documented(*ClusterConfig::descriptor(), page.str(), done);
}

TEST(Checks, WithoutFactsNothingAboutTheMachineIsSaid) {
    const auto result = load_texts(good_node, floating("address: 172.16.0.1"), "cluster.yaml", std::nullopt);
    EXPECT_EQ(format(result.problems), "");
    EXPECT_TRUE(result.ok());
}

TEST(ResolveInterface, ByNameOrByNetwork) {
    NodeConfig node;
    (*node.mutable_interfaces())["lan"] = "eth0";
    FloatingIp ip;
    ip.set_address("10.77.0.200");
    EXPECT_EQ(*resolve_interface(ip, node, machine()), "eth0");  // not eth2: its /10 is the wider network
    ip.set_address("10.99.0.1");
    EXPECT_EQ(*resolve_interface(ip, node, machine()), "eth2");
    ip.set_address("fd77::200");
    EXPECT_EQ(*resolve_interface(ip, node, machine()), "eth0");
    ip.set_address("192.0.2.1");
    EXPECT_FALSE(resolve_interface(ip, node, machine()));
    ip.set_interface("lan");
    EXPECT_EQ(*resolve_interface(ip, node, machine()), "eth0");
    ip.set_interface("eth9");
    EXPECT_EQ(*resolve_interface(ip, node, machine()), "eth9");
}

}  // namespace
}  // namespace lbcluster::config
