#include "lbcluster/net/frame_socket.hpp"

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

namespace lbcluster::net {
namespace {

constexpr std::size_t frame_bytes_max = 2048;
constexpr std::size_t batch = 64;
constexpr int socket_buffer_bytes = 4 << 20;

constexpr std::uint16_t load_half = BPF_LD | BPF_H | BPF_ABS;
constexpr std::uint16_t load_byte = BPF_LD | BPF_B | BPF_ABS;
constexpr std::uint16_t if_equal = BPF_JMP | BPF_JEQ | BPF_K;

Error socket_error(const char* what) {
    const int code = errno;
    return Error{std::string(what) + ": " + std::strerror(code), code == EPERM ? "heartbeatd needs CAP_NET_RAW" : "",
                 code};
}

// Offsets are from the Ethernet header on. Jumps count the instructions to skip: {code, if true, if false, value}.
std::array<sock_filter, 23> make_filter(std::uint32_t echo_id) {
    constexpr auto vlan_present = static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT);
    return {{
        /*  0 */ {load_byte, 0, 0, vlan_present},
        /*  1 */ {if_equal, 0, 19, 0},  // tagged: another network, although on this interface
        /*  2 */ {load_half, 0, 0, 12},
        /*  3 */ {if_equal, 18, 0, ETH_P_ARP},
        /*  4 */ {if_equal, 0, 8, ETH_P_IPV6},
        /*  5 */ {load_byte, 0, 0, 20},  // next header
        /*  6 */ {if_equal, 0, 14, 58},
        /*  7 */ {load_byte, 0, 0, 54},  // ICMPv6 type
        /*  8 */ {if_equal, 13, 0, 135},
        /*  9 */ {if_equal, 12, 0, 136},
        /* 10 */ {if_equal, 0, 10, 129},
        /* 11 */ {load_half, 0, 0, 58},  // identifier
        /* 12 */ {if_equal, 9, 8, echo_id},
        /* 13 */ {if_equal, 0, 7, ETH_P_IP},
        /* 14 */ {load_byte, 0, 0, 23},  // protocol
        /* 15 */ {if_equal, 0, 5, 1},
        /* 16 */ {BPF_LDX | BPF_B | BPF_MSH, 0, 0, 14},
        /* 17 */ {BPF_LD | BPF_B | BPF_IND, 0, 0, 14},  // ICMP type
        /* 18 */ {if_equal, 0, 2, 0},
        /* 19 */ {BPF_LD | BPF_H | BPF_IND, 0, 0, 18},
        /* 20 */ {if_equal, 1, 0, echo_id},
        /* 21 */ {BPF_RET | BPF_K, 0, 0, 0},
        /* 22 */ {BPF_RET | BPF_K, 0, 0, frame_bytes_max},
    }};
}

}  // namespace

Result<FrameSocket> FrameSocket::open_send_only() {
    // Protocol 0: the kernel delivers nothing.
    const int fd = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return socket_error("cannot open a packet socket");
    FrameSocket socket(fd);
    const int bytes = socket_buffer_bytes;
    if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0)
        (void)::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    return socket;
}

Result<FrameSocket> FrameSocket::open(std::uint16_t echo_id) {
    auto opened = open_send_only();
    if (!opened) return opened;
    FrameSocket socket = std::move(opened).value();
    socket.buffer_.resize(frame_bytes_max);
    auto filter = make_filter(echo_id);
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    const int on = 1;
    const int bytes = socket_buffer_bytes;
    sockaddr_ll local{};
    local.sll_family = AF_PACKET;
    local.sll_protocol = htons(ETH_P_ALL);
    // The filter comes before the binding, so that no unfiltered frame is ever queued.
    if (::setsockopt(socket.fd_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0 ||
        ::setsockopt(socket.fd_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0)
        return socket_error("cannot set up a packet socket");
    if (::setsockopt(socket.fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0)
        (void)::setsockopt(socket.fd_.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    if (::bind(socket.fd_.get(), reinterpret_cast<const sockaddr*>(&local), sizeof(local)) != 0)
        return socket_error("cannot bind a packet socket");
    return socket;
}

FrameSocket::Sent FrameSocket::send(std::span<const OutgoingFrame> frames) {
    Sent out;
    std::array<mmsghdr, batch> headers{};
    std::array<iovec, batch> parts{};
    std::array<sockaddr_ll, batch> targets{};
    std::size_t at = 0;
    while (at < frames.size()) {
        const std::size_t count = std::min(batch, frames.size() - at);
        for (std::size_t i = 0; i < count; ++i) {
            const auto& frame = frames[at + i];
            parts[i] = {const_cast<std::uint8_t*>(frame.bytes.data()), frame.bytes.size()};
            targets[i] = {};
            targets[i].sll_family = AF_PACKET;
            targets[i].sll_ifindex = frame.ifindex;
            targets[i].sll_halen = 6;
            std::memcpy(&targets[i].sll_protocol, frame.bytes.data() + 12, sizeof(targets[i].sll_protocol));
            std::memcpy(targets[i].sll_addr, frame.bytes.data(), 6);
            headers[i] = {};
            headers[i].msg_hdr.msg_name = &targets[i];
            headers[i].msg_hdr.msg_namelen = sizeof(sockaddr_ll);
            headers[i].msg_hdr.msg_iov = &parts[i];
            headers[i].msg_hdr.msg_iovlen = 1;
        }
        const int sent = ::sendmmsg(fd_.get(), headers.data(), static_cast<unsigned>(count), MSG_DONTWAIT);
        if (sent > 0) {
            out.sent += static_cast<std::size_t>(sent);
            at += static_cast<std::size_t>(sent);
            continue;
        }
        if (errno == EINTR) continue;
        out.last_errno = errno;
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) break;
        ++out.failed;
        ++at;
    }
    return out;
}

std::size_t FrameSocket::drain(std::size_t frames_max,
                               const std::function<void(int ifindex, ByteView frame)>& handler) {
    std::size_t handled = 0;
    while (handled < frames_max) {
        sockaddr_ll from{};
        socklen_t from_bytes = sizeof(from);
        const ssize_t bytes = ::recvfrom(fd_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT,
                                         reinterpret_cast<sockaddr*>(&from), &from_bytes);
        if (bytes < 0 && (errno == EINTR || errno == ENETDOWN)) continue;  // an interface went down: told once
        if (bytes < 0) break;
        ++handled;
        handler(from.sll_ifindex, ByteView(buffer_.data(), static_cast<std::size_t>(bytes)));
    }
    return handled;
}

}  // namespace lbcluster::net
