// HA-3: a floating IP that a machine outside the pair uses already (a typing error, most often) is not taken.
#include <cctype>

#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Conflict : public PairTest {
  protected:
    static constexpr const char* used = "10.77.0.21";  // rs1's own
    static constexpr const char* used6 = "fd77::21";

    [[nodiscard]] bool alarmed(const std::string& node, const std::string& address) const {
        return pair_->has_alarm(node, "address-conflict/" + address);
    }
    // The gateway asks who has the address: only rs1 says so.
    [[nodiscard]] bool answers_from_rs1_only() const {
        const Outcome asked = run(&lab_.host("gw"), {"arping", "-c", "2", "-w", "2", "-I", "eth0", used}, "", {}, 10s);
        std::string macs = asked.out;
        std::transform(macs.begin(), macs.end(), macs.begin(), [](unsigned char c) { return std::tolower(c); });
        return asked.exit_code == 0 && macs.find(Lab::mac("rs1", "eth0")) != std::string::npos &&
               macs.find(Lab::mac("lb1", "eth0")) == std::string::npos;
    }
};

TEST_F(Conflict, AUsedAddressIsRefusedAndTheOthersServe) {
    for (const bool single : {true, false}) {
        PairSpec spec;
        spec.single = single;
        spec.floating_ips = {vip, used, used6};
        pair_ = std::make_unique<Pair>(lab_, single ? "/run/single" : "/run/both", spec);
        single ? pair_->start("lb1") : pair_->start();
        EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 20s));
        EXPECT_TRUE(wait_until([&] { return alarmed("lb1", used) && alarmed("lb1", used6); }, 5s));
        EXPECT_FALSE(lab_.holds("lb1", used));
        EXPECT_FALSE(lab_.holds("lb1", used6));
        EXPECT_TRUE(answers_from_rs1_only());
        pair_.reset();
        EXPECT_TRUE(wait_until([&] { return !lab_.holds("lb1", vip); }, 5s));
    }
}

TEST_F(Conflict, AnAddressAddedLaterIsAskedForFirst) {
    begin({});
    if (HasFatalFailure()) return;
    const Outcome added = pair().cli("lb1", {"floating-ip", "add", used});
    EXPECT_EQ(added.exit_code, 0) << added.err;
    EXPECT_TRUE(wait_until([&] { return alarmed("lb1", used); }, 5s));
    EXPECT_TRUE(answers_from_rs1_only());
    // The operator may insist, and the right address comes by itself when the machine has another.
    lab_.ip("rs1", "addr del 10.77.0.21/24 dev eth0\n");
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", used); }, 15s));
    EXPECT_TRUE(wait_until([&] { return !alarmed("lb1", used); }, 10s));
}

TEST_F(Conflict, TheOperatorMayInsist) {
    PairSpec spec;
    spec.single = true;
    spec.floating_ips = {vip, used};
    make(spec);
    pair_->start("lb1");
    ASSERT_TRUE(wait_until([&] { return alarmed("lb1", used); }, 20s));
    const Outcome forced = pair_->cli("lb1", {"activate", "--force"});
    EXPECT_EQ(forced.exit_code, 0) << forced.err;
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", used); }, 3s));
}

}  // namespace
}  // namespace lbcluster::lab
