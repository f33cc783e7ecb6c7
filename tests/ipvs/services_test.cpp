// Whole configurations on a real IPVS, by clients: the PaperCut services of packaging/examples exactly as they stand
// there (OP-9, HC-7), a feedback agent's percentage (HC-6), auto-NAT and floating gateways of NAT servers (L4-7).
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "tests/ipvs/single_node_test.hpp"
#include "tests/lab/backend.hpp"

namespace lbcluster::lab {
namespace {

class Services : public SingleNodeTest {};

struct Guide {
    std::string file;
    std::string source;  // whom the servers see
    friend std::ostream& operator<<(std::ostream& out, const Guide& guide) { return out << guide.file; }
};
class PaperCut : public Services, public ::testing::WithParamInterface<Guide> {};

TEST_P(PaperCut, EveryServiceOfTheGuide) {
    const std::string vip = "172.24.11.38";
    const auto [file, source] = GetParam();
    for (const char* server : {"rs1", "rs2"})
        if (file.find("-dr") != std::string::npos) static_cast<void>(farm_->prepare(server, Method::dr, vip));
    const std::vector<std::uint16_t> ports{53, 445, 9163, 9164, 9173, 9175, 9192, 9193};
    const NameService rs1(host("rs1"), ports);
    const NameService rs2(host("rs2"), ports);
    Backend application1(host("rs1"), 9191);
    Backend application2(host("rs2"), 9191);
    application1.answer(200, "rs1 application\n");
    application2.answer(503, "rs2 application\n");
    put(read_file(file));

    const Namespace& client = host("client");
    EXPECT_TRUE(answers(client, {.address = vip, .port = 9191}, {"rs1", "application"}));
    // Print provider and Mobility Print are balanced over both servers, the rest goes to the active application server.
    ASSERT_TRUE(ipvs_becomes("-r 172.24.11.40:445"));
    for (const std::uint16_t port : {9163, 9164, 53, 445}) {
        for (const Transport transport : {Transport::tcp, Transport::udp}) {
            if (port == 445 && transport == Transport::udp) continue;
            EXPECT_TRUE(answers(client, {.address = vip, .port = port, .transport = transport}, {"rs1", source}));
            EXPECT_TRUE(answers(client, {.address = vip, .port = port, .transport = transport}, {"rs2", source}));
        }
    }
    const auto whole_application_is_on = [&](const std::string& server) {
        for (const std::uint16_t port : {9192, 9193, 9173, 9175}) {
            EXPECT_TRUE(answers(client, {.address = vip, .port = port}, {server, source}));
            EXPECT_EQ(ask(client, {.address = vip, .port = port}, 5),
                      (std::map<Answer, unsigned>{{{server, source}, 5}}));
        }
    };
    whole_application_is_on("rs1");
    EXPECT_EQ(cluster_->server("lb1", "Papercut_WUI", "App_Svr2")["health"].text(), "standby");
    // They swap: followed within an interval, which is 30 s.
    application1.answer(503, "rs1 application\n");
    application2.answer(200, "rs2 application\n");
    EXPECT_TRUE(answers(client, {.address = vip, .port = 9191}, {"rs2", "application"}, 120s));
    whole_application_is_on("rs2");
}

INSTANTIATE_TEST_SUITE_P(Guides, PaperCut,
                         ::testing::Values(Guide{EXAMPLES "/papercut-dr.yaml", "172.24.11.100"},
                                           Guide{EXAMPLES "/papercut-snat.yaml", "172.24.11.11"}),
                         [](const auto& info) { return info.index == 0 ? "Dr" : "Snat"; });

TEST_F(Services, AFeedbackAgentsPercentageIsTheProportion) {
    const std::string vip = "10.77.0.220";
    const NameService rs1(host("rs1"), {80});
    const NameService rs2(host("rs2"), {80});
    Backend agent(host("rs1"), 3333);
    agent.greet("50%\n");
    put("virtual_services:\n" + by_dr(vip,
                                      "ports: 80, scheduler: wrr, check: {type: connect, interval: 1s, timeout: "
                                      "1s, feedback: {port: 3333, interval: 500ms}}"));
    ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:80 -g -w 50"));
    // Nobody answers for the agent of rs2: its own weight.
    ASSERT_TRUE(ipvs_becomes("-r 10.77.0.22:80 -g -w 100"));
    ASSERT_TRUE(answers(host("client"), {.address = vip}, {"rs2", "10.77.0.100"}));
    const auto shares = [&] {
        const auto all = ask(host("client"), {.address = vip}, 12);
        std::map<std::string, unsigned> out;
        for (const auto& [answer, times] : all) out[answer.server] += times;
        return out;
    };
    EXPECT_EQ(shares(), (std::map<std::string, unsigned>{{"rs1", 4}, {"rs2", 8}}));
    agent.greet("drain\n");
    ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:80 -g -w 0"));
    EXPECT_EQ(shares(), (std::map<std::string, unsigned>{{"rs2", 12}}));
    agent.greet("up 100%\n");
    ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:80 -g -w 100"));
    EXPECT_EQ(shares(), (std::map<std::string, unsigned>{{"rs1", 6}, {"rs2", 6}}));
}

TEST_F(Services, NatServersReachTheOutsideThroughTheFloatingGateway) {
    const NameService inside4(host("rs1"), {80});
    const NameService outside(farm_->remote(), {80});
    const std::map<Family, std::string> vips{{Family::v4, "10.77.0.221"}, {Family::v6, "fd77::221"}};
    const std::map<Family, std::string> gateways{{Family::v4, "10.80.0.200"}, {Family::v6, "fd80::200"}};
    std::string services;
    std::string floating;
    for (const Family family : {Family::v4, Family::v6}) {
        const std::string at = farm_->prepare("rs1", Method::nat, vips.at(family), gateways.at(family));
        floating += "  - {address: \"" + gateways.at(family) + "\", interface: eth2}\n";
        services += std::string("  - {label: nat") + (family == Family::v4 ? "4" : "6") + ", address: \"" +
                    vips.at(family) +
                    "\", ports: 80, method: nat, check: {type: connect, interval: 1s, timeout: 1s}, " +
                    "real_servers: [{label: rs1, address: \"" + at + "\"}]}\n";
    }
    const std::string all = "floating_ips:\n" + floating + "virtual_services:\n" + services;
    put(all);
    for (const Family family : {Family::v4, Family::v6}) {
        // Their answers come back through it; they see the client itself.
        for (const Namespace* client : {&host("client"), &farm_->remote()}) {
            EXPECT_TRUE(answers(*client, {.address = vips.at(family), .limit = 1s},
                                {"rs1", Farm::lan_address(client->name(), family)}));
        }
        // Nobody outside knows the way to their network.
        EXPECT_EQ(ask(host("rs1"), {.address = Farm::lan_address("remote", family),
                                    .from = Farm::server_address("rs1", family),
                                    .limit = 1s}),
                  Answer{});
    }
    put("forwarding: {auto_nat: [lan]}\n" + all);
    for (const Family family : {Family::v4, Family::v6}) {
        EXPECT_TRUE(answers(
            host("rs1"),
            {.address = Farm::lan_address("remote", family), .from = Farm::server_address("rs1", family), .limit = 1s},
            {"remote", Farm::lan_address("lb1", family)}));
        for (const Namespace* client : {&host("client"), &farm_->remote()}) {
            EXPECT_TRUE(answers(*client, {.address = vips.at(family), .limit = 1s},
                                {"rs1", Farm::lan_address(client->name(), family)}));
        }
    }
}

}  // namespace
}  // namespace lbcluster::lab
