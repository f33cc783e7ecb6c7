#include "healthd/core/guard.hpp"

#include <algorithm>

namespace lbcluster::health {

namespace {
constexpr std::size_t stalls_max = 8;
}

bool Guard::on_environment(Instant now, const std::optional<Environment>& environment) {
    std::map<std::string, Instant> reasons;
    if (environment) {
        for (const std::string& name : environment->without_carrier) reasons["no carrier on " + name] = now;
        reached_once_ = environment->ping_nodes && (reached_once_ || environment->reached);
        if (reached_once_ && !environment->reached) reasons["no ping node answers"] = now;
    } else {
        reached_once_ = false;  // a heartbeatd that has just started has not heard them yet
    }
    bool begins = false;
    for (auto& [reason, since] : reasons) {
        const auto known = reasons_.find(reason);
        if (known != reasons_.end()) since = known->second;
        else begins = true;
    }
    const bool held = now < hold_end();
    const bool ends_by_silence = !environment;  // no evidence any more, not even for a settling time
    reasons_ = std::move(reasons);
    if (held && hold_end() <= now) held_until_ = ends_by_silence ? now : now + settle_time;
    return begins;
}

void Guard::on_late(Instant due, Instant now) {
    if (now - due < stall_min) return;
    // The same stall again: nothing was done about that deadline in between.
    if (!stalls_.empty() && stalls_.back().end - stalls_.back().length == due) stalls_.pop_back();
    stalls_.push_back({now, now - due});
    if (stalls_.size() > stalls_max) stalls_.pop_front();
}

Instant Guard::hold_end() const {
    Instant end = Instant::min();
    for (const auto& [reason, since] : reasons_) end = std::max(end, since + hold_max);
    return end;
}

std::string Guard::holding(Instant now) const {
    std::string out;
    for (const auto& [reason, since] : reasons_) {
        if (now < since + hold_max) out += (out.empty() ? "" : ", ") + reason;
    }
    return out;
}

std::string Guard::excuse(Instant now, Instant round_start, Duration timeout, bool timed_out) const {
    std::string held = holding(now);
    if (!held.empty()) return held;
    // Began under a hold that has ended since, by itself or by its limit.
    if (round_start < held_until_ || round_start < std::min(hold_end(), now)) return "the network was just back";
    const Duration tolerable = timed_out ? std::max<Duration>(stall_min, timeout / 4) : timeout;
    const bool stalled = std::any_of(stalls_.begin(), stalls_.end(), [&](const Stall& stall) {
        return stall.end > round_start && stall.length > tolerable;
    });
    return stalled ? lateness : "";
}

}  // namespace lbcluster::health
