#include "diagnose_probes.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>

#include "diagnose_segments.hpp"
#include "lbcluster/net/frame_socket.hpp"

namespace lbcluster::cli {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int rounds = 3;  // a frame may be lost
constexpr milliseconds round_time{500};
constexpr milliseconds connect_time{2000};
constexpr std::size_t at_once_max = 512;
constexpr std::size_t frames_per_drain = 4096;

// Sends each round and reads until its end, or until `done`.
void ask_in_rounds(int fd, const std::function<void()>& send, const std::function<void()>& read,
                   const std::function<bool()>& done) {
    for (int round = 0; round < rounds && !done(); ++round) {
        send();
        const auto end = Clock::now() + round_time;
        while (!done()) {
            const auto left = std::chrono::ceil<milliseconds>(end - Clock::now());
            if (left <= milliseconds::zero()) break;
            pollfd entry{fd, POLLIN, 0};
            if (::poll(&entry, 1, static_cast<int>(left.count())) > 0) read();
        }
    }
}

Answer answer_of(int code) {
    switch (code) {
        case 0:
            return Answer::accepted;
        case ECONNREFUSED:
            return Answer::refused;
        case EHOSTUNREACH:
        case ENETUNREACH:
        case EADDRNOTAVAIL:
        case EACCES:
        case EPERM:  // a firewall of this node
            return Answer::unreachable;
        default:
            return Answer::silent;
    }
}

struct Attempt {
    int fd = -1;
    Answer answer = Answer::silent;
};

Attempt begin(const Endpoint& to) {
    sockaddr_storage storage{};
    socklen_t size = 0;
    const auto bytes = to.address.bytes();
    if (to.address.is_v4()) {
        auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
        v4.sin_family = AF_INET;
        v4.sin_port = htons(to.port);
        std::memcpy(&v4.sin_addr, bytes.data(), bytes.size());
        size = sizeof(v4);
    } else {
        auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(to.port);
        std::memcpy(&v6.sin6_addr, bytes.data(), bytes.size());
        size = sizeof(v6);
    }
    const int fd = ::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) return {-1, Answer::untried};
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&storage), size) == 0 || errno != EINPROGRESS) {
        const Answer answer = answer_of(errno == EINPROGRESS ? 0 : errno);
        ::close(fd);
        return {-1, answer};
    }
    return {fd, Answer::silent};
}

void connect_some(std::span<const Endpoint> endpoints, std::span<Answer> answers) {
    std::vector<pollfd> waiting;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < endpoints.size(); ++i) {
        const Attempt attempt = begin(endpoints[i]);
        answers[i] = attempt.answer;
        if (attempt.fd < 0) continue;
        waiting.push_back({attempt.fd, POLLOUT, 0});
        places.push_back(i);
    }
    const auto end = Clock::now() + connect_time;
    std::size_t left = waiting.size();
    while (left > 0 && Clock::now() < end) {
        const auto time = std::chrono::ceil<milliseconds>(end - Clock::now());
        if (::poll(waiting.data(), waiting.size(), static_cast<int>(std::max<std::int64_t>(0, time.count()))) <= 0)
            continue;
        for (std::size_t i = 0; i < waiting.size(); ++i) {
            if (waiting[i].fd < 0 || waiting[i].revents == 0) continue;
            int code = 0;
            socklen_t size = sizeof(code);
            ::getsockopt(waiting[i].fd, SOL_SOCKET, SO_ERROR, &code, &size);
            answers[places[i]] = answer_of(code);
            ::close(waiting[i].fd);
            waiting[i].fd = -1;  // poll passes over it
            --left;
        }
    }
    for (const pollfd& entry : waiting) {
        if (entry.fd >= 0) ::close(entry.fd);
    }
}

}  // namespace

Result<AddressAnswers> ask_addresses(std::span<const AddressQuestion> questions) {
    AddressAnswers out;
    if (questions.empty()) return out;
    auto opened = net::FrameSocket::open(0);
    if (!opened) return opened.error();
    net::FrameSocket socket = std::move(opened).value();
    std::set<std::pair<int, IpAddress>> asked;
    std::set<MacAddress> own;
    std::vector<net::OutgoingFrame> frames;
    for (const AddressQuestion& one : questions) {
        own.insert(one.from);
        if (!asked.insert({one.ifindex, one.address}).second) continue;
        frames.push_back({one.ifindex, one.address.is_v4()
                                           ? net::arp_request(one.from, net::mac_broadcast, IpAddress{}, one.address)
                                           : net::neighbor_solicitation(one.from, IpAddress::v6({}), one.address)});
    }
    const auto note = [&](int ifindex, const IpAddress& address, const MacAddress& mac) {
        if (asked.contains({ifindex, address}) && !own.contains(mac)) out[{ifindex, address}].insert(mac);
    };
    const auto read = [&] {
        socket.drain(frames_per_drain, [&](int ifindex, net::ByteView frame) {
            if (const auto arp = net::parse_arp(frame)) {
                if (arp->form == net::ArpForm::reply) note(ifindex, arp->sender, arp->sender_mac);
            } else if (const auto advertisement = net::parse_neighbor_advertisement(frame)) {
                note(ifindex, advertisement->target, advertisement->mac);
            }
        });
    };
    // Several may answer for one address, so nobody knows when all have.
    ask_in_rounds(socket.fd(), [&] { socket.send(frames); }, read, [] { return false; });
    return out;
}

Result<std::vector<Answer>> ask_segments(std::span<const SegmentQuestion> questions) {
    std::vector<Answer> answers(questions.size(), Answer::silent);
    for (std::size_t at = 0; at < questions.size(); at += at_once_max) {
        const auto some = questions.subspan(at, std::min(at_once_max, questions.size() - at));
        std::uint16_t number = 0;
        if (::getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number)) number = 0;
        const auto first_port = static_cast<std::uint16_t>(40000 + number % 20000);
        auto opened = SegmentSocket::open(first_port, static_cast<std::uint16_t>(some.size()));
        if (!opened) return opened.error();
        SegmentSocket socket = std::move(opened).value();
        std::size_t left = some.size();
        const auto send = [&] {
            for (std::size_t i = 0; i < some.size(); ++i) {
                if (answers[at + i] == Answer::silent) socket.ask(some[i], static_cast<std::uint16_t>(first_port + i));
            }
        };
        const auto read = [&] {
            socket.drain([&](const SegmentAnswer& answer) {
                const std::size_t i = answer.port - first_port;
                if (i >= some.size() || answer.mac != some[i].to_mac || answer.from != some[i].to) return;
                if (answer.accepted) socket.reset(some[i], answer);
                if (answers[at + i] != Answer::silent) return;
                answers[at + i] = answer.accepted ? Answer::accepted : Answer::refused;
                --left;
            });
        };
        ask_in_rounds(socket.fd(), send, read, [&] { return left == 0; });
    }
    return answers;
}

std::vector<Answer> ask_connections(std::span<const Endpoint> endpoints) {
    std::vector<Answer> answers(endpoints.size(), Answer::untried);
    for (std::size_t at = 0; at < endpoints.size(); at += at_once_max) {
        const std::size_t count = std::min(at_once_max, endpoints.size() - at);
        connect_some(endpoints.subspan(at, count), std::span(answers).subspan(at, count));
    }
    return answers;
}

}  // namespace lbcluster::cli
