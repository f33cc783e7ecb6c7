// forwarderd: the shell around the forwarder core. It takes healthd's verdicts and heartbeatd's activity from the bus
// and the services from the configuration, has the cores say what layers 4 and 7 shall be like, and the reconciler make
// the kernel so, and Haproxy HAProxy. It decides nothing about servers itself.
//
// Level-triggered: after every event, and every reconcile_period, the kernel is read back and put right. A change of
// health goes to the kernel at once, and is read back a moment later.
//
// Its end leaves everything in the kernel, and HAProxy, as it is, and its start changes nothing that is right: whoever
// kills it takes no service away. It loses no verdict with healthd, and no role with heartbeatd (fail static). A bad
// configuration changes nothing; at the start the last one that heartbeatd had in force is used instead, else
// forwarderd waits for a good one and leaves the kernel alone.
//
// One thread, one more for reading the configuration, and one for HAProxy's files and process.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "forwarder/core/core.hpp"
#include "forwarder/core/proxy.hpp"
#include "forwarder/haproxy/proxy.hpp"
#include "forwarder/kernel.hpp"
#include "forwarder/reconciler.hpp"
#include "forwarder/setup.hpp"
#include "lbcluster/bus/client.hpp"
#include "lbcluster/bus/event_log.hpp"
#include "lbcluster/bus/server.hpp"
#include "lbcluster/config/paths.hpp"
#include "lbcluster/config/watcher.hpp"

namespace lbcluster::forward {

struct Pace {
    std::chrono::milliseconds reconcile_period{10000};
    // After a change of health, until the kernel is read back: a burst of them is read back once.
    std::chrono::milliseconds read_back_delay{200};
};

class Daemon {
  public:
    // Loads the configuration and opens everything. `kernel` must outlive it. Errors are for people.
    static Result<std::unique_ptr<Daemon>> create(boost::asio::io_context& io, const config::Paths& paths,
                                                  Kernel& kernel, Pace pace = {});
    ~Daemon();
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    // Begins; the io_context's run() returns when the daemon has ended.
    void start();

  private:
    static constexpr const char* service_prefix = "service/";  // on the bus
    struct Loaded {
        Setup setup;
        std::string error;  // not empty: the files are bad
        bool usable = false;
    };

    Daemon(boost::asio::io_context& io, config::Paths paths, Kernel& kernel, Pace pace);
    Result<void> open();
    void watch_health();
    void watch_node();

    // input
    void on_health(const bus::Item& item);
    void on_node(const bus::NodeStatus& status);
    void on_call(const bus::Call& call, bus::Server::Respond respond);
    void wait_for_signal();
    void wait_for_drain();
    void tick();
    void end();

    // configuration
    static Loaded load(const config::Paths& paths);
    static NodeFacts look_around();
    void reload(bus::Server::Respond respond = nullptr);
    void finish_reload(Loaded loaded, const std::vector<bus::Server::Respond>& callers);
    void apply(Setup setup);
    void configure();
    void find_revision();

    // output
    void take_up_changes();
    void reconcile();
    void reconcile_within(std::chrono::milliseconds delay);
    void log_outcome(const Outcome& outcome);
    void refresh(bus::Item& item);
    void fill_counters(bus::ForwardStatus& out) const;
    void fill_counters(std::size_t service, bus::ForwardService& out) const;
    void publish();
    void publish_status();
    void publish_service(std::size_t service);
    void add_alarms(bus::ForwardStatus& out);
    void publish_config();
    void note_drift(std::size_t more);

    // layer 7
    void open_proxy();
    void configure_proxy();
    void publish_proxy();
    void publish_proxy_service(std::size_t service);
    void fill_proxy(bus::ForwardStatus& out) const;

    boost::asio::io_context& io_;
    config::Paths paths_;
    Kernel& kernel_;
    const Pace pace_;
    boost::asio::thread_pool files_{1};
    Core core_;
    std::unique_ptr<Reconciler> reconciler_;
    ProxyCore proxy_core_;
    std::unique_ptr<Haproxy> haproxy_;
    std::unique_ptr<bus::Server> bus_;
    std::unique_ptr<bus::EventLog> events_;
    std::unique_ptr<bus::Client> healthd_;
    std::unique_ptr<bus::Client> heartbeatd_;
    std::unique_ptr<config::Watcher> watcher_;
    boost::asio::signal_set signals_;
    boost::asio::steady_timer reconcile_timer_;
    boost::asio::steady_timer drain_timer_;
    boost::asio::steady_timer tick_timer_;

    Setup setup_;
    NodeFacts facts_;
    bool specified_ = false;   // the core has what setup_ and facts_ say
    bool configured_ = false;  // there is a configuration in force; without one the kernel is left alone
    std::string config_error_;
    std::uint64_t config_applied_ms_ = 0;
    unsigned revision_tries_ = 0;
    bool reloading_ = false;
    bool reload_again_ = false;
    std::vector<bus::Server::Respond> reload_callers_;

    std::vector<std::string> published_;        // keys of layer 4's services on the bus
    std::vector<std::string> published_proxy_;  // and of layer 7's
    std::map<std::string, std::uint64_t> alarms_since_ms_;
    std::map<std::string, std::uint64_t> counts_;
    std::string last_error_;  // that was logged
    std::uint64_t drift_ms_ = 0;
    std::string drift_;
    std::uint64_t drift_noted_ms_ = 0;  // the last event of it
    std::uint64_t drifts_untold_ = 0;
    std::optional<Instant> reconcile_at_;
    Instant counters_read_{};
    bool ended_ = false;
    const bool watched_ = ::getenv("WATCHDOG_USEC") != nullptr;  // the supervisor waits for signs of life
};

}  // namespace lbcluster::forward
