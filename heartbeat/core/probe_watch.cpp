#include "heartbeat/core/probe_watch.hpp"

#include <algorithm>

namespace lbcluster::heartbeat {

void ProbeWatch::reset() { *this = ProbeWatch{}; }

void ProbeWatch::restart_count() {
    silent_requests_ = 0;
    silent_since_.reset();
    last_request_.reset();
}

void ProbeWatch::on_answer(Instant now, bool echo) {
    silent_requests_ = 0;
    silent_since_.reset();
    last_answer_ = now;
    if (echo) {
        last_echo_ = now;
        if (!answering_since_) answering_since_ = now;
    }
}

void ProbeWatch::expire_answers(Instant now, Duration gap) {
    if (last_echo_ && now > *last_echo_ + gap) answering_since_.reset();
}

void ProbeWatch::on_request(Instant now, bool witness) {
    const bool silent = last_request_ && (!last_answer_ || *last_answer_ < *last_request_);
    if (silent && witness) {
        if (!silent_since_) silent_since_ = *last_request_;
        ++silent_requests_;
    }
    last_request_ = now;
}

ProbeWatch::Judgement ProbeWatch::judge(Instant now, Instant base, Duration keepalive, Duration deadtime,
                                        Duration vip_lease) const {
    if (!answered()) return {silent_requests_ >= 3, std::nullopt};
    if (!silent_since_) return {};
    const Instant lease_over = base + vip_lease + deadtime + 4 * keepalive + 200ms;
    // Until then a silence means that the lease of a dead daemon has ended; later somebody renews it.
    const bool may_be_lease = now <= lease_over;
    const unsigned requests = may_be_lease ? 9 : 30;
    const Duration silence = may_be_lease ? std::max<Duration>(3 * keepalive, 100ms) : deadtime;
    if (silent_requests_ < requests) return {};
    if (now < *silent_since_ + silence) return {false, *silent_since_ + silence};
    return {true, std::nullopt};
}

}  // namespace lbcluster::heartbeat
