#include "heartbeat/wire/udp_link.hpp"

#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "lbcluster/base/clock.hpp"

namespace lbcluster::heartbeat {

namespace {

namespace asio = boost::asio;

constexpr Duration confirmed_for = 2s;
constexpr int receive_buffer_bytes = 256 * 1024;  // some hundred heartbeats
constexpr int traffic_class_cs6 = 0xc0;

bool set_option(int fd, int level, int option, int value) {
    return ::setsockopt(fd, level, option, &value, sizeof value) == 0;
}

// The address or the interface this socket stands on has gone: a new socket may find it again.
bool needs_reopening(int code) {
    return code == EADDRNOTAVAIL || code == ENODEV || code == ENXIO || code == EINVAL || code == EBADF ||
           code == EPIPE || code == ENOTCONN;
}

// What the network answered to an earlier packet; the socket hands it to whatever call comes next.
bool is_from_network(int code) {
    return code == ECONNREFUSED || code == EHOSTUNREACH || code == ENETUNREACH || code == ENOPROTOOPT ||
           code == EMSGSIZE || code == EPROTO || code == EACCES || code == EHOSTDOWN;
}

}  // namespace

UdpLink::UdpLink(asio::io_context& io, UdpLinkOptions options, OnReadable on_readable)
    : options_(std::move(options)),
      on_readable_(std::move(on_readable)),
      socket_(io),
      retry_(io),
      back_off_(back_off_min) {
    LBC_ASSERT(options_.local.is_v4() == options_.peer.is_v4());
    if (options_.peer_port == 0) options_.peer_port = options_.port;
    for (std::size_t i = 0; i < batch; ++i) vectors_.at(i) = {buffers_.at(i).data(), buffers_.at(i).size()};
}

UdpLink::~UdpLink() = default;

void UdpLink::start() { open(); }

unsigned UdpLink::interface_index() const {
    return options_.interface.empty() ? 0 : ::if_nametoindex(options_.interface.c_str());
}

UdpLink::Endpoint UdpLink::endpoint(const IpAddress& address, std::uint16_t port) const {
    Endpoint result;
    const auto bytes = address.bytes();
    if (address.is_v4()) {
        auto& v4 = reinterpret_cast<sockaddr_in&>(result.address);
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        std::memcpy(&v4.sin_addr, bytes.data(), bytes.size());
        result.size = sizeof v4;
    } else {
        auto& v6 = reinterpret_cast<sockaddr_in6&>(result.address);
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        std::memcpy(&v6.sin6_addr, bytes.data(), bytes.size());
        if (address.is_link_local()) v6.sin6_scope_id = opened_on_;
        result.size = sizeof v6;
    }
    return result;
}

bool UdpLink::is_peer(const sockaddr_storage& source) const {
    if (source.ss_family != peer_.address.ss_family) return false;
    if (source.ss_family == AF_INET) {
        const auto& a = reinterpret_cast<const sockaddr_in&>(source);
        const auto& b = reinterpret_cast<const sockaddr_in&>(peer_.address);
        return a.sin_port == b.sin_port && a.sin_addr.s_addr == b.sin_addr.s_addr;
    }
    const auto& a = reinterpret_cast<const sockaddr_in6&>(source);
    const auto& b = reinterpret_cast<const sockaddr_in6&>(peer_.address);
    return a.sin6_port == b.sin6_port && std::memcmp(&a.sin6_addr, &b.sin6_addr, sizeof a.sin6_addr) == 0 &&
           (b.sin6_scope_id == 0 || a.sin6_scope_id == b.sin6_scope_id);
}

void UdpLink::fail(std::string_view what, int code) {
    if (code == error_code_ && !error_.empty()) return;  // no new text for each heartbeat of a lasting trouble
    error_code_ = code;
    error_ = std::string(what) + ": " + std::system_category().message(code);
}

// Everything before bind(). False: cannot be used, errno says why.
bool UdpLink::prepare(int fd) {
    note_.clear();
    const bool v4 = options_.local.is_v4();
    if (v4) {
        set_option(fd, IPPROTO_IP, IP_FREEBIND, 1);
        set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
        set_option(fd, IPPROTO_IP, IP_TOS, traffic_class_cs6);
        set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
    } else {
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        set_option(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
        set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
        set_option(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
        set_option(fd, IPPROTO_IPV6, IPV6_TCLASS, traffic_class_cs6);
        set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    }
    // After the traffic class, which sets a priority of its own. 7 needs a privilege.
    if (!set_option(fd, SOL_SOCKET, SO_PRIORITY, 7)) set_option(fd, SOL_SOCKET, SO_PRIORITY, 6);
    set_option(fd, SOL_SOCKET, SO_RCVBUF, receive_buffer_bytes);
    if (options_.interface.empty()) return true;
    const std::string& device = options_.interface;
    if (::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device.data(), static_cast<socklen_t>(device.size())) == 0) {
        return true;
    }
    if (errno != EPERM) return false;
    note_ = "may not bind to " + device + "; the routing table decides where heartbeats go";
    return true;
}

void UdpLink::open() {
    reopening_ = false;
    boost::system::error_code ignored;
    socket_.close(ignored);
    opened_on_ = interface_index();
    const auto protocol = options_.local.is_v4() ? asio::ip::udp::v4() : asio::ip::udp::v6();
    boost::system::error_code failed;
    socket_.open(protocol, failed);
    if (!failed) socket_.non_blocking(true, failed);
    int code = failed.value();
    const int fd = socket_.native_handle();
    if (code == 0 && !prepare(fd)) code = errno;
    if (code == 0) {
        peer_ = endpoint(options_.peer, options_.peer_port);
        const Endpoint local = endpoint(options_.local, options_.port);
        if (::bind(fd, reinterpret_cast<const sockaddr*>(&local.address), local.size) != 0) code = errno;
    }
    if (code != 0) {
        ++counters_.open_failures;
        fail("cannot open " + options_.local.to_string() + " port " + std::to_string(options_.port) +
                 (options_.interface.empty() ? "" : " on " + options_.interface),
             code);
        socket_.close(ignored);
        reopen_later();
        return;
    }
    ++counters_.opened;
    error_.clear();
    error_code_ = 0;
    wait();
}

void UdpLink::reopen_later() {
    if (reopening_) return;
    reopening_ = true;
    retry_.expires_after(back_off_);
    back_off_ = std::min(back_off_ * 2, back_off_max);
    retry_.async_wait([this, alive = std::weak_ptr<int>(alive_)](const boost::system::error_code& failed) {
        if (!failed && !alive.expired()) open();
    });
}

void UdpLink::wait() {
    socket_.async_wait(asio::socket_base::wait_read,
                       [this, alive = std::weak_ptr<int>(alive_)](const boost::system::error_code& failed) {
                           if (failed || alive.expired()) return;
                           on_readable_();
                           if (!alive.expired() && socket_.is_open()) wait();
                       });
}

void UdpLink::send(std::span<const std::uint8_t> datagram) {
    if (!socket_.is_open()) {
        ++counters_.send_errors;
        return;
    }
    // The first call may only report what the network said to an earlier packet: then this one is still to be sent.
    int code = 0;
    // As for ping nodes: a peer that is heard need not be asked for its MAC address again.
    const int confirm = heard_at_ && boottime_now() - *heard_at_ < confirmed_for ? MSG_CONFIRM : 0;
    for (int attempt = 0; attempt < 3; ++attempt) {
        const ssize_t n =
            ::sendto(socket_.native_handle(), datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL | confirm,
                     reinterpret_cast<const sockaddr*>(&peer_.address), peer_.size);
        if (n >= 0) {
            ++counters_.sent;
            error_.clear();
            error_code_ = 0;
            back_off_ = back_off_min;
            return;
        }
        code = errno;
        if (is_from_network(code)) answered_ = true;
        else if (code != EINTR) break;
    }
    if (code == EAGAIN || code == ENOBUFS || code == ENOMEM) {
        ++counters_.send_busy;
    } else {
        ++counters_.send_errors;
    }
    fail("cannot send to " + options_.peer.to_string(), code);
    // IPv6 does not say ENODEV for an interface that has gone, but ENETUNREACH, as the network may.
    if (needs_reopening(code) || (is_from_network(code) && interface_index() != opened_on_)) reopen_later();
}

// Bounded by its caller's bound on errors; each message is one ICMP answer or local refusal.
void UdpLink::read_error_queue() {
    for (std::size_t i = 0; i < drain_max; ++i) {
        alignas(cmsghdr) std::array<std::uint8_t, 256> control{};
        msghdr message{};
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        if (::recvmsg(socket_.native_handle(), &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
        ++counters_.network_errors;
    }
}

void UdpLink::drain(const OnDatagram& on_datagram) {
    std::size_t budget = drain_max;
    while (budget > 0 && socket_.is_open()) {
        const auto want = static_cast<unsigned>(std::min(batch, budget));
        for (unsigned i = 0; i < want; ++i) {
            messages_.at(i) = {};
            messages_.at(i).msg_hdr.msg_name = &sources_.at(i);
            messages_.at(i).msg_hdr.msg_namelen = sizeof(sockaddr_storage);
            messages_.at(i).msg_hdr.msg_iov = &vectors_.at(i);
            messages_.at(i).msg_hdr.msg_iovlen = 1;
        }
        const int n = ::recvmmsg(socket_.native_handle(), messages_.data(), want, MSG_DONTWAIT, nullptr);
        if (n < 0) {
            const int code = errno;
            if (code == EAGAIN) break;
            --budget;
            if (is_from_network(code)) {
                answered_ = true;  // counted when read from the error queue
                continue;
            }
            if (code == EINTR) continue;
            ++counters_.receive_errors;
            if (needs_reopening(code)) {
                fail("cannot receive on " + options_.local.to_string(), code);
                reopen_later();
                break;
            }
            continue;
        }
        for (int i = 0; i < n; ++i) {
            const auto at = static_cast<std::size_t>(i);
            if (is_peer(sources_.at(at))) heard_at_ = boottime_now();
            if (!is_peer(sources_.at(at))) {
                ++counters_.strangers;
                continue;
            }
            ++counters_.received;
            on_datagram({buffers_.at(at).data(), messages_.at(at).msg_len});
        }
        budget -= static_cast<std::size_t>(n);
        if (static_cast<unsigned>(n) < want) break;
    }
    // A socket with something in its error queue polls readable until that is read: looked at after an error, and if
    // nothing else can be why we were called.
    if (socket_.is_open() && (std::exchange(answered_, false) || budget == drain_max)) read_error_queue();
}

}  // namespace lbcluster::heartbeat
