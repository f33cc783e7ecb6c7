// One run of a program under a warden, to its end: exit, signal, deadline or stop(). Of its output
// output_bytes_max are kept, the rest is read and forgotten.
//
// One thread: the io_context's.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "healthd/probes/warden.hpp"

namespace lbcluster::health {

class ProgramRun {
  public:
    static constexpr std::size_t output_bytes_max = 1024;

    // Not called from inside start(). An error: the warden died.
    using Done = std::function<void(Result<ProgramEnd> end, std::string output)>;

    ProgramRun(boost::asio::io_context& io, Wardens& wardens) : io_(io), wardens_(wardens) {}
    ~ProgramRun() { stop(); }
    ProgramRun(const ProgramRun&) = delete;
    ProgramRun& operator=(const ProgramRun&) = delete;

    // Once, or again after `done` or stop().
    Result<void> start(const std::vector<std::string>& arguments, const User& user, Done done,
                       const ProgramExtras& extras = {});
    // The program and all below it are killed; no `done`.
    void stop();
    [[nodiscard]] bool running() const { return run_ != nullptr; }

  private:
    // The handlers hold it, so that one that ended is only ignored.
    struct Run;
    static void read_output(const std::shared_ptr<Run>& run);
    static void read_end(const std::shared_ptr<Run>& run);
    static bool drain(Run& run);

    boost::asio::io_context& io_;
    Wardens& wardens_;
    std::shared_ptr<Run> run_;
};

// "exit code 3: out of paper", "killed by signal 9", "cannot be run: execve: No such file or directory". The first line
// of the output tells why.
std::string describe(const ProgramEnd& end, const std::string& output);

}  // namespace lbcluster::health
