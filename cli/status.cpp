// lbcluster status: what this node and its peer do now (HA-5).
#include <poll.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/bus/request.hpp"
#include "status_view.hpp"

namespace lbcluster::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto answer_time = 2s;
constexpr auto neighbour_time = 500ms;
constexpr auto refresh_time = 1s;  // of the ages on a watched page; also to see that the reader has gone
constexpr int retry_ms = 500;

// Daemons that a node may have besides heartbeatd; shown once they have a socket.
constexpr std::array neighbours{"healthd", "forwarderd", "replicatord"};

void take(StatusView& view, const std::vector<bus::Item>& items) {
    for (const auto& item : items) {
        if (item.key() == "node" && item.has_node()) {
            view.node = item.node();
        } else if (item.key() == "config" && item.has_config()) {
            view.config = item.config();
        }
    }
}

void add_neighbours(const Context& context, StatusView& view) {
    for (const char* name : neighbours) {
        const auto fetched = bus::fetch_all(context.paths.socket_of(name), "config", neighbour_time);
        if (fetched.ok()) {
            view.daemons.push_back({name, true, false, fetched.value().server.version()});
        } else if (fetched.error().code != ENOENT) {
            view.daemons.push_back({name, bus::listens(context.paths.socket_of(name)), true, ""});
        }
    }
}

// Everything but heartbeatd's `node`, and that as well if `with_node`.
Result<void> collect(const Context& context, StatusView& view) {
    const std::string socket = context.paths.socket_of("heartbeatd");
    view.daemons.clear();
    view.now_ms = realtime_ms_now();
    auto node = bus::fetch_all(socket, "node", answer_time);
    Result<void> outcome;
    if (node.ok()) {
        take(view, node.value().items);
        if (const auto config = bus::fetch(socket, "config", answer_time); config.ok()) {
            take(view, config.value());
        }
        view.daemons.push_back({"heartbeatd", true, false, node.value().server.version()});
    } else {
        outcome = node.error();
        view.node.reset();
        view.daemons.push_back({"heartbeatd", node.error().code == ETIMEDOUT, true, ""});
    }
    add_neighbours(context, view);
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

void show(const Context& context, const StatusView& view, bool watching) {
    if (context.json) {
        return print_json(status_json(view), watching ? -1 : 2);
    }
    print((watching && context.color ? "\x1b[H\x1b[2J" : "") + render_page(view, context.color));
    if (watching && !context.color) {
        print("\n");
    }
}

void run_once(Context& context) {
    StatusView view;
    const auto collected = collect(context, view);
    if (!anybody_answers(view)) {
        fail_unreachable(context, collected.error());
        return;
    }
    show(context, view, false);
}

// Until it is interrupted, or nobody reads what it prints. A heartbeatd that goes away and comes back is part of the
// picture.
void run_watch(Context& context) {
    StatusView view;
    if (const auto collected = collect(context, view); !anybody_answers(view)) {
        fail_unreachable(context, collected.error());
        return;
    }
    while (stdout_works()) {
        const auto followed = bus::follow(
            context.paths.socket_of("heartbeatd"), "node",
            [&](bool first, const std::vector<bus::Item>& items) {
                if (first || !items.empty()) {
                    (void)collect(context, view);
                }
                if (first || !items.empty() || context.color) {
                    view.now_ms = realtime_ms_now();
                    show(context, view, true);
                }
                return stdout_works();
            },
            answer_time, refresh_time);
        if (!followed.ok()) {
            (void)collect(context, view);
            show(context, view, true);
            ::poll(nullptr, 0, retry_ms);
        }
    }
}

}  // namespace

void register_status(CLI::App& app, Context& context) {
    auto* command = app.add_subcommand("status", "What this node, its peer and its floating IPs do now");
    auto watch = std::make_shared<bool>(false);
    command->add_flag("--watch", *watch, "Show it again whenever it changes");
    command->callback([&context, watch] { *watch ? run_watch(context) : run_once(context); });
}

}  // namespace lbcluster::cli
