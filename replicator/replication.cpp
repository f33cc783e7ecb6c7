// Sessions, looking and deciding. Pushes and takes are in replication_transfer.cpp, the rest in replication_output.cpp.
#include "replicator/replication.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/utf8.hpp"
#include "replicator/on_disk.hpp"

namespace lbcluster::replicator {

namespace {

std::string text_of(const std::optional<replica::Unconfirmed>& one) {
    return one ? one->digest() + " " + one->before() + " " + one->until() : "";
}

constexpr std::size_t sessions_max = 8;  // of the peer's: it has one, and perhaps an old one that has not ended yet
constexpr std::size_t known_max = 1000;

// The sender's view, from here.
Counted turned(const std::string& digest, const replica::Version& version) {
    return {digest, {version.receiver(), version.sender()}};
}

}  // namespace

Replication::Replication(boost::asio::io_context& io, boost::asio::thread_pool& files, const config::Paths& paths,
                         Events events)
    : io_(io), files_(files), keeper_(paths), events_(std::move(events)), retry_timer_(io), verdict_timer_(io) {}

Replication::~Replication() { close(); }

void Replication::close() {
    *open_ = false;
    retry_timer_.cancel();
    verdict_timer_.cancel();
    for (const auto& session : std::exchange(sessions_, {})) session->close();
    push_.reset();
    incoming_.reset();
    waiting_.clear();
    copying_.reset();
    look_done_.clear();
}

// ---- looking ----

void Replication::set_may_change(bool may_change, bool active) {
    const bool before = this->may_change();
    may_change_ = may_change;
    const bool told = std::exchange(active_, active) != active;
    if (this->may_change() != before) look();
    for (const auto& session : std::vector(sessions_)) {
        if (told && session->up() && looked()) send_standing(session);
    }
}

void Replication::look(std::function<void()> done) {
    if (done) look_done_.push_back(std::move(done));
    if (looking_) {
        look_again_ = true;
        return;
    }
    looking_ = true;
    // A look that began before somebody asked for one is no answer.
    for (const auto& session : sessions_) {
        if (const auto id = std::exchange(session->asked, 0); id != 0) session->answers = id;
    }
    on_disk(
        io_, files_, open_, [this, may_change = may_change()] { return keeper_.look(may_change); },
        [this, callers = std::exchange(look_done_, {})](Look look) {
            looking_ = false;
            finish_look(std::move(look));
            for (const auto& caller : callers) caller();
            if (std::exchange(look_again_, false)) this->look();
        });
}

void Replication::finish_look(Look look) {
    ++looks_;
    const Look before = std::exchange(look_, std::move(look));
    const bool same_pair = before.peer && look_.peer && before.peer->cluster_id() == look_.peer->cluster_id() &&
                           before.peer->node() == look_.peer->node();
    if (before.peer && !same_pair) forget_pair();
    for (const Note& note : look_.notes) events_.on_note(note);
    if (look_.set_aside) {
        ++counters_["set_aside"];
        set_aside_ = look_.set_aside;
        set_aside_digest_ = look_.counted.digest;
    }
    if (look_.counted.digest != set_aside_digest_) set_aside_.reset();
    if (look_.counted.digest != refused_) refused_.clear();
    const auto changed = [&] {
        return look_.own != before.own || look_.counted != before.counted || look_.known != before.known ||
               look_.error != before.error || text_of(look_.unconfirmed) != text_of(before.unconfirmed);
    };
    const bool tell_all = changed();
    for (const auto& session : std::vector(sessions_)) {
        const std::uint64_t answers = std::exchange(session->answers, 0);
        if (session->up() && (tell_all || answers != 0)) send_standing(session, answers);
    }
    evaluate();
    if (look_.peer && !same_pair) events_.call_peer();
    follow_unconfirmed();
}

// The passive node has the active one's, once it has its content.
void Replication::follow_unconfirmed() {
    if (active_ || !peer_active_ || !connected() || !peer_ || peer_->digest != look_.own) return;
    const std::string wanted = look_.own + text_of(peer_unconfirmed_);
    if (text_of(peer_unconfirmed_) == text_of(look_.unconfirmed) || wanted == followed_) return;
    followed_ = wanted;
    on_disk(
        io_, files_, open_, [this, unconfirmed = peer_unconfirmed_] { return keeper_.keep_unconfirmed(unconfirmed); },
        [this](const Result<void>& done) {
            if (!done) spdlog::warn("what waits to be confirmed cannot be written down: {}", done.error().message);
            look();
        });
}

// What was true of the old peer says nothing about the new one.
void Replication::forget_pair() {
    for (const auto& session : std::exchange(sessions_, {})) session->close();
    push_.reset();
    incoming_.reset();
    peer_.reset();
    peer_clock_.reset();
    peer_knows_.clear();
    refused_.clear();
    taken_not_.clear();
    forget_verdicts();
    for (const auto& [key, verdict] : std::exchange(peer_verdicts_, {})) {
        replica::Verdict gone = verdict;
        gone.clear_health();
        events_.on_verdict(gone);
    }
    views_.forget_peer();
}

// ---- sessions ----

replica::Hello Replication::own_hello() {
    replica::Hello hello;
    hello.set_protocol(protocol_version);
    hello.set_version(LBCLUSTER_VERSION);
    hello.set_node(look_.node);
    if (look_.peer) hello.set_cluster_id(look_.peer->cluster_id());
    return hello;
}

Result<void> Replication::check_hello(const replica::Hello& hello) {
    constexpr int refused = 5;
    if (hello.protocol() != protocol_version) {
        return Error{look_.node + " speaks version " + std::to_string(protocol_version) +
                         " of the replication's language, " + hello.node() + " version " +
                         std::to_string(hello.protocol()),
                     "install the same version of lbcluster on both nodes", refused};
    }
    if (!look_.peer) {
        return Error{look_.node + " is paired with nobody", "run 'lbcluster pair' on the primary", refused};
    }
    if (hello.cluster_id().empty()) {
        return Error{hello.node() + " is paired with nobody", "run 'lbcluster pair' on the primary", refused};
    }
    if (hello.cluster_id() != look_.peer->cluster_id()) {
        return Error{look_.node + " belongs to another pair than " + hello.node(),
                     "pair them again: 'lbcluster pair' on the primary", refused};
    }
    if (hello.node() != look_.peer->node()) {
        return Error{look_.node + " is paired with " + look_.peer->node() + ", not with " + hello.node(),
                     "was the node renamed? pair them again", refused};
    }
    return {};
}

void Replication::attach(std::unique_ptr<Channel> channel, bool outgoing, std::optional<replica::Frame> first) {
    if (sessions_.size() >= sessions_max) {
        channel->close();
        return;
    }
    SessionHost& host = *this;
    auto session = std::make_shared<Session>(io_.get_executor(), std::move(channel), host, outgoing);
    sessions_.push_back(session);
    session->start(std::move(first));
}

void Replication::on_up(const std::shared_ptr<Session>& session) {
    ++counters_["connects"];
    spdlog::info("connected peer={} version={} by={}", session->peer().node(), session->peer().version(),
                 session->outgoing() ? "us" : "peer");
    // A new one of the same kind: the old one is dead and does not know it yet.
    for (const auto& other : std::vector(sessions_)) {
        if (other != session && other->up() && other->outgoing() == session->outgoing()) {
            other->end({"there is a newer connection", "", 0});
        }
    }
    if (session->outgoing()) call_error_.clear();
    refused_.clear();  // what was missing there may be there now
    send_standing(session);
    send_verdicts(session);
    ask_for_look();  // who has called before there was a connection waits for it
    ask_time();
    evaluate();
}

void Replication::on_down(const std::shared_ptr<Session>& session, const Error& reason) {
    std::erase(sessions_, session);
    spdlog::info("disconnected by={} reason=\"{}\"", session->outgoing() ? "us" : "peer", reason.message);
    if (session->outgoing()) call_error_ = reason.message + (reason.hint.empty() ? "" : "; " + reason.hint);
    if (push_ && push_->session == session) push_.reset();
    if (incoming_ && incoming_->session == session && !incoming_->taking) incoming_.reset();
    if (!connected()) {
        peer_clock_.reset();
        for (const auto& [key, verdict] : std::exchange(peer_verdicts_, {})) {
            replica::Verdict gone = verdict;
            gone.clear_health();
            events_.on_verdict(gone);
        }
        views_.forget_peer();
    }
    evaluate();
}

std::shared_ptr<Session> Replication::best() const {
    std::shared_ptr<Session> found;
    for (const auto& session : sessions_) {
        if (session->up() && (!found || session->outgoing())) found = session;
    }
    return found;
}

bool Replication::has_outgoing() const {
    return std::any_of(sessions_.begin(), sessions_.end(), [](const auto& one) { return one->outgoing(); });
}

void Replication::set_call_error(const std::string& error) {
    if (std::exchange(call_error_, error) != error) evaluate();
}

void Replication::send_standing(const std::shared_ptr<Session>& session, std::uint64_t answers) {
    replica::Frame frame;
    replica::Standing& standing = *frame.mutable_standing();
    standing.set_digest(look_.own);
    if (!look_.own.empty()) standing.set_digest(look_.counted.digest);
    standing.mutable_version()->set_sender(look_.counted.version.mine);
    standing.mutable_version()->set_receiver(look_.counted.version.peer);
    standing.set_revision(look_.revision);
    standing.set_error(one_line(look_.error.empty() ? taken_not_ : look_.error));
    for (const std::string& key : look_.known) standing.add_known(key);
    standing.set_active(active_);
    standing.set_answers(answers);
    if (look_.unconfirmed) *standing.mutable_unconfirmed() = *look_.unconfirmed;
    session->send(std::move(frame));
}

void Replication::on_frame(const std::shared_ptr<Session>& session, replica::Frame frame) {
    switch (frame.body_case()) {
        case replica::Frame::kStanding:
            return on_standing(frame.standing());
        case replica::Frame::kOffer:
            return on_offer(session, std::move(*frame.mutable_offer()));
        case replica::Frame::kWant:
            return on_want(session, frame.want());
        case replica::Frame::kPiece:
            return on_piece(session, frame.piece());
        case replica::Frame::kOutcome:
            return on_outcome(frame.outcome());
        case replica::Frame::kLookAgain:
            session->asked = frame.look_again().id();
            return look();
        case replica::Frame::kFetch: {
            if (std::exchange(session->fetching, true)) {
                return session->end(Error{"one copy at a time", "wait for the one that was asked for", EPROTO});
            }
            on_disk(
                io_, files_, open_, [this] { return keeper_.copy(); },
                [session, id = frame.fetch().id()](replica::Copy copy) {
                    replica::Frame answer;
                    session->fetching = false;
                    copy.set_id(id);
                    *answer.mutable_copy() = std::move(copy);
                    session->send(std::move(answer));
                });
            return;
        }
        case replica::Frame::kCopy:
            return on_copy(frame.copy());
        case replica::Frame::kVerdicts:
            return on_verdicts(frame.verdicts());
        case replica::Frame::kAskTime: {
            replica::Frame answer;
            answer.mutable_time()->set_id(frame.ask_time().id());
            answer.mutable_time()->set_wall_ms(events_.wall_ms());
            return session->send(std::move(answer));
        }
        case replica::Frame::kTime:
            return on_time(frame.time());
        default:
            return;  // of a newer version: nothing that we must know
    }
}

void Replication::on_standing(const replica::Standing& standing) {
    peer_.reset();
    if (!standing.digest().empty()) peer_ = turned(standing.digest(), standing.version());
    if (peer_ && peer_->digest != taken_not_digest_) taken_not_.clear();
    peer_active_ = standing.active();
    peer_unconfirmed_.reset();
    if (standing.has_unconfirmed()) peer_unconfirmed_ = standing.unconfirmed();
    peer_revision_ = standing.revision();
    peer_error_ = one_line(standing.error());
    peer_knows_.clear();
    for (const std::string& key : standing.known()) {
        if (peer_knows_.size() < known_max) peer_knows_.insert(key);
    }
    for (Waiting& one : waiting_) one.answered = one.answered || standing.answers() >= one.id;
    evaluate();
    follow_unconfirmed();
}

// ---- deciding ----

State Replication::state() const {
    Situation situation;
    situation.own = look_.own;
    situation.counted = look_.counted;
    if (connected()) situation.peer = peer_;
    situation.refused = refused_;
    return decide(situation);
}

void Replication::evaluate() {
    if (!*open_ || !looked()) return;
    if (look_.peer) {
        const State now = state();
        // While it lasts nothing changes that would have to be told.
        if (std::exchange(was_in_sync_, now == State::in_sync) != (now == State::in_sync)) {
            synced_ms_ = realtime_ms_now();
        }
        if (now == State::in_sync) merge();
        if (now == State::push && !push_ && !packing_ && !holding_ && !incoming_) push();
        const std::string both = now == State::diverged ? look_.counted.digest + peer_->digest : "";
        if (std::exchange(diverged_note_, both) != both && !both.empty()) {
            ++counters_["diverged"];
            events_.on_note({"diverged", "alarm",
                             "the configuration was changed on both nodes while they did not hear each other: " +
                                 look_.node + " keeps revision " + std::to_string(look_.revision) + ", " +
                                 look_.peer->node() + " its revision " + std::to_string(peer_revision_)});
        }
    }
    answer_waiting();
    judge_alarms();
    events_.on_change();
}

void Replication::merge() {
    const auto all = merged(look_.counted, *peer_);
    if (!all || merging_) return;
    merging_ = true;
    on_disk(
        io_, files_, open_,
        [this, digest = look_.counted.digest, version = *all] { return keeper_.set_version(digest, version); },
        [this](const Result<void>&) {
            merging_ = false;
            look();
        });
}

}  // namespace lbcluster::replicator
