// heartbeatd: elects the active node of a pair and moves the floating IPs. See daemon.hpp; exit codes in program.hpp,
// and 3 also at a start with files that are not valid.
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "heartbeat/daemon.hpp"
#include "heartbeat/realtime.hpp"
#include "lbcluster/daemon/program.hpp"
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
            cannot_start(daemon.error(), [] { heartbeat::hold_signals(false); });  // SIGTERM ends the wait
            return daemon.error().code == EINVAL ? 3 : 1;
        }
        (*daemon)->start();
        heartbeat::hold_signals(false);
        io.run();
        ending = (*daemon)->ending();
    }
    stop_logging();
    if (ending != heartbeat::Ending::restart) return 0;
    // Anew, as the same process for the supervisor; the addresses stay in the kernel and are adopted.
    ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
    ::execv(program.c_str(), argv);
    std::fprintf(stderr, "cannot start %s anew: %s\n", program.c_str(), std::strerror(errno));
    return 1;  // the supervisor starts us
}

}  // namespace

int main(int argc, char** argv) {
    Program program;
    program.name = "heartbeatd";
    program.about = "elects the active node of a pair and moves the floating IPs";
    program.check = check;
    program.run = [argv](const config::Paths& paths) { return run(paths, argv); };
    program.before_threads = [] {
        heartbeat::hold_signals(true);  // until the daemon listens
        heartbeat::prepare_memory();
    };
    return run_program(program, argc, argv);
}
