// Pings and address probes against a real kernel in a namespace of the test. HA-4. Needs root.
#include <gtest/gtest.h>
#include <net/if.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>

#include "heartbeat/net/address_probe.hpp"
#include "heartbeat/net/pinger.hpp"
#include "lbcluster/base/clock.hpp"
#include "tests/unit/net/namespaces.hpp"

namespace lbcluster::heartbeat {
namespace {

using test::sh;

IpAddress ip(const std::string& text) { return IpAddress::parse(text).value(); }

class Probe : public ::testing::Test {
  protected:
    struct Answer {
        IpAddress ip;
        MacAddress mac;
        AddressProber::Kind kind;
    };
    void SetUp() override {
        namespaces_.set_up();
        netlink_.emplace(net::Netlink::open().value());
        auto opened = AddressProber::open(
            io_, {[this](const IpAddress& address, const MacAddress& mac, AddressProber::Kind kind, int ifindex) {
                      EXPECT_EQ(ifindex, static_cast<int>(if_nametoindex("here")));
                      answers_.push_back({address, mac, kind});
                  },
                  [this](const IpAddress& address, const MacAddress&) { foreign_.push_back(address); }});
        ASSERT_TRUE(opened);
        prober_ = std::move(opened).value();
        prober_->set_interfaces(netlink_->links().value(), netlink_->addresses().value());
        prober_->set_addresses({{vip_, "here"}, {vip6_, "here"}});
    }
    bool run(const std::function<bool()>& condition, Duration within = 2s) {
        const Instant end = boottime_now() + within;
        while (!condition()) {
            if (boottime_now() > end) return false;
            io_.restart();
            io_.run_for(std::chrono::milliseconds(1));
        }
        return true;
    }
    bool answered(const IpAddress& address, AddressProber::Kind kind) {
        return std::any_of(answers_.begin(), answers_.end(),
                           [&](const Answer& a) { return a.ip == address && a.kind == kind; });
    }
    void peer(const std::string& command) {
        namespaces_.in_peer([&] { sh(command); });
    }

    test::Namespaces namespaces_;
    std::optional<net::Netlink> netlink_;
    boost::asio::io_context io_{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_{io_.get_executor()};
    std::vector<Answer> answers_;
    std::vector<IpAddress> foreign_;
    std::unique_ptr<AddressProber> prober_;
    const IpAddress vip_ = ip("10.0.1.1");
    const IpAddress vip6_ = ip("fd00::100");
};

TEST_F(Probe, SilentWhileNobodyHoldsTheAddress) {
    prober_->probe(std::vector{vip_, vip6_}, true);
    EXPECT_FALSE(run([&] { return !answers_.empty() || !foreign_.empty(); }, 200ms));
}

TEST_F(Probe, AnsweredByTheKernelThatHoldsIt) {
    peer("ip addr add 10.0.1.1/16 dev there; ip addr add fd00::100/64 dev there nodad");
    prober_->probe(std::vector{vip_, vip6_}, false);
    ASSERT_TRUE(
        run([&] { return answered(vip_, AddressProber::Kind::arp) && answered(vip6_, AddressProber::Kind::arp); }));
    EXPECT_EQ(answers_[0].mac.to_string(), "02:00:00:00:00:02");
    EXPECT_TRUE(foreign_.empty());
    prober_->probe(std::vector{vip_, vip6_}, true);
    EXPECT_TRUE(
        run([&] { return answered(vip_, AddressProber::Kind::echo) && answered(vip6_, AddressProber::Kind::echo); }));
}

// What an active node needs to know: does the peer's kernel answer for what I hold?
TEST_F(Probe, AnsweredAlsoWhileWeHoldTheAddressToo) {
    sh("ip addr add 10.0.1.1/16 dev here; ip addr add fd00::100/64 dev here nodad");
    peer("ip addr add 10.0.1.1/16 dev there; ip addr add fd00::100/64 dev there nodad");
    for (const bool echo : {false, true}) {
        prober_->probe(std::vector{vip_, vip6_}, echo);
        const auto kind = echo ? AddressProber::Kind::echo : AddressProber::Kind::arp;
        EXPECT_TRUE(run([&] { return answered(vip_, kind) && answered(vip6_, kind); })) << echo;
    }
}

TEST_F(Probe, OurOwnAddressDoesNotAnswer) {
    sh("ip addr add 10.0.1.1/16 dev here; ip addr add fd00::100/64 dev here nodad");
    prober_->probe(std::vector{vip_, vip6_}, true);
    EXPECT_FALSE(run([&] { return !answers_.empty() || !foreign_.empty(); }, 200ms));
}

TEST_F(Probe, StrangersAnnouncementIsForeign) {
    namespaces_.in_peer([&] {
        auto socket = net::FrameSocket::open_send_only().value();
        const MacAddress mac = MacAddress::parse("02:00:00:00:00:99").value();
        const int index = static_cast<int>(if_nametoindex("there"));
        const std::vector<net::OutgoingFrame> frames{
            {index, net::gratuitous_arp(mac, vip_, net::ArpForm::request)},
            {index, net::gratuitous_arp(mac, vip_, net::ArpForm::reply)},
            {index, net::gratuitous_arp(mac, ip("10.0.9.9"), net::ArpForm::reply)},
            {index, net::unsolicited_na(mac, vip6_)}};
        EXPECT_EQ(socket.send(frames).sent, frames.size());
    });
    EXPECT_TRUE(run([&] { return foreign_.size() == 3; }));
    EXPECT_EQ(foreign_, (std::vector{vip_, vip_, vip6_}));
    EXPECT_TRUE(answers_.empty());
}

TEST_F(Probe, PingIsAnsweredByLivingNodesOnly) {
    std::vector<std::size_t> replies;
    auto pinger = Pinger::open(io_, [&](std::size_t index, Duration round_trip) {
        EXPECT_GT(round_trip, 0ns);
        EXPECT_LT(round_trip, 5s);  // a lost neighbour solicitation alone costs 1 s
        replies.push_back(index);
    });
    ASSERT_TRUE(pinger);
    pinger.value()->set_nodes({ip("10.0.0.2"), ip("10.0.0.3"), ip("fd00::2"), ip("192.0.2.1")});
    for (std::size_t i = 0; i < 5; ++i) pinger.value()->ping(i);
    EXPECT_TRUE(run([&] { return replies.size() >= 2; }));
    EXPECT_FALSE(run([&] { return replies.size() > 2; }, 100ms));
    std::sort(replies.begin(), replies.end());
    EXPECT_EQ(replies, (std::vector<std::size_t>{0, 2}));
}

// While floating IPs are held, pings still come from the interface's own address.
TEST_F(Probe, PingNeverComesFromAFloatingIp) {
    const int index = static_cast<int>(if_nametoindex("here"));
    const std::vector<net::AddressChange> held{{index, "here", IpPrefix{vip_, 16}, 30s},
                                               {index, "here", IpPrefix{vip6_, 64}, 30s},
                                               {index, "here", IpPrefix{ip("fd00::2:1"), 128}, 30s}};
    for (const auto& result : netlink_->add(held)) ASSERT_TRUE(result);
    peer(
        "nft add table inet t; nft add chain inet t in '{ type filter hook input priority 0; }'; "
        "nft add rule inet t in ip saddr 10.0.1.1 drop; nft add rule inet t in ip6 saddr fd00::100 meta l4proto icmpv6 "
        "icmpv6 type echo-request drop; nft add rule inet t in ip6 saddr fd00::2:1 icmpv6 type echo-request drop");
    std::size_t replies = 0;
    auto pinger = Pinger::open(io_, [&](std::size_t, Duration) { ++replies; });
    ASSERT_TRUE(pinger);
    pinger.value()->set_nodes({ip("10.0.0.2"), ip("fd00::2")});
    pinger.value()->ping(0);
    pinger.value()->ping(1);
    EXPECT_TRUE(run([&] { return replies == 2; }));
}

}  // namespace
}  // namespace lbcluster::heartbeat
