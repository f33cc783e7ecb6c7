// lbcluster simulate ...: hands everything to lbcluster-sim, a program of its own because the network simulator it
// links is GPL-2.
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "commands.hpp"
#include "simulate.hpp"

namespace lbcluster::cli {
namespace {

constexpr const char* simulator = "lbcluster-sim";

// The folder of this program, with the slash at its end; empty if the system does not tell.
std::string own_folder() {
    std::array<char, 4096> path{};
    const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size());
    if (length <= 0 || static_cast<std::size_t>(length) >= path.size()) return {};
    const std::string whole(path.data(), static_cast<std::size_t>(length));
    return whole.substr(0, whole.rfind('/') + 1);
}

}  // namespace

Error exec_simulator(const Context& context, std::vector<std::string> arguments) {
    // What it looks at unless it is told otherwise.
    ::setenv("LBCLUSTER_CONFIG_DIR", context.paths.config_dir.c_str(), 1);
    const std::string beside = own_folder() + simulator;
    std::vector<char*> argv{const_cast<char*>(simulator)};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    if (::access(beside.c_str(), X_OK) == 0) ::execv(beside.c_str(), argv.data());
    else ::execvp(simulator, argv.data());
    const int code = errno;
    if (code == ENOENT) {
        return {"the network simulator is not installed: there is no 'lbcluster-sim' beside this program or in PATH",
                "install it, or build lbcluster where libns3-dev is installed", code};
    }
    return {std::string("cannot start lbcluster-sim: ") + std::strerror(code), "", code};
}

void register_simulate(CLI::App& app, Context& context) {
    CLI::App* verb = app.add_subcommand("simulate", "What this configuration does when things break: the simulator");
    // Everything behind the verb belongs to the simulator, options and --help included.
    verb->fallthrough(false);
    verb->set_help_flag();
    verb->prefix_command();
    verb->allow_extras();
    verb->callback([verb, &context] {
        std::vector<std::string> arguments = verb->remaining();
        if (context.json) arguments.emplace_back("--json");
        fail(context, exit_failed, exec_simulator(context, std::move(arguments)));
    });
}

}  // namespace lbcluster::cli
