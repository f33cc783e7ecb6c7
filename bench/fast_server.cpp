#include "bench/fast_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string_view>

namespace lbcluster::bench {

namespace {

constexpr std::string_view answer =
    "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK";

void add(int epoll, int fd) {
    epoll_event event{EPOLLIN, {.fd = fd}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

void accept_all(int epoll, int listener) {
    for (;;) {
        const int client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) return;
        add(epoll, client);
    }
}

}  // namespace

int listen_tcp(std::uint32_t address, std::uint16_t port) {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) return -1;
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(address);
    to.sin_port = htons(port);
    const int on = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(listener, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0 || ::listen(listener, 65535) != 0) {
        ::close(listener);
        return -1;
    }
    return listener;
}

void serve(int listener, int stop) {
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    add(epoll, listener);
    if (stop >= 0) add(epoll, stop);
    std::array<epoll_event, 256> events{};
    std::array<char, 4096> request{};
    for (;;) {
        const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
        for (int i = 0; i < count; ++i) {
            const int fd = events[static_cast<std::size_t>(i)].data.fd;
            if (fd == stop) {
                ::close(epoll);
                return;
            }
            if (fd == listener) {
                accept_all(epoll, listener);
                continue;
            }
            if (::recv(fd, request.data(), request.size(), 0) > 0) {
                [[maybe_unused]] const ssize_t sent = ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
            }
            ::close(fd);
        }
    }
}

}  // namespace lbcluster::bench
