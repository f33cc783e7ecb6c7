// healthd: the shell around the health core. It probes, reads feedback agents, watches heartbeatd, and publishes what
// the core decides; it decides nothing about servers itself.
//
// One thread, and one more for files (reading the configuration, writing what shall outlive the process). One timer for
// all that is due; it rings at most once a millisecond, so that many probes share a turn of the loop.
//
// A restart is no event for anybody: verdicts and weights are remembered (memory_file.hpp). What happens is history
// (history/chronicle.hpp, bus/event_log.hpp). A bad configuration changes
// nothing; at the start the last one that heartbeatd had in force is used instead, else healthd waits for a good one.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "healthd/core/core.hpp"
#include "healthd/history/chronicle.hpp"
#include "healthd/memory_file.hpp"
#include "healthd/notify/notifier.hpp"
#include "healthd/probe_now.hpp"
#include "healthd/probes/factory.hpp"
#include "healthd/setup.hpp"
#include "lbcluster/bus/client.hpp"
#include "lbcluster/bus/event_log.hpp"
#include "lbcluster/bus/server.hpp"
#include "lbcluster/config/paths.hpp"
#include "lbcluster/config/watcher.hpp"

namespace lbcluster::health {

class Daemon {
  public:
    // Loads the configuration and opens everything. Errors are for people.
    static Result<std::unique_ptr<Daemon>> create(boost::asio::io_context& io, const config::Paths& paths);
    ~Daemon();
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    // Begins; the io_context's run() returns when the daemon has ended.
    void start();

  private:
    // What the shell keeps of a job of the core, by its id.
    struct Job {
        std::vector<std::unique_ptr<Probe>> leaves;  // made when first needed
        std::unique_ptr<Probe> agent;
        std::optional<AgentReading> reading;  // of the question that is under way
        std::vector<std::size_t> servers;     // whose health it is
        std::uint64_t since_ms = 0;           // of the verdict, for people
    };
    struct Server {
        ServerSetup setup;
        std::string key;  // on the bus
        Id target = 0;
        std::optional<Id> agent;
    };
    struct Loaded {
        Setup setup;
        std::string error;  // not empty: the files are bad
        bool usable = false;
    };

    Daemon(boost::asio::io_context& io, config::Paths paths);
    Result<void> open();
    void raise_limits();

    // input
    void wait_for_timer();
    void arm_timer();
    void step();
    void on_outcome(Id id, std::uint32_t leaf, Outcome outcome);
    void on_agent_done(Id id, const Outcome& outcome);
    void on_environment(const std::optional<Environment>& environment);
    void on_node_status(const bus::NodeStatus& status);
    void on_call(const bus::Call& call, bus::Server::Respond respond);
    void probe_now(const bus::ProbeNow& call, bus::Server::Respond respond);
    void wait_for_signal();
    void tick();
    void end();

    // configuration
    static Loaded load(const config::Paths& paths);
    void reload(bus::Server::Respond respond = nullptr);
    void finish_reload(Loaded loaded, const std::vector<bus::Server::Respond>& callers);
    void apply(Setup setup);
    void find_revision();

    // output
    void carry_out();
    void act(const StartProbe& start);
    void act(const StopProbe& stop);
    void act(const AskAgent& ask);
    void act(const StopAgent& stop);
    void act(const Changed& changed);
    void act(const Forget& forget);
    Job& job(Id id);
    void log_change(Id id, Health before);
    void publish_servers_of(Id id);
    void publish(const Server& server);
    void fill_ages(bus::Item& item) const;
    void publish_health();
    void publish_config();
    void write_history(bool ending = false);
    void remember();
    [[nodiscard]] std::uint64_t realtime_ms(Instant at) const;
    [[nodiscard]] MemoryList memory_list() const;

    boost::asio::io_context& io_;
    config::Paths paths_;
    boost::asio::thread_pool files_{1};
    std::unique_ptr<ProbeFactory> factory_;  // outlives the probes
    std::unique_ptr<Core> core_;
    Notifier notifier_;
    Chronicle chronicle_;
    std::unique_ptr<bus::Server> bus_;
    std::unique_ptr<bus::EventLog> events_;
    std::unique_ptr<bus::Client> heartbeatd_;
    std::unique_ptr<config::Watcher> watcher_;
    boost::asio::signal_set signals_;
    boost::asio::posix::stream_descriptor timer_;  // timerfd on CLOCK_BOOTTIME
    boost::asio::steady_timer tick_timer_;

    Setup setup_;  // without its plan
    std::string config_error_;
    std::uint64_t config_error_since_ms_ = 0;
    std::uint64_t config_applied_ms_ = 0;
    unsigned revision_tries_ = 0;
    bool reloading_ = false;
    bool reload_again_ = false;
    std::vector<bus::Server::Respond> reload_callers_;

    Actions actions_;
    std::vector<Job> jobs_;  // by id
    std::vector<Server> servers_;
    std::unordered_map<std::string_view, std::size_t> server_by_key_;
    std::map<std::uint64_t, std::unique_ptr<ProbeNow>> calls_;
    std::uint64_t next_call_ = 1;
    std::optional<Instant> armed_for_;
    Instant last_step_{};
    std::size_t leaves_ = 0;  // of all targets
    std::uint64_t started_ms_ = 0;
    std::uint64_t overdue_since_ms_ = 0;
    std::uint64_t not_stored_since_ms_ = 0;
    std::uint64_t limit_since_ms_ = 0;
    std::string held_;  // the hold that was logged
    bool remember_soon_ = false;
    bool remembering_ = false;
    Instant remembered_{};
    std::uint64_t changes_logged_ = 0;  // in this second
    std::uint64_t changes_unlogged_ = 0;
    bool ended_ = false;
    const bool watched_ = ::getenv("WATCHDOG_USEC") != nullptr;  // the supervisor waits for signs of life
};

}  // namespace lbcluster::health
