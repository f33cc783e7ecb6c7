// The transitions. next_transition() computes what should change and why; apply() is the one place that
// changes it. The table in docs/protocol.md and these functions say the same thing row by row.
#include <algorithm>

#include "heartbeat/core/core.hpp"

namespace lbcluster::heartbeat {

void Core::decide(Actions& out) {
    // Two in a row happen (standby -> passive -> active); more would be a fault.
    for (int i = 0; i < 4; ++i) {
        const auto transition = next_transition();
        if (!transition) return;
        apply(*transition, out);
    }
    LBC_ASSERT(!"the election does not come to rest");
}

// Both active and mine is the higher claim: every cache is to point here, during the conflict and after it.
void Core::settle_conflict(Actions& out) {
    const bool conflict = activity_ == ACTIVITY_ACTIVE && !cautious_until_ && peer_active() && !takeover_;
    if (conflict == in_conflict_) return;
    in_conflict_ = conflict;
    if (activity_ != ACTIVITY_ACTIVE) return;
    announce(out);
    if (conflict) note(out, "conflict", Severity::alarm, peer_name() + " is active too, with the lower claim");
    else
        note(out, "conflict-end", Severity::info,
             peer_name() + " is no longer active; every address was announced again");
}

std::optional<Core::Transition> Core::next_transition() {
    if (!leftovers_) return std::nullopt;  // not yet known what is in the kernel
    switch (activity_) {
        case ACTIVITY_STARTING:
        case ACTIVITY_PASSIVE:
            return from_starting_or_passive();
        case ACTIVITY_ACTIVE:
            return from_active();
        case ACTIVITY_STANDBY:
            return from_standby();
        default:
            break;
    }
    return std::nullopt;
}

std::optional<Core::Transition> Core::from_standby() {
    if (standby_wish_) return std::nullopt;
    return Transition{ACTIVITY_PASSIVE, "unstandby", "standby was ended by the operator"};
}

std::optional<Core::Transition> Core::from_starting_or_passive() {
    const bool starting = activity_ == ACTIVITY_STARTING;
    claim_refusal_.clear();
    if (standby_wish_ && !takeover_) {
        return Transition{ACTIVITY_STANDBY, "standby", "the operator asked this node not to serve"};
    }
    if (takeover_) {
        // An offer that ran out while this node stood still is none any more.
        if (!takeover_->added || due(takeover_->offered + deadtime())) return std::nullopt;
        return Transition{ACTIVITY_ACTIVE, "handover",
                          "planned hand-over from " + peer_name() + " (" + takeover_->purpose + ")"};
    }
    if (stopping_) return std::nullopt;
    if (starting && *leftovers_ && !peer_active()) {
        // The probe's veto has kept the peer from claiming; without the probe it may have claimed meanwhile.
        const bool safe = settings_.address_probe != AddressProbe::off || !settings_.has_peer() || heard() ||
                          due(started_ + deadtime());
        // Killed again at once, the next life must not claim the same term; a slow disk holds up nobody for long.
        const bool own_term = term_told_ || due(started_ + 2 * settings_.keepalive);
        if (safe && own_term)
            return Transition{ACTIVITY_ACTIVE, "adopted", "the addresses were still here after a restart"};
        return std::nullopt;
    }
    if (!settings_.has_peer()) {
        return Transition{.to = ACTIVITY_ACTIVE, .reason = "no-peer", .text = "no peer is configured", .first = true};
    }
    if (peer_alive()) {
        if (peer_active()) {
            if (!starting) return std::nullopt;
            return Transition{ACTIVITY_PASSIVE, "peer-active", peer_name() + " is active"};
        }
        const bool waits = waits_until_ && !due(*waits_until_);
        if (peer().resigning() && !waits && !(resigned_at_ && within(*resigned_at_, deadtime()))) {
            return Transition{ACTIVITY_ACTIVE, "peer-resigned", peer_name() + " gave the addresses up"};
        }
        return settle_idle_pair();
    }
    if (!peer_dead()) return std::nullopt;
    const ClaimJudgement judgement = may_claim();
    claim_refusal_ = judgement.allowed ? "" : judgement.why;
    if (judgement.allowed || forced_claim_) {
        const std::string how = forced_claim_ && !judgement.allowed ? "forced by the operator" : judgement.why;
        return Transition{.to = ACTIVITY_ACTIVE,
                          .reason = "peer-dead",
                          .text = (heard() ? "nothing heard of " + peer_name() + " for " + format_duration(deadtime())
                                           : "the peer was never heard since the start") +
                                  ", " + how};
    }
    if (starting) return Transition{ACTIVITY_PASSIVE, "peer-silent", "the peer was not heard, but " + judgement.why};
    return std::nullopt;
}

// Both alive, nobody active: without this row a pair stays passive/passive for ever.
std::optional<Core::Transition> Core::settle_idle_pair() {
    if (!idle_since_ || !due(*idle_since_ + 2 * std::max(settings_.keepalive, peer_keepalive()))) return std::nullopt;
    const FitnessValue mine = own_fitness();
    const int order = compare(mine, peer_fitness());
    const bool by_role = settings_.primary != peer().primary() ? settings_.primary : settings_.node < peer().sender();
    const bool waits = waits_until_ && !due(*waits_until_);
    const bool first = goes_first_until_ && !due(*goes_first_until_);
    const bool mine_wins = order > 0 || (order == 0 && (first || (by_role && !waits)));
    if (mine_wins && !mine.standby) {
        if (waits) return std::nullopt;
        if (resigned_at_ && !due(*resigned_at_ + deadtime())) return std::nullopt;
        return Transition{.to = ACTIVITY_ACTIVE,
                          .reason = "nobody-active",
                          .text = order > 0 ? "nobody was active and this node is fitter"
                                  : first   ? "nobody was active and this node was the last one"
                                            : (settings_.primary != peer().primary()
                                                   ? "nobody was active and this node is the primary"
                                                   : "nobody was active and this node has the lower name"),
                          .first = true};
    }
    if (activity_ != ACTIVITY_STARTING) return std::nullopt;
    return Transition{ACTIVITY_PASSIVE, "peer-goes-first",
                      order < 0 ? peer_name() + " is fitter" : peer_name() + " goes first"};
}

// May the addresses of a dead peer be taken? The four rules of docs/protocol.md, in order; the first one,
// own lateness, is inside silence_since().
Core::ClaimJudgement Core::may_claim() {
    claiming_without_witness_ = false;
    const auto back = [&](const std::optional<Instant>& at) { return at && !due(*at + deadtime()); };
    if (!any_carrier()) return {false, "no interface with floating IPs has carrier"};
    if (back(carrier_back_at_)) return {false, "the carrier has only just come back"};
    if (waits_until_ && !due(*waits_until_)) return {false, "the peer let go again and may go first"};

    if (pings_.configured() && !witnesses_gone_) {
        const bool never_any = !heard() && !pings_.ever_reached() && settings_.isolation != Isolation::strict;
        if (never_any && due(started_ + 3 * settings_.initdead)) {
            claiming_without_witness_ = true;
        } else {
            const auto reply = pings_.last_reply();
            if (!pings_.reached() || !reply) return {false, "this node reaches no ping node itself"};
            if (back(pings_.came_back_at())) return {false, "the ping nodes have only just come back"};
            if (!within(*reply, 2 * settings_.keepalive + 1us)) return {false, "the ping nodes do not answer just now"};
        }
        if (!due(silence_since() + deadtime() + settings_.keepalive)) {
            return {false, "an isolated peer is given time to let go"};
        }
    }

    const bool probing = settings_.address_probe != AddressProbe::off && !settings_.floating_ips.empty();
    if (probing) {
        const Instant base = heard() ? session_.last_heard() : started_;
        const Duration lease = heard() ? milliseconds{peer().vip_lease_ms()} : settings_.vip_lease;
        const auto judged = probes_.judge(now_, base, settings_.keepalive, deadtime(), lease);
        if (judged.look_again) due(*judged.look_again);
        if (!judged.silent) {
            return {false, probes_.answered() ? "its kernel still answers for the floating IPs"
                                              : "the floating IPs have not been silent for long enough"};
        }
    }
    std::string why = probing ? "nobody answers for the floating IPs" : "no witness is configured";
    if (pings_.configured()) {
        why += pings_.reached() ? " and a ping node answers" : " and the ping nodes are gone for both";
    }
    return {true, why};
}

std::optional<Core::Transition> Core::from_active() {
    if (lapsed_) {
        return Transition{ACTIVITY_PASSIVE, "lease-ended", "this node stood still and the lease of its addresses ended",
                          true};
    }
    if (auto conflict = from_active_conflict()) return conflict;
    if (cautious_until_) return std::nullopt;  // only a higher claim counts until we know what happened meanwhile
    std::string why;
    if (isolated(why)) return Transition{ACTIVITY_PASSIVE, "isolated", why, true};
    return from_active_alone();
}

// Both active and heard: the claims decide.
std::optional<Core::Transition> Core::from_active_conflict() {
    if (!peer_active()) {
        deaf_lower_since_.reset();
        return std::nullopt;
    }
    const ClaimValue theirs = peer_claim();
    if (beats(theirs, *claim_)) {
        const bool planned = offer_ && peer().handover().number() == offer_->number;
        if (planned) return Transition{ACTIVITY_PASSIVE, "handover", peer_name() + " took over as offered"};
        return Transition{ACTIVITY_PASSIVE, "higher-claim",
                          peer_name() + " is active with the higher claim (term " + std::to_string(theirs.term) + ")"};
    }
    if (peer_hears_me(2 * deadtime())) {
        deaf_lower_since_.reset();
        return std::nullopt;
    }
    if (!deaf_lower_since_) deaf_lower_since_ = now_;
    // By what it says now: one that has fallen silent again is a matter for the probes.
    if (!due(*deaf_lower_since_ + deadtime()) || cautious_until_ || peer_late()) return std::nullopt;
    return Transition{ACTIVITY_PASSIVE, "peer-does-not-hear-me",
                      peer_name() + " is active too and cannot hear this node, so it will not let go"};
}

// Nothing heard, but the other kernel answers: both serve while the heartbeat is broken.
std::optional<Core::Transition> Core::from_active_alone() {
    if (!settings_.has_peer() || settings_.address_probe == AddressProbe::off) return std::nullopt;
    probes_.expire_answers(now_, std::max<Duration>(3 * settings_.keepalive, 1s));
    const auto since = probes_.answering_since();
    if (!since) return std::nullopt;
    // A peer that is heard again is a matter of claims, unless it stays deaf. Who yields resigns: the other one may
    // have let go for a heartbeat that was under way.
    if (!(peer_late() || (peer_active() && peer_is_deaf()))) return std::nullopt;
    // In a hand-over the other kernel answers until its node has heard that this one is active.
    if (takeover_ && !due(activity_since_ + deadtime())) return std::nullopt;
    if (i_yield()) {
        return Transition{ACTIVITY_PASSIVE, "both-serve",
                          "another kernel serves the floating IPs and the heartbeat is broken; this node yields", true};
    }
    const Duration lease = heard() ? milliseconds{peer().vip_lease_ms()} : settings_.vip_lease;
    if (!due(*since + lease + deadtime())) return std::nullopt;
    return Transition{ACTIVITY_PASSIVE, "both-serve",
                      "another kernel keeps serving the floating IPs and the heartbeat is broken", true};
}

// Active, the peer does not hear us, and nothing else is reached: let go before the peer claims.
bool Core::isolated(std::string& why) {
    if (!settings_.has_peer() || settings_.isolation == Isolation::hold) return false;
    if (!peer_gone_for_active()) return false;
    if (!settings_.floating_ips.empty() && !any_carrier()) {
        why = "the peer is silent and no interface with floating IPs has carrier";
        return true;
    }
    if (!pings_.configured() || pings_.reached()) return false;
    if (settings_.isolation == Isolation::strict) {
        why = "neither the peer nor a ping node is reached (isolation: strict)";
        return true;
    }
    // They were gone before the peer was; letting go and claiming again, for ever, would help nobody.
    if (claimed_unwitnessed_) return false;
    // Together: it is our own path. Far apart: a lone node whose gateway reboots, which must not drop the service.
    const Instant pings_gone = std::max(pings_.last_reply().value_or(started_), activity_since_);
    const Instant peer_gone = own_silence_since();
    const Duration apart = peer_gone > pings_gone ? peer_gone - pings_gone : pings_gone - peer_gone;
    if (apart > std::max<Duration>(2 * deadtime(), 2s)) return false;
    why = "the peer and the ping nodes went away together";
    return true;
}

// Where packets are lost both ways, two nodes find themselves isolated in turn, and would hand the addresses to and fro
// every deadtime. From the second time on the one that let go may have them back first.
void Core::note_isolation(bool own) {
    constexpr auto memory = 10s;
    const bool again = isolation_at_ && now_ < *isolation_at_ + std::max<Duration>(memory, 10 * deadtime());
    isolation_at_ = now_;
    goes_first_until_.reset();
    waits_until_.reset();
    if (again) (own ? goes_first_until_ : waits_until_) = now_ + std::max<Duration>(1s, 2 * deadtime());
}

void Core::forget_addresses() {
    addresses_ = AddressReport{};
    held_digest_ = 0;
}

void Core::acquire(Actions& out, bool first) {
    if (!wanted_) forget_addresses();  // else what was held still is, until the next report
    wanted_ = true;
    lapsed_ = false;
    ++epoch_;
    if (!first) conflicts_.trust_all(false);
    set_addresses(out, true);
    send_now_ = true;
}

void Core::set_addresses(Actions& out, bool announce) {
    held_back_ = conflicts_.held_back();
    out.emplace_back(SetAddresses{epoch_, wanted_, announce, held_back_});
}

void Core::announce(Actions& out, bool paced) {
    announced_at_ = now_;
    out.emplace_back(Announce{paced});
}

void Core::release(Actions& out) {
    wanted_ = false;
    lapsed_ = false;
    forget_addresses();
    ++epoch_;
    set_addresses(out, false);
    send_now_ = true;
}

void Core::apply(const Transition& transition, Actions& out) {
    const Activity from = activity_;
    std::string kind = "became-passive";
    if (transition.to == ACTIVITY_ACTIVE) kind = "became-active";
    if (transition.to == ACTIVITY_STANDBY) kind = "became-standby";
    const bool conflict = transition.reason == "higher-claim" || transition.reason == "both-serve" ||
                          transition.reason == "peer-does-not-hear-me";
    note(out, kind, conflict || transition.reason == "lease-ended" ? Severity::warning : Severity::info,
         transition.text);

    if (transition.to == ACTIVITY_ACTIVE) {
        saw_term(peer().highest_term());
        claim_ = ClaimValue{highest_term_ + 1, settings_.primary, settings_.node};
        saw_term(claim_->term);
        resigned_at_.reset();
        goes_first_until_.reset();
        waits_until_.reset();
        // Never heard: the claim rule has seen to it that nobody answers.
        if (forced_claim_ || (settings_.has_peer() && !heard())) conflicts_.trust_all(true);
        if (!takeover_) acquire(out, transition.first && !pair_served_);  // else they are there, verified and announced
        if (!takeover_ && transition.reason == "adopted") std::get<SetAddresses>(out.back()).adopted = true;
        pair_served_ = true;
        claimed_unwitnessed_ = pings_.configured() && !pings_.reached() &&
                               (transition.reason == "peer-dead" || (witnesses_gone_ && takeover_));
        placed_by_operator_ = takeover_ && takeover_->operators;
    } else {
        claim_.reset();
        in_conflict_ = false;
        cautious_until_.reset();  // what happened meanwhile is known now, and nothing is held to be careful with
        takeover_.reset();        // what it added goes as well; the same offer is not taken up again
        // Leaving `starting` removes leftovers at once, not with their lease.
        if (from == ACTIVITY_ACTIVE || from == ACTIVITY_STARTING || wanted_) release(out);
        if (transition.resign) resigned_at_ = now_;
        if (transition.reason == "isolated" && pings_.configured() && !pings_.reached()) note_isolation(true);
    }
    if (!moved_within_the_hour()) failback_doublings_ = 0;
    if (from == ACTIVITY_ACTIVE && offer_) {
        last_word_ = Handover{};
        last_word_->set_number(offer_->number);
        last_word_->set_phase(HANDOVER_DONE);
        last_word_until_ = now_ + last_word_time();
        if (offer_->purpose == Purpose::failback) ++failback_doublings_;
        if (offer_->purpose == Purpose::fitness || offer_->purpose == Purpose::failback ||
            offer_->purpose == Purpose::carrier) {
            voluntary_moves_.push_back(now_);
        }
        if (offer_->purpose == Purpose::standby) {
            standby_wish_ = true;
            out.emplace_back(StoreStandby{true});
        }
        offer_.reset();
        offer_failures_ = 0;
    }
    forced_claim_ = false;
    request_.reset();
    // Who was only starting goes on watching the same silence.
    if (from != ACTIVITY_STARTING || transition.to == ACTIVITY_ACTIVE) probes_.reset();
    // The kernel that was seen to serve does so still: the claim rule must not forget it.
    if (transition.reason == "both-serve") probes_.on_answer(now_, false);
    idle_since_.reset();
    deaf_lower_since_.reset();
    peer_fitter_since_.reset();
    failback_ready_since_.reset();
    leftovers_ = false;
    if (from == ACTIVITY_ACTIVE || transition.to == ACTIVITY_ACTIVE) last_move_ = now_;
    activity_ = transition.to;
    activity_since_ = now_;
    activity_reason_ = transition.text;
    send_now_ = true;
}

}  // namespace lbcluster::heartbeat
