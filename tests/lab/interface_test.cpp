// What others do to our floating IPs, and mistakes about interfaces (HA-3): refused, or put right, and always reported.
// Interfaces that come and go: see addresses_test.cpp.
#include <algorithm>

#include "tests/lab/measure.hpp"
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Interface : public PairTest {
  protected:
    std::string file(const std::string& node) { return pair().config_dir(node) + "/cluster.yaml"; }
};

// A third host takes a floating IP: alarm with its MAC address, the address is defended, nothing moves.
TEST_F(Interface, AThirdHostThatTakesAFloatingIpIsAlarmedAndMovesNothing) {
    begin({});
    if (HasFatalFailure()) return;
    const double term = pair().status("lb1")["node"]["term"].number();
    // Until what lb1 announces is about the third host, no longer about having taken the address: the last two rounds
    // of that are 5 s apart.
    ASSERT_TRUE(wait_until(
        [&] {
            mark();
            std::this_thread::sleep_for(5500ms);
            return observer_->report(0ms).announcements.empty();
        },
        30s));
    // It announces the address and answers no request, so that the observer's judgement stays simple.
    must_run(&lab_.host("rs1"), {"sh", "-c", "echo 8 > /proc/sys/net/ipv4/conf/all/arp_ignore"});
    lab_.ip("rs1", "addr add " + std::string(vip) + "/32 dev eth0\n");
    for (int i = 0; i < 5; ++i) {
        must_run(&lab_.host("rs1"), {"arping", "-q", "-c", "1", "-A", "-I", "eth0", vip});
        std::this_thread::sleep_for(100ms);
    }
    const std::string alarm = std::string("address-conflict/") + vip;
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb1", alarm); }, 5s)) << pair().cli("lb1", {"status"}).out;
    EXPECT_TRUE(has_event(pair(), "lb1", "alarm", Lab::mac("rs1", "eth0"))) << "who it is must be told";
    // RFC 5227 2.4: defended at once, but not again for each of the five claims: five rounds of two packets at most.
    std::size_t defended = 0;
    for (const auto& [when, mac] : observer_->report().announcements) defended += mac == Lab::mac("lb1", "eth0");
    EXPECT_GE(defended, 1U);
    EXPECT_LE(defended, 10U);
    EXPECT_TRUE(prober_->wait_answers("lb1", 5s));
    EXPECT_TRUE(pair().wait_settled("lb1", 2s));
    EXPECT_EQ(pair().status("lb1")["node"]["term"].number(), term) << "it flapped";
    expect_never_two();
}

// HA-3: a floating IP that an interface owns itself is refused, with its place; the old state keeps working.
TEST_F(Interface, OwnAddressIsRefusedByCheckAndByTheRunningDaemon) {
    begin({});
    if (HasFatalFailure()) return;
    PairSpec wrong = pair().spec();
    wrong.floating_ips = {vip, "10.77.0.11", "10.77.0.203"};
    write_file(file("lb1"), cluster_yaml(wrong));
    const Outcome check = pair().cli("lb1", {"config", "check"});
    EXPECT_EQ(check.exit_code, 3) << check.out << check.err;
    // heartbeat:, profile:, floating_ips:, the first, the second.
    EXPECT_NE((check.out + check.err).find("cluster.yaml:5:"), std::string::npos) << check.out << check.err;
    ASSERT_TRUE(wait_until([&] { return !pair().status("lb1")["config"]["error"].text().empty(); }, 5s));
    const std::string error = pair().status("lb1")["config"]["error"].text();
    EXPECT_NE(error.find("cluster.yaml:5:"), std::string::npos) << error;
    EXPECT_TRUE(has_event(pair(), "lb1", "config-refused", "10.77.0.11"));
    EXPECT_TRUE(lab_.holds("lb1", vip));
    EXPECT_TRUE(lab_.holds("lb1", "10.77.0.11"));
    EXPECT_FALSE(lab_.holds("lb1", "10.77.0.203"));
    write_file(file("lb1"), cluster_yaml(pair().spec()));
    EXPECT_TRUE(wait_until([&] { return pair().status("lb1")["config"]["error"].text().empty(); }, 5s));
    expect_nobody_noticed();
}

// Deleted by hand: back within 100 ms, in the events; the third time in a minute: alarm with the remedy.
TEST_F(Interface, AnAddressDeletedByHandIsReportedAndTheThirdTimeAlarmed) {
    begin({});
    if (HasFatalFailure()) return;
    const std::string line = "addr del " + std::string(vip) + "/32 dev eth0\n";
    const auto removals = [&] {
        const auto events = events_of(pair(), "lb1");
        return std::count_if(events.begin(), events.end(), [](const Json& event) {
            return event["kind"].text() == "address-removed" && event["text"].text().find(vip) != std::string::npos;
        });
    };
    for (int i = 1; i <= 3; ++i) {
        mark();
        lab_.ip("lb1", line);
        ASSERT_TRUE(wait_until([&] { return lab_.holds("lb1", vip); }, 2s)) << i;
        ASSERT_TRUE(prober_->wait_answers("lb1", 2s));
        expect_gap_at_most(150ms);
        EXPECT_TRUE(wait_until([&] { return removals() == i; }, 2s)) << removals();
        const bool alarmed =
            wait_until([&] { return pair().has_alarm("lb1", std::string("removed/") + vip); }, i < 3 ? 300ms : 3s);
        EXPECT_EQ(alarmed, i == 3) << i;
    }
    EXPECT_TRUE(pair().wait_settled("lb1", 2s));
}

}  // namespace
}  // namespace lbcluster::lab
