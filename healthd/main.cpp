// healthd: judges the health of real servers. See daemon.hpp; exit codes in program.hpp.
#include "healthd/daemon.hpp"
#include "lbcluster/daemon/program.hpp"

int main(int argc, char** argv) {
    using namespace lbcluster;
    Program program;
    program.name = "healthd";
    program.about = "judges the health of real servers";
    program.check = check_files;
    program.run = [](const config::Paths& paths) {
        return run_daemon([&](boost::asio::io_context& io) { return health::Daemon::create(io, paths); });
    };
    return run_program(program, argc, argv);
}
