// Probe `external`: a program with the arguments VIP VPORT RIP RPORT; exit code 0 is up. How it runs, and how all of it
// is killed: warden.hpp. Of its output 1 KiB is kept, and the first line of that is the reason; the rest is read and
// forgotten.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "healthd/probes/probe.hpp"
#include "healthd/probes/warden.hpp"

namespace lbcluster::health {

class ExternalProbe final : public Probe {
  public:
    static constexpr std::size_t output_bytes_max = 1024;

    ExternalProbe(boost::asio::io_context& io, Wardens& wardens, const ProbeSpec& spec, User user);
    ~ExternalProbe() override;

    void start(Done done, Transcript* transcript) override;
    std::string stop() override;

  private:
    // One run; the handlers hold it, so that one that ended is only ignored.
    struct Run;
    static void read_output(const std::shared_ptr<Run>& run);
    static void read_end(const std::shared_ptr<Run>& run);
    static bool drain(Run& run);
    static void finish(const std::shared_ptr<Run>& run, Outcome outcome);

    boost::asio::io_context& io_;
    Wardens& wardens_;
    std::vector<std::string> arguments_;
    User user_;
    std::shared_ptr<Run> run_;
};

}  // namespace lbcluster::health
