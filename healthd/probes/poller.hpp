// The sockets of all probes in one epoll set, which the io_context watches as one descriptor: a probe costs no
// registration with Asio, no handler and no allocation, and many that became ready together cost one turn of the loop.
//
// One thread: the io_context's. Each probe has a Watch for as long as it lives; its socket comes and goes. Events of a
// socket that was closed meanwhile, even in the same turn, are dropped (a generation number tells them apart), so a
// client may close, restart or destroy itself or others from inside on_ready().
//
// At most `sockets_max` sockets are open at once (then open() says EMFILE, as the kernel would), so that probes never
// take the last descriptors from the rest of the daemon.
#pragma once

#include <sys/epoll.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "healthd/probes/socket_address.hpp"

namespace lbcluster::health {

class Poller {
  public:
    class Client {
      public:
        // EPOLL* bits, edge-triggered: read and write until the kernel says EAGAIN. 0: woken without an event.
        virtual void on_ready(std::uint32_t events) = 0;

      protected:
        ~Client() = default;
    };

    static constexpr std::chrono::seconds pause{1};

    // Throws std::system_error when the kernel gives no epoll set (start-up).
    Poller(boost::asio::io_context& io, std::size_t sockets_max);
    ~Poller();
    Poller(const Poller&) = delete;
    Poller& operator=(const Poller&) = delete;

    [[nodiscard]] std::size_t open_sockets() const { return open_sockets_; }
    [[nodiscard]] std::size_t sockets_max() const { return sockets_max_; }

  private:
    friend class Watch;
    struct Slot {
        Client* client = nullptr;
        std::uint32_t generation = 0;
    };
    struct Late {
        std::chrono::steady_clock::time_point due;
        std::uint64_t id = 0;
    };
    std::uint32_t add(Client& client);
    void remove(std::uint32_t index);
    [[nodiscard]] std::uint64_t id_of(std::uint32_t index) const;
    void deliver(std::uint64_t id, std::uint32_t events);
    void wake(std::uint64_t id);
    void wake_after_pause(std::uint64_t id);
    void wait_for_events();
    void wait_for_pause();
    void take_events();

    boost::asio::io_context& io_;
    boost::asio::posix::stream_descriptor epoll_;
    boost::asio::steady_timer pause_timer_;
    std::size_t sockets_max_;
    std::size_t open_sockets_ = 0;
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_;
    std::vector<std::uint64_t> woken_;
    std::deque<Late> late_;  // all wait equally long, so the first is due first
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// One client's place in the poller, and its socket if it has one.
class Watch {
  public:
    Watch(Poller& poller, Poller::Client& client);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    // A non-blocking socket; 0 or an errno. Closes the one before.
    int open(int family, int type, int protocol);
    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] std::uint32_t events() const { return events_; }  // watched for
    // Begins a connection, or asks how far the one that was begun is: 0, EINPROGRESS, EALREADY, or why not.
    int connect(const SocketAddress& to);
    // Events from now on: EPOLLIN, EPOLLOUT; errors and hang-ups always. 0 or an errno.
    int watch(std::uint32_t events);
    // on_ready(0) in one of the next turns of the loop, or after Poller::pause; unless the socket is closed before.
    void wake();
    void wake_after_pause();
    // No event and no waking comes any more.
    void close();
    // TCP: the same with RST instead of FIN, so that no TIME_WAIT is left behind.
    void abort();

  private:
    Poller& poller_;
    std::uint32_t index_;
    int fd_ = -1;
    std::uint32_t events_ = 0;
};

}  // namespace lbcluster::health
