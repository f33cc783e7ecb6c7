// lbcluster replica: what the peer's key runs on this node (forced command in authorized_keys): passes its frames on to
// replicatord, and can do nothing else. Takes no arguments, and looks at no word of what the peer asked the server for.
#include <unistd.h>

#include <CLI/App.hpp>
#include <cerrno>
#include <csignal>

#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/bus/request.hpp"
#include "relay.hpp"

namespace lbcluster::cli {

void register_replica(CLI::App& app, Context& context) {
    auto* command =
        app.add_subcommand("replica", "Pass the peer's frames on to replicatord (the peer's key runs this)");
    command->callback([&context] {
        ::signal(SIGPIPE, SIG_IGN);
        const auto done = relay(context.paths.run_dir + "/replica.sock", STDIN_FILENO, STDOUT_FILENO);
        if (done || done.error().code == EPIPE || done.error().code == ECONNRESET) return;
        fail(context, bus::exit_code_of(done.error()), done.error());
    });
}

}  // namespace lbcluster::cli
