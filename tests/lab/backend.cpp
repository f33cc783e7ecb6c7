#include "tests/lab/backend.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace lbcluster::lab {

namespace {

std::string http(unsigned status, const std::string& body, const std::string& more = "") {
    return "HTTP/1.1 " + std::to_string(status) +
           " Status\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\nConnection: close\r\n" + more + "\r\n" + body;
}

// Header, and the body that it announces.
bool is_whole(const std::string& request) {
    const std::size_t header = request.find("\r\n\r\n");
    if (header == std::string::npos) return false;
    const std::string name = "\r\nContent-Length: ";
    const std::size_t length = request.find(name);
    const std::size_t body = length < header ? std::stoul(request.substr(length + name.size())) : 0;
    return request.size() >= header + 4 + body;
}

std::string peer_of(int fd) {
    sockaddr_in6 address{};
    socklen_t bytes = sizeof address;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) return "";
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(AF_INET6, &address.sin6_addr, text.data(), text.size());
    const std::string mapped = "::ffff:";
    const std::string out = text.data();
    return out.starts_with(mapped) && out.find('.') != std::string::npos ? out.substr(mapped.size()) : out;
}

void watch(int epoll, int fd, unsigned events, int operation) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    ::epoll_ctl(epoll, operation, fd, &event);
}

}  // namespace

Backend::Backend(const Namespace& host, std::uint16_t port) : host_(host), port_(port), text_(http(200, "OK")) {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (epoll_ < 0 || wake_ < 0) fail_errno("epoll");
    watch(epoll_, wake_, EPOLLIN, EPOLL_CTL_ADD);
    listen();
    thread_ = std::thread([this] { serve(); });
}

Backend::~Backend() {
    ending_ = true;
    ::eventfd_write(wake_, 1);
    thread_.join();
    for (const auto& [fd, connection] : connections_) ::close(fd);
    for (const int fd : {listener_, wake_, epoll_}) {
        if (fd >= 0) ::close(fd);
    }
}

void Backend::listen() {
    host_.run([this] {
        listener_ = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        const int on = 1;
        ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        sockaddr_in6 address{};
        address.sin6_family = AF_INET6;
        address.sin6_port = htons(port_);
        if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            ::listen(listener_, 4096) != 0) {
            fail_errno("listening on port " + std::to_string(port_));
        }
    });
    watch(epoll_, listener_, EPOLLIN, EPOLL_CTL_ADD);
}

void Backend::behave(Conduct conduct) {
    const std::lock_guard lock(mutex_);
    const bool was_listening = conduct_ != Conduct::refuse;
    conduct_ = conduct;
    if (conduct == Conduct::refuse && was_listening) {
        ::close(listener_);  // leaves the epoll set with it
        listener_ = -1;
    } else if (conduct != Conduct::refuse && !was_listening) {
        listen();
    }
}

void Backend::answer(unsigned status, const std::string& body, const std::string& more) {
    {
        const std::lock_guard lock(mutex_);
        text_ = http(status, body, more);
    }
    behave(Conduct::answer);
}

void Backend::greet(const std::string& text) {
    {
        const std::lock_guard lock(mutex_);
        text_ = text;
    }
    behave(Conduct::greet);
}

std::vector<TimePoint> Backend::accept_times() const {
    const std::lock_guard lock(mutex_);
    return accept_times_;
}

std::string Backend::last_request() const {
    const std::lock_guard lock(mutex_);
    return requests_.empty() ? "" : requests_.back();
}

std::string Backend::last_client() const {
    const std::lock_guard lock(mutex_);
    return last_client_;
}

std::vector<std::string> Backend::requests() const {
    const std::lock_guard lock(mutex_);
    return {requests_.begin(), requests_.end()};
}

void Backend::redirect(const Namespace& host, std::uint16_t first, std::uint16_t last, std::uint16_t to) {
    must_run(&host, {"nft", "-f", "-"},
             "table ip backend {\n chain in { type nat hook prerouting priority -100; tcp dport " +
                 std::to_string(first) + "-" + std::to_string(last) + " redirect to :" + std::to_string(to) +
                 "; }\n}\n");
}

void Backend::serve() {
    std::array<epoll_event, 256> events{};
    while (!ending_) {
        const int ready = ::epoll_wait(epoll_, events.data(), events.size(), 10);
        const TimePoint now = Clock::now();
        for (int i = 0; i < ready; ++i) {
            const int fd = events[static_cast<std::size_t>(i)].data.fd;
            if (fd == wake_) continue;
            const auto found = connections_.find(fd);
            if (found == connections_.end()) {
                accept_all();
                continue;
            }
            if (!serve_one(fd, found->second, now)) {
                ::close(fd);
                connections_.erase(found);
            }
        }
        for (auto entry = connections_.begin(); entry != connections_.end();) {
            auto& [fd, connection] = *entry;
            if (connection.conduct == Conduct::slow && !connection.answer.empty() && !serve_one(fd, connection, now)) {
                ::close(fd);
                entry = connections_.erase(entry);
            } else {
                ++entry;
            }
        }
    }
}

void Backend::accept_all() {
    const std::lock_guard lock(mutex_);
    while (listener_ >= 0) {
        const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return;
        ++accepted_;
        accept_times_.push_back(Clock::now());
        if (conduct_ == Conduct::reset) {
            const linger now{1, 0};
            ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        }
        if (conduct_ == Conduct::greet) {
            [[maybe_unused]] const ssize_t sent = ::send(fd, text_.data(), text_.size(), MSG_NOSIGNAL);
        }
        if (conduct_ == Conduct::reset) {
            ::close(fd);
            continue;
        }
        // Only our side: a socket that is closed before it has read the request resets the connection.
        if (conduct_ == Conduct::close || conduct_ == Conduct::greet) ::shutdown(fd, SHUT_WR);
        connections_[fd] = {conduct_, "", "", {}};
        watch(epoll_, fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

bool Backend::on_request(int fd, Connection& connection) {
    const std::lock_guard lock(mutex_);
    constexpr std::size_t requests_max = 1000;
    requests_.push_back(connection.request);
    last_client_ = peer_of(fd);
    if (requests_.size() > requests_max) requests_.pop_front();
    connection.answer = text_;
    if (connection.conduct == Conduct::garbage) connection.answer = "\x16\x03\x01 this is not HTTP\r\n\r\n";
    if (connection.conduct == Conduct::cut_short) connection.answer = "HTTP/1.1 200 OK\r\nContent-Len";
    if (connection.conduct == Conduct::endless) {
        connection.answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + std::string(65536, 'x');
        watch(epoll_, fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    return true;
}

bool Backend::serve_one(int fd, Connection& connection, TimePoint now) {
    std::array<char, 8192> buffer{};
    for (;;) {
        const ssize_t size = ::recv(fd, buffer.data(), buffer.size(), 0);
        if (size == 0 || (size < 0 && errno != EAGAIN)) return false;
        if (size < 0) break;
        if (connection.request.size() < 65536) connection.request.append(buffer.data(), static_cast<std::size_t>(size));
        const bool silent = connection.conduct == Conduct::hang || connection.conduct == Conduct::close ||
                            connection.conduct == Conduct::greet;
        if (!silent && connection.answer.empty() && is_whole(connection.request)) {
            on_request(fd, connection);
        }
    }
    if (connection.answer.empty()) return true;
    if (connection.conduct == Conduct::slow) {
        if (now < connection.next) return true;
        connection.next = now + 50ms;
        if (::send(fd, connection.answer.data(), 1, MSG_NOSIGNAL) != 1) return false;
        connection.answer.erase(0, 1);
        return !connection.answer.empty();
    }
    const ssize_t sent = ::send(fd, connection.answer.data(), connection.answer.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    return connection.conduct == Conduct::endless;  // the same again and again
}

}  // namespace lbcluster::lab
