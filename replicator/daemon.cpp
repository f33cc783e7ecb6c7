#include "replicator/daemon.hpp"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <boost/asio/post.hpp>
#include <csignal>
#include <utility>

#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/log.hpp"
#include "lbcluster/base/memory.hpp"
#include "lbcluster/base/notify.hpp"
#include "lbcluster/base/utf8.hpp"

namespace lbcluster::replicator {

namespace {

// What a neighbour said last holds this long after it was lost: it is started again.
constexpr Duration neighbour_patience = 30s;
// At the start it should be known who is active before an edit by hand is judged. A single node has nobody to ask.
constexpr auto first_look_patience = std::chrono::seconds(30);
constexpr auto first_look_patience_alone = std::chrono::seconds(2);
constexpr const char* server_prefix = "server/";

bus::Reply reply_of(std::uint32_t exit_code, std::string message, std::string hint = "") {
    bus::Reply reply;
    reply.set_exit_code(exit_code);
    reply.set_message(std::move(message));
    reply.set_hint(std::move(hint));
    return reply;
}

std::string stamp_of(const std::string& path) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) return "";
    return std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec) + " " +
           std::to_string(info.st_ino) + " " + std::to_string(info.st_size);
}

// As the command line has it: elsewhere than on the active node nothing is changed.
bool may_change(const bus::NodeStatus& status) {
    return status.activity() == "active" || status.peer().state() != "alive" || status.peer().activity() != "active";
}

replica::Verdict verdict_of(const bus::ServerHealth& server) {
    replica::Verdict verdict;
    verdict.set_service(server.service());
    verdict.set_server(server.server());
    verdict.set_health(server.health());
    verdict.set_reason(server.reason());
    return verdict;
}

// The state is gone; the key has the labels, of which the first one may hold no slash.
replica::Verdict gone(const std::string& key) {
    const std::string labels = key.substr(std::string(server_prefix).size());
    replica::Verdict verdict;
    verdict.set_service(labels.substr(0, labels.find('/')));
    verdict.set_server(labels.substr(std::min(labels.find('/'), labels.size() - 1) + 1));
    return verdict;
}

}  // namespace

Daemon::Daemon(boost::asio::io_context& io, config::Paths paths)
    : io_(io), paths_(std::move(paths)), signals_(io, SIGTERM, SIGINT, SIGHUP), tick_timer_(io), start_timer_(io) {}

Daemon::~Daemon() {
    if (replication_) replication_->close();
    files_.join();
}

Result<std::unique_ptr<Daemon>> Daemon::create(boost::asio::io_context& io, const config::Paths& paths,
                                               Caller::Connect connect) {
    std::unique_ptr<Daemon> daemon(new Daemon(io, paths));
    if (auto opened = daemon->open(std::move(connect)); !opened) return opened.error();
    return daemon;
}

// ---- start ----

Result<void> Daemon::open(Caller::Connect connect) {
    bus_ = std::make_unique<bus::Server>(
        io_, bus::Server::Options{paths_.socket_of("replicatord"), "replicatord", LBCLUSTER_VERSION});
    bus_->on_call([this](const bus::Call& call, const bus::PeerCredentials&, bus::Server::Respond respond) {
        on_call(call, std::move(respond));
    });
    if (auto listening = bus_->listen(); !listening) return listening;
    events_ = std::make_unique<bus::EventLog>(io_, files_, *bus_, paths_.state_dir + "/replica-events.jsonl");
    events_->load();

    Replication::Events events;
    events.on_change = [this] { publish(); };
    events.on_note = [this](const Note& note) {
        events_->note(replication_->last_look().node, note.kind.c_str(), note.severity.c_str(), note.text);
    };
    events.call_peer = [this] { caller_->kick(); };
    events.on_verdict = [this](const replica::Verdict& verdict) { publish_verdict(verdict); };
    replication_ = std::make_unique<Replication>(io_, files_, paths_, std::move(events));

    Caller::Events calls;
    calls.wanted = [this]() -> std::optional<config::PeerRecord> {
        if (replication_->has_outgoing()) return std::nullopt;
        return replication_->last_look().peer;
    };
    calls.on_stream = [this](std::unique_ptr<ByteStream> stream) {
        replication_->attach(std::make_unique<Channel>(io_.get_executor(), std::move(stream)), true);
    };
    calls.on_error = [this](const Error& error) {
        const std::string text = error.message + (error.hint.empty() ? "" : "; " + error.hint);
        spdlog::info("the peer cannot be called: {}", one_line(text));
        replication_->set_call_error(one_line(text));
    };
    caller_ = std::make_shared<Caller>(io_, std::move(connect), std::move(calls));
    gate_ = std::make_shared<Gate>(io_, paths_.run_dir + "/replica.sock",
                                   [this](std::unique_ptr<Channel> channel, replica::Frame first) {
                                       on_stream(std::move(channel), std::move(first));
                                   });
    if (auto listening = gate_->listen(); !listening) return listening;
    // Who has only the account's password may make a pair, and nothing else.
    pairing_gate_ = std::make_shared<Gate>(io_, paths_.run_dir + "/pairing.sock",
                                           [this](std::unique_ptr<Channel> channel, replica::Frame first) {
                                               if (first.has_pair_begin()) {
                                                   return on_stream(std::move(channel), std::move(first));
                                               }
                                               spdlog::warn("a stream without the peer's key that is no pairing");
                                               channel->close();
                                           });
    return pairing_gate_->listen();
}

void Daemon::start() {
    watcher_ = std::make_unique<config::Watcher>(io_, paths_, [this] {
        if (first_look_) replication_->look();
    });
    if (auto watching = watcher_->start(); !watching) {
        spdlog::warn("{}: changes of the configuration are taken up on SIGHUP only", watching.error().message);
    }
    watch_heartbeatd();
    watch_healthd();
    const bool paired = !stamp_of(paths_.peer_file()).empty();
    start_timer_.expires_after(paired ? first_look_patience : first_look_patience_alone);
    start_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error) first_look();
    });
    caller_->start();
    wait_for_signal();
    tick();
    notify_supervisor("READY=1");
    spdlog::info("started");
}

void Daemon::first_look() {
    if (ended_ || std::exchange(first_look_, true)) return;
    start_timer_.cancel();
    // Behind it: whoever waits for an answer does not wait for this.
    replication_->look([this] { boost::asio::post(files_, trim_memory); });
}

// ---- neighbours ----

void Daemon::watch_heartbeatd() {
    bus::Client::Options options{paths_.socket_of("heartbeatd"), "replicatord", LBCLUSTER_VERSION, "node"};
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
    heartbeatd_->on_lost([this](const Error&) { heartbeatd_lost_ = boottime_now(); });
    heartbeatd_->start();
}

void Daemon::on_node_status(const bus::NodeStatus& status) {
    heartbeatd_lost_.reset();
    // It does not know yet who is active: what it said before holds.
    if (status.activity() == "starting") return start_timer_.cancel(), void();
    std::set<IpPrefix> floating;
    for (const bus::FloatingIpStatus& ip : status.floating_ips()) {
        if (const auto prefix = IpPrefix::parse(ip.address())) floating.insert(*prefix);
    }
    replication_->set_floating_ips(std::move(floating));
    replication_->set_may_change(may_change(status), status.activity() == "active");
    first_look();
}

void Daemon::watch_healthd() {
    bus::Client::Options options{paths_.socket_of("healthd"), "replicatord", LBCLUSTER_VERSION, server_prefix};
    healthd_ = std::make_unique<bus::Client>(io_, std::move(options));
    healthd_->on_snapshot([this](const bus::Client::State& state) {
        healthd_lost_.reset();
        replication_->forget_verdicts();
        for (const auto& [key, item] : state) replication_->set_verdict(verdict_of(item.server()));
    });
    healthd_->on_update([this](const std::vector<bus::Item>& items) {
        for (const bus::Item& item : items) {
            replication_->set_verdict(item.removed() ? gone(item.key()) : verdict_of(item.server()));
        }
    });
    healthd_->on_lost([this](const Error&) { healthd_lost_ = boottime_now(); });
    healthd_->start();
}

void Daemon::on_stream(std::unique_ptr<Channel> channel, replica::Frame first) {
    // At the start nobody knows yet whom this node is paired with: the peer calls again.
    if (first.has_hello() && !replication_->looked()) return channel->close();
    if (first.has_hello()) return replication_->attach(std::move(channel), false, std::move(first));
    if (pairing_) return pairing_(std::move(channel), std::move(first));
    spdlog::warn("a stream that begins with what this version does not know");
    channel->close();
}

// ---- calls ----

void Daemon::on_call(const bus::Call& call, bus::Server::Respond respond) {
    switch (call.request_case()) {
        case bus::Call::kReload:
            return reload(std::move(respond));
        case bus::Call::kSync:
            return replication_->sync(std::move(respond));
        case bus::Call::kResolve:
            return replication_->resolve(call.resolve().mine(), std::move(respond));
        case bus::Call::kPeerCopy:
            return replication_->copy_of_peer(std::move(respond));
        default:
            respond(
                reply_of(2, "replicatord does not know this request", "is the command line newer than the daemon?"));
    }
}

void Daemon::reload(bus::Server::Respond respond) {
    first_look_ = true;
    start_timer_.cancel();
    replication_->look([this, respond = std::move(respond)] {
        const std::string& error = replication_->last_look().error;
        respond(error.empty() ? reply_of(0, "the files have been looked at") : reply_of(3, error));
    });
}

// ---- publishing ----

void Daemon::publish() {
    if (ended_) return;
    const Look& look = replication_->last_look();
    bus::Item item;
    item.set_key("replication");
    *item.mutable_replication() = replication_->status();
    bus_->set(std::move(item));

    if (std::exchange(applied_digest_, look.own) != look.own) applied_ms_ = realtime_ms_now();
    bus::Item applied;
    applied.set_key("config");
    bus::ConfigStatus& config = *applied.mutable_config();
    config.set_daemon("replicatord");
    config.set_revision(look.revision);
    config.set_digest(look.own);
    config.set_error(look.error);
    config.set_applied_ms(applied_ms_);
    bus_->set(std::move(applied));
    set_log_level(look.log_level);
}

void Daemon::publish_verdict(const replica::Verdict& verdict) {
    const std::string key = "peer/" + verdict.service() + "/" + verdict.server();
    if (verdict.health().empty()) return bus_->erase(key);
    bus::Item item;
    item.set_key(key);
    bus::ServerHealth& server = *item.mutable_server();
    server.set_service(verdict.service());
    server.set_server(verdict.server());
    server.set_health(verdict.health());
    server.set_reason(verdict.reason());
    bus_->set(std::move(item));
}

// ---- life ----

void Daemon::wait_for_signal() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
        if (error || ended_) return;
        if (signal != SIGHUP) return end();
        replication_->look();
        wait_for_signal();
    });
}

// Once a second: what is waited for too long, a record of another peer, and the sign of life for the supervisor.
void Daemon::tick() {
    const Instant now = boottime_now();
    const auto overdue = [&](std::optional<Instant>& lost) {
        if (!lost || now - *lost < neighbour_patience) return false;
        lost.reset();
        return true;
    };
    if (overdue(heartbeatd_lost_)) replication_->set_may_change(true);
    if (overdue(healthd_lost_)) replication_->forget_verdicts();
    if (first_look_) {
        // Pairing writes it; it stands in a folder with much coming and going.
        const std::string stamp = stamp_of(paths_.peer_file());
        if (std::exchange(peer_file_seen_, stamp) != stamp) replication_->look();
        replication_->tick();
    }
    gate_->let_account_in();
    pairing_gate_->let_account_in();
    if (watched_) notify_supervisor("WATCHDOG=1");
    tick_timer_.expires_after(std::chrono::seconds(1));
    tick_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error && !ended_) tick();
    });
}

void Daemon::end() {
    if (std::exchange(ended_, true)) return;
    notify_supervisor("STOPPING=1");
    replication_->close();
    caller_->close();
    gate_->close();
    pairing_gate_->close();
    watcher_->close();
    heartbeatd_->close();
    healthd_->close();
    bus_->close();
    io_.stop();
}

}  // namespace lbcluster::replicator
