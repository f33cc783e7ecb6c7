// replicatord: the shell around the replication (replication.hpp). It watches the files, heartbeatd (who is active) and
// healthd (verdicts), keeps a connection to the peer, lets the peer in, and publishes what is true.
//
// One thread, and one more for files. Every daemon may be killed at any moment: what was under way is found again in
// the files at the next start.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "lbcluster/bus/client.hpp"
#include "lbcluster/bus/event_log.hpp"
#include "lbcluster/bus/server.hpp"
#include "lbcluster/config/paths.hpp"
#include "lbcluster/config/watcher.hpp"
#include "replicator/caller.hpp"
#include "replicator/gate.hpp"
#include "replicator/replication.hpp"

namespace lbcluster::replicator {

class Daemon {
  public:
    // Opens everything; `connect` is how the peer is called. Errors are for people.
    static Result<std::unique_ptr<Daemon>> create(boost::asio::io_context& io, const config::Paths& paths,
                                                  Caller::Connect connect);
    ~Daemon();
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    // Begins; the io_context's run() returns when the daemon has ended.
    void start();
    // Takes streams whose first frame is a call of the pairing. Before start().
    void on_pairing(Gate::Handler handler) { pairing_ = std::move(handler); }

  private:
    Daemon(boost::asio::io_context& io, config::Paths paths);
    Result<void> open(Caller::Connect connect);
    void watch_heartbeatd();
    void watch_healthd();
    void on_node_status(const bus::NodeStatus& status);
    void on_call(const bus::Call& call, bus::Server::Respond respond);
    void reload(bus::Server::Respond respond);
    void on_stream(std::unique_ptr<Channel> channel, replica::Frame first);
    void publish();
    void publish_verdict(const replica::Verdict& verdict);
    void first_look();
    void wait_for_signal();
    void tick();
    void end();

    boost::asio::io_context& io_;
    config::Paths paths_;
    boost::asio::thread_pool files_{1};
    std::unique_ptr<bus::Server> bus_;
    std::unique_ptr<bus::EventLog> events_;
    std::unique_ptr<Replication> replication_;
    std::shared_ptr<Caller> caller_;
    std::shared_ptr<Gate> gate_;          // for the peer's key
    std::shared_ptr<Gate> pairing_gate_;  // for its account's password
    Gate::Handler pairing_;
    std::unique_ptr<bus::Client> heartbeatd_;
    std::unique_ptr<bus::Client> healthd_;
    std::unique_ptr<config::Watcher> watcher_;
    boost::asio::signal_set signals_;
    boost::asio::steady_timer tick_timer_;
    boost::asio::steady_timer start_timer_;

    std::optional<Instant> heartbeatd_lost_;
    std::optional<Instant> healthd_lost_;
    std::string peer_file_seen_;
    std::string applied_digest_;
    std::uint64_t applied_ms_ = 0;
    bool first_look_ = false;
    bool ended_ = false;
    const bool watched_ = ::getenv("WATCHDOG_USEC") != nullptr;  // the supervisor waits for signs of life
};

}  // namespace lbcluster::replicator
