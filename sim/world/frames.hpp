// Frames that kernels send beside those of lib/net/packets: answers to ARP, neighbour solicitations and echoes, and
// UDP datagrams (RFC 768). Whole Ethernet frames. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "lbcluster/net/packets.hpp"

namespace lbcluster::sim {

using net::Bytes;
using net::ByteView;

inline constexpr std::size_t ethernet_bytes = 14;
inline constexpr std::uint16_t type_ipv4 = 0x0800;
inline constexpr std::uint16_t type_arp = 0x0806;
inline constexpr std::uint16_t type_ipv6 = 0x86dd;
inline constexpr std::uint8_t protocol_icmp = 1;
inline constexpr std::uint8_t protocol_udp = 17;
inline constexpr std::uint8_t protocol_icmpv6 = 58;

MacAddress mac_at(ByteView frame, std::size_t offset);
std::uint16_t type_of(ByteView frame);

// "`ip` is at `mac`", to who asked (RFC 826).
Bytes arp_reply(const MacAddress& mac, const IpAddress& ip, const MacAddress& to, const IpAddress& asker);
// Answer to a neighbour solicitation (RFC 4861, section 7.2.4); asked from ::, it goes to all nodes.
Bytes neighbor_answer(const MacAddress& mac, const IpAddress& ip, const MacAddress& to, const IpAddress& asker);
Bytes echo_frame(const MacAddress& from, const MacAddress& to, const net::Echo& echo, bool reply);
Bytes udp_frame(const MacAddress& from, const MacAddress& to, const IpAddress& source, const IpAddress& destination,
                std::uint16_t port, ByteView payload);

struct Solicitation {
    IpAddress source;
    IpAddress target;
    std::optional<MacAddress> mac;  // the asker's, if it says so
};
std::optional<Solicitation> parse_solicitation(ByteView frame);

// An IP packet without options or fragments, its checksums right.
struct IpPacket {
    IpAddress source;
    IpAddress destination;
    std::uint8_t protocol = 0;
    ByteView payload;
};
std::optional<IpPacket> parse_ip(ByteView frame);

struct Udp {
    std::uint16_t source_port = 0;
    std::uint16_t port = 0;
    ByteView payload;
};
std::optional<Udp> parse_udp(const IpPacket& packet);

// ICMP or ICMPv6 echo, request or reply.
struct EchoMessage {
    bool reply = false;
    net::Echo echo;
};
std::optional<EchoMessage> parse_echo(const IpPacket& packet);

}  // namespace lbcluster::sim
