// forwarderd: programs layer 4 into the kernel. See daemon.hpp.
//
// Exit codes: 0 ended in order, 1 failed, 2 usage, 3 configuration invalid (--check).
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <cstdio>

#include "forwarder/daemon.hpp"
#include "forwarder/linux_kernel.hpp"
#include "lbcluster/base/log.hpp"
#include "lbcluster/config/load.hpp"

namespace {

using namespace lbcluster;

int check(const config::Paths& paths) {
    const config::LoadResult loaded = config::load(paths, std::nullopt);
    std::fputs(config::format(loaded.problems).c_str(), stderr);
    return loaded.ok() ? 0 : 3;
}

int run(const config::Paths& paths) {
    {
        boost::asio::io_context io{1};
        forward::LinuxKernel kernel;
        auto daemon = forward::Daemon::create(io, paths, kernel);
        if (!daemon) {
            spdlog::critical("cannot start: {}{}", daemon.error().message,
                             daemon.error().hint.empty() ? "" : "; " + daemon.error().hint);
            stop_logging();
            ::sleep(1);  // the supervisor starts us again at once, and this does not change that fast
            return 1;
        }
        (*daemon)->start();
        io.run();
        spdlog::info("ended");
    }
    stop_logging();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        CLI::App app{"forwarderd - programs layer 4 into the kernel"};
        config::Paths paths = config::Paths::from_environment();
        bool check_only = false;
        app.add_option("--config-dir", paths.config_dir, "configuration")->capture_default_str();
        app.add_option("--run-dir", paths.run_dir, "sockets")->capture_default_str();
        app.add_option("--state-dir", paths.state_dir, "keys, revisions, history")->capture_default_str();
        app.add_flag("--check", check_only, "check the configuration and end");
        app.set_version_flag("--version", std::string("forwarderd ") + LBCLUSTER_VERSION);
        try {
            app.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            return app.exit(error) == 0 ? 0 : 2;
        }
        if (check_only) return check(paths);
        ::signal(SIGPIPE, SIG_IGN);
        ::umask(0027);
        start_logging("forwarderd", "info");
        return run(paths);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "forwarderd: %s\n", error.what());
        return 1;
    }
}
