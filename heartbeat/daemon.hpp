// heartbeatd: the shell around the heartbeat core. It opens sockets, feeds what arrives, carries out what the core
// decides, and publishes the state; it decides nothing about roles itself.
//
// Threads: the heartbeat thread (this object, real-time), the address worker (AddressWorker) and the file thread
// (FileThread). They share nothing; commands and reports are posted. turn() is the only place where the core decides:
// it drains every socket first.
//
// Crash-only: killed at any moment and started again, it finds its floating IPs in the kernel and adopts them. A
// restart on command, and a change of links, name or keys, is exactly that: the process starts itself anew.
#pragma once

#include <poll.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "heartbeat/core/core.hpp"
#include "heartbeat/forwarder_watch.hpp"
#include "heartbeat/net/address_probe.hpp"
#include "heartbeat/net/address_worker.hpp"
#include "heartbeat/net/pinger.hpp"
#include "heartbeat/setup.hpp"
#include "heartbeat/state_files.hpp"
#include "heartbeat/wire/codec.hpp"
#include "heartbeat/wire/link.hpp"
#include "lbcluster/bus/server.hpp"
#include "lbcluster/config/paths.hpp"
#include "lbcluster/config/watcher.hpp"
#include "lbcluster/keys/key_ring.hpp"
#include "lbcluster/net/monitor.hpp"
#include "lbcluster/net/netlink.hpp"

namespace lbcluster::heartbeat {

// left: as restart, but somebody else starts the next one (SIGUSR2: a supervisor that restarts us).
enum class Ending { stopped, restart, left };

// SIGTERM, SIGINT, SIGHUP and SIGUSR2 wait until they are let go; also for the next life of a process that starts
// itself anew, which keeps the mask and what is pending. Threads made meanwhile never get any.
void hold_signals(bool on);

// What a look at the files found.
struct Loaded {
    std::optional<Setup> setup;   // none: not to be used, `error` says why
    std::optional<KeyRing> keys;  // none without a peer
    std::string error;
};

class Daemon {
  public:
    // Loads the configuration and opens everything. Errors are for people; nothing was changed in the kernel then.
    static Result<std::unique_ptr<Daemon>> create(boost::asio::io_context& io, const config::Paths& paths);
    ~Daemon();
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    // Begins; the io_context's run() returns when the daemon has ended.
    void start();
    [[nodiscard]] Ending ending() const { return ending_; }

  private:
    struct Interfaces {
        std::map<int, net::Link> links;
        std::vector<net::Address> addresses;  // without floating IPs
    };

    Daemon(boost::asio::io_context& io, config::Paths paths);
    Result<void> open();
    void open_links(KeyRing keys);
    void become_realtime();

    // input
    void turn(bool unless_idle = false);
    void request_turn();
    bool drain();
    void on_datagram(std::uint32_t link, std::span<const std::uint8_t> datagram);
    void on_report(const KernelReport& report);
    void on_link_event(const net::Link& link, bool removed);
    void on_address_event(const net::Address& address, bool removed);
    void on_overrun();
    void dump_interfaces();
    void finish_dump(std::optional<Interfaces> fresh, std::uint64_t asked_at);
    static std::optional<Interfaces> read_interfaces();  // blocks
    void take_interfaces(Interfaces interfaces);
    void tell_interfaces();
    void tell_forwarder();
    void on_call(const bus::Call& call, bus::Server::Respond respond);
    void wait_for_signal();
    void arm_timer();
    void wait_for_timer();

    // configuration
    // Reads the files on the file thread. Asked again meanwhile: once more afterwards, so that nothing is missed.
    void reload();
    bool apply(const Setup& next, std::optional<KeyRing> keys);
    void answer_reload(const std::vector<std::uint64_t>& callers, Instant until);
    void finish_reload(Loaded loaded, const std::vector<std::uint64_t>& callers);

    // output
    void carry_out();
    void act(const SendHeartbeat& send);
    void act(const SetAddresses& set);
    void act(const PermitLease& permit);
    void act(const Announce& announce);
    void act(const SendPing& ping);
    void act(const SendProbe& probe);
    void act(const StoreTerm& store);
    void act(const StoreStandby& store);
    void act(const Note& note);
    void act(const Answer& answer);
    void act(const Restart& restart);
    void act(const Stop& stop);
    void end(Ending ending, Duration after);
    void finish_end_soon();
    void finish_end();
    void publish();
    void publish_soon();
    void publish_config();
    void tick();
    void load_history();
    void take_history(const std::vector<bus::Event>& events);
    void keep(bus::Event event);
    void put_on_bus(const bus::Event& event);
    void note(const std::string& kind, Severity severity, const std::string& text);
    // An alarm of the shell, in `status` until it is cleared. Raised again: the newer text.
    void raise_alarm(const std::string& id, const std::string& text, const std::string& action);
    void clear_alarm(const std::string& id);
    [[nodiscard]] AddressTarget target() const;
    [[nodiscard]] std::vector<AddressProber::Watched> watched() const;
    [[nodiscard]] WorkerOptions worker_options() const;

    boost::asio::io_context& io_;
    config::Paths paths_;
    Setup setup_;
    std::string config_error_;
    std::uint64_t config_error_since_ms_ = 0;
    std::uint64_t config_applied_ms_ = 0;
    std::optional<Codec> codec_;
    std::unique_ptr<Core> core_;
    std::vector<std::unique_ptr<Link>> links_;
    std::unique_ptr<Pinger> pinger_;
    std::unique_ptr<AddressProber> prober_;
    std::unique_ptr<net::Monitor> monitor_;
    std::unique_ptr<AddressWorker> worker_;
    std::unique_ptr<FileThread> files_;
    std::unique_ptr<bus::Server> bus_;
    std::unique_ptr<ForwarderWatch> forwarder_;
    std::unique_ptr<config::Watcher> watcher_;
    boost::asio::signal_set signals_;
    boost::asio::posix::stream_descriptor timer_;  // timerfd on CLOCK_BOOTTIME
    boost::asio::steady_timer tick_timer_;
    boost::asio::steady_timer publish_timer_;
    boost::asio::steady_timer end_timer_;
    boost::asio::steady_timer dump_timer_;

    Interfaces interfaces_;
    bool interfaces_dirty_ = false;
    std::uint64_t interface_events_ = 0;
    bool dumping_ = false;
    std::vector<KernelAddress> leftovers_;
    Actions actions_;
    std::vector<pollfd> poll_set_;
    Duration armed_for_{};  // timer_, since boot
    Heartbeat received_;
    bool turning_ = false;
    bool turn_requested_ = false;
    Restraint restraint_;
    bool publish_pending_ = false;
    bool reloading_ = false;
    bool reload_again_ = false;
    std::vector<std::uint64_t> reload_callers_;  // to be answered by the next reload that begins
    std::optional<SetAddresses> wanted_;
    Instant permit_{};
    std::map<std::uint64_t, bus::Server::Respond> calls_;
    std::uint64_t next_call_ = 1;
    std::uint64_t event_sequence_ = 0;
    std::uint64_t events_not_stored_ = 0;  // since the last one that was
    bool history_known_ = false;
    std::vector<bus::Event> early_events_;  // without a number, until the history is known
    std::deque<std::uint64_t> events_on_bus_;
    std::map<std::string, std::uint64_t> counters_;
    std::vector<bus::Alarm> alarms_;  // of the shell itself
    Ending ending_ = Ending::stopped;
    bool ended_ = false;
    const bool watched_ = ::getenv("WATCHDOG_USEC") != nullptr;  // the supervisor waits for signs of life
    bool stopping_ = false;                                      // SIGTERM: no restart overtakes it
};

}  // namespace lbcluster::heartbeat
