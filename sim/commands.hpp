// The verbs of lbcluster-sim: one line each, the definition in the file of that name.
#pragma once

namespace CLI {
class App;
}

namespace lbcluster::sim {

enum ExitCode : int {
    exit_done = 0,    // all held
    exit_failed = 1,  // an expectation or an invariant did not
    exit_usage = 2,
    exit_invalid = 3,  // a scenario or a configuration in it
};

void register_run(CLI::App& app, int& exit_code);
void register_swarm(CLI::App& app, int& exit_code);
void register_explore(CLI::App& app, int& exit_code);

}  // namespace lbcluster::sim
