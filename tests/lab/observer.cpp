#include "tests/lab/observer.hpp"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace lbcluster::lab {

namespace {

struct [[gnu::packed]] ArpFrame {
    std::array<std::uint8_t, 6> to;
    std::array<std::uint8_t, 6> from;
    std::uint16_t type;
    std::uint16_t hardware;
    std::uint16_t protocol;
    std::uint8_t hardware_bytes;
    std::uint8_t protocol_bytes;
    std::uint16_t operation;
    std::array<std::uint8_t, 6> sender_mac;
    std::uint32_t sender_ip;
    std::array<std::uint8_t, 6> target_mac;
    std::uint32_t target_ip;
};
static_assert(sizeof(ArpFrame) == 42);

// Requests come from 10.77.0.240 ... .247 in turn: the answer's target address says which one it answers.
constexpr std::uint32_t first_sender = 0x0a4d00f0;
constexpr std::size_t senders = 8;

std::string text_of(const std::array<std::uint8_t, 6>& mac) {
    std::array<char, 18> text{};
    std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                  mac[5]);
    return text.data();
}

}  // namespace

ArpObserver::ArpObserver(const Namespace& host, const std::string& interface, const std::string& address,
                         Nanoseconds pace)
    : pace_(pace) {
    if (::inet_pton(AF_INET, address.c_str(), &target_) != 1) fail("not an IPv4 address: " + address);
    host.run([&] {
        fd_ = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ARP));
        if (fd_ < 0) fail_errno("packet socket");
        ifreq request{};
        std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
        if (::ioctl(fd_, SIOCGIFHWADDR, &request) != 0) fail_errno(interface);
        std::memcpy(mac_.data(), request.ifr_hwaddr.sa_data, mac_.size());
        interface_ = static_cast<int>(::if_nametoindex(interface.c_str()));
        sockaddr_ll here{};
        here.sll_family = AF_PACKET;
        here.sll_protocol = htons(ETH_P_ARP);
        here.sll_ifindex = interface_;
        if (::bind(fd_, reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0) fail_errno("bind " + interface);
    });
    thread_ = std::thread([this] { watch(); });
}

ArpObserver::~ArpObserver() {
    ending_ = true;
    thread_.join();
    ::close(fd_);
}

void ArpObserver::watch() {
    use_realtime(45);
    TimePoint due = Clock::now();
    while (!ending_) {
        if (Clock::now() >= due) {
            ask();
            due = std::max(due + pace_, Clock::now());
        }
        pollfd ready{fd_, POLLIN, 0};
        const std::int64_t left = std::max<std::int64_t>(Nanoseconds(due - Clock::now()).count(), 0);
        const timespec wait{0, left};
        if (::ppoll(&ready, 1, &wait, nullptr) > 0) receive();
    }
}

void ArpObserver::ask() {
    const std::lock_guard lock(mutex_);
    ArpFrame frame{};
    frame.to.fill(0xff);
    frame.from = mac_;
    frame.type = htons(ETH_P_ARP);
    frame.hardware = htons(1);
    frame.protocol = htons(ETH_P_IP);
    frame.hardware_bytes = 6;
    frame.protocol_bytes = 4;
    frame.operation = htons(1);
    frame.sender_mac = mac_;
    frame.sender_ip = htonl(first_sender + static_cast<std::uint32_t>(requests_.size() % senders));
    frame.target_ip = target_.s_addr;
    requests_.push_back({Clock::now(), {}});
    ::send(fd_, &frame, sizeof frame, 0);
}

void ArpObserver::receive() {
    ArpFrame frame{};
    while (true) {
        const ssize_t bytes = ::recv(fd_, &frame, sizeof frame, MSG_TRUNC);
        if (bytes < 0) return;
        if (bytes < static_cast<ssize_t>(sizeof frame) || frame.sender_ip != target_.s_addr) continue;
        const std::lock_guard lock(mutex_);
        if (frame.sender_ip == frame.target_ip) {
            announcements_.emplace_back(Clock::now(), text_of(frame.sender_mac));
            continue;
        }
        const std::uint32_t sender = ntohl(frame.target_ip) - first_sender;
        if (frame.operation != htons(2) || sender >= senders) continue;
        // The newest request that was sent from this address.
        for (std::size_t back = 1; back <= std::min(senders, requests_.size()); ++back) {
            const std::size_t index = requests_.size() - back;
            if (index % senders != sender) continue;
            auto& answers = requests_[index].answers;
            const std::string mac = text_of(frame.sender_mac);
            if (std::find(answers.begin(), answers.end(), mac) == answers.end()) answers.push_back(mac);
            break;
        }
    }
}

void ArpObserver::mark() {
    const std::lock_guard lock(mutex_);
    mark_ = Clock::now();
}

ObserverReport ArpObserver::report(Nanoseconds linger) const {
    const TimePoint end = Clock::now();
    std::this_thread::sleep_for(linger);
    const std::lock_guard lock(mutex_);
    ObserverReport report;
    TimePoint two_since{};
    TimePoint none_since{};
    for (const Request& request : requests_) {
        if (request.sent < mark_ || request.sent > end) continue;
        ++report.asked;
        report.answering.insert(request.answers.begin(), request.answers.end());
        const auto count = [&](bool condition, TimePoint& since, std::uint64_t& number, Nanoseconds& longest) {
            if (!condition) {
                since = {};
                return;
            }
            ++number;
            if (since == TimePoint{}) since = request.sent;
            longest = std::max<Nanoseconds>(longest, request.sent - since);
        };
        count(request.answers.size() > 1, two_since, report.two_answered, report.two_answered_longest);
        count(request.answers.empty(), none_since, report.unanswered, report.unanswered_longest);
    }
    for (const auto& announcement : announcements_)
        if (announcement.first >= mark_) report.announcements.push_back(announcement);
    return report;
}

std::string ObserverReport::text() const {
    std::array<char, 256> line{};
    std::snprintf(
        line.data(), line.size(),
        "%llu requests, %llu unanswered (longest %.0f ms), %llu answered by two (longest %.0f ms), %zu announcements",
        static_cast<unsigned long long>(asked), static_cast<unsigned long long>(unanswered),
        static_cast<double>(unanswered_longest.count()) / 1e6, static_cast<unsigned long long>(two_answered),
        static_cast<double>(two_answered_longest.count()) / 1e6, announcements.size());
    std::string text = line.data();
    for (const auto& mac : answering) text += ", " + mac;
    return text;
}

}  // namespace lbcluster::lab
