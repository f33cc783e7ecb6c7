#include "healthd/probes/datagram.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "healthd/probes/errors.hpp"

namespace lbcluster::health {

DatagramProbe::DatagramProbe(Poller& poller, const IpAddress& address, std::uint16_t port,
                             std::function<std::unique_ptr<Talk>()> make_talk)
    : PolledProbe(poller), poller_(poller), address_(address), port_(port), make_talk_(std::move(make_talk)) {}

void DatagramProbe::begin() {
    talk_ = make_talk_();
    question_.clear();
    sends_ = 0;
    received_bytes_ = 0;
    const SocketAddress to(address_, port_);
    if (const int code = watch_.open(to.family(), SOCK_DGRAM, IPPROTO_UDP); code != 0) {
        return settle(no_socket(code, poller_.sockets_max()));
    }
    if (const int code = watch_.connect(to); code != 0) return settle(call_failed("connect", code));
    if (const int code = watch_.watch(EPOLLIN); code != 0) return settle(call_failed("epoll", code));
    (void)take(talk_->on_connected());
}

void DatagramProbe::end() {
    talk_.reset();
    question_ = {};
}

bool DatagramProbe::take(Talk::Step step) {
    if (!step.send.empty()) {
        question_ = std::move(step.send);
        secret_ = step.secret;
        sends_ = 0;
        if (!send()) return false;
    }
    if (step.next == Talk::Next::read) return true;
    settle(std::move(step.outcome));
    return false;
}

bool DatagramProbe::send() {
    if (::send(watch_.fd(), question_.data(), question_.size(), MSG_NOSIGNAL) < 0) {
        // A refusal of the datagram before, which the kernel tells with the next call, or our own fault.
        settle(call_failed("send", errno));
        return false;
    }
    if (transcript() != nullptr) {
        if (secret_) transcript()->sent("*** (" + std::to_string(question_.size()) + " bytes)");
        else transcript()->sent(question_);
    }
    if (++sends_ < sends_max) watch_.wake_after_pause();
    return true;
}

void DatagramProbe::go_on(std::uint32_t events) {
    if (events == 0) {
        (void)send();
        return;
    }
    static thread_local std::array<char, Talk::received_bytes_max> buffer;
    for (;;) {
        const ssize_t got = ::recv(watch_.fd(), buffer.data(), buffer.size(), 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got < 0) return settle(network_failed("waiting for " + talk_->waiting_for(), errno));
        const std::string_view datagram(buffer.data(), static_cast<std::size_t>(got));
        received_bytes_ += datagram.size() + 1;  // empty ones have an end, too
        if (received_bytes_ > Talk::received_bytes_max) {
            return settle(Finding::down, "more than 64 KiB came without an end, waiting for " + talk_->waiting_for());
        }
        if (transcript() != nullptr) transcript()->received(datagram);
        if (!take(talk_->on_bytes(datagram))) return;
    }
}

}  // namespace lbcluster::health
