// What heartbeatd keeps in STATE_DIR, written on a thread of its own: a full or hanging disk costs nothing but an
// alarm.
//
//   term             highest term that may be used, a decimal number
//   standby          exists: the operator asked this node not to serve
//   events.jsonl     one event a line, with events.jsonl.1 before it; see cli: `lbcluster events`
//
// Writing is atomic (temporary file, fsync, rename, fsync of the folder); events are appended. Nothing here is
// needed for a decision that is due now.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "lbcluster/base/result.hpp"
#include "lbcluster/state.pb.h"

namespace lbcluster::heartbeat {

// 0 if there is none; an unreadable one is an error.
Result<std::uint64_t> read_term(const std::string& state_dir);
bool read_standby(const std::string& state_dir);

class FileThread {
  public:
    // Results of write_* are given on `daemon_io`, which must outlive this.
    FileThread(boost::asio::io_context& daemon_io, std::string state_dir);
    // Waits for what was begun; what has not begun is dropped.
    ~FileThread();
    FileThread(const FileThread&) = delete;
    FileThread& operator=(const FileThread&) = delete;

    using Done = std::function<void(Result<void>)>;
    void write_term(std::uint64_t term, Done done);
    void write_standby(bool standby, Done done);
    // Bounded: when the disk hangs, events beyond 1000 waiting ones are not written (they stay on the bus).
    void append_event(const bus::Event& event, Done done);
    // Any other blocking work, e.g. reading the configuration.
    void run(std::function<void()> work);
    // For objects whose handlers block; made and started by run(), destroyed after stop().
    [[nodiscard]] boost::asio::io_context& io() { return io_; }
    // As the destructor; nothing runs afterwards.
    void stop();

  private:
    boost::asio::io_context& daemon_io_;
    std::string state_dir_;
    boost::asio::io_context io_{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_;
    std::atomic<unsigned> waiting_events_{0};
    std::thread thread_;
};

}  // namespace lbcluster::heartbeat
