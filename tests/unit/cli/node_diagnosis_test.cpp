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

TEST(NodeDiagnosis, ErrorsOfTheConfigurationHaveTheirHintAsWhatToDo) {
    NodeFacts facts;
    facts.errors = {{"cluster.yaml:3:5: unknown key 'adress'", "did you mean 'address'?"}, {"node.yaml: gone", ""}};
    const auto findings = judge_node(facts);
    ASSERT_EQ(findings.size(), 2U);
    EXPECT_EQ(findings[0].id, "config-invalid");
    EXPECT_EQ(findings[0].severity, Severity::alarm);
    EXPECT_EQ(findings[0].text, facts.errors[0].text);
    EXPECT_THAT(findings[0].action, ::testing::StartsWith("did you mean 'address'?\n"));
    EXPECT_THAT(findings[1].action, ::testing::StartsWith("lbcluster config check"));
}

TEST(NodeDiagnosis, APortThatIsTakenNamesTheHolderAndIsTheReasonOfItsPath) {
    const IpAddress local = *IpAddress::parse("10.77.0.11");
    NodeFacts facts;
    facts.taken = {{{true, {local}, 6694, 6694, "heartbeats", "heartbeatd", "", true, "heartbeat.port"},
                    {{local, 6694}},
                    {812, "nc", "nc -lu 6694"},
                    false}};
    facts.paths = {{"eth0 10.77.0.11-10.77.0.12", "udp", "down", "Address already in use"}};
    EXPECT_EQ(only(facts).id, "port-taken");
    EXPECT_EQ(only(facts).text,
              "UDP port 6694 is held by nc, process 812: heartbeatd needs it for heartbeats (10.77.0.11), so it does "
              "not hear the peer there");
    EXPECT_THAT(only(facts).action, ::testing::AllOf(HasSubstr("status 812"), HasSubstr("heartbeat.port")));
    facts.paths.push_back({"eth1 10.77.0.110-10.78.0.12", "udp", "down", "no carrier"});
    ASSERT_EQ(judge_node(facts).size(), 2U);
    EXPECT_THAT(judge_node(facts)[1].text, HasSubstr("eth1"));
    facts.paths.clear();
    facts.taken[0].shared = true;
    EXPECT_THAT(only(facts).text, HasSubstr("both listen there"));
    facts.taken[0] = {{false, {}, 80, 81, "clients of 'web'", "haproxy", "", true, ""},
                      {{IpAddress(), 80}, {IpAddress(), 81}},
                      {},
                      false};
    EXPECT_THAT(only(facts).text,
                ::testing::AllOf(HasSubstr("TCP port 80 and 1 more"), HasSubstr("something that /proc does not show"),
                                 HasSubstr("HAProxy needs it"), HasSubstr("(every address)")));
}

TEST(NodeDiagnosis, ClocksThatDifferByMoreThanTwoSecondsForSure) {
    NodeFacts facts;
    facts.clock = ClockFacts{"lb2", 2'010, 10};
    EXPECT_TRUE(judge_node(facts).empty());
    facts.clock->ahead_ms = 2'011;
    EXPECT_EQ(only(facts).id, "clock-differs");
    facts.clock->ahead_ms = -61'250;
    EXPECT_THAT(only(facts).text, ::testing::StartsWith("the clock of lb2 is 61.2 s behind this node's (± 10 ms)"));
    facts.clock->uncertain_ms = 60'000;  // a link that stood still
    EXPECT_TRUE(judge_node(facts).empty());
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
