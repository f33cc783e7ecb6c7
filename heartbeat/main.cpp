// heartbeatd: elects the active node of a pair and moves the floating IPs. See daemon.hpp.
//
// Exit codes: 0 ended in order, 1 failed, 2 usage, 3 configuration invalid.
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "heartbeat/daemon.hpp"
#include "heartbeat/realtime.hpp"
#include "lbcluster/base/log.hpp"
#include "lbcluster/keys/key_ring.hpp"

namespace {

using namespace lbcluster;

int check(const config::Paths& paths) {
    // Interfaces without the floating IPs that a running heartbeatd has put there. Unknown: those checks are left out.
    std::optional<config::Facts> facts;
    if (auto netlink = net::Netlink::open()) {
        const auto links = netlink->links();
        const auto addresses = netlink->addresses();
        if (links && addresses) facts = heartbeat::facts_of(*links, *addresses);
    }
    const config::LoadResult loaded = config::load(paths, facts);
    std::fputs(config::format(loaded.problems).c_str(), stderr);
    if (!loaded.ok()) return 3;
    if (loaded.effective_node.links_size() > 0) {
        if (const auto keys = KeyRing::load(heartbeat_key_path(paths.state_dir)); !keys) {
            std::fprintf(stderr, "%s; %s\n", keys.error().message.c_str(), keys.error().hint.c_str());
            return 3;
        }
    }
    return 0;
}

std::string own_program() {
    std::array<char, 4096> path{};
    const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
    return size > 0 ? std::string(path.data(), static_cast<std::size_t>(size)) : "";
}

int run(const config::Paths& paths, char** argv) {
    const std::string program = own_program();
    heartbeat::Ending ending = heartbeat::Ending::stopped;
    {
        boost::asio::io_context io{1};
        auto daemon = heartbeat::Daemon::create(io, paths);
        if (!daemon) {
            spdlog::critical("cannot start: {}{}", daemon.error().message,
                             daemon.error().hint.empty() ? "" : "; " + daemon.error().hint);
            stop_logging();
            heartbeat::hold_signals(false);  // SIGTERM ends the wait
            // The supervisor starts us again at once, as it should after a crash; what keeps us from starting (a
            // network that is not up yet, a bad file) does not change that fast.
            ::sleep(1);
            return daemon.error().code == EINVAL ? 3 : 1;
        }
        (*daemon)->start();
        heartbeat::hold_signals(false);
        io.run();
        ending = (*daemon)->ending();
    }
    stop_logging();
    if (ending == heartbeat::Ending::stopped) return 0;
    // Anew, as the same process for the supervisor; the addresses stay in the kernel and are adopted.
    ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
    ::execv(program.c_str(), argv);
    std::fprintf(stderr, "cannot start %s anew: %s\n", program.c_str(), std::strerror(errno));
    return 1;  // the supervisor starts us
}

}  // namespace

int main(int argc, char** argv) {
    try {
        CLI::App app{"heartbeatd - elects the active node of a pair and moves the floating IPs"};
        config::Paths paths = config::Paths::from_environment();
        bool check_only = false;
        app.add_option("--config-dir", paths.config_dir, "configuration")->capture_default_str();
        app.add_option("--run-dir", paths.run_dir, "sockets")->capture_default_str();
        app.add_option("--state-dir", paths.state_dir, "keys, revisions, history")->capture_default_str();
        app.add_flag("--check", check_only, "check the configuration and end");
        app.set_version_flag("--version", std::string("heartbeatd ") + LBCLUSTER_VERSION);
        try {
            app.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            return app.exit(error) == 0 ? 0 : 2;
        }
        if (check_only) return check(paths);
        ::signal(SIGPIPE, SIG_IGN);
        heartbeat::hold_signals(true);  // until the daemon listens
        ::umask(0027);
        heartbeat::prepare_memory();
        start_logging("heartbeatd", "info");
        return run(paths, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "heartbeatd: %s\n", error.what());
        return 1;
    }
}
