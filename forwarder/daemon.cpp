#include "forwarder/daemon.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <csignal>
#include <utility>

#include "forwarder/sysctl.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/log.hpp"
#include "lbcluster/base/memory.hpp"
#include "lbcluster/base/notify.hpp"
#include "lbcluster/config/applied.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/store.hpp"
#include "lbcluster/net/netlink.hpp"

namespace lbcluster::forward {

namespace {

constexpr unsigned revision_tries_max = 10;

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

// `starting` says nothing yet: it may be the active node whose heartbeatd was started again.
Activity activity_of(const std::string& word) {
    if (word == "active") return Activity::active;
    return word == "passive" || word == "standby" ? Activity::passive : Activity::unknown;
}

}  // namespace

Daemon::Daemon(boost::asio::io_context& io, config::Paths paths, Kernel& kernel, Pace pace)
    : io_(io),
      paths_(std::move(paths)),
      kernel_(kernel),
      pace_(pace),
      signals_(io, SIGTERM, SIGINT, SIGHUP),
      reconcile_timer_(io),
      drain_timer_(io),
      tick_timer_(io) {}

Daemon::~Daemon() { files_.join(); }

Result<std::unique_ptr<Daemon>> Daemon::create(boost::asio::io_context& io, const config::Paths& paths, Kernel& kernel,
                                               Pace pace) {
    std::unique_ptr<Daemon> daemon(new Daemon(io, paths, kernel, pace));
    if (auto opened = daemon->open(); !opened) return opened.error();
    return daemon;
}

// ---- start ----

Result<void> Daemon::open() {
    Loaded loaded = load(paths_);
    if (!loaded.usable) {
        config_error_ = loaded.error;
        loaded = load(config::applied_paths(paths_));
        spdlog::error("the configuration is not valid; {}: {}",
                      loaded.usable ? "going on with the last one that was in force"
                                    : "waiting for a good one, and leaving the kernel as it is",
                      config_error_);
    }
    bus_ = std::make_unique<bus::Server>(
        io_, bus::Server::Options{paths_.socket_of("forwarderd"), "forwarderd", LBCLUSTER_VERSION});
    bus_->on_call([this](const bus::Call& call, const bus::PeerCredentials&, bus::Server::Respond respond) {
        on_call(call, std::move(respond));
    });
    bus_->on_snapshot([this](bus::Item& item) { refresh(item); });
    if (auto listening = bus_->listen(); !listening) return listening;
    events_ = std::make_unique<bus::EventLog>(io_, files_, *bus_, paths_.state_dir + "/forward-events.jsonl");
    events_->load();

    const std::string path = owned_path(paths_.run_dir);
    reconciler_ = std::make_unique<Reconciler>(kernel_, read_owned(path), [path](const std::string& text) {
        return config::write_atomically(path, text, 0600);
    });
    open_proxy();
    if (loaded.usable) apply(std::move(loaded.setup));
    else publish_config();
    return {};
}

void Daemon::start() {
    watcher_ = std::make_unique<config::Watcher>(io_, paths_, [this] { reload(); });
    if (auto watching = watcher_->start(); !watching) {
        spdlog::warn("{}: changes of the configuration are taken up on SIGHUP only", watching.error().message);
    }
    reload();  // what was changed between reading the files and watching them
    watch_health();
    watch_node();
    wait_for_signal();
    haproxy_->start();
    tick();
    reconcile_within(pace_.reconcile_period);
    publish();
    notify_supervisor("READY=1");
    spdlog::info("started node={} services={}", setup_.node, core_.spec().services.size());
}

void Daemon::watch_health() {
    bus::Client::Options options{paths_.socket_of("healthd"), "forwarderd", LBCLUSTER_VERSION, "server/"};
    healthd_ = std::make_unique<bus::Client>(io_, std::move(options));
    healthd_->on_snapshot([this](const bus::Client::State& state) {
        for (const auto& [key, item] : state) on_health(item);
        take_up_changes();
        publish_status();
    });
    healthd_->on_update([this](const std::vector<bus::Item>& items) {
        for (const bus::Item& item : items) on_health(item);
        take_up_changes();
    });
    healthd_->on_lost([this](const Error& error) {
        spdlog::warn("healthd is not heard any more, its last verdicts stay: {}", error.message);
        publish_status();
    });
    healthd_->start();
}

void Daemon::watch_node() {
    bus::Client::Options options{paths_.socket_of("heartbeatd"), "forwarderd", LBCLUSTER_VERSION, "node"};
    heartbeatd_ = std::make_unique<bus::Client>(io_, std::move(options));
    heartbeatd_->on_snapshot([this](const bus::Client::State& state) {
        const auto node = state.find("node");
        if (node != state.end()) on_node(node->second.node());
    });
    heartbeatd_->on_update([this](const std::vector<bus::Item>& items) {
        for (const bus::Item& item : items) {
            if (item.key() == "node" && !item.removed()) on_node(item.node());
        }
    });
    heartbeatd_->start();
}

// ---- input ----

void Daemon::on_health(const bus::Item& item) {
    if (item.removed() || !item.has_server()) return;  // what healthd does not judge any more stays as it is
    const bus::ServerHealth& health = item.server();
    const auto address = IpAddress::parse(health.address());
    if (!address) return;
    core_.on_health(health.service(), health.server(), *address, verdict_of(health));
    proxy_core_.on_health(health.service(), health.server(), *address, verdict_of(health));
}

void Daemon::on_node(const bus::NodeStatus& status) {
    const std::optional<Sync> before = core_.desired().sync;
    core_.on_activity(activity_of(status.activity()));
    if (core_.desired().sync != before) reconcile();
}

void Daemon::on_call(const bus::Call& call, bus::Server::Respond respond) {
    if (call.request_case() == bus::Call::kReload) return reload(std::move(respond));
    respond(reply_of(2, "forwarderd does not know this request", "is the command line newer than the daemon?"));
}

void Daemon::wait_for_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
        if (error) return;
        wait_for_signal();
        if (signal == SIGHUP) return reload();
        spdlog::info("signal={}: ending; what is in the kernel stays, and HAProxy", signal);
        end();
    });
}

void Daemon::end() {
    if (std::exchange(ended_, true)) return;
    notify_supervisor("STOPPING=1");
    haproxy_->close();
    watcher_->close();
    healthd_->close();
    heartbeatd_->close();
    bus_->close();
    io_.stop();
}

// Once a second: the sign of life that the supervisor waits for, and what a hand edit has become.
void Daemon::tick() {
    find_revision();
    if (watched_) notify_supervisor("WATCHDOG=1");
    tick_timer_.expires_after(1s);
    tick_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error && !ended_) tick();
    });
}

// Deadlines of drains are points on the wall clock, which may be set: looked at once a second while there is one.
void Daemon::wait_for_drain() {
    const auto sooner = [](const auto& a, const auto& b) { return a && b ? std::min(a, b) : a ? a : b; };
    const auto next = sooner(core_.next_deadline_ms(), proxy_core_.next_deadline_ms());
    if (!next) {
        drain_timer_.cancel();
        return;
    }
    const std::uint64_t now = realtime_ms_now();
    const std::uint64_t left = *next > now ? *next - now : 0;
    drain_timer_.expires_after(milliseconds(std::min<std::uint64_t>(left, 1000)));
    drain_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error || ended_) return;
        take_up_changes();
        wait_for_drain();
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
        const auto page = config::read_text(paths.files_dir() + "/fallback.html");
        if (page) out.setup.page = *page;
        else if (page.error().code != ENOENT) spdlog::warn("the plain fallback page is used: {}", page.error().message);
    }
    trim_memory();
    return out;
}

// What cannot be read is not there: the next look finds it.
NodeFacts Daemon::look_around() {
    NodeFacts facts;
    auto netlink = net::Netlink::open();
    if (!netlink) return facts;
    std::map<int, std::string> names;
    if (const auto links = netlink->links()) {
        for (const net::Link& link : *links) {
            names[link.index] = link.name;
            facts.interfaces.push_back(link.name);
            std::string written = link.name;
            std::replace(written.begin(), written.end(), '.', '/');
            const auto listens = read_sysctl("net.ipv6.conf." + written + ".accept_ra");
            // 2 may be ours, from before: then it is still wanted.
            if (listens && *listens != "0" && link.name != "lo") facts.listens_to_routers.push_back(link.name);
        }
    }
    if (const auto addresses = netlink->addresses()) {
        for (const net::Address& one : *addresses) facts.interface_of[one.prefix.address] = names[one.ifindex];
    }
    return facts;
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
    }
    config_error_ = loaded.error;
    if (loaded.usable) apply(std::move(loaded.setup));
    else publish_config();
    publish_status();
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
    if (!setup.digest.empty() && setup.digest != setup_.digest) {
        spdlog::info("configuration revision={} digest={}", setup.revision, setup.digest.substr(0, 16));
    }
    set_log_level(setup.log_level);
    const bool first = !std::exchange(configured_, true);
    setup_ = std::move(setup);
    specified_ = false;
    configure();
    if (first) core_.adopt(reconciler_->look(core_.desired().table), realtime_ms_now());
    // What healthd has said already of servers that are new here; it may have been quicker with the new files.
    if (healthd_) {
        for (const auto& [key, item] : healthd_->state()) on_health(item);
        core_.catch_up(realtime_ms_now());
    }
    reconcile();
    configure_proxy();
    publish_proxy();
    publish_config();
    wait_for_drain();
}

void Daemon::configure() {
    NodeFacts facts = look_around();
    if (specified_ && facts == facts_) return;
    facts_ = std::move(facts);
    specified_ = true;
    Spec spec = make_spec(setup_.cluster, setup_.node_config, facts_);
    if (spec != core_.spec()) core_.configure(std::move(spec), realtime_ms_now());
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

}  // namespace lbcluster::forward
