#include "healthd/probes/external.hpp"

#include <boost/asio/post.hpp>
#include <utility>

#include "lbcluster/base/assert.hpp"

namespace lbcluster::health {
namespace {

Outcome outcome_of(const Result<ProgramEnd>& end, const std::string& command, const std::string& output) {
    if (!end) return {Finding::unusable, end.error().message};
    const std::string text = describe(*end, output);
    if (end->kind == ProgramEnd::Kind::not_started) return {Finding::unusable, printable(command, 100) + " " + text};
    return {end->kind == ProgramEnd::Kind::exited && end->value == 0 ? Finding::up : Finding::down, text};
}

}  // namespace

ExternalProbe::ExternalProbe(boost::asio::io_context& io, Wardens& wardens, const ProbeSpec& spec, User user)
    : io_(io),
      arguments_{spec.check.command(), spec.virtual_address, std::to_string(spec.virtual_port),
                 spec.address.to_string(), std::to_string(spec.port)},
      user_(std::move(user)),
      program_(io, wardens) {}

void ExternalProbe::start(Done done, Transcript* transcript) {
    LBC_ASSERT(!waiting_ && done);
    waiting_ = std::make_shared<Waiting>(Waiting{std::move(done), transcript});
    const auto finish = [this](const Outcome& outcome) {
        const auto waiting = std::exchange(waiting_, nullptr);
        if (waiting->transcript != nullptr) waiting->transcript->note(outcome.reason);
        waiting->done(outcome);
    };
    const auto ended = [this, finish](const Result<ProgramEnd>& end, const std::string& output) {
        if (waiting_->transcript != nullptr) waiting_->transcript->received(output);
        finish(outcome_of(end, arguments_[0], output));
    };
    if (const auto started = program_.start(arguments_, user_, ended); !started) {
        boost::asio::post(io_, [finish, waiting = std::weak_ptr(waiting_), why = started.error().message] {
            if (!waiting.expired()) finish({Finding::unusable, why});
        });
        return;
    }
    if (transcript != nullptr) {
        std::string line = "as " + user_.name + ":";
        for (const std::string& argument : arguments_) line += ' ' + argument;
        transcript->note(line);
    }
}

std::string ExternalProbe::stop() {
    if (!std::exchange(waiting_, nullptr)) return {};
    program_.stop();
    return "end of " + printable(arguments_[0], reason_bytes_max / 2);
}

}  // namespace lbcluster::health
