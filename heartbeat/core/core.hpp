// The election: who holds the floating IPs. heartbeatd and the simulator run this very object.
//
//     starting ──▶ passive ⇄ active        standby: the operator asked this node not to serve
//
// The shell feeds facts (on_*), each with the time, and when everything that waited in its sockets was fed,
// calls step(): only there decisions are taken. Facts and step() append actions, which the shell carries
// out in order. next_deadline() says when step() is due again without any fact; being called much later than
// that is how the core learns that it was stopped, suspended or starved.
//
// Invariants (docs/protocol.md): at most one of two nodes that can talk is active; addresses are wanted
// exactly while active or while a hand-over is being accepted; every change of activity has a recorded
// reason; the claim is fixed while active; terms never go down. No clock, no socket, no thread, no log;
// randomness only from the seed. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "heartbeat/core/conflict_check.hpp"
#include "heartbeat/core/ping_watch.hpp"
#include "heartbeat/core/probe_watch.hpp"
#include "heartbeat/core/restraint.hpp"
#include "heartbeat/core/session.hpp"
#include "heartbeat/core/types.hpp"
#include "lbcluster/state.pb.h"

namespace lbcluster::heartbeat {

class Core {
  public:
    struct Start {
        std::uint64_t boot_id = 0;      // random, not 0
        std::uint64_t seed = 0;         // for jitter and hand-over numbers
        std::uint64_t stored_term = 0;  // as StoreTerm left it
        bool standby = false;           // as StoreStandby left it
    };

    Core(Instant now, Settings settings, const Start& start);

    // ---- facts ----
    // An authenticated heartbeat. Returns what became of it, for the counters.
    Verdict on_heartbeat(Instant now, std::uint32_t link, const Heartbeat& message, Actions& out);
    void on_ping_reply(Instant now, std::size_t index);
    // A kernel (not ours) answered an address probe.
    void on_probe_answer(Instant now, const IpAddress& address, const MacAddress& mac, bool echo, Actions& out);
    // Somebody else announces or uses one of our addresses, unasked.
    void on_foreign_use(Instant now, const IpAddress& address, const MacAddress& mac, Actions& out);
    // All interfaces of this machine, after each change.
    void on_interfaces(Instant now, const std::vector<InterfaceFact>& interfaces, Actions& out);
    // Once, at start: are floating IPs of ours in the kernel already?
    void on_leftovers(Instant now, bool any);
    void on_addresses(Instant now, const AddressReport& report, Actions& out);
    void on_forwarder(Instant now, bool able);
    void on_term_stored(Instant now, bool ok, Actions& out);
    void on_command(Instant now, const Command& command, Actions& out);
    // SIGTERM: hand over if there is a peer, release, then Stop.
    void on_stop(Instant now);
    // A new configuration; the node's name, its role and the links are those of before.
    void on_settings(Instant now, Settings settings, Actions& out);

    // ---- decisions ----
    void step(Instant now, Actions& out);
    [[nodiscard]] Instant next_deadline() const { return deadline_; }

    // The kernel has every address it shall have (or said why not) and no other one.
    [[nodiscard]] bool addresses_settled() const;
    // Late by more than a deadtime not long ago: what happened meanwhile is not yet known, the peer may have taken
    // over. In a hand-over the peer announces, and a repeat of ours after that would lead clients back.
    [[nodiscard]] Restraint restraint() const;

    // ---- what an operator sees ----
    [[nodiscard]] Activity activity() const { return activity_; }
    [[nodiscard]] const std::optional<ClaimValue>& claim() const { return claim_; }
    // `realtime_ms` turns an Instant into milliseconds since 1970.
    void fill_status(Instant now, const std::function<std::uint64_t(Instant)>& realtime_ms,
                     bus::NodeStatus& status) const;

  private:
    struct Transition {
        Activity to;
        std::string reason;   // stable word
        std::string text;     // for people
        bool resign = false;  // ask the peer to take the addresses at once
        bool first = false;   // nobody of the pair was seen to hold them before
    };
    enum class Purpose { none, activate, standby, stop, fitness, carrier, addresses, failback };
    // A hand-over that this (active) node offers.
    struct Offer {
        std::uint64_t number = 0;
        Instant since;
        Instant progress;  // last sign that the peer works on it
        bool forced = false;
        Purpose purpose = Purpose::none;
        bool refused = false;
        std::string refusal;
    };
    // A hand-over that this (passive) node takes part in.
    struct Takeover {
        std::uint64_t number = 0;
        Instant since;
        Instant offered;  // newest heartbeat with the offer
        bool forced = false;
        bool operators = false;
        bool added = false;  // every address is in the kernel, verified
        bool confirmed = false;
        std::string purpose;
    };
    struct Request {
        std::uint64_t number = 0;
        Instant since;
        bool forced = false;
    };
    struct PendingCommand {
        Command command;
        Instant since;
        bool tried = false;  // standby: it was offered to the peer once
    };
    struct AlarmState {
        Instant since;
        std::string text;
        std::string action;
        Severity severity = Severity::alarm;
        Instant last_seen;
    };
    struct ClaimJudgement {
        bool allowed = false;
        std::string why;  // or why not
    };

    // time
    void begin(Instant now);  // each entry: notices lateness
    bool due(Instant when);   // when <= now; else step() is wanted then
    bool within(Instant start, Duration length) { return !due(start + length); }
    [[nodiscard]] Duration deadtime() const;  // in force
    [[nodiscard]] Duration peer_keepalive() const;

    // peer
    [[nodiscard]] bool heard() const { return session_.established(); }
    [[nodiscard]] Instant silence_since() const;      // of the peer, lateness of our own discounted
    [[nodiscard]] Instant own_silence_since() const;  // as the active counts it: the last acknowledged heartbeat
    bool peer_alive();
    bool peer_late();
    bool peer_dead();
    bool peer_active();
    bool peer_gone_for_active();
    [[nodiscard]] const Heartbeat& peer() const { return session_.newest(); }
    [[nodiscard]] ClaimValue peer_claim() const;
    [[nodiscard]] bool is_peer_mac(const MacAddress& mac) const;
    [[nodiscard]] std::string peer_name() const;
    bool peer_hears_me(Duration window);
    // It is heard, for long enough to have heard me, but has not.
    bool peer_is_deaf();
    // Who yields when claims cannot be compared: the configured secondary; same role: the higher name.
    [[nodiscard]] bool i_yield() const;

    // fitness
    struct FitnessValue {
        bool standby = false, carrier = false, reached = false, forwarder = false, known = false;
    };
    FitnessValue own_fitness();
    [[nodiscard]] static int compare(const FitnessValue& a, const FitnessValue& b);  // > 0: a is fitter
    [[nodiscard]] FitnessValue peer_fitness() const;
    [[nodiscard]] bool all_carriers() const;
    [[nodiscard]] bool any_carrier() const;
    [[nodiscard]] const std::set<std::string>& tracked_interfaces() const { return tracked_; }

    // step, in order
    void update_watches(Actions& out);
    void announce_while_alone(Actions& out);
    void announce_after_gap(Actions& out);
    void update_fitness();
    void ask_witnesses(Actions& out);
    void check_conflicts(Actions& out);
    void decide(Actions& out);
    void update_alarms(Actions& out);
    void send_heartbeats(Actions& out);

    // election.cpp
    std::optional<Transition> next_transition();
    void settle_conflict(Actions& out);
    std::optional<Transition> from_starting_or_passive();
    std::optional<Transition> from_active();
    std::optional<Transition> from_active_conflict();
    std::optional<Transition> from_active_alone();
    std::optional<Transition> from_standby();
    std::optional<Transition> settle_idle_pair();
    ClaimJudgement may_claim();
    bool isolated(std::string& why);
    // This node or the peer let go because it reached neither the other one nor a ping node.
    void note_isolation(bool own);
    void apply(const Transition& transition, Actions& out);
    void forget_addresses();
    // `first`: nobody of the pair has held them yet, as far as this node knows.
    void acquire(Actions& out, bool first);
    void release(Actions& out);
    void set_addresses(Actions& out, bool announce);
    void announce(Actions& out, bool paced = false);
    // A path on the LAN works again that was last seen to work then. `usual`: what may lie between two signs of it.
    void note_gap(Instant since, Duration usual);

    // handover.cpp
    void run_commands(Actions& out);
    void run_activate(PendingCommand& pending, Actions& out);
    void run_standby(PendingCommand& pending, Actions& out);
    void run_stop(Actions& out);
    void run_restart(Actions& out);
    void run_offer(Actions& out);
    void run_takeover(Actions& out);
    void consider_offer(Actions& out);
    void read_peer_handover(Actions& out);
    bool holds_nothing();
    void offer(Purpose purpose, bool forced, std::uint64_t number, Actions& out);
    [[nodiscard]] std::string peer_not_ready(bool forced) const;  // empty: ready
    [[nodiscard]] std::string not_ready_myself(bool forced);      // empty: ready
    void refuse(std::uint64_t number, const std::string& reason);
    [[nodiscard]] Duration last_word_time() const { return std::max<Duration>(6 * settings_.keepalive, 1s); }
    void forget_takeover(Actions& out, const std::string& why);
    bool flip_limit_reached();
    Duration failback_delay();
    [[nodiscard]] bool moved_within_the_hour() const { return last_move_ && now_ < *last_move_ + 1h; }
    static const char* word(Purpose purpose);

    // small
    void take_floating_ips();
    void note(Actions& out, std::string kind, Severity severity, std::string text);
    void answer(Actions& out, std::uint64_t id, unsigned exit_code, std::string message, std::string hint = "");
    void alarm(Actions& out, const std::string& id, const std::string& text, const std::string& action,
               Severity severity = Severity::alarm);
    std::map<std::string, std::string> inputs();
    Heartbeat build_heartbeat();
    void reserve_terms(Actions& out);
    std::uint64_t random_number();
    // Bounded: a broken peer or file must not make the next term wrap to 0.
    void saw_term(std::uint64_t term) {
        constexpr std::uint64_t term_max = std::uint64_t{1} << 62;
        highest_term_ = std::max(highest_term_, std::min(term, term_max));
    }

    Settings settings_;
    std::set<std::string> tracked_;  // interfaces with floating IPs
    Session session_;
    PingWatch pings_;
    ProbeWatch probes_;
    std::mt19937_64 random_;

    // time
    Instant now_{};
    Instant started_{};
    Instant deadline_{};
    std::optional<Instant> wanted_at_;       // when the shell was asked to call step() again
    std::optional<Instant> last_late_;       // we were late by more than keepalive
    std::optional<Instant> cautious_until_;  // active: after a lateness of more than deadtime
    Duration deadtime_floor_{0};             // a reload never shortens a running deadline
    std::uint64_t late_loops_ = 0;

    // election
    Activity activity_ = ACTIVITY_STARTING;
    Instant activity_since_{};
    std::string activity_reason_ = "start";
    std::optional<ClaimValue> claim_;
    std::uint64_t highest_term_ = 0;
    std::uint64_t reserved_term_ = 0;
    bool term_storing_ = false;
    bool term_told_ = false;  // stored once in this life, or found that it cannot be
    std::optional<Instant> term_failed_at_;
    bool standby_wish_ = false;
    std::optional<bool> leftovers_;
    std::optional<Instant> idle_since_;  // nobody active, resigning or handing over, both known
    std::optional<Instant> resigned_at_;
    std::optional<Instant> isolation_at_;      // newest isolation of one of the two, as far as this node knows
    bool peer_isolated_ = false;               // said the peer's newest heartbeat: resigning, and reaches nothing
    std::optional<Instant> goes_first_until_;  // isolated again: the peer leaves the addresses to this node
    std::optional<Instant> waits_until_;       // the same, the other way round
    bool claimed_unwitnessed_ = false;         // active since the ping nodes were no witness, and none answered yet
    bool stopping_ = false;
    std::optional<Instant> stop_since_;
    bool stopped_ = false;
    std::optional<Instant> released_at_;     // for stop: everything was released then
    std::optional<Instant> offer_again_at_;  // no new offer of this node's own accord before that
    unsigned offer_failures_ = 0;            // in a row, of such offers
    bool stop_offered_ = false;
    bool in_conflict_ = false;                 // both active, mine is the higher claim
    std::optional<Instant> deaf_lower_since_;  // peer active with a lower claim, not hearing me
    bool placed_by_operator_ = false;
    bool peer_found_dead_ = false;        // and not heard since: no lateness of ours brings it back to life
    bool peer_back_ = false;              // heard again since the last step
    std::optional<Instant> heard_since_;  // without a silence of warntime
    Instant session_since_{};             // its present life is known
    bool peer_was_late_ = false;
    std::optional<Instant> announced_alone_at_;  // while active and the peer is not heard
    Instant announced_at_{};                     // the newest first round
    bool announcements_lost_ = false;            // perhaps: nothing came through while they went out
    std::optional<Instant> peer_unreached_since_;
    bool witnesses_gone_ = false;  // at the peer's last heartbeat neither node had reached a ping node for a deadtime
    bool claiming_without_witness_ = false;
    bool forced_claim_ = false;  // operator's `activate --force` with a dead peer
    std::string claim_refusal_;  // why a dead peer's addresses are not taken

    // addresses
    std::uint64_t epoch_ = 0;
    bool wanted_ = false;
    AddressReport addresses_;
    std::uint64_t held_digest_ = 0;  // of addresses_.held
    bool lapsed_ = false;
    std::map<IpAddress, std::deque<Instant>> removals_;
    std::map<IpAddress, std::pair<MacAddress, Instant>> strangers_;
    std::size_t probe_rotation_ = 0;
    ConflictCheck conflicts_;
    std::vector<IpAddress> held_back_;  // by conflicts_, as the worker knows it
    bool pair_served_ = false;          // this node or the peer has been active in this life
    std::uint64_t all_digest_ = 0;      // of all configured floating IPs

    // interfaces
    std::map<std::string, InterfaceFact> interfaces_;
    bool interfaces_known_ = false;
    std::optional<Instant> carrier_back_at_;
    std::optional<Instant> carrier_lost_at_;
    std::optional<bool> forwarder_;
    FitnessValue last_fitness_;
    Instant fitness_changed_at_{};
    std::optional<Instant> peer_fitter_since_;
    std::optional<Instant> holds_nothing_since_;  // active, and the kernel refuses every address
    std::optional<Instant> failback_ready_since_;

    // hand-over
    std::optional<Offer> offer_;
    std::optional<Takeover> takeover_;
    std::optional<Request> request_;
    std::optional<std::uint64_t> done_awaited_;  // hand-over here whose old active has not yet confirmed
    std::optional<Handover> last_word_;          // DONE or REFUSE, said for a while
    Instant last_word_until_{};
    std::deque<std::uint64_t> used_numbers_;
    std::deque<Instant> voluntary_moves_;
    std::optional<Instant> last_move_;
    unsigned failback_doublings_ = 0;
    std::deque<PendingCommand> commands_;
    std::optional<std::uint64_t> restart_number_;
    Instant restart_since_{};
    std::uint64_t restart_peer_boot_ = 0;
    std::uint64_t restart_seen_ = 0;
    std::optional<Instant> restart_me_at_;
    std::optional<std::uint64_t> restart_command_;

    // heartbeats
    Instant next_heartbeat_{};
    bool send_now_ = true;
    Instant greeted_at_;
    std::map<std::string, AlarmState> alarms_;
    std::set<std::string> raised_;  // alarms that facts raised since the last step
};

}  // namespace lbcluster::heartbeat
