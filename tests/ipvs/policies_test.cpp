// What an operator can want of a service beside its method, on a real IPVS and by clients: L4-1 (all ports), L4-4 (most
// connections), L4-5 (persistence with mask), L4-6 (a real server as fallback), HC-5 (drain with a deadline, halt), and
// what happens to connections when a server goes down.
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "tests/ipvs/single_node_test.hpp"
#include "tests/ipvs/slow.hpp"
#include "tests/lab/tcp.hpp"

namespace lbcluster::lab {
namespace {

class Policies : public SingleNodeTest {
  protected:
    static constexpr const char* always = "check: {type: always_up}";
    static constexpr const char* both = "-r 10.77.0.22:";  // the second one comes last

    // Who answers how often.
    static std::map<std::string, unsigned> shares(const std::string& client, const Question& question, unsigned times) {
        std::map<std::string, unsigned> out;
        for (const auto& [answer, count] : ask(host(client), question, times)) out[answer.server] += count;
        return out;
    }
    static std::string only_one(const std::string& client, const Question& question) {
        const auto all = shares(client, question, 4);
        return all.size() == 1 ? all.begin()->first : "several";
    }
    using Sessions = std::vector<std::unique_ptr<TcpSession>>;
    static Sessions sessions(const std::string& address, unsigned count) {
        Sessions out;
        for (unsigned i = 0; i < count; ++i) out.push_back(std::make_unique<TcpSession>(host("client"), address, 10s));
        return out;
    }
    static std::size_t alive(const Sessions& all, const std::string& server) {
        return static_cast<std::size_t>(std::count_if(
            all.begin(), all.end(), [&](const auto& one) { return one->host() == server && one->alive(); }));
    }
};

class Persistence : public Policies, public ::testing::WithParamInterface<Family> {};

TEST_P(Persistence, KeepsANetworkAtAServerUntilThatTakesNothing) {
    const bool v4 = GetParam() == Family::v4;
    const std::string vip = v4 ? "10.77.0.230" : "fd77::230";
    const std::string label = v4 ? "web" : "web6";
    const NameService rs1(host("rs1"), {80, 81});
    const NameService rs2(host("rs2"), {80, 81});
    const auto serve = [&](const std::string& mask) {
        put("virtual_services:\n" +
            by_dr(vip,
                  "ports: [80, 81], scheduler: rr, persistence: {source_ip: {timeout: 10m" + mask + "}}, " + always));
    };
    serve("");
    const std::string second = v4 ? "-r 10.77.0.22:" : "-r [fd77::22]:";
    ASSERT_TRUE(ipvs_becomes(second));
    ASSERT_TRUE(holds(vip));
    ASSERT_TRUE(wait_until([&] { return !ask(host("client"), {.address = vip, .limit = 2s}).server.empty(); }, 60s));
    const std::string mine = only_one("client", {.address = vip});
    EXPECT_EQ(only_one("client", {.address = vip, .port = 81}), mine) << "all its ports count together";
    EXPECT_EQ(only_one("relay", {.address = vip}), mine == "rs1" ? "rs2" : "rs1") << "another client is another one";
    // In one network of this size, they are one.
    serve(v4 ? ", mask: 24" : ", mask: 64");
    ASSERT_TRUE(ipvs_becomes(v4 ? "-M 255.255.255.0" : "-M 64"));
    const std::string ours = only_one("client", {.address = vip});
    EXPECT_EQ(only_one("obs", {.address = vip}), ours);
    EXPECT_EQ(only_one("gw", {.address = vip}), ours);
    ASSERT_TRUE(cli({"server", "drain", label, ours}).ok());
    ASSERT_TRUE(ipvs_becomes("-w 0"));
    const std::string other = ours == "rs1" ? "rs2" : "rs1";
    EXPECT_EQ(only_one("client", {.address = vip}), other) << "a server that takes no new ones keeps nobody";
    EXPECT_EQ(only_one("obs", {.address = vip}), other);
}

INSTANTIATE_TEST_SUITE_P(Families, Persistence, ::testing::Values(Family::v4, Family::v6),
                         [](const auto& info) { return info.param == Family::v4 ? "Ipv4" : "Ipv6"; });

TEST_F(Policies, AllPorts) {
    const std::string vip = "10.77.0.231";
    const std::vector<std::uint16_t> ports{80, 1025, 40000, 65535};
    const NameService rs1(host("rs1"), ports);
    const NameService rs2(host("rs2"), ports);
    put("virtual_services:\n" + by_dr(vip, std::string("ports: all, protocol: tcp/udp, scheduler: rr, ") + always));
    ASSERT_TRUE(ipvs_becomes(both));
    ASSERT_TRUE(holds(vip));
    for (const std::uint16_t port : ports) {
        for (const Transport transport : {Transport::tcp, Transport::udp}) {
            const Question question{.address = vip, .port = port, .transport = transport};
            EXPECT_TRUE(answers(host("client"), question, {"rs1", "10.77.0.100"}));
            EXPECT_TRUE(answers(host("client"), question, {"rs2", "10.77.0.100"}));
        }
    }
}

// Of one-packet UDP the kernel remembers no client: each question is balanced by itself.
TEST_F(Policies, OnePacketUdpIsNoConnection) {
    const std::string vip = "10.77.0.237";
    const NameService rs1(host("rs1"), {80});
    const NameService rs2(host("rs2"), {80});
    const Question question{.address = vip, .transport = Transport::udp};
    const auto serve = [&](const std::string& more) {
        put("virtual_services:\n" + by_dr(vip, "ports: 80, protocol: udp, scheduler: rr, " + more + always));
        return ipvs_becomes(both) && ipvs_becomes("-r 10.77.0.21:");
    };
    const auto remembered = [&] {
        const std::string all = must_run_slowly(&host("lb1"), {"ipvsadm", "-L", "-n", "-c"});
        return all.find(vip) != std::string::npos;
    };
    ASSERT_TRUE(serve("one_packet: true, "));
    ASSERT_TRUE(holds(vip));
    EXPECT_TRUE(answers(host("client"), question, {"rs1", "10.77.0.100"}));
    EXPECT_TRUE(answers(host("client"), question, {"rs2", "10.77.0.100"}));
    EXPECT_FALSE(remembered());
    ASSERT_TRUE(serve(""));
    EXPECT_TRUE(wait_until(
        [&] {
            static_cast<void>(ask(host("client"), question));
            return remembered();
        },
        60s, 100ms));
}

TEST_F(Policies, AFullServerGetsNoMore) {
    const std::string vip = "10.77.0.232";
    const TcpService echo({&host("rs1"), &host("rs2")});
    put("virtual_services:\n" + by_dr(vip, std::string("ports: 7778, scheduler: rr, ") + always, "max_connections: 2"));
    ASSERT_TRUE(ipvs_becomes(both));
    ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:"));
    ASSERT_TRUE(holds(vip));
    const Sessions all = sessions(vip, 8);
    EXPECT_EQ(alive(all, "rs1"), 2U);
    EXPECT_EQ(alive(all, "rs2"), 6U);
}

TEST_F(Policies, ARealServerAsFallbackServesThoughItsCheckFails) {
    const std::string vip = "10.77.0.233";
    const NameService rs1(host("rs1"), {80});
    const NameService rs2(host("rs2"), {80});
    put("virtual_services:\n" +
        by_dr(vip, "ports: 80, fallback: {server: rs2}, check: {port: 81, interval: 500ms, timeout: 500ms}"));
    EXPECT_TRUE(answers(host("client"), {.address = vip, .limit = 2s}, {"rs2", "10.77.0.100"}));
    EXPECT_EQ(cluster_->server("lb1", "web", "rs2")["health"].text(), "down");
    EXPECT_EQ(only_one("client", {.address = vip}), "rs2");
    {
        const NameService well(host("rs1"), {81});
        EXPECT_TRUE(answers(host("client"), {.address = vip}, {"rs1", "10.77.0.100"}));
        EXPECT_EQ(only_one("client", {.address = vip}), "rs1") << "the fallback is gone";
    }
    EXPECT_TRUE(answers(host("client"), {.address = vip, .limit = 2s}, {"rs2", "10.77.0.100"}));
    // What the operator takes offline serves nobody, not even then.
    ASSERT_TRUE(cli({"server", "halt", "web", "rs2"}).ok());
    EXPECT_TRUE(answers(host("client"), {.address = vip, .limit = 1s}, Answer{}));
}

TEST_F(Policies, ADrainEndsAtItsDeadline) {
    const std::string vip = "10.77.0.234";
    const TcpService echo({&host("rs1"), &host("rs2")});
    put("virtual_services:\n" + by_dr(vip, std::string("ports: 7778, scheduler: rr, ") + always));
    ASSERT_TRUE(ipvs_becomes(both));
    ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:"));
    ASSERT_TRUE(holds(vip));
    const Sessions all = sessions(vip, 4);
    ASSERT_EQ(alive(all, "rs1"), 2U);
    // Long enough for this machine to see it drain.
    ASSERT_TRUE(cli({"server", "drain", "web", "rs1", "--deadline", "15s"}).ok());
    ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:7778 -g -w 0"));
    EXPECT_EQ(alive(all, "rs1"), 2U);
    ASSERT_TRUE(ipvs_loses("-r 10.77.0.21:"));
    EXPECT_TRUE(wait_until([&] { return alive(all, "rs1") == 0; }, 60s, 50ms)) << "halted";
    EXPECT_EQ(alive(all, "rs2"), 2U);
}

TEST_F(Policies, OnDownEndsConnectionsOrKeepsThem) {
    const std::string vip = "10.77.0.235";
    const TcpService echo({&host("rs1"), &host("rs2")});
    const NameService rs2(host("rs2"), {80});
    for (const std::string policy : {"quiesce", "remove"}) {
        auto rs1 = std::make_unique<NameService>(host("rs1"), std::vector<std::uint16_t>{80});
        put("virtual_services:\n" +
            by_dr(vip, "ports: 7778, scheduler: rr, on_down: " + policy +
                           ", check: {port: 80, interval: 500ms, timeout: 500ms, fall: 2, rise: 1}"));
        ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:7778 -g -w 100"));
        ASSERT_TRUE(ipvs_becomes("-r 10.77.0.22:7778 -g -w 100"));
        ASSERT_TRUE(holds(vip));
        const Sessions all = sessions(vip, 4);
        ASSERT_EQ(alive(all, "rs1"), 2U);
        rs1.reset();  // what is checked; the connections' server goes on
        if (policy == "quiesce") {
            ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:7778 -g -w 0"));
            for (const auto& one : all) EXPECT_TRUE(one->wait_echoes(5, 20s)) << one->host();
        } else {
            ASSERT_TRUE(ipvs_loses("-r 10.77.0.21:"));
            EXPECT_TRUE(wait_until([&] { return alive(all, "rs1") == 0; }, 60s, 50ms));
            EXPECT_EQ(alive(all, "rs2"), 2U);
        }
    }
}

}  // namespace
}  // namespace lbcluster::lab
