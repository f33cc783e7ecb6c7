// Sends announcements from a thread of its own, so that with many addresses the kernel can take the next ones while the
// first ones are being told: adding an address and sending its frames cost about the same.
//
// Two queues: the first frame of every address goes before the second one of any. An announcement is only true for a
// moment: what could not be sent within 100 ms (the process was stopped) is dropped, as the schedule repeats it anyway,
// and clear() lets nothing out that was queued before. send() and clear() belong to one thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "lbcluster/base/result.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/net/frame_socket.hpp"

namespace lbcluster::heartbeat {

class AnnounceSender {
  public:
    static Result<std::unique_ptr<AnnounceSender>> start();
    ~AnnounceSender();
    AnnounceSender(const AnnounceSender&) = delete;
    AnnounceSender& operator=(const AnnounceSender&) = delete;

    void send(std::vector<net::OutgoingFrame> first, std::vector<net::OutgoingFrame> then);
    // Waits for the system call that may be under way.
    void clear();
    // From any thread: from now on nothing leaves, and what was queued is dropped.
    void mute(bool on) { muted_ = on; }

    // Waits until the first frame of every address has left, at most `limit`.
    void flush_first(Duration limit);

    [[nodiscard]] std::thread::native_handle_type native_handle() { return thread_.native_handle(); }

  private:
    struct Waiting {
        net::OutgoingFrame frame;
        Instant until;
    };
    using Queue = std::deque<Waiting>;

    explicit AnnounceSender(net::FrameSocket socket);
    void run();
    static void append(Queue& queue, std::vector<net::OutgoingFrame> frames, Instant until);
    std::vector<net::OutgoingFrame> take();

    net::FrameSocket socket_;  // of the thread
    std::mutex mutex_;
    std::condition_variable changed_;
    std::condition_variable idle_;
    Queue first_;
    Queue then_;
    bool sending_ = false;
    bool sending_first_ = false;
    bool ending_ = false;
    std::atomic<bool> muted_{false};
    std::thread thread_;
};

}  // namespace lbcluster::heartbeat
