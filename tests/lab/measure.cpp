#include "tests/lab/measure.hpp"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace lbcluster::lab {

namespace {

using Frame = std::vector<std::uint8_t>;
using Mac = std::array<std::uint8_t, 6>;

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
    frame.insert(frame.end(), bytes.begin(), bytes.end());
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

struct Arrival {
    std::size_t bytes = 0;
    bool outgoing = false;
    std::int64_t time_ns = 0;
};

// One frame that waits; false: none does.
bool read_frame(int fd, std::array<std::uint8_t, 2048>& buffer, Arrival& arrival) {
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

// The address and MAC that an ARP reply or an advertisement speaks of; "": it is neither.
std::pair<std::string, std::string> answer_in(const std::uint8_t* frame, std::size_t bytes) {
    const std::uint8_t* body = frame + eth_bytes;
    if (bytes >= eth_bytes + arp_bytes && frame[12] == 8 && frame[13] == 6 && body[7] == 2)
        return {text_of(AF_INET, body + 14), mac_text(body + 8)};
    if (bytes >= eth_bytes + ip6_bytes + nd_bytes && frame[12] == 0x86 && frame[13] == 0xdd && body[6] == icmp6 &&
        body[ip6_bytes] == advertisement)
        return {text_of(AF_INET6, body + ip6_bytes + 8), mac_text(frame + 6)};
    return {};
}

}  // namespace

bool full_run() {
    const char* value = std::getenv("LBCLUSTER_FULL");
    return value != nullptr && std::string(value) == "1";
}

std::int64_t realtime_ns() {
    timespec time{};
    ::clock_gettime(CLOCK_REALTIME, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

// ---- packets ----

SentPackets::SentPackets(const Namespace& host, const std::string& interface)
    : fd_(open_tap(host, interface, nullptr)), thread_([this] { watch(); }) {}

SentPackets::~SentPackets() {
    ending_ = true;
    thread_.join();
    ::close(fd_);
}

void SentPackets::watch() {
    std::array<std::uint8_t, 2048> buffer{};
    while (!ending_) {
        pollfd ready{fd_, POLLIN, 0};
        if (::poll(&ready, 1, 20) <= 0) continue;
        Arrival arrival;
        while (read_frame(fd_, buffer, arrival)) {
            if (arrival.outgoing) look(buffer.data(), arrival.bytes, arrival.time_ns);
        }
    }
}

void SentPackets::look(const std::uint8_t* frame, std::size_t bytes, std::int64_t time_ns) {
    const std::uint8_t* body = frame + eth_bytes;
    const bool ip4 = bytes >= eth_bytes + 28 && frame[12] == 8 && frame[13] == 0;
    const std::lock_guard lock(mutex_);
    if (ip4 && body[9] == IPPROTO_UDP) {
        const std::uint8_t* udp = body + (body[0] & 15U) * 4U;
        if (udp + 4 <= frame + bytes && udp[2] * 256 + udp[3] == 6694) heartbeats_.push_back(time_ns);
    } else if (bytes >= eth_bytes + arp_bytes && frame[12] == 8 && frame[13] == 6) {
        if (std::memcmp(body + 14, body + 24, 4) == 0) announcements_.push_back({time_ns, text_of(AF_INET, body + 14)});
    } else if (bytes >= eth_bytes + ip6_bytes + nd_bytes && frame[12] == 0x86 && frame[13] == 0xdd &&
               body[6] == icmp6 && body[ip6_bytes] == advertisement && body[24] == 0xff) {
        announcements_.push_back({time_ns, text_of(AF_INET6, body + ip6_bytes + 8)});
    }
}

void SentPackets::mark() {
    const std::lock_guard lock(mutex_);
    heartbeats_.clear();
    announcements_.clear();
}

std::vector<std::int64_t> SentPackets::heartbeats() const {
    const std::lock_guard lock(mutex_);
    return heartbeats_;
}

std::vector<SentPackets::Announcement> SentPackets::announcements() const {
    const std::lock_guard lock(mutex_);
    return announcements_;
}

Nanoseconds SentPackets::longest_heartbeat_gap() const {
    const auto times = heartbeats();
    Nanoseconds longest{};
    for (std::size_t i = 1; i < times.size(); ++i) longest = std::max(longest, Nanoseconds(times[i] - times[i - 1]));
    return longest;
}

std::map<std::string, std::set<std::string>> who_answers(const Namespace& host, const std::string& interface,
                                                         const std::string& own_v4, const std::string& own_v6,
                                                         const std::vector<std::string>& addresses, Nanoseconds limit) {
    Mac mac{};
    const int fd = open_tap(host, interface, &mac);
    std::map<std::string, std::set<std::string>> answers;
    const std::set<std::string> asked(addresses.begin(), addresses.end());
    std::array<std::uint8_t, 2048> buffer{};
    const auto read_for = [&](std::chrono::milliseconds time) {
        const TimePoint end = Clock::now() + time;
        while (Clock::now() < end) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
            pollfd ready{fd, POLLIN, 0};
            if (::poll(&ready, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0))) <= 0) return;
            Arrival arrival;
            while (read_frame(fd, buffer, arrival)) {
                if (arrival.outgoing) continue;
                const auto [address, from] = answer_in(buffer.data(), arrival.bytes);
                if (asked.contains(address)) answers[address].insert(from);
            }
        }
    };
    const TimePoint deadline = Clock::now() + limit;
    do {
        std::size_t sent = 0;
        for (const std::string& address : addresses) {
            if (answers.contains(address)) continue;
            const bool v6 = address.find(':') != std::string::npos;
            const Frame frame = v6 ? neighbor_solicitation(mac, own_v6, address) : arp_request(mac, own_v4, address);
            ::send(fd, frame.data(), frame.size(), 0);
            if (++sent % 50 == 0) read_for(2ms);
        }
        read_for(100ms);
    } while (answers.size() < asked.size() && Clock::now() < deadline);
    ::close(fd);
    return answers;
}

// ---- load ----

Burners::Burners(unsigned count) {
    for (unsigned i = 0; i < count; ++i)
        pids_.push_back(spawn(nullptr, Spawn{.argv = {"sh", "-c", "while :; do :; done"}}));
}

Burners::~Burners() {
    for (const pid_t pid : pids_) ::kill(pid, SIGKILL);
    for (const pid_t pid : pids_) ::waitpid(pid, nullptr, 0);
}

// ---- what the daemon says ----

std::vector<Json> events_of(const Pair& pair, const std::string& node) {
    const Outcome outcome = pair.cli(node, {"events", "--json"}, 5s);
    std::vector<Json> events;
    for (std::size_t begin = 0; begin < outcome.out.size();) {
        const std::size_t end = std::min(outcome.out.find('\n', begin), outcome.out.size());
        if (end > begin) events.push_back(Json::parse(outcome.out.substr(begin, end - begin)));
        begin = end + 1;
    }
    return events;
}

bool has_event(const Pair& pair, const std::string& node, const std::string& kind, const std::string& part) {
    const auto events = events_of(pair, node);
    return std::any_of(events.begin(), events.end(), [&](const Json& event) {
        return event["kind"].text() == kind && event["text"].text().find(part) != std::string::npos;
    });
}

std::uint64_t counter_of(const Pair& pair, const std::string& node, const std::string& name) {
    return static_cast<std::uint64_t>(pair.status(node)["counters"][name].number());
}

}  // namespace lbcluster::lab
