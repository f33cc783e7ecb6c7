// replicatord: keeps the configuration of both nodes the same. See daemon.hpp; exit codes in program.hpp.
#include "lbcluster/daemon/program.hpp"
#include "replicator/daemon.hpp"
#include "replicator/pairing/service.hpp"
#include "replicator/peer_call.hpp"

int main(int argc, char** argv) {
    using namespace lbcluster;
    Program program;
    program.name = "replicatord";
    program.about = "keeps the configuration of both nodes the same";
    program.check = check_files;
    program.run = [](const config::Paths& paths) {
        return run_daemon([&](boost::asio::io_context& io) {
            auto daemon = replicator::Daemon::create(io, paths, replicator::call_by_ssh(paths));
            if (!daemon) return daemon;
            // The daemon finds the peer's record by itself.
            const auto service = std::make_shared<replicator::PairingService>(
                io.get_executor(), paths, [](const std::string& change) { spdlog::info("{}", change); });
            (*daemon)->on_pairing([service](std::unique_ptr<replicator::Channel> channel, replica::Frame first) {
                service->take(std::move(channel), std::move(first));
            });
            return daemon;
        });
    };
    return run_program(program, argc, argv);
}
