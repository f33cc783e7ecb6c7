#include "healthd/probes/stream.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "healthd/probes/errors.hpp"
#include "lbcluster/base/assert.hpp"

namespace lbcluster::health {
namespace {

using Io = TlsSession::Io;

constexpr std::uint32_t both_ways = EPOLLIN | EPOLLOUT;
constexpr const char* injection = "server sent data before TLS (injection?)";

}  // namespace

StreamProbe::StreamProbe(Poller& poller, StreamSettings settings)
    : PolledProbe(poller), poller_(poller), settings_(std::move(settings)), to_(settings_.address, settings_.port) {}

void StreamProbe::begin() {
    phase_ = Phase::connecting;
    out_.clear();
    tls_next_ = false;
    errno_ = 0;
    received_bytes_ = 0;
    if (settings_.make_talk) talk_ = settings_.make_talk();
    if (const int code = watch_.open(to_.family(), SOCK_STREAM, IPPROTO_TCP); code != 0) {
        return settle(no_socket(code, poller_.sockets_max()));
    }
    const int code = watch_.connect(to_);
    if (code != 0 && code != EINPROGRESS) return settle(call_failed("connect", code));
    go_on(0);  // on this machine the connection is there already
}

void StreamProbe::end() {
    tls_.reset();
    talk_.reset();
    out_ = {};
}

std::string StreamProbe::waiting_for() const {
    if (phase_ == Phase::connecting) return "connect";
    if (phase_ == Phase::handshake) return "TLS handshake";
    return talk_ != nullptr ? talk_->waiting_for() : "connect";
}

void StreamProbe::go_on(std::uint32_t events) {
    if (phase_ == Phase::connecting) {
        const int code = watch_.connect(to_);
        if (code == EALREADY || code == EINPROGRESS) {
            if (const int failed = watch_.watch(both_ways); failed != 0) settle(call_failed("epoll", failed));
            return;
        }
        if (code != 0) return settle(network_failed("connect", code));
        if (!connected()) return;
    } else if (phase_ == Phase::handshake) {
        if (!handshake()) return;
    } else if (!flush()) {
        return;
    }
    // A socket that is watched since just now reports what is there by itself.
    if (phase_ == Phase::talking && (events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0 && !receive()) return;
    const bool read_only = phase_ == Phase::talking && tls_ == nullptr && out_.empty();
    // Once both directions are watched that stays: edges cost nothing.
    if (watch_.events() == both_ways) return;
    if (const int failed = watch_.watch(read_only ? EPOLLIN : both_ways); failed != 0) {
        settle(call_failed("epoll", failed));
    }
}

bool StreamProbe::connected() {
    if (transcript() != nullptr) {
        transcript()->note("connected to " + settings_.address.to_string() + " port " + std::to_string(settings_.port));
    }
    if (settings_.tls_first) return begin_handshake();
    phase_ = Phase::talking;
    return talk_ != nullptr ? take(talk_->on_connected()) : fail({Finding::up, "connected"});
}

bool StreamProbe::begin_handshake() {
    LBC_ASSERT(settings_.tls != nullptr);
    phase_ = Phase::handshake;
    const TlsContext context = settings_.tls->context();
    if (const Error& error = settings_.tls->error(); transcript() != nullptr && !error.message.empty()) {
        transcript()->note(error.message + "; the files as they were before are used");
    }
    tls_ = std::make_unique<TlsSession>(context, watch_.fd(), settings_.tls_name);
    return handshake();
}

bool StreamProbe::handshake() {
    const Io io = tls_->handshake();
    if (io == Io::again) return true;
    if (io != Io::ok) return fail({Finding::down, "TLS: " + tls_->why()});
    if (transcript() != nullptr) transcript()->note("TLS: " + tls_->description());
    phase_ = Phase::talking;
    if (talk_ == nullptr) {
        tls_->close_notify();
        return fail({Finding::up, "TLS handshake done"});
    }
    if (!take(settings_.tls_first ? talk_->on_connected() : talk_->on_tls())) return false;
    return receive();  // OpenSSL may have read on already
}

bool StreamProbe::take(Talk::Step step) {
    if (!step.send.empty()) {
        if (transcript() != nullptr) {
            if (step.secret) transcript()->sent("*** (" + std::to_string(step.send.size()) + " bytes)");
            else transcript()->sent(step.send);
        }
        if (out_.empty()) out_ = std::move(step.send);
        else out_ += step.send;
    }
    tls_next_ = step.next == Talk::Next::start_tls;
    if (step.next != Talk::Next::done) return flush();

    const bool goodbye = !out_.empty() || tls_ != nullptr;
    std::size_t bytes = 0;
    if (!out_.empty()) (void)write(out_, bytes);
    if (tls_ != nullptr) tls_->close_notify();
    if (!goodbye) watch_.abort();
    settle(std::move(step.outcome));
    return false;
}

bool StreamProbe::flush() {
    while (!out_.empty()) {
        std::size_t bytes = 0;
        const Io io = write(out_, bytes);
        if (io == Io::again) return true;
        // What the server said before it hung up may still be there, and says more than "broken pipe".
        if (io != Io::ok) return receive() && fail({Finding::down, broken("sending")});
        if (bytes == out_.size()) out_.clear();
        else out_.erase(0, bytes);
    }
    if (!tls_next_) return true;
    tls_next_ = false;
    char byte = 0;
    if (::recv(watch_.fd(), &byte, 1, MSG_PEEK) > 0) {
        return fail({Finding::down, injection});
    }
    return begin_handshake();
}

bool StreamProbe::receive() {
    static thread_local std::array<char, Talk::received_bytes_max> buffer;
    while (phase_ == Phase::talking) {
        const std::size_t room = Talk::received_bytes_max - received_bytes_;
        if (room == 0) {
            return fail({Finding::down, "more than 64 KiB came without an end, waiting for " + talk_->waiting_for()});
        }
        std::size_t bytes = 0;
        switch (read(buffer.data(), room, bytes)) {
            case Io::again:
                return true;
            case Io::failed:
                return fail({Finding::down, broken("waiting for " + talk_->waiting_for())});
            case Io::closed: {
                Talk::Step step = talk_->on_end();
                LBC_ASSERT(step.next == Talk::Next::done);
                return take(std::move(step));
            }
            case Io::ok:
                break;
        }
        if (tls_next_) return fail({Finding::down, injection});
        received_bytes_ += bytes;
        const std::string_view news(buffer.data(), bytes);
        if (transcript() != nullptr) transcript()->received(news);
        if (!feed(news)) return false;
    }
    return true;
}

bool StreamProbe::feed(std::string_view bytes) {
    // Before STARTTLS byte by byte: so it is known whether anything came after the server's consent.
    const bool in_the_clear = settings_.tls != nullptr && tls_ == nullptr;
    if (!in_the_clear) return take(talk_->on_bytes(bytes));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        Talk::Step step = talk_->on_bytes(bytes.substr(i, 1));
        if (step.next == Talk::Next::start_tls && i + 1 < bytes.size()) {
            return fail({Finding::down, injection});
        }
        if (!take(std::move(step))) return false;
    }
    return true;
}

bool StreamProbe::fail(Outcome outcome) {
    if (tls_ == nullptr) watch_.abort();
    settle(std::move(outcome));
    return false;
}

Io StreamProbe::read(char* to, std::size_t bytes_max, std::size_t& bytes) {
    if (tls_ != nullptr) return tls_->read(to, bytes_max, bytes);
    const ssize_t got = ::recv(watch_.fd(), to, bytes_max, 0);
    if (got < 0) {
        errno_ = errno;
        return errno == EAGAIN ? Io::again : Io::failed;
    }
    bytes = static_cast<std::size_t>(got);
    return got == 0 ? Io::closed : Io::ok;
}

Io StreamProbe::write(std::string_view from, std::size_t& bytes) {
    if (tls_ != nullptr) return tls_->write(from, bytes);
    const ssize_t put = ::send(watch_.fd(), from.data(), from.size(), MSG_NOSIGNAL);
    if (put < 0) {
        errno_ = errno;
        return errno == EAGAIN ? Io::again : Io::failed;
    }
    bytes = static_cast<std::size_t>(put);
    return Io::ok;
}

std::string StreamProbe::broken(std::string_view doing) const {
    return std::string(doing) + ": " + (tls_ != nullptr ? "TLS: " + tls_->why() : error_text(errno_));
}

}  // namespace lbcluster::health
