#include "heartbeat/core/session.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace lbcluster::heartbeat {

namespace {
constexpr std::size_t retired_max = 4096;
}

bool SequenceWindow::accept(std::uint64_t sequence) {
    if (sequence == 0) return false;
    if (sequence > highest_) {
        const std::uint64_t shift = sequence - highest_;
        if (shift >= size) seen_.reset();
        else seen_ <<= shift;
        seen_.set(0);
        highest_ = sequence;
        return true;
    }
    const std::uint64_t age = highest_ - sequence;
    if (age >= size || seen_.test(age)) return false;
    seen_.set(age);
    return true;
}

const char* name_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::accepted:
            return "accepted";
        case Verdict::accepted_late:
            return "accepted_late";
        case Verdict::greeting:
            return "greeting";
        case Verdict::wrong_cluster:
            return "wrong_cluster";
        case Verdict::reflected:
            return "reflected";
        case Verdict::same_name:
            return "same_name";
        case Verdict::misdirected:
            return "misdirected";
        case Verdict::no_boot_id:
            return "no_boot_id";
        case Verdict::unknown_link:
            return "unknown_link";
        case Verdict::old_session:
            return "old_session";
        case Verdict::replayed:
            return "replayed";
    }
    return "?";
}

Session::Session(std::string own_name, std::string cluster_id, std::uint64_t own_boot_id, std::size_t links)
    : own_name_(std::move(own_name)), cluster_id_(std::move(cluster_id)), own_boot_id_(own_boot_id), links_(links) {
    LBC_ASSERT(own_boot_id != 0);
}

Verdict Session::check(std::uint32_t link, const Heartbeat& message) const {
    if (link >= links_.size()) return Verdict::unknown_link;
    if (message.cluster_id() != cluster_id_) return Verdict::wrong_cluster;
    if (message.sender() == own_name_) {
        return message.boot_id() == own_boot_id_ ? Verdict::reflected : Verdict::same_name;
    }
    if (!message.receiver().empty() && message.receiver() != own_name_) return Verdict::misdirected;
    if (message.boot_id() == 0) return Verdict::no_boot_id;
    if (message.sequence() == 0) return Verdict::replayed;  // numbers start at 1
    if (std::find(retired_.begin(), retired_.end(), message.boot_id()) != retired_.end()) return Verdict::old_session;
    if (message.peer_boot_id() != own_boot_id_) return Verdict::greeting;
    const bool new_life = established() && message.boot_id() != peer_boot_id_;
    if (new_life && (message.heard_sequence() <= sequence_at_heard_ || message.heard_sequence() > sequence_)) {
        return Verdict::greeting;
    }
    // What was a greeting before this life was believed stays one: played back now, it says nothing new.
    if (!new_life && sequence_before_life_ && message.heard_sequence() <= *sequence_before_life_) {
        return Verdict::greeting;
    }
    return Verdict::accepted;
}

void Session::begin(std::uint64_t peer_boot_id) {
    if (peer_boot_id_ != 0) {
        retired_.push_back(peer_boot_id_);
        if (retired_.size() > retired_max) retired_.pop_front();
        sequence_before_life_ = sequence_at_heard_;
    }
    peer_boot_id_ = peer_boot_id;
    for (LinkState& link : links_) {
        const auto received = link.received;
        const auto sent = link.sent;
        const auto acked_sent_at = link.acked_sent_at;
        link = LinkState{};
        link.received = received;
        link.sent = sent;
        link.acked_sent_at = acked_sent_at;  // that it was heard then stays true
    }
    greeting_.reset();
    newest_.Clear();
    peer_heard_me_at_.reset();
}

std::optional<Duration> Session::note_acknowledgement(Instant now, LinkState& link, const Heartbeat& message) {
    if (message.ack_sequence() == 0 || message.ack_sequence() > sequence_) return std::nullopt;
    const Instant heard_me = now - microseconds{message.ack_age_us()};
    if (!peer_heard_me_at_ || heard_me > *peer_heard_me_at_) peer_heard_me_at_ = heard_me;
    const Sent& sent = sent_[message.ack_sequence() % sent_.size()];
    if (sent.sequence != message.ack_sequence()) return std::nullopt;  // longer ago than the ring remembers
    const Duration rtt = std::max<Duration>(now - sent.at - microseconds{message.ack_age_us()}, 1us);
    if (message.ack_sequence() > link.acked_sequence) {
        link.acked_sequence = message.ack_sequence();
        link.acked_sent_at = sent.at;
        // Smoothed as in RFC 6298 2.3 (alpha = 1/8).
        link.rtt = link.rtt == Duration{0} ? rtt : (link.rtt * 7 + rtt) / 8;
    }
    return rtt;
}

Session::Outcome Session::receive(Instant now, std::uint32_t link, const Heartbeat& message) {
    const Verdict verdict = check(link, message);
    if (verdict == Verdict::greeting) greeting_ = message.boot_id();
    if (verdict != Verdict::accepted) return {verdict};

    const bool restarted = message.boot_id() != peer_boot_id_;
    if (restarted) begin(message.boot_id());
    LinkState& state = links_[link];
    if (!state.window.accept(message.sequence())) return {Verdict::replayed};
    ++state.received;
    state.heard_at = now;
    state.heard_sequence = std::max(state.heard_sequence, message.sequence());
    last_heard_ = now;
    sequence_at_heard_ = sequence_;
    const std::optional<Duration> transit_max = note_acknowledgement(now, state, message);
    if (!restarted && message.sequence() <= newest_.sequence()) return {Verdict::accepted_late};
    newest_ = message;
    newest_transit_max_ = transit_max;
    return {Verdict::accepted, restarted};
}

void Session::fill(Instant now, std::uint32_t link, Heartbeat& message) {
    LinkState& state = links_[link];
    ++sequence_;
    ++state.sent;
    sent_[sequence_ % sent_.size()] = {sequence_, now};
    message.set_cluster_id(cluster_id_);
    message.set_sender(own_name_);
    message.set_receiver(newest_.sender());
    message.set_boot_id(own_boot_id_);
    message.set_sequence(sequence_);
    message.set_peer_boot_id(peer_boot_id_);
    message.set_link(link);
    message.clear_ack_sequence();
    message.clear_ack_age_us();
    message.clear_heard_sequence();
    for (const LinkState& each : links_) {
        if (each.heard_sequence > message.heard_sequence()) message.set_heard_sequence(each.heard_sequence);
    }
    if (state.heard_at) {
        const auto age = std::chrono::duration_cast<microseconds>(now - *state.heard_at).count();
        message.set_ack_sequence(state.heard_sequence);
        message.set_ack_age_us(
            static_cast<std::uint32_t>(std::clamp<std::int64_t>(age, 0, std::numeric_limits<std::uint32_t>::max())));
    }
}

Duration Session::best_rtt() const {
    Duration best{0};
    for (const LinkState& link : links_) {
        if (link.rtt != Duration{0} && (best == Duration{0} || link.rtt < best)) best = link.rtt;
    }
    return best;
}

std::optional<Instant> Session::acked_sent_at() const {
    std::optional<Instant> newest;
    for (const LinkState& link : links_) {
        if (link.acked_sent_at && (!newest || *link.acked_sent_at > *newest)) newest = link.acked_sent_at;
    }
    return newest;
}

}  // namespace lbcluster::heartbeat
