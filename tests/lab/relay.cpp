#include "tests/lab/relay.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

namespace lbcluster::lab {

namespace {

constexpr std::uint16_t heartbeat_port = 6694;
constexpr std::size_t heard_max = 10000;

sockaddr_in address_of(const std::string& node) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(heartbeat_port);
    ::inet_pton(AF_INET, node == "lb1" ? "10.78.0.11" : "10.78.0.12", &address.sin_addr);
    return address;
}

}  // namespace

UdpRelay::UdpRelay(const Namespace& host) {
    host.run([this] {
        fd_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sockaddr_in here{};
        here.sin_family = AF_INET;
        here.sin_port = htons(heartbeat_port);
        ::inet_pton(AF_INET, "10.78.0.50", &here.sin_addr);
        if (fd_ < 0 || ::bind(fd_, reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0) fail_errno("relay");
    });
    thread_ = std::thread([this] { relay(); });
}

UdpRelay::~UdpRelay() {
    ending_ = true;
    thread_.join();
    ::close(fd_);
}

void UdpRelay::set_rule(Rule rule) {
    const std::lock_guard lock(mutex_);
    rule_ = std::move(rule);
}

void UdpRelay::send(const std::string& node, const Datagram& datagram) {
    const sockaddr_in to = address_of(node);
    ::sendto(fd_, datagram.data(), datagram.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

void UdpRelay::inject(const std::string& node, const Datagram& datagram) { send(node, datagram); }

std::vector<std::pair<std::string, Datagram>> UdpRelay::heard() const {
    const std::lock_guard lock(mutex_);
    return heard_;
}

void UdpRelay::relay() {
    use_realtime(45);
    while (!ending_) {
        pollfd ready{fd_, POLLIN, 0};
        if (::poll(&ready, 1, 20) <= 0) continue;
        Datagram datagram(2048);
        sockaddr_in from{};
        socklen_t length = sizeof from;
        const ssize_t bytes =
            ::recvfrom(fd_, datagram.data(), datagram.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
        if (bytes < 0) continue;
        datagram.resize(static_cast<std::size_t>(bytes));
        const std::string node = from.sin_addr.s_addr == address_of("lb1").sin_addr.s_addr ? "lb1" : "lb2";
        const std::string other = node == "lb1" ? "lb2" : "lb1";
        const std::lock_guard lock(mutex_);
        if (heard_.size() < heard_max) heard_.emplace_back(node, datagram);
        if (!rule_) {
            send(other, datagram);
            continue;
        }
        for (const Datagram& out : rule_(node, datagram)) send(other, out);
    }
}

SerialCable::SerialCable() {
    for (std::size_t end = 0; end < 2; ++end) {
        termios raw{};
        ::cfmakeraw(&raw);
        std::array<char, 64> name{};
        if (::openpty(&masters_[end], &slaves_[end], name.data(), &raw, nullptr) != 0) fail_errno("openpty");
        ::fcntl(masters_[end], F_SETFL, O_NONBLOCK);
        for (const int fd : {masters_[end], slaves_[end]}) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
        devices_[end] = name.data();
    }
    thread_ = std::thread([this] { carry(); });
}

SerialCable::~SerialCable() {
    ending_ = true;
    thread_.join();
    for (std::size_t end = 0; end < 2; ++end) {
        ::close(masters_[end]);
        ::close(slaves_[end]);
    }
}

void SerialCable::carry() {
    use_realtime(45);
    std::array<char, 4096> buffer{};
    while (!ending_) {
        std::array<pollfd, 2> ready{pollfd{masters_[0], POLLIN, 0}, pollfd{masters_[1], POLLIN, 0}};
        if (::poll(ready.data(), ready.size(), 20) <= 0) continue;
        for (std::size_t end = 0; end < 2; ++end) {
            const ssize_t bytes = ::read(masters_[end], buffer.data(), buffer.size());
            if (bytes <= 0 || !plugged_) continue;
            // A line that is not read loses bytes, as a real one does.
            [[maybe_unused]] const ssize_t ignored =
                ::write(masters_[1 - end], buffer.data(), static_cast<std::size_t>(bytes));
        }
    }
}

}  // namespace lbcluster::lab
