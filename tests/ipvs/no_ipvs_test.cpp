// A kernel without IPVS: services of layer 4 are red with the reason, and everything else works. The only test of this
// folder that wants such a kernel; it is skipped where there is IPVS.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/ipvs/cluster.hpp"

namespace lbcluster::lab {
namespace {

TEST(NoIpvs, ServicesOfLayer4AreRedWithTheReasonAndAllElseWorks) {
    if (std::filesystem::exists("/proc/net/ip_vs") || run(nullptr, {"modprobe", "-q", "ip_vs"}).ok())
        GTEST_SKIP() << "this kernel has IPVS";
    Lab lab;
    PairSpec spec;
    spec.single = true;
    const auto web = [](const std::string& servers) {
        return "  - {label: web, address: 10.77.0.210, ports: [80, 443], check: {type: always_up}, real_servers: [" +
               servers + "]}\n";
    };
    const std::string rs1 = "{label: rs1, address: 10.77.0.21}";
    Cluster cluster(lab, "/run/no_ipvs", spec, web(rs1));
    Pair& pair = cluster.pair();
    const auto service = [&] { return pair.status("lb1")["services"][0]; };
    EXPECT_TRUE(pair.wait_settled("lb1"));
    EXPECT_TRUE(wait_until([&] { return service()["color"].text() == "red"; }, 20s, 50ms)) << service()["color"].text();
    const auto says = [&] {
        return pair.cli("lb1", {"status"}).out.find("this kernel has no IPVS") != std::string::npos;
    };
    EXPECT_TRUE(wait_until(says, 20s, 50ms)) << pair.cli("lb1", {"status"}).out;

    // Floating IPs, health and configuration go on.
    EXPECT_TRUE(wait_until([&] { return lab.holds("lb1", "10.77.0.200"); }, 20s, 20ms));
    EXPECT_TRUE(wait_until([&] { return cluster.server("lb1", "web", "rs1")["health"].text() == "up"; }, 20s, 50ms));
    cluster.configure(web(rs1 + ", {label: rs2, address: 10.77.0.22}"));
    EXPECT_TRUE(wait_until([&] { return cluster.server("lb1", "web", "rs2")["health"].text() == "up"; }, 20s, 50ms));
    EXPECT_EQ(service()["color"].text(), "red");
    // A configuration without layer 4 needs no IPVS.
    cluster.configure("  []\n");
    EXPECT_TRUE(wait_until([&] { return !says(); }, 20s, 50ms)) << pair.cli("lb1", {"status"}).out;
    EXPECT_EQ(cluster.forwarderd("lb1").starts(), 1U) << "it does not die of it";
    EXPECT_EQ(pair.healthd("lb1").starts(), 1U);
    if (HasFailure()) std::printf("%s\n", cluster.story("lb1").c_str());
}

}  // namespace
}  // namespace lbcluster::lab
