// lbcluster activate, standby, unstandby, heartbeat restart: planned changes of who serves (HA-6). heartbeatd decides
// and answers when it is done; this waits for the answer and says what is true then.
#include <poll.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/bus/request.hpp"
#include "wait.hpp"

namespace lbcluster::cli {
namespace {

constexpr auto refusal_time = 500ms;  // with --no-wait: what heartbeatd refuses it refuses at once
constexpr auto state_time = 1s;

struct ControlOptions : WaitOptions {
    bool force = false;
};

struct Truth {
    std::string name;
    std::string activity;
};

Truth ask_truth(const Context& context) {
    const auto items = bus::fetch(context.paths.socket_of("heartbeatd"), "node", state_time);
    if (!items.ok() || items.value().empty()) {
        return {};
    }
    return {items.value()[0].node().name(), items.value()[0].node().activity()};
}

void succeed(const Context& context, std::string message, const char* what) {
    const Truth truth = ask_truth(context);
    if (message.empty()) {
        message = truth.activity.empty() ? std::string(what) + ": done" : truth.name + " is " + truth.activity + " now";
    }
    if (context.json) {
        return print_json(
            {{"result", "done"}, {"message", message}, {"node", {{"name", truth.name}, {"activity", truth.activity}}}});
    }
    print(harmless(message) + "\n");
}

// heartbeatd ended before it answered, as a restart has it: done when one answers again.
bool comes_back(const Context& context, std::chrono::steady_clock::time_point until) {
    while (std::chrono::steady_clock::now() < until) {
        if (!ask_truth(context).activity.empty()) {
            return true;
        }
        ::poll(nullptr, 0, 50);
    }
    return false;
}

void transport_failed(Context& context, const bus::Call& call, const Error& error, const ControlOptions& options,
                      std::chrono::steady_clock::time_point until) {
    const char* what = call.has_heartbeat_restart() ? "heartbeat restart" : "the change";
    if (error.code == ETIMEDOUT && options.no_wait) {
        return succeed(context, "heartbeatd has taken the call; its end was not waited for", what);
    }
    if (error.code == ETIMEDOUT) {
        fail(context, exit_timed_out,
             {"heartbeatd has not finished within " + options.wait,
              "it may still do so: see 'lbcluster status'; --wait gives it more time", ETIMEDOUT});
        return;
    }
    if (error.code == ECONNRESET && call.has_heartbeat_restart()) {
        if (options.no_wait || comes_back(context, until)) {
            return succeed(context, "heartbeatd was restarted on this node", what);
        }
        fail(context, exit_timed_out,
             {"heartbeatd ended and has not come back within " + options.wait,
              "see 'systemctl status heartbeatd' and its log", ETIMEDOUT});
        return;
    }
    fail(context, bus::exit_code_of(error), error);
}

// It starts itself anew when its links were changed: a moment without a socket is not a daemon that is down.
Result<bus::Reply> call_heartbeatd(const std::string& path, const bus::Call& call, std::chrono::milliseconds patience) {
    constexpr auto restart_time = std::chrono::seconds(1);
    constexpr auto pause = std::chrono::milliseconds(50);
    const auto until = std::chrono::steady_clock::now() + std::min<std::chrono::milliseconds>(restart_time, patience);
    while (true) {
        auto reply = bus::call(path, call, patience);
        const bool nobody = !reply.ok() && (reply.error().code == ENOENT || reply.error().code == ECONNREFUSED);
        if (!nobody || std::chrono::steady_clock::now() + pause >= until) return reply;
        std::this_thread::sleep_for(pause);
    }
}

void run(Context& context, const bus::Call& call, const ControlOptions& options, const char* what) {
    const auto patience = options.no_wait ? std::chrono::milliseconds(refusal_time) : wait_of(options);
    const auto until = std::chrono::steady_clock::now() + patience;
    const auto reply = call_heartbeatd(context.paths.socket_of("heartbeatd"), call, patience);
    if (!reply.ok()) {
        return transport_failed(context, call, reply.error(), options, until);
    }
    if (reply.value().exit_code() == exit_done) {
        return succeed(context, reply.value().message(), what);
    }
    const std::uint32_t code = reply.value().exit_code();
    fail(context, code <= exit_timed_out ? static_cast<int>(code) : exit_failed,
         {reply.value().message(), reply.value().hint()});
}

}  // namespace

void register_control(CLI::App& app, Context& context) {
    auto options = std::make_shared<ControlOptions>();
    auto* activate = app.add_subcommand("activate", "Planned hand-over: this node becomes the active one");
    activate->add_flag("--force", options->force, "Even if this node is the less fit one");
    add_wait_options(activate, *options, "it is done");
    activate->callback([&context, options] {
        bus::Call call;
        call.mutable_activate()->set_force(options->force);
        run(context, call, *options, "activate");
    });
    auto* standby = app.add_subcommand("standby", "Planned hand-over to the peer; this node stays out until unstandby");
    standby->add_flag("--force", options->force, "Even if the peer does not take over");
    add_wait_options(standby, *options, "it is done");
    standby->callback([&context, options] {
        bus::Call call;
        call.mutable_standby()->set_force(options->force);
        run(context, call, *options, "standby");
    });
    auto* unstandby = app.add_subcommand("unstandby", "End of standby: this node may take over again");
    add_wait_options(unstandby, *options, "it is done");
    unstandby->callback([&context, options] {
        bus::Call call;
        call.mutable_unstandby();
        run(context, call, *options, "unstandby");
    });
    auto* heartbeat = app.add_subcommand("heartbeat", "The heartbeat between the nodes");
    heartbeat->require_subcommand(1);
    auto* restart = heartbeat->add_subcommand("restart", "Restart heartbeatd on both nodes, without an outage");
    add_wait_options(restart, *options, "it is done");
    restart->callback([&context, options] {
        bus::Call call;
        call.mutable_heartbeat_restart();
        run(context, call, *options, "heartbeat restart");
    });
}

}  // namespace lbcluster::cli
