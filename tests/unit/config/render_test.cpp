// OP-1: what is written can be read again; defaults come from the schema; secrets do not get out.
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "lbcluster/config.pb.h"
#include "lbcluster/config/schema.hpp"

namespace lbcluster::config {
namespace {

template <class M>
M read(const std::string& yaml) {
    M message;
    Positions positions;
    Problems problems;
    EXPECT_TRUE(parse_yaml(yaml, "f", message, positions, problems)) << format(problems) << yaml;
    return message;
}

TEST(Render, YamlAsOneWouldWriteIt) {
    const std::string yaml =
        "heartbeat:\n"
        "  profile: fast\n"
        "  keepalive: 12ms\n"
        "  address_probe: arp+echo\n"
        "  ping_nodes: [10.0.0.1, fd00::1]\n"
        "floating_ips:\n"
        "  - {address: 10.0.0.6, interface: lan, enabled: false, note: \"a: b, {\"}\n"
        "  - {address: \"fd77::\", label: x}\n";
    EXPECT_EQ(to_yaml(read<ClusterConfig>(yaml)), yaml);
    EXPECT_EQ(to_yaml(ClusterConfig{}), "{}\n");
    const std::string node =
        "node: lb1\nrole: secondary\ninterfaces:\n  backup: eth1\n  lan: eth0\n"
        "links:\n  - {interface: eth0, local: 10.0.0.1, peer: 10.0.0.2}\n  - {serial: /dev/ttyS0, baud: 9600}\n";
    EXPECT_EQ(to_yaml(read<NodeConfig>(node)), node);
}

TEST(Render, OddTextSurvives) {
    for (const std::string text : {"",
                                   " ",
                                   "null",
                                   "~",
                                   "true",
                                   "- a",
                                   "# x",
                                   "a\nb\n",
                                   "\ttab",
                                   "\"quoted\" \\ back",
                                   "'",
                                   "a: b",
                                   "{",
                                   "*x",
                                   "&y",
                                   "!z",
                                   "%",
                                   "@",
                                   "`",
                                   "\xc3\xbc",
                                   "\xe2\x80\xa8",
                                   "::",
                                   "1e3",
                                   "---",
                                   "...",
                                   "[]",
                                   "a #b",
                                   "\xef\xbb\xbfx",
                                   "\xc2\x85"}) {
        ClusterConfig config;
        config.add_floating_ips()->set_address("10.0.0.1");
        config.mutable_floating_ips(0)->set_note(text);
        const auto again = read<ClusterConfig>(to_yaml(config));
        EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(config, again)) << to_yaml(config);
    }
    // What is no text is not made another one: who reads it again says what is wrong.
    ClusterConfig broken;
    broken.add_floating_ips()->set_note("a\xff");
    EXPECT_NE(to_yaml(broken).find("a\xff"), std::string::npos);
    // Too long for one line.
    ClusterConfig config;
    config.add_floating_ips()->set_address("10.0.0.1");
    config.mutable_floating_ips(0)->set_note(std::string(200, 'x'));
    config.add_floating_ips()->set_address("10.0.0.2");
    for (int i = 0; i < 16; ++i) config.mutable_heartbeat()->add_ping_nodes("fd00:1234:5678::" + std::to_string(i));
    const auto again = read<ClusterConfig>(to_yaml(config));
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(config, again)) << to_yaml(config);
}

TEST(Render, Json) {
    const auto config = read<ClusterConfig>(
        "heartbeat: {profile: vm, keepalive: 1500ms, port: 7000, auto_failback: true}\n"
        "floating_ips: [{address: 10.0.0.1, note: \"a\\\"\\n\"}]\n");
    EXPECT_EQ(to_json(config),
              R"({"heartbeat":{"profile":"vm","port":7000,"keepalive":"1.5s","auto_failback":true,"ping_nodes":[]},)"
              R"("floating_ips":[{"address":"10.0.0.1","note":"a\"\n"}],"virtual_services":[],"notifications":[]})");
    EXPECT_EQ(to_json(read<NodeConfig>("node: a\ninterfaces: {lan: eth0}")),
              R"({"node":"a","interfaces":{"lan":"eth0"},"links":[]})");
}

TEST(Defaults, ComeFromTheSchema) {
    ClusterConfig config =
        read<ClusterConfig>("floating_ips: [{address: 10.0.0.1}, {address: 10.0.0.2, enabled: false}]");
    with_defaults(config);
    EXPECT_EQ(config.heartbeat().port(), 6694U);
    EXPECT_EQ(config.heartbeat().isolation(), ISOLATION_AUTO);
    EXPECT_EQ(config.heartbeat().failback_delay().seconds(), 60);
    EXPECT_TRUE(config.floating_ips(0).enabled());
    EXPECT_TRUE(config.floating_ips(1).has_enabled());
    EXPECT_FALSE(config.floating_ips(1).enabled());
    EXPECT_FALSE(config.heartbeat().has_keepalive());  // the profile's, not the schema's
    NodeConfig node = read<NodeConfig>("node: a\nlinks: [{local: 10.0.0.1, peer: 10.0.0.2}]");
    with_defaults(node);
    EXPECT_EQ(node.role(), ROLE_PRIMARY);
    EXPECT_EQ(node.log_level(), LOG_LEVEL_INFO);
    EXPECT_FALSE(node.links(0).has_baud());
}

TEST(Render, SecretPartsAreMaskedWhole) {
    for (const auto& [text, masked] : std::vector<std::pair<std::string, std::string>>{
             {"/a?token=abc,def;g&b=1", "/a?token=***&b=1"},
             {"/a?b=1&Authorization=Basic dXNl", "/a?b=1&Authorization=***"},
             {"GET /a?key=x HTTP/1.1\r\nAuthorization: Digest a=\"b&c\", d=e\r\nHost: x",
              "GET /a?key=*** HTTP/1.1\r\nAuthorization:***\r\nHost: x"},
             {"https://user:pass@host/x?y=1", "https://***@host/x?y=1"},
             {"https://host/@x", "https://host/@x"},
             {"{\"token\": \"a, b\", \"c\": 1}", "{\"token\":***"},
             {"/a?v=1&sig=x&Signature=y&X-Credential=z", "/a?v=1&sig=***&Signature=***&X-Credential=***"},
             {"/a?design=1&authority=2&author: x", "/a?design=1&authority=2&author: x"},
             {"Cookie: session=x; a=b\r\nX-Auth: y\r\nHost: x", "Cookie:***\r\nX-Auth:***\r\nHost: x"},
             {"PING\r\nAUTH x\r\nauth y z\r\nPASS w", "PING\r\nAUTH ***\r\nauth ***\r\nPASS ***"},
             {"HELLO 3 AUTH a b\r\nPING", "HELLO 3 AUTH ***\r\nPING"},
             {"SMTP AUTH: 535 no, the auth failed, bypass it", "SMTP AUTH: 535 no, the auth failed, bypass it"},
             {"persistence: {cookie: {name: SRV}}", "persistence: {cookie: {name: SRV}}"},
             {"/plain?a=b,c", "/plain?a=b,c"}}) {
        EXPECT_EQ(mask_secrets(text), masked);
    }
}

TEST(Render, OfAWebhookOnlySchemeAndHost) {
    for (const auto& [url, shown] : std::vector<std::pair<std::string, std::string>>{
             {"https://u:p@host/", "https://***@host/"},
             {"https://host", "https://host"},
             {"https://host:8443/services/T0/B0/x?sig=y", "https://host:8443/***"},
             {"http://host?sig=y", "http://host/***"}}) {
        const auto hook = read<ClusterConfig>("notifications: [{label: a, webhook: {url: \"" + url + "\"}}]\n");
        EXPECT_NE(to_json(hook).find("{\"url\":\"" + shown + "\""), std::string::npos) << to_json(hook);
        EXPECT_NE(to_yaml(hook).find(url), std::string::npos) << to_yaml(hook);
    }
}

TEST(Render, ValuesOfHeadersThatAreSecret) {
    const auto config = read<ClusterConfig>(
        "virtual_services:\n"
        "  - label: a\n    address: 10.0.0.1\n    ports: [80]\n    method: proxy\n    mode: http\n    headers:\n"
        "      - {name: X-Api-Key, value: hidden}\n"
        "      - {in: response, action: add, value: s=hidden, name: set-cookie}\n"
        "      - {name: X-Forwarded-Port, value: '${port}'}\n");
    const std::string shown = to_yaml(config, Secrets::masked) + to_json(config);
    EXPECT_EQ(shown.find("hidden"), std::string::npos) << shown;
    EXPECT_NE(shown.find("${port}"), std::string::npos) << shown;
    // Masked, it is a configuration still.
    read<ClusterConfig>(to_yaml(config, Secrets::masked));
    EXPECT_NE(to_yaml(config).find("hidden"), std::string::npos);
}

TEST(Render, CommentsAreFoundAndNothingElse) {
    for (const char* with : {"a: b # c", "# c\na: b\n", "a: rock 'n roll\n# contract 4711\n", "a: [b, c] # d\n",
                             "a: |\n  text\n# c\n", "a: \"b # c\" # d\n", "#\n", "a: b\n#", "a: don't # c\n"}) {
        EXPECT_TRUE(has_comments(with)) << with;
    }
    for (const char* without : {"", "a: b#c", "a: |\n  # text\n  more # text\n", "a: \"b # c\"\n", "a: 'it''s # c'\n",
                                "a: \"b\n  # c\"\n", "a: \"\\\" # c\"\n", "{a: \"#\"}\n", "a: b\n"}) {
        EXPECT_FALSE(has_comments(without)) << without;
    }
}

}  // namespace
}  // namespace lbcluster::config
