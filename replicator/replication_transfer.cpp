// The second part of Replication: pushing to the peer, and taking its pushes.
#include <spdlog/spdlog.h>

#include <cerrno>
#include <utility>

#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/utf8.hpp"
#include "replicator/on_disk.hpp"
#include "replicator/replication.hpp"

namespace lbcluster::replicator {

namespace {

constexpr Duration retry_soon = 500ms;  // the peer was changed at that moment
constexpr Duration retry_late = 60s;    // it cannot take it over; perhaps an interface is put right there

}  // namespace

// ---- pushing ----

void Replication::push() {
    packing_ = true;
    on_disk(
        io_, files_, open_, [this, knows = peer_knows_] { return keeper_.pack(knows); },
        [this](Result<Parcel> parcel) {
            packing_ = false;
            on_packed(best(), std::move(parcel));
        });
}

void Replication::on_packed(const std::shared_ptr<Session>& session, Result<Parcel> parcel) {
    if (!parcel) {
        spdlog::warn("cannot push: {}", parcel.error().message);
        return retry_after(retry_soon);
    }
    // Meanwhile the connection may have ended, or something else be right.
    const replica::RevisionEntry& newest = *parcel->offer.revisions().rbegin();
    if (!session || state() != State::push || newest.digest() != look_.counted.digest) return evaluate();
    ++counters_["pushes"];
    const Instant now = boottime_now();
    push_ = Push{session, next_id_++, look_.counted, std::move(parcel->contents), now, now, session->pieces_sent()};
    spdlog::info("push revision={} revisions_sent={} digest={}", look_.revision, parcel->offer.revisions_size(),
                 newest.digest().substr(0, 16));
    replica::Frame frame;
    *frame.mutable_offer() = std::move(parcel->offer);
    frame.mutable_offer()->set_id(push_->id);
    session->send(std::move(frame));
}

void Replication::on_want(const std::shared_ptr<Session>& session, const replica::Want& want) {
    if (!push_ || push_->session != session || push_->id != want.id()) return;
    auto source = PieceSource::make(std::exchange(push_->contents, {}), want);
    if (!source) return session->end(source.error());
    session->send_pieces(want.id(), std::move(*source));
}

void Replication::on_outcome(const replica::Outcome& outcome) {
    if (!push_ || push_->id != outcome.id()) return;
    const Push push = *std::exchange(push_, std::nullopt);
    took_us_ = static_cast<std::uint64_t>((boottime_now() - push.started) / 1us);
    if (outcome.exit_code() == 0 && outcome.digest() == push.content.digest) {
        spdlog::info("pushed digest={} took={}", outcome.digest().substr(0, 16),
                     format_duration(microseconds(took_us_)));
        peer_ = push.content;  // its standing follows
        refused_.clear();
        return evaluate();
    }
    ++counters_["pushes_failed"];
    const std::string why = one_line(outcome.message().substr(0, 4096));
    spdlog::warn("push failed exit_code={} reason=\"{}\"", outcome.exit_code(), why);
    if (outcome.exit_code() == 5) return retry_after(retry_soon);
    refused_ = push.content.digest;
    refused_error_ = {why.empty() ? "something else is in force there than what was sent" : why,
                      one_line(outcome.hint().substr(0, 4096)), static_cast<int>(outcome.exit_code() == 3 ? 3 : 1)};
    events_.on_note(
        {"replication-refused", "warning",
         look_.peer->node() + " could not take over revision " + std::to_string(look_.revision) + ": " + why});
    retry_after(retry_late);
}

void Replication::retry_after(Duration wait) {
    holding_ = wait == retry_soon;  // one that is refused does not keep a newer one from being pushed
    retry_timer_.expires_after(std::chrono::duration_cast<boost::asio::steady_timer::duration>(wait));
    retry_timer_.async_wait([this, open = open_](const boost::system::error_code& error) {
        if (error || !*open) return;
        holding_ = false;
        refused_.clear();
        evaluate();
    });
    evaluate();
}

// ---- taking ----

namespace {

replica::Frame outcome_of(std::uint64_t id, const std::string& digest, int exit_code, const Error& error) {
    replica::Frame frame;
    frame.mutable_outcome()->set_id(id);
    frame.mutable_outcome()->set_digest(digest);
    frame.mutable_outcome()->set_exit_code(static_cast<unsigned>(exit_code));
    frame.mutable_outcome()->set_message(one_line(error.message));
    frame.mutable_outcome()->set_hint(one_line(error.hint));
    return frame;
}

}  // namespace

void Replication::on_offer(const std::shared_ptr<Session>& session, replica::Offer offer) {
    const std::uint64_t id = offer.id();
    if (!looked() || incoming_) {
        return session->send(outcome_of(id, look_.own, 5, {"another push is being taken over", "", 0}));
    }
    if (offer.revisions_size() == 0) return session->end({"an offer of nothing", "", EPROTO});
    Counted offered{offer.revisions().rbegin()->digest(), {offer.version().receiver(), offer.version().sender()}};
    if (const auto why = refusal_of(look_.own, look_.counted, offered)) {
        ++counters_["refused"];
        spdlog::info("refused a push: {}", why->message);
        session->send(outcome_of(id, look_.own, 5, *why));
        return send_standing(session);  // what the peer knows of us is old
    }
    incoming_ = Incoming{session, id, std::move(offered), std::nullopt, false};
    on_disk(
        io_, files_, open_, [this] { return keeper_.have(); },
        [this, session, id, offer = std::move(offer)](const Contents& have) mutable {
            assemble(session, id, std::move(offer), have);
        });
}

void Replication::assemble(const std::shared_ptr<Session>& session, std::uint64_t id, replica::Offer offer,
                           const Contents& have) {
    if (!incoming_ || incoming_->session != session || incoming_->id != id) return;
    auto assembly = Assembly::make(std::move(offer), have);
    if (!assembly) {
        incoming_.reset();
        spdlog::warn("{}", assembly.error().message);
        return session->end(assembly.error());
    }
    incoming_->assembly.emplace(std::move(*assembly));
    replica::Frame frame;
    *frame.mutable_want() = incoming_->assembly->want();
    session->send(std::move(frame));
    if (incoming_ && incoming_->assembly->complete()) take();
}

void Replication::on_piece(const std::shared_ptr<Session>& session, const replica::Piece& piece) {
    if (!incoming_ || incoming_->session != session || incoming_->id != piece.id()) return;
    if (!incoming_->assembly || incoming_->taking) return session->end({"a piece that nobody wanted", "", EPROTO});
    if (const auto added = incoming_->assembly->add(piece); !added) {
        incoming_.reset();
        spdlog::warn("{}", added.error().message);
        return session->end(added.error());
    }
    if (incoming_->assembly->complete()) take();
}

void Replication::take() {
    incoming_->taking = true;
    auto chain = incoming_->assembly->finish();
    if (!chain) {
        const auto session = incoming_->session;
        incoming_.reset();
        spdlog::warn("{}", chain.error().message);
        return session->end(chain.error());
    }
    incoming_->assembly.reset();
    on_disk(
        io_, files_, open_,
        [this, chain = std::move(*chain), offered = incoming_->offered, floating = floating_]() mutable {
            return keeper_.take(std::move(chain), offered, floating);
        },
        [this](const Taken& taken) { on_taken(taken); });
}

// The peer hears at once how it ended, and its next decision is from what the look after it finds.
void Replication::on_taken(const Taken& taken) {
    if (!incoming_) return look();  // the pair was ended meanwhile
    const Incoming incoming = *std::exchange(incoming_, std::nullopt);
    if (taken.exit_code == 0) {
        ++counters_["taken"];
        taken_not_.clear();
        spdlog::info("taken over from the peer digest={}", taken.digest.substr(0, 16));
        events_.on_note({"config-received", "info", "a configuration of " + look_.peer->node() + " is in force"});
    } else {
        ++counters_["refused"];
        spdlog::warn("a push of the peer is not in force: {}", taken.error.message);
        if (taken.exit_code != 5) {
            taken_not_ =
                look_.node + " could not take over what " + look_.peer->node() + " sent: " + taken.error.message;
            taken_not_digest_ = incoming.offered.digest;
            events_.on_note({"config-refused", "warning", taken_not_});
        }
    }
    incoming.session->send(outcome_of(incoming.id, taken.digest, taken.exit_code, taken.error));
    look();
}

}  // namespace lbcluster::replicator
