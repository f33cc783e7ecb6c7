// The server of the state bus: a daemon publishes keyed state, everybody else watches it or calls the daemon.
//
// Level-triggered: a client that watches gets a snapshot, then the newest value of each key that changed. What a slow
// reader has not taken yet is a set of keys, never a queue of values; a reader too far behind gets a new snapshot.
// set() costs a look-up and a mark a client, and never waits for anybody.
//
// Bounds: 64 clients (the last 8 places are for root), frames of 256 KiB, 8 calls in flight a client, 2 s for a client
// to finish a frame or to say hello, a few frames a client and turn of the event loop. Whoever breaks a rule is
// disconnected with a logged reason. Reading is for root, the daemon's user and `Options::group`; calls for root
// and the daemon's user only.
//
// One thread: everything is called, and calls back, on the thread that runs the io_context. No exception leaves.
#pragma once

#include <lbcluster/state.pb.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "lbcluster/base/result.hpp"
#include "lbcluster/bus/credentials.hpp"

namespace boost::asio {
class io_context;
}

namespace lbcluster::bus {

struct ServerOptions {
    std::string path;                 // RUN_DIR/<daemon>.sock; its folder is made if only that is missing
    std::string program;              // heartbeatd
    std::string version;              // of the program
    std::string group = "lbcluster";  // may read, if there is such a group
};

struct ServerCounters {
    std::uint64_t accepted = 0;
    std::uint64_t refused = 0;       // no place, or no descriptor left
    std::uint64_t disconnected = 0;  // broke a rule
    std::uint64_t resyncs = 0;       // readers too far behind, given a new snapshot
};

class Server {
  public:
    using Options = ServerOptions;
    // Answers the call; may be called later, once, and when the client has gone. If all copies are destroyed
    // uncalled, the client is told that the call failed.
    using Respond = std::function<void(Reply)>;
    using CallHandler = std::function<void(const Call&, const PeerCredentials&, Respond)>;

    Server(boost::asio::io_context& io, Options options);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    Server(Server&&) = delete;
    Server& operator=(Server&&) = delete;

    // Replaces the socket of a dead daemon; refuses (EADDRINUSE) if a live one serves this path.
    Result<void> listen();
    // Publishes `item.key` with its value; generation and `removed` are the server's. An equal value is no update. An
    // item that does not fit in a frame is logged and not published.
    void set(Item item);
    void erase(const std::string& key);
    void on_call(CallHandler handler);
    // For what changes all the time, like ages: `refresh` may fill it in as a snapshot takes the item. That is no
    // change, so nobody else is told. It must be quick, and must leave the key alone.
    void on_snapshot(std::function<void(Item&)> refresh);
    // Disconnects everybody and removes the socket file. Idempotent; the destructor does it as well.
    void close();

    [[nodiscard]] std::size_t client_count() const;
    [[nodiscard]] const ServerCounters& counters() const;
    // Bytes and keys kept for clients that have not read them yet.
    [[nodiscard]] std::size_t backlog_bytes() const;
    [[nodiscard]] std::size_t backlog_keys() const;

  private:
    class Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace lbcluster::bus
