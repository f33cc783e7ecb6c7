// replicatord: keeps the configuration of both nodes the same. See daemon.hpp; exit codes in program.hpp.
#include "lbcluster/daemon/program.hpp"
#include "replicator/daemon.hpp"
#include "replicator/peer_call.hpp"

int main(int argc, char** argv) {
    using namespace lbcluster;
    Program program;
    program.name = "replicatord";
    program.about = "keeps the configuration of both nodes the same";
    program.check = check_files;
    program.run = [](const config::Paths& paths) {
        return run_daemon([&](boost::asio::io_context& io) {
            return replicator::Daemon::create(io, paths, replicator::call_by_ssh(paths));
        });
    };
    return run_program(program, argc, argv);
}
