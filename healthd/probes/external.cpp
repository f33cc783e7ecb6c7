#include "healthd/probes/external.hpp"

#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "healthd/probes/errors.hpp"
#include "lbcluster/base/assert.hpp"

namespace lbcluster::health {
namespace {

constexpr int reads_per_turn = 16;

Outcome outcome_of(const ProgramEnd& end, const std::string& command, const std::string& output) {
    const std::string line = printable(output.substr(0, output.find_first_of("\r\n")), reason_bytes_max - 32);
    const std::string tail = line.empty() ? "" : ": " + line;
    switch (end.kind) {
        case ProgramEnd::Kind::not_started:
            return {Finding::unusable,
                    printable(command, 100) + " cannot be run: " + step_text(end.step) + ": " + error_text(end.value)};
        case ProgramEnd::Kind::killed:
            return {Finding::down, "killed by signal " + std::to_string(end.value) + tail};
        case ProgramEnd::Kind::exited:
            break;
    }
    return {end.value == 0 ? Finding::up : Finding::down, "exit code " + std::to_string(end.value) + tail};
}

}  // namespace

struct ExternalProbe::Run {
    Run(boost::asio::io_context& io, ExternalProbe& its_owner) : owner(&its_owner), output(io), end(io) {}
    ExternalProbe* owner;  // null: over
    Done done;
    Transcript* transcript = nullptr;
    std::uint64_t program = 0;
    boost::asio::posix::stream_descriptor output;
    boost::asio::posix::stream_descriptor end;
    std::string kept;
};

ExternalProbe::ExternalProbe(boost::asio::io_context& io, Wardens& wardens, const ProbeSpec& spec, User user)
    : io_(io),
      wardens_(wardens),
      arguments_{spec.check.command(), spec.virtual_address, std::to_string(spec.virtual_port),
                 spec.address.to_string(), std::to_string(spec.port)},
      user_(std::move(user)) {}

ExternalProbe::~ExternalProbe() { stop(); }

void ExternalProbe::start(Done done, Transcript* transcript) {
    LBC_ASSERT(run_ == nullptr && done);
    run_ = std::make_shared<Run>(io_, *this);
    run_->done = std::move(done);
    run_->transcript = transcript;
    const auto program = wardens_.start(arguments_, user_);
    if (!program) {
        boost::asio::post(io_, [run = run_, why = program.error().message] { finish(run, {Finding::unusable, why}); });
        return;
    }
    if (transcript != nullptr) {
        std::string line = "as " + user_.name + ":";
        for (const std::string& argument : arguments_) line += ' ' + argument;
        transcript->note(line);
    }
    run_->program = program->id;
    run_->output.assign(program->output_fd);
    run_->end.assign(program->end_fd);
    read_output(run_);
    read_end(run_);
}

std::string ExternalProbe::stop() {
    if (run_ == nullptr) return {};
    const auto run = std::exchange(run_, nullptr);
    run->owner = nullptr;
    wardens_.end(run->program);
    run->output.close();
    run->end.close();
    return "end of " + printable(arguments_[0], reason_bytes_max / 2);
}

// True when there may be more.
bool ExternalProbe::drain(Run& run) {
    std::array<char, 4096> buffer;
    for (int i = 0; i < reads_per_turn; ++i) {
        const ssize_t got = ::read(run.output.native_handle(), buffer.data(), buffer.size());
        if (got <= 0) return got < 0 && errno == EAGAIN;
        const std::size_t room = output_bytes_max - run.kept.size();
        run.kept.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
    }
    return true;
}

void ExternalProbe::read_output(const std::shared_ptr<Run>& run) {
    run->output.async_wait(boost::asio::posix::descriptor_base::wait_read,
                           [run](const boost::system::error_code& error) {
                               if (error || run->owner == nullptr) return;
                               if (drain(*run)) read_output(run);
                           });
}

void ExternalProbe::read_end(const std::shared_ptr<Run>& run) {
    run->end.async_wait(boost::asio::posix::descriptor_base::wait_read, [run](const boost::system::error_code& error) {
        if (error || run->owner == nullptr) return;
        ProgramEnd end;
        if (::read(run->end.native_handle(), &end, sizeof end) != static_cast<ssize_t>(sizeof end)) {
            return finish(run, {Finding::unusable, "the warden of the program died"});
        }
        (void)drain(*run);
        if (run->transcript != nullptr) run->transcript->received(run->kept);
        finish(run, outcome_of(end, run->owner->arguments_[0], run->kept));
    });
}

void ExternalProbe::finish(const std::shared_ptr<Run>& run, Outcome outcome) {
    if (run->owner == nullptr) return;
    // The program has ended, or never began; its warden cleans up and goes by itself.
    run->owner->run_ = nullptr;
    run->owner = nullptr;
    run->output.close();
    run->end.close();
    if (run->transcript != nullptr) run->transcript->note(outcome.reason);
    const Done done = std::move(run->done);
    done(std::move(outcome));
}

}  // namespace lbcluster::health
