// lbcluster status: what this node, its peer, its services and their servers do now (HA-5, OP-2).
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/bus/client.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/applied.hpp"
#include "lbcluster/config/load.hpp"
#include "status_view.hpp"

namespace lbcluster::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto neighbour_time = 500ms;
constexpr auto refresh_time = 1s;   // of the ages on a watched page; also to see that the reader has gone
constexpr auto settle_time = 50ms;  // changes that come together are shown together

void take(StatusView& view, const bus::Item& item) {
    if (item.has_node()) {
        view.node = item.node();
    } else if (item.has_config()) {
        view.config = item.config();
    } else if (item.has_health()) {
        view.health = item.health();
    } else if (item.has_replication()) {
        view.replication = item.replication();
    } else if (item.has_server() && item.key().starts_with("peer/")) {
        view.peer_health[{item.server().service(), item.server().server()}] = item.server().health();
    } else if (item.has_server()) {
        view.servers[{item.server().service(), item.server().server()}] = item.server();
    } else if (item.has_forward()) {
        view.forward = item.forward();
    } else if (item.has_forward_service()) {
        view.forwarded[item.forward_service().service()] = item.forward_service();
    }
}

// The services as they are configured; of files that are not valid, as they were when they last were.
void read_configuration(const Context& context, StatusView& view) {
    view.cluster_error.clear();
    if (const auto content = config::read_content(context.paths.config_dir)) {
        if (auto known = config::applied_cluster(context.paths, config::digest_of(*content))) {
            view.cluster = std::move(*known);
            return;
        }
    }
    auto loaded = config::load(context.paths, std::nullopt);
    if (!loaded.ok()) {
        auto older = config::load(config::applied_paths(context.paths), std::nullopt);
        view.cluster_error = older.ok() ? "cluster.yaml is not valid: these are the services as they were before. "
                                        : "cluster.yaml is not valid, so its services cannot be shown. ";
        view.cluster_error += "'lbcluster config check' says why.";
        if (!older.ok()) older.effective_cluster.Clear();
        loaded = std::move(older);
    }
    view.cluster = std::move(loaded.effective_cluster);
}

std::string trouble_of(const Error& error) {
    const bool absent = error.code == ENOENT || error.code == ECONNREFUSED;
    return absent ? "healthd does not run" : error.code == ETIMEDOUT ? "healthd does not answer" : error.message;
}

void add_healthd(const Context& context, StatusView& view) {
    const std::string socket = context.paths.socket_of("healthd");
    const auto fetched = bus::fetch_all(socket, "health", answer_time);
    const auto servers = fetched.ok() ? bus::fetch(socket, "server/", answer_time) : fetched.error();
    view.health.reset();
    view.servers.clear();
    if (fetched.ok() && servers.ok()) {
        view.health.emplace();
        view.health_error.clear();
        for (const bus::Item& item : fetched->items) take(view, item);
        for (const bus::Item& item : *servers) take(view, item);
        if (view.config.digest().empty()) {  // heartbeatd has told of none
            const auto config = bus::fetch(socket, "config", answer_time);
            if (config.ok()) {
                for (const bus::Item& item : *config) take(view, item);
            }
        }
        view.daemons.push_back({"healthd", true, false, fetched.value().server.version()});
        return;
    }
    const Error& error = fetched.ok() ? servers.error() : fetched.error();
    view.health_error = trouble_of(error);
    if (error.code != ENOENT || view.cluster.virtual_services_size() > 0) {
        view.daemons.push_back({"healthd", bus::listens(socket), true, ""});
    }
}

// Asked each time, also while watching: it fills in its counts for who asks.
void add_forwarderd(const Context& context, StatusView& view) {
    const std::string socket = context.paths.socket_of("forwarderd");
    const auto fetched = bus::fetch_all(socket, "forward", neighbour_time);
    const auto forwarded = fetched.ok() ? bus::fetch(socket, "service/", neighbour_time) : fetched.error();
    if (fetched.ok() && forwarded.ok()) {
        for (const bus::Item& item : fetched->items) take(view, item);
        for (const bus::Item& item : *forwarded) take(view, item);
        view.daemons.push_back({"forwarderd", true, false, fetched->server.version()});
        return;
    }
    const auto& services = view.cluster.virtual_services();
    const bool needed = std::any_of(services.begin(), services.end(), [](const auto& one) { return one.enabled(); });
    if (fetched.ok() || fetched.error().code != ENOENT || needed) {
        view.daemons.push_back({"forwarderd", bus::listens(socket), true, ""});
    }
}

// A node without a peer needs none.
void add_replicatord(const Context& context, StatusView& view) {
    const std::string socket = context.paths.socket_of("replicatord");
    const auto fetched = bus::fetch_all(socket, "replication", neighbour_time);
    const auto verdicts = fetched.ok() ? bus::fetch(socket, "peer/", neighbour_time) : fetched.error();
    if (fetched.ok() && verdicts.ok()) {
        for (const bus::Item& item : fetched->items) take(view, item);
        for (const bus::Item& item : *verdicts) take(view, item);
        view.daemons.push_back({"replicatord", true, false, fetched->server.version()});
        return;
    }
    const bool needed = ::access(context.paths.peer_file().c_str(), F_OK) == 0;
    if (fetched.ok() || fetched.error().code != ENOENT || needed) {
        view.daemons.push_back({"replicatord", bus::listens(socket), true, ""});
    }
}

// The error is heartbeatd's; the others' absence is part of the picture.
Result<void> collect(const Context& context, StatusView& view) {
    const std::string socket = context.paths.socket_of("heartbeatd");
    view.now_ms = realtime_ms_now();
    read_configuration(context, view);
    auto node = bus::fetch_all(socket, "node", answer_time);
    Result<void> outcome;
    if (node.ok()) {
        for (const bus::Item& item : node.value().items) take(view, item);
        if (const auto config = bus::fetch(socket, "config", answer_time); config.ok()) {
            for (const bus::Item& item : config.value()) take(view, item);
        }
        view.daemons.push_back({"heartbeatd", true, false, node.value().server.version()});
    } else {
        outcome = node.error();
        view.daemons.push_back({"heartbeatd", node.error().code == ETIMEDOUT, true, ""});
    }
    add_healthd(context, view);
    add_forwarderd(context, view);
    add_replicatord(context, view);
    return outcome;
}

bool anybody_answers(const StatusView& view) {
    return std::any_of(view.daemons.begin(), view.daemons.end(),
                       [](const DaemonView& daemon) { return daemon.running && !daemon.stale; });
}

int fail_unreachable(Context& context, const Error& error) {
    const bool permission = bus::exit_code_of(error) == exit_refused;
    return fail(context, permission ? exit_refused : exit_unreachable, error);
}

// Of the terminal; 80 where there is none.
std::size_t columns() {
    winsize size{};
    return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void show(const Context& context, const StatusView& view, bool watching) {
    if (context.json) {
        return print_json(status_json(view), watching ? -1 : 2);
    }
    print((watching && context.color ? "\x1b[H\x1b[2J" : "") + render_page(view, context.color, columns()));
    if (watching && !context.color) {
        print("\n");
    }
}

// Follows the daemons until it is interrupted, or nobody reads what it prints. One that goes away and comes back is
// part of the picture. Lines for scripts are printed when something changed; on a terminal the ages go on as well.
class Watch {
  public:
    Watch(const Context& context, StatusView view)
        : context_(context),
          view_(std::move(view)),
          node_(io_, options("heartbeatd", "node")),
          config_(io_, options("heartbeatd", "config")),
          health_(io_, options("healthd", "health")),
          servers_(io_, options("healthd", "server/")),
          health_config_(io_, options("healthd", "config")),
          settle_(io_),
          refresh_(io_) {
        for (bus::Client* client : clients_) {
            client->on_snapshot([this](const auto&) { changed(); });
            client->on_update([this](const auto&) { changed(); });
            client->on_lost([this](const Error&) { changed(); });
        }
    }

    void run() {
        show(context_, view_, true);
        shown_ = digest(view_);
        for (bus::Client* client : clients_) client->start();
        refresh();
        io_.run();
    }

  private:
    [[nodiscard]] bus::ClientOptions options(const char* daemon, const char* prefix) const {
        return {context_.paths.socket_of(daemon), "lbcluster", LBCLUSTER_VERSION, prefix};
    }

    void changed() {
        if (std::exchange(settling_, true)) return;
        settle_.expires_after(settle_time);
        settle_.async_wait([this](boost::system::error_code error) {
            if (error) return;
            settling_ = false;
            if (complete()) update(context_.color);
        });
    }

    // Not before every daemon that was there has given its first snapshot.
    [[nodiscard]] bool complete() {
        complete_ = complete_ || std::chrono::steady_clock::now() > started_ + answer_time ||
                    ((!view_.node || !(node_.stale() || config_.stale())) &&
                     (!view_.health || !(health_.stale() || servers_.stale())));
        return complete_;
    }

    void refresh() {
        if (!stdout_works()) return io_.stop();
        refresh_.expires_after(refresh_time);
        refresh_.async_wait([this](boost::system::error_code error) {
            if (error) return;
            if (complete()) update(context_.color);
            refresh();
        });
    }

    void update(bool anyway) {
        StatusView next;
        next.now_ms = realtime_ms_now();
        next.cluster = view_.cluster;
        next.cluster_error = view_.cluster_error;
        if (files_changed()) read_configuration(context_, next);
        add_heartbeatd(next);
        add_health(next);
        add_forwarderd(context_, next);
        add_replicatord(context_, next);
        view_ = std::move(next);
        const std::string now = digest(view_);
        if (now == shown_ && !anyway) return;
        shown_ = now;
        show(context_, view_, true);
        if (!stdout_works()) io_.stop();
    }

    void add_heartbeatd(StatusView& next) const {
        const bool stale = node_.stale();
        if (!stale) {
            for (const bus::Client* client : {&node_, &config_}) {  // of `config` the last known one will do
                for (const auto& [key, item] : client->state()) take(next, item);
            }
        }
        const bool running = !stale || bus::listens(context_.paths.socket_of("heartbeatd"));
        next.daemons.push_back({"heartbeatd", running, stale, stale ? "" : node_.server_version()});
    }

    void add_health(StatusView& next) const {
        if (!health_.stale() && !servers_.stale()) {
            next.health.emplace();
            for (const bus::Client* client : {&health_, &servers_}) {
                for (const auto& [key, item] : client->state()) take(next, item);
            }
            if (next.config.digest().empty()) {
                for (const auto& [key, item] : health_config_.state()) take(next, item);
            }
            next.daemons.push_back({"healthd", true, false, health_.server_version()});
            return;
        }
        const bool running = bus::listens(context_.paths.socket_of("healthd"));
        next.health_error = running ? "healthd does not answer" : "healthd does not run";
        if (running || next.cluster.virtual_services_size() > 0) {
            next.daemons.push_back({"healthd", running, true, ""});
        }
    }

    bool files_changed() {
        std::vector<std::pair<std::int64_t, std::int64_t>> times;
        for (const std::string& path : {context_.paths.node_file(), context_.paths.cluster_file()}) {
            struct stat info{};
            if (::stat(path.c_str(), &info) != 0) info = {};
            times.emplace_back(info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec, info.st_size);
        }
        return std::exchange(times_, times) != times;
    }

    // What is shown, without the time of showing.
    static std::string digest(const StatusView& view) {
        std::string text = view.node ? view.node->SerializeAsString() : "";
        text += "\n" + view.config.SerializeAsString() + "\n" + view.cluster.SerializeAsString() + view.cluster_error;
        text += "\n" + (view.health ? view.health->SerializeAsString() : view.health_error);
        for (const auto& [labels, server] : view.servers) text += server.SerializeAsString();
        if (view.forward) text += view.forward->SerializeAsString();
        for (const auto& [label, service] : view.forwarded) text += service.SerializeAsString();
        if (view.replication) text += view.replication->SerializeAsString();
        for (const auto& [labels, health] : view.peer_health) text += labels.first + labels.second + health;
        for (const auto& daemon : view.daemons) {
            text += "\n" + daemon.name + daemon.version + (daemon.running ? "r" : "") + (daemon.stale ? "s" : "");
        }
        for (const ServiceRow& service : service_rows(view)) {  // a drain may have ended meanwhile
            for (const ServerRow& server : service.servers) text += server.state + " ";
        }
        return text;
    }

    const Context& context_;
    StatusView view_;
    boost::asio::io_context io_{1};
    bus::Client node_;
    bus::Client config_;
    bus::Client health_;  // of healthd everything but its history
    bus::Client servers_;
    bus::Client health_config_;
    const std::array<bus::Client*, 5> clients_{&node_, &config_, &health_, &servers_, &health_config_};
    boost::asio::steady_timer settle_;
    boost::asio::steady_timer refresh_;
    const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
    bool complete_ = false;
    bool settling_ = false;
    std::string shown_;
    std::vector<std::pair<std::int64_t, std::int64_t>> times_;
};

void run(Context& context, bool watch) {
    StatusView view;
    const auto collected = collect(context, view);
    if (!anybody_answers(view)) {
        fail_unreachable(context, collected.error());
        return;
    }
    if (watch) {
        Watch(context, std::move(view)).run();
    } else {
        show(context, view, false);
    }
}

}  // namespace

void register_status(CLI::App& app, Context& context) {
    auto* command = app.add_subcommand(
        "status", "What this node, its peer, its floating IPs, its services and their servers do now");
    auto watch = std::make_shared<bool>(false);
    command->add_flag("--watch", *watch, "Show it again whenever it changes");
    command->callback([&context, watch] { run(context, *watch); });
}

}  // namespace lbcluster::cli
