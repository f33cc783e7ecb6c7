#include "tests/lab/frames.hpp"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include <cstdio>
#include <cstring>
#include <initializer_list>

namespace lbcluster::lab {

namespace {

constexpr std::size_t eth_bytes = 14;
constexpr std::size_t arp_bytes = 28;
constexpr std::size_t ip6_bytes = 40;
constexpr std::size_t nd_bytes = 24;  // of a solicitation or advertisement, without options
constexpr std::uint8_t icmp6 = 58;
constexpr std::uint8_t solicitation = 135;
constexpr std::uint8_t advertisement = 136;

std::string text_of(int family, const std::uint8_t* bytes) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(family, bytes, text.data(), text.size());
    return text.data();
}

std::string mac_text(const std::uint8_t* mac) {
    std::array<char, 18> text{};
    std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                  mac[5]);
    return text.data();
}

void append(Frame& frame, std::initializer_list<unsigned> bytes) {
    for (const unsigned byte : bytes) frame.push_back(static_cast<std::uint8_t>(byte));
}
template <class Bytes>
void append_all(Frame& frame, const Bytes& bytes) {
    for (const std::uint8_t byte : bytes) frame.push_back(byte);
}

Frame arp_request(const Mac& mac, const std::string& own, const std::string& target) {
    std::array<std::uint8_t, 4> from{};
    std::array<std::uint8_t, 4> to{};
    ::inet_pton(AF_INET, own.c_str(), from.data());
    ::inet_pton(AF_INET, target.c_str(), to.data());
    Frame frame(6, 0xff);
    append_all(frame, mac);
    append(frame, {8, 6, 0, 1, 8, 0, 6, 4, 0, 1});
    append_all(frame, mac);
    append_all(frame, from);
    append(frame, {0, 0, 0, 0, 0, 0});
    append_all(frame, to);
    return frame;
}

// RFC 4861 4.3, with the source link-layer address option.
Frame neighbor_solicitation(const Mac& mac, const std::string& own, const std::string& target) {
    std::array<std::uint8_t, 16> from{};
    std::array<std::uint8_t, 16> to{};
    ::inet_pton(AF_INET6, own.c_str(), from.data());
    ::inet_pton(AF_INET6, target.c_str(), to.data());
    std::array<std::uint8_t, 16> group{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, to[13], to[14], to[15]};
    Frame body;
    append(body, {solicitation, 0, 0, 0, 0, 0, 0, 0});
    append_all(body, to);
    append(body, {1, 1});
    append_all(body, mac);
    Frame summed;  // RFC 8200 8.1: the checksum covers a pseudo header as well
    append_all(summed, from);
    append_all(summed, group);
    append(summed, {0, 0, 0, static_cast<unsigned>(body.size()), 0, 0, 0, icmp6});
    append_all(summed, body);
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < summed.size(); i += 2) sum += summed[i] * 256U + summed[i + 1];
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    sum = ~sum & 0xffff;
    body[2] = static_cast<std::uint8_t>(sum >> 8);
    body[3] = static_cast<std::uint8_t>(sum & 0xff);
    Frame frame;
    append(frame, {0x33, 0x33, 0xff, to[13], to[14], to[15]});
    append_all(frame, mac);
    append(frame, {0x86, 0xdd, 0x60, 0, 0, 0, 0, static_cast<unsigned>(body.size()), icmp6, 255});
    append_all(frame, from);
    append_all(frame, group);
    append_all(frame, body);
    return frame;
}

}  // namespace

int open_tap(const Namespace& host, const std::string& interface, Mac* mac) {
    int fd = -1;
    host.run([&] {
        fd = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
        if (fd < 0) fail_errno("packet socket");
        const int buffer = 16 * 1024 * 1024;
        const int on = 1;
        ::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
        ::setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
        sockaddr_ll here{};
        here.sll_family = AF_PACKET;
        here.sll_protocol = htons(ETH_P_ALL);
        here.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
        if (::bind(fd, reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0) fail_errno("bind " + interface);
        ifreq request{};
        std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
        if (::ioctl(fd, SIOCGIFHWADDR, &request) != 0) fail_errno(interface);
        if (mac != nullptr) std::memcpy(mac->data(), request.ifr_hwaddr.sa_data, mac->size());
    });
    return fd;
}

bool read_frame(int fd, FrameBuffer& buffer, Arrival& arrival) {
    sockaddr_ll from{};
    iovec part{buffer.data(), buffer.size()};
    alignas(cmsghdr) std::array<char, 128> control{};
    msghdr message{&from, sizeof from, &part, 1, control.data(), control.size(), 0};
    const ssize_t bytes = ::recvmsg(fd, &message, 0);
    if (bytes < 0) return false;
    arrival = {static_cast<std::size_t>(bytes), from.sll_pkttype == PACKET_OUTGOING, realtime_ns()};
    for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
        if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_TIMESTAMPNS) continue;
        timespec time{};
        std::memcpy(&time, CMSG_DATA(one), sizeof time);
        arrival.time_ns = time.tv_sec * 1000000000LL + time.tv_nsec;
    }
    return true;
}

Frame neighbor_question(const Mac& mac, const std::string& own, const std::string& target) {
    return target.find(':') != std::string::npos ? neighbor_solicitation(mac, own, target)
                                                 : arp_request(mac, own, target);
}

std::optional<NeighborMessage> neighbor_message(const std::uint8_t* frame, std::size_t bytes) {
    const std::uint8_t* body = frame + eth_bytes;
    NeighborMessage message;
    if (bytes >= eth_bytes + arp_bytes && frame[12] == 8 && frame[13] == 6) {
        message.address = text_of(AF_INET, body + 14);
        message.mac = mac_text(body + 8);
        message.to = text_of(AF_INET, body + 24);
        message.announcement = message.address == message.to;
        message.answer = body[7] == 2 && !message.announcement;
        return message;
    }
    if (bytes < eth_bytes + ip6_bytes + nd_bytes || frame[12] != 0x86 || frame[13] != 0xdd || body[6] != icmp6 ||
        body[ip6_bytes] != advertisement)
        return std::nullopt;
    constexpr std::uint8_t override_flag = 0x20;
    const std::uint8_t* nd = body + ip6_bytes;
    message.address = text_of(AF_INET6, nd + 8);
    // The target link-layer address option is what neighbours believe.
    const bool says_mac = bytes >= eth_bytes + ip6_bytes + nd_bytes + 8 && nd[24] == 2 && nd[25] == 1;
    message.mac = mac_text(says_mac ? nd + 26 : frame + 6);
    message.to = text_of(AF_INET6, body + 24);
    const bool to_all = body[24] == 0xff;
    message.announcement = to_all && (nd[4] & override_flag) != 0;
    message.answer = !to_all;
    return message;
}

std::int64_t realtime_ns() {
    timespec time{};
    ::clock_gettime(CLOCK_REALTIME, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

}  // namespace lbcluster::lab
