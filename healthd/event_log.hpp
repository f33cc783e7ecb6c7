// The history of healthd: numbers its events, shows the newest thousand on the bus as event/<number>, and keeps them in
// STATE_DIR/health-events.jsonl over restarts (bus/event_file.hpp). A disk that is full or hangs costs lines of the
// file and has an alarm; nothing waits for it.
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

namespace lbcluster::health {

class EventLog {
  public:
    static constexpr unsigned waiting_max = 1000;  // to be written, when the disk hangs

    EventLog(boost::asio::io_context& io, boost::asio::thread_pool& files, bus::Server& bus, std::string path);

    // The events of earlier lives; blocks. To be called once, before add().
    void load();
    void add(bus::Event event);
    // Why the newest events are not in the file; empty: they are.
    [[nodiscard]] const std::string& error() const { return error_; }

  private:
    void show(const bus::Event& event);

    boost::asio::io_context& io_;
    boost::asio::thread_pool& files_;
    bus::Server& bus_;
    const std::string path_;
    std::uint64_t sequence_ = 0;
    std::deque<std::uint64_t> shown_;  // on the bus
    std::atomic<unsigned> waiting_{0};
    std::string error_;
};

}  // namespace lbcluster::health
