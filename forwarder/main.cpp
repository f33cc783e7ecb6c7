// forwarderd: programs layer 4 into the kernel. See daemon.hpp and release.hpp; exit codes in program.hpp.
#include <cstdio>

#include "forwarder/daemon.hpp"
#include "forwarder/linux_kernel.hpp"
#include "forwarder/release.hpp"
#include "lbcluster/daemon/program.hpp"

int main(int argc, char** argv) {
    using namespace lbcluster;
    Program program;
    program.name = "forwarderd";
    program.about = "programs layer 4 into the kernel";
    program.check = check_files;
    program.run = [](const config::Paths& paths) {
        forward::LinuxKernel kernel;
        return run_daemon([&](boost::asio::io_context& io) { return forward::Daemon::create(io, paths, kernel); });
    };
    program.tasks = {{"--release", "Take what forwarderd has put into the kernel out of it, end its HAProxy, and end",
                      "has left nothing of it", [](const config::Paths& paths) {
                          forward::LinuxKernel kernel;
                          const auto left = forward::release(kernel, paths);
                          for (const std::string& line : left) std::fprintf(stderr, "forwarderd: %s\n", line.c_str());
                          return left.empty() ? 0 : 1;
                      }}};
    return run_program(program, argc, argv);
}
