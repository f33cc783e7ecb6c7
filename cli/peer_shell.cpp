#include "peer_shell.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "context.hpp"
#include "lbcluster/bus/request.hpp"
#include "relay.hpp"
#include "replicator/pairing/local.hpp"

namespace lbcluster::cli {
namespace {

int say(const std::string& text, int exit_code) {
    std::fputs(("lbcluster: " + text + "\n").c_str(), stderr);
    return exit_code;
}

// scp's receiving end, for one file of a fixed name and a bounded size. The program is the system's.
int receive_file(const config::Paths& paths) {
    const std::string folder = paths.peer_home() + "/incoming";
    if (::chdir(folder.c_str()) != 0) return say("cannot use " + folder + ": " + std::strerror(errno), exit_failed);
    const rlimit limit{replicator::incoming_bytes_max, replicator::incoming_bytes_max};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return say("cannot limit files", exit_failed);
    ::umask(0077);
    ::execl("/usr/bin/scp", "scp", "-t", "--", replicator::incoming_name, nullptr);
    return say(std::string("cannot run /usr/bin/scp: ") + std::strerror(errno), exit_failed);
}

int pass_frames_on(const config::Paths& paths) {
    ::signal(SIGPIPE, SIG_IGN);
    // sshd(8) tells a forced command what was asked for: so this is the peer's key, and without it the password.
    const bool by_key = ::getenv("SSH_ORIGINAL_COMMAND") != nullptr;
    const std::string socket = by_key ? "/replica.sock" : "/pairing.sock";
    const auto done = relay(paths.run_dir + socket, STDIN_FILENO, STDOUT_FILENO);
    if (done || done.error().code == EPIPE || done.error().code == ECONNRESET) return exit_done;
    return say(done.error().message, bus::exit_code_of(done.error()));
}

}  // namespace

bool is_peer_shell(const char* argv0) {
    std::string_view name = argv0 == nullptr ? "" : argv0;
    name.remove_prefix(name.rfind('/') == std::string_view::npos ? 0 : name.rfind('/') + 1);
    return name == peer_shell_name || (name.starts_with('-') && name.substr(1) == peer_shell_name);
}

int peer_shell(int argc, char** argv) {
    const config::Paths paths = config::Paths::from_environment();
    const std::string_view wanted = argc == 3 && std::string_view(argv[1]) == "-c" ? argv[2] : "";
    if (wanted == "lbcluster replica") return pass_frames_on(paths);
    const std::string name = replicator::incoming_name;
    if (wanted == "scp -t '" + name + "'" || wanted == "scp -t " + name) return receive_file(paths);
    return say("this account is for the pairing of lbcluster nodes only", exit_refused);
}

}  // namespace lbcluster::cli
