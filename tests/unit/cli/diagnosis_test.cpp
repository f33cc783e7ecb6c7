// L4-10: facts in, findings out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "cli/core/diagnosis.hpp"
#include "tests/unit/cli/addresses.hpp"

namespace lbcluster::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// An active node, one service, one server: all is well.
Facts well(Forwarding method) {
    Facts facts;
    facts.layer4 = true;
    facts.active = true;
    facts.activity = "active";
    facts.daemons = {{"heartbeatd", ""}, {"healthd", ""}, {"forwarderd", ""}};
    facts.sysctls = {{"net.ipv4.vs.conntrack", "1", "1", "snat"}};
    facts.networks = {IpPrefix::parse("10.77.0.11/24").value(), IpPrefix::parse("10.80.0.11/24").value()};
    ServiceFacts service;
    service.label = "web";
    service.address = ip("10.77.0.200");
    service.port = 80;
    service.method = method;
    service.held = HeldAddress{"eth0", true, false};
    service.state = "served";
    ServerFacts server;
    server.label = "rs1";
    server.at = {ip(method == Forwarding::nat ? "10.80.0.21" : "10.77.0.21"), 80};
    server.health = "up";
    server.reach = Answer::accepted;
    service.servers = {server};
    facts.services = {service};
    return facts;
}

void count(ServerFacts& server, ConnectionState state, std::uint64_t number) {
    server.seen.counts.by_state[static_cast<std::size_t>(state)] = number;
}

// "arp-problem/rs1"
std::vector<std::string> ids(const Facts& facts) {
    std::vector<std::string> out;
    for (const Finding& one : judge(facts)) {
        EXPECT_FALSE(one.text.empty());
        EXPECT_FALSE(one.action.empty()) << one.id;
        out.push_back(one.id + (one.server.empty() ? "" : "/" + one.server));
    }
    return out;
}

TEST(Diagnosis, NothingIsWrong) {
    for (const Forwarding method : {Forwarding::dr, Forwarding::nat, Forwarding::snat, Forwarding::tun})
        EXPECT_THAT(ids(well(method)), IsEmpty()) << word_of(method);
}

TEST(Diagnosis, ConnectionsThatWaitMeanWhatTheMethodSays) {
    const std::map<Forwarding, std::string> meaning{{Forwarding::dr, "arp-problem/rs1"},
                                                    {Forwarding::nat, "wrong-gateway/rs1"},
                                                    {Forwarding::snat, "answers-lost/rs1"},
                                                    {Forwarding::tun, "tunnel-not-accepted/rs1"}};
    for (const auto& [method, id] : meaning) {
        Facts facts = well(method);
        ServerFacts& server = facts.services[0].servers[0];
        count(server, ConnectionState::syn_recv, 5);
        EXPECT_THAT(ids(facts), ElementsAre(id));
        EXPECT_EQ(judge(facts)[0].severity, Severity::alarm);
        EXPECT_THAT(judge(facts)[0].text, HasSubstr("none of the 5 connections to rs1 got beyond SYN_RECV"));
        count(server, ConnectionState::syn_recv, 1);
        EXPECT_THAT(judge(facts)[0].text, HasSubstr("the only connection to rs1 did not get beyond SYN_RECV"));
        count(server, ConnectionState::syn_recv, 2);  // may just be starting
        EXPECT_EQ(judge(facts)[0].severity, Severity::warning);
        count(server, ConnectionState::syn_recv, 9);
        count(server, ConnectionState::established, 1);
        EXPECT_THAT(ids(facts), IsEmpty()) << "some get through";
        count(server, ConnectionState::syn_recv, 10);
        EXPECT_THAT(ids(facts), ElementsAre(id)) << "most do not";
        EXPECT_THAT(judge(facts)[0].text, HasSubstr("10 connections to rs1 stay in SYN_RECV, 1 got through"));
    }
}

TEST(Diagnosis, TheProbeForTheVirtualAddressDecides) {
    Facts facts = well(Forwarding::dr);
    ServerFacts& server = facts.services[0].servers[0];
    server.vip = Answer::silent;  // no traffic is needed for that
    EXPECT_THAT(ids(facts), ElementsAre("arp-problem/rs1"));
    EXPECT_THAT(judge(facts)[0].action, HasSubstr("lbcluster arp-fix web --os linux"));
    server.vip = Answer::refused;
    EXPECT_THAT(ids(facts), ElementsAre("not-listening-on-vip/rs1"));
    server.vip = Answer::accepted;
    EXPECT_THAT(ids(facts), IsEmpty());
    count(server, ConnectionState::syn_recv, 5);
    EXPECT_THAT(ids(facts), ElementsAre("answers-lost/rs1"));
}

TEST(Diagnosis, OneFaultIsOneFinding) {
    Facts facts = well(Forwarding::dr);
    ServerFacts& server = facts.services[0].servers[0];
    server.health = "down";
    server.reason = "connection refused; 2 of 2";
    server.vip = Answer::silent;
    server.reach = Answer::refused;
    count(server, ConnectionState::syn_recv, 50);
    EXPECT_THAT(ids(facts), ElementsAre("port-closed/rs1"));
    EXPECT_THAT(judge(facts)[0].text, HasSubstr("connection refused; 2 of 2"));
    server.reach = Answer::silent;
    EXPECT_THAT(ids(facts), ElementsAre("server-silent/rs1"));
    server.reach = Answer::unreachable;
    EXPECT_THAT(ids(facts), ElementsAre("server-unreachable/rs1"));
    server.reach = Answer::accepted;
    server.vip = Answer::untried;
    count(server, ConnectionState::syn_recv, 0);
    EXPECT_THAT(ids(facts), ElementsAre("server-down/rs1"));
    server.offline = true;
    EXPECT_THAT(ids(facts), IsEmpty());
}

TEST(Diagnosis, AnApplicationMayListenOnTheVirtualAddressAlone) {
    Facts facts = well(Forwarding::dr);
    facts.services[0].servers[0].reach = Answer::refused;
    facts.services[0].servers[0].vip = Answer::accepted;
    EXPECT_THAT(ids(facts), IsEmpty());
}

TEST(Diagnosis, NatAnswersGoByTheGatewayOrPastIt) {
    Facts facts = well(Forwarding::nat);
    ServerFacts& server = facts.services[0].servers[0];
    server.gateway = Answer::silent;
    EXPECT_THAT(ids(facts), ElementsAre("wrong-gateway/rs1"));
    count(server, ConnectionState::syn_recv, 3);
    server.seen.waiting = {ip("10.80.0.99")};
    EXPECT_THAT(ids(facts), ElementsAre("client-beside-server/rs1"));
    EXPECT_THAT(judge(facts)[0].action, HasSubstr("method=snat"));
    server.seen.waiting.push_back(ip("192.0.2.1"));  // not all of them are
    EXPECT_THAT(ids(facts), ElementsAre("wrong-gateway/rs1"));
}

TEST(Diagnosis, TheNode) {
    Facts facts = well(Forwarding::snat);
    facts.no_ipvs = "there is no /proc/net/ip_vs_conn_sync";
    facts.daemons[1].trouble = "healthd does not run";
    facts.alarms = {{"no-ipvs", "said already", "x"}, {"single-link", "only one link", "add one"}};
    facts.sysctls[0].value = "0";
    EXPECT_THAT(ids(facts), ElementsAre("no-ipvs", "daemon-down", "single-link", "sysctl"));
    facts.layer4 = false;
    facts.services.clear();
    facts.sysctls.clear();
    EXPECT_THAT(ids(facts), ElementsAre("daemon-down", "single-link"));
}

TEST(Diagnosis, TheVirtualAddress) {
    Facts facts = well(Forwarding::tun);
    ServiceFacts& service = facts.services[0];
    service.held.reset();
    EXPECT_THAT(ids(facts), ElementsAre("vip-not-held"));
    facts.active = false;
    facts.activity = "passive";
    EXPECT_THAT(ids(facts), IsEmpty());
    service.held = HeldAddress{"eth0", true, false};
    EXPECT_THAT(ids(facts), ElementsAre("vip-held-by-passive"));
    facts = well(Forwarding::tun);
    facts.services[0].address = ip("fd77::200");
    facts.services[0].held->deprecated = false;
    EXPECT_THAT(ids(facts), ElementsAre("vip-is-source"));
    facts.services[0].method = Forwarding::dr;  // nothing that this node sends itself
    EXPECT_THAT(ids(facts), IsEmpty());
    facts.services[0].held->duplicate = true;
    EXPECT_THAT(ids(facts), ElementsAre("vip-duplicate"));
    facts = well(Forwarding::dr);
    facts.services[0].floating = false;
    EXPECT_THAT(ids(facts), ElementsAre("no-floating-ip"));
    facts.services[0].floating = true;
    facts.services[0].floating_error = "no interface has it in its network";
    EXPECT_THAT(ids(facts), ElementsAre("floating-ip-failed"));
}

TEST(Diagnosis, WhoAnswersForTheVirtualAddress) {
    Facts facts = well(Forwarding::dr);
    ServiceFacts& service = facts.services[0];
    service.answers = {{MacAddress{{2, 0, 0, 0, 0, 1}}, "rs1"}};
    EXPECT_THAT(ids(facts), ElementsAre("vip-answered-by-server/rs1"));
    service.answers = {{MacAddress{{2, 0, 0, 0, 0, 9}}, ""}};
    EXPECT_THAT(ids(facts), ElementsAre("vip-answered-by-others"));
    facts.active = false;  // that is the peer
    facts.activity = "passive";
    service.held.reset();
    EXPECT_THAT(ids(facts), IsEmpty());
    service.answers.push_back({MacAddress{{2, 0, 0, 0, 0, 8}}, ""});
    EXPECT_THAT(ids(facts), ElementsAre("vip-answered-by-others"));
}

TEST(Diagnosis, StatesOfAServiceAndItsServers) {
    Facts facts = well(Forwarding::dr);
    ServiceFacts& service = facts.services[0];
    service.state = "failed";
    service.error = "no such scheduler";
    EXPECT_THAT(ids(facts), ElementsAre("not-programmed"));
    service.state = "empty";
    service.servers[0].health = "down";
    EXPECT_THAT(ids(facts), ElementsAre("service-down", "server-down/rs1"));
    service.servers[0].offline = true;
    EXPECT_THAT(ids(facts), ElementsAre("all-offline"));
    EXPECT_EQ(judge(facts)[0].severity, Severity::info);
    service = well(Forwarding::dr).services[0];
    service.servers[0].health = "unknown";
    EXPECT_THAT(ids(facts), ElementsAre("not-judged/rs1"));
    service.servers[0].health = "up";
    service.servers[0].overdue = true;
    EXPECT_THAT(ids(facts), ElementsAre("verdict-old/rs1"));
    service.servers[0].overdue = false;
    service.servers[0].on_link = false;
    EXPECT_THAT(ids(facts), ElementsAre("not-on-link/rs1"));
    service.servers.clear();
    EXPECT_THAT(ids(facts), ElementsAre("no-servers"));
}

}  // namespace
}  // namespace lbcluster::cli
