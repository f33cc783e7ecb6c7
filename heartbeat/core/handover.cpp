// Planned hand-overs: the active offers; the passive adds and announces the addresses, verifies them and becomes
// active with the next term; the old one releases when it sees that, and says so; the new one announces once
// more. Without an answer within deadtime the old one stays. At no moment does nobody hold the addresses.
// Also here: operator's commands, orderly stop and restart, which all come down to a hand-over.
#include <algorithm>

#include "heartbeat/core/core.hpp"

namespace lbcluster::heartbeat {

namespace {
constexpr std::size_t numbers_remembered = 64;
constexpr auto command_patience = 30s;   // then the command is answered as timed out
constexpr auto takeover_patience = 10s;  // longest that adding addresses may take
}  // namespace

const char* Core::word(Purpose purpose) {
    switch (purpose) {
        case Purpose::none:
            return "none";
        case Purpose::activate:
            return "activate";
        case Purpose::standby:
            return "standby";
        case Purpose::stop:
            return "stop";
        case Purpose::fitness:
            return "fitness";
        case Purpose::carrier:
            return "carrier";
        case Purpose::addresses:
            return "addresses";
        case Purpose::failback:
            return "failback";
    }
    return "none";
}

// ---- what the peer says about hand-overs ----

void Core::read_peer_handover(Actions& out) {
    if (!peer_alive()) return;
    const Handover& said = peer().handover();
    const bool used = std::find(used_numbers_.begin(), used_numbers_.end(), said.number()) != used_numbers_.end();

    if (offer_ && said.number() == offer_->number) {
        if (said.phase() == HANDOVER_ACCEPT) offer_->progress = session_.last_heard();
        if (said.phase() == HANDOVER_REFUSE) {
            offer_->refused = true;
            offer_->refusal = said.reason();
        }
    }
    if (said.phase() == HANDOVER_REQUEST && said.number() != 0 && !used && activity_ == ACTIVITY_ACTIVE && !offer_ &&
        !cautious_until_) {
        const std::string obstacle = peer_not_ready(said.forced());
        if (obstacle.empty()) offer(Purpose::activate, said.forced(), said.number(), out);
        else refuse(said.number(), obstacle);
    }
    if (request_ && said.number() == request_->number && said.phase() == HANDOVER_REFUSE) {
        const std::string why = said.reason();
        request_.reset();
        if (!commands_.empty() && commands_.front().command.kind == CommandKind::activate) {
            answer(out, commands_.front().command.id, 5, peer_name() + " refuses the hand-over: " + why,
                   "put that right, or use --force");
            commands_.pop_front();
        }
    }
    if (takeover_) {
        const bool same = said.number() == takeover_->number;
        // What waited in the socket while this node stood still is an offer of then.
        const auto transit = session_.newest_transit_max();
        const bool fresh = transit && *transit < deadtime();
        if (same && said.phase() == HANDOVER_OFFER && fresh) takeover_->offered = session_.last_heard();
        if (same && said.phase() == HANDOVER_DONE && activity_ == ACTIVITY_ACTIVE) takeover_->confirmed = true;
        if (activity_ != ACTIVITY_ACTIVE && !(same && said.phase() == HANDOVER_OFFER)) {
            forget_takeover(out, peer_name() + " withdrew its offer");
        }
    } else if (said.phase() == HANDOVER_OFFER && said.number() != 0 && !used) {
        consider_offer(out);
    }
    if (done_awaited_ && said.phase() == HANDOVER_DONE && said.number() == *done_awaited_) {
        if (activity_ == ACTIVITY_ACTIVE) announce(out, true);
        done_awaited_.reset();
    }
}

std::string Core::not_ready_myself(bool forced) {
    if (activity_ == ACTIVITY_ACTIVE) return "already active";
    if (stopping_) return "this node is being stopped";
    if (standby_wish_) return "this node is in standby by the operator";
    if (!all_carriers()) return "an interface with floating IPs has no carrier or is missing";
    if (forced) return "";
    if (peer().config_digest() != settings_.config_digest) return "the configurations differ";
    // Where neither forwards, moving loses nothing.
    if (!last_fitness_.forwarder && peer_fitness().forwarder) return "the forwarder is not ready";
    return "";
}

std::string Core::peer_not_ready(bool forced) const {
    const FitnessValue f = peer_fitness();
    if (peer().stopping()) return "the peer is being stopped";
    if (peer().activity() == ACTIVITY_STANDBY || f.standby) return "the peer is in standby by the operator";
    if (f.known && !f.carrier) return "the peer has an interface with floating IPs without carrier";
    if (forced) return "";
    if (peer().config_digest() != settings_.config_digest) return "the configurations differ";
    if (f.known && !f.forwarder && last_fitness_.forwarder) return "the peer's forwarder is not ready";
    return "";
}

void Core::refuse(std::uint64_t number, const std::string& reason) {
    used_numbers_.push_back(number);
    if (used_numbers_.size() > numbers_remembered) used_numbers_.pop_front();
    last_word_ = Handover{};
    last_word_->set_number(number);
    last_word_->set_phase(HANDOVER_REFUSE);
    last_word_->set_reason(reason);
    last_word_until_ = now_ + std::max<Duration>(3 * settings_.keepalive, 50ms);
    send_now_ = true;
}

// ---- the passive side ----

void Core::consider_offer(Actions& out) {
    const Handover said = peer().handover();
    const auto transit = session_.newest_transit_max();
    const bool young = transit && milliseconds{said.age_ms()} + *transit < deadtime();
    if (!young || activity_ == ACTIVITY_ACTIVE || !leftovers_) return;
    const std::string obstacle = not_ready_myself(said.forced());
    if (!obstacle.empty()) {
        refuse(said.number(), obstacle);
        return;
    }
    used_numbers_.push_back(said.number());
    if (used_numbers_.size() > numbers_remembered) used_numbers_.pop_front();
    takeover_ = Takeover{};
    takeover_->number = said.number();
    takeover_->since = now_;
    takeover_->offered = session_.last_heard();
    takeover_->forced = said.forced();
    takeover_->purpose = said.reason();
    takeover_->operators = said.reason() == word(Purpose::activate) || said.reason() == word(Purpose::standby);
    request_.reset();
    // Announced while they are added: the old active removes its addresses as soon as it sees this one active, and no
    // client may then still send to it.
    acquire(out, false);
    // Nothing to add: nothing to wait for.
    if (settings_.floating_ips.empty()) takeover_->added = true;
}

void Core::run_takeover(Actions& out) {
    if (!takeover_) return;
    if (activity_ != ACTIVITY_ACTIVE) {
        if (due(takeover_->offered + deadtime())) forget_takeover(out, "the offer of " + peer_name() + " ran out");
        return;
    }
    const Handover& said = peer().handover();
    const bool releasing = said.phase() == HANDOVER_RELEASING && said.number() == takeover_->number;
    if (takeover_->confirmed) {
        announce(out, true);  // now nobody else answers: this one is heard by the last cache
        takeover_.reset();
    } else if (due(activity_since_ + deadtime()) && !peer_active() && !releasing) {
        // It gave its offer up, served on, and yields only now: caches may have learnt from it.
        announce(out);
        done_awaited_ = takeover_->number;
        takeover_.reset();
    } else if (due(activity_since_ + std::max<Duration>(2 * deadtime(), 1s))) {
        done_awaited_ = takeover_->number;
        takeover_.reset();  // the claims settle the rest
    }
}

void Core::forget_takeover(Actions& out, const std::string& why) {
    note(out, "handover-ended", Severity::warning, why);
    takeover_.reset();
    if (activity_ != ACTIVITY_ACTIVE && wanted_) release(out);
}

// ---- the active side ----

void Core::offer(Purpose purpose, bool forced, std::uint64_t number, Actions& out) {
    offer_ = Offer{};
    offer_->number = number;
    offer_->since = now_;
    offer_->progress = now_;
    offer_->forced = forced;
    offer_->purpose = purpose;
    used_numbers_.push_back(number);
    if (used_numbers_.size() > numbers_remembered) used_numbers_.pop_front();
    note(out, "handover", Severity::info, std::string("offered to ") + peer_name() + " (" + word(purpose) + ")");
    send_now_ = true;
}

bool Core::flip_limit_reached() {
    constexpr std::size_t moves_max = 3;
    while (!voluntary_moves_.empty() && now_ >= voluntary_moves_.front() + 10min) voluntary_moves_.pop_front();
    if (voluntary_moves_.size() < moves_max) return false;
    due(voluntary_moves_.front() + 10min);
    return true;
}

Duration Core::failback_delay() {
    if (!moved_within_the_hour()) failback_doublings_ = 0;
    Duration delay = settings_.failback_delay;
    for (unsigned i = 0; i < failback_doublings_ && delay < 1h; ++i) delay *= 2;
    return std::max(settings_.failback_delay, std::min<Duration>(delay, 1h));
}

// For a deadtime already. An address that this machine has without us is not to be answered for twice.
bool Core::holds_nothing() {
    if (!wanted_ || addresses_.epoch != epoch_ || !addresses_.held.empty() || addresses_.others_here) {
        holds_nothing_since_.reset();
    } else if (!holds_nothing_since_ && addresses_.complete && !addresses_.failed.empty()) {
        holds_nothing_since_ = now_;
    }
    return holds_nothing_since_ && due(*holds_nothing_since_ + deadtime());
}

void Core::run_offer(Actions& out) {
    if (activity_ != ACTIVITY_ACTIVE) return;
    if (offer_) {
        const bool over =
            offer_->refused || due(offer_->progress + deadtime()) || due(offer_->since + takeover_patience);
        if (!over) return;
        note(out, "handover-ended", Severity::warning,
             offer_->refused ? peer_name() + " refused: " + offer_->refusal
                             : peer_name() + " did not take over in time");
        announce(out);  // the peer may have announced some of them already
        const Offer ended = *offer_;
        offer_.reset();
        if (ended.purpose == Purpose::fitness || ended.purpose == Purpose::carrier ||
            ended.purpose == Purpose::addresses || ended.purpose == Purpose::failback) {
            // What fails is tried again ever more rarely; a change of fitness or a new life of the peer begins anew.
            const Duration pause = std::max<Duration>(deadtime(), 1s) * (1U << std::min(offer_failures_, 6U));
            offer_again_at_ = now_ + std::min<Duration>(pause, std::max<Duration>(deadtime(), 1min));
            ++offer_failures_;
        }
        if (ended.purpose == Purpose::standby && !commands_.empty() &&
            commands_.front().command.kind == CommandKind::standby) {
            if (commands_.front().command.force) return;  // run_standby releases
            answer(out, commands_.front().command.id, 5,
                   ended.refused ? peer_name() + " refuses to take over: " + ended.refusal
                                 : peer_name() + " did not take over within " + format_duration(deadtime()),
                   "put that right, or use --force (then nobody may serve)");
            commands_.pop_front();
        }
        return;
    }
    if (cautious_until_ || stopping_ || !peer_alive() || peer().activity() == ACTIVITY_ACTIVE) return;
    if (offer_again_at_ && !due(*offer_again_at_)) return;

    const FitnessValue theirs = peer_fitness();
    const int order = compare(theirs, last_fitness_);
    if (!last_fitness_.carrier && interfaces_known_ && theirs.known && !theirs.standby && order > 0) {
        offer(Purpose::carrier, true, random_number(), out);
        return;
    }
    // Nobody serves: whether the peer can add them it finds out only by trying, and it refuses if it cannot.
    if (holds_nothing() && theirs.known && peer_not_ready(true).empty()) {
        offer(Purpose::addresses, true, random_number(), out);
        return;
    }
    const bool newer = session_.last_heard() > fitness_changed_at_;
    if (!(theirs.known && last_fitness_.known && order > 0 && newer && !theirs.standby)) peer_fitter_since_.reset();
    else if (!peer_fitter_since_) peer_fitter_since_ = now_;
    if (peer_fitter_since_ && due(*peer_fitter_since_ + std::max(2 * settings_.keepalive, 2 * deadtime())) &&
        peer_not_ready(false).empty() && !flip_limit_reached()) {
        offer(Purpose::fitness, false, random_number(), out);
        return;
    }
    const bool all_well = order == 0 && theirs.known && theirs.carrier && theirs.reached && theirs.forwarder;
    const bool ready = settings_.auto_failback && !settings_.primary && peer().primary() && !placed_by_operator_ &&
                       all_well && peer().activity() == ACTIVITY_PASSIVE && peer_not_ready(false).empty();
    if (!ready) failback_ready_since_.reset();
    else if (!failback_ready_since_) failback_ready_since_ = now_;
    if (failback_ready_since_ && due(*failback_ready_since_ + failback_delay()) && !flip_limit_reached()) {
        offer(Purpose::failback, false, random_number(), out);
    }
}

// ---- operator's commands, stop, restart ----

void Core::run_commands(Actions& out) {
    forced_claim_ = false;  // holds for this step only
    while (!commands_.empty()) {
        const std::size_t before = commands_.size();
        PendingCommand pending = commands_.front();
        if (due(pending.since + command_patience)) {
            commands_.pop_front();
            request_.reset();
            answer(out, pending.command.id, 6, "it did not come to pass within 30s", "see `lbcluster status`");
            continue;
        }
        switch (pending.command.kind) {
            case CommandKind::activate:
                run_activate(pending, out);
                break;
            case CommandKind::standby:
                run_standby(pending, out);
                break;
            case CommandKind::unstandby:
                if (standby_wish_) out.emplace_back(StoreStandby{false});
                standby_wish_ = false;
                answer(out, pending.command.id, 0, settings_.node + " may serve again");
                commands_.pop_front();
                break;
            case CommandKind::restart:
                if (restart_number_ || stopping_) {
                    answer(out, pending.command.id, stopping_ ? 5 : 0,
                           stopping_ ? settings_.node + " is being stopped" : "a restart is under way already");
                    commands_.pop_front();
                    break;
                }
                restart_number_ = random_number();
                restart_since_ = now_;
                restart_peer_boot_ = session_.peer_boot_id();
                restart_command_ = pending.command.id;
                send_now_ = true;
                commands_.pop_front();
                break;
        }
        if (commands_.size() == before) return;  // it waits; the next ones wait behind it
    }
}

void Core::run_activate(PendingCommand& pending, Actions& out) {
    const auto done = [&](unsigned code, const std::string& message, const std::string& hint = "") {
        answer(out, pending.command.id, code, message, hint);
        commands_.pop_front();
        request_.reset();
    };
    if (activity_ == ACTIVITY_ACTIVE) {
        if (cautious_until_) return;                            // perhaps the peer has taken over meanwhile
        if (pending.command.force) conflicts_.trust_all(true);  // the operator insists on refused addresses
        return done(0, settings_.node + " is active");
    }
    if (stopping_) return done(5, settings_.node + " is being stopped");
    if (standby_wish_) {
        standby_wish_ = false;
        out.emplace_back(StoreStandby{false});
    }
    if (takeover_ || !settings_.has_peer()) return;
    if (peer_active()) {
        if (request_ && !due(request_->since + deadtime())) return;
        const std::string obstacle = not_ready_myself(pending.command.force);
        if (!obstacle.empty()) return done(5, "not ready to take over: " + obstacle, "put that right, or use --force");
        request_ = Request{random_number(), now_, pending.command.force};
        send_now_ = true;
        due(now_ + deadtime());
        return;
    }
    if (!peer_dead()) return;
    if (pending.command.force) {
        forced_claim_ = true;
    } else if (!claim_refusal_.empty() && activity_ == ACTIVITY_PASSIVE && due(pending.since + deadtime())) {
        done(5, "the peer is silent, but " + claim_refusal_, "repair the heartbeat path, or use --force");
    }
}

void Core::run_standby(PendingCommand& pending, Actions& out) {
    const auto done = [&](unsigned code, const std::string& message, const std::string& hint = "") {
        answer(out, pending.command.id, code, message, hint);
        commands_.pop_front();
    };
    if (activity_ != ACTIVITY_ACTIVE) {
        if (takeover_) return;
        if (!standby_wish_) out.emplace_back(StoreStandby{true});
        standby_wish_ = true;
        return done(0, settings_.node + " is in standby");
    }
    if (offer_) return;
    if (cautious_until_) return;
    if (peer_alive() && !pending.tried) {
        const std::string obstacle = peer_not_ready(pending.command.force);
        if (obstacle.empty()) {
            commands_.front().tried = true;
            return offer(Purpose::standby, pending.command.force, random_number(), out);
        }
        if (!pending.command.force) return done(5, "refused: " + obstacle, "put that right, or use --force");
    } else if (!pending.command.force) {
        return done(5, "refused: the peer is not alive, nobody would serve", "--force does it all the same");
    }
    standby_wish_ = true;
    out.emplace_back(StoreStandby{true});
    apply({ACTIVITY_STANDBY, "standby", "forced into standby by the operator", true}, out);
    done(0, settings_.node + " is in standby; nobody may be serving");
}

void Core::run_stop(Actions& out) {
    if (!stopping_ || stopped_) return;
    if (activity_ == ACTIVITY_ACTIVE) {
        if (offer_) return;
        const bool tried = due(*stop_since_ + deadtime());
        if (peer_alive() && !tried) {
            if (peer_not_ready(false).empty() && !stop_offered_) {
                stop_offered_ = true;
                offer(Purpose::stop, false, random_number(), out);
            }
            return;
        }
        apply({ACTIVITY_PASSIVE, "stopped", "this daemon is being stopped", true}, out);
    }
    if (takeover_) forget_takeover(out, "this daemon is being stopped");
    if (!released_at_) {
        if (epoch_ == 0 || activity_ == ACTIVITY_STARTING) release(out);
        released_at_ = now_;
        send_now_ = true;
    }
    const bool told = !settings_.has_peer() || !resigned_at_ || due(*resigned_at_ + 3 * settings_.keepalive);
    const bool gone = !wanted_ && addresses_.epoch == epoch_ && addresses_.complete;
    stopped_ = (told && gone) || due(*released_at_ + 5s);
    if (!stopped_) return;
    for (const PendingCommand& pending : commands_) {
        answer(out, pending.command.id, 5, settings_.node + " is being stopped");
    }
    commands_.clear();
}

void Core::run_restart(Actions& out) {
    if (stopping_) {
        if (restart_command_) answer(out, *restart_command_, 5, settings_.node + " is being stopped");
        restart_command_.reset();
        restart_number_.reset();
        restart_me_at_.reset();
        return;
    }
    if (restart_me_at_ && due(*restart_me_at_)) {
        restart_me_at_.reset();
        note(out, "restart", Severity::info, "restart asked for by " + peer_name());
        out.emplace_back(Restart{});
    }
    if (!restart_number_) return;
    const bool peer_did = session_.peer_boot_id() != restart_peer_boot_;
    if (peer_alive() && !peer_did && !due(restart_since_ + 2 * deadtime() + 1s)) return;
    note(out, "restart", Severity::info, "restart asked for by the operator");
    if (restart_command_) {
        answer(out, *restart_command_, 0,
               peer_did ? "heartbeatd restarts on both nodes" : "heartbeatd restarts here; the peer did not answer");
    }
    restart_number_.reset();
    restart_command_.reset();
    out.emplace_back(Restart{});
}

}  // namespace lbcluster::heartbeat
