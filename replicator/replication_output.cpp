// The third part of Replication: calls from the bus, verdicts, alarms and what is published.
#include <cerrno>
#include <utility>

#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/base/utf8.hpp"
#include "replicator/on_disk.hpp"
#include "replicator/replication.hpp"

namespace lbcluster::replicator {

namespace {

constexpr Duration reach_patience = 8s;     // to be connected to the peer, for who waits
constexpr Duration answer_patience = 60s;   // for all of it
constexpr Duration trouble_patience = 10s;  // a peer that is started again is no alarm
constexpr Duration differ_patience = 60s;
constexpr Duration verdict_pace = 200ms;
constexpr Duration time_pace = 10s;  // between questions for the peer's clock
constexpr int verdicts_per_frame = 1000;
constexpr std::size_t verdicts_max = 16384;
constexpr std::size_t shown_max = 5;

constexpr unsigned exit_failed = 1;
constexpr unsigned exit_unreachable = 4;
constexpr unsigned exit_refused = 5;
constexpr unsigned exit_timed_out = 6;

bus::Reply reply_of(unsigned exit_code, std::string message, std::string hint = "") {
    bus::Reply reply;
    reply.set_exit_code(exit_code);
    reply.set_message(std::move(message));
    reply.set_hint(std::move(hint));
    return reply;
}

constexpr const char* resolve_hint =
    "'lbcluster config diff --peer' shows both; 'lbcluster config resolve mine|peer' on the active node chooses";

}  // namespace

// ---- calls ----

void Replication::sync(Respond respond) {
    if (!look_.peer) {
        return respond(
            reply_of(exit_refused, "this node is paired with nobody", "'lbcluster pair' on the primary makes a pair"));
    }
    waiting_.push_back({std::move(respond), next_id_++, boottime_now()});
    refused_.clear();
    events_.call_peer();
    look([this] { ask_for_look(); });
}

// Of the peer, for all who wait.
void Replication::ask_for_look() {
    const auto session = best();
    if (!session || waiting_.empty()) return;
    replica::Frame frame;
    frame.mutable_look_again()->set_id(waiting_.back().id);
    session->send(std::move(frame));
}

void Replication::resolve(bool mine, Respond respond) {
    if (!look_.peer || !connected() || !peer_) {
        return respond(reply_of(exit_unreachable, "the peer is not connected: " + status().error(),
                                "choose when the nodes hear each other"));
    }
    const auto chosen = mine ? choose_mine(look_.counted, *peer_) : choose_peer(look_.counted, *peer_);
    if (!chosen) {
        return respond(reply_of(exit_refused, chosen.error().message, chosen.error().hint));
    }
    on_disk(
        io_, files_, open_,
        [this, digest = look_.counted.digest, version = *chosen] { return keeper_.set_version(digest, version); },
        [this, mine, respond = std::move(respond)](const Result<void>& done) mutable {
            if (!done) return respond(reply_of(exit_failed, done.error().message, done.error().hint));
            events_.on_note(
                {"resolved", "info", "the configuration of " + (mine ? look_.node : look_.peer->node()) + " counts"});
            sync(std::move(respond));
        });
}

// Every caller gets the first state that is an end, once the peer has said what it has in force now.
void Replication::answer_waiting() {
    const Instant now = boottime_now();
    for (auto one = waiting_.begin(); one != waiting_.end();) {
        std::optional<bus::Reply> reply;
        const bus::ReplicationStatus shown = status();
        if (!look_.peer) {
            reply = reply_of(exit_refused, "this node is paired with nobody any more");
        } else if (!connected()) {
            if (now - one->since >= reach_patience) reply = reply_of(exit_unreachable, shown.error());
        } else if (one->answered) {
            const State state = this->state();
            if (state == State::in_sync) {
                reply =
                    reply_of(0, look_.node + " and " + look_.peer->node() + " have the same configuration (digest " +
                                    look_.counted.digest.substr(0, 16) + ")");
            } else if (state == State::diverged) {
                reply = reply_of(exit_refused, shown.error(), resolve_hint);
            } else if (state == State::refused) {
                reply = reply_of(static_cast<unsigned>(refused_error_.code), shown.error(), refused_error_.hint);
            } else if (state == State::unreadable || (state == State::not_heard && !peer_error_.empty())) {
                reply = reply_of(exit_failed, shown.error());
            }
        }
        if (!reply && now - one->since >= answer_patience) {
            reply = reply_of(exit_timed_out, "the nodes have not got the same yet: " + shown.text());
        }
        if (!reply) {
            ++one;
            continue;
        }
        const Respond respond = std::move(one->respond);
        one = waiting_.erase(one);
        respond(std::move(*reply));
    }
}

void Replication::copy_of_peer(Respond respond) {
    const auto session = best();
    if (!look_.peer) {
        return respond(
            reply_of(exit_refused, "this node is paired with nobody", "'lbcluster pair' on the primary makes a pair"));
    }
    if (!session) return respond(reply_of(exit_unreachable, status().error()));
    if (copying_) return respond(reply_of(exit_refused, "the peer is being asked already", "try again"));
    copying_ = Waiting{std::move(respond), next_id_++, boottime_now()};
    replica::Frame frame;
    frame.mutable_fetch()->set_id(copying_->id);
    session->send(std::move(frame));
}

void Replication::on_copy(const replica::Copy& copy) {
    if (!copying_ || copying_->id != copy.id()) return;
    const Respond respond = std::move(copying_->respond);
    copying_.reset();
    if (!copy.error().empty()) {
        return respond(reply_of(exit_failed, look_.peer->node() + ": " + one_line(copy.error())));
    }
    on_disk(
        io_, files_, open_, [this, copy] { return keeper_.keep_copy(copy); },
        [respond](const Result<std::string>& folder) {
            bus::Reply reply;
            if (!folder) reply = reply_of(exit_failed, folder.error().message, folder.error().hint);
            else reply.set_folder(*folder);
            respond(std::move(reply));
        });
}

void Replication::tick() {
    const Instant now = boottime_now();
    if (copying_ && now - copying_->since >= answer_patience) {
        const Respond respond = std::move(copying_->respond);
        copying_.reset();
        respond(reply_of(exit_timed_out, "the peer does not answer"));
    }
    if (push_) push_on_its_way(now);
    take_back_in_time();
    if (now - time_asked_ >= time_pace) ask_time();
    evaluate();
}

// ---- the peer's clock ----

void Replication::ask_time() {
    const auto session = best();
    if (!session) return;
    time_id_ = next_id_++;
    time_asked_ = boottime_now();
    replica::Frame frame;
    frame.mutable_ask_time()->set_id(time_id_);
    session->send(std::move(frame));
}

void Replication::on_time(const replica::Time& time) {
    if (time.id() != time_id_ || time_id_ == 0) return;  // of an older question
    time_id_ = 0;
    const std::uint64_t own_ms = events_.wall_ms();  // first: a pause between the two then counts as travelling
    const PeerClock now = compare_clocks(boottime_now() - time_asked_, own_ms, time.wall_ms());
    if (std::exchange(peer_clock_, now) != now) events_.on_change();
}

// Who may change the configuration takes it back; the other node gets that like any other change.
void Replication::take_back_in_time() {
    if (!look_.unconfirmed || taking_back_ || !may_change() || boottime_now() < take_back_after_) return;
    const auto until = parse_rfc3339(look_.unconfirmed->until());
    if (until && realtime_ms_now() < *until) return;
    taking_back_ = true;
    take_back_after_ = boottime_now() + answer_patience;  // if it fails
    on_disk(
        io_, files_, open_, [this] { return keeper_.take_back(); },
        [this](const std::optional<Note>& note) {
            taking_back_ = false;
            if (note) events_.on_note(*note);
            look();
        });
}

// A slow link may take its time, one on which nothing moves may not.
void Replication::push_on_its_way(Instant now) {
    const std::uint64_t sent = push_->session->pieces_sent();
    if (std::exchange(push_->pieces_sent, sent) != sent) push_->moved = now;
    if (now - push_->moved < answer_patience) return;
    push_->session->end({"a push was not answered within a minute", "is the peer's disk slow?", ETIMEDOUT});
}

// ---- verdicts ----

void Replication::set_verdict(const replica::Verdict& verdict) {
    const std::string key = verdict.service() + "/" + verdict.server();
    const auto known = verdicts_.find(key);
    if (known != verdicts_.end() && known->second.health() == verdict.health() &&
        known->second.reason() == verdict.reason()) {
        return;
    }
    views_.set_own(boottime_now(), key, verdict.health());
    verdicts_[key] = verdict;
    if (verdicts_changed_.empty()) {
        verdict_timer_.expires_after(std::chrono::duration_cast<boost::asio::steady_timer::duration>(verdict_pace));
        verdict_timer_.async_wait([this, open = open_](const boost::system::error_code& error) {
            if (!error && *open) flush_verdicts();
        });
    }
    verdicts_changed_.insert(key);
}

// Our healthd is silent: nobody here judges.
void Replication::forget_verdicts() {
    for (const auto& [key, verdict] : std::map(verdicts_)) {
        replica::Verdict gone = verdict;
        gone.clear_health();
        gone.clear_reason();
        set_verdict(gone);
    }
}

void Replication::flush_verdicts() {
    replica::Frame frame;
    const auto send_all = [&] {
        for (const auto& session : std::vector(sessions_)) {
            if (session->up()) session->send(frame);
        }
        frame.Clear();
    };
    for (const std::string& key : std::exchange(verdicts_changed_, {})) {
        const replica::Verdict& verdict = verdicts_.at(key);
        *frame.mutable_verdicts()->add_verdicts() = verdict;
        if (verdict.health().empty()) verdicts_.erase(key);
        if (frame.verdicts().verdicts_size() >= verdicts_per_frame) send_all();
    }
    if (frame.has_verdicts()) send_all();
}

void Replication::send_verdicts(const std::shared_ptr<Session>& session) {
    replica::Frame frame;
    frame.mutable_verdicts()->set_first(true);
    for (const auto& [key, verdict] : verdicts_) {
        if (verdict.health().empty()) continue;
        *frame.mutable_verdicts()->add_verdicts() = verdict;
        if (frame.verdicts().verdicts_size() < verdicts_per_frame) continue;
        session->send(std::exchange(frame, {}));
        frame.mutable_verdicts();
    }
    session->send(std::move(frame));
}

void Replication::on_verdicts(const replica::Verdicts& verdicts) {
    const Instant now = boottime_now();
    const auto before =
        verdicts.first() ? std::exchange(peer_verdicts_, {}) : std::map<std::string, replica::Verdict>();
    for (const replica::Verdict& told : verdicts.verdicts()) {
        constexpr std::size_t text_max = 1024;
        replica::Verdict verdict;
        verdict.set_service(one_line(told.service().substr(0, text_max)));
        verdict.set_server(one_line(told.server().substr(0, text_max)));
        verdict.set_reason(one_line(told.reason().substr(0, text_max)));
        for (const char* word : {"up", "down", "standby", "unknown"}) {
            if (told.health() == word) verdict.set_health(word);
        }
        const std::string key = verdict.service() + "/" + verdict.server();
        if (verdict.health().empty()) peer_verdicts_.erase(key);
        else if (peer_verdicts_.size() < verdicts_max) peer_verdicts_[key] = verdict;
        else continue;
        views_.set_peer(now, key, verdict.health());
        events_.on_verdict(verdict);
    }
    for (const auto& [key, old] : before) {
        if (peer_verdicts_.contains(key)) continue;
        replica::Verdict gone = old;
        gone.clear_health();
        views_.set_peer(now, key, "");
        events_.on_verdict(gone);
    }
}

// ---- alarms and status ----

void Replication::alarm(const std::string& id, bool on, const std::string& text, const std::string& action) {
    if (!on) {
        alarms_.erase(id);
        return;
    }
    const auto [found, is_new] = alarms_.try_emplace(id);
    if (is_new) found->second.since_ms = realtime_ms_now();
    found->second.text = text;
    found->second.action = action;
}

void Replication::judge_alarms() {
    const Instant now = boottime_now();
    const State state = look_.peer ? this->state() : State::in_sync;
    const bool fine = state == State::in_sync || state == State::diverged;
    if (fine) trouble_since_.reset();
    else if (!trouble_since_) trouble_since_ = now;
    const std::string error = status().error();
    const bool lasting = trouble_since_ && now - *trouble_since_ >= trouble_patience;
    const bool told = state == State::refused || state == State::unreadable;  // it will not pass by itself
    alarm("replication-failed", !fine && (lasting || told),
          "the peer has not got this node's configuration: " + (error.empty() ? status().text() : error),
          "'lbcluster sync' tries again and says what is wrong");
    alarm("replication-refused-here", !taken_not_.empty(), taken_not_,
          "put right what is named on this node, then 'lbcluster sync'");
    alarm("config-diverged", state == State::diverged,
          "the configuration was changed on both nodes while they did not hear each other", resolve_hint);
    const std::string kept = set_aside_ ? "revision " + std::to_string(*set_aside_) : "";
    alarm("hand-edit-set-aside", set_aside_.has_value(),
          "files were edited by hand on this node, which is passive: the edit is kept as " + kept +
              " and is not in force",
          "look at it ('lbcluster config diff " + (set_aside_ ? std::to_string(*set_aside_) : "") +
              "'), and make the change on the active node");
    alarm("config-unconfirmed", look_.unconfirmed.has_value(),
          "the configuration is taken back at " + (look_.unconfirmed ? look_.unconfirmed->until() : "") +
              " unless it is confirmed",
          "if it is right: 'lbcluster config confirm'");
    const auto differing = views_.differing(now, differ_patience);
    std::string text;
    for (std::size_t i = 0; i < differing.size() && i < shown_max; ++i) {
        text += (i == 0 ? "" : ", ") + differing[i].server + " (" + differing[i].own + " here, " + differing[i].peer +
                " there)";
    }
    if (differing.size() > shown_max) text += " and " + std::to_string(differing.size() - shown_max) + " more";
    alarm("verdicts-differ", !differing.empty(), "the nodes judge real servers differently: " + text,
          "'lbcluster check SERVICE SERVER' on both nodes; one of them may not reach the server");
}

bus::ReplicationStatus Replication::status() const {
    bus::ReplicationStatus out;
    out.set_version(LBCLUSTER_VERSION);
    out.set_revision(look_.revision);
    out.set_digest(look_.own);
    for (const auto& [name, count] : counters_) (*out.mutable_counters())[name] = count;
    for (const auto& [id, one] : alarms_) {
        bus::Alarm& made = *out.add_alarms();
        made.set_id(id);
        made.set_since_ms(one.since_ms);
        made.set_text(one.text);
        made.set_action(one.action);
    }
    out.set_synced_ms(synced_ms_);
    out.set_took_us(took_us_);
    if (!look_.peer) {
        out.set_state(look_.error.empty() ? "none" : "failed");
        out.set_text(look_.error.empty() ? "This node is paired with nobody." : "");
        out.set_error(look_.error);
        return out;
    }
    const std::string& peer = look_.peer->node();
    out.set_peer(peer);
    out.set_peer_address(look_.peer->address());
    const auto session = best();
    out.set_connected(session != nullptr);
    if (session) out.set_peer_version(session->peer().version());
    if (peer_) out.set_peer_digest(peer_->digest);
    out.set_peer_revision(peer_revision_);
    if (peer_clock_) {
        out.mutable_peer_clock()->set_ahead_ms(peer_clock_->ahead_ms);
        out.mutable_peer_clock()->set_uncertain_ms(peer_clock_->uncertain_ms);
    }
    const State now = state();
    out.set_state(word_of(now));
    switch (now) {
        case State::in_sync:
            out.set_text("Both nodes have the same configuration.");
            break;
        case State::push:
            out.set_text("What is new is being sent to " + peer + ".");
            break;
        case State::wait:
            out.set_text(peer + " has a newer configuration; it is on its way.");
            break;
        case State::setting_aside:
            out.set_text("An edit by hand is being set aside.");
            break;
        case State::diverged:
            out.set_error("the configuration was changed on both nodes: revision " + std::to_string(look_.revision) +
                          " here, " + std::to_string(peer_revision_) + " on " + peer);
            break;
        case State::refused:
            out.set_error(peer + " could not take over revision " + std::to_string(look_.revision) + ": " +
                          refused_error_.message);
            break;
        case State::unreadable:
            out.set_error(look_.error.empty() ? "the configuration of this node cannot be read" : look_.error);
            break;
        case State::not_heard:
            if (session) out.set_error(peer + ": " + (peer_error_.empty() ? "says nothing yet" : peer_error_));
            else out.set_error(peer + " is not connected" + (call_error_.empty() ? "" : ": " + call_error_));
            break;
    }
    if (now == State::wait && !taken_not_.empty()) {
        out.set_state("failed");
        out.set_error(taken_not_);
    }
    return out;
}

}  // namespace lbcluster::replicator
