// What this node says, and when: heartbeats with the whole of its state, answers to greetings, and the terms that are
// stored ahead of need.
#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "heartbeat/core/core.hpp"

namespace lbcluster::heartbeat {

namespace {

constexpr std::uint64_t terms_reserved = 64;

std::uint32_t saturate_us(Duration d) {
    const auto us = std::chrono::duration_cast<microseconds>(d).count();
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(us, 0, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

Heartbeat Core::build_heartbeat() {
    Heartbeat m;
    m.set_version(protocol_version);
    m.set_min_version(1);
    m.set_activity(activity_);
    if (claim_) {
        m.mutable_claim()->set_term(claim_->term);
        m.mutable_claim()->set_primary(claim_->primary);
        m.mutable_claim()->set_node(claim_->node);
    }
    m.set_highest_term(highest_term_);
    Fitness& f = *m.mutable_fitness();
    f.set_standby(last_fitness_.standby);
    f.set_carrier(last_fitness_.carrier);
    f.set_reached(last_fitness_.reached);
    f.set_forwarder(last_fitness_.forwarder);
    f.set_known(last_fitness_.known);
    m.set_resigning(resigned_at_ && within(*resigned_at_, 3 * settings_.keepalive));
    const auto say = [&](std::uint64_t number, HandoverPhase phase, Instant since, bool forced, std::string reason) {
        Handover& h = *m.mutable_handover();
        h.set_number(number);
        h.set_phase(phase);
        h.set_age_ms(saturate_us(now_ - since) / 1000);
        h.set_forced(forced);
        h.set_reason(std::move(reason));
    };
    if (takeover_) say(takeover_->number, HANDOVER_ACCEPT, takeover_->since, takeover_->forced, "");
    else if (offer_) say(offer_->number, HANDOVER_OFFER, offer_->since, offer_->forced, word(offer_->purpose));
    else if (request_) say(request_->number, HANDOVER_REQUEST, request_->since, request_->forced, "");
    else if (last_word_) {
        *m.mutable_handover() = *last_word_;
        // "Done" means that the addresses are gone from the kernel; that may take longer than a last word lasts.
        const bool done = last_word_->phase() == HANDOVER_DONE;
        const bool gone = addresses_.epoch == epoch_ && addresses_.complete;
        if (done && wanted_) m.clear_handover();
        else if (done && !gone) m.mutable_handover()->set_phase(HANDOVER_RELEASING);
        else if (due(last_word_until_)) m.clear_handover();
    }
    for (const std::string& name : tracked_interfaces()) {
        const auto found = interfaces_.find(name);
        constexpr int macs_max = 16;
        if (found == interfaces_.end() || found->second.mac.is_zero() || m.macs_size() >= macs_max) continue;
        m.add_macs(std::string(found->second.mac.bytes.begin(), found->second.mac.bytes.end()));
    }
    m.set_held_digest(held_digest_);
    m.set_vip_lease_ms(saturate_us(settings_.vip_lease) / 1000);
    m.set_config_revision(settings_.config_revision);
    m.set_config_digest(settings_.config_digest);
    m.set_keepalive_us(saturate_us(settings_.keepalive));
    m.set_deadtime_us(saturate_us(settings_.deadtime));
    m.set_primary(settings_.primary);
    m.set_restart_number(restart_number_.value_or(0));
    m.set_stopping(stopping_);
    return m;
}

void Core::send_heartbeats(Actions& out) {
    const bool hurry = offer_ || takeover_;
    const Duration fast = std::min(settings_.keepalive, std::max<Duration>(session_.best_rtt(), 5ms));
    if (hurry) next_heartbeat_ = std::min(next_heartbeat_, now_ + fast);
    const bool regular = due(next_heartbeat_) || std::exchange(send_now_, false);
    // A greeting is answered with my state and the greeter's boot id, no faster than keepalive / 4, and on every link:
    // the one that brought it may be dead in the other direction.
    std::optional<std::uint64_t> greeter;
    if (now_ >= greeted_at_ + settings_.keepalive / 4) greeter = session_.take_greeting();
    if (greeter && *greeter == session_.peer_boot_id()) greeter.reset();
    if (greeter) greeted_at_ = now_;
    if (!regular && !greeter) return;
    const Heartbeat built = build_heartbeat();
    for (std::uint32_t link = 0; link < settings_.links.size(); ++link) {
        if (regular) {
            Heartbeat message = built;
            session_.fill(now_, link, message);
            out.emplace_back(SendHeartbeat{link, std::move(message)});
        }
        if (greeter) {
            Heartbeat message = built;
            session_.fill(now_, link, message);
            message.set_peer_boot_id(*greeter);
            message.clear_ack_sequence();
            message.clear_ack_age_us();
            message.clear_heard_sequence();
            out.emplace_back(SendHeartbeat{link, std::move(message)});
        }
    }
    if (regular) {
        send_now_ = false;
        if (wanted_) {
            out.emplace_back(PermitLease{now_ + std::max<Duration>(settings_.keepalive * 3 / 2, 50ms) + 50ms});
        }
        // Jitter of +-10 % keeps two nodes and many pairs out of step (RFC 5880 6.8.7).
        const auto jitter = static_cast<std::int64_t>(random_() % 201) - 100;
        const Duration pause = settings_.keepalive + settings_.keepalive * jitter / 1000;
        next_heartbeat_ = now_ + (hurry ? std::min(fast, pause) : pause);
        due(next_heartbeat_);
    }
}

void Core::reserve_terms(Actions& out) {
    if (term_storing_ || (term_failed_at_ && !due(*term_failed_at_ + 10s))) return;
    if (highest_term_ + terms_reserved / 2 < reserved_term_) return;
    reserved_term_ = highest_term_ + terms_reserved;
    term_storing_ = true;
    out.emplace_back(StoreTerm{reserved_term_});
}

std::uint64_t Core::random_number() {
    std::uint64_t number = random_();
    while (number == 0) number = random_();
    return number;
}

}  // namespace lbcluster::heartbeat
