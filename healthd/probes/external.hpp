// Probe `external`: a program with the arguments VIP VPORT RIP RPORT; exit code 0 is up. How it runs, and how all of it
// is killed: warden.hpp. Of its output 1 KiB is kept, and the first line of that is the reason; the rest is read and
// forgotten.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "healthd/probes/probe.hpp"
#include "healthd/probes/program.hpp"

namespace lbcluster::health {

class ExternalProbe final : public Probe {
  public:
    ExternalProbe(boost::asio::io_context& io, Wardens& wardens, const ProbeSpec& spec, User user);

    void start(Done done, Transcript* transcript) override;
    std::string stop() override;

  private:
    struct Waiting {
        Done done;
        Transcript* transcript = nullptr;
    };
    boost::asio::io_context& io_;
    std::vector<std::string> arguments_;
    User user_;
    std::shared_ptr<Waiting> waiting_;  // while one is under way
    ProgramRun program_;
};

}  // namespace lbcluster::health
