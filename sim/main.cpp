// lbcluster-sim: what a configuration does when things break, in simulated time.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <exception>

#include "sim/commands.hpp"

namespace lbcluster::sim {
namespace {

int run(int argc, char** argv) {
    int exit_code = exit_done;
    CLI::App app("Failover of a pair of load balancers in a simulated network", "lbcluster-sim");
    app.set_version_flag("--version", "lbcluster-sim " LBCLUSTER_VERSION);
    app.require_subcommand(1);
    register_run(app, exit_code);
    register_swarm(app, exit_code);
    register_explore(app, exit_code);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& asked) {  // --help, --version
        return app.exit(asked);
    } catch (const CLI::ParseError& mistake) {
        std::fprintf(stderr, "lbcluster-sim: %s\n'lbcluster-sim --help' lists commands and options\n", mistake.what());
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
