// A daemon's view of another daemon: connects, watches, connects again with back-off when the connection is lost. Keeps
// the last known state and marks it stale meanwhile (fail static); a new connection starts with a new snapshot, so the
// view is right again without further care.
//
// One thread: callbacks come on the thread that runs the io_context. State is bounded (items_max, state_bytes_max): a
// server that sends more is disconnected. The server must be root or this process's own user.
#pragma once

#include <lbcluster/state.pb.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lbcluster/base/result.hpp"

namespace boost::asio {
class io_context;
}

namespace lbcluster::bus {

struct ClientOptions {
    std::string path;     // RUN_DIR/<daemon>.sock
    std::string program;  // who we are
    std::string version;
    std::string prefix;  // keys to watch; empty: all
    std::chrono::milliseconds backoff_min{50};
    std::chrono::milliseconds backoff_max{1000};
};

class Client {
  public:
    using Options = ClientOptions;
    using State = std::map<std::string, Item>;

    static constexpr std::size_t items_max = 16384;
    static constexpr std::size_t state_bytes_max = std::size_t{32} * 1024 * 1024;

    Client(boost::asio::io_context& io, Options options);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    Client(Client&&) = delete;
    Client& operator=(Client&&) = delete;

    void on_snapshot(std::function<void(const State&)> handler);
    void on_update(std::function<void(const std::vector<Item>&)> handler);  // items with `removed` are gone
    void on_lost(std::function<void(const Error&)> handler);                // once for each connection that was up

    void start();
    void close();  // no callback comes after it

    [[nodiscard]] const State& state() const;  // last known
    [[nodiscard]] bool stale() const;          // not connected, or never had a snapshot
    [[nodiscard]] const std::string& server_version() const;

  private:
    class Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace lbcluster::bus
