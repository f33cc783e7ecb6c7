// One client of a bus server. States: waiting for hello -> serving -> finishing (last words, then closed). Owned by the
// server's registry and by its own pending operations; everything on the server's one thread.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "lbcluster/bus/credentials.hpp"
#include "lbcluster/bus/frame.hpp"
#include "lbcluster/bus/server.hpp"

namespace lbcluster::bus {

// A published item as it goes over the socket; shared by all clients.
struct Stored {
    std::string value;  // deterministic encoding without generation: to see whether a new value is another one
    std::string wire;   // encoded bus.Item
};
using Items = std::map<std::string, Stored>;

class Connection;

// What a connection needs of its server. Lives longer than every connection.
class ConnectionHost {
  public:
    ConnectionHost() = default;
    virtual ~ConnectionHost() = default;
    ConnectionHost(const ConnectionHost&) = delete;
    ConnectionHost& operator=(const ConnectionHost&) = delete;

    [[nodiscard]] virtual const Items& items() const = 0;
    // As a snapshot shows it.
    [[nodiscard]] virtual std::string fresh_wire(const Stored& stored) const = 0;
    [[nodiscard]] virtual std::uint64_t generation() const = 0;
    [[nodiscard]] virtual bool may_read(const PeerCredentials& peer) const = 0;
    [[nodiscard]] virtual const ServerOptions& options() const = 0;
    virtual ServerCounters& count() = 0;
    virtual void dispatch(const Call& call, const PeerCredentials& peer, Server::Respond respond) = 0;
    virtual void warn(const std::string& line) = 0;
    virtual void gone(const Connection* connection) = 0;
};

class Connection : public std::enable_shared_from_this<Connection> {
  public:
    using Socket = boost::asio::local::stream_protocol::socket;

    Connection(Socket socket, PeerCredentials peer, std::weak_ptr<ConnectionHost> host);

    void start();
    // The value of `key` changed (or is gone).
    void mark(const std::string& key);
    void close();

    [[nodiscard]] std::size_t backlog_bytes() const;
    [[nodiscard]] std::size_t backlog_keys() const { return dirty_.size(); }

  private:
    enum class Phase { hello, serving, finishing, closed };

    void read();
    void process();  // frames that have arrived, a few a turn
    void handle(const Frame& frame);
    void handle_hello(const Hello& hello);
    void handle_watch(const Watch& watch);
    void handle_call(const Call& call);
    void answer(std::uint64_t id, Reply reply);
    void say(const Frame& frame);
    void refuse(std::uint64_t id, std::uint32_t exit_code, std::string message, std::string hint);
    void finish();                            // say what is queued, then close
    void violation(const std::string& what);  // log and close
    void arm_deadline();                      // for hello, a half frame, or last words
    void disarm_deadline();
    void schedule_pump();
    void pump();  // at most one write in flight
    [[nodiscard]] std::string next_bytes();
    [[nodiscard]] std::string next_snapshot(const ConnectionHost& host);
    [[nodiscard]] std::string next_update(const ConnectionHost& host);

    Socket socket_;
    PeerCredentials peer_;
    std::weak_ptr<ConnectionHost> host_;
    boost::asio::steady_timer deadline_;
    Phase phase_ = Phase::hello;
    std::string program_ = "?";
    std::array<char, 16384> input_{};
    FrameDecoder decoder_;
    bool reading_ = false;
    bool deadline_armed_ = false;

    std::deque<std::string> words_;  // hello and replies, bounded by words_max
    std::string writing_;
    bool write_in_flight_ = false;
    bool pump_scheduled_ = false;
    std::set<std::uint64_t> calls_;  // in flight

    std::optional<std::string> prefix_;  // of the watch
    bool in_snapshot_ = false;
    bool resync_ = false;          // too far behind: a new snapshot comes next
    std::string cursor_;           // last key the snapshot has taken
    bool cursor_at_start_ = true;  // none yet
    std::set<std::string> dirty_;  // keys whose newest value the client has not got
};

}  // namespace lbcluster::bus
