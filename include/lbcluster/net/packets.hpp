// Ethernet frames we send and understand: ARP (RFC 826, RFC 5227), IPv6 neighbour discovery (RFC 4861) and
// ICMP/ICMPv6 echo (RFC 792, RFC 4443). Pure: bytes in, values out, no sockets.
//
// Builders make whole frames from the Ethernet header on. They assert that address families fit, as only we call
// them. Parsers take anything from the wire, never read outside the span and refuse what the standard refuses
// (wrong lengths, hop limit below 255, wrong checksum): the answer is then empty. 802.1Q tags are not understood.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lbcluster/base/address.hpp"

namespace lbcluster::net {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

inline constexpr MacAddress mac_broadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

enum class ArpForm { request, reply };

// "This address is at this MAC", to everybody (RFC 5227, section 2.3). Some routers believe only one of the forms.
Bytes gratuitous_arp(const MacAddress& mac, const IpAddress& ip, ArpForm form);

// "Who has `target`?" Sender 0.0.0.0 makes it a probe that changes nobody's cache (RFC 5227, section 2.1.1); with
// another sender it also tells the target where that sender is (RFC 826). `to`: broadcast or one MAC.
Bytes arp_request(const MacAddress& from, const MacAddress& to, const IpAddress& sender, const IpAddress& target);

// Unsolicited neighbour advertisement to all nodes with the override flag (RFC 4861, section 7.2.6).
Bytes unsolicited_na(const MacAddress& mac, const IpAddress& ip);

// Neighbour solicitation to the solicited-node address of `target`. Source :: makes it the form of duplicate
// address detection, without the link-layer option (RFC 4861, section 4.3); the answer then goes to all nodes.
Bytes neighbor_solicitation(const MacAddress& from, const IpAddress& source, const IpAddress& target);

struct Echo {
    IpAddress source;
    IpAddress destination;
    std::uint16_t id = 0;
    std::uint16_t sequence = 0;
    Bytes payload;
};

// An echo request as a whole frame. Both addresses of one family; at most 1024 bytes of payload.
Bytes echo_request_frame(const MacAddress& from, const MacAddress& to, const Echo& echo);

// Only the ICMP part, for raw and ping sockets. ICMPv6: the checksum stays 0, the kernel fills it in.
Bytes echo_request_message(const Echo& echo);

struct ArpPacket {
    ArpForm form = ArpForm::request;
    MacAddress frame_source;
    MacAddress sender_mac;
    IpAddress sender;
    MacAddress target_mac;
    IpAddress target;
};

struct NeighborAdvertisement {
    MacAddress frame_source;
    IpAddress source;
    IpAddress target;
    MacAddress mac;  // the target link-layer option; without one the frame's source
    bool router = false;
    bool solicited = false;
    bool override = false;
};

struct EchoReply {
    MacAddress frame_source;
    Echo echo;
};

std::optional<ArpPacket> parse_arp(ByteView frame);
std::optional<NeighborAdvertisement> parse_neighbor_advertisement(ByteView frame);
std::optional<EchoReply> parse_echo_reply(ByteView frame);

// The Internet checksum (RFC 1071); 0 over data that contains its right checksum.
std::uint16_t internet_checksum(ByteView data, std::uint32_t start = 0);

}  // namespace lbcluster::net
