// lbcluster sync, and what `config` knows of the peer (RE-2, RE-4). replicatord does it and answers when it is done.
#include "replication.hpp"

#include <CLI/App.hpp>
#include <cerrno>
#include <memory>

#include "commands.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::cli {
namespace {

bus::ReplicationStatus replication_status(const Context& context) {
    constexpr auto state_time = std::chrono::seconds(1);
    const auto items = bus::fetch(context.paths.socket_of("replicatord"), "replication", state_time);
    if (!items.ok() || items->empty()) return {};
    return items->front().replication();
}

void run(Context& context, const bus::Call& call, const WaitOptions& options) {
    const auto reply = ask_replicatord(context, call, options);
    if (!reply) return;
    const bus::ReplicationStatus status = replication_status(context);
    if (context.json) {
        return print_json({{"result", "done"},
                           {"message", reply->message()},
                           {"state", status.state()},
                           {"revision", status.revision()},
                           {"digest", status.digest()},
                           {"peer", status.peer()},
                           {"peer_revision", status.peer_revision()}});
    }
    print(harmless(reply->message()) + ".\n");
}

void print_lines(const std::string& text) {
    // Line by line: a diff keeps its lines, but nothing in them may steer the terminal.
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = text.find('\n', at);
        print(harmless(std::string_view(text).substr(at, end - at)) + "\n");
        if (end == std::string::npos) return;
        at = end + 1;
    }
}

}  // namespace

std::optional<bus::Reply> ask_replicatord(Context& context, const bus::Call& call, const WaitOptions& options) {
    auto reply = bus::call(context.paths.socket_of("replicatord"), call, wait_of(options));
    if (!reply.ok()) {
        const Error& error = reply.error();
        if (error.code == ETIMEDOUT) {
            const bus::ReplicationStatus status = replication_status(context);
            const std::string state = status.error().empty() ? status.text() : status.error();
            fail(context, exit_timed_out,
                 {"replicatord has not finished within " + options.wait + (state.empty() ? "" : ": " + state),
                  "it goes on: see 'lbcluster status'; --wait gives it more time", ETIMEDOUT});
        } else {
            fail(context, bus::exit_code_of(error), error);
        }
        return std::nullopt;
    }
    if (reply->exit_code() != exit_done) {
        const std::uint32_t code = reply->exit_code();
        fail(context, code <= exit_timed_out ? static_cast<int>(code) : exit_failed,
             {reply->message(), reply->hint(), 0});
        return std::nullopt;
    }
    return std::move(*reply);
}

void resolve(Context& context, bool mine, const WaitOptions& options) {
    if (!may_change(context)) return;
    bus::Call call;
    call.mutable_resolve()->set_mine(mine);
    run(context, call, options);
}

void diff_peer(Context& context) {
    const auto own = config::read_content(context.paths.config_dir);
    if (!own) return report_refusal(context, {own.error(), {}});
    bus::Call call;
    call.mutable_peer_copy();
    const auto reply = ask_replicatord(context, call, {});
    if (!reply) return;
    const auto copy = config::read_content(reply->folder());
    if (!copy) return report_refusal(context, {copy.error(), {}});
    const auto own_node = config::read_text(context.paths.node_file());
    const auto peer_node = config::read_text(reply->folder() + "/node.yaml");
    if (!own_node) return report_refusal(context, {own_node.error(), {}});
    if (!peer_node) return report_refusal(context, {peer_node.error(), {}});

    const bus::ReplicationStatus status = replication_status(context);
    const std::string peer = status.peer().empty() ? "the peer" : status.peer();
    const std::string differs = config::unified_diff(*own, *copy, "here", peer);
    const std::string meant = config::unified_diff(*own_node, *peer_node, "here/node.yaml", peer + "/node.yaml");
    if (context.json) {
        return print_json({{"peer", peer}, {"same", differs.empty()}, {"diff", differs}, {"meant_to_differ", meant}});
    }
    if (differs.empty()) print("cluster.yaml and files/ are the same on both nodes.\n");
    print_lines(differs);
    if (meant.empty()) return;
    print("\nMeant to differ, never replicated:\n");
    print_lines(meant);
}

void register_sync(CLI::App& app, Context& context) {
    auto options = std::make_shared<WaitOptions>();
    auto* command = app.add_subcommand("sync", "Replicate the configuration now, and say how it ended");
    add_wait_time(command, *options, "both nodes have the same");
    command->callback([&context, options] {
        bus::Call call;
        call.mutable_sync();
        run(context, call, *options);
    });
}

}  // namespace lbcluster::cli
