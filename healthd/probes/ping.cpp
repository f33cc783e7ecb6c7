#include "healthd/probes/ping.hpp"

#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "healthd/probes/errors.hpp"
#include "lbcluster/net/packets.hpp"

namespace lbcluster::health {
namespace {

constexpr std::size_t message_bytes_max = 1500;
constexpr std::size_t header_bytes = 8;
constexpr int messages_per_turn = 256;
constexpr int buffer_bytes = 1024 * 1024;  // thousands of answers may come before we look

// Only echo replies; without the filter there is only more to read and to refuse.
void set_filter(int fd, bool v6) {
    if (v6) {
        icmp6_filter filter{};
        ICMP6_FILTER_SETBLOCKALL(&filter);
        ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
        ::setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter);
    } else {
        icmp_filter filter{};
        filter.data = ~(1U << ICMP_ECHOREPLY);
        ::setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter, sizeof filter);
    }
}

IpAddress address_of(const sockaddr_storage& from) {
    if (from.ss_family == AF_INET6) {
        std::array<std::uint8_t, 16> bytes{};
        std::copy_n(reinterpret_cast<const sockaddr_in6&>(from).sin6_addr.s6_addr, bytes.size(), bytes.begin());
        return IpAddress::v6(bytes);
    }
    std::array<std::uint8_t, 4> bytes{};
    std::memcpy(bytes.data(), &reinterpret_cast<const sockaddr_in&>(from).sin_addr, bytes.size());
    return IpAddress::v4(bytes);
}

}  // namespace

int PingSocket::open() {
    if (watch_.fd() >= 0) return 0;
    const int family = v6_ ? AF_INET6 : AF_INET;
    const int protocol = v6_ ? static_cast<int>(IPPROTO_ICMPV6) : static_cast<int>(IPPROTO_ICMP);
    raw_ = false;
    if (watch_.open(family, SOCK_DGRAM, protocol) != 0) {
        raw_ = true;
        if (const int code = watch_.open(family, SOCK_RAW, protocol); code != 0) return code;
        set_filter(watch_.fd(), v6_);
    }
    ::setsockopt(watch_.fd(), SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
    (void)!::getrandom(&id_, sizeof id_, GRND_NONBLOCK);
    const int code = watch_.watch(EPOLLIN);
    if (code != 0) watch_.close();
    return code;
}

int PingSocket::ask(PingProbe& probe, const IpAddress& to, std::uint16_t& sequence) {
    if (sequence == 0) {
        if (waiting_.size() >= 0xffff) return ENOBUFS;
        do ++last_sequence_;
        while (last_sequence_ == 0 || waiting_.contains(last_sequence_));
        sequence = last_sequence_;
        Waiting waiting{&probe, to, {}};
        (void)!::getrandom(waiting.nonce.data(), waiting.nonce.size(), GRND_NONBLOCK);
        waiting_.emplace(sequence, waiting);
    }
    const auto& nonce = waiting_.at(sequence).nonce;
    const auto message = net::echo_request_message({{}, to, id_, sequence, net::Bytes(nonce.begin(), nonce.end())});
    const SocketAddress address(to, 0);
    const ssize_t sent = ::sendto(watch_.fd(), message.data(), message.size(), 0, address.get(), address.bytes());
    return sent < 0 ? errno : 0;
}

void PingSocket::on_ready(std::uint32_t /*events*/) {
    std::array<std::uint8_t, message_bytes_max> buffer;
    for (int i = 0; i < messages_per_turn; ++i) {
        sockaddr_storage from{};
        socklen_t from_bytes = sizeof from;
        const ssize_t got =
            ::recvfrom(watch_.fd(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &from_bytes);
        if (got < 0 && errno == EAGAIN) return;
        if (got < 0) continue;  // an error of an earlier request, told once
        auto bytes = static_cast<std::size_t>(got);
        // Raw sockets of IPv4 deliver the IP header, too.
        const std::size_t skip = raw_ && !v6_ && bytes > 0 ? static_cast<std::size_t>(buffer[0] & 0x0f) * 4 : 0;
        if (skip > bytes) continue;
        on_message(address_of(from), buffer.data() + skip, bytes - skip);
    }
    watch_.wake();  // edge-triggered: the rest in the next turn
}

void PingSocket::on_message(const IpAddress& from, const std::uint8_t* message, std::size_t bytes) {
    if (bytes != header_bytes + nonce_bytes) return;
    if (message[0] != (v6_ ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) || message[1] != 0) return;
    if (raw_ && (message[4] << 8 | message[5]) != id_) return;
    const auto found = waiting_.find(static_cast<std::uint16_t>(message[6] << 8 | message[7]));
    if (found == waiting_.end() || found->second.from != from) return;
    const auto& nonce = found->second.nonce;
    if (!std::equal(nonce.begin(), nonce.end(), message + header_bytes)) return;
    found->second.probe->on_answer();
}

void PingProbe::begin() {
    sends_ = 0;
    if (const int code = socket_.open(); code != 0) {
        const bool forbidden = code == EACCES || code == EPERM;
        return settle(Finding::unusable, "no socket for pings: " + error_text(code) +
                                             (forbidden ? "; needs CAP_NET_RAW or net.ipv4.ping_group_range" : ""));
    }
    go_on(0);
}

void PingProbe::go_on(std::uint32_t /*events*/) {
    if (const int code = socket_.ask(*this, address_, sequence_); code != 0) return settle(call_failed("ping", code));
    if (transcript() != nullptr) transcript()->note("echo request to " + address_.to_string());
    if (++sends_ < sends_max) watch_.wake_after_pause();
}

void PingProbe::end() {
    if (sequence_ != 0) socket_.forget(sequence_);
    sequence_ = 0;
}

void PingProbe::on_answer() { settle(Finding::up, "echo reply"); }

}  // namespace lbcluster::health
