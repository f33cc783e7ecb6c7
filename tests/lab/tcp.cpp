#include "tests/lab/tcp.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace lbcluster::lab {

namespace {

constexpr std::uint16_t tcp_port = 7778;
constexpr int one = 1;
constexpr int cutter_mark = 7;

// IPv4 clients are served by the same socket.
int open_listener() {
    const int fd = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) fail_errno("socket of the TCP service");
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(tcp_port);
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0 || ::listen(fd, 100) != 0)
        fail_errno("bind of the TCP service");
    return fd;
}

bool wait_for(int fd, short what, TimePoint deadline) {
    pollfd ready{fd, what, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    return left > 0 && ::poll(&ready, 1, static_cast<int>(left)) > 0;
}

void watch(int epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail_errno("epoll");
}

}  // namespace

TcpService::TcpService(const std::vector<const Namespace*>& hosts)
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (epoll_ < 0 || wake_ < 0) fail_errno("epoll");
    for (const Namespace* host : hosts) {
        host->run([&] { listeners_[open_listener()] = host->name(); });
    }
    for (const auto& [fd, name] : listeners_) watch(epoll_, fd);
    watch(epoll_, wake_);
    thread_ = std::thread([this] { serve(); });
}

TcpService::~TcpService() {
    const std::uint64_t value = 1;
    [[maybe_unused]] const ssize_t ignored = ::write(wake_, &value, sizeof value);
    thread_.join();
    for (const int fd : connections_) ::close(fd);
    for (const auto& [fd, name] : listeners_) ::close(fd);
    ::close(wake_);
    ::close(epoll_);
}

void TcpService::greet(int listener, const std::string& name) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    const std::string greeting = name + "\n";
    ::send(fd, greeting.data(), greeting.size(), MSG_NOSIGNAL);
    connections_.insert(fd);
    watch(epoll_, fd);
}

void TcpService::echo(int connection) {
    std::array<char, 4096> buffer{};
    const ssize_t bytes = ::recv(connection, buffer.data(), buffer.size(), 0);
    if (bytes > 0) {
        ::send(connection, buffer.data(), static_cast<std::size_t>(bytes), MSG_NOSIGNAL);
    } else if (bytes == 0 || errno != EAGAIN) {
        connections_.erase(connection);
        ::close(connection);
    }
}

void TcpService::serve() {
    while (true) {
        epoll_event event{};
        if (::epoll_wait(epoll_, &event, 1, -1) != 1) continue;
        const int fd = event.data.fd;
        if (fd == wake_) return;
        const auto listener = listeners_.find(fd);
        if (listener != listeners_.end()) greet(fd, listener->second);
        else echo(fd);
    }
}

TcpSession::TcpSession(const Namespace& client, const std::string& address, Nanoseconds limit) {
    const TimePoint deadline = Clock::now() + limit;
    sockaddr_in6 v6{};
    sockaddr_in v4{};
    v6.sin6_family = AF_INET6;
    v4.sin_family = AF_INET;
    v6.sin6_port = v4.sin_port = htons(tcp_port);
    const bool is_v6 = ::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1;
    if (!is_v6 && ::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) != 1) fail("not an address: " + address);
    client.run([&] { fd_ = ::socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); });
    if (fd_ < 0) fail_errno("socket of a TCP client");
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    const auto* target = is_v6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
    if (::connect(fd_, target, is_v6 ? sizeof v6 : sizeof v4) != 0 && errno != EINPROGRESS) return;
    // Its name and a line feed come at once and in one piece.
    std::array<char, 64> greeting{};
    if (!wait_for(fd_, POLLOUT, deadline) || !wait_for(fd_, POLLIN, deadline)) return;
    const ssize_t bytes = ::recv(fd_, greeting.data(), greeting.size(), 0);
    if (bytes <= 1) return;
    host_.assign(greeting.data(), static_cast<std::size_t>(bytes) - 1);
    alive_ = true;
    thread_ = std::thread([this] { talk(); });
}

TcpSession::~TcpSession() {
    ending_ = true;
    if (thread_.joinable()) thread_.join();
    // With a reset, so that nothing is left of it.
    const linger none{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    ::close(fd_);
}

void TcpSession::talk() {
    for (std::uint64_t number = 1; !ending_; ++number) {
        const TimePoint next = Clock::now() + 10ms;
        if (::send(fd_, &number, sizeof number, MSG_NOSIGNAL) != sizeof number) break;
        std::uint64_t echo = 0;
        while (!ending_ && !wait_for(fd_, POLLIN, Clock::now() + 20ms)) {
        }
        if (ending_) return;
        if (::recv(fd_, &echo, sizeof echo, 0) != sizeof echo || echo != number) break;
        ++echoes_;
        std::this_thread::sleep_until(next);
    }
    if (!ending_) alive_ = false;
}

bool TcpSession::wait_echoes(std::uint64_t more, Nanoseconds limit) const {
    const std::uint64_t begin = echoes_;
    return wait_until([&] { return echoes_ >= begin + more || !alive_; }, limit) && alive_;
}

// Its own connections carry a mark: they are not led back to it.
TcpCutter::TcpCutter(const Namespace& host, const std::string& address, std::uint16_t port) : host_(host) {
    there_.sin_family = AF_INET;
    there_.sin_port = htons(port);
    ::inet_pton(AF_INET, address.c_str(), &there_.sin_addr);
    here_.sin_family = AF_INET;
    here_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    host.run([this] {
        listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        socklen_t length = sizeof here_;
        if (listener_ < 0 || ::bind(listener_, reinterpret_cast<const sockaddr*>(&here_), length) != 0 ||
            ::listen(listener_, 100) != 0 ||
            ::getsockname(listener_, reinterpret_cast<sockaddr*>(&here_), &length) != 0)
            fail_errno("the cutter's listener");
    });
    must_run(&host, {"nft", "-f", "-"},
             "table ip cutter { chain out { type nat hook output priority -100; ip daddr " + address + " tcp dport " +
                 std::to_string(port) + " meta mark != " + std::to_string(cutter_mark) +
                 " dnat to 127.0.0.1:" + std::to_string(ntohs(here_.sin_port)) + "; }; }\n");
    thread_ = std::thread([this] { relay(); });
}

TcpCutter::~TcpCutter() {
    ending_ = true;
    thread_.join();
    static_cast<void>(run(&host_, {"nft", "delete", "table", "ip", "cutter"}));
    reset_all();
    ::close(listener_);
}

void TcpCutter::cut_after(std::size_t messages) {
    limit_ = 0;
    passed_ = 0;
    has_cut_ = false;
    limit_ = messages;
}

void TcpCutter::pass() { cut_after(0); }

void TcpCutter::relay() {
    host_.enter();
    while (!ending_) {
        std::vector<pollfd> ready{{listener_, POLLIN, 0}};
        for (const auto& [fd, partner] : partners_) ready.push_back({fd, POLLIN, 0});
        if (::poll(ready.data(), ready.size(), 20) <= 0) continue;
        if (ready.front().revents != 0) take_up();
        // A connection that another one's message has ended is not among them any more.
        for (std::size_t i = 1; i < ready.size(); ++i)
            if (ready[i].revents != 0 && partners_.contains(ready[i].fd)) pass_on(ready[i].fd);
    }
}

void TcpCutter::take_up() {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0) return reset(client);
    ::setsockopt(server, SOL_SOCKET, SO_MARK, &cutter_mark, sizeof cutter_mark);
    // Nobody waits for long: there is no more than a cable in between.
    const timeval patience{2, 0};
    ::setsockopt(server, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (::connect(server, reinterpret_cast<const sockaddr*>(&there_), sizeof there_) != 0) {
        reset(server);
        reset(client);
        return;
    }
    for (const int fd : {client, server}) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    partners_[client] = server;
    partners_[server] = client;
}

void TcpCutter::pass_on(int from) {
    const int to = partners_.at(from);
    std::array<char, 65536> bytes{};
    const ssize_t got = ::recv(from, bytes.data(), bytes.size(), 0);
    if (got > 0 && ::send(to, bytes.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) == got) {
        const std::size_t passed = ++passed_;
        if (limit_ > 0 && passed >= limit_ && !has_cut_.exchange(true)) reset_all();
        return;
    }
    partners_.erase(from);
    partners_.erase(to);
    // An end is an end on the other side too; what was on its way arrives.
    if (got == 0) {
        ::close(from);
        ::close(to);
    } else {
        reset(from);
        reset(to);
    }
}

void TcpCutter::reset(int fd) {
    const linger at_once{1, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    ::close(fd);
}

void TcpCutter::reset_all() {
    for (const auto& [fd, partner] : partners_) reset(fd);
    partners_.clear();
}

}  // namespace lbcluster::lab
