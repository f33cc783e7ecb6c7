// Does the kernel of a silent peer still answer for the floating IPs? Rule 3 of the claim rule.
//
// Asked three times a keepalive. A request is silent if nothing answered until the next one is due; with ping
// nodes it counts only if one of them answered around it (else it may be our own path that is broken). No
// answer at all since warntime: three silent requests are enough. Answered before: the peer's kernel
// serves, and only its lease ending (or its daemon releasing) makes it stop, which takes longer to believe.
// Pure.
#pragma once

#include <optional>

#include "heartbeat/core/types.hpp"

namespace lbcluster::heartbeat {

class ProbeWatch {
  public:
    // The peer was heard (or the watch begins): nothing is known about this silence.
    void reset();
    // Count anew (an answer, carrier lost, no longer reached), but remember whether the peer's kernel answered.
    void restart_count();
    void on_answer(Instant now, bool echo);
    // Time for the next request: judges the last one. `witness`: a ping node answered around it, or there are none.
    void on_request(Instant now, bool witness);

    [[nodiscard]] bool answered() const { return last_answer_.has_value(); }
    [[nodiscard]] std::optional<Instant> last_answer() const { return last_answer_; }
    [[nodiscard]] std::optional<Instant> last_echo() const { return last_echo_; }
    [[nodiscard]] std::optional<Instant> last_request() const { return last_request_; }
    // Since when answers have been coming without a break longer than `gap`. Empty: none.
    [[nodiscard]] std::optional<Instant> answering_since() const { return answering_since_; }
    void expire_answers(Instant now, Duration gap);
    [[nodiscard]] unsigned silent_requests() const { return silent_requests_; }

    struct Judgement {
        bool silent = false;
        std::optional<Instant> look_again;  // if only time is missing
    };
    // `base`: the peer's last heartbeat, or our start if it was never heard.
    [[nodiscard]] Judgement judge(Instant now, Instant base, Duration keepalive, Duration deadtime,
                                  Duration vip_lease) const;

  private:
    std::optional<Instant> last_request_;
    std::optional<Instant> last_answer_;
    std::optional<Instant> last_echo_;
    std::optional<Instant> answering_since_;
    std::optional<Instant> silent_since_;  // when the first of the silent requests went out
    unsigned silent_requests_ = 0;
};

}  // namespace lbcluster::heartbeat
