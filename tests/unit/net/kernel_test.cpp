// The kernel's side: addresses with a lease, events, frames. HA-3, HA-5. Namespaces of its own; needs root.
#include <gtest/gtest.h>
#include <net/if.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstdio>

#include "lbcluster/base/clock.hpp"
#include "lbcluster/net/frame_socket.hpp"
#include "lbcluster/net/monitor.hpp"
#include "lbcluster/net/netlink.hpp"
#include "tests/unit/net/namespaces.hpp"

namespace lbcluster::net {
namespace {

using test::sh;
using test::wait_for;

class Kernel : public ::testing::Test {
  protected:
    void SetUp() override {
        namespaces_.set_up();
        auto opened = Netlink::open();
        ASSERT_TRUE(opened);
        netlink_.emplace(std::move(opened).value());
        index_ = static_cast<int>(if_nametoindex("here"));
        ASSERT_GT(index_, 0);
    }
    [[nodiscard]] AddressChange change(const std::string& prefix, seconds lease = 0s) const {
        return {index_, "here", IpPrefix::parse(prefix).value(), lease};
    }
    std::optional<Address> find(const std::string& prefix) {
        const auto all = netlink_->addresses();
        EXPECT_TRUE(all);
        const auto wanted = IpPrefix::parse(prefix).value();
        for (const auto& address : all.value())
            if (address.prefix == wanted) return address;
        return std::nullopt;
    }
    Result<void> add(const AddressChange& one) { return netlink_->add({&one, 1}).front(); }
    Result<void> remove(const AddressChange& one) { return netlink_->remove({&one, 1}).front(); }

    test::Namespaces namespaces_;
    std::optional<Netlink> netlink_;
    int index_ = 0;
};

TEST_F(Kernel, LinksHaveNameMacAndCarrier) {
    const auto links = netlink_->links();
    ASSERT_TRUE(links);
    const auto link = std::find_if(links->begin(), links->end(), [](const Link& l) { return l.name == "here"; });
    ASSERT_NE(link, links->end());
    EXPECT_EQ(link->index, index_);
    EXPECT_TRUE(link->up);
    EXPECT_TRUE(link->carrier);
    EXPECT_TRUE(link->ethernet);
    EXPECT_EQ(link->mac.to_string(), "02:00:00:00:00:01");
}

TEST_F(Kernel, AddressCarriesOurMarkAndItsLease) {
    for (const std::string prefix : {"10.0.1.1/16", "fd00::100/64"}) {
        ASSERT_TRUE(add(change(prefix, 30s)));
        const auto address = find(prefix);
        ASSERT_TRUE(address) << prefix;
        EXPECT_TRUE(address->ours());
        ASSERT_TRUE(address->valid);
        EXPECT_GE(*address->valid, 29s);
        EXPECT_FALSE(address->tentative());
    }
}

TEST_F(Kernel, AddingTwiceReplacesTheLease) {
    for (const std::string prefix : {"10.0.1.1/32", "fd00::100/128"}) {
        ASSERT_TRUE(add(change(prefix, 30s)));
        ASSERT_TRUE(add(change(prefix, 90s)));
        EXPECT_GE(*find(prefix)->valid, 89s);
        ASSERT_TRUE(add(change(prefix, 0s)));
        EXPECT_FALSE(find(prefix)->valid);
    }
}

TEST_F(Kernel, RemovingTwiceSucceeds) {
    ASSERT_TRUE(add(change("10.0.1.1/16")));
    EXPECT_TRUE(remove(change("10.0.1.1/16")));
    EXPECT_TRUE(remove(change("10.0.1.1/16")));
    EXPECT_FALSE(find("10.0.1.1/16"));
}

TEST_F(Kernel, ErrorsNameInterfaceAndAddress) {
    auto bad = change("10.0.1.1/16");
    bad.ifindex = 4711;
    bad.interface = "nowhere";
    const auto result = add(bad);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, "cannot add 10.0.1.1/16 to nowhere: No such device");
    EXPECT_EQ(result.error().code, ENODEV);
}

TEST_F(Kernel, OneBadChangeDoesNotStopTheOthers) {
    auto changes = std::vector{change("10.0.1.1/16"), change("10.0.1.2/16"), change("10.0.1.3/16")};
    changes[1].ifindex = 4711;
    const auto results = netlink_->add(changes);
    EXPECT_TRUE(results[0]);
    EXPECT_FALSE(results[1]);
    EXPECT_TRUE(results[2]);
}

TEST_F(Kernel, LeaseEndsByItself) {
    ASSERT_TRUE(add(change("10.0.1.1/16", 1s)));
    ASSERT_TRUE(add(change("fd00::100/64", 1s)));
    EXPECT_TRUE(wait_for([&] { return !find("10.0.1.1/16") && !find("fd00::100/64"); }, 2500ms));
}

// Prints times; the limit only catches a quadratic mistake, as the machine may be busy.
TEST_F(Kernel, ThousandAddresses) {
    for (const bool v6 : {false, true}) {
        std::vector<AddressChange> changes;
        for (int i = 0; i < 1000; ++i)
            changes.push_back(
                change(v6 ? "fd00::1:" + std::to_string(i) + "/128"
                          : "10.0." + std::to_string(4 + i / 250) + "." + std::to_string(1 + i % 250) + "/32",
                       30s));
        const auto all_ok = [](const std::vector<Result<void>>& results) {
            return std::all_of(results.begin(), results.end(), [](const auto& r) { return r.ok(); });
        };
        const Instant start = boottime_now();
        EXPECT_TRUE(all_ok(netlink_->add(changes)));
        const Instant added = boottime_now();
        EXPECT_TRUE(all_ok(netlink_->add(changes)));
        const Instant refreshed = boottime_now();
        const auto dumped = netlink_->addresses();
        const Instant listed = boottime_now();
        EXPECT_TRUE(all_ok(netlink_->remove(changes)));
        const Instant removed = boottime_now();
        ASSERT_TRUE(dumped);
        EXPECT_GE(dumped->size(), 1000u);
        EXPECT_FALSE(find(changes[500].prefix.to_string()));
        const auto us = [](Duration d) { return static_cast<long>(d / 1us); };
        std::printf("1000 %s: add %ld us, refresh %ld us, dump %ld us, remove %ld us\n", v6 ? "IPv6" : "IPv4",
                    us(added - start), us(refreshed - added), us(listed - refreshed), us(removed - listed));
        EXPECT_LT(removed - start, 3s);
    }
}

TEST_F(Kernel, MonitorTellsAddressesAndLinks) {
    boost::asio::io_context io(1);
    std::vector<std::pair<IpPrefix, bool>> addresses;
    std::vector<std::pair<std::string, bool>> links;
    auto monitor = Monitor::open(io, {},
                                 {[&](const Link& link, bool removed) { links.emplace_back(link.name, removed); },
                                  [&](const Address& a, bool removed) { addresses.emplace_back(a.prefix, removed); },
                                  [] { FAIL() << "overrun"; }});
    ASSERT_TRUE(monitor);
    ASSERT_TRUE(add(change("10.0.1.1/16")));
    ASSERT_TRUE(remove(change("10.0.1.1/16")));
    monitor.value()->drain();
    ASSERT_EQ(addresses.size(), 2u);
    EXPECT_EQ(addresses[0], std::pair(IpPrefix::parse("10.0.1.1/16").value(), false));
    EXPECT_EQ(addresses[1], std::pair(IpPrefix::parse("10.0.1.1/16").value(), true));
    sh("ip link del here");
    ASSERT_TRUE(wait_for([&] {
        io.poll();
        return std::find(links.begin(), links.end(), std::pair<std::string, bool>("here", true)) != links.end();
    }));
}

TEST_F(Kernel, MonitorLeavesOutWhatOneSocketChanges) {
    boost::asio::io_context io(1);
    std::vector<std::pair<IpPrefix, bool>> seen;
    auto monitor = Monitor::open(
        io, {}, {nullptr, [&](const Address& a, bool removed) { seen.emplace_back(a.prefix, removed); }, nullptr});
    ASSERT_TRUE(monitor);
    ASSERT_NE(netlink_->port(), 0u);
    monitor.value()->ignore(netlink_->port());
    ASSERT_TRUE(add(change("10.0.1.1/16")));
    sh("ip addr del 10.0.1.1/16 dev here");
    monitor.value()->drain();
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0], std::pair(IpPrefix::parse("10.0.1.1/16").value(), true));
}

TEST_F(Kernel, MonitorTellsOverrun) {
    boost::asio::io_context io(1);
    int overruns = 0;
    int events = 0;
    auto monitor = Monitor::open(io, {}, {nullptr, [&](const Address&, bool) { ++events; }, [&] { ++overruns; }});
    ASSERT_TRUE(monitor);
    std::vector<AddressChange> changes;
    for (int i = 0; i < 1000; ++i) changes.push_back(change("10.0.4." + std::to_string(i % 250) + "/32", 30s));
    for (int i = 0; i < 20; ++i) (void)netlink_->add(changes);
    for (int i = 0; i < 10; ++i) monitor.value()->drain();
    EXPECT_GE(overruns, 1);
    EXPECT_GT(events, 0);
}

TEST_F(Kernel, FramesReachThePeerAndItsKernelAnswers) {
    auto here = FrameSocket::open(0x1234);
    ASSERT_TRUE(here);
    const MacAddress mac = MacAddress::parse("02:00:00:00:00:01").value();
    const MacAddress peer = MacAddress::parse("02:00:00:00:00:02").value();
    const IpAddress own = IpAddress::parse("10.0.0.1").value();
    const IpAddress own6 = IpAddress::parse("fd00::1").value();
    const IpAddress target = IpAddress::parse("10.0.0.2").value();
    const IpAddress target6 = IpAddress::parse("fd00::2").value();
    const std::vector<OutgoingFrame> frames{
        {index_, arp_request(mac, mac_broadcast, IpAddress{}, target)},
        {index_, neighbor_solicitation(mac, IpAddress::v6({}), target6)},
        {index_, echo_request_frame(mac, peer, {own, target, 0x1234, 1, {1, 2, 3}})},
        {index_, echo_request_frame(mac, peer, {own6, target6, 0x1234, 2, {1, 2, 3}})},
        {index_, echo_request_frame(mac, peer, {own, target, 0x9999, 3, {1, 2, 3}})},  // filtered away
    };
    EXPECT_EQ(here->send(frames).sent, frames.size());
    bool arp = false;
    bool na = false;
    int echoes = 0;
    EXPECT_TRUE(wait_for([&] {
        here->drain(100, [&](int ifindex, ByteView frame) {
            EXPECT_EQ(ifindex, index_);
            if (const auto p = parse_arp(frame)) arp = arp || (p->sender == target && p->sender_mac == peer);
            if (const auto p = parse_neighbor_advertisement(frame)) na = na || (p->target == target6 && p->mac == peer);
            if (const auto p = parse_echo_reply(frame)) {
                EXPECT_EQ(p->echo.id, 0x1234);
                ++echoes;
            }
        });
        return arp && na && echoes == 2;
    })) << arp
        << na << echoes;
}

TEST_F(Kernel, SendingToAMissingInterfaceSkipsTheFrame) {
    auto socket = FrameSocket::open_send_only();
    ASSERT_TRUE(socket);
    const Bytes frame = gratuitous_arp(MacAddress{}, IpAddress::v4({10, 0, 0, 9}), ArpForm::request);
    const std::vector<OutgoingFrame> frames{{4711, frame}, {index_, frame}};
    const auto sent = socket->send(frames);
    EXPECT_EQ(sent.sent, 1u);
    EXPECT_EQ(sent.failed, 1u);
    EXPECT_EQ(sent.last_errno, ENXIO);
}

}  // namespace
}  // namespace lbcluster::net
