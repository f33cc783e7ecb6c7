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

class IpvsPair : public ::testing::Test {
  protected:
    static constexpr const char* dr = "10.77.0.210";
    static constexpr const char* nat = "10.77.0.211";
    static constexpr const char* tun = "10.77.0.212";
    static constexpr const char* gateway = "10.80.0.200";  // of the NAT servers

    IpvsPair() : farm_(lab_) {
        std::string services;
        for (const char* server : {"rs1", "rs2"}) {
            static_cast<void>(farm_.prepare(server, Method::dr, dr));
            static_cast<void>(farm_.prepare(server, Method::nat, nat, gateway));
            static_cast<void>(farm_.prepare(server, Method::tun, tun));
        }
        services += service("dr", dr, "[80, 7778]", "10.77.0");  // by firewall mark
        services += service("nat", nat, "7778", "10.80.0");
        services += service("tun", tun, "7778", "10.77.0");
        PairSpec spec;
        // A failover is the subject, not its milliseconds: this machine is slow.
        spec.timers = "keepalive: 300ms\ndeadtime: 4s\ninitdead: 10s";
        spec.links = {LinkSpec::heartbeat_net(), LinkSpec::lan()};
        spec.floating_ips = {std::string("{address: ") + gateway + ", interface: eth2}"};
        cluster_ = std::make_unique<Cluster>(lab_, "/run/pair", spec, services);
    }
    static std::string service(const std::string& method, const std::string& address, const std::string& ports,
                               const std::string& network) {
        return "  - {label: " + method + ", address: " + address + ", ports: " + ports + ", method: " + method +
               ", scheduler: rr, check: {type: connect, port: 7778, interval: 1s, timeout: 1s, fall: 3, rise: 1}, "
               "real_servers: [{label: rs1, address: " +
               network + ".21}, {label: rs2, address: " + network + ".22}]}\n";
    }
    void TearDown() override {
        if (HasFailure()) std::printf("%s\n%s\n", cluster_->story("lb1").c_str(), cluster_->story("lb2").c_str());
        std::fflush(stdout);
    }

    const Namespace& host(const std::string& name) { return lab_.host(name); }
    // All three services with both servers each.
    bool programmed(const std::string& node) {
        const auto complete = [&] {
            const std::string all = cluster_->ipvs(node);
            return count(all, "-w 100") == 6;
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
        for (const char* address : {dr, nat, tun}) found += count(all, std::string(address) + ":7778");
        return found;
    }
    std::string sync_role(const std::string& node) {
        const std::string all = must_run_slowly(&host(node), {"ipvsadm", "-L", "--daemon"});
        const bool master = all.find("master sync daemon") != std::string::npos;
        const bool backup = all.find("backup sync daemon") != std::string::npos;
        return master && backup ? "both" : master ? "master" : backup ? "backup" : "none";
    }
    bool sync_becomes(const std::string& node, const std::string& role) {
        return wait_until([&] { return sync_role(node) == role; }, 60s, 100ms);
    }
    void open_sessions() {
        for (const char* address : {dr, nat, tun}) {
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

    Lab lab_;
    Farm farm_;
    std::unique_ptr<Cluster> cluster_;
    std::vector<std::unique_ptr<TcpSession>> sessions_;
};

TEST_F(IpvsPair, ConnectionsLiveOnWhenTheActiveNodeIsGone) {
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

    const std::string before = cluster_->ipvs("lb2");
    const Load load(host("client"), {.address = dr, .limit = 1s}, 2);
    ASSERT_TRUE(load.wait_attempts(30));
    const TimePoint died = Clock::now();
    cluster_->power_off("lb1");
    ASSERT_TRUE(wait_until([&] { return lab_.holds("lb2", dr) && lab_.holds("lb2", gateway); }, 120s, 20ms));
    const TimePoint taken = Clock::now();
    ASSERT_TRUE(load.wait_attempts(30, 120s));
    expect_alive("after the failover");
    // Announced a moment after it is held.
    EXPECT_TRUE(load.failures_since(taken + 2s).empty()) << text_of(load.since(taken), taken);
    EXPECT_EQ(cluster_->ipvs("lb2"), before) << "taking over changes no entry";
    EXPECT_TRUE(sync_becomes("lb2", "master"));
    std::printf("    taken over %.1f s after the death; of the clients %s\n",
                std::chrono::duration<double>(taken - died).count(), text_of(load.since(died), died).c_str());

    // It comes back, learns of the connections, and serves again because the operator says so.
    pair.power_on("lb1");
    lab_.cable("lb1", "eth2", true);
    cluster_->forwarderd("lb1").start();
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
    EXPECT_EQ(cluster_->ipvs("lb1"), before);
    EXPECT_TRUE(sync_becomes("lb1", "master"));
    EXPECT_TRUE(sync_becomes("lb2", "backup"));
    std::printf("    hand-over: %s\n", text_of(load.since(handed), handed).c_str());
}

}  // namespace
}  // namespace lbcluster::lab
