// Sessions with the peer: which authenticated heartbeats may change state.
//
// A session is a pair of boot ids (random per process start). A heartbeat counts only if it names my
// current boot id, so nothing recorded in an earlier life of mine can be played back; one that does not is
// a greeting, whose boot id serves for the answer alone. A new boot id replaces a known one only if it has heard
// something that I sent after the known one was last heard (else it is a greeting, too): what a life of the peer said
// before the present one cannot come afterwards. A replaced boot id never comes back. Within a session each link has a
// window of sequence numbers against duplicates and replays, and the state of an older sequence number never overwrites
// that of a newer one. No wall clock, no stored counter, no forgetting after silence. Pure; the MAC was verified
// before.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "heartbeat/core/types.hpp"

namespace lbcluster::heartbeat {

// RFC 4303 3.4.3 style sliding window over the last 128 sequence numbers.
class SequenceWindow {
  public:
    static constexpr std::uint64_t size = 128;
    // False: seen before or too old.
    bool accept(std::uint64_t sequence);

  private:
    std::uint64_t highest_ = 0;
    std::bitset<size> seen_;  // bit i: highest_ - i
};

enum class Verdict {
    accepted,       // counts, newest state
    accepted_late,  // proves that the peer lives, but a newer state was seen already
    greeting,       // does not name my boot id: answer it, nothing else
    wrong_cluster,
    reflected,    // my own
    same_name,    // another node with my name
    misdirected,  // for another receiver
    no_boot_id,
    unknown_link,
    old_session,
    replayed,  // sequence number seen before, or too old
};
const char* name_of(Verdict verdict);

class Session {
  public:
    Session(std::string own_name, std::string cluster_id, std::uint64_t own_boot_id, std::size_t links);

    // `restarted` in the outcome: the first accepted heartbeat of a new session (a peer first heard or started anew).
    struct Outcome {
        Verdict verdict;
        bool restarted = false;
    };
    Outcome receive(Instant now, std::uint32_t link, const Heartbeat& message);

    // To be called for each heartbeat sent in this session: fills sequence, boot ids and acknowledgement.
    void fill(Instant now, std::uint32_t link, Heartbeat& message);

    [[nodiscard]] bool established() const { return peer_boot_id_ != 0; }
    [[nodiscard]] std::uint64_t own_boot_id() const { return own_boot_id_; }
    [[nodiscard]] std::uint64_t peer_boot_id() const { return peer_boot_id_; }
    [[nodiscard]] const Heartbeat& newest() const { return newest_; }
    // Upper bound of the time since the peer sent newest(), by its acknowledgement of a heartbeat of ours.
    [[nodiscard]] std::optional<Duration> newest_transit_max() const { return newest_transit_max_; }
    [[nodiscard]] Instant last_heard() const { return last_heard_; }
    [[nodiscard]] std::optional<Instant> last_heard(std::uint32_t link) const { return links_[link].heard_at; }
    [[nodiscard]] Duration rtt(std::uint32_t link) const { return links_[link].rtt; }
    [[nodiscard]] Duration best_rtt() const;
    // When I sent the newest heartbeat that the peer acknowledged on that link / on any. Empty: none.
    [[nodiscard]] std::optional<Instant> acked_sent_at(std::uint32_t link) const { return links_[link].acked_sent_at; }
    [[nodiscard]] std::optional<Instant> acked_sent_at() const;
    // When the peer last heard me, by its own word. Empty: it never said so.
    [[nodiscard]] std::optional<Instant> peer_heard_me_at() const { return peer_heard_me_at_; }
    [[nodiscard]] std::uint64_t received(std::uint32_t link) const { return links_[link].received; }
    [[nodiscard]] std::uint64_t sent(std::uint32_t link) const { return links_[link].sent; }
    // Boot id of a greeting that waits for its answer, on every link: each path may work in one direction only.
    // Cleared by taking it.
    std::optional<std::uint64_t> take_greeting() { return std::exchange(greeting_, std::nullopt); }

  private:
    struct LinkState {
        SequenceWindow window;
        std::optional<Instant> heard_at;
        std::uint64_t heard_sequence = 0;
        std::optional<Instant> acked_sent_at;
        std::uint64_t acked_sequence = 0;
        Duration rtt{0};
        std::uint64_t received = 0;
        std::uint64_t sent = 0;
    };
    struct Sent {
        std::uint64_t sequence = 0;
        Instant at;
    };

    Verdict check(std::uint32_t link, const Heartbeat& message) const;
    void begin(std::uint64_t peer_boot_id);
    // Returns the longest that this message can have been under way, if that can be told.
    std::optional<Duration> note_acknowledgement(Instant now, LinkState& link, const Heartbeat& message);

    std::string own_name_;
    std::string cluster_id_;
    std::uint64_t own_boot_id_;
    std::uint64_t peer_boot_id_ = 0;
    std::deque<std::uint64_t> retired_;  // boot ids the peer had before; bounded
    std::vector<LinkState> links_;
    std::optional<std::uint64_t> greeting_;
    std::uint64_t sequence_ = 0;
    std::uint64_t sequence_at_heard_ = 0;                // sequence_ when the peer's present life was last heard
    std::optional<std::uint64_t> sequence_before_life_;  // ... when the life before was
    std::array<Sent, 2048> sent_{};                      // ring by sequence number: when it went out
    Heartbeat newest_;
    std::optional<Duration> newest_transit_max_;
    Instant last_heard_{};
    std::optional<Instant> peer_heard_me_at_;
};

}  // namespace lbcluster::heartbeat
