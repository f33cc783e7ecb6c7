// The bed itself: this kernel has all that the product asks of it, and a farm behind balancers that ipvsadm and nft
// programmed shows by real clients what will be measured of forwarderd: L4-1 (methods, TCP and UDP), L4-3 (schedulers),
// L4-8 (both families), HA-8 (connection sync). None of our programs runs here.
#include <gtest/gtest.h>

#include <memory>

#include "tests/ipvs/farm.hpp"
#include "tests/ipvs/name_service.hpp"
#include "tests/lab/tcp.hpp"

namespace lbcluster::lab {
namespace {

// One farm for all tests, as making it costs more than most of them; each test takes a virtual address of its own, so
// what another one left is in nobody's way.
class Bed : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {  // of each suite
        if (lab_) return;
        lab_ = std::make_unique<Lab>();
        farm_ = std::make_unique<Farm>(*lab_);
        for (const char* balancer : {"lb1", "lb2"}) {
            farm_->set(balancer, "net/ipv4/ip_forward", "1");
            farm_->set(balancer, "net/ipv6/conf/all/forwarding", "1");
            farm_->set(balancer, "net/ipv4/vs/conntrack", "1");
        }
    }

    static const Namespace& host(const std::string& name) { return lab_->host(name); }
    static std::string new_address(Family family) {
        static unsigned number = 200;
        return (family == Family::v4 ? "10.77.0." : "fd77::") + std::to_string(number++);
    }
    static std::string end_point(const std::string& address, unsigned port) {
        return (family_of(address) == Family::v4 ? address : "[" + address + "]") + ":" + std::to_string(port);
    }
    static std::string ipvsadm(const std::string& balancer, std::vector<std::string> words) {
        words.insert(words.begin(), "ipvsadm");
        return must_run(&host(balancer), words);
    }
    // A service on rs1 and rs2, round robin, the virtual address on lb1.
    static void add_service(const std::string& balancer, Method method, Transport transport, const std::string& address,
                            std::uint16_t port, std::uint16_t server_port) {
        const std::string flag = transport == Transport::tcp ? "-t" : "-u";
        const std::string how = method == Method::dr ? "-g" : method == Method::tun ? "-i" : "-m";
        ipvsadm(balancer, {"-A", flag, end_point(address, port), "-s", "rr"});
        for (const char* server : {"rs1", "rs2"}) {
            const std::string real = end_point(farm_->prepare(server, method, address), server_port);
            ipvsadm(balancer, {"-a", flag, end_point(address, port), "-r", real, how});
        }
    }
    static void masquerade(const std::string& balancer, Family family, std::uint16_t port) {
        const std::string table = family == Family::v4 ? "table ip" : "table ip6";
        must_run(
            &host(balancer), {"nft", "-f", "-"},
            table +
                " bed {\n chain out { type nat hook postrouting priority srcnat; meta l4proto { tcp, udp } th dport " +
                std::to_string(port) + " masquerade; }\n}\n");
    }

    static inline std::unique_ptr<Lab> lab_;
    static inline std::unique_ptr<Farm> farm_;
};

TEST_F(Bed, KernelHasIpvsAndEveryScheduler) {
    EXPECT_NE(must_run(nullptr, {"genl", "ctrl", "get", "name", "IPVS"}).find("IPVS"), std::string::npos);
    unsigned mark = 100;
    for (const char* scheduler :
         {"rr", "wrr", "lc", "wlc", "sed", "nq", "sh", "dh", "lblc", "lblcr", "mh", "fo", "ovf"}) {
        const Outcome outcome = run(&host("lb2"), {"ipvsadm", "-A", "-f", std::to_string(++mark), "-s", scheduler});
        EXPECT_TRUE(outcome.ok()) << scheduler << ": " << outcome.err;
    }
    ipvsadm("lb2", {"-C"});
}

// Of the kernel, what the tests of layer 4 use besides; the machines that develop this lack some of it.
TEST_F(Bed, KernelHasWhatTestsAsk) {
    for (const char* device :
         {"dummy", "bridge", "ipip local 10.77.0.12", "sit local 10.77.0.12", "ip6tnl local fd77::12"})
        lab_->ip("lb2", std::string("link add bed type ") + device + "\nlink del bed\n");
    lab_->ip("lb2",
             "link add link eth1 name bed-vlan type vlan id 7\nlink add link eth1 name bed-macvlan type macvlan\n"
             "tuntap add bed-tap mode tap\n");
    must_run(&host("lb2"), {"tc", "qdisc", "add", "dev", "bed-vlan", "root", "netem", "delay", "1ms", "loss", "1%"});
    must_run(
        &host("lb2"), {"nft", "-f", "-"},
        "table inet bed {\n chain in { type filter hook prerouting priority mangle;\n"
        " ct state established accept; fib daddr type local meta mark set 1; tcp dport 1 reject with tcp reset; }\n"
        " chain out { type nat hook postrouting priority srcnat; ip daddr 192.0.2.1 snat ip to 10.77.0.12;\n"
        " ip6 daddr 2001:db8::1 masquerade; }\n}\ndelete table inet bed\n");
}

struct Way {
    Method method;
    Family family;
    std::string name;
    friend std::ostream& operator<<(std::ostream& out, const Way& way) { return out << way.name; }
};

class BedMethods : public Bed, public ::testing::WithParamInterface<Way> {};

TEST_P(BedMethods, EveryServerAnswersAndSeesTheRightClient) {
    const auto [method, family, name] = GetParam();
    const std::string address = new_address(family);
    // NAT may translate the port, DR and TUN cannot.
    const std::uint16_t server_port = method == Method::nat ? 8080 : method == Method::snat ? 8081 : 80;
    const NameService rs1(host("rs1"), {server_port});
    const NameService rs2(host("rs2"), {server_port});
    farm_->hold("lb1", address);
    for (const Transport transport : {Transport::tcp, Transport::udp})
        add_service("lb1", method, transport, address, 80, server_port);
    if (method == Method::snat) masquerade("lb1", family, server_port);
    for (const Namespace* client : {&host("client"), &farm_->remote()}) {
        const std::string seen = Farm::lan_address(method == Method::snat ? "lb1" : client->name(), family);
        const std::map<Answer, unsigned> half_and_half{{{"rs1", seen}, 3}, {{"rs2", seen}, 3}};
        EXPECT_EQ(ask(*client, {.address = address, .transport = Transport::tcp}, 6), half_and_half)
            << "TCP from " << client->name();
        EXPECT_EQ(ask(*client, {.address = address, .transport = Transport::udp}, 6), half_and_half)
            << "UDP from " << client->name();
    }
}

INSTANTIATE_TEST_SUITE_P(All, BedMethods,
                         ::testing::Values(Way{Method::dr, Family::v4, "Dr4"}, Way{Method::dr, Family::v6, "Dr6"},
                                           Way{Method::nat, Family::v4, "Nat4"}, Way{Method::nat, Family::v6, "Nat6"},
                                           Way{Method::snat, Family::v4, "Snat4"},
                                           Way{Method::snat, Family::v6, "Snat6"}, Way{Method::tun, Family::v4, "Tun4"},
                                           Way{Method::tun, Family::v6, "Tun6"}),
                         [](const auto& info) { return info.param.name; });

// What prepare() does is needed: without it the farm is silent, so its answers mean something.
TEST_F(Bed, UnpreparedServerDoesNotAnswer) {
    const std::string address = new_address(Family::v4);
    const NameService rs1(host("rs1"), {80});
    farm_->hold("lb1", address);
    ipvsadm("lb1", {"-A", "-t", end_point(address, 80), "-s", "rr"});
    ipvsadm("lb1", {"-a", "-t", end_point(address, 80), "-r", "10.77.0.21:80", "-g"});
    EXPECT_EQ(ask(host("client"), {.address = address, .limit = 1s}), Answer{});
    static_cast<void>(farm_->prepare("rs1", Method::dr, address));
    EXPECT_EQ(ask(host("client"), {.address = address}), (Answer{"rs1", "10.77.0.100"}));
}

class BedSync : public Bed, public ::testing::WithParamInterface<Family> {
  protected:
    void TearDown() override {
        for (const auto& [balancer, state] : states_) ipvsadm(balancer, {"--stop-daemon", state});
    }
    void sync(const std::string& balancer, const std::string& state) {
        ipvsadm(balancer, {"--start-daemon", state, "--mcast-interface", "eth1", "--syncid", "1"});
        states_[balancer] = state;
    }
    static bool knows_connection(const std::string& balancer, const std::string& address) {
        return ipvsadm(balancer, {"-L", "-n", "-c"}).find(end_point(address, 7778)) != std::string::npos;
    }
    std::map<std::string, std::string> states_;
};

TEST_P(BedSync, ConnectionIsCarriedToTheOtherBalancerAndLivesOnThere) {
    const std::string address = new_address(GetParam());
    const TcpService service({&host("rs1"), &host("rs2")});
    sync("lb1", "master");
    sync("lb2", "backup");
    farm_->hold("lb1", address);
    for (const char* balancer : {"lb1", "lb2"}) add_service(balancer, Method::dr, Transport::tcp, address, 7778, 7778);
    const TcpSession session(host("client"), address, 5s);
    ASSERT_TRUE(session.wait_echoes(5, 10s));
    EXPECT_FALSE(knows_connection("lb2", address)) << "before it was sent there";
    ASSERT_TRUE(wait_until([&] { return knows_connection("lb2", address); }, 10s, 100ms));
    farm_->release("lb1", address);
    farm_->hold("lb2", address);
    // To the client the address has moved, as an announcement would tell it.
    lab_->ip("client", "neigh replace " + address + " lladdr " + Lab::mac("lb2", "eth0") + " dev eth0\n");
    EXPECT_TRUE(session.wait_echoes(100, 20s)) << "it was with " << session.host();
}

INSTANTIATE_TEST_SUITE_P(Families, BedSync, ::testing::Values(Family::v4, Family::v6),
                         [](const auto& info) { return info.param == Family::v4 ? "Ipv4" : "Ipv6"; });

}  // namespace
}  // namespace lbcluster::lab
