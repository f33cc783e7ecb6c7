#include "heartbeat/net/announce_sender.hpp"

#include <pthread.h>

#include <utility>

#include "lbcluster/base/clock.hpp"

namespace lbcluster::heartbeat {
namespace {

constexpr std::size_t frames_per_call = 64;
constexpr std::size_t waiting_max = 100'000;
constexpr Duration true_for = 100ms;

}  // namespace

Result<std::unique_ptr<AnnounceSender>> AnnounceSender::start() {
    auto socket = net::FrameSocket::open_send_only();
    if (!socket) return socket.error();
    std::unique_ptr<AnnounceSender> sender(new AnnounceSender(std::move(socket).value()));
    sender->thread_ = std::thread([raw = sender.get()] { raw->run(); });
    return sender;
}

AnnounceSender::AnnounceSender(net::FrameSocket socket) : socket_(std::move(socket)) {}

AnnounceSender::~AnnounceSender() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
}

void AnnounceSender::append(Queue& queue, std::vector<net::OutgoingFrame> frames, Instant until) {
    for (auto& frame : frames) {
        if (queue.size() >= waiting_max) return;
        queue.push_back({std::move(frame), until});
    }
}

void AnnounceSender::send(std::vector<net::OutgoingFrame> first, std::vector<net::OutgoingFrame> then) {
    const Instant until = boottime_now() + true_for;
    {
        const std::lock_guard lock(mutex_);
        append(first_, std::move(first), until);
        append(then_, std::move(then), until);
    }
    changed_.notify_one();
}

void AnnounceSender::clear() {
    std::unique_lock lock(mutex_);
    first_.clear();
    then_.clear();
    idle_.wait(lock, [this] { return !sending_; });
}

void AnnounceSender::flush_first(Duration limit) {
    std::unique_lock lock(mutex_);
    idle_.wait_for(lock, limit, [this] { return first_.empty() && !sending_first_; });
}

// With the mutex held.
std::vector<net::OutgoingFrame> AnnounceSender::take() {
    const Instant now = boottime_now();
    std::vector<net::OutgoingFrame> out;
    Queue& queue = first_.empty() ? then_ : first_;
    while (!queue.empty() && out.size() < frames_per_call) {
        if (queue.front().until >= now && !muted_) out.push_back(std::move(queue.front().frame));
        queue.pop_front();
    }
    return out;
}

void AnnounceSender::run() {
    ::pthread_setname_np(::pthread_self(), "hb-announce");
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return ending_ || !first_.empty() || !then_.empty(); });
        if (ending_) return;
        sending_first_ = !first_.empty();
        const auto frames = take();
        sending_ = true;
        lock.unlock();
        // What does not fit into the socket's buffer is lost: there are four more rounds.
        (void)socket_.send(frames);
        lock.lock();
        sending_ = sending_first_ = false;
        idle_.notify_all();
    }
}

}  // namespace lbcluster::heartbeat
