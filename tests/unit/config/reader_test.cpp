// OP-1: every kind of mistake in a file gives its place, what it is and a proposal.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lbcluster/config.pb.h"
#include "lbcluster/config/schema.hpp"

namespace lbcluster::config {
namespace {

struct Mistake {
    const char* name;
    std::string yaml;
    std::string problems;
};

template <class M>
std::string problems_of(const std::string& yaml, const std::string& file) {
    M message;
    Positions positions;
    Problems problems;
    const bool ok = parse_yaml(yaml, file, message, positions, problems);
    EXPECT_EQ(ok, problems.empty());
    return format(problems);
}

class ClusterMistakes : public testing::TestWithParam<Mistake> {};

TEST_P(ClusterMistakes, AreReportedExactly) {
    EXPECT_EQ(problems_of<ClusterConfig>(GetParam().yaml, "cluster.yaml"), GetParam().problems);
}

INSTANTIATE_TEST_SUITE_P(
    OP1, ClusterMistakes,
    testing::Values(
        Mistake{"UnknownTopKey", "heartbet: {}\n",
                "cluster.yaml:1:1: 'heartbet' is not a key of cluster.yaml; did you mean 'heartbeat'?\n"},
        Mistake{"UnknownKeyInList", "floating_ips:\n  - {address: 10.0.0.1, interfcae: lan}\n",
                "cluster.yaml:2:25: 'interfcae' is not a key of floating_ips[0]; did you mean 'interface'?\n"},
        Mistake{"NothingNear", "heartbeat: {port: 1}\ncolours: []\n",
                "cluster.yaml:2:1: 'colours' is not a key of cluster.yaml; its keys are heartbeat, "
                "floating_ips, virtual_services, notifications, forwarding, layer7\n"},
        Mistake{"ListForValue", "heartbeat:\n  port: [1]\n",
                "cluster.yaml:2:9: heartbeat.port must be a single value, not a list\n"},
        Mistake{"ValueForMapping", "heartbeat: lan\n",
                "cluster.yaml:1:12: heartbeat must be a mapping, not a single value; write it as key: value\n"},
        Mistake{"ValueForList", "floating_ips: 10.0.0.1\n",
                "cluster.yaml:1:15: floating_ips must be a list, not a single value; write it as [a, b], or one '- a' "
                "a line\n"},
        Mistake{"ValueForMappingInList", "floating_ips: [10.0.0.1]\n",
                "cluster.yaml:1:16: floating_ips[0] must be a mapping, not a single value; write it as key: value\n"},
        Mistake{"NoNumber", "heartbeat:\n  port: abc\n",
                "cluster.yaml:2:9: heartbeat.port: 'abc' is not a whole number\n"},
        Mistake{"Fraction", "heartbeat:\n  port: 1.5\n",
                "cluster.yaml:2:9: heartbeat.port: '1.5' is not a whole number\n"},
        Mistake{"TooLarge", "heartbeat:\n  port: 70000\n",
                "cluster.yaml:2:9: heartbeat.port: 70000 is more than 65535\n"},
        Mistake{"TooSmall", "heartbeat:\n  port: -1\n", "cluster.yaml:2:9: heartbeat.port: -1 is less than 1\n"},
        Mistake{"NoTruthValue", "heartbeat:\n  auto_failback: yes\n",
                "cluster.yaml:2:18: heartbeat.auto_failback: 'yes' is neither true nor false; write true or false\n"},
        Mistake{"BadEnum", "heartbeat:\n  profile: lam\n",
                "cluster.yaml:2:12: heartbeat.profile: 'lam' is none of lan, fast, vm; did you mean 'lan'?\n"},
        Mistake{"BadEnumWritten", "heartbeat:\n  address_probe: arp+eco\n",
                "cluster.yaml:2:18: heartbeat.address_probe: 'arp+eco' is none of arp, arp+echo, off; did you mean "
                "'arp+echo'?\n"},
        Mistake{"EnumUnspecified", "heartbeat:\n  isolation: unspecified\n",
                "cluster.yaml:2:14: heartbeat.isolation: 'unspecified' is none of auto, strict, hold\n"},
        Mistake{"BadDuration", "heartbeat:\n  keepalive: 100\n",
                "cluster.yaml:2:14: heartbeat.keepalive: '100' is not a duration; write a number and a unit: 500ms, "
                "3s, 5m, 2h\n"},
        Mistake{"ShortDuration", "heartbeat:\n  keepalive: 4ms\n",
                "cluster.yaml:2:14: heartbeat.keepalive: 4ms is less than 5ms\n"},
        Mistake{"LongDuration", "heartbeat:\n  keepalive: 11s\n",
                "cluster.yaml:2:14: heartbeat.keepalive: 11s is more than 10s\n"},
        Mistake{"BadAddress", "heartbeat:\n  ping_nodes: [10.0.0.1, router]\n",
                "cluster.yaml:2:26: heartbeat.ping_nodes[1]: 'router' is not an IPv4 or IPv6 address; write it like "
                "192.168.1.10 or fd00::10\n"},
        Mistake{"BadPrefix", "floating_ips:\n  - {address: 10.0.0.1/33}\n",
                "cluster.yaml:2:15: floating_ips[0].address: '10.0.0.1/33' has a bad prefix length; a prefix length of "
                "this family is 0 to 32\n"},
        Mistake{"BadInterface", "floating_ips:\n  - {address: 10.0.0.1, interface: eth0/1}\n",
                "cluster.yaml:2:36: floating_ips[0].interface: 'eth0/1' is not the name of an interface; write it like "
                "eth0\n"},
        Mistake{"BadName", "floating_ips:\n  - {address: 10.0.0.1, label: my ip}\n",
                "cluster.yaml:2:32: floating_ips[0].label: 'my ip' is not a name; use letters, digits, '-', '_' and "
                "'.', up to 63, a letter or digit first\n"},
        Mistake{"Missing", "floating_ips:\n  - {interface: lan}\n",
                "cluster.yaml:2:5: floating_ips[0] has no 'address'; it must be given\n"},
        Mistake{"NoValue", "heartbeat:\n  port:\n",
                "cluster.yaml:2:3: heartbeat.port has no value; give one or remove the line\n"},
        Mistake{"Duplicate", "heartbeat:\n  port: 1\n  profile: lan\n  port: 2\n",
                "cluster.yaml:4:3: 'port' is given twice, first in line 2; keep one of them\n"},
        Mistake{"Empty", "", "cluster.yaml:1:1: the file is empty; write {} if that is what you mean\n"},
        Mistake{"OnlyComments", "# nothing\n",
                "cluster.yaml:1:1: the file is empty; write {} if that is what you mean\n"},
        Mistake{"NotAMapping", "- a\n", "cluster.yaml:1:1: the file must be a mapping; write it as key: value\n"},
        Mistake{"Alias", "heartbeat: &h {port: 1}\nfloating_ips: *h\n",
                "cluster.yaml:2:15: aliases (*name) are not supported; write the value out\n"},
        Mistake{"Tag", "heartbeat: !x {port: 1}\n", "cluster.yaml:1:12: tags (!x) are not supported; remove the tag\n"},
        Mistake{"TwoDocuments", "{}\n---\n{}\n",
                "cluster.yaml:2:1: a second YAML document starts here; remove the line '---' and what follows it\n"},
        Mistake{"OpenList", "heartbeat:\n  ping_nodes: [10.0.0.1\n",
                "cluster.yaml:3:1: YAML syntax: did not find expected ',' or ']', while parsing a flow sequence that "
                "begins in line 2; is a closing ']' or '}' missing?\n"},
        Mistake{"Tab", "heartbeat:\n\tport: 1\n",
                "cluster.yaml:2:1: YAML syntax: found character that cannot start any token; indent with spaces, not "
                "with tabs\n"},
        Mistake{
            "Indentation", "heartbeat:\n  port: 1\n profile: lan\n",
            "cluster.yaml:3:2: YAML syntax: did not find expected key, while parsing a block mapping that begins in "
            "line 1; is the indentation of this line right?\n"},
        Mistake{"Nul", std::string("heartbeat:\n  por\0t: 1\n", 22),
                "cluster.yaml:2:6: a NUL byte; the file is damaged or not a text file\n"},
        Mistake{"Latin1", "floating_ips: [] # gr\xfc\xdf\n",
                "cluster.yaml:1:22: not UTF-8 text; save the file as UTF-8\n"},
        Mistake{"Overlong", "# \xc0\xaf\n", "cluster.yaml:1:3: not UTF-8 text; save the file as UTF-8\n"},
        Mistake{"Control", "# \x1b[31m\n", "cluster.yaml:1:3: a control character; remove it\n"},
        Mistake{"EscapedControl", "floating_ips:\n  - {address: 10.0.0.1, note: \"a\\x07\"}\n",
                "cluster.yaml:2:31: floating_ips[0].note: 'a?' has a control character in it; remove it\n"},
        Mistake{"EscapeThatIsNoText", "floating_ips:\n  - {address: 10.0.0.1, note: \"a\\q\"}\n",
                "cluster.yaml:2:33: YAML syntax: found unknown escape character; in double quotes a backslash is "
                "written \\\\; single quotes take it as it is\n"},
        Mistake{"FlowColon", "floating_ips:\n  - {address: ::1, note: a}\n",
                "cluster.yaml:2:15: YAML syntax: did not find expected node content; text that begins with ':' or ',' "
                "needs quotes between brackets\n"},
        Mistake{"OpenQuote", "floating_ips:\n  - {address: \"10.0.0.1}\n",
                "cluster.yaml:3:1: YAML syntax: found unexpected end of stream, while scanning a quoted scalar that "
                "begins in line 2; is a closing quote missing?\n"},
        Mistake{"NoColon", "heartbeat:\n  port\n  profile: lan\n",
                "cluster.yaml:3:10: YAML syntax: mapping values are not allowed in this context; put text with ': ' in "
                "it into quotes; look at the indentation, and for a ':' missing in the line above\n"},
        Mistake{"Twice", "heartbeat: profile: lan\n",
                "cluster.yaml:1:19: YAML syntax: mapping values are not allowed in this context; put text with ': ' in "
                "it into quotes; look at the indentation, and for a ':' missing in the line above\n"},
        Mistake{"ListInMapping", "floating_ips:\n- {address: 10.0.0.1}\nheartbeat: x\n- y\n",
                "cluster.yaml:4:1: YAML syntax: did not find expected key, while parsing a block mapping that begins "
                "in line 1; is the indentation of this line right?\n"},
        Mistake{
            "OddCharacter", "heartbeat: @x\n",
            "cluster.yaml:1:12: YAML syntax: found character that cannot start any token; put text that begins with "
            "this character into quotes\n"},
        Mistake{"C1", "heartbeat: \xc2\x80\n", "cluster.yaml:1:12: a control character; remove it\n"},
        Mistake{"KeyIsAList", "? [a]\n: 1\n",
                "cluster.yaml:1:3: a key must be a word, not a list or a mapping; is there a '{' or '[' where a value "
                "in quotes was meant?\n"},
        Mistake{"All", "heartbet: 1\nheartbeat:\n  port: 0\n  profile: x\n",
                "cluster.yaml:1:1: 'heartbet' is not a key of cluster.yaml; did you mean 'heartbeat'?\n"
                "cluster.yaml:3:9: heartbeat.port: 0 is less than 1\n"
                "cluster.yaml:4:12: heartbeat.profile: 'x' is none of lan, fast, vm\n"}),
    [](const auto& info) { return info.param.name; });

class NodeMistakes : public testing::TestWithParam<Mistake> {};

TEST_P(NodeMistakes, AreReportedExactly) {
    EXPECT_EQ(problems_of<NodeConfig>(GetParam().yaml, "node.yaml"), GetParam().problems);
}

INSTANTIATE_TEST_SUITE_P(
    OP1, NodeMistakes,
    testing::Values(
        Mistake{"NoName", "role: primary\n", "node.yaml:1:1: node.yaml has no 'node'; it must be given\n"},
        Mistake{"Role", "node: a\nrole: master\n", "node.yaml:2:7: role: 'master' is none of primary, secondary\n"},
        Mistake{"InterfacesAreAList", "node: a\ninterfaces: [eth0]\n",
                "node.yaml:2:13: interfaces must be a mapping, not a list; write it as key: value\n"},
        Mistake{"InterfaceKey", "node: a\ninterfaces: {\"l n\": eth0}\n",
                "node.yaml:2:14: interfaces: 'l n' is not a name; use letters, digits, '-', '_' and '.', up to 63, a "
                "letter or digit first\n"},
        Mistake{"InterfaceValue", "node: a\ninterfaces: {lan: \"\"}\n",
                "node.yaml:2:19: interfaces.lan: '' is not the name of an interface; write it like eth0\n"},
        Mistake{"Device", "node: a\nlinks: [{serial: ttyS0}]\n",
                "node.yaml:2:18: links[0].serial: 'ttyS0' is not an absolute path; write it like /dev/ttyS0\n"},
        Mistake{"Baud", "node: a\nlinks: [{serial: /dev/ttyS0, baud: 300}]\n",
                "node.yaml:2:36: links[0].baud: 300 is less than 9600\n"},
        Mistake{"TooManyLinks", "node: a\nlinks: [{},{},{},{},{},{},{},{},{}]\n",
                "node.yaml:2:8: links has 9 entries, more than 8\n"}),
    [](const auto& info) { return info.param.name; });

TEST(Reader, TakesWhatIsRight) {
    ClusterConfig config;
    Positions positions;
    Problems problems;
    const std::string yaml =
        "heartbeat:\n  profile: fast\n  keepalive: 10ms\n  address_probe: arp+echo\n  auto_failback: true\n"
        "  ping_nodes: [10.0.0.1, 'fd00::1']\nfloating_ips:\n  - {address: 10.0.0.9, note: 'a: b'}\n"
        "  - address: fd77::200\n    enabled: false\n";
    ASSERT_TRUE(parse_yaml(yaml, "cluster.yaml", config, positions, problems)) << format(problems);
    EXPECT_EQ(config.heartbeat().profile(), PROFILE_FAST);
    EXPECT_EQ(config.heartbeat().keepalive().nanos(), 10'000'000);
    EXPECT_EQ(config.heartbeat().address_probe(), ADDRESS_PROBE_ARP_ECHO);
    EXPECT_TRUE(config.heartbeat().auto_failback());
    EXPECT_EQ(config.heartbeat().ping_nodes(1), "fd00::1");
    EXPECT_FALSE(config.heartbeat().has_deadtime());
    EXPECT_EQ(config.floating_ips(0).note(), "a: b");
    EXPECT_FALSE(config.floating_ips(1).enabled());
    EXPECT_FALSE(config.floating_ips(0).has_enabled());
    const Position place = positions.find("floating_ips[1].address");
    EXPECT_EQ(place.line, 9);
    EXPECT_EQ(place.column, 14);
    EXPECT_EQ(positions.find("floating_ips[1].interface").line, 9);  // the nearest that is there
}

TEST(Reader, EmptyListsAndMappingsAreNoMistake) {
    EXPECT_EQ(problems_of<ClusterConfig>("heartbeat:\nfloating_ips:\n  # - {address: 10.0.0.1}\n", "c"), "");
    EXPECT_EQ(problems_of<ClusterConfig>("{}", "c"), "");
}

TEST(Reader, IsBounded) {
    EXPECT_EQ(problems_of<ClusterConfig>(std::string(text_bytes_max + 1, '#'), "c"),
              "c: the file has 1048577 bytes, more than 1048576; is it the right file?\n");
    EXPECT_EQ(problems_of<ClusterConfig>("heartbeat: " + std::string(40, '[') + std::string(40, ']'), "c"),
              "c:1:43: nested deeper than 32 levels\n");
    EXPECT_NE(problems_of<ClusterConfig>(std::string(100'000, '['), "c"), "");
    std::string many = "heartbeat:\n";
    for (int i = 0; i < 1000; ++i) many += "  wrong" + std::to_string(i) + ": 1\n";
    ClusterConfig config;
    Positions positions;
    Problems problems;
    EXPECT_FALSE(parse_yaml(many, "c", config, positions, problems));
    EXPECT_EQ(problems.size(), problems_max);
    // The numbering of what follows a bad entry stays right.
    problems.clear();
    EXPECT_FALSE(parse_yaml("heartbeat: {ping_nodes: [x, 10.0.0.1]}", "c", config, positions, problems));
    EXPECT_EQ(config.heartbeat().ping_nodes(1), "10.0.0.1");
}

TEST(Nearest, FindsWhatIsNear) {
    const std::vector<std::string> keys{"scheduler", "address", "ports", "label"};
    EXPECT_EQ(nearest("schedular", keys), "scheduler");
    EXPECT_EQ(nearest("adress", keys), "address");
    EXPECT_EQ(nearest("prots", keys), "ports");
    EXPECT_EQ(nearest("Label", keys), "label");
    EXPECT_EQ(nearest("weight", keys), "");
    EXPECT_EQ(nearest("", keys), "");
    EXPECT_EQ(nearest(std::string(10000, 'a'), keys), "");
}

}  // namespace
}  // namespace lbcluster::config
