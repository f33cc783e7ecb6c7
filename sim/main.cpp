// lbcluster-sim: what a configuration does when things break, in simulated time.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lbcluster/reference/completion.hpp"
#include "lbcluster/reference/manual.hpp"
#include "sim/commands.hpp"

namespace lbcluster::sim {
namespace {

reference::Manual manual() {
    reference::Manual out;
    out.section = 1;
    out.description = {
        "Runs the election that the nodes run, in a simulated network and in simulated time, through scenarios of "
        "faults "
        "that a file gives or a seed draws. 'lbcluster simulate' calls it."};
    out.exits = {{exit_done, "All held"},
                 {exit_failed, "An expectation or an invariant did not"},
                 {exit_usage, "Usage: the command line is not understood"},
                 {exit_invalid, "A scenario, or a configuration in it, is not valid"}};
    out.see_also = {"lbcluster(1)", "heartbeatd(8)"};
    return out;
}

int run(int argc, char** argv) {
    int exit_code = exit_done;
    CLI::App app("Failover of a pair of load balancers in a simulated network", "lbcluster-sim");
    app.set_version_flag("--version", "lbcluster-sim " LBCLUSTER_VERSION);
    app.require_subcommand(1);
    register_run(app, exit_code);
    register_swarm(app, exit_code);
    register_explore(app, exit_code);
    if (reference::print_reference(app, manual(), argc, argv)) return exit_done;
    if (std::vector<std::string> words; reference::asks_to_complete(argc, argv, words)) {
        const auto found = reference::complete(reference::command_of(app), words,
                                               [](const auto&) { return std::vector<reference::Candidate>{}; });
        std::fputs(reference::completion_text(found).c_str(), stdout);
        return exit_done;
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& asked) {  // --help, --version
        return app.exit(asked);
    } catch (const CLI::ParseError& mistake) {
        const std::string hint = "'lbcluster-sim --help' lists commands and options";
        // The mistake may stand before --json on the line, or before the verb that has that option.
        if (std::find(argv, argv + argc, std::string_view("--json")) != argv + argc) {
            const nlohmann::ordered_json error{{"code", "usage"}, {"message", mistake.what()}, {"hint", hint}};
            std::puts(nlohmann::ordered_json{{"error", error}}
                          .dump(2, ' ', true, nlohmann::ordered_json::error_handler_t::replace)
                          .c_str());
        } else {
            std::fprintf(stderr, "lbcluster-sim: %s\n%s\n", mistake.what(), hint.c_str());
        }
        return exit_usage;
    }
    return exit_code;
}

}  // namespace
}  // namespace lbcluster::sim

int main(int argc, char** argv) {
    try {
        return lbcluster::sim::run(argc, argv);
    } catch (const std::exception& exception) {
        std::fprintf(stderr, "lbcluster-sim: internal error: %s\n", exception.what());
        return lbcluster::sim::exit_failed;
    }
}
