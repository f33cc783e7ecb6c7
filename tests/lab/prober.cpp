#include "tests/lab/prober.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace lbcluster::lab {

namespace {

struct Packet {
    std::uint64_t number;
    std::uint32_t host;
    std::uint32_t magic;
};
constexpr std::uint32_t magic_word = 0x6c626376;
constexpr int switched_on = 1;

std::int64_t now_ns() { return std::chrono::nanoseconds(Clock::now().time_since_epoch()).count(); }

// Answers leave with the address that was asked as their source. Transparent: an answer may still leave when
// its address was removed a microsecond ago, as forwarded traffic would.
int open_service(int family) {
    const int fd = ::socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) fail_errno("socket of the service");
    int result = 0;
    if (family == AF_INET) {
        sockaddr_in any{};
        any.sin_family = AF_INET;
        any.sin_port = htons(service_port);
        ::setsockopt(fd, SOL_IP, IP_PKTINFO, &switched_on, sizeof switched_on);
        ::setsockopt(fd, SOL_IP, IP_TRANSPARENT, &switched_on, sizeof switched_on);
        result = ::bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any);
    } else {
        sockaddr_in6 any{};
        any.sin6_family = AF_INET6;
        any.sin6_port = htons(service_port);
        ::setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &switched_on, sizeof switched_on);
        ::setsockopt(fd, SOL_IPV6, IPV6_RECVPKTINFO, &switched_on, sizeof switched_on);
        ::setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &switched_on, sizeof switched_on);
        result = ::bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any);
    }
    if (result != 0) fail_errno("bind of the service");
    return fd;
}

// Of the interface, only the choice of the answer's source address matters.
void forget_interface(msghdr& message) {
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level == SOL_IP && part->cmsg_type == IP_PKTINFO) {
            in_pktinfo info{};
            std::memcpy(&info, CMSG_DATA(part), sizeof info);
            info.ipi_ifindex = 0;
            info.ipi_spec_dst = info.ipi_addr;
            std::memcpy(CMSG_DATA(part), &info, sizeof info);
        } else if (part->cmsg_level == SOL_IPV6 && part->cmsg_type == IPV6_PKTINFO) {
            in6_pktinfo info{};
            std::memcpy(&info, CMSG_DATA(part), sizeof info);
            info.ipi6_ifindex = 0;
            std::memcpy(CMSG_DATA(part), &info, sizeof info);
        }
    }
}

}  // namespace

EchoService::EchoService(const std::vector<const Namespace*>& hosts) {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (epoll_ < 0 || wake_ < 0) fail_errno("epoll");
    for (const Namespace* host : hosts) {
        names_.push_back(host->name());
        powered_.push_back(std::make_unique<std::atomic<bool>>(true));
        host->run([&] {
            for (const int family : {AF_INET, AF_INET6}) sockets_.push_back({open_service(family), names_.size() - 1});
        });
    }
    for (std::size_t i = 0; i <= sockets_.size(); ++i) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = i;
        ::epoll_ctl(epoll_, EPOLL_CTL_ADD, i < sockets_.size() ? sockets_[i].fd : wake_, &event);
    }
    thread_ = std::thread([this] { serve(); });
}

EchoService::~EchoService() {
    const std::uint64_t value = 1;
    [[maybe_unused]] const ssize_t ignored = ::write(wake_, &value, sizeof value);
    thread_.join();
    for (const Socket& socket : sockets_) ::close(socket.fd);
    ::close(wake_);
    ::close(epoll_);
}

void EchoService::set_powered(const std::string& host, bool on) {
    for (std::size_t i = 0; i < names_.size(); ++i)
        if (names_[i] == host) powered_[i]->store(on);
}

void EchoService::serve() {
    use_realtime(40);
    std::array<epoll_event, 16> events{};
    while (true) {
        const int ready = ::epoll_wait(epoll_, events.data(), events.size(), -1);
        for (int i = 0; i < ready; ++i) {
            const std::uint64_t index = events[static_cast<std::size_t>(i)].data.u64;
            if (index == sockets_.size()) return;
            answer(sockets_[index]);
        }
    }
}

void EchoService::answer(const Socket& socket) {
    while (true) {
        Packet packet{};
        sockaddr_storage from{};
        iovec part{&packet, sizeof packet};
        alignas(cmsghdr) std::array<char, 128> control{};
        msghdr message{&from, sizeof from, &part, 1, control.data(), control.size(), 0};
        const ssize_t bytes = ::recvmsg(socket.fd, &message, 0);
        if (bytes < 0) return;
        if (bytes != sizeof packet || packet.magic != magic_word || !powered_[socket.host]->load()) continue;
        packet.host = static_cast<std::uint32_t>(socket.host);
        forget_interface(message);
        ::sendmsg(socket.fd, &message, 0);
    }
}

Prober::Prober(const Namespace& client, const EchoService& service, const std::string& address, Nanoseconds pace)
    : service_(service), pace_(pace), probes_(600000) {
    const bool v6 = address.find(':') != std::string::npos;
    sockaddr_storage target{};
    if (v6) {
        auto* to = reinterpret_cast<sockaddr_in6*>(&target);
        to->sin6_family = AF_INET6;
        to->sin6_port = htons(service_port);
        if (::inet_pton(AF_INET6, address.c_str(), &to->sin6_addr) != 1) fail("not an address: " + address);
    } else {
        auto* to = reinterpret_cast<sockaddr_in*>(&target);
        to->sin_family = AF_INET;
        to->sin_port = htons(service_port);
        if (::inet_pton(AF_INET, address.c_str(), &to->sin_addr) != 1) fail("not an address: " + address);
    }
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&target);
    target_.assign(bytes, bytes + (v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in)));
    client.run([&] { fd_ = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); });
    if (fd_ < 0) fail_errno("socket of the prober");
    thread_ = std::thread([this] { probe_forever(); });
}

Prober::~Prober() {
    ending_ = true;
    thread_.join();
    ::close(fd_);
}

void Prober::receive(int fd) {
    Packet packet{};
    while (::recv(fd, &packet, sizeof packet, 0) == sizeof packet) {
        if (packet.magic != magic_word || packet.number >= count_.load()) continue;
        Probe& probe = probes_[packet.number];
        if (probe.answered_ns.load() != 0) continue;
        const std::int64_t now = now_ns();
        const auto host = static_cast<std::int32_t>(packet.host);
        probe.host = host;
        probe.answered_ns = now;
        in_a_row_ = last_host_.load() == host ? in_a_row_.load() + 1 : 1;
        last_host_ = host;
        last_answer_ns_ = now;
    }
}

void Prober::probe_forever() {
    use_realtime(50);
    std::int64_t due = now_ns();
    while (!ending_ && count_ < probes_.size()) {
        const std::int64_t now = now_ns();
        if (now >= due) {
            const std::size_t number = count_.load();
            Probe& probe = probes_[number];
            probe.late_us = static_cast<std::int32_t>((now - due) / 1000);
            probe.sent_ns = now;
            count_ = number + 1;
            const Packet packet{number, 0, magic_word};
            ::sendto(fd_, &packet, sizeof packet, 0, reinterpret_cast<const sockaddr*>(target_.data()),
                     static_cast<socklen_t>(target_.size()));
            // A prober that was held up goes on from now: a burst would prove nothing.
            due = std::max(due + pace_.count(), now - 2 * pace_.count());
        }
        pollfd ready{fd_, POLLIN, 0};
        const std::int64_t left = std::max<std::int64_t>(due - now_ns(), 0);
        const timespec wait{left / 1000000000, left % 1000000000};
        if (::ppoll(&ready, 1, &wait, nullptr) > 0) receive(fd_);
    }
}

void Prober::mark() { mark_ = count_.load(); }

ProbeReport Prober::report(Nanoseconds linger) const {
    const std::size_t end = count_.load();
    std::this_thread::sleep_for(linger);
    ProbeReport report;
    std::vector<std::pair<std::int64_t, std::int32_t>> answers;
    const std::size_t begin = mark_.load();
    for (std::size_t i = begin; i < end; ++i) {
        const Probe& probe = probes_[i];
        ++report.sent;
        report.own_lateness =
            std::max<Nanoseconds>(report.own_lateness, std::chrono::microseconds(probe.late_us.load()));
        if (probe.answered_ns == 0) {
            ++report.lost;
            continue;
        }
        answers.emplace_back(probe.answered_ns.load(), probe.host.load());
        ++report.answered_by[service_.host_name(static_cast<std::size_t>(probe.host.load()))];
    }
    if (report.sent == 0) return report;
    std::sort(answers.begin(), answers.end());
    std::int64_t last = probes_[begin].sent_ns;
    std::int32_t last_host = -1;
    const auto consider = [&](std::int64_t time, std::int32_t host) {
        if (time - last > report.longest_gap.count()) {
            report.longest_gap = Nanoseconds(time - last);
            report.gap_begin = TimePoint(Nanoseconds(last));
            report.before = last_host < 0 ? "" : service_.host_name(static_cast<std::size_t>(last_host));
            report.after = host < 0 ? "" : service_.host_name(static_cast<std::size_t>(host));
        }
        last = time;
        last_host = host;
    };
    for (const auto& [time, host] : answers) consider(time, host);
    consider(std::max(probes_[end - 1].sent_ns.load(), last), -1);
    return report;
}

bool Prober::wait_answers(const std::string& host, Nanoseconds limit, unsigned count) const {
    const std::int64_t begin = now_ns();
    return wait_until(
        [&] {
            const std::int32_t last = last_host_.load();
            return last >= 0 && last_answer_ns_ > begin && in_a_row_ >= count &&
                   (host.empty() || service_.host_name(static_cast<std::size_t>(last)) == host);
        },
        limit);
}

std::string ProbeReport::text() const {
    std::array<char, 256> line{};
    std::snprintf(line.data(), line.size(),
                  "%llu sent, %llu lost, longest gap %.1f ms (%s -> %s), prober late by at most %.1f ms",
                  static_cast<unsigned long long>(sent), static_cast<unsigned long long>(lost),
                  static_cast<double>(longest_gap.count()) / 1e6, before.empty() ? "nobody" : before.c_str(),
                  after.empty() ? "nobody" : after.c_str(), static_cast<double>(own_lateness.count()) / 1e6);
    std::string text = line.data();
    for (const auto& [host, count] : answered_by) text += ", " + host + " answered " + std::to_string(count);
    return text;
}

}  // namespace lbcluster::lab
