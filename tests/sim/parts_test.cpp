// OP-8: the parts of the model that everything stands on: frames, caches, leases, the simulated tag.
#include <gtest/gtest.h>

#include "sim/node/simulated_tag.hpp"
#include "sim/world/machine.hpp"

namespace lbcluster::sim {
namespace {

IpAddress ip(const char* text) { return *IpAddress::parse(text); }
IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }

class MachineTest : public ::testing::Test {
  protected:
    MachineTest() {
        a.plug_in(lan, "eth0", {prefix("10.0.0.1/24"), prefix("fd00::1/64")});
        b.plug_in(lan, "eth0", {prefix("10.0.0.2/24"), prefix("fd00::2/64")});
        c.plug_in(lan, "eth0", {prefix("10.0.0.3/24"), prefix("fd00::3/64")});
        for (Machine* machine : {&a, &b, &c}) machine->power_on();
        c.sockets.echo_reply = [this](const net::Echo&) { ++answers; };
    }
    ~MachineTest() override { ns3::Simulator::Destroy(); }
    static void run(Duration length) {
        ns3::Simulator::Stop(ns3::NanoSeconds(length.count()));
        ns3::Simulator::Run();
    }
    [[nodiscard]] MacAddress mac(const Machine& machine) const { return machine.interfaces()[0].port->mac(); }

    Network lan{"lan", 50us, 3, 1};
    Machine a{"a", 1}, b{"b", 1}, c{"c", 1};
    int answers = 0;
};

TEST_F(MachineTest, PingsAreAnsweredInBothFamilies) {
    c.send_echo(ip("10.0.0.1"), 7, 1, {});
    c.send_echo(ip("fd00::2"), 7, 2, {});
    run(10ms);
    EXPECT_EQ(answers, 2);
    EXPECT_EQ(c.neighbor(ip("10.0.0.1")), mac(a));
    EXPECT_EQ(c.neighbor(ip("fd00::2")), mac(b));
}

// Linux changes an entry that exists by what is announced, and makes none.
TEST_F(MachineTest, CachesFollowAnnouncements) {
    a.add_address(0, prefix("10.0.0.200"), std::nullopt);
    a.add_address(0, prefix("fd00::200"), std::nullopt);
    b.send_frame(0, net::gratuitous_arp(mac(b), ip("10.0.0.201"), net::ArpForm::reply));
    c.send_echo(ip("10.0.0.200"), 7, 1, {});
    c.send_echo(ip("fd00::200"), 7, 2, {});
    run(10ms);
    ASSERT_EQ(c.neighbor(ip("10.0.0.200")), mac(a));
    EXPECT_FALSE(c.neighbor(ip("10.0.0.201")));
    for (const auto form : {net::ArpForm::request, net::ArpForm::reply}) {
        b.send_frame(0, net::gratuitous_arp(mac(form == net::ArpForm::request ? b : a), ip("10.0.0.200"), form));
        run(10ms);
        EXPECT_EQ(c.neighbor(ip("10.0.0.200")), mac(form == net::ArpForm::request ? b : a));
    }
    b.send_frame(0, net::unsolicited_na(mac(b), ip("fd00::200")));
    run(10ms);
    EXPECT_EQ(c.neighbor(ip("fd00::200")), mac(b));
}

TEST_F(MachineTest, ALeaseEndsByItself) {
    a.set_lease_late(Duration{0});
    a.add_address(0, prefix("10.0.0.200"), 2s);
    run(1900ms);
    EXPECT_TRUE(a.answers(ip("10.0.0.200")));
    a.add_address(0, prefix("10.0.0.200"), 2s);  // renewed
    run(1900ms);
    EXPECT_TRUE(a.answers(ip("10.0.0.200")));
    run(200ms);
    EXPECT_FALSE(a.holds(ip("10.0.0.200")));
}

TEST_F(MachineTest, APausedMachineAnswersNothingAndIsLateAfterwards) {
    a.set_lease_late(Duration{0});
    a.add_address(0, prefix("10.0.0.200"), 2s);
    a.pause();
    c.send_echo(ip("10.0.0.1"), 7, 1, {});
    run(3s);
    EXPECT_EQ(answers, 0);
    EXPECT_FALSE(a.answers(ip("10.0.0.200")));
    EXPECT_TRUE(a.holds(ip("10.0.0.200"))) << "nobody has removed it yet";
    a.resume();
    EXPECT_FALSE(a.holds(ip("10.0.0.200")));
}

TEST_F(MachineTest, PowerOffClearsTheKernel) {
    a.add_address(0, prefix("10.0.0.200"), std::nullopt);
    a.power_off();
    a.power_on();
    EXPECT_FALSE(a.holds(ip("10.0.0.200")));
}

TEST_F(MachineTest, ADriftingClockRunsFaster) {
    a.set_drift(0.1);
    const Instant before = a.now();
    run(10s);
    EXPECT_EQ(a.now() - before, 11s);
    EXPECT_NEAR(static_cast<double>(a.until(a.now() + 11s).count()), 1e10, 1e4);
}

// Each direction has a key of its own, and no bit may differ.
TEST(SimulatedTagTest, TellsEveryFlippedBitAndEveryOtherSender) {
    SimulatedTag one("lb1", "simulated-pair-1", 99);
    SimulatedTag two("lb2", "simulated-pair-1", 99);
    SimulatedTag stranger("lb1", "simulated-pair-1", 100);
    Bytes data(217);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>(i * 7);
    std::array<std::uint8_t, 16> tag{};
    one.sign(data, tag);
    EXPECT_TRUE(two.verify("lb1", 0, data, tag));
    EXPECT_FALSE(two.verify("lb2", 0, data, tag)) << "reflected";
    EXPECT_FALSE(stranger.verify("lb1", 0, data, tag)) << "another secret";
    for (std::size_t bit = 0; bit < data.size() * 8; ++bit) {
        data[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        EXPECT_FALSE(two.verify("lb1", 0, data, tag)) << bit;
        data[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
    }
    for (std::size_t bit = 0; bit < tag.size() * 8; ++bit) {
        tag[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        EXPECT_FALSE(two.verify("lb1", 0, data, tag)) << bit;
        tag[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
    }
}

}  // namespace
}  // namespace lbcluster::sim
