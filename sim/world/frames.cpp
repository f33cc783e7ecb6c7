#include "sim/world/frames.hpp"

#include <algorithm>
#include <array>

#include "lbcluster/base/assert.hpp"

namespace lbcluster::sim {

namespace {

constexpr std::size_t ipv4_bytes = 20;
constexpr std::size_t ipv6_bytes = 40;
constexpr std::size_t udp_bytes = 8;
constexpr std::size_t echo_bytes = 8;
constexpr std::size_t solicitation_bytes = 24;
constexpr std::uint8_t hop_limit_neighbor = 255;
constexpr std::uint8_t hop_limit_usual = 64;
constexpr std::uint8_t icmpv6_solicitation = 135;
constexpr std::uint8_t icmpv6_advertisement = 136;

void put16(Bytes& out, std::size_t value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8U));
    out.push_back(static_cast<std::uint8_t>(value & 0xffU));
}
void put(Bytes& out, ByteView bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }
void set16(Bytes& out, std::size_t at, std::uint16_t value) {
    out[at] = static_cast<std::uint8_t>(value >> 8U);
    out[at + 1] = static_cast<std::uint8_t>(value & 0xffU);
}
std::uint16_t get16(ByteView in, std::size_t at) { return static_cast<std::uint16_t>(in[at] << 8U | in[at + 1]); }

IpAddress v4_at(ByteView in, std::size_t at) { return IpAddress::v4({in[at], in[at + 1], in[at + 2], in[at + 3]}); }
IpAddress v6_at(ByteView in, std::size_t at) {
    std::array<std::uint8_t, 16> bytes{};
    std::copy_n(in.begin() + static_cast<std::ptrdiff_t>(at), bytes.size(), bytes.begin());
    return IpAddress::v6(bytes);
}

Bytes ethernet(const MacAddress& to, const MacAddress& from, std::uint16_t type, std::size_t more) {
    Bytes out;
    out.reserve(ethernet_bytes + ipv6_bytes + more);
    put(out, to.bytes);
    put(out, from.bytes);
    put16(out, type);
    return out;
}

void put_ip(Bytes& out, const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
            std::size_t payload_bytes, std::uint8_t hop_limit) {
    const std::size_t begin = out.size();
    if (source.is_v4()) {
        put16(out, 0x4500);
        put16(out, ipv4_bytes + payload_bytes);
        put16(out, 0);
        put16(out, 0x4000);  // do not fragment
        out.push_back(hop_limit);
        out.push_back(protocol);
        put16(out, 0);
        put(out, source.bytes());
        put(out, destination.bytes());
        set16(out, begin + 10, net::internet_checksum(ByteView(out).subspan(begin)));
        return;
    }
    put16(out, 0x6000);
    put16(out, 0);
    put16(out, payload_bytes);
    out.push_back(protocol);
    out.push_back(hop_limit);
    put(out, source.bytes());
    put(out, destination.bytes());
}

// One's complement sum of the pseudo header (RFC 768 and RFC 8200, section 8.1), not folded.
std::uint32_t pseudo_sum(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                         std::size_t bytes) {
    std::uint32_t sum = static_cast<std::uint32_t>(bytes) + protocol;
    for (const auto& ip : {source.bytes(), destination.bytes()}) {
        for (std::size_t i = 0; i + 1 < ip.size(); i += 2) sum += get16(ip, i);
    }
    return sum;
}

Bytes ip_frame(const MacAddress& from, const MacAddress& to, const IpAddress& source, const IpAddress& destination,
               std::uint8_t protocol, ByteView payload, std::uint8_t hop_limit) {
    LBC_ASSERT(source.is_v4() == destination.is_v4());
    Bytes out = ethernet(to, from, source.is_v4() ? type_ipv4 : type_ipv6, payload.size());
    put_ip(out, source, destination, protocol, payload.size(), hop_limit);
    put(out, payload);
    return out;
}

}  // namespace

MacAddress mac_at(ByteView frame, std::size_t offset) {
    MacAddress mac;
    std::copy_n(frame.begin() + static_cast<std::ptrdiff_t>(offset), mac.bytes.size(), mac.bytes.begin());
    return mac;
}

std::uint16_t type_of(ByteView frame) { return frame.size() < ethernet_bytes ? std::uint16_t{0} : get16(frame, 12); }

Bytes arp_reply(const MacAddress& mac, const IpAddress& ip, const MacAddress& to, const IpAddress& asker) {
    Bytes out = ethernet(to, mac, type_arp, 46);
    put16(out, 1);
    put16(out, type_ipv4);
    out.push_back(6);
    out.push_back(4);
    put16(out, 2);
    put(out, mac.bytes);
    put(out, ip.bytes());
    put(out, to.bytes);
    put(out, asker.bytes());
    out.resize(60);
    return out;
}

Bytes neighbor_answer(const MacAddress& mac, const IpAddress& ip, const MacAddress& to, const IpAddress& asker) {
    const bool everybody = asker.is_unspecified();
    const IpAddress all_nodes = IpAddress::v6({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
    const IpAddress destination = everybody ? all_nodes : asker;
    Bytes message{icmpv6_advertisement, 0, 0, 0, static_cast<std::uint8_t>(everybody ? 0x20 : 0x60), 0, 0, 0};
    put(message, ip.bytes());
    message.push_back(2);  // target link-layer address
    message.push_back(1);
    put(message, mac.bytes);
    set16(message, 2, net::internet_checksum(message, pseudo_sum(ip, destination, protocol_icmpv6, message.size())));
    const MacAddress all_nodes_mac{{0x33, 0x33, 0, 0, 0, 1}};
    return ip_frame(mac, everybody ? all_nodes_mac : to, ip, destination, protocol_icmpv6, message, hop_limit_neighbor);
}

Bytes echo_frame(const MacAddress& from, const MacAddress& to, const net::Echo& echo, bool reply) {
    const bool v4 = echo.source.is_v4();
    Bytes message{static_cast<std::uint8_t>(v4 ? (reply ? 0 : 8) : (reply ? 129 : 128)), 0, 0, 0};
    put16(message, echo.id);
    put16(message, echo.sequence);
    put(message, echo.payload);
    const std::uint8_t protocol = v4 ? protocol_icmp : protocol_icmpv6;
    set16(message, 2,
          net::internet_checksum(message,
                                 v4 ? 0 : pseudo_sum(echo.source, echo.destination, protocol_icmpv6, message.size())));
    return ip_frame(from, to, echo.source, echo.destination, protocol, message, hop_limit_usual);
}

Bytes udp_frame(const MacAddress& from, const MacAddress& to, const IpAddress& source, const IpAddress& destination,
                std::uint16_t port, ByteView payload) {
    Bytes out = ethernet(to, from, source.is_v4() ? type_ipv4 : type_ipv6, payload.size() + udp_bytes);
    put_ip(out, source, destination, protocol_udp, udp_bytes + payload.size(), hop_limit_usual);
    const std::size_t begin = out.size();
    put16(out, port);
    put16(out, port);
    put16(out, udp_bytes + payload.size());
    put16(out, 0);
    put(out, payload);
    std::uint16_t sum = net::internet_checksum(
        ByteView(out).subspan(begin), pseudo_sum(source, destination, protocol_udp, udp_bytes + payload.size()));
    if (sum == 0) sum = 0xffff;  // 0 means "no checksum"
    set16(out, begin + 6, sum);
    return out;
}

std::optional<IpPacket> parse_ip(ByteView frame) {
    const std::uint16_t type = type_of(frame);
    if (type == type_ipv4) {
        const ByteView packet = frame.subspan(ethernet_bytes);
        if (packet.size() < ipv4_bytes || packet[0] != 0x45) return std::nullopt;
        const std::size_t total = get16(packet, 2);
        if (total < ipv4_bytes || total > packet.size() || (get16(packet, 6) & 0x3fffU) != 0) return std::nullopt;
        if (net::internet_checksum(packet.first(ipv4_bytes)) != 0) return std::nullopt;
        return IpPacket{v4_at(packet, 12), v4_at(packet, 16), packet[9],
                        packet.subspan(ipv4_bytes, total - ipv4_bytes)};
    }
    if (type == type_ipv6) {
        const ByteView packet = frame.subspan(ethernet_bytes);
        if (packet.size() < ipv6_bytes || packet[0] >> 4U != 6) return std::nullopt;
        const std::size_t length = get16(packet, 4);
        if (length > packet.size() - ipv6_bytes) return std::nullopt;
        return IpPacket{v6_at(packet, 8), v6_at(packet, 24), packet[6], packet.subspan(ipv6_bytes, length)};
    }
    return std::nullopt;
}

std::optional<Solicitation> parse_solicitation(ByteView frame) {
    const auto ip = parse_ip(frame);
    if (!ip || ip->protocol != protocol_icmpv6 || ip->payload.size() < solicitation_bytes) return std::nullopt;
    if (ip->payload[0] != icmpv6_solicitation) return std::nullopt;
    if (net::internet_checksum(ip->payload,
                               pseudo_sum(ip->source, ip->destination, protocol_icmpv6, ip->payload.size())) != 0) {
        return std::nullopt;
    }
    Solicitation out{ip->source, v6_at(ip->payload, 8), {}};
    if (ip->payload.size() >= solicitation_bytes + 8 && ip->payload[solicitation_bytes] == 1) {
        out.mac = mac_at(ip->payload, solicitation_bytes + 2);
    }
    return out;
}

std::optional<Udp> parse_udp(const IpPacket& packet) {
    if (packet.protocol != protocol_udp || packet.payload.size() < udp_bytes) return std::nullopt;
    const std::size_t length = get16(packet.payload, 4);
    if (length < udp_bytes || length > packet.payload.size()) return std::nullopt;
    if (net::internet_checksum(packet.payload.first(length),
                               pseudo_sum(packet.source, packet.destination, protocol_udp, length)) != 0) {
        return std::nullopt;
    }
    return Udp{get16(packet.payload, 0), get16(packet.payload, 2),
               packet.payload.subspan(udp_bytes, length - udp_bytes)};
}

std::optional<EchoMessage> parse_echo(const IpPacket& packet) {
    const bool v4 = packet.protocol == protocol_icmp && packet.source.is_v4();
    const bool v6 = packet.protocol == protocol_icmpv6 && packet.source.is_v6();
    if ((!v4 && !v6) || packet.payload.size() < echo_bytes) return std::nullopt;
    const std::uint8_t type = packet.payload[0];
    const bool reply = type == (v4 ? 0 : 129);
    if (!reply && type != (v4 ? 8 : 128)) return std::nullopt;
    const std::uint32_t start =
        v4 ? 0 : pseudo_sum(packet.source, packet.destination, protocol_icmpv6, packet.payload.size());
    if (net::internet_checksum(packet.payload, start) != 0) return std::nullopt;
    const ByteView data = packet.payload.subspan(echo_bytes);
    return EchoMessage{reply,
                       {packet.source, packet.destination, get16(packet.payload, 4), get16(packet.payload, 6),
                        Bytes(data.begin(), data.end())}};
}

}  // namespace lbcluster::sim
