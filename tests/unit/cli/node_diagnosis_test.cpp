// What `lbcluster diagnose` says of the node as a whole.
#include "cli/core/node_diagnosis.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lbcluster::cli {
namespace {

using ::testing::HasSubstr;

// The one finding there is.
Finding only(const NodeFacts& facts) {
    const auto findings = judge_node(facts);
    EXPECT_EQ(findings.size(), 1U);
    return findings.empty() ? Finding{} : findings.front();
}

TEST(NodeDiagnosis, NothingKnownAndNothingWrongGiveNoFinding) {
    EXPECT_TRUE(judge_node({}).empty());
    NodeFacts good;
    good.paths = {{"eth0 a-b", "udp", "up", ""}};
    good.certificates = {{"certs/a.pem", "", 31 * 86'400}};
    good.disk_free_bytes = 10'000'000'000;
    good.peer_ssh = "10.0.0.2 port 22";
    good.realtime = true;
    EXPECT_TRUE(judge_node(good).empty());
}

TEST(NodeDiagnosis, PathsNameTheFirewallsPort) {
    NodeFacts facts;
    facts.port = 7000;
    facts.paths = {{"eth0 a-b", "udp", "one-way", ""}};
    EXPECT_EQ(only(facts).id, "link-one-way");
    EXPECT_THAT(only(facts).action, HasSubstr("UDP 7000"));
    facts.paths = {{"eth0 a-b", "udp", "down", "no carrier"}};
    EXPECT_EQ(only(facts).id, "link-down");
    EXPECT_THAT(only(facts).text, HasSubstr("no carrier"));
    facts.paths = {{"/dev/ttyS0", "serial", "down", ""}};
    EXPECT_THAT(only(facts).action, HasSubstr("cable"));
}

TEST(NodeDiagnosis, Certificates) {
    NodeFacts facts;
    facts.certificates = {{"certs/a.pem", "", 10 * 86'400}};
    EXPECT_EQ(only(facts).text, "certs/a.pem expires in 10 days");
    EXPECT_EQ(only(facts).severity, Severity::warning);
    facts.certificates = {{"certs/a.pem", "", -3 * 86'400}};
    EXPECT_EQ(only(facts).text, "certs/a.pem expired 3 days ago");
    EXPECT_EQ(only(facts).severity, Severity::alarm);
    facts.certificates = {{"certs/a.pem", "is torn", std::nullopt}};
    EXPECT_EQ(only(facts).text, "certs/a.pem: is torn");
}

TEST(NodeDiagnosis, EachFaultIsOneFindingWithWhatToDo) {
    NodeFacts facts;
    facts.own_version = "2";
    facts.problems = {"cluster.yaml:3:1: warning: x"};
    facts.silent_ping_nodes = {"10.0.0.1"};
    facts.any_ping_node_answers = true;
    facts.versions = {{"healthd", "1"}};
    facts.open_keys = {{"/k/heartbeat.key", 0644}};
    facts.disk = "/var/lib/lbcluster";
    facts.disk_free_bytes = 1024;
    facts.peer_ssh = "10.0.0.2 port 22";
    facts.peer_ssh_error = "it refuses";
    facts.realtime = false;
    std::vector<std::string> ids;
    for (const Finding& finding : judge_node(facts)) {
        ids.push_back(finding.id);
        EXPECT_FALSE(finding.action.empty()) << finding.id;
        EXPECT_FALSE(finding.text.empty()) << finding.id;
        EXPECT_NE(finding.severity, Severity::info) << finding.id;
    }
    EXPECT_THAT(ids, ::testing::ElementsAre("config", "ping-node-silent", "key-readable", "disk-full", "version",
                                            "peer-ssh", "not-realtime"));
    facts.any_ping_node_answers = false;  // that is an alarm of heartbeatd
    EXPECT_NE(judge_node(facts)[1].id, "ping-node-silent");
    NodeFacts key;
    key.open_keys = {{"/k", 0640}};
    EXPECT_THAT(only(key).text, HasSubstr("0640"));
}

}  // namespace
}  // namespace lbcluster::cli
