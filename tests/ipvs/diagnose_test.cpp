// L4-9 and L4-10 on a real IPVS: `lbcluster diagnose` finds the ARP problem, what answers for a virtual address, a
// wrong gateway and a closed port; what `lbcluster arp-fix` prints for Linux, run on a real server, lets clients
// through, its
// --undo ends that; `lbcluster connections` shows who is connected to whom. One node with all its daemons.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/ipvs/cluster.hpp"
#include "tests/ipvs/name_service.hpp"
#include "tests/ipvs/slow.hpp"
#include "tests/lab/tcp.hpp"

namespace lbcluster::lab {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* gateway = "10.80.0.200";

class Diagnose : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {  // of each suite
        if (lab_) return;
        // What scripts leave for the next start of a server.
        must_run(nullptr, {"mount", "-t", "tmpfs", "none", "/usr/local/sbin"});
        lab_ = std::make_unique<Lab>();
        farm_ = std::make_unique<Farm>(*lab_);
        PairSpec spec;
        spec.single = true;
        spec.links = {};
        spec.timers = "keepalive: 300ms\ndeadtime: 4s\ninitdead: 4s";
        spec.floating_ips = {std::string("{address: ") + gateway + ", interface: eth2}"};
        cluster_ = std::make_unique<Cluster>(
            *lab_, "/run/diagnose", spec,
            service("dr", "10.77.0.210", "dr", "10.77.0.21") + service("dr6", "fd77::210", "dr", "fd77::21") +
                service("tun", "10.77.0.211", "tun", "10.77.0.21") + service("tun6", "fd77::211", "tun", "fd77::21") +
                service("nat", "10.77.0.212", "nat", "10.80.0.21"));
        rs1_ = std::make_unique<NameService>(lab_->host("rs1"), std::vector<std::uint16_t>{80});
        ready_ = wait_until(
            [] {
                const std::string all = cluster_->ipvs("lb1");
                return all.find("-t 10.77.0.212:80 -r 10.80.0.21:80 -m -w 100") != std::string::npos &&
                       all.find("[fd77::210]:80 -r [fd77::21]:80 -g -w 100") != std::string::npos &&
                       cluster_->pair().activity("lb1") == "active" && lab_->holds("lb1", "fd77::210");
            },
            120s, 100ms);
    }
    static std::string service(const std::string& label, const std::string& address, const std::string& method,
                               const std::string& server) {
        return "  - {label: " + label + ", address: \"" + address + "\", ports: 80, method: " + method +
               ", check: {interval: 1s, timeout: 1s}, real_servers: [{label: rs1, address: \"" + server + "\"}]}\n";
    }
    void SetUp() override { ASSERT_TRUE(ready_) << cluster_->story("lb1"); }
    void TearDown() override {
        if (HasFailure()) std::printf("%s\n", cluster_->story("lb1").c_str());
        std::fflush(stdout);
    }

    static Outcome lbcluster(const std::vector<std::string>& words) {
        return cluster_->pair().cli("lb1", words, slow_limit);
    }
    static std::string answer(const std::string& address) {
        return ask(lab_->host("client"), {.address = address, .limit = 3s}).server;
    }
    static bool answers(const std::string& address) {
        return wait_until([&] { return answer(address) == "rs1"; }, 60s, 100ms);
    }
    // ids of what is found, with their servers: "arp-problem/rs1 "
    static std::string found(const std::string& service, int* exit_code = nullptr) {
        const Outcome outcome = lbcluster({"diagnose", service, "--json"});
        if (exit_code != nullptr) *exit_code = outcome.exit_code;
        const Json findings = Json::parse(outcome.out)["findings"];
        std::string out;
        for (std::size_t i = 0; i < findings.size(); ++i)
            out += findings[i]["id"].text() + "/" + findings[i]["server"].text() + " ";
        return out;
    }
    static Outcome on_server(const std::vector<std::string>& words) {
        std::vector<std::string> all{"arp-fix"};
        all.insert(all.end(), words.begin(), words.end());
        Outcome printed = lbcluster(all);
        if (!printed.ok()) return printed;
        return run(&lab_->host("rs1"), {"sh"}, printed.out, {}, slow_limit);
    }
    // The whole way with one method: nothing before, clients come through, nothing afterwards.
    static void fix_and_undo(const std::string& label, const std::string& address, const std::string& method) {
        EXPECT_EQ(answer(address), "") << method;
        for (int i = 0; i < 2; ++i) {  // running it again does no harm
            const Outcome fixed = on_server({label, "--os", "linux", "--method", method});
            ASSERT_EQ(fixed.exit_code, 0) << method << ": " << fixed.err << fixed.out;
        }
        EXPECT_TRUE(answers(address)) << method;
        EXPECT_THAT(found(label), IsEmpty()) << method;
        for (int i = 0; i < 2; ++i) {
            const Outcome undone = on_server({label, "--os", "linux", "--method", method, "--undo"});
            ASSERT_EQ(undone.exit_code, 0) << method << ": " << undone.err << undone.out;
        }
        EXPECT_EQ(answer(address), "") << method;
    }

    static inline std::unique_ptr<Lab> lab_;
    static inline std::unique_ptr<Farm> farm_;
    static inline std::unique_ptr<Cluster> cluster_;
    static inline std::unique_ptr<NameService> rs1_;
    static inline bool ready_ = false;
};

TEST_F(Diagnose, TheArpProblemIsFoundAndSolvedByEachMethod) {
    EXPECT_EQ(answer("10.77.0.210"), "");
    const Json seen = Json::parse(lbcluster({"connections", "dr", "--json"}).out);
    EXPECT_GE(seen["services"][0]["servers"][0]["states"]["SYN_RECV"].number(), 1);
    EXPECT_EQ(seen["services"][0]["findings"][0]["id"].text(), "arp-problem");
    EXPECT_EQ(seen["connections"][0]["client"].text(), "10.77.0.100");
    EXPECT_EQ(seen["connections"][0]["server"].text(), "rs1");
    int exit_code = 0;
    EXPECT_EQ(found("dr", &exit_code), "arp-problem/rs1 ");
    EXPECT_EQ(exit_code, 1);
    EXPECT_THAT(lbcluster({"diagnose", "dr"}).out, HasSubstr("lbcluster arp-fix dr --os linux"));
    for (const char* method : {"sysctl", "iptables", "nftables"}) fix_and_undo("dr", "10.77.0.210", method);
}

TEST_F(Diagnose, TheSameWithIpv6) {
    EXPECT_EQ(found("dr6"), "arp-problem/rs1 ");
    for (const char* method : {"sysctl", "iptables", "nftables"}) fix_and_undo("dr6", "fd77::210", method);
}

TEST_F(Diagnose, AServerThatAnswersForTheVirtualAddressIsNamed) {
    lab_->ip("rs1", "addr add fd77::210/128 dev eth0 nodad\n");
    EXPECT_EQ(found("dr6"), "vip-answered-by-server/rs1 ");
    lab_->ip("rs1", "addr del fd77::210/128 dev eth0\n");
    lab_->ip("rs1", "addr add 10.77.0.210/32 dev eth0\n");
    EXPECT_THAT(found("dr"), HasSubstr("vip-answered-by-server/rs1"));
    const Outcome refused = on_server({"dr", "--os", "linux"});
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.err, HasSubstr("Is this a balancer?"));
    lab_->ip("rs1", "addr del 10.77.0.210/32 dev eth0\n");
}

TEST_F(Diagnose, TheTunnelScriptLetsClientsThrough) {
    for (const char* module : {"ipip", "ip6_tunnel"}) must_run_slowly(nullptr, {"modprobe", module});
    fix_and_undo("tun", "10.77.0.211", "tunnel");
    fix_and_undo("tun6", "fd77::211", "tunnel");
}

TEST_F(Diagnose, AWrongGatewayIsFoundAndConnectionsAreShown) {
    EXPECT_EQ(answer("10.77.0.212"), "");
    EXPECT_EQ(found("nat"), "wrong-gateway/rs1 ");
    const Outcome told = lbcluster({"arp-fix", "nat", "--os", "linux"});
    EXPECT_THAT(told.out, HasSubstr(std::string("ip route replace default via ") + gateway));
    EXPECT_EQ(farm_->prepare("rs1", Method::nat, "10.77.0.212", gateway), "10.80.0.21");
    EXPECT_TRUE(answers("10.77.0.212"));
    EXPECT_THAT(found("nat"), IsEmpty());

    const TcpService echo({&lab_->host("rs1")});
    cluster_->configure(
        "  - {label: nat, address: 10.77.0.212, ports: [80, 7778], method: nat, persistence: {source_ip: {}}, "
        "real_servers: [{label: "
        "rs1, address: 10.80.0.21}, {label: rs2, address: 10.80.0.22}]}\n");
    ASSERT_TRUE(wait_until([&] { return TcpSession(lab_->host("client"), "10.77.0.212", 1s).alive(); }, 60s, 100ms));
    const TcpSession session(lab_->host("client"), "10.77.0.212", 5s);
    ASSERT_TRUE(session.wait_echoes(5, 10s));
    const Json seen = Json::parse(lbcluster({"connections", "--json"}).out);
    const Json servers = seen["services"][0]["servers"];
    EXPECT_EQ(servers[0]["label"].text(), session.host());
    EXPECT_GE(servers[0]["states"]["ESTABLISHED"].number(), 1);
    EXPECT_GE(servers[0]["states"]["PERSISTENCE"].number(), 1) << "an entry that shows the mark, not the address";
    EXPECT_EQ(servers[1]["connections"].number(), 0);
    // rs2 has nothing on these ports.
    EXPECT_THAT(found("nat"), HasSubstr("port-closed/rs2"));
    EXPECT_THAT(found("nat"), Not(HasSubstr("/rs1")));
    EXPECT_THAT(lbcluster({"connections"}).out, HasSubstr("10.80.0.21:7778  rs1"));
}

// Two balancers without our daemons, one of which tells the other.
TEST_F(Diagnose, ConnectionsThatThePeerToldOfAreShownAsSuch) {
    const std::string address = "10.77.0.220";
    const std::string server = farm_->prepare("rs2", Method::dr, address);
    farm_->hold("lb2", address);
    const Namespace& master = lab_->host("lb2");
    const Namespace& backup = lab_->host("relay");
    must_run_slowly(&master, {"ipvsadm", "-A", "-t", address + ":7778"});
    must_run_slowly(&master, {"ipvsadm", "-a", "-t", address + ":7778", "-r", server, "-g"});
    must_run_slowly(&master, {"ipvsadm", "--start-daemon", "master", "--mcast-interface", "eth1"});
    must_run_slowly(&backup, {"ipvsadm", "--start-daemon", "backup", "--mcast-interface", "eth1"});
    must_run(nullptr, {"mkdir", "-p", "/run/told"});
    write_file("/run/told/node.yaml", "node: lb2\n");
    write_file("/run/told/cluster.yaml", "virtual_services: [{label: echo, address: " + address +
                                             ", ports: 7778, real_servers: [{label: rs2, address: " + server +
                                             "}]}]\n");
    const auto seen = [&backup] {
        const Outcome outcome = run(&backup,
                                    {cli_path(), "connections", "echo", "--json", "--config-dir", "/run/told",
                                     "--run-dir", "/run/told", "--state-dir", "/run/told"},
                                    "", {}, slow_limit);
        return Json::parse(outcome.out)["services"][0]["servers"][0];
    };
    const TcpService echo({&lab_->host("rs2")});
    const TcpSession session(lab_->host("client"), address, 10s);
    ASSERT_TRUE(session.wait_echoes(20, 60s));
    EXPECT_TRUE(wait_until([&] { return seen()["from_peer"].number() == 1; }, 60s, 200ms));
    EXPECT_EQ(seen()["states"]["ESTABLISHED"].number(), 1);
}

}  // namespace
}  // namespace lbcluster::lab
