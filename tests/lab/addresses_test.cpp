// Floating IPs on real interfaces (HA-3): a thousand at once, hands and tools that interfere, interfaces that come and
// go.
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Addresses : public PairTest {
  protected:
    // 700 IPv4 addresses of 10.99.0.0/16 and 300 IPv6 of fd99::/64, which the client finds on its LAN.
    static PairSpec thousand(const std::string& timers) {
        PairSpec spec;
        spec.timers = timers;
        spec.floating_ips.clear();
        for (int i = 0; i < 700; ++i)
            spec.floating_ips.push_back("10.99." + std::to_string(i / 250) + "." + std::to_string(1 + i % 250));
        for (int i = 0; i < 299; ++i) spec.floating_ips.push_back("fd99::1:" + std::to_string(1 + i));
        spec.floating_ips.push_back(vip);
        return spec;
    }
    std::size_t held(const std::string& node) const {
        std::size_t count = 0;
        for (const auto& address : lab_.addresses(node))
            if (address.starts_with("10.99.") || address.starts_with("fd99::")) ++count;
        return count;
    }
    bool link_is(const std::string& node, std::size_t link, const std::string& state) {
        return pair().status(node)["links"][link]["state"].text() == state;
    }
};

TEST_F(Addresses, ThousandMoveAndAllAnswer) {
    begin(thousand(lan_timers));
    if (HasFatalFailure()) return;
    lab_.ip("client", "route add 10.99.0.0/16 dev eth0\nroute add fd99::/64 dev eth0\n");
    EXPECT_EQ(held("lb1"), 999U);
    pair().power_off("lb1");
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    expect_gap_at_most(1200ms);
    ASSERT_TRUE(wait_until([&] { return held("lb2") == 999; }, 5s));
    // All answer: one ping each, twenty at a time.
    std::string targets;
    for (const auto& address : pair().spec().floating_ips) targets += address + "\n";
    const Outcome pings = run(&lab_.host("client"),
                              {"xargs", "-P", "20", "-n", "1", "ping", "-q", "-c", "1", "-W", "3"}, targets, {}, 60s);
    EXPECT_EQ(pings.exit_code, 0) << pings.out.substr(0, 2000) << pings.err.substr(0, 2000);
    for (const char* address : {"10.99.0.1", "10.99.1.250", "10.99.2.200", "fd99::1:1", "fd99::1:299"}) {
        Prober probe(lab_.host("client"), pair().service(), address);
        EXPECT_TRUE(probe.wait_answers("lb2", 3s, 5)) << address;
    }
}

// Address work never delays a heartbeat: at 10/30 ms the peer would notice.
TEST_F(Addresses, ThousandMoveByHandAt10And30WithoutALateHeartbeat) {
    begin(thousand(timers_10_30));
    if (HasFatalFailure()) return;
    for (int i = 0; i < 4; ++i) {
        const std::string target = i % 2 == 0 ? "lb2" : "lb1";
        const Outcome outcome = pair().cli(target, {"activate"});
        ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
        ASSERT_TRUE(wait_until([&] { return held(target) == 999 && held(Pair::peer_of(target)) == 0; }, 10s));
        EXPECT_EQ(pair().activity(target), "active");
    }
    expect_nobody_noticed();
    for (const char* node : {"lb1", "lb2"}) {
        const std::string events = pair().cli(node, {"events"}).out;
        EXPECT_EQ(events.find("peer-dead"), std::string::npos) << events;
    }
}

TEST_F(Addresses, AddressDeletedByHandIsPutBack) {
    begin({});
    if (HasFatalFailure()) return;
    lab_.ip("lb1", "addr del " + std::string(vip) + "/32 dev eth0\n");
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 200ms));
    ASSERT_TRUE(prober_->wait_answers("lb1", 5s));
    expect_gap_at_most(150ms);
    expect_never_two();
    EXPECT_EQ(pair().activity("lb1"), "active");
}

TEST_F(Addresses, AddressDeletedAgainAndAgainIsAlarmed) {
    begin({});
    if (HasFatalFailure()) return;
    for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 2s)) << i;
        lab_.ip("lb1", "addr del " + std::string(vip) + "/32 dev eth0\n");
    }
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb1", std::string("removed/") + vip); }, 3s));
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 5s));
}

// The interface of the addresses disappears on the active: the peer serves. Back again: still exactly one.
TEST_F(Addresses, InterfaceRemovedAndAddedBack) {
    begin({});
    if (HasFatalFailure()) return;
    lab_.remove_interface("lb1", "eth0");
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    mark();
    lab_.restore_interface("lb1", "eth0");
    EXPECT_TRUE(wait_until([&] { return link_is("lb2", 0, "up"); }, 10s));
    EXPECT_TRUE(pair().wait_settled("lb2"));
    expect_nobody_noticed();
    expect_never_two();
    EXPECT_EQ(pair().cli("lb1", {"activate"}).exit_code, 0);
    EXPECT_TRUE(pair().wait_settled("lb1"));
    EXPECT_TRUE(prober_->wait_answers("lb1", 2s));
}

TEST_F(Addresses, AnIpv6LinkComesBackWithItsInterface) {
    PairSpec spec;
    spec.links = {{"{interface: eth0, local: 'fd77::11', peer: 'fd77::12'}",
                   "{interface: eth0, local: 'fd77::12', peer: 'fd77::11'}"},
                  LinkSpec::heartbeat_net()};
    begin(spec);
    if (HasFatalFailure()) return;
    ASSERT_TRUE(wait_until([&] { return link_is("lb1", 0, "up") && link_is("lb2", 0, "up"); }, 5s));
    lab_.remove_interface("lb2", "eth0");
    ASSERT_TRUE(wait_until([&] { return !link_is("lb1", 0, "up"); }, 5s));
    lab_.restore_interface("lb2", "eth0");
    EXPECT_TRUE(wait_until([&] { return link_is("lb1", 0, "up") && link_is("lb2", 0, "up"); }, 10s))
        << pair().cli("lb2", {"status"}).out;
    EXPECT_EQ(pair().activity("lb1"), "active");
}

// The floating IP is there before the interface's own address, and goes before it: that one stays.
TEST_F(Addresses, ReleasingOneTakesNoOtherAlong) {
    PairSpec spec;
    spec.single = true;
    spec.floating_ips = {"{address: 10.77.0.200/24, interface: eth0}"};
    make(spec);
    must_run(&lab_.host("lb1"), {"sysctl", "-qw", "net.ipv4.conf.eth0.promote_secondaries=0"});
    must_run(&lab_.host("lb1"), {"sysctl", "-qw", "net.ipv4.conf.all.promote_secondaries=0"});
    lab_.ip("lb1", "addr del 10.77.0.11/24 dev eth0\n");
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1", 5s));
    lab_.ip("lb1", "addr add 10.77.0.11/24 dev eth0\n");
    EXPECT_EQ(pair().daemon("lb1").stop(), 0);
    EXPECT_FALSE(lab_.holds("lb1", vip));
    EXPECT_TRUE(lab_.holds("lb1", "10.77.0.11"));
}

TEST_F(Addresses, InterfaceRenamedAndBack) {
    begin({});
    if (HasFatalFailure()) return;
    lab_.ip("lb1", "link set eth0 down\nlink set eth0 name renamed0\n");
    ASSERT_TRUE(prober_->wait_answers("lb2", 5s));
    mark();
    lab_.ip("lb1", "link set renamed0 name eth0\nlink set eth0 up\n");
    EXPECT_TRUE(pair().wait_settled("lb2"));
    std::this_thread::sleep_for(2s);
    expect_nobody_noticed();
    expect_never_two();
}

TEST_F(Addresses, MissingInterfaceIsReported) {
    PairSpec spec;
    spec.floating_ips = {vip, "{address: 10.77.0.201, interface: eth7}"};
    make(spec);
    pair().start();
    ASSERT_TRUE(wait_until([&] { return lab_.holds("lb1", vip) || lab_.holds("lb2", vip); }, 12s));
    const Outcome outcome = pair().cli("lb1", {"status"});
    EXPECT_NE(outcome.out.find("eth7"), std::string::npos) << outcome.out;
    EXPECT_TRUE(pair().has_alarm("lb1", "interface/eth7")) << outcome.out;
}

// Each has a reason and an alarm: more than a frame of the bus takes.
TEST_F(Addresses, ThousandsInTroubleAreShown) {
    PairSpec spec;
    spec.single = true;
    for (int i = 0; i < 3000; ++i) spec.floating_ips.push_back("fd99::1:" + std::to_string(1 + i));
    make(spec);
    must_run(&lab_.host("lb1"), {"sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1"});  // the kernel refuses them
    pair().start();
    ASSERT_TRUE(wait_until([&] { return pair().has_alarm("lb1", "more-addresses"); }, 15s));
    EXPECT_TRUE(wait_until([&] { return pair().activity("lb1") == "active"; }, 5s));
    const Json addresses = pair().status("lb1")["floating_ips"];
    EXPECT_EQ(addresses.size(), 3001U);
    EXPECT_TRUE(lab_.holds("lb1", vip));
}

// HA-3: never an address that an interface owns itself.
TEST_F(Addresses, OwnAddressOfAnInterfaceIsRefused) {
    PairSpec spec;
    spec.floating_ips = {vip, "10.77.0.11"};
    make(spec);
    const Outcome outcome = pair().cli("lb1", {"config", "check"});
    EXPECT_EQ(outcome.exit_code, 3) << outcome.out << outcome.err;
    EXPECT_NE((outcome.out + outcome.err).find("10.77.0.11"), std::string::npos);
}

}  // namespace
}  // namespace lbcluster::lab
