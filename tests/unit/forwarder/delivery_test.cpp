// The routes of transparent connections in the kernel (L7-4), in a namespace of the test's own.
#include "forwarder/route/delivery.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <string>

namespace lbcluster::forward::route {
namespace {

bool run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

class DeliveryTest : public testing::TestWithParam<bool> {
  protected:
    void SetUp() override {
        if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "needs root";
        ASSERT_TRUE(run("ip link set lo up"));
        ASSERT_TRUE(run(ip_ + "rule add fwmark 7 lookup 77 && " + ip_ + "route add local default dev lo table 77"));
    }
    // What a packet with our mark from a server to a client meets: `local`, or no route.
    [[nodiscard]] bool comes_here() const {
        const std::string client = GetParam() ? "2001:db8::1" : "198.51.100.1";
        return run(ip_ + "route get " + client + " mark 0x4d000000 | grep local");
    }

    const std::string ip_ = GetParam() ? "ip -6 " : "ip -4 ";
};

TEST_P(DeliveryTest, IsThereOnceAndGoes) {
    const bool v6 = GetParam();
    auto there = delivers(v6);
    ASSERT_TRUE(there.ok()) << there.error().message;
    EXPECT_FALSE(*there);
    EXPECT_FALSE(comes_here());
    for (int i = 0; i < 2; ++i) {
        const auto done = set_delivery(v6, true);
        ASSERT_TRUE(done.ok()) << done.error().message;
        EXPECT_TRUE(*delivers(v6));
        EXPECT_TRUE(comes_here());
        EXPECT_FALSE(*delivers(!v6));
    }
    // Half of it is not it.
    ASSERT_TRUE(run(ip_ + "route flush table 19456"));
    EXPECT_FALSE(*delivers(v6));
    ASSERT_TRUE(set_delivery(v6, true).ok());
    ASSERT_TRUE(run(ip_ + "rule del fwmark 0x4d000000"));
    EXPECT_FALSE(run(ip_ + "rule del fwmark 0x4d000000")) << "it was there twice";
    EXPECT_FALSE(*delivers(v6));
    EXPECT_FALSE(comes_here());
    ASSERT_TRUE(set_delivery(v6, true).ok());
    for (int i = 0; i < 2; ++i) {
        const auto done = set_delivery(v6, false);
        ASSERT_TRUE(done.ok()) << done.error().message;
        EXPECT_FALSE(*delivers(v6));
    }
    EXPECT_FALSE(run(ip_ + "rule show | grep 0x4d000000"));
    EXPECT_FALSE(run(ip_ + "route show table 19456 | grep default"));
    EXPECT_TRUE(run(ip_ + "rule show | grep 'fwmark 0x7'"));  // somebody else's
}

INSTANTIATE_TEST_SUITE_P(Families, DeliveryTest, testing::Bool());

}  // namespace
}  // namespace lbcluster::forward::route
