// The invariants of the protocol, checked after every event against the modelled kernels and caches, never against what
// a daemon believes. The numbers and words are those of docs/protocol.md ("Invariants"); each check says here which
// bound and which exemption it uses.
//
// Checking is cheap: a check looks when something changed, and arms a deadline where a state must not last. A state
// that is fine again disarms it.
//
//  1 one answers       two kernels answer for long, though a heartbeat or a witness showed it
//  2 somebody serves   a fit node is up, nothing changes, and nobody answers
//  3 no needless move  an address was taken while the peer was heard or its kernel seen to answer
//  4 no flapping       more moves than faults + 1
//  5 nothing left      a node that is not active holds an address longer than its lease
//  6 agreement         a healthy network, and not exactly one is active, or they name different claims; a term goes
//  down 7 caches            10 s of stability, and a client or router looks to the wrong machine 8 reasons           a
//  change of activity without a recorded reason 9 noise             a forged, replayed or damaged datagram was accepted
// 10 differences       only the disk, a version or a configuration was in trouble, and something moved
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/run/recorder.hpp"
#include "sim/run/service_watch.hpp"

namespace lbcluster::sim {

struct Violation {
    std::uint64_t seed = 0;
    Duration at{0};
    unsigned invariant = 0;
    std::string name;
    std::string what;
    std::vector<TimelineEvent> before;  // the newest events until then
};

class Invariants : public Observer {
  public:
    Invariants(World& world, const ServiceWatch& service, Recorder& recorder, bool stop_at_violation);

    void on_process(Node& node) override;
    void on_activity(Node& node, heartbeat::Activity before) override;
    void on_note(Node& node, const heartbeat::Note& note) override;
    void on_datagram(Node& node, const Datagram& datagram) override;
    void on_probe_answer(Node& node, bool echo) override;
    void on_change() override;
    void on_fault(const FaultPlan& fault, bool begins) override;
    void on_turn(Node& node) override;
    void finish();

    [[nodiscard]] const std::vector<Violation>& violations() const { return violations_; }

    // ---- for Conduct, which reads the invariants more finely ----
    void fail(unsigned invariant, const std::string& what);
    [[nodiscard]] Duration address_time() const;
    // The larger of both nodes', as the protocol has it for deadtime; the same for all else that is waited for.
    [[nodiscard]] Duration longest(Duration heartbeat::Settings::* which) const;
    [[nodiscard]] Duration keepalive() const { return longest(&heartbeat::Settings::keepalive); }
    [[nodiscard]] Duration deadtime() const { return longest(&heartbeat::Settings::deadtime); }
    [[nodiscard]] Duration vip_lease() const { return longest(&heartbeat::Settings::vip_lease); }
    [[nodiscard]] bool path_clean(const Node& from, const Node& to) const;

  private:
    // What is remembered of a node, from outside.
    struct Seen {
        std::optional<Instant> heard;         // its daemon accepted a heartbeat of the peer
        std::optional<Instant> heard_higher;  // ... that showed the peer active by the higher claim
        std::optional<Instant> heard_active;  // ... that showed the peer active
        std::optional<Instant> answered;      // an address probe of its was answered by another kernel
        std::optional<Instant> active_since;
        std::optional<Instant> inactive_since;  // no core of it is active
        std::uint64_t higher_sequence = 0;      // of the heartbeat that said heard_higher
        heartbeat::ClaimValue higher_claim;     // and the claim
        std::optional<Instant> stood_still;     // it was stopped, starved or paused until then
        std::uint64_t term = 0;
        Instant claimed{};
        bool reason = false;  // a became-... note came since the last change of activity
        Timer leftovers;
    };

    [[nodiscard]] bool waived(unsigned invariant) const;
    void disturbed();
    [[nodiscard]] bool disturbed_for_now() const { return faults_ > 0; }

    // ---- 1 ----
    void look_at_both();
    void judge_both();
    // ---- 2 ----
    void look_at_service();
    void judge_service();
    [[nodiscard]] bool could_serve(const Node& node) const;
    // ---- 3, 4, 10 ----
    void judge_claim(Node& node, const std::string& text);
    void judge_yield(Node& node, const std::string& text);
    void count_moves();
    // ---- 5 ----
    void look_at_leftovers(Node& node);
    // ---- 6 ----
    void look_at_agreement();
    void judge_agreement();
    [[nodiscard]] bool healthy() const;
    // ---- 7 ----
    void judge_caches_later();
    void judge_caches();

    [[nodiscard]] const heartbeat::Settings& settings() const;

    World& world_;
    const ServiceWatch& service_;
    Recorder& recorder_;
    bool stop_at_violation_;
    std::vector<Violation> violations_;
    std::map<const Node*, Seen> seen_;

    Instant disturbed_at_ = beginning;  // the newest change from outside
    Instant changed_at_ = beginning;    // the newest change of an activity
    std::size_t faults_ = 0;            // lasting ones that are on
    std::size_t role_relevant_ = 0;     // begun and ended so far
    bool disk_was_full_ = false;        // terms may go down after that
    bool only_differences_ = true;      // so far only faults of invariant 10
    std::size_t moves_judged_ = 0;
    std::size_t failbacks_ = 0;  // that both configurations ask for

    std::optional<Instant> both_since_;
    std::optional<Instant> path_since_;  // heartbeats can pass in both directions, while both answer
    Duration slowest_{0};                // that a change of an address took so far, by faults
    std::optional<Instant> nobody_since_;
    Timer both_;
    Timer nobody_;
    Timer agreement_;
    Timer caches_;
    std::multiset<std::string> refusing_;  // nodes whose kernel is told to refuse new addresses
    std::optional<Instant> filtered_at_;   // announcements: begin or end of that
};

}  // namespace lbcluster::sim
