// A pair on a real IPVS, each node with heartbeatd, healthd and forwarderd: HA-8 (connection sync) and the warm
// standby. A connection in DR, NAT and TUN lives on when the active node is gone, new ones go on, and taking over
// changes no entry of IPVS, as both nodes have had the same ones all the time.
#include <gtest/gtest.h>

#include <memory>

#include "tests/ipvs/cluster.hpp"
#include "tests/ipvs/load.hpp"
#include "tests/ipvs/slow.hpp"
#include "tests/lab/tcp.hpp"

namespace lbcluster::lab {
namespace {

class IpvsPair : public ::testing::TestWithParam<Family> {
  protected:
    IpvsPair() : farm_(lab_) {
        for (const char* server : {"rs1", "rs2"}) static_cast<void>(farm_.prepare(server, Method::dr, sticky_));
        const std::string services =
            service(Method::dr, "dr", dr_, "ports: [80, 7778]") +  // by firewall mark
            service(Method::nat, "nat", nat_, "ports: 7778") + service(Method::tun, "tun", tun_, "ports: 7778") +
            service(Method::dr, "sticky", sticky_, "ports: 80, persistence: {source_ip: {timeout: 10m}}");
        PairSpec spec;
        // A failover is the subject, not its milliseconds: this machine is slow.
        spec.timers = "keepalive: 300ms\ndeadtime: 4s\ninitdead: 10s";
        spec.links = {LinkSpec::heartbeat_net(), LinkSpec::lan()};
        spec.floating_ips = {"{address: \"" + gateway_ + "\", interface: eth2}"};
        sysctls_ = sysctls("lb2");
        const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
        cluster_ = std::make_unique<Cluster>(lab_, "/run/pair-" + name.substr(name.find('/') + 1), spec, services);
    }
    static std::string in_family(const char* v4, const char* v6) { return GetParam() == Family::v4 ? v4 : v6; }
    std::string service(Method method, const std::string& label, const std::string& address, const std::string& more) {
        std::string out = "  - {label: " + label + ", address: \"" + address + "\", " + more +
                          ", method: " + (method == Method::dr ? "dr" : label) +
                          ", scheduler: rr, check: {port: 7778, interval: 1s, timeout: 1s, fall: 3, rise: 1}, "
                          "real_servers: [";
        for (const char* server : {"rs1", "rs2"}) {
            out += std::string("{label: ") + server + ", address: \"" +
                   farm_.prepare(server, method, address, method == Method::nat ? gateway_ : "") + "\"}, ";
        }
        return out + "]}\n";
    }
    void TearDown() override {
        if (HasFailure()) std::printf("%s\n%s\n", cluster_->story("lb1").c_str(), cluster_->story("lb2").c_str());
        std::fflush(stdout);
    }

    const Namespace& host(const std::string& name) { return lab_.host(name); }
    // All services with both servers each.
    bool programmed(const std::string& node) {
        const auto complete = [&] {
            const std::string all = cluster_->ipvs(node);
            return count(all, "-w 100") == 8;
        };
        return wait_until(complete, 120s, 50ms);
    }
    static std::size_t count(const std::string& text, const std::string& part) {
        std::size_t found = 0;
        for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
        return found;
    }
    // The connections of the sessions; what the load does is on other ports.
    std::size_t connections(const std::string& node) {
        const std::string all = must_run_slowly(&host(node), {"ipvsadm", "-L", "-n", "-c"});
        std::size_t found = 0;
        for (const std::string& address : {dr_, nat_, tun_}) found += count(all, end_point(address, "7778"));
        return found;
    }
    static std::string end_point(const std::string& address, const std::string& port) {
        return (GetParam() == Family::v4 ? address : "[" + address + "]") + ":" + port;
    }
    // What keeps clients of the persistent service at their servers.
    bool knows_client(const std::string& node) {
        const std::string all = must_run_slowly(&host(node), {"ipvsadm", "-L", "-n", "-c"});
        return all.find(end_point(Farm::lan_address("client", GetParam()), "0")) != std::string::npos;
    }
    std::string server_of_client() { return ask(host("client"), {.address = sticky_}).server; }
    std::string sync_role(const std::string& node) {
        const std::string all = must_run_slowly(&host(node), {"ipvsadm", "-L", "--daemon"});
        const bool master = all.find("master sync daemon") != std::string::npos;
        const bool backup = all.find("backup sync daemon") != std::string::npos;
        return master && backup ? "both" : master ? "master" : backup ? "backup" : "none";
    }
    bool sync_becomes(const std::string& node, const std::string& role) {
        return wait_until([&] { return sync_role(node) == role; }, 60s, 100ms);
    }
    // What forwarderd sets, but for those of interfaces.
    std::string sysctls(const std::string& node) {
        return must_run_slowly(&host(node), {"sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding",
                                             "net.ipv4.conf.all.send_redirects", "net.ipv4.vs.expire_nodest_conn",
                                             "net.ipv4.vs.expire_quiescent_template", "net.ipv4.vs.conn_reuse_mode"});
    }
    void open_sessions() {
        for (const std::string& address : {dr_, nat_, tun_}) {
            ASSERT_TRUE(wait_until([&] { return TcpSession(host("client"), address, 2s).alive(); }, 60s, 50ms))
                << address;
            for (int i = 0; i < 2; ++i) sessions_.push_back(std::make_unique<TcpSession>(host("client"), address, 10s));
        }
    }
    void expect_alive(const std::string& when) {
        for (std::size_t i = 0; i < sessions_.size(); ++i) {
            EXPECT_TRUE(sessions_[i]->wait_echoes(20, 90s)) << when << ": "
                                                            << (i < 2   ? "DR"
                                                                : i < 4 ? "NAT"
                                                                        : "TUN")
                                                            << ", with " << sessions_[i]->host();
        }
    }

    const std::string dr_ = in_family("10.77.0.210", "fd77::210");
    const std::string nat_ = in_family("10.77.0.211", "fd77::211");
    const std::string tun_ = in_family("10.77.0.212", "fd77::212");
    const std::string sticky_ = in_family("10.77.0.213", "fd77::213");
    const std::string gateway_ = in_family("10.80.0.200", "fd80::200");  // of the NAT servers
    Lab lab_;
    Farm farm_;
    std::string sysctls_;  // of lb2, before forwarderd
    std::unique_ptr<Cluster> cluster_;
    std::vector<std::unique_ptr<TcpSession>> sessions_;
};

TEST_P(IpvsPair, ConnectionsLiveOnWhenTheActiveNodeIsGone) {
    const NameService rs1(host("rs1"), {80});
    const NameService rs2(host("rs2"), {80});
    const TcpService echo({&host("rs1"), &host("rs2")});
    Pair& pair = cluster_->pair();
    ASSERT_TRUE(pair.wait_settled("lb1", 120s));
    ASSERT_TRUE(programmed("lb1"));
    ASSERT_TRUE(programmed("lb2")) << "the passive node is warm";
    EXPECT_EQ(cluster_->ipvs("lb1"), cluster_->ipvs("lb2"));
    EXPECT_TRUE(sync_becomes("lb1", "master"));
    EXPECT_TRUE(sync_becomes("lb2", "backup"));
    open_sessions();
    if (HasFatalFailure()) return;
    expect_alive("at first");
    ASSERT_TRUE(wait_until([&] { return connections("lb2") >= sessions_.size(); }, 60s, 200ms)) << connections("lb2");

    const std::string server = server_of_client();
    const auto told_of_client = [&] {
        EXPECT_EQ(server_of_client(), server);
        return knows_client("lb2");
    };
    EXPECT_TRUE(wait_until(told_of_client, 60s, 200ms));

    const std::string before = cluster_->ipvs("lb2");
    const Load load(host("client"), {.address = dr_, .limit = 1s}, 2);
    ASSERT_TRUE(load.wait_attempts(30));
    const TimePoint died = Clock::now();
    cluster_->power_off("lb1");
    ASSERT_TRUE(wait_until([&] { return lab_.holds("lb2", dr_) && lab_.holds("lb2", gateway_); }, 120s, 20ms));
    const TimePoint taken = Clock::now();
    ASSERT_TRUE(load.wait_attempts(30, 120s));
    expect_alive("after the failover");
    for (int i = 0; i < 3; ++i) EXPECT_EQ(server_of_client(), server) << "persistence is known to both";
    // Announced a moment after it is held.
    EXPECT_TRUE(load.failures_since(taken + 2s).empty()) << text_of(load.since(taken), taken);
    EXPECT_EQ(cluster_->ipvs("lb2"), before) << "taking over changes no entry";
    EXPECT_TRUE(sync_becomes("lb2", "master"));
    std::printf("    taken over %.1f s after the death; of the clients %s\n",
                std::chrono::duration<double>(taken - died).count(), text_of(load.since(died), died).c_str());

    // It comes back, learns of the connections, and serves again because the operator says so.
    cluster_->power_on("lb1");
    ASSERT_TRUE(pair.wait_settled("lb2", 120s));
    ASSERT_TRUE(programmed("lb1"));
    EXPECT_TRUE(sync_becomes("lb1", "backup"));
    ASSERT_TRUE(wait_until([&] { return connections("lb1") >= sessions_.size(); }, 60s, 200ms)) << connections("lb1");
    const TimePoint handed = Clock::now();
    const Outcome activated = pair.cli("lb1", {"activate"}, 60s);
    EXPECT_TRUE(activated.ok()) << activated.err;
    ASSERT_TRUE(pair.wait_settled("lb1", 120s));
    ASSERT_TRUE(load.wait_attempts(30, 120s));
    expect_alive("after the hand-over");
    EXPECT_EQ(server_of_client(), server);
    EXPECT_EQ(cluster_->ipvs("lb1"), before);
    EXPECT_TRUE(sync_becomes("lb1", "master"));
    EXPECT_TRUE(sync_becomes("lb2", "backup"));
    std::printf("    hand-over: %s\n", text_of(load.since(handed), handed).c_str());

    // What `forwarderd --release` leaves of it: nothing, and what is not ours.
    for (const char* node : {"lb1", "lb2"}) {
        static_cast<void>(pair.forwarderd(node).stop());
        must_run_slowly(&host(node), {"ipvsadm", "-A", "-t", "192.0.2.1:80", "-s", "rr"});
        const std::vector<std::string> words{forwarderd_path(), "--release", "--run-dir", pair.run_dir(node)};
        const Outcome released = run(&host(node), words, "", {}, 60s);
        EXPECT_TRUE(released.ok()) << released.err;
        EXPECT_EQ(cluster_->ipvs(node), "-A -t 192.0.2.1:80 -s rr\n");
        EXPECT_EQ(sync_role(node), "none");
        EXPECT_EQ(must_run_slowly(&host(node), {"nft", "list", "ruleset"}).find("inet lbcluster"), std::string::npos);
    }
    // Not lb1: it was without power, and what is noted is of a boot, but its namespace has not forgotten.
    EXPECT_EQ(sysctls("lb2"), sysctls_);
}

INSTANTIATE_TEST_SUITE_P(Families, IpvsPair, ::testing::Values(Family::v4, Family::v6),
                         [](const auto& info) { return info.param == Family::v4 ? "Ipv4" : "Ipv6"; });

}  // namespace
}  // namespace lbcluster::lab
