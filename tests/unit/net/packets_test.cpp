// Frames byte by byte. HA-3 (take-over is announced), HA-4 (address probe).
#include "lbcluster/net/packets.hpp"

#include <gtest/gtest.h>

#include <string_view>

namespace lbcluster::net {
namespace {

const MacAddress mac{{0x02, 0, 0, 0, 0, 0x01}};
const MacAddress other{{0x02, 0, 0, 0, 0, 0x02}};
const IpAddress ip4 = IpAddress::v4({10, 0, 0, 100});
const IpAddress ip6 = IpAddress::parse("2001:db8::100").value();

Bytes from_hex(std::string_view text) {
    Bytes out;
    std::string digits;
    for (const char c : text) {
        if (c == ' ') continue;
        digits += c;
        if (digits.size() == 2) {
            out.push_back(static_cast<std::uint8_t>(std::stoi(digits, nullptr, 16)));
            digits.clear();
        }
    }
    return out;
}

Bytes padded(Bytes frame) {
    frame.resize(60);
    return frame;
}

TEST(Packets, GratuitousArpRequestForm) {
    EXPECT_EQ(gratuitous_arp(mac, ip4, ArpForm::request),
              padded(from_hex("ffffffffffff 020000000001 0806 0001 0800 06 04 0001"
                              "020000000001 0a000064 000000000000 0a000064")));
}

TEST(Packets, GratuitousArpReplyForm) {
    EXPECT_EQ(gratuitous_arp(mac, ip4, ArpForm::reply),
              padded(from_hex("ffffffffffff 020000000001 0806 0001 0800 06 04 0002"
                              "020000000001 0a000064 ffffffffffff 0a000064")));
}

TEST(Packets, ArpProbeAndUnicastRequest) {
    EXPECT_EQ(arp_request(mac, mac_broadcast, IpAddress{}, ip4),
              padded(from_hex("ffffffffffff 020000000001 0806 0001 0800 06 04 0001"
                              "020000000001 00000000 000000000000 0a000064")));
    EXPECT_EQ(arp_request(mac, other, ip4, IpAddress::v4({10, 0, 0, 1})),
              padded(from_hex("020000000002 020000000001 0806 0001 0800 06 04 0001"
                              "020000000001 0a000064 000000000000 0a000001")));
}

// Checksums below were computed by a script from the standards, not by this library.
TEST(Packets, UnsolicitedNeighborAdvertisement) {
    EXPECT_EQ(unsolicited_na(mac, ip6),
              from_hex("333300000001 020000000001 86dd 60000000 0020 3a ff"
                       "20010db8000000000000000000000100 ff020000000000000000000000000001"
                       "88 00 f72c 20000000 20010db8000000000000000000000100 02 01 020000000001"));
}

TEST(Packets, SolicitationForDuplicateDetection) {
    EXPECT_EQ(neighbor_solicitation(mac, IpAddress::v6({}), ip6),
              from_hex("3333ff000100 020000000001 86dd 60000000 0018 3a ff"
                       "00000000000000000000000000000000 ff0200000000000000000001ff000100"
                       "87 00 4aef 00000000 20010db8000000000000000000000100"));
}

TEST(Packets, SolicitationWithSourceCarriesTheMac) {
    const Bytes frame = neighbor_solicitation(mac, IpAddress::parse("2001:db8::1").value(), ip6);
    ASSERT_EQ(frame.size(), 14u + 40u + 32u);
    EXPECT_EQ(Bytes(frame.end() - 8, frame.end()), from_hex("01 01 020000000001"));
}

TEST(Packets, EchoRequestFrame) {
    const Echo echo{IpAddress::v4({10, 0, 0, 1}), ip4, 0x1234, 7, {1, 2, 3, 4}};
    EXPECT_EQ(echo_request_frame(mac, other, echo),
              padded(from_hex("020000000002 020000000001 0800 4500 0020 0000 4000 40 01 2679 0a000001 0a000064"
                              "08 00 e1be 1234 0007 01020304")));
}

TEST(Packets, ParsesWhatItBuildsAndRefusesEveryTruncation) {
    const Bytes frame = arp_request(mac, mac_broadcast, ip4, IpAddress::v4({10, 0, 0, 1}));
    const auto arp = parse_arp(frame);
    ASSERT_TRUE(arp);
    EXPECT_EQ(arp->form, ArpForm::request);
    EXPECT_EQ(arp->sender, ip4);
    EXPECT_EQ(arp->sender_mac, mac);
    EXPECT_EQ(arp->target, IpAddress::v4({10, 0, 0, 1}));
    for (std::size_t size = 0; size < 42; ++size) EXPECT_FALSE(parse_arp(ByteView(frame).first(size))) << size;
}

TEST(Packets, ParsesNeighborAdvertisement) {
    const Bytes frame = unsolicited_na(mac, ip6);
    const auto na = parse_neighbor_advertisement(frame);
    ASSERT_TRUE(na);
    EXPECT_EQ(na->target, ip6);
    EXPECT_EQ(na->mac, mac);
    EXPECT_TRUE(na->override);
    EXPECT_FALSE(na->solicited);
    for (std::size_t size = 0; size < frame.size(); ++size)
        EXPECT_FALSE(parse_neighbor_advertisement(ByteView(frame).first(size))) << size;
    for (std::size_t i = 14; i < frame.size(); ++i) {
        // Version nibble aside, traffic class and flow label are not covered by any checksum.
        if (i >= 14 && i < 18) continue;
        Bytes bad = frame;
        bad[i] ^= 0x10;
        EXPECT_FALSE(parse_neighbor_advertisement(bad)) << i;
    }
}

TEST(Packets, RefusesAdvertisementThatWasRouted) {
    Bytes frame = unsolicited_na(mac, ip6);
    frame[21] = 254;
    EXPECT_FALSE(parse_neighbor_advertisement(frame));
}

Bytes reply_to(const Echo& echo) {
    // A request turned into a reply: the type changes, and the checksum by the same amount.
    Bytes frame = echo_request_frame(other, mac, echo);
    const std::size_t at = echo.source.is_v4() ? 34 : 54;
    const int from = frame[at] << 8;
    frame[at] = echo.source.is_v4() ? 0 : 129;
    int sum = (frame[at + 2] << 8 | frame[at + 3]) + from - (frame[at] << 8);
    sum = (sum & 0xffff) + (sum >> 16);
    frame[at + 2] = static_cast<std::uint8_t>(sum >> 8);
    frame[at + 3] = static_cast<std::uint8_t>(sum & 0xff);
    return frame;
}

TEST(Packets, ParsesEchoRepliesOfBothFamilies) {
    for (const auto& [from, to] :
         {std::pair{ip4, IpAddress::v4({10, 0, 0, 1})}, std::pair{ip6, IpAddress::parse("2001:db8::1").value()}}) {
        const Bytes frame = reply_to({from, to, 0x1234, 7, {9, 8, 7, 6, 5, 4, 3, 2, 1}});
        const auto reply = parse_echo_reply(frame);
        ASSERT_TRUE(reply) << from.to_string();
        EXPECT_EQ(reply->frame_source, other);
        EXPECT_EQ(reply->echo.source, from);
        EXPECT_EQ(reply->echo.id, 0x1234);
        EXPECT_EQ(reply->echo.sequence, 7);
        EXPECT_EQ(reply->echo.payload, (Bytes{9, 8, 7, 6, 5, 4, 3, 2, 1}));
        Bytes bad = frame;
        bad[from.is_v4() ? 44 : 64] ^= 1;
        EXPECT_FALSE(parse_echo_reply(bad));
        EXPECT_FALSE(parse_echo_reply(ByteView(frame).first(40)));
    }
}

TEST(Packets, RequestIsNoReply) {
    EXPECT_FALSE(parse_echo_reply(echo_request_frame(mac, other, {ip4, IpAddress::v4({10, 0, 0, 1}), 1, 1, {}})));
}

}  // namespace
}  // namespace lbcluster::net
