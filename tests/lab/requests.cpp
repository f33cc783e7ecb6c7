#include "tests/lab/requests.hpp"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace lbcluster::lab {

namespace {

constexpr std::size_t failures_max = 10;

bool wait_for(int fd, short events, TimePoint deadline) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wait{fd, events, 0};
    return left > 0 && ::poll(&wait, 1, static_cast<int>(left)) == 1;
}

int connect_to(const std::string& address, std::uint16_t port, TimePoint deadline) {
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    v4.sin_family = AF_INET;
    v6.sin6_family = AF_INET6;
    v4.sin_port = v6.sin6_port = htons(port);
    const bool is_v6 = ::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1;
    if (!is_v6) ::inet_pton(AF_INET, address.c_str(), &v4.sin_addr);
    const int fd = ::socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    const auto* target = is_v6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
    int error = 0;
    socklen_t size = sizeof error;
    if (::connect(fd, target, is_v6 ? sizeof v6 : sizeof v4) != 0 && errno != EINPROGRESS) error = errno;
    if (error == 0 && !wait_for(fd, POLLOUT, deadline)) error = ETIMEDOUT;
    if (error == 0) ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0) return fd;
    ::close(fd);
    errno = error;
    return -1;
}

// In the network that this thread is in.
Answer ask(const std::string& address, std::uint16_t port, const std::string& more, Nanoseconds limit) {
    const TimePoint deadline = Clock::now() + limit;
    Answer out;
    const int fd = connect_to(address, port, deadline);
    if (fd < 0) {
        out.body = std::string("no connection: ") + std::strerror(errno);
        return out;
    }
    const std::string request = "GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n" + more + "\r\n";
    std::string answer;
    std::string why;
    if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) why = std::strerror(errno);
    std::array<char, 8192> buffer{};
    while (why.empty()) {
        if (!wait_for(fd, POLLIN, deadline)) why = "no answer in time";
        const ssize_t bytes = why.empty() ? ::recv(fd, buffer.data(), buffer.size(), 0) : 0;
        if (bytes < 0) why = std::strerror(errno);
        if (bytes <= 0) break;
        answer.append(buffer.data(), static_cast<std::size_t>(bytes));
    }
    ::close(fd);
    const std::size_t end = answer.find("\r\n\r\n");
    if (!why.empty() || end == std::string::npos || !answer.starts_with("HTTP/1.")) {
        out.body = why.empty() ? "it was cut after '" + answer.substr(0, 60) + "'" : why;
        return out;
    }
    out.status = static_cast<unsigned>(std::atoi(answer.c_str() + 9));
    out.head = answer.substr(0, end + 2);
    out.body = answer.substr(end + 4);
    return out;
}

}  // namespace

Answer ask_http(const Namespace& client, const std::string& address, std::uint16_t port, const std::string& more,
                Nanoseconds limit) {
    Answer out;
    client.run([&] { out = ask(address, port, more, limit); });
    return out;
}

std::string ask_unix(const std::string& path, const std::string& line) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    std::string out;
    if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
        const std::string text = line + "\n";
        ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        std::array<char, 4096> buffer{};
        for (ssize_t n = 0; (n = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;)
            out.append(buffer.data(), static_cast<std::size_t>(n));
    }
    ::close(fd);
    return out;
}

std::string RequestReport::text() const {
    std::string out = std::to_string(asked) + " requests, " + std::to_string(failed) + " failed, longest " +
                      std::to_string(longest / 1ms) + " ms;";
    for (const auto& [who, count] : answered) out += " " + who + ": " + std::to_string(count);
    for (const std::string& one : failures) out += "\n    " + one;
    return out;
}

Requests::Requests(const Namespace& client, std::string address, std::uint16_t port, unsigned clients)
    : client_(client), address_(std::move(address)), port_(port) {
    for (unsigned i = 0; i < clients; ++i) threads_.emplace_back([this] { work(); });
}

Requests::~Requests() {
    ending_ = true;
    for (std::thread& one : threads_) one.join();
}

void Requests::mark() {
    const std::lock_guard lock(mutex_);
    report_ = {};
}

RequestReport Requests::report() const {
    const std::lock_guard lock(mutex_);
    return report_;
}

bool Requests::wait_asked(std::uint64_t more, Nanoseconds limit) const {
    const std::uint64_t wanted = report().asked + more;
    return wait_until([&] { return report().asked >= wanted; }, limit);
}

void Requests::work() {
    client_.enter();
    while (!ending_) {
        const TimePoint began = Clock::now();
        const Answer answer = ask(address_, port_, "", 5s);
        const Nanoseconds took = Clock::now() - began;
        {
            const std::lock_guard lock(mutex_);
            ++report_.asked;
            report_.longest = std::max(report_.longest, took);
            if (answer.status == 200) {
                ++report_.answered[answer.body];
            } else {
                ++report_.failed;
                const std::string what = answer.status == 0 ? answer.body : "status " + std::to_string(answer.status);
                if (report_.failures.size() < failures_max)
                    report_.failures.push_back(what + " after " + std::to_string(took / 1ms) + " ms");
            }
        }
        std::this_thread::sleep_for(2ms);
    }
}

}  // namespace lbcluster::lab
