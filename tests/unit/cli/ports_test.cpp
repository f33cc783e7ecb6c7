// Whose the ports are: tables as Linux prints them.
#include "cli/core/ports.hpp"
#include "tests/unit/cli/addresses.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lbcluster::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr const char* tcp_table =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 0B004D0A:1E62 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 "
    "0000000000000000\n"
    "   1: 0B004D0A:0016 6400A8C0:D431 01 00000000:00000000 02:000AC4B2 00000000     0        0 4712 2 "
    "0000000000000000\n"
    "   2: 00000000:2379 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000\n"
    "   3: 00000000\n";
constexpr const char* udp6_table =
    "  sl  local_address                         remote_address                        st ...\n"
    "  10: 00000000000000000000000000000000:1A26 00000000000000000000000000000000:0000 07 00000000:00000000 "
    "00:00000000 00000000     0        0 99 2 0000000000000000 0\n"
    "  11: 0000000000000000FFFF00000B004D0A:1A26 00000000000000000000000000000000:0000 07 00000000:00000000 "
    "00:00000000 00000000     0        0 98 2 0000000000000000 0\n"
    "  12: 000077FD000000000000000011000000:1A26 00000000000000000000000000000000:0000 07 00000000:00000000 "
    "00:00000000 00000000     0        0 97 2 0000000000000000 0\n";

TEST(Ports, TablesOfTheKernel) {
    const auto listening = held_sockets(tcp_table, false);
    ASSERT_EQ(listening.size(), 1U) << "only who listens, and has an inode";
    EXPECT_EQ(listening[0].address, ip("10.77.0.11"));
    EXPECT_EQ(listening[0].port, 7778);
    EXPECT_EQ(listening[0].inode, 4711U);
    EXPECT_FALSE(listening[0].udp);
    const auto six = held_sockets(udp6_table, true);
    ASSERT_EQ(six.size(), 3U);
    EXPECT_EQ(six[0].address, ip("::"));
    EXPECT_EQ(six[1].address, ip("10.77.0.11")) << "mapped";
    EXPECT_EQ(six[2].address, ip("fd77::11"));
    EXPECT_EQ(six[2].port, 6694);
    EXPECT_THAT(held_sockets("", true), IsEmpty());
    EXPECT_THAT(held_sockets("x: y z\n: : : : : : : : : : :", true), IsEmpty());
}

OwnPorts heartbeats() {
    return {true, {ip("10.77.0.11"), ip("10.78.0.11")}, 6694, 6694, "heartbeats", "heartbeatd", "", false, "key"};
}
OwnPorts web(IpAddress address = ip("10.77.0.210")) {
    return {false, {address}, 80, 81, "clients of 'web'", "haproxy", "/run/lb/haproxy.cfg", true, "key"};
}
HeldSocket at(const OwnPorts& own, const char* address, std::uint64_t inode, std::uint16_t port = 0) {
    return {own.udp, ip(address), port != 0 ? port : own.first, inode};
}
const Holder nc{12, "nc", "nc -lu 6694"};
const Holder ours{13, "heartbeatd", "/usr/sbin/heartbeatd"};
const Holder our_haproxy{14, "haproxy", "haproxy -W -f /run/lb/haproxy.cfg"};
const Holder other_haproxy{15, "haproxy", "haproxy -Ws -f /etc/haproxy/haproxy.cfg"};

TEST(Ports, AForeignHolderIsOneFindingWithThePlacesItTakes) {
    const auto taken = taken_ports({heartbeats()}, {at(heartbeats(), "0.0.0.0", 1)}, {{1, nc}});
    ASSERT_EQ(taken.size(), 1U);
    EXPECT_EQ(taken[0].holder.pid, 12);
    EXPECT_THAT(taken[0].places, ElementsAre(Pair(ip("10.77.0.11"), 6694), Pair(ip("10.78.0.11"), 6694)));
    EXPECT_FALSE(taken[0].shared);
    const auto one = taken_ports({heartbeats()}, {at(heartbeats(), "10.78.0.11", 1), at(heartbeats(), "10.77.0.11", 2)},
                                 {{1, nc}, {2, ours}});
    ASSERT_EQ(one.size(), 1U);
    EXPECT_THAT(one[0].places, ElementsAre(Pair(ip("10.78.0.11"), 6694)));
    EXPECT_FALSE(one[0].shared) << "the other path is ours, this one is not";
}

TEST(Ports, WhatIsOursOrNotInTheWayIsNone) {
    const OwnPorts own = heartbeats();
    EXPECT_THAT(taken_ports({own}, {at(own, "10.77.0.11", 1)}, {{1, ours}}), IsEmpty());
    EXPECT_THAT(taken_ports({own}, {at(own, "10.77.0.11", 1)}, {{1, nc}, {1, ours}}), IsEmpty()) << "inherited";
    EXPECT_THAT(taken_ports({own}, {at(own, "10.77.0.11", 1)}, {{1, {9, "replicatord", ""}}}), IsEmpty());
    EXPECT_THAT(taken_ports({own}, {at(own, "127.0.0.1", 1)}, {{1, nc}}), IsEmpty()) << "another address";
    EXPECT_THAT(taken_ports({own}, {at(own, "0.0.0.0", 1, 6695)}, {{1, nc}}), IsEmpty()) << "another port";
    HeldSocket tcp = at(own, "0.0.0.0", 1);
    tcp.udp = false;
    EXPECT_THAT(taken_ports({own}, {tcp}, {{1, nc}}), IsEmpty()) << "another protocol";
    EXPECT_THAT(taken_ports({web()}, {at(web(), "10.77.0.210", 1)}, {{1, our_haproxy}}), IsEmpty());
}

TEST(Ports, AnotherHaproxyIsNotOurs) {
    const auto taken = taken_ports({web()}, {at(web(), "0.0.0.0", 1), at(web(), "0.0.0.0", 2, 81)},
                                   {{1, other_haproxy}, {2, other_haproxy}});
    ASSERT_EQ(taken.size(), 1U) << "one program is one finding";
    EXPECT_THAT(taken[0].places, ElementsAre(Pair(ip("10.77.0.210"), 80), Pair(ip("10.77.0.210"), 81)));
}

TEST(Ports, WhoListensBesideOurs) {
    const auto taken =
        taken_ports({web()}, {at(web(), "10.77.0.210", 1), at(web(), "0.0.0.0", 2)}, {{1, our_haproxy}, {2, nc}});
    ASSERT_EQ(taken.size(), 1U);
    EXPECT_TRUE(taken[0].shared);
    // One of IPv6 for every address: only if ours is not there, for then it was for IPv6 alone.
    EXPECT_EQ(taken_ports({web()}, {at(web(), "::", 2)}, {{2, nc}}).size(), 1U);
    EXPECT_THAT(taken_ports({web()}, {at(web(), "10.77.0.210", 1), at(web(), "::", 2)}, {{1, our_haproxy}, {2, nc}}),
                IsEmpty());
    EXPECT_EQ(taken_ports({web(ip("fd77::210"))}, {at(web(), "::", 2)}, {{2, nc}}).size(), 1U);
    EXPECT_THAT(taken_ports({web(ip("fd77::210"))}, {at(web(), "0.0.0.0", 2)}, {{2, nc}}), IsEmpty());
}

TEST(Ports, ASocketWithoutAProcessIsOfADaemonThatRuns) {
    OwnPorts own = heartbeats();
    EXPECT_EQ(taken_ports({own}, {at(own, "0.0.0.0", 1)}, {}).size(), 1U);
    own.runs = true;
    EXPECT_THAT(taken_ports({own}, {at(own, "0.0.0.0", 1)}, {}), IsEmpty());
}

}  // namespace
}  // namespace lbcluster::cli
