#include "bench/targets.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include "bench/fast_server.hpp"

namespace lbcluster::bench {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t addresses_per_block = 250;  // 10.50.B.1 to 10.50.B.250
constexpr auto collect_pace = 20ms;
constexpr int tap_buffer_bytes = 128 * 1024 * 1024;
constexpr std::size_t headers_bytes = 40;  // IP without options, TCP
constexpr std::size_t batch = 256;

void set_sysctl(const char* name, const char* value) {
    std::ofstream file(std::string("/proc/sys/net/") + name);
    if (!(file << value << std::flush)) lab::fail(std::string("cannot set net/") + name);
}

// As a tuned load balancer and tuned servers have it; nobody's table may overflow.
void tune() {
    set_sysctl("core/somaxconn", "65535");
    set_sysctl("ipv4/tcp_max_syn_backlog", "65535");
    set_sysctl("ipv4/ip_local_port_range", "1024 65535");
}

std::uint32_t word_at(const unsigned char* bytes) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes, sizeof word);
    return ntohl(word);
}

std::size_t target_of(std::uint32_t address) {
    constexpr std::uint32_t network = 10U << 24U | 50U << 16U;
    const std::uint32_t number = address & 0xffU;
    if ((address & 0xffff0000U) != network || number == 0 || number > addresses_per_block) return Targets::max;
    return std::min<std::size_t>((address >> 8U & 0xffU) * addresses_per_block + number - 1, Targets::max);
}

}  // namespace

std::string Targets::address(std::size_t target) {
    return "10.50." + std::to_string(target / addresses_per_block) + "." +
           std::to_string(target % addresses_per_block + 1);
}

std::size_t Targets::target_of(const std::string& address) {
    in_addr parsed{};
    return ::inet_pton(AF_INET, address.c_str(), &parsed) == 1 ? bench::target_of(ntohl(parsed.s_addr)) : max;
}

Targets::Targets() : stop_(::eventfd(0, EFD_CLOEXEC)), last_sequence_(max) {
    lab::must_run(&servers_, {"ip", "-batch", "-"},
                  "link add eth0 type veth peer name eth0 netns checker\nlink set eth0 up\n"
                  "addr add 10.49.0.2/24 dev eth0\nroute add local 10.50.0.0/16 dev lo\n");
    lab::must_run(&checker_, {"ip", "-batch", "-"},
                  "link set eth0 up\naddr add 10.49.0.1/24 dev eth0\nroute add 10.50.0.0/16 via 10.49.0.2\n");
    checker_.run(tune);
    servers_.run([this] {
        tune();
        open_tap();
        listener_ = listen_tcp(INADDR_ANY, port);
        if (listener_ < 0) lab::fail_errno("listen");
    });
    server_ = std::thread([this] { serve(listener_, stop_); });
    collector_ = std::thread([this] { collect(); });
}

Targets::~Targets() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(stop_, &one, sizeof one);
    server_.join();
    collector_.join();
    for (const int fd : {tap_, listener_, stop_}) ::close(fd);
}

void Targets::open_tap() {
    // TCP, SYN without ACK, to our port. What is kept of the packet: its headers.
    std::array<sock_filter, 10> program{{
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),  // protocol
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 7),
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),  // length of the IP header
        BPF_STMT(BPF_LD | BPF_B | BPF_IND, 13),  // flags
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 3),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),  // destination port
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, headers_bytes),
        BPF_STMT(BPF_RET | BPF_K, 0),
    }};
    const sock_fprog filter{program.size(), program.data()};
    // Bound last: nothing comes before the filter is there.
    tap_ = ::socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    sockaddr_ll at{};
    at.sll_family = AF_PACKET;
    at.sll_protocol = htons(ETH_P_IP);
    at.sll_ifindex = static_cast<int>(::if_nametoindex("eth0"));
    if (tap_ < 0 || ::setsockopt(tap_, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0 ||
        ::setsockopt(tap_, SOL_SOCKET, SO_RCVBUFFORCE, &tap_buffer_bytes, sizeof tap_buffer_bytes) != 0 ||
        ::setsockopt(tap_, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0 ||
        ::bind(tap_, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) {
        lab::fail_errno("packet socket");
    }
}

void Targets::collect() {
    pollfd stop{stop_, POLLIN, 0};
    while (::poll(&stop, 1, static_cast<int>(collect_pace / 1ms)) == 0) {
        while (collect_some() == batch) {
        }
    }
}

std::size_t Targets::collect_some() {
    struct Room {
        std::array<unsigned char, headers_bytes> packet;
        alignas(cmsghdr) std::array<unsigned char, CMSG_SPACE(sizeof(timespec))> control;
        iovec part;
    };
    static thread_local std::array<Room, batch> rooms;
    std::array<mmsghdr, batch> messages{};
    for (std::size_t i = 0; i < batch; ++i) {
        rooms[i].part = {rooms[i].packet.data(), rooms[i].packet.size()};
        messages[i].msg_hdr.msg_iov = &rooms[i].part;
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_control = rooms[i].control.data();
        messages[i].msg_hdr.msg_controllen = rooms[i].control.size();
    }
    const int count = ::recvmmsg(tap_, messages.data(), batch, MSG_DONTWAIT, nullptr);
    if (count <= 0) return 0;
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
        const cmsghdr* stamp = CMSG_FIRSTHDR(&messages[i].msg_hdr);
        if (stamp == nullptr || messages[i].msg_len < headers_bytes) continue;
        const unsigned char* packet = rooms[i].packet.data();
        const std::size_t target = bench::target_of(word_at(packet + 16));
        if (target == max) continue;
        const std::uint32_t sequence = word_at(packet + (packet[0] & 0x0fU) * 4U + 4);
        if (std::exchange(last_sequence_[target], sequence) == sequence) continue;
        timespec time{};
        std::memcpy(&time, CMSG_DATA(stamp), sizeof time);
        arrivals_.push_back({std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec),
                             static_cast<std::uint32_t>(target)});
    }
    return static_cast<std::size_t>(count);
}

std::vector<Arrival> Targets::take() {
    std::this_thread::sleep_for(2 * collect_pace);  // so that what has arrived is collected
    const std::lock_guard lock(mutex_);
    return std::exchange(arrivals_, {});
}

std::size_t Targets::missed() {
    tpacket_stats stats{};
    socklen_t bytes = sizeof stats;
    if (::getsockopt(tap_, SOL_PACKET, PACKET_STATISTICS, &stats, &bytes) == 0) missed_ += stats.tp_drops;
    return missed_;
}

// Before anything answers and without a word back: a rule at the entrance. One transaction, so one moment for all.
lab::Nanoseconds Targets::kill(const std::vector<std::size_t>& targets) {
    std::string list;
    for (const std::size_t target : targets) list += (list.empty() ? "" : ", ") + address(target);
    silent_ = true;
    const auto begun = lab::Clock::now();
    lab::must_run(&servers_, {"nft", "-f", "-"},
                  "table netdev off {\n set dead { type ipv4_addr; elements = { " + list +
                      " } }\n chain entrance { type filter hook ingress device \"eth0\" priority 0;"
                      " ip daddr @dead drop; }\n}\n");
    return lab::Clock::now() - begun;
}

void Targets::revive() {
    if (std::exchange(silent_, false)) lab::must_run(&servers_, {"nft", "delete", "table", "netdev", "off"});
}

}  // namespace lbcluster::bench
