#include "healthd/probes/poller.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <system_error>

#include "lbcluster/base/assert.hpp"

namespace lbcluster::health {
namespace {

// A turn takes this many, so that others of the loop have theirs in between.
constexpr int events_per_turn = 256;

int epoll_descriptor() {
    const int fd = ::epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
    return fd;
}

}  // namespace

Poller::Poller(boost::asio::io_context& io, std::size_t sockets_max)
    : io_(io), epoll_(io, epoll_descriptor()), pause_timer_(io), sockets_max_(sockets_max) {
    wait_for_events();
}

Poller::~Poller() { LBC_ASSERT(free_.size() == slots_.size()); }  // every Watch is gone

std::uint32_t Poller::add(Client& client) {
    if (free_.empty()) {
        free_.push_back(static_cast<std::uint32_t>(slots_.size()));
        slots_.emplace_back();
    }
    const std::uint32_t index = free_.back();
    free_.pop_back();
    slots_[index].client = &client;
    return index;
}

void Poller::remove(std::uint32_t index) {
    slots_[index].client = nullptr;
    ++slots_[index].generation;
    free_.push_back(index);
}

std::uint64_t Poller::id_of(std::uint32_t index) const { return std::uint64_t{slots_[index].generation} << 32 | index; }

void Poller::deliver(std::uint64_t id, std::uint32_t events) {
    const auto index = static_cast<std::uint32_t>(id);
    if (id == id_of(index) && slots_[index].client != nullptr) slots_[index].client->on_ready(events);
}

void Poller::wait_for_events() {
    epoll_.async_wait(boost::asio::posix::descriptor_base::wait_read, [this](const boost::system::error_code& error) {
        if (error) return;
        take_events();
        wait_for_events();
    });
}

void Poller::take_events() {
    std::array<epoll_event, events_per_turn> events;
    const int count = ::epoll_wait(epoll_.native_handle(), events.data(), events_per_turn, 0);
    for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        deliver(event.data.u64, event.events);
    }
}

void Poller::wake(std::uint64_t id) {
    woken_.push_back(id);
    if (woken_.size() > 1) return;
    boost::asio::post(io_, [this, alive = std::weak_ptr<bool>(alive_)] {
        if (alive.expired()) return;
        std::vector<std::uint64_t> woken;
        woken.swap(woken_);
        for (const std::uint64_t id : woken) deliver(id, 0);
        woken.clear();
        if (woken_.empty()) woken_.swap(woken);  // keeps its memory
    });
}

void Poller::wake_after_pause(std::uint64_t id) {
    late_.push_back({std::chrono::steady_clock::now() + pause, id});
    if (late_.size() == 1) wait_for_pause();
}

void Poller::wait_for_pause() {
    pause_timer_.expires_at(late_.front().due);
    pause_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error) return;
        const auto now = std::chrono::steady_clock::now();
        while (!late_.empty() && late_.front().due <= now) {
            const std::uint64_t id = late_.front().id;
            late_.pop_front();
            wake(id);
        }
        if (!late_.empty()) wait_for_pause();
    });
}

Watch::Watch(Poller& poller, Poller::Client& client) : poller_(poller), index_(poller.add(client)) {}

Watch::~Watch() {
    close();
    poller_.remove(index_);
}

int Watch::open(int family, int type, int protocol) {
    close();
    if (poller_.open_sockets_ >= poller_.sockets_max_) return EMFILE;
    fd_ = ::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (fd_ < 0) return errno;
    ++poller_.open_sockets_;
    return 0;
}

int Watch::connect(const SocketAddress& to) { return ::connect(fd_, to.get(), to.bytes()) == 0 ? 0 : errno; }

int Watch::watch(std::uint32_t events) {
    if (events == events_) return 0;
    epoll_event event{};
    event.events = events | EPOLLRDHUP | EPOLLET;
    event.data.u64 = poller_.id_of(index_);
    const int operation = events_ == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (::epoll_ctl(poller_.epoll_.native_handle(), operation, fd_, &event) != 0) return errno;
    events_ = events;
    return 0;
}

void Watch::wake() { poller_.wake(poller_.id_of(index_)); }
void Watch::wake_after_pause() { poller_.wake_after_pause(poller_.id_of(index_)); }

void Watch::close() {
    ++poller_.slots_[index_].generation;
    if (fd_ < 0) return;
    // The last copy of a descriptor takes itself out of the epoll set; a child that holds one for a moment does not
    // matter, as the generation has changed.
    ::close(fd_);
    fd_ = -1;
    events_ = 0;
    --poller_.open_sockets_;
}

void Watch::abort() {
    if (fd_ >= 0) {
        const linger at_once{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    close();
}

}  // namespace lbcluster::health
