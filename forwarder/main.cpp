// forwarderd: programs layer 4 into the kernel. See daemon.hpp; exit codes in program.hpp.
#include "forwarder/daemon.hpp"
#include "forwarder/linux_kernel.hpp"
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
    return run_program(program, argc, argv);
}
