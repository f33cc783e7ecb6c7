// lbcluster: the command line. Global options may stand before or after the verb; every way to fail ends in one of the
// exit codes of context.hpp.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "commands.hpp"
#include "complete.hpp"
#include "context.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/reference/completion.hpp"
#include "lbcluster/reference/manual.hpp"
#include "peer_shell.hpp"

namespace lbcluster::cli {
namespace {

void add_global_options(CLI::App& app, Context& context) {
    app.add_option("--config-dir", context.paths.config_dir, "Folder of node.yaml and cluster.yaml")
        ->envname("LBCLUSTER_CONFIG_DIR")
        ->capture_default_str();
    app.add_option("--run-dir", context.paths.run_dir, "Folder of the daemons' sockets")
        ->envname("LBCLUSTER_RUN_DIR")
        ->capture_default_str();
    app.add_option("--state-dir", context.paths.state_dir, "Folder of keys, revisions and history")
        ->envname("LBCLUSTER_STATE_DIR")
        ->capture_default_str();
    app.add_flag("--json", context.json, "Print the result, or the error, as JSON");
    app.set_version_flag("--version", "lbcluster " LBCLUSTER_VERSION);
    app.fallthrough();  // inherited by every verb that is added later
}

// A mistake may stand before --json on the line, so that the parser never got to it.
bool asks_for_json(int argc, char** argv) {
    for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
        if (std::string_view(argv[i]) == "--json") {
            return true;
        }
    }
    return false;
}

// What is wrong with the words: told at the command that they came to, with its verbs and its --help.
Error usage_error(const CLI::App& app, const CLI::ParseError& mistake) {
    const CLI::App* command = &app;
    std::string name = "lbcluster";
    while (!command->get_subcommands().empty()) {
        command = command->get_subcommands().front();
        name += " " + command->get_name();
    }
    std::vector<std::string> verbs;
    for (const CLI::App* verb : command->get_subcommands([](const CLI::App*) { return true; })) {
        verbs.push_back(verb->get_name());
    }
    const auto rest = app.remaining(true);
    const auto word = std::find_if(rest.begin(), rest.end(), [](const std::string& w) { return w.rfind('-', 0) != 0; });
    if (verbs.empty() || (word == rest.end() && dynamic_cast<const CLI::RequiredError*>(&mistake) == nullptr)) {
        return {mistake.what(), "'" + name + " --help' lists " + (verbs.empty() ? "options" : "commands and options"),
                0};
    }
    std::string list;
    for (const std::string& verb : verbs) list += (list.empty() ? "" : ", ") + verb;
    if (word == rest.end()) return {"'" + name + "' needs a command", "one of " + list, 0};
    const std::string near = config::nearest(*word, verbs);
    return {"'" + name + "' has no command '" + *word + "'",
            near.empty() ? "it has " + list : "did you mean '" + near + "'?", 0};
}

reference::Manual manual() {
    reference::Manual out;
    out.section = 1;
    out.description = {
        "Shows and changes a load balancer, or a pair of them, of which one is active. Options of the program may "
        "stand "
        "before or after the command.",
        "Results go to stdout, errors to stderr: what is wrong, why, and what to do. With --json both go to stdout as "
        "JSON; an error is {\"error\": {\"code\", \"message\", \"hint\"}}.",
        "What changes the configuration is done on the active node; the other one refuses it."};
    for (const ExitCode code :
         {exit_done, exit_failed, exit_usage, exit_invalid, exit_unreachable, exit_refused, exit_timed_out}) {
        out.exits.push_back({code, std::string(meaning_of(code))});
    }
    out.files = {{"/etc/lbcluster/node.yaml", "This node's configuration"},
                 {"/etc/lbcluster/cluster.yaml", "The configuration of both nodes"},
                 {"/etc/lbcluster/files", "What goes with it: certificates, the fallback page, lines for HAProxy"},
                 {"/run/lbcluster", "The daemons' sockets"},
                 {"/var/lib/lbcluster", "Keys, revisions and history"}};
    out.see_also = {
        "lbcluster-sim(1)", "lbcluster-node.yaml(5)", "lbcluster-cluster.yaml(5)", "forwarderd(8)", "healthd(8)",
        "heartbeatd(8)",    "replicatord(8)"};
    return out;
}

int run(int argc, char** argv) {
    Context context;
    context.color = stdout_wants_color();
    CLI::App app("Load balancer cluster: what it does now, and how to change it", "lbcluster");
    add_global_options(app, context);
    // The commands, in the order of --help.
    register_status(app, context);
    register_events(app, context);
    register_control(app, context);
    register_service(app, context);
    register_server(app, context);
    register_check(app, context);
    register_connections(app, context);
    register_diagnose(app, context);
    register_arp_fix(app, context);
    register_floating_ip(app, context);
    register_config(app, context);
    register_pair(app, context);
    register_unpair(app, context);
    register_sync(app, context);
    register_key(app, context);
    register_replica(app, context);
    register_support_bundle(app, context);
    register_simulate(app, context);
    if (reference::print_reference(app, manual(), argc, argv)) return exit_done;
    if (std::vector<std::string> words; reference::asks_to_complete(argc, argv, words)) {
        complete(app, context, words);
        return exit_done;
    }
    try {
        app.parse(argc, argv);
        if (app.get_subcommands().empty()) {  // not require_subcommand(): it would hide the name of an unknown verb
            throw CLI::RequiredError("A command");
        }
    } catch (const CLI::Success& asked) {  // --help, --version
        return app.exit(asked);
    } catch (const CLI::ParseError& mistake) {
        context.json = asks_for_json(argc, argv);
        return fail(context, exit_usage, usage_error(app, mistake));
    }
    if (std::fflush(stdout) != 0 && context.exit_code == exit_done) {
        context.json = false;  // stdout is what does not work
        return fail(context, exit_failed, {std::string("cannot write to stdout: ") + std::strerror(errno), "", errno});
    }
    return context.exit_code;
}

}  // namespace
}  // namespace lbcluster::cli

int main(int argc, char** argv) {
    try {
        if (lbcluster::cli::is_peer_shell(argc > 0 ? argv[0] : nullptr)) return lbcluster::cli::peer_shell(argc, argv);
        return lbcluster::cli::run(argc, argv);
    } catch (const std::exception& exception) {
        std::fprintf(stderr, "lbcluster: internal error: %s\n", exception.what());
        return lbcluster::cli::exit_failed;
    }
}
