#include "healthd/probes/program.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "healthd/core/types.hpp"
#include "healthd/probes/errors.hpp"
#include "lbcluster/base/assert.hpp"

namespace lbcluster::health {
namespace {

constexpr int reads_per_turn = 16;

}  // namespace

struct ProgramRun::Run {
    Run(boost::asio::io_context& io, ProgramRun& its_owner) : owner(&its_owner), output(io), end(io) {}
    ProgramRun* owner;  // null: over
    Done done;
    std::uint64_t program = 0;
    boost::asio::posix::stream_descriptor output;
    boost::asio::posix::stream_descriptor end;
    std::string kept;
};

Result<void> ProgramRun::start(const std::vector<std::string>& arguments, const User& user, Done done,
                               const ProgramExtras& extras) {
    LBC_ASSERT(run_ == nullptr && done);
    const auto program = wardens_.start(arguments, user, extras);
    if (!program) return program.error();
    run_ = std::make_shared<Run>(io_, *this);
    run_->done = std::move(done);
    run_->program = program->id;
    run_->output.assign(program->output_fd);
    run_->end.assign(program->end_fd);
    read_output(run_);
    read_end(run_);
    return {};
}

void ProgramRun::stop() {
    if (run_ == nullptr) return;
    const auto run = std::exchange(run_, nullptr);
    run->owner = nullptr;
    wardens_.end(run->program);
    run->output.close();
    run->end.close();
}

// True when there may be more.
bool ProgramRun::drain(Run& run) {
    std::array<char, 4096> buffer;
    for (int i = 0; i < reads_per_turn; ++i) {
        const ssize_t got = ::read(run.output.native_handle(), buffer.data(), buffer.size());
        if (got <= 0) return got < 0 && errno == EAGAIN;
        const std::size_t room = output_bytes_max - run.kept.size();
        run.kept.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
    }
    return true;
}

void ProgramRun::read_output(const std::shared_ptr<Run>& run) {
    run->output.async_wait(boost::asio::posix::descriptor_base::wait_read,
                           [run](const boost::system::error_code& error) {
                               if (error || run->owner == nullptr) return;
                               if (drain(*run)) read_output(run);
                           });
}

void ProgramRun::read_end(const std::shared_ptr<Run>& run) {
    run->end.async_wait(boost::asio::posix::descriptor_base::wait_read, [run](const boost::system::error_code& error) {
        if (error || run->owner == nullptr) return;
        ProgramEnd end;
        const bool told = ::read(run->end.native_handle(), &end, sizeof end) == static_cast<ssize_t>(sizeof end);
        (void)drain(*run);
        // The program has ended, or never began; its warden cleans up and goes by itself.
        run->owner->run_ = nullptr;
        run->owner = nullptr;
        run->output.close();
        run->end.close();
        const Done done = std::move(run->done);
        done(told ? Result<ProgramEnd>(end) : Error{"the warden of the program died", "", 0}, std::move(run->kept));
    });
}

std::string describe(const ProgramEnd& end, const std::string& output) {
    const std::string line = printable(output.substr(0, output.find_first_of("\r\n")), reason_bytes_max - 32);
    const std::string tail = line.empty() ? "" : ": " + line;
    switch (end.kind) {
        case ProgramEnd::Kind::not_started:
            return "cannot be run: " + std::string(step_text(end.step)) + ": " + error_text(end.value);
        case ProgramEnd::Kind::killed:
            return "killed by signal " + std::to_string(end.value) + tail;
        case ProgramEnd::Kind::exited:
            break;
    }
    return "exit code " + std::to_string(end.value) + tail;
}

}  // namespace lbcluster::health
