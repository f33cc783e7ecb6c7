#include "healthd/probes/base.hpp"

#include <utility>

#include "lbcluster/base/assert.hpp"

namespace lbcluster::health {

void PolledProbe::start(Done done, Transcript* transcript) {
    LBC_ASSERT(!done_ && done);
    done_ = std::move(done);
    transcript_ = transcript;
    beginning_ = true;
    begin();
    beginning_ = false;
}

std::string PolledProbe::stop() {
    if (!done_) return {};
    std::string waited_for = waiting_for();
    watch_.abort();
    end();
    kept_.reset();
    done_ = nullptr;
    transcript_ = nullptr;
    return waited_for;
}

void PolledProbe::on_ready(std::uint32_t events) {
    if (!done_) return;
    if (kept_) return finish(std::move(*kept_));
    go_on(events);
}

void PolledProbe::settle(Outcome outcome) {
    watch_.close();
    if (!beginning_) return finish(std::move(outcome));
    kept_ = std::move(outcome);
    watch_.wake();
}

void PolledProbe::finish(Outcome outcome) {
    watch_.close();
    end();
    kept_.reset();
    if (transcript_ != nullptr) transcript_->note(outcome.reason);
    transcript_ = nullptr;
    const Done done = std::exchange(done_, nullptr);
    done(std::move(outcome));
}

}  // namespace lbcluster::health
