// Failover of the pair under load (issue: "new connections within the same gap as without load"): how long a client
// that comes again and again is without an answer when the active node vanishes, once alone and once among many.
// Established connections are pair_test's subject.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "tests/ipvs/cluster.hpp"
#include "tests/ipvs/load.hpp"
#include "tests/ipvs/slow.hpp"

namespace lbcluster::lab {
namespace {

class IpvsGap : public ::testing::Test {
  protected:
    static constexpr const char* vip = "10.77.0.210";

    IpvsGap() : farm_(lab_) {
        std::string servers;
        for (const char* server : {"rs1", "rs2"}) {
            servers +=
                std::string("{label: ") + server + ", address: " + farm_.prepare(server, Method::dr, vip) + "}, ";
        }
        PairSpec spec;
        // This machine is slow: the deadtime is long enough that a stall of it is no failover.
        spec.timers = "keepalive: 300ms\ndeadtime: 4s\ninitdead: 10s";
        spec.links = {LinkSpec::heartbeat_net(), LinkSpec::lan()};
        spec.floating_ips = {};
        cluster_ = std::make_unique<Cluster>(
            lab_, "/run/gap", spec,
            std::string("  - {label: web, address: ") + vip +
                ", ports: 80, method: dr, scheduler: rr, check: {interval: 1s, timeout: 1s, fall: 3, rise: 1}, "
                "real_servers: [" +
                servers + "]}\n");
    }
    void TearDown() override {
        if (HasFailure()) std::printf("%s\n%s\n", cluster_->story("lb1").c_str(), cluster_->story("lb2").c_str());
        std::fflush(stdout);
    }
    bool serves(const std::string& node) {
        const auto programmed = [&] {
            const std::string all = cluster_->ipvs(node);
            return all.find("-r 10.77.0.21:") != std::string::npos && all.find("-r 10.77.0.22:") != std::string::npos;
        };
        return wait_until([&] { return cluster_->pair().activity(node) == "active" && lab_.holds(node, vip); }, 120s) &&
               wait_until(programmed, 120s, 50ms);
    }
    // From the last answer before the death to the first one after it, of a client that asks 20 times a second.
    Nanoseconds gap(const std::string& dies) {
        const Load client(lab_.host("client"), {.address = vip, .limit = 300ms}, 1, 50ms);
        const auto answered = [&](TimePoint since) {
            auto all = client.since(since);
            std::erase_if(all, [](const Attempt& one) { return one.failed(); });
            return all;
        };
        const TimePoint begun = Clock::now();
        EXPECT_TRUE(wait_until([&] { return answered(begun).size() >= 10; }, 60s, 20ms));
        const TimePoint died = Clock::now();
        cluster_->power_off(dies);
        EXPECT_TRUE(wait_until([&] { return lab_.holds(Pair::peer_of(dies), vip); }, 120s, 5ms));
        EXPECT_TRUE(wait_until([&] { return !answered(died + 1s).empty(); }, 60s, 20ms));
        TimePoint last = begun;
        TimePoint first = Clock::now();
        for (const Attempt& one : answered(begun)) {
            if (one.ended <= died) last = std::max(last, one.ended);
            if (one.begun >= died + 1s) first = std::min(first, one.ended);
        }
        return first - last;
    }

    Lab lab_;
    Farm farm_;
    std::unique_ptr<Cluster> cluster_;
};

TEST_F(IpvsGap, UnderLoadNewConnectionsWaitNoLongerThanWithout) {
    const NameService rs1(lab_.host("rs1"), {80});
    const NameService rs2(lab_.host("rs2"), {80});
    ASSERT_TRUE(serves("lb1"));
    ASSERT_TRUE(wait_until([&] { return cluster_->pair().activity("lb2") == "passive"; }, 120s));
    const Nanoseconds alone = gap("lb1");
    cluster_->power_on("lb1");
    ASSERT_TRUE(wait_until([&] { return cluster_->pair().activity("lb1") == "passive"; }, 120s));
    ASSERT_TRUE(wait_until([&] { return cluster_->ipvs("lb1") == cluster_->ipvs("lb2"); }, 120s, 50ms));
    const Load crowd(lab_.host("obs"), {.address = vip, .limit = 300ms}, 6, 5ms);
    ASSERT_TRUE(crowd.wait_attempts(200, 120s));
    const TimePoint begun = Clock::now();
    const Nanoseconds among_many = gap("lb2");
    const double rate =
        static_cast<double>(crowd.since(begun).size()) / std::chrono::duration<double>(Clock::now() - begun).count();
    std::printf("    alone %.2f s, among %.0f connections a second %.2f s\n",
                std::chrono::duration<double>(alone).count(), rate, std::chrono::duration<double>(among_many).count());
    EXPECT_LT(alone, 8s) << "twice the deadtime";
    EXPECT_LT(among_many, alone * 3 / 2 + 500ms);
}

}  // namespace
}  // namespace lbcluster::lab
