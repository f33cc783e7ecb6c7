#include "lbcluster/daemon/program.hpp"

#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>

#include "lbcluster/config/load.hpp"

namespace lbcluster {

int check_files(const config::Paths& paths) {
    const config::LoadResult loaded = config::load(paths, std::nullopt);
    std::fputs(config::format(loaded.problems).c_str(), stderr);
    return loaded.ok() ? 0 : 3;
}

void cannot_start(const Error& error, const std::function<void()>& before_wait) {
    spdlog::critical("cannot start: {}{}", error.message, error.hint.empty() ? "" : "; " + error.hint);
    stop_logging();
    before_wait();
    ::sleep(1);
}

int run_program(const Program& program, int argc, char** argv) {
    try {
        CLI::App app{program.name + " - " + program.about};
        config::Paths paths = config::Paths::from_environment();
        bool check_only = false;
        app.add_option("--config-dir", paths.config_dir, "configuration")->capture_default_str();
        app.add_option("--run-dir", paths.run_dir, "sockets")->capture_default_str();
        app.add_option("--state-dir", paths.state_dir, "keys, revisions, history")->capture_default_str();
        app.add_flag("--check", check_only, "check the configuration and end");
        app.set_version_flag("--version", program.name + " " + LBCLUSTER_VERSION);
        try {
            app.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            return app.exit(error) == 0 ? 0 : 2;
        }
        if (check_only) return program.check(paths);
        ::signal(SIGPIPE, SIG_IGN);
        ::umask(0027);
        program.before_threads();
        start_logging(program.name, "info");
        return program.run(paths);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", program.name.c_str(), error.what());
        return 1;
    }
}

}  // namespace lbcluster
