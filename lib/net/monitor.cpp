#include "lbcluster/net/monitor.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "route_messages.hpp"

namespace lbcluster::net {
namespace {

constexpr int socket_buffer_bytes = 4 << 20;
constexpr std::size_t message_bytes_max = 65536;
// Of one drain. More stays readable, and the io_context comes back after others had their turn.
constexpr int messages_per_drain = 4096;

}  // namespace

Result<std::unique_ptr<Monitor>> Monitor::open(boost::asio::io_context& io, Groups groups, Callbacks callbacks) {
    const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0) return Error{std::string("cannot open a netlink socket: ") + std::strerror(errno), "", errno};
    sockaddr_nl local{};
    local.nl_family = AF_NETLINK;
    if (groups.links) local.nl_groups |= RTMGRP_LINK;
    if (groups.addresses) local.nl_groups |= RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
    const int bytes = socket_buffer_bytes;
    if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0)
        (void)::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&local), sizeof(local)) != 0) {
        const int code = errno;
        ::close(fd);
        return Error{std::string("cannot listen to netlink events: ") + std::strerror(code), "", code};
    }
    std::unique_ptr<Monitor> monitor(new Monitor(io, fd, std::move(callbacks)));
    monitor->wait();
    return monitor;
}

Monitor::Monitor(boost::asio::io_context& io, int fd, Callbacks callbacks)
    : socket_(io, fd), callbacks_(std::move(callbacks)), buffer_(message_bytes_max) {}

void Monitor::ignore(std::uint32_t port) {
    // An event of a change carries the requester's port, and so does every message of one datagram. The filter reads in
    // network order what is in the host's.
    std::array<sock_filter, 4> filter{{
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(nlmsghdr, nlmsg_pid)},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, htonl(port)},
        {BPF_RET | BPF_K, 0, 0, 0},
        {BPF_RET | BPF_K, 0, 0, 0xffffffff},
    }};
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    (void)::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

void Monitor::wait() {
    socket_.async_wait(boost::asio::posix::descriptor_base::wait_read, [this](const boost::system::error_code& error) {
        if (error) return;  // closed: this object may be gone
        drain();
        wait();
    });
}

void Monitor::drain() {
    for (int i = 0; i < messages_per_drain; ++i) {
        sockaddr_nl from{};
        iovec part{buffer_.data(), buffer_.size()};
        msghdr header{};
        header.msg_name = &from;
        header.msg_namelen = sizeof(from);
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        const ssize_t bytes = ::recvmsg(socket_.native_handle(), &header, MSG_DONTWAIT);
        if (bytes < 0 && errno == EINTR) continue;
        if (bytes < 0 && errno == ENOBUFS) {
            if (callbacks_.on_overrun) callbacks_.on_overrun();
            continue;
        }
        if (bytes <= 0) return;
        if (from.nl_pid == 0 && (header.msg_flags & MSG_TRUNC) == 0) handle(static_cast<std::size_t>(bytes));
    }
}

void Monitor::handle(std::size_t bytes) {
    int left = static_cast<int>(bytes);
    for (auto* message = reinterpret_cast<nlmsghdr*>(buffer_.data()); nlmsg_ok(message, left) != 0;
         message = nlmsg_next(message, &left)) {
        const auto type = message->nlmsg_type;
        if (type == RTM_NEWLINK || type == RTM_DELLINK) {
            const auto link = parse_link(message);
            if (link && callbacks_.on_link) callbacks_.on_link(*link, type == RTM_DELLINK);
        } else if (type == RTM_NEWADDR || type == RTM_DELADDR) {
            const auto address = parse_address(message);
            if (address && callbacks_.on_address) callbacks_.on_address(*address, type == RTM_DELADDR);
        }
    }
}

}  // namespace lbcluster::net
