#include "lbcluster/net/packets.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "lbcluster/base/assert.hpp"

namespace lbcluster::net {
namespace {

constexpr std::size_t ethernet_bytes = 14;
constexpr std::size_t arp_bytes = 28;
constexpr std::size_t ipv4_bytes_min = 20;
constexpr std::size_t ipv6_bytes = 40;
constexpr std::size_t frame_bytes_min = 60;  // without the checksum of the frame
constexpr std::size_t echo_header_bytes = 8;
constexpr std::size_t echo_payload_bytes_max = 1024;
constexpr std::size_t neighbor_bytes_min = 24;  // ICMPv6 header, flags, target

constexpr std::uint16_t type_ipv4 = 0x0800;
constexpr std::uint16_t type_arp = 0x0806;
constexpr std::uint16_t type_ipv6 = 0x86dd;

constexpr std::uint8_t protocol_icmp = 1;
constexpr std::uint8_t protocol_icmpv6 = 58;
constexpr std::uint8_t icmp_echo_reply = 0;
constexpr std::uint8_t icmp_echo_request = 8;
constexpr std::uint8_t icmpv6_echo_request = 128;
constexpr std::uint8_t icmpv6_echo_reply = 129;
constexpr std::uint8_t icmpv6_solicitation = 135;
constexpr std::uint8_t icmpv6_advertisement = 136;
constexpr std::uint8_t neighbor_hop_limit = 255;
constexpr std::uint8_t option_source_mac = 1;
constexpr std::uint8_t option_target_mac = 2;

void put16(Bytes& out, std::uint16_t value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8));
    out.push_back(static_cast<std::uint8_t>(value & 0xff));
}

void put(Bytes& out, ByteView bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

std::uint16_t get16(ByteView in, std::size_t at) { return static_cast<std::uint16_t>(in[at] << 8 | in[at + 1]); }

MacAddress get_mac(ByteView in, std::size_t at) {
    MacAddress mac;
    std::copy_n(in.begin() + static_cast<std::ptrdiff_t>(at), mac.bytes.size(), mac.bytes.begin());
    return mac;
}

IpAddress get_v4(ByteView in, std::size_t at) { return IpAddress::v4({in[at], in[at + 1], in[at + 2], in[at + 3]}); }

IpAddress get_v6(ByteView in, std::size_t at) {
    std::array<std::uint8_t, 16> bytes{};
    std::copy_n(in.begin() + static_cast<std::ptrdiff_t>(at), bytes.size(), bytes.begin());
    return IpAddress::v6(bytes);
}

Bytes ethernet(const MacAddress& to, const MacAddress& from, std::uint16_t type) {
    Bytes out;
    out.reserve(128);
    put(out, to.bytes);
    put(out, from.bytes);
    put16(out, type);
    return out;
}

struct ArpFields {
    ArpForm form;
    MacAddress sender_mac;
    IpAddress sender;
    MacAddress target_mac;
    IpAddress target;
};

Bytes arp(const MacAddress& to, const ArpFields& fields) {
    LBC_ASSERT(fields.sender.is_v4() && fields.target.is_v4());
    Bytes out = ethernet(to, fields.sender_mac, type_arp);
    put16(out, 1);  // Ethernet
    put16(out, type_ipv4);
    out.push_back(6);
    out.push_back(4);
    put16(out, fields.form == ArpForm::request ? 1 : 2);
    put(out, fields.sender_mac.bytes);
    put(out, fields.sender.bytes());
    put(out, fields.target_mac.bytes);
    put(out, fields.target.bytes());
    out.resize(frame_bytes_min);
    return out;
}

// One's complement sum of the pseudo header of RFC 8200, section 8.1, not folded.
std::uint32_t pseudo_header_sum(ByteView source, ByteView destination, std::size_t length) {
    std::uint32_t sum = static_cast<std::uint32_t>(length) + protocol_icmpv6;
    for (std::size_t i = 0; i + 1 < source.size(); i += 2) sum += get16(source, i);
    for (std::size_t i = 0; i + 1 < destination.size(); i += 2) sum += get16(destination, i);
    return sum;
}

void append_ipv6_icmp(Bytes& frame, const IpAddress& source, const IpAddress& destination, Bytes message) {
    const std::uint16_t sum =
        internet_checksum(message, pseudo_header_sum(source.bytes(), destination.bytes(), message.size()));
    message[2] = static_cast<std::uint8_t>(sum >> 8);
    message[3] = static_cast<std::uint8_t>(sum & 0xff);
    put16(frame, 0x6000);
    put16(frame, 0);
    put16(frame, static_cast<std::uint16_t>(message.size()));
    frame.push_back(protocol_icmpv6);
    frame.push_back(neighbor_hop_limit);
    put(frame, source.bytes());
    put(frame, destination.bytes());
    put(frame, message);
}

void append_ipv4_icmp(Bytes& frame, const IpAddress& source, const IpAddress& destination, const Bytes& message) {
    Bytes header;
    put16(header, 0x4500);
    put16(header, static_cast<std::uint16_t>(ipv4_bytes_min + message.size()));
    put16(header, 0);
    put16(header, 0x4000);  // do not fragment
    header.push_back(64);
    header.push_back(protocol_icmp);
    put16(header, 0);
    put(header, source.bytes());
    put(header, destination.bytes());
    const std::uint16_t sum = internet_checksum(header);
    header[10] = static_cast<std::uint8_t>(sum >> 8);
    header[11] = static_cast<std::uint8_t>(sum & 0xff);
    put(frame, header);
    put(frame, message);
}

// The ICMP part of a frame, with its addresses. `hop_limit` is the IPv4 TTL or the IPv6 hop limit.
struct Icmp {
    IpAddress source;
    IpAddress destination;
    std::uint8_t hop_limit;
    ByteView message;
};

std::optional<Icmp> parse_icmpv6(ByteView frame) {
    if (frame.size() < ethernet_bytes + ipv6_bytes || get16(frame, 12) != type_ipv6) return std::nullopt;
    const ByteView packet = frame.subspan(ethernet_bytes);
    if (packet[0] >> 4 != 6 || packet[6] != protocol_icmpv6) return std::nullopt;
    const std::size_t length = get16(packet, 4);
    if (length < 4 || length > packet.size() - ipv6_bytes) return std::nullopt;
    const ByteView message = packet.subspan(ipv6_bytes, length);
    if (internet_checksum(message, pseudo_header_sum(packet.subspan(8, 16), packet.subspan(24, 16), length)) != 0)
        return std::nullopt;
    return Icmp{get_v6(packet, 8), get_v6(packet, 24), packet[7], message};
}

std::optional<Icmp> parse_icmpv4(ByteView frame) {
    if (frame.size() < ethernet_bytes + ipv4_bytes_min || get16(frame, 12) != type_ipv4) return std::nullopt;
    const ByteView packet = frame.subspan(ethernet_bytes);
    const std::size_t header = static_cast<std::size_t>(packet[0] & 0x0f) * 4;
    const std::size_t total = get16(packet, 2);
    if (packet[0] >> 4 != 4 || header < ipv4_bytes_min || total < header + 4 || total > packet.size())
        return std::nullopt;
    if (packet[9] != protocol_icmp || (get16(packet, 6) & 0x3fff) != 0) return std::nullopt;  // no fragments
    if (internet_checksum(packet.first(header)) != 0) return std::nullopt;
    const ByteView message = packet.subspan(header, total - header);
    if (internet_checksum(message) != 0) return std::nullopt;
    return Icmp{get_v4(packet, 12), get_v4(packet, 16), packet[8], message};
}

}  // namespace

std::uint16_t internet_checksum(ByteView data, std::uint32_t start) {
    std::uint64_t sum = start;
    for (std::size_t i = 0; i + 1 < data.size(); i += 2) sum += get16(data, i);
    if (data.size() % 2 != 0) sum += static_cast<std::uint64_t>(data.back()) << 8;
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum & 0xffff);
}

Bytes gratuitous_arp(const MacAddress& mac, const IpAddress& ip, ArpForm form) {
    // Reply form: RFC 5227 leaves the target MAC open; the broadcast address is what switches and routers know.
    return arp(mac_broadcast, {form, mac, ip, form == ArpForm::reply ? mac_broadcast : MacAddress{}, ip});
}

Bytes arp_request(const MacAddress& from, const MacAddress& to, const IpAddress& sender, const IpAddress& target) {
    return arp(to, {ArpForm::request, from, sender, MacAddress{}, target});
}

Bytes unsolicited_na(const MacAddress& mac, const IpAddress& ip) {
    LBC_ASSERT(ip.is_v6());
    static const IpAddress all_nodes = IpAddress::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
    Bytes frame = ethernet(MacAddress{{0x33, 0x33, 0, 0, 0, 1}}, mac, type_ipv6);
    Bytes message{icmpv6_advertisement, 0, 0, 0, 0x20, 0, 0, 0};
    put(message, ip.bytes());
    message.push_back(option_target_mac);
    message.push_back(1);
    put(message, mac.bytes);
    append_ipv6_icmp(frame, ip, all_nodes, std::move(message));
    return frame;
}

Bytes neighbor_solicitation(const MacAddress& from, const IpAddress& source, const IpAddress& target) {
    LBC_ASSERT(source.is_v6() && target.is_v6());
    const auto low = target.bytes().last(3);
    const IpAddress group = IpAddress::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, low[0], low[1], low[2]});
    Bytes frame = ethernet(MacAddress{{0x33, 0x33, 0xff, low[0], low[1], low[2]}}, from, type_ipv6);
    Bytes message{icmpv6_solicitation, 0, 0, 0, 0, 0, 0, 0};
    put(message, target.bytes());
    if (!source.is_unspecified()) {
        message.push_back(option_source_mac);
        message.push_back(1);
        put(message, from.bytes);
    }
    append_ipv6_icmp(frame, source, group, std::move(message));
    return frame;
}

Bytes echo_request_message(const Echo& echo) {
    LBC_ASSERT(echo.payload.size() <= echo_payload_bytes_max);
    const bool v4 = echo.destination.is_v4();
    Bytes message{v4 ? icmp_echo_request : icmpv6_echo_request, 0, 0, 0};
    put16(message, echo.id);
    put16(message, echo.sequence);
    put(message, echo.payload);
    if (v4) {
        const std::uint16_t sum = internet_checksum(message);
        message[2] = static_cast<std::uint8_t>(sum >> 8);
        message[3] = static_cast<std::uint8_t>(sum & 0xff);
    }
    return message;
}

Bytes echo_request_frame(const MacAddress& from, const MacAddress& to, const Echo& echo) {
    LBC_ASSERT(echo.source.is_v4() == echo.destination.is_v4());
    Bytes frame = ethernet(to, from, echo.source.is_v4() ? type_ipv4 : type_ipv6);
    if (echo.source.is_v4()) append_ipv4_icmp(frame, echo.source, echo.destination, echo_request_message(echo));
    else append_ipv6_icmp(frame, echo.source, echo.destination, echo_request_message(echo));
    if (frame.size() < frame_bytes_min) frame.resize(frame_bytes_min);
    return frame;
}

std::optional<ArpPacket> parse_arp(ByteView frame) {
    if (frame.size() < ethernet_bytes + arp_bytes || get16(frame, 12) != type_arp) return std::nullopt;
    const ByteView packet = frame.subspan(ethernet_bytes, arp_bytes);
    if (get16(packet, 0) != 1 || get16(packet, 2) != type_ipv4 || packet[4] != 6 || packet[5] != 4) return std::nullopt;
    const std::uint16_t operation = get16(packet, 6);
    if (operation != 1 && operation != 2) return std::nullopt;
    return ArpPacket{operation == 1 ? ArpForm::request : ArpForm::reply,
                     get_mac(frame, 6),
                     get_mac(packet, 8),
                     get_v4(packet, 14),
                     get_mac(packet, 18),
                     get_v4(packet, 24)};
}

std::optional<NeighborAdvertisement> parse_neighbor_advertisement(ByteView frame) {
    const auto icmp = parse_icmpv6(frame);
    if (!icmp || icmp->hop_limit != neighbor_hop_limit) return std::nullopt;
    const ByteView message = icmp->message;
    if (message.size() < neighbor_bytes_min || message[0] != icmpv6_advertisement || message[1] != 0)
        return std::nullopt;
    NeighborAdvertisement out;
    out.frame_source = get_mac(frame, 6);
    out.source = icmp->source;
    out.router = (message[4] & 0x80) != 0;
    out.solicited = (message[4] & 0x40) != 0;
    out.override = (message[4] & 0x20) != 0;
    out.target = get_v6(message, 8);
    out.mac = out.frame_source;
    if (out.target.is_multicast() || (icmp->destination.is_multicast() && out.solicited)) return std::nullopt;
    ByteView options = message.subspan(neighbor_bytes_min);
    while (!options.empty()) {
        // RFC 4861, section 7.1.2: an option of length zero makes the whole message invalid.
        if (options.size() < 2 || options[1] == 0) return std::nullopt;
        const std::size_t length = static_cast<std::size_t>(options[1]) * 8;
        if (length > options.size()) return std::nullopt;
        if (options[0] == option_target_mac && length == 8) out.mac = get_mac(options, 2);
        options = options.subspan(length);
    }
    return out;
}

std::optional<EchoReply> parse_echo_reply(ByteView frame) {
    if (frame.size() < ethernet_bytes) return std::nullopt;
    const bool v4 = get16(frame, 12) == type_ipv4;
    const auto icmp = v4 ? parse_icmpv4(frame) : parse_icmpv6(frame);
    if (!icmp) return std::nullopt;
    const ByteView message = icmp->message;
    if (message.size() < echo_header_bytes || message.size() > echo_header_bytes + echo_payload_bytes_max)
        return std::nullopt;
    if (message[0] != (v4 ? icmp_echo_reply : icmpv6_echo_reply) || message[1] != 0) return std::nullopt;
    EchoReply out;
    out.frame_source = get_mac(frame, 6);
    out.echo.source = icmp->source;
    out.echo.destination = icmp->destination;
    out.echo.id = get16(message, 4);
    out.echo.sequence = get16(message, 6);
    const ByteView payload = message.subspan(echo_header_bytes);
    out.echo.payload.assign(payload.begin(), payload.end());
    return out;
}

}  // namespace lbcluster::net
