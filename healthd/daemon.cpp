#include "healthd/daemon.hpp"

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <csignal>
#include <cstring>
#include <random>
#include <utility>

#include "healthd/memory_file.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/log.hpp"
#include "lbcluster/base/memory.hpp"
#include "lbcluster/base/notify.hpp"
#include "lbcluster/config/applied.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::health {

namespace {

constexpr Duration step_pace = 1ms;
constexpr unsigned revision_tries_max = 10;

std::uint64_t random_u64() {
    std::random_device device;  // getrandom(2)
    return (std::uint64_t{device()} << 32U) | device();
}

// A log has one line an event.
std::string one_line(const std::string& lines) {
    std::string out;
    for (const char c : lines) {
        if (c != '\n') out += c;
        else if (!out.ends_with(" | ")) out += " | ";
    }
    while (out.ends_with(" | ")) out.resize(out.size() - 3);
    return out;
}

bus::Reply reply_of(std::uint32_t exit_code, std::string message, std::string hint = "") {
    bus::Reply reply;
    reply.set_exit_code(exit_code);
    reply.set_message(std::move(message));
    reply.set_hint(std::move(hint));
    return reply;
}

Environment environment_of(const bus::NodeStatus& status) {
    Environment out;
    for (const bus::InterfaceStatus& interface : status.interfaces()) {
        if (!interface.present() || !interface.carrier()) out.without_carrier.push_back(interface.name());
    }
    out.ping_nodes = !status.ping_nodes().empty();
    for (const bus::PingNodeStatus& ping : status.ping_nodes()) out.reached = out.reached || ping.reachable();
    return out;
}

}  // namespace

Daemon::Daemon(boost::asio::io_context& io, config::Paths paths)
    : io_(io),
      paths_(std::move(paths)),
      notifier_(io),
      signals_(io, SIGTERM, SIGINT, SIGHUP),
      timer_(io),
      tick_timer_(io) {}

Daemon::~Daemon() { files_.join(); }

Result<std::unique_ptr<Daemon>> Daemon::create(boost::asio::io_context& io, const config::Paths& paths) {
    std::unique_ptr<Daemon> daemon(new Daemon(io, paths));
    if (auto opened = daemon->open(); !opened) return opened.error();
    return daemon;
}

// ---- start ----

Result<void> Daemon::open() {
    started_ms_ = realtime_ms_now();
    raise_limits();
    factory_ = std::make_unique<ProbeFactory>(io_);

    Loaded loaded = load(paths_);
    if (!loaded.usable) {
        config_error_ = loaded.error;
        loaded = load(config::applied_paths(paths_));
        spdlog::error("the configuration is not valid; {}: {}",
                      loaded.usable ? "going on with the last one that was in force" : "waiting for a good one",
                      config_error_);
        if (!loaded.usable) loaded.setup = {};
    }

    bus_ = std::make_unique<bus::Server>(
        io_, bus::Server::Options{paths_.socket_of("healthd"), "healthd", LBCLUSTER_VERSION});
    bus_->on_call([this](const bus::Call& call, const bus::PeerCredentials&, bus::Server::Respond respond) {
        on_call(call, std::move(respond));
    });
    bus_->on_snapshot([this](bus::Item& item) { fill_ages(item); });
    if (auto listening = bus_->listen(); !listening) return listening;
    events_ = std::make_unique<bus::EventLog>(io_, files_, *bus_, paths_.state_dir + "/health-events.jsonl");
    events_->load();

    const int fd = ::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) return Error{std::string("no timer: ") + std::strerror(errno), "", errno};
    timer_.assign(fd);

    const Instant now = boottime_now();
    core_ = std::make_unique<Core>(Options{loaded.setup.node, random_u64(), factory_->sockets_max()},
                                   read_memory(now, memory_path(paths_.run_dir)));
    remembered_ = now;
    apply(std::move(loaded.setup));
    chronicle_.begin();
    if (!config_error_.empty()) {
        events_->note(setup_.node, "config-refused", "warning",
                      std::string("healthd started with a configuration that is not valid, ") +
                          (setup_.digest.empty() ? "and waits for a good one: " : "and uses the last good one: ") +
                          config_error_);
    }
    return {};
}

void Daemon::raise_limits() {
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max) return;
    const rlim_t before = std::exchange(files.rlim_cur, files.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &files) != 0) {
        spdlog::warn("the limit of open files stays {}: {}", before, std::strerror(errno));
    }
}

void Daemon::start() {
    watcher_ = std::make_unique<config::Watcher>(io_, paths_, [this] { reload(); });
    if (auto watching = watcher_->start(); !watching) {
        spdlog::warn("{}: changes of the configuration are taken up on SIGHUP only", watching.error().message);
    }
    bus::Client::Options options{paths_.socket_of("heartbeatd"), "healthd", LBCLUSTER_VERSION, "node"};
    heartbeatd_ = std::make_unique<bus::Client>(io_, std::move(options));
    heartbeatd_->on_snapshot([this](const bus::Client::State& state) {
        const auto node = state.find("node");
        if (node != state.end()) on_node_status(node->second.node());
    });
    heartbeatd_->on_update([this](const std::vector<bus::Item>& items) {
        for (const bus::Item& item : items) {
            if (item.key() == "node" && !item.removed()) on_node_status(item.node());
        }
    });
    heartbeatd_->on_lost([this](const Error&) { on_environment(std::nullopt); });
    heartbeatd_->start();
    wait_for_signal();
    wait_for_timer();
    tick();
    reload();  // what was changed between reading the files and watching them
    notify_supervisor("READY=1");
    spdlog::info("started node={} servers={} targets={} probes_max={}", setup_.node, servers_.size(),
                 core_->totals().up + core_->totals().down + core_->totals().standby + core_->totals().unknown,
                 factory_->sockets_max());
}

// ---- input ----

void Daemon::wait_for_timer() {
    timer_.async_wait(boost::asio::posix::descriptor_base::wait_read, [this](const boost::system::error_code& error) {
        if (error || ended_) return;
        armed_for_.reset();  // setting the timer anew also takes back that it is readable
        step();
        wait_for_timer();
    });
}

void Daemon::step() {
    last_step_ = boottime_now();
    core_->step(last_step_, actions_);
    carry_out();
}

// A deadline that has moved away costs nothing but a look too early.
void Daemon::arm_timer() {
    const Instant next = core_->next_deadline();
    if (next == Instant::max()) return;
    const Instant at = std::max(next, last_step_ + step_pace);
    if (armed_for_ && *armed_for_ <= at) return;
    armed_for_ = at;
    const Duration since_boot = at.time_since_epoch();
    itimerspec when{};
    when.it_value.tv_sec = std::chrono::duration_cast<seconds>(since_boot).count();
    when.it_value.tv_nsec = (since_boot % 1s).count();
    ::timerfd_settime(timer_.native_handle(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void Daemon::on_outcome(Id id, std::uint32_t leaf, Outcome outcome) {
    core_->on_outcome(boottime_now(), id, leaf, std::move(outcome), actions_);
    carry_out();
}

void Daemon::on_agent_done(Id id, const Outcome& outcome) {
    AgentReading reading = std::exchange(job(id).reading, std::nullopt).value_or(AgentReading{});
    if (reading.text.empty()) reading.text = outcome.reason;
    core_->on_reading(boottime_now(), id, std::move(reading), actions_);
    carry_out();
}

void Daemon::on_environment(const std::optional<Environment>& environment) {
    const Instant now = boottime_now();
    core_->on_environment(now, environment, actions_);
    carry_out();
    if (core_->holding(now) != held_) publish_health();
}

void Daemon::on_node_status(const bus::NodeStatus& status) {
    on_environment(environment_of(status));
    notifier_.on_role(status);
}

void Daemon::on_call(const bus::Call& call, bus::Server::Respond respond) {
    switch (call.request_case()) {
        case bus::Call::kReload:
            return reload(std::move(respond));
        case bus::Call::kProbeNow:
            return probe_now(call.probe_now(), std::move(respond));
        default:
            respond(reply_of(2, "healthd does not know this request", "is the command line newer than the daemon?"));
    }
}

void Daemon::probe_now(const bus::ProbeNow& call, bus::Server::Respond respond) {
    constexpr std::size_t calls_max = 16;
    if (calls_.size() >= calls_max) {
        return respond(reply_of(1, "too many checks by hand are under way", "wait for one to end"));
    }
    std::vector<ProbeNow::Subject> subjects;
    for (const Server& server : servers_) {
        if (server.setup.service != call.service()) continue;
        if (!call.server().empty() && server.setup.server != call.server()) continue;
        ProbeNow::Subject subject{{}, core_->target(server.target)};
        subject.report.set_service(server.setup.service);
        subject.report.set_server(server.setup.server);
        subject.report.set_address(server.setup.address);
        subject.report.set_port(server.setup.port);
        subjects.push_back(std::move(subject));
    }
    if (subjects.empty()) {
        const std::string what =
            call.server().empty()
                ? "no enabled server of an enabled service '" + call.service() + "'"
                : "no enabled server '" + call.server() + "' of an enabled service '" + call.service() + "'";
        return respond(
            reply_of(1, "there is " + what + " in the configuration in force", "see 'lbcluster service list'"));
    }
    const std::uint64_t id = next_call_++;
    auto run = std::make_unique<ProbeNow>(io_, *factory_, std::move(subjects),
                                          [this, id, respond](std::vector<bus::ProbeReport> reports) {
                                              bus::Reply reply = reply_of(0, ProbeNow::fit(reports));
                                              for (auto& report : reports) *reply.add_probes() = std::move(report);
                                              respond(std::move(reply));
                                              calls_.erase(id);
                                          });
    ProbeNow& started = *run;
    calls_[id] = std::move(run);
    started.start();
}

void Daemon::wait_for_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
        if (error) return;
        wait_for_signal();
        if (signal == SIGHUP) return reload();
        spdlog::info("signal={}: ending", signal);
        end();
    });
}

void Daemon::end() {
    if (std::exchange(ended_, true)) return;
    notify_supervisor("STOPPING=1");
    write_history(true);
    const auto written =
        config::write_atomically(memory_path(paths_.run_dir), render_memory(boottime_now(), memory_list()), 0600);
    if (!written) spdlog::warn("{}", written.error().message);
    watcher_->close();
    heartbeatd_->close();
    bus_->close();
    io_.stop();
}

// Once a second: what is counted, what is overdue, and the sign of life that the supervisor waits for.
void Daemon::tick() {
    core_->find_overdue(boottime_now(), actions_);
    carry_out();
    if (changes_unlogged_ > 0) spdlog::info("{} more changes of health were not logged", changes_unlogged_);
    changes_logged_ = changes_unlogged_ = 0;
    publish_health();
    write_history();
    remember();
    find_revision();
    if (watched_) notify_supervisor("WATCHDOG=1");
    tick_timer_.expires_after(1s);
    tick_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error && !ended_) tick();
    });
}

// ---- configuration ----

// Reads the files; blocks. Interfaces are heartbeatd's business: what needs them is not checked here.
Daemon::Loaded Daemon::load(const config::Paths& paths) {
    Loaded out;
    {
        const config::LoadResult loaded = config::load(paths, std::nullopt);
        out.usable = loaded.ok();
        if (out.usable) out.setup = make_setup(loaded);
        else out.error = one_line(config::format(loaded.problems));
    }
    trim_memory();  // ten thousand servers with the places of all their values are some 50 MB
    return out;
}

void Daemon::reload(bus::Server::Respond respond) {
    if (respond) reload_callers_.push_back(std::move(respond));
    if (reloading_) {
        reload_again_ = true;
        return;
    }
    reloading_ = true;
    boost::asio::post(files_, [this, callers = std::exchange(reload_callers_, {})] {
        auto loaded = std::make_shared<Loaded>(load(paths_));
        boost::asio::post(io_, [this, callers, loaded] { finish_reload(std::move(*loaded), callers); });
    });
}

void Daemon::finish_reload(Loaded loaded, const std::vector<bus::Server::Respond>& callers) {
    reloading_ = false;
    if (ended_) return;
    if (loaded.error != config_error_ && !loaded.usable) {
        spdlog::error("configuration refused, the old one stays in force: {}", loaded.error);
        events_->note(setup_.node, "config-refused", "warning",
                      "healthd refused the configuration, the old one stays in force: " + loaded.error);
    }
    config_error_ = loaded.error;
    if (loaded.usable) {
        apply(std::move(loaded.setup));
    } else {
        publish_config();
    }
    publish_health();
    for (const auto& respond : callers) {
        respond(config_error_.empty()
                    ? reply_of(0, "the configuration is in force")
                    : reply_of(3, "the configuration was refused: " + config_error_, "the old one stays in force"));
    }
    if (std::exchange(reload_again_, false)) reload();
}

void Daemon::apply(Setup setup) {
    config_applied_ms_ = realtime_ms_now();
    revision_tries_ = 0;
    const bool another = setup.digest != setup_.digest && !setup_.digest.empty();
    if (!setup.digest.empty() && setup.digest != setup_.digest) {
        spdlog::info("configuration revision={} servers={}", setup.revision, setup.servers.size());
    }
    set_log_level(setup.log_level);
    core_->set_options({setup.node, 0, factory_->sockets_max()});
    const Ids ids = core_->configure(boottime_now(), std::exchange(setup.plan, {}), actions_);
    notifier_.configure(std::exchange(setup.notify, {}));
    setup_ = std::move(setup);
    // With thousands of servers, what vectors hold in reserve is megabytes.
    const std::vector<ServerSetup> made = std::exchange(setup_.servers, {});
    jobs_.reserve(ids.targets.size() + ids.agents.size());
    carry_out();  // ids that are used again are forgotten first

    const std::vector<Server> before = std::exchange(servers_, {});
    server_by_key_.clear();
    servers_.reserve(made.size());
    for (const ServerSetup& one : made) {
        Server server{one};
        server.key = "server/" + server.setup.service + "/" + server.setup.server;
        server.target = ids.targets.at(server.setup.target);
        if (server.setup.agent) server.agent = ids.agents.at(*server.setup.agent);
        servers_.push_back(std::move(server));
    }
    for (Job& one : jobs_) one.servers.clear();
    leaves_ = 0;
    for (std::size_t i = 0; i < servers_.size(); ++i) {
        server_by_key_.emplace(servers_[i].key, i);
        auto& of_target = job(servers_[i].target).servers;
        if (of_target.empty()) leaves_ += core_->target(servers_[i].target).leaves.size();
        of_target.push_back(i);
        if (servers_[i].agent) job(*servers_[i].agent).servers.push_back(i);
    }
    for (const Server& gone : before) {
        if (!server_by_key_.contains(gone.key)) bus_->erase(gone.key);
    }
    std::vector<Chronicle::Member> members;
    for (const Server& server : servers_) {
        members.push_back({server.setup.service, server.setup.server, server.setup.online});
    }
    chronicle_.configure(boottime_now(), realtime_ms_now(), setup_.node, members);
    // What has changed is published with the actions; a server may also have moved to another target.
    for (const Server& server : servers_) publish(server);
    publish_config();
    if (another) {
        events_->note(setup_.node, "config-applied", "info",
                      "healthd: " +
                          (setup_.revision == 0 ? "the edited configuration"
                                                : "configuration revision " + std::to_string(setup_.revision)) +
                          " is in force, with " + std::to_string(servers_.size()) + " servers to check");
    }
}

// A hand edit becomes a revision when heartbeatd has kept it as one, a moment after we have read it.
void Daemon::find_revision() {
    if (setup_.revision != 0 || setup_.digest.empty() || ++revision_tries_ > revision_tries_max) return;
    boost::asio::post(files_, [this, digest = setup_.digest] {
        for (const config::Revision& revision : config::history(paths_)) {
            if (revision.digest() != digest) continue;
            boost::asio::post(io_, [this, digest, number = revision.number()] {
                if (ended_ || setup_.digest != digest) return;
                setup_.revision = number;
                publish_config();
            });
            return;
        }
    });
}

}  // namespace lbcluster::health
