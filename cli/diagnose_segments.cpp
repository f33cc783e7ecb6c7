#include "diagnose_segments.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "lbcluster/net/packets.hpp"

namespace lbcluster::cli {
namespace {

using net::Bytes;

constexpr std::size_t ethernet_bytes = 14;
constexpr std::size_t v6_bytes = 40;
constexpr std::size_t tcp_bytes = 20;
constexpr std::uint8_t hop_limit = 64;
constexpr std::uint32_t first_sequence = 0x4c420000;

void put16(Bytes& out, std::uint32_t value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8U));
    out.push_back(static_cast<std::uint8_t>(value));
}
void put32(Bytes& out, std::uint32_t value) {
    put16(out, value >> 16U);
    put16(out, value);
}
void put(Bytes& out, std::span<const std::uint8_t> bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

std::uint32_t get(std::span<const std::uint8_t> bytes, std::size_t at, std::size_t size) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) value = value << 8U | bytes[at + i];
    return value;
}

void set16(Bytes& out, std::size_t at, std::uint16_t value) {
    out[at] = static_cast<std::uint8_t>(value >> 8U);
    out[at + 1] = static_cast<std::uint8_t>(value);
}

Bytes tcp_header(const SegmentQuestion& question, std::uint16_t port, std::uint8_t flags, std::uint32_t sequence,
                 std::uint32_t acknowledged) {
    Bytes tcp;
    put16(tcp, port);
    put16(tcp, question.to.port);
    put32(tcp, sequence);
    put32(tcp, acknowledged);
    tcp.push_back(tcp_bytes / 4 << 4U);
    tcp.push_back(flags);
    put16(tcp, (flags & segment_rst) != 0 ? 0 : 64240);  // window
    put32(tcp, 0);                                       // checksum, urgent
    Bytes summed;                                        // with the pseudo-header of RFC 9293 and RFC 8200
    put(summed, question.from.bytes());
    put(summed, question.to.address.bytes());
    put16(summed, IPPROTO_TCP);
    put16(summed, tcp_bytes);
    put(summed, tcp);
    set16(tcp, 16, net::internet_checksum(summed));
    return tcp;
}

template <std::size_t N>
SegmentAnswer endpoints_of(std::span<const std::uint8_t> frame, std::size_t address_at) {
    std::array<std::uint8_t, N> bytes{};
    std::copy_n(frame.begin() + static_cast<std::ptrdiff_t>(address_at), N, bytes.begin());
    SegmentAnswer out;
    if constexpr (N == 4) out.from.address = IpAddress::v4(bytes);
    else out.from.address = IpAddress::v6(bytes);
    return out;
}

// TCP to the ports, IPv4 or IPv6. Jumps count the instructions to skip: {code, if true, if false, value}.
std::array<sock_filter, 12> make_filter(std::uint32_t first_port, std::uint32_t count) {
    constexpr std::uint16_t load_half = BPF_LD | BPF_H | BPF_ABS;
    constexpr std::uint16_t load_byte = BPF_LD | BPF_B | BPF_ABS;
    constexpr std::uint16_t if_equal = BPF_JMP | BPF_JEQ | BPF_K;
    constexpr std::uint16_t if_from = BPF_JMP | BPF_JGE | BPF_K;
    return {{
        /*  0 */ {load_half, 0, 0, 12},
        /*  1 */ {if_equal, 4, 0, ETH_P_IPV6},
        /*  2 */ {load_byte, 0, 0, 23},
        /*  3 */ {if_equal, 0, 7, IPPROTO_TCP},
        /*  4 */ {BPF_LDX | BPF_B | BPF_MSH, 0, 0, 14},
        /*  5 */ {BPF_JMP | BPF_JA, 0, 0, 1},
        /*  6 */ {BPF_LDX | BPF_IMM, 0, 0, v6_bytes},
        /*  7 */ {BPF_LD | BPF_H | BPF_IND, 0, 0, ethernet_bytes + 2},
        /*  8 */ {if_from, 0, 2, first_port},
        /*  9 */ {if_from, 1, 0, first_port + count},
        /* 10 */ {BPF_RET | BPF_K, 0, 0, 256},
        /* 11 */ {BPF_RET | BPF_K, 0, 0, 0},
    }};
}

Error socket_error(const char* what) {
    const int code = errno;
    return Error{std::string(what) + ": " + std::strerror(code), code == EPERM ? "run it as root" : "", code};
}

}  // namespace

std::vector<std::uint8_t> make_segment(const SegmentQuestion& question, std::uint16_t port, std::uint8_t flags,
                                       std::uint32_t sequence, std::uint32_t acknowledged) {
    Bytes out;
    put(out, question.to_mac.bytes);
    put(out, question.from_mac.bytes);
    if (question.from.is_v4()) {
        put16(out, ETH_P_IP);
        put32(out, 0x45000000U + 20 + tcp_bytes);
        put32(out, 0x4000);  // do not fragment
        out.push_back(hop_limit);
        out.push_back(IPPROTO_TCP);
        put16(out, 0);
        put(out, question.from.bytes());
        put(out, question.to.address.bytes());
        set16(out, ethernet_bytes + 10, net::internet_checksum(std::span(out).subspan(ethernet_bytes)));
    } else {
        put16(out, ETH_P_IPV6);
        put32(out, 0x60000000U);
        put16(out, tcp_bytes);
        out.push_back(IPPROTO_TCP);
        out.push_back(hop_limit);
        put(out, question.from.bytes());
        put(out, question.to.address.bytes());
    }
    put(out, tcp_header(question, port, flags, sequence, acknowledged));
    return out;
}

std::optional<SegmentAnswer> parse_segment(std::span<const std::uint8_t> frame) {
    if (frame.size() < ethernet_bytes + 20) return std::nullopt;
    const std::uint32_t type = get(frame, 12, 2);
    SegmentAnswer out;
    std::size_t tcp = 0;
    if (type == ETH_P_IP) {
        tcp = ethernet_bytes + (frame[ethernet_bytes] & 0xFU) * std::size_t{4};
        if (frame[ethernet_bytes] >> 4U != 4 || frame[ethernet_bytes + 9] != IPPROTO_TCP) return std::nullopt;
        out = endpoints_of<4>(frame, ethernet_bytes + 12);
    } else if (type == ETH_P_IPV6 && frame.size() >= ethernet_bytes + v6_bytes) {
        tcp = ethernet_bytes + v6_bytes;
        if (frame[ethernet_bytes + 6] != IPPROTO_TCP) return std::nullopt;
        out = endpoints_of<16>(frame, ethernet_bytes + 8);
    }
    if (tcp < ethernet_bytes + 20 || frame.size() < tcp + tcp_bytes) return std::nullopt;
    std::copy_n(frame.begin() + 6, out.mac.bytes.size(), out.mac.bytes.begin());
    out.from.port = static_cast<std::uint16_t>(get(frame, tcp, 2));
    out.port = static_cast<std::uint16_t>(get(frame, tcp + 2, 2));
    out.sequence = get(frame, tcp + 4, 4);
    out.acknowledged = get(frame, tcp + 8, 4);
    const std::uint8_t flags = frame[tcp + 13];
    out.accepted = (flags & (segment_syn | segment_ack | segment_rst)) == (segment_syn | segment_ack);
    if (!out.accepted && (flags & segment_rst) == 0) return std::nullopt;
    return out;
}

Result<SegmentSocket> SegmentSocket::open(std::uint16_t first_port, std::uint16_t count) {
    // Protocol 0: nothing is delivered before the filter is in place.
    const int fd = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return socket_error("cannot open a packet socket");
    SegmentSocket socket(fd);
    auto filter = make_filter(first_port, count);
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    const int on = 1;
    sockaddr_ll local{};
    local.sll_family = AF_PACKET;
    local.sll_protocol = htons(ETH_P_ALL);
    if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0 ||
        ::setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0 ||
        ::bind(fd, reinterpret_cast<const sockaddr*>(&local), sizeof(local)) != 0)
        return socket_error("cannot set up a packet socket");
    return socket;
}

// What is not sent is not answered.
void SegmentSocket::send(int ifindex, std::span<const std::uint8_t> frame) const {
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = ifindex;
    to.sll_halen = 6;
    std::memcpy(&to.sll_protocol, frame.data() + 12, sizeof(to.sll_protocol));
    std::memcpy(to.sll_addr, frame.data(), 6);
    static_cast<void>(::sendto(fd_.get(), frame.data(), frame.size(), MSG_DONTWAIT,
                               reinterpret_cast<const sockaddr*>(&to), sizeof(to)));
}

void SegmentSocket::ask(const SegmentQuestion& question, std::uint16_t port) {
    if (question.tell) {
        // The server would ask for `from` in the name of the address asked; our kernel, which has that address itself,
        // refuses to hear such a question.
        send(question.ifindex,
             question.from.is_v4()
                 ? net::arp_request(question.from_mac, question.to_mac, question.from, question.neighbor)
                 : net::neighbor_solicitation(question.from_mac, question.from, question.neighbor));
    }
    send(question.ifindex, make_segment(question, port, segment_syn, first_sequence + port, 0));
}

void SegmentSocket::reset(const SegmentQuestion& question, const SegmentAnswer& answer) {
    send(question.ifindex, make_segment(question, answer.port, segment_rst, answer.acknowledged, 0));
}

void SegmentSocket::drain(const std::function<void(const SegmentAnswer&)>& handler) {
    std::array<std::uint8_t, 256> frame{};
    for (;;) {
        const ssize_t bytes = ::recv(fd_.get(), frame.data(), frame.size(), MSG_DONTWAIT);
        if (bytes <= 0) return;
        if (const auto answer = parse_segment(std::span(frame).first(static_cast<std::size_t>(bytes))))
            handler(*answer);
    }
}

}  // namespace lbcluster::cli
