// The outside that the programs of all daemons have in common (cli-and-config.md, "Places"): options, --check, logging,
// exit codes: 0 ended in order, 1 failed, 2 usage, 3 configuration invalid.
#pragma once

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>
#include <vector>

#include "lbcluster/base/log.hpp"
#include "lbcluster/base/result.hpp"
#include "lbcluster/config/paths.hpp"

namespace lbcluster {

struct Program {
    // What the program does instead of running, if this option is given.
    struct Task {
        std::string option;  // --release
        std::string about;   // a line of --help
        std::string done;    // "--release ..." when the exit code is 0
        std::function<int(const config::Paths&)> run;
    };
    std::string name;  // healthd
    std::string about;
    std::function<int(const config::Paths&)> check;
    std::function<int(const config::Paths&)> run;
    std::function<void()> before_threads = [] {};  // logging has one
    std::vector<Task> tasks = {};
};

// For main(): the exit code.
int run_program(const Program& program, int argc, char** argv);

// --check of a daemon that needs nothing but the files: names each problem.
int check_files(const config::Paths& paths);

// Says why a daemon cannot start, and waits: the supervisor starts it again at once, and what keeps it from starting (a
// network that is not up yet, a bad file) does not change that fast. `before_wait`: when it is said.
void cannot_start(const Error& error, const std::function<void()>& before_wait = [] {});

// Runs what `create(io)` makes, a Result<std::unique_ptr<Daemon>>, until it ends.
template <class Create>
int run_daemon(Create create) {
    {
        boost::asio::io_context io{1};
        auto daemon = create(io);
        if (!daemon) {
            cannot_start(daemon.error());
            return 1;
        }
        (*daemon)->start();
        io.run();
        spdlog::info("ended");
    }
    stop_logging();
    return 0;
}

}  // namespace lbcluster
