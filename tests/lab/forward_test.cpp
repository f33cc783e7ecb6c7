// forwarderd beside the other daemons on a kernel without IPVS ("layer-4 services are red with the reason, everything
// else works"), and what the pair makes of a forwarder that is not there. What it does with IPVS is in tests/ipvs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/lab/backend.hpp"
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

using ::testing::HasSubstr;

class Forward : public PairTest {
  protected:
    void begin() {
        PairSpec spec;
        spec.more =
            "virtual_services:\n"
            "  - label: web\n"
            "    address: 10.77.0.210\n"
            "    ports: [80]\n"
            "    check: {interval: 200ms, timeout: 150ms}\n"
            "    real_servers: [{label: rs1, address: 10.77.0.21}]\n";
        make(spec);
        pair().start();
        for (const char* node : {"lb1", "lb2"}) pair().healthd(node).start();
        ASSERT_TRUE(pair().wait_settled("lb1"));
    }
    Json service(const std::string& node) { return pair().status(node)["services"][0]; }
    ::testing::AssertionResult alarms(const std::string& node, const std::string& id, bool on = true) {
        if (wait_until([&] { return pair().has_alarm(node, id) == on; }, 12s, 50ms))
            return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << pair().cli(node, {"status"}).out;
    }

    Backend rs1_{lab_.host("rs1"), 80};
};

// A kernel that has it serves these services: then there is nothing to tell.
bool kernel_has_ipvs() { return std::filesystem::exists("/proc/net/ip_vs"); }

TEST_F(Forward, AKernelWithoutIpvsIsToldAndEverythingElseWorks) {
    begin();
    if (HasFatalFailure()) return;
    EXPECT_TRUE(alarms("lb1", "services-not-served"));
    for (const char* node : {"lb1", "lb2"}) pair().forwarderd(node).start();
    EXPECT_TRUE(alarms("lb1", "services-not-served", false));
    if (kernel_has_ipvs()) GTEST_SKIP() << "this kernel has IPVS: tests/ipvs shows the rest";
    EXPECT_TRUE(alarms("lb1", "no-ipvs"));
    EXPECT_TRUE(wait_until([&] { return service("lb1")["servers"][0]["health"].text() == "up"; }, 5s));
    EXPECT_EQ(service("lb1")["color"].text(), "red");
    EXPECT_EQ(service("lb1")["forwarding"]["state"].text(), "failed");
    EXPECT_THAT(service("lb1")["forwarding"]["error"].text(), HasSubstr("IPVS"));
    EXPECT_THAT(pair().cli("lb1", {"status"}).out, HasSubstr("Not forwarded: "));
    // Neither node forwards, so a hand-over loses nothing.
    EXPECT_TRUE(alarms("lb2", "no-ipvs"));
    EXPECT_EQ(pair().cli("lb2", {"activate"}).exit_code, 0);
    EXPECT_TRUE(pair().wait_settled("lb2"));
}

TEST_F(Forward, AForwarderThatIsGoneIsToldAndMovesNothing) {
    begin();
    if (HasFatalFailure()) return;
    for (const char* node : {"lb1", "lb2"}) pair().forwarderd(node).start();
    EXPECT_TRUE(alarms("lb1", "services-not-served", false));
    pair().forwarderd("lb1").vanish();  // and is not started again
    EXPECT_TRUE(alarms("lb1", "services-not-served"));
    const std::string page = pair().cli("lb1", {"status"}).out;
    EXPECT_THAT(page, HasSubstr("forwarderd is gone"));
    EXPECT_THAT(page, HasSubstr("forwarderd (does not run)"));
    EXPECT_FALSE(wait_until([&] { return pair().activity("lb1") != "active"; }, 4s, 100ms)) << "the kernel forwards on";
    pair().forwarderd("lb1").start();
    EXPECT_TRUE(alarms("lb1", "services-not-served", false));
}

}  // namespace
}  // namespace lbcluster::lab
