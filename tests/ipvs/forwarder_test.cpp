// forwarderd and healthd on a real IPVS, by real clients: L4-1 (every method, TCP and UDP, one port and several), L4-2,
// L4-3 (weights), L4-6 (fallback), L4-8 (both families), HC-5 (drain, halt), and that killing forwarderd takes nothing
// away. heartbeatd does not run: the test holds the virtual addresses itself.
#include <gtest/gtest.h>

#include <csignal>
#include <memory>

#include "tests/ipvs/cluster.hpp"
#include "tests/ipvs/farm.hpp"
#include "tests/ipvs/name_service.hpp"
#include "tests/ipvs/slow.hpp"
#include "tests/lab/daemon.hpp"
#include "tests/lab/pair.hpp"
#include "tests/lab/tcp.hpp"

namespace lbcluster::lab {
namespace {

const char* word_of(Method method) {
    return method == Method::dr ? "dr" : method == Method::nat ? "nat" : method == Method::snat ? "snat" : "tun";
}

// One farm and one pair of daemons for all tests; each test takes virtual addresses of its own and puts its services in
// the place of the former test's.
class Forwarder : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {  // of each suite
        if (lab_) return;
        lab_ = std::make_unique<Lab>();
        farm_ = std::make_unique<Farm>(*lab_);
        must_run(nullptr, {"mkdir", "-p", "/run/fwd/etc", "/run/fwd/run", "/run/fwd/state"});
        write_file("/run/fwd/etc/node.yaml", "node: lb1\n");
        write_file("/run/fwd/etc/cluster.yaml", "virtual_services: []\n");
        forwarderd_ = daemon(forwarderd_path(), "forwarderd");
        healthd_ = daemon(healthd_path(), "healthd");
    }
    static std::unique_ptr<Daemon> daemon(const std::string& program, const std::string& name) {
        auto made =
            std::make_unique<Daemon>(lab_->host("lb1"),
                                     std::vector<std::string>{program, "--config-dir", "/run/fwd/etc", "--run-dir",
                                                              "/run/fwd/run", "--state-dir", "/run/fwd/state"},
                                     "/run/fwd/" + name + ".log");
        made->start();
        return made;
    }
    void TearDown() override {
        if (HasFailure()) {
            std::printf("%s\n%s\n%s\n", (forwarderd_->log() + healthd_->log()).c_str(), ipvs().c_str(),
                        rules().c_str());
            std::fflush(stdout);
        }
        // The next test shall not take these services for its own.
        put_in_force("virtual_services: []\n");
        EXPECT_TRUE(wait_until([&] { return ipvs().find("-A") == std::string::npos; }, 60s, 50ms));
    }

    static const Namespace& host(const std::string& name) { return lab_->host(name); }
    static std::string new_address(Family family) {
        static unsigned number = 210;
        const std::string address = (family == Family::v4 ? "10.77.0." : "fd77::") + std::to_string(number++);
        farm_->hold("lb1", address);
        return address;
    }
    // In force when both daemons run and IPVS shows what the test asks for, which it does by its clients.
    static void configure(const std::string& services) { put_in_force("virtual_services:\n" + services); }
    static void put_in_force(const std::string& cluster) {
        write_file("/run/fwd/etc/cluster.yaml.new", cluster);
        must_run(nullptr, {"mv", "/run/fwd/etc/cluster.yaml.new", "/run/fwd/etc/cluster.yaml"});
    }
    // label, quoted address, and what else it needs.
    static std::string service(const std::string& label, const std::string& address, const std::string& more) {
        return "  - {label: " + label + ", address: \"" + address + "\", " + more + "}\n";
    }
    static std::string servers(const std::vector<std::string>& addresses, const std::vector<std::string>& more) {
        std::string out = "real_servers: [";
        for (std::size_t i = 0; i < addresses.size(); ++i) {
            out += (i == 0 ? "" : ", ") + std::string("{label: rs") + std::to_string(i + 1) + ", address: \"" +
                   addresses[i] + "\"" + (more[i].empty() ? "" : ", " + more[i]) + "}";
        }
        return out + "]";
    }
    static std::string ipvs() { return must_run_slowly(&host("lb1"), {"ipvsadm", "-S", "-n"}); }
    static std::string rules() { return must_run_slowly(&host("lb1"), {"nft", "list", "ruleset"}); }
    static bool ipvs_becomes(const std::string& part) {
        return wait_until([&] { return ipvs().find(part) != std::string::npos; }, 60s, 50ms);
    }

    static inline std::unique_ptr<Lab> lab_;
    static inline std::unique_ptr<Farm> farm_;
    static inline std::unique_ptr<Daemon> forwarderd_;
    static inline std::unique_ptr<Daemon> healthd_;
};

struct Way {
    Method method;
    Family family;
    std::string name;
    friend std::ostream& operator<<(std::ostream& out, const Way& way) { return out << way.name; }
};
class ForwarderMethods : public Forwarder, public ::testing::WithParamInterface<Way> {};

TEST_P(ForwarderMethods, ClientsReachTheServersInProportionAndAreSeenRight) {
    const auto [method, family, name] = GetParam();
    const bool translates = method == Method::nat || method == Method::snat;
    const std::uint16_t single = translates ? 8080 : 80;
    const NameService rs1(host("rs1"), {single, 81, 9163, 9164});
    const NameService rs2(host("rs2"), {single, 81, 9163, 9164});
    const std::string address = new_address(family);
    const std::vector<std::string> at{farm_->prepare("rs1", method, address), farm_->prepare("rs2", method, address)};
    const std::string port = translates ? "port: 8080" : "";
    const std::string common =
        std::string("scheduler: wrr, check: {type: always_up}, method: ") + word_of(method) + ", ";
    configure(service("tcp", address,
                      "ports: 80, " + common + servers(at, {port, port + (translates ? ", " : "") + "weight: 50"})) +
              service("udp", address, "ports: 81, protocol: udp, " + common + servers(at, {"", "weight: 50"})) +
              service("both", address,
                      "ports: [9163-9164, 9170], protocol: tcp/udp, " + common + servers(at, {"", "weight: 50"})));
    // Each of the three has both servers: healthd has said so of all of them.
    const auto complete = [&] {
        const std::string all = ipvs();
        unsigned lines = 0;
        for (std::size_t place = all.find("-w 50"); place != std::string::npos; place = all.find("-w 50", place + 1))
            ++lines;
        return lines == 3 && rules().find(address) != std::string::npos;
    };
    ASSERT_TRUE(wait_until(complete, 60s, 50ms));
    struct Case {
        std::uint16_t port;
        Transport transport;
    };
    for (const Namespace* client : {&host("client"), &farm_->remote()}) {
        const std::string seen = Farm::lan_address(method == Method::snat ? "lb1" : client->name(), family);
        for (const Case& one : {Case{80, Transport::tcp}, Case{81, Transport::udp}, Case{9163, Transport::tcp},
                                Case{9164, Transport::tcp}, Case{9164, Transport::udp}}) {
            const std::map<Answer, unsigned> two_to_one{{{"rs1", seen}, 4}, {{"rs2", seen}, 2}};
            EXPECT_EQ(ask(*client, {.address = address, .port = one.port, .transport = one.transport}, 6), two_to_one)
                << "port " << one.port << (one.transport == Transport::tcp ? " TCP" : " UDP") << " from "
                << client->name();
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, ForwarderMethods,
                         ::testing::Values(Way{Method::dr, Family::v4, "Dr4"}, Way{Method::dr, Family::v6, "Dr6"},
                                           Way{Method::nat, Family::v4, "Nat4"}, Way{Method::nat, Family::v6, "Nat6"},
                                           Way{Method::snat, Family::v4, "Snat4"},
                                           Way{Method::snat, Family::v6, "Snat6"}, Way{Method::tun, Family::v4, "Tun4"},
                                           Way{Method::tun, Family::v6, "Tun6"}),
                         [](const auto& info) { return info.param.name; });

// L4-6, in each family: a separate server, and delivery on this node as the page has it.
class ForwarderFallback : public Forwarder, public ::testing::WithParamInterface<Family> {};

TEST_P(ForwarderFallback, AnswersWhileNobodyElseCan) {
    const std::string address = new_address(GetParam());
    const std::string page = new_address(GetParam());
    const std::vector<std::string> at{farm_->prepare("rs1", Method::dr, address),
                                      farm_->prepare("rs2", Method::dr, address)};
    static_cast<void>(farm_->prepare("rs1", Method::dr, page));
    const std::string check = "check: {interval: 200ms, timeout: 200ms, fall: 1, rise: 1}, ";
    configure(service("far", address,
                      "ports: 80, " + check + "fallback: {address: \"" +
                          (GetParam() == Family::v4 ? "10.77.0.1" : "fd77::1") + "\", port: 8080, method: snat}, " +
                          servers(at, {"", ""})) +
              service("page", page, "ports: [80, 81], " + check + "fallback: page, " + servers({at[0]}, {""})));
    const NameService gw(host("gw"), {8080});
    const NameService here(host("lb1"), {81});
    const auto answers = [&](const std::string& from, std::uint16_t port, const std::string& server) {
        return wait_until(
            [&] { return ask(host("client"), {.address = from, .port = port, .limit = 1s}).server == server; }, 60s,
            50ms);
    };
    EXPECT_TRUE(answers(address, 80, "gw"));
    EXPECT_TRUE(answers(page, 81, "lb1"));
    {
        const NameService rs2(host("rs2"), {80});
        EXPECT_TRUE(answers(address, 80, "rs2"));
        for (int i = 0; i < 5; ++i) EXPECT_EQ(ask(host("client"), {.address = address}).server, "rs2");
    }
    EXPECT_TRUE(answers(address, 80, "gw"));
    const NameService rs1(host("rs1"), {80, 81});
    EXPECT_TRUE(answers(address, 80, "rs1"));
    EXPECT_TRUE(answers(page, 81, "rs1"));
}

INSTANTIATE_TEST_SUITE_P(Families, ForwarderFallback, ::testing::Values(Family::v4, Family::v6),
                         [](const auto& info) { return info.param == Family::v4 ? "Ipv4" : "Ipv6"; });

TEST_F(Forwarder, DrainKeepsConnectionsAndHaltEndsThem) {  // HC-5
    const std::string address = new_address(Family::v4);
    const std::vector<std::string> at{farm_->prepare("rs1", Method::dr, address),
                                      farm_->prepare("rs2", Method::dr, address)};
    const TcpService echo({&host("rs1"), &host("rs2")});
    const auto put = [&](const std::string& state) {
        configure(service("echo", address, "ports: 7778, check: {type: always_up}, " + servers(at, {state, ""})));
    };
    put("");
    ASSERT_TRUE(ipvs_becomes("-t " + address + ":7778 -r 10.77.0.22:7778"));
    std::vector<std::unique_ptr<TcpSession>> sessions;
    for (int i = 0; i < 4; ++i) sessions.push_back(std::make_unique<TcpSession>(host("client"), address, 5s));
    const auto on = [&](const std::string& server) {
        return std::count_if(sessions.begin(), sessions.end(),
                             [&](const auto& one) { return one->host() == server && one->alive(); });
    };
    ASSERT_EQ(on("rs1"), 2);
    put("state: drain");
    ASSERT_TRUE(ipvs_becomes("-r 10.77.0.21:7778 -g -w 0"));
    for (int i = 0; i < 4; ++i) sessions.push_back(std::make_unique<TcpSession>(host("client"), address, 5s));
    for (const auto& one : sessions) EXPECT_TRUE(one->wait_echoes(5, 10s)) << one->host();
    EXPECT_EQ(on("rs1"), 2);
    EXPECT_EQ(on("rs2"), 6);
    put("state: halt");
    EXPECT_TRUE(wait_until([&] { return on("rs1") == 0; }, 60s, 50ms));
    EXPECT_EQ(on("rs2"), 6);
}

TEST_F(Forwarder, ItsDeathTakesNothingAwayAndItsStartChangesNothing) {
    const std::string address = new_address(Family::v4);
    const std::vector<std::string> at{farm_->prepare("rs1", Method::snat, address),
                                      farm_->prepare("rs2", Method::snat, address)};
    const TcpService echo({&host("rs1"), &host("rs2")});
    configure(service("echo", address,
                      "ports: [7778, 7779], method: snat, check: {type: always_up}, " + servers(at, {"", ""})));
    ASSERT_TRUE(ipvs_becomes("-r 10.77.0.22"));
    ASSERT_TRUE(wait_until([&] { return TcpSession(host("client"), address, 1s).alive(); }, 60s, 50ms));
    const TcpSession session(host("client"), address, 5s);
    ASSERT_TRUE(session.wait_echoes(5, 10s));
    const std::string before = ipvs() + rules();
    const unsigned starts = forwarderd_->starts();
    for (int i = 0; i < 3; ++i) forwarderd_->signal(SIGKILL);
    EXPECT_TRUE(wait_until([&] { return forwarderd_->starts() > starts; }, 60s, 20ms));
    EXPECT_TRUE(TcpSession(host("client"), address, 5s).alive());
    EXPECT_TRUE(session.wait_echoes(20, 60s));
    EXPECT_EQ(ipvs() + rules(), before);
    // Somebody's hand: put right within the period.
    must_run(&host("lb1"), {"ipvsadm", "-A", "-t", "192.0.2.1:80", "-s", "rr"});
    must_run_slowly(&host("lb1"), {"nft", "delete", "table", "inet", "lbcluster"});
    EXPECT_TRUE(wait_until([&] { return rules().find("masquerade") != std::string::npos; }, 60s, 100ms));
    EXPECT_NE(ipvs().find("192.0.2.1:80"), std::string::npos) << "what is not ours stays";
    must_run(&host("lb1"), {"ipvsadm", "-D", "-t", "192.0.2.1:80"});
}

}  // namespace
}  // namespace lbcluster::lab
