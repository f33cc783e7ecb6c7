#include "lbcluster/daemon/program.hpp"

#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>

#include "lbcluster/config/load.hpp"
#include "lbcluster/reference/manual.hpp"

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

namespace {

reference::Manual manual_of(const Program& program) {
    reference::Manual out;
    out.section = 8;
    out.description = {
        "Stays in the foreground and logs to stderr, in the journal's format under systemd. Says to "
        "systemd when it is ready, and that it is alive.",
        "SIGTERM and SIGINT end it in order; SIGHUP makes it read the configuration again, which it also "
        "does by itself when a file changes."};
    std::string done = "Ended in order, or --check found nothing wrong";
    for (const Program::Task& task : program.tasks) done += ", or " + task.option + " " + task.done;
    out.exits = {{0, done},
                 {1, "Failed"},
                 {2, "Usage: the command line is not understood"},
                 {3, "The configuration is not valid"}};
    out.files = {{"/etc/lbcluster/node.yaml, /etc/lbcluster/cluster.yaml", "Configuration"},
                 {"/run/lbcluster/" + program.name + ".sock", "What lbcluster(1) and the other daemons ask"},
                 {"/var/lib/lbcluster", "Keys, revisions and history"}};
    out.see_also = {"lbcluster(1)", "lbcluster-node.yaml(5)", "lbcluster-cluster.yaml(5)"};
    return out;
}

}  // namespace

int run_program(const Program& program, int argc, char** argv) {
    try {
        CLI::App app{program.about, program.name};
        config::Paths paths = config::Paths::from_environment();
        bool check_only = false;
        app.add_option("--config-dir", paths.config_dir, "Folder of node.yaml and cluster.yaml")->capture_default_str();
        app.add_option("--run-dir", paths.run_dir, "Folder of the daemons' sockets")->capture_default_str();
        app.add_option("--state-dir", paths.state_dir, "Folder of keys, revisions and history")->capture_default_str();
        const auto check = app.add_flag("--check", check_only, "Check the configuration and end");
        const Program::Task* wanted = nullptr;
        for (const Program::Task& task : program.tasks) {
            app.add_flag_callback(task.option, [&wanted, &task] { wanted = &task; }, task.about)->excludes(check);
        }
        app.set_version_flag("--version", program.name + " " + LBCLUSTER_VERSION);
        if (reference::print_reference(app, manual_of(program), argc, argv)) return 0;
        try {
            app.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            return app.exit(error) == 0 ? 0 : 2;
        }
        if (check_only) return program.check(paths);
        ::signal(SIGPIPE, SIG_IGN);
        ::umask(0027);
        if (wanted != nullptr) return wanted->run(paths);
        program.before_threads();
        start_logging(program.name, "info");
        return program.run(paths);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", program.name.c_str(), error.what());
        return 1;
    }
}

}  // namespace lbcluster
