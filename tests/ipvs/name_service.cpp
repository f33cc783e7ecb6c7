#include "tests/ipvs/name_service.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ostream>

namespace lbcluster::lab {

namespace {

constexpr int one = 1;

std::string text_of(const sockaddr_in6& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(AF_INET6, &address.sin6_addr, text.data(), text.size());
    const std::string mapped = "::ffff:";
    const std::string whole = text.data();
    return IN6_IS_ADDR_V4MAPPED(&address.sin6_addr) ? whole.substr(mapped.size()) : whole;
}

void watch(int epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail_errno("epoll");
}

// Both families by one socket: an IPv4 address is a mapped one.
int open_socket(int type, std::uint16_t port) {
    const int fd = ::socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(port);
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    ::setsockopt(fd, SOL_IPV6, IPV6_RECVPKTINFO, &one, sizeof one);
    if (fd < 0 || ::bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0)
        fail_errno("port " + std::to_string(port) + " of a name service");
    return fd;
}

}  // namespace

NameService::NameService(const Namespace& host, const std::vector<std::uint16_t>& ports)
    : name_(host.name()), epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (epoll_ < 0 || wake_ < 0) fail_errno("epoll");
    host.run([&] {
        for (const std::uint16_t port : ports) listen(port);
    });
    watch(epoll_, wake_);
    thread_ = std::thread([this] { serve(); });
}

NameService::~NameService() {
    ::eventfd_write(wake_, 1);
    thread_.join();
    for (const auto& [fd, connection] : connections_) ::close(fd);
    for (const int fd : listeners_) ::close(fd);
    for (const int fd : datagram_sockets_) ::close(fd);
    ::close(wake_);
    ::close(epoll_);
}

void NameService::listen(std::uint16_t port) {
    const int stream = open_socket(SOCK_STREAM, port);
    listeners_.insert(stream);
    if (::listen(stream, 1000) != 0) fail_errno("listen");
    const int datagrams = open_socket(SOCK_DGRAM, port);
    datagram_sockets_.insert(datagrams);
    watch(epoll_, stream);
    watch(epoll_, datagrams);
}

void NameService::serve() {
    while (true) {
        epoll_event event{};
        if (::epoll_wait(epoll_, &event, 1, -1) != 1) continue;
        const int fd = event.data.fd;
        if (fd == wake_) return;
        if (listeners_.contains(fd)) accept(fd);
        else if (datagram_sockets_.contains(fd)) answer_datagram(fd);
        else answer_request(fd);
    }
}

void NameService::accept(int listener) {
    sockaddr_in6 client{};
    socklen_t size = sizeof client;
    const int fd = ::accept4(listener, reinterpret_cast<sockaddr*>(&client), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    connections_[fd] = {text_of(client), ""};
    watch(epoll_, fd);
}

void NameService::answer_request(int fd) {
    Connection& connection = connections_.at(fd);
    std::array<char, 4096> buffer{};
    const ssize_t bytes = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (bytes < 0 && errno == EAGAIN) return;
    if (bytes > 0) {
        connection.request.append(buffer.data(), static_cast<std::size_t>(bytes));
        if (connection.request.find("\r\n\r\n") == std::string::npos && connection.request.size() < 65536) return;
        const std::string body = name_ + " " + connection.client + "\n";
        const std::string answer =
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
            "\r\nConnection: close\r\n\r\n" + body;
        ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
        ++answered_;
    }
    ::close(fd);
    connections_.erase(fd);
}

void NameService::answer_datagram(int socket) {
    sockaddr_in6 client{};
    std::array<char, 2048> buffer{};
    alignas(cmsghdr) std::array<char, 256> control{};
    iovec data{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_name = &client;
    message.msg_namelen = sizeof client;
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (::recvmsg(socket, &message, 0) < 0) return;
    // The address that was asked is the source of the answer, whatever interface it leaves by.
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_IPV6 || part->cmsg_type != IPV6_PKTINFO) continue;
        in6_pktinfo info{};
        std::memcpy(&info, CMSG_DATA(part), sizeof info);
        info.ipi6_ifindex = 0;
        std::memcpy(CMSG_DATA(part), &info, sizeof info);
    }
    std::string answer = name_ + " " + text_of(client) + "\n";
    data = {answer.data(), answer.size()};
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) > 0) ++answered_;
}

namespace {

struct Socket {
    int fd = -1;
    ~Socket() {
        if (fd >= 0) ::close(fd);
    }
};

struct Endpoint {
    addrinfo* list = nullptr;
    Endpoint(const std::string& address, std::uint16_t port) {
        addrinfo hints{};
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
        hints.ai_socktype = SOCK_STREAM;
        if (::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &list) != 0)
            fail("not an address: " + address);
    }
    ~Endpoint() { ::freeaddrinfo(list); }
    Endpoint(const Endpoint&) = delete;
    Endpoint& operator=(const Endpoint&) = delete;
};

bool ready(int fd, short what, TimePoint deadline) {
    pollfd waiting{fd, what, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    return left > 0 && ::poll(&waiting, 1, static_cast<int>(left)) > 0;
}

// Everything until the other side closes, or one datagram; "" if it did not come in time.
std::string receive(int fd, Transport transport, TimePoint deadline) {
    std::string text;
    std::array<char, 4096> buffer{};
    while (ready(fd, POLLIN, deadline)) {
        const ssize_t bytes = ::recv(fd, buffer.data(), buffer.size(), 0);
        if (bytes > 0) text.append(buffer.data(), static_cast<std::size_t>(bytes));
        if (bytes == 0 || (bytes > 0 && transport == Transport::udp)) return text;
        if (bytes < 0 && errno != EAGAIN) return "";
    }
    return "";
}

}  // namespace

Answer ask_from_here(const Question& question) {
    const TimePoint deadline = Clock::now() + question.limit;
    const Endpoint target(question.address, question.port);
    const bool tcp = question.transport == Transport::tcp;
    const Socket socket{
        ::socket(target.list->ai_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (socket.fd < 0) fail_errno("socket of a client");
    if (!question.from.empty()) {
        const Endpoint source(question.from, 0);
        if (::bind(socket.fd, source.list->ai_addr, source.list->ai_addrlen) != 0) fail_errno("bind " + question.from);
    }
    if (::connect(socket.fd, target.list->ai_addr, target.list->ai_addrlen) != 0 && errno != EINPROGRESS) return {};
    if (!ready(socket.fd, POLLOUT, deadline)) return {};
    const std::string request = tcp ? "GET / HTTP/1.1\r\nHost: farm\r\n\r\n" : "?\n";
    if (::send(socket.fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) return {};
    std::string text = receive(socket.fd, question.transport, deadline);
    if (const std::size_t header = text.find("\r\n\r\n"); header != std::string::npos) text.erase(0, header + 4);
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || text.back() != '\n') return {};
    return {text.substr(0, space), text.substr(space + 1, text.size() - space - 2)};
}

Answer ask(const Namespace& client, const Question& question) { return ask(client, question, 1).begin()->first; }

std::map<Answer, unsigned> ask(const Namespace& client, const Question& question, unsigned times) {
    std::map<Answer, unsigned> answers;
    client.run([&] {
        for (unsigned i = 0; i < times; ++i) ++answers[ask_from_here(question)];
    });
    return answers;
}

std::ostream& operator<<(std::ostream& out, const Answer& answer) {
    if (answer.server.empty()) return out << "nobody";
    return out << answer.server << " (saw " << answer.source << ")";
}

}  // namespace lbcluster::lab
