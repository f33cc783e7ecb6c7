// The history of a daemon: numbers its events, shows the newest thousand on the bus as event/<number>, and keeps them
// in a file of STATE_DIR over restarts (event_file.hpp). A disk that is full or hangs costs lines of the file, and
// error() tells for an alarm; nothing waits for it.
//
// One thread, the io_context's; writing is done on `files`, which must be joined before this is destroyed.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <deque>
#include <string>

#include "lbcluster/bus/server.hpp"
#include "lbcluster/state.pb.h"

namespace lbcluster::bus {

class EventLog {
  public:
    static constexpr unsigned waiting_max = 1000;  // to be written, when the disk hangs

    EventLog(boost::asio::io_context& io, boost::asio::thread_pool& files, Server& bus, std::string path);

    // The events of earlier lives; blocks. To be called once, before add().
    void load();
    void add(Event event);
    // An event of now; a long text is cut.
    void note(const std::string& node, const char* kind, const char* severity, std::string text);
    // Why the newest events are not in the file; empty: they are.
    [[nodiscard]] const std::string& error() const { return error_; }

  private:
    void show(const Event& event);

    boost::asio::io_context& io_;
    boost::asio::thread_pool& files_;
    Server& bus_;
    const std::string path_;
    std::uint64_t sequence_ = 0;
    std::deque<std::uint64_t> shown_;  // on the bus
    std::atomic<unsigned> waiting_{0};
    std::string error_;
};

}  // namespace lbcluster::bus
