#include "heartbeat/net/pinger.hpp"

#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "lbcluster/base/clock.hpp"

namespace lbcluster::heartbeat {
namespace {

constexpr std::size_t open_requests_max = 16;
constexpr std::size_t message_bytes_max = 1500;
constexpr std::size_t header_bytes = 8;
constexpr int messages_per_drain = 256;
constexpr Duration confirmed_for = 2s;

int open_socket(bool v6) {
    const int fd = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                            v6 ? static_cast<int>(IPPROTO_ICMPV6) : static_cast<int>(IPPROTO_ICMP));
    if (fd < 0) return -1;
    int result = 0;
    if (v6) {
        icmp6_filter filter{};
        ICMP6_FILTER_SETBLOCKALL(&filter);
        ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
        result = ::setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter));
    } else {
        icmp_filter filter{};
        filter.data = ~(1U << ICMP_ECHOREPLY);
        result = ::setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter, sizeof(filter));
    }
    (void)result;  // without the filter there is only more to read and to refuse
    return fd;
}

}  // namespace

Result<std::unique_ptr<Pinger>> Pinger::open(boost::asio::io_context& io, OnReply on_reply) {
    std::unique_ptr<Pinger> pinger(new Pinger(io, std::move(on_reply)));
    const int v4 = open_socket(false);
    const int code = errno;
    const int v6 = open_socket(true);
    if (v4 < 0 && v6 < 0)
        return Error{std::string("cannot open a socket for pings: ") + std::strerror(code),
                     "heartbeatd needs CAP_NET_RAW", code};
    if (v4 >= 0) pinger->v4_.assign(v4);
    if (v6 >= 0) pinger->v6_.assign(v6);
    pinger->wait(pinger->v4_);
    pinger->wait(pinger->v6_);
    return pinger;
}

Pinger::Pinger(boost::asio::io_context& io, OnReply on_reply) : v4_(io), v6_(io), on_reply_(std::move(on_reply)) {
    (void)!::getrandom(&id_, sizeof(id_), GRND_NONBLOCK);
}

void Pinger::set_nodes(const std::vector<IpAddress>& nodes) {
    nodes_.clear();
    for (const auto& ip : nodes) nodes_.push_back({ip, {}});
}

void Pinger::ping(std::size_t index) {
    if (index >= nodes_.size()) return;
    Node& node = nodes_[index];
    auto& socket = node.ip.is_v6() ? v6_ : v4_;
    Request request;
    if (!socket.is_open() || ::getrandom(request.nonce.data(), request.nonce.size(), GRND_NONBLOCK) !=
                                 static_cast<ssize_t>(request.nonce.size()))
        return;
    request.sequence = ++sequence_;
    const auto message = net::echo_request_message(
        {{}, node.ip, id_, request.sequence, net::Bytes(request.nonce.begin(), request.nonce.end())});
    sockaddr_storage to{};
    socklen_t to_bytes = 0;
    if (node.ip.is_v6()) {
        auto& address = reinterpret_cast<sockaddr_in6&>(to);
        address.sin6_family = AF_INET6;
        std::copy_n(node.ip.bytes().begin(), 16, address.sin6_addr.s6_addr);
        to_bytes = sizeof(sockaddr_in6);
    } else {
        auto& address = reinterpret_cast<sockaddr_in&>(to);
        address.sin_family = AF_INET;
        std::memcpy(&address.sin_addr, node.ip.bytes().data(), 4);
        to_bytes = sizeof(sockaddr_in);
    }
    if (node.open.size() >= open_requests_max) node.open.pop_front();
    request.sent_at = boottime_now();
    node.open.push_back(request);
    // It answered a moment ago: the kernel need not ask for its MAC address again. On a lossy network three lost
    // questions would make it forget a router that is well (RFC 4861 7.3.1, reachability confirmation).
    const bool fresh = node.answered_at && request.sent_at - *node.answered_at < confirmed_for;
    (void)::sendto(socket.native_handle(), message.data(), message.size(), MSG_DONTWAIT | (fresh ? MSG_CONFIRM : 0),
                   reinterpret_cast<const sockaddr*>(&to), to_bytes);
}

void Pinger::wait(boost::asio::posix::stream_descriptor& socket) {
    if (!socket.is_open()) return;
    socket.async_wait(boost::asio::posix::descriptor_base::wait_read,
                      [this, &socket](const boost::system::error_code& error) {
                          if (error) return;
                          drain(socket, &socket == &v6_);
                          wait(socket);
                      });
}

void Pinger::drain() {
    drain(v4_, false);
    drain(v6_, true);
}

void Pinger::drain(boost::asio::posix::stream_descriptor& socket, bool v6) {
    if (!socket.is_open()) return;
    std::array<std::uint8_t, message_bytes_max> buffer{};
    for (int i = 0; i < messages_per_drain; ++i) {
        sockaddr_storage from{};
        socklen_t from_bytes = sizeof(from);
        const ssize_t bytes = ::recvfrom(socket.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT,
                                         reinterpret_cast<sockaddr*>(&from), &from_bytes);
        if (bytes < 0 && errno == EAGAIN) return;
        if (bytes < 0) continue;  // an error of an earlier request, delivered once
        net::ByteView message(buffer.data(), static_cast<std::size_t>(bytes));
        if (v6) {
            std::array<std::uint8_t, 16> ip{};
            std::copy_n(reinterpret_cast<sockaddr_in6&>(from).sin6_addr.s6_addr, ip.size(), ip.begin());
            on_message(IpAddress::v6(ip), message, true);
            continue;
        }
        // IPv4 raw sockets deliver the IP header, too.
        const std::size_t header = message.empty() ? 0 : static_cast<std::size_t>(message[0] & 0x0f) * 4;
        if (message.size() < 20 || header < 20 || header > message.size()) continue;
        on_message(IpAddress::v4({message[12], message[13], message[14], message[15]}), message.subspan(header), false);
    }
}

void Pinger::on_message(const IpAddress& from, net::ByteView message, bool v6) {
    if (message.size() != header_bytes + sizeof(Request::nonce)) return;
    if (message[0] != (v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) || (message[4] << 8 | message[5]) != id_) return;
    const int sequence = message[6] << 8 | message[7];
    for (std::size_t index = 0; index < nodes_.size(); ++index) {
        if (nodes_[index].ip != from) continue;
        auto& open = nodes_[index].open;
        const auto it = std::find_if(open.begin(), open.end(), [&](const Request& request) {
            return request.sequence == sequence &&
                   std::equal(request.nonce.begin(), request.nonce.end(), message.begin() + header_bytes);
        });
        if (it == open.end()) continue;
        const Instant now = boottime_now();
        nodes_[index].answered_at = now;
        const Duration round_trip = now - it->sent_at;
        open.erase(open.begin(), it + 1);  // older ones are lost or will be late: no news any more
        return on_reply_(index, round_trip);
    }
}

}  // namespace lbcluster::heartbeat
