// What each node owes, given what it could see: finer readings of the invariants 1 to 4, each with a condition that is
// plain from outside (a path on which nothing is wrong, a kernel that holds an address) and so needs no bound that
// would have to allow for everything. Where a condition is not plain, nothing is said.
//
//  1  "done" in a hand-over is said only when the addresses are gone; a node that is cut off from everything has let
//     go in time (claim rule 4); two that answer end it where one of them is heard, or each can see the other's kernel
//  2  a planned take-over has the addresses before it calls itself active; who releases for want of witnesses says so
//  3  nothing is claimed while heartbeats could pass, nor before `initdead` of a peer never heard, nor without a ping
//     node where the peer reached one; what is still in the kernel after a restart is adopted
//  4  no hand-over for fitness before the other node was fitter for 2 x deadtime
//  7  the winner of a conflict announces every address when it is over
//  9  no noise makes a node refuse what its peer really sent
#pragma once

#include <map>
#include <optional>
#include <string>

#include "lbcluster/base/time.hpp"
#include "sim/run/service_watch.hpp"

namespace lbcluster::sim {

// Of a violation's text.
inline std::string ms(Duration duration) {
    return format_duration(std::chrono::duration_cast<std::chrono::milliseconds>(duration));
}

class Invariants;

class Conduct : public Observer {
  public:
    Conduct(World& world, const ServiceWatch& service, Invariants& invariants);

    void on_process(Node& node) override;
    void on_activity(Node& node, heartbeat::Activity before) override;
    void on_note(Node& node, const heartbeat::Note& note) override;
    void on_datagram(Node& node, const Datagram& datagram) override;
    void on_sent(Node& node, const heartbeat::SendHeartbeat& sent) override;
    void on_announce(Node& node) override { seen_[&node].announced = true; }
    void on_turn(Node& node) override;
    void on_change() override { look(); }
    void on_fault(const FaultPlan& fault, bool begins) override;

  private:
    struct Seen {
        const void* life = nullptr;             // which daemon it was
        Instant started{};                      // its daemon
        Instant changed{};                      // began, ended, stood still or goes on
        bool found_addresses = false;           // in the kernel, when it started
        std::optional<Instant> was_active;      // last known moment
        std::optional<Instant> routers_unsure;  // since when not every path to a ping node is whole
        Instant routers_sure{};                 // begin of the whole time before that
        std::optional<Instant> routers_gone;    // since when it cannot reach any
        std::optional<Instant> peer_gone;       // since when the peer cannot be heard or cannot hear
        std::optional<Instant> peer_deaf;       // the one of it
        std::optional<Instant> peer_mute;       // and the other
        Instant peer_back{};                    // begin of the time before that in which it could
        Instant heard{};                        // when it had last heard the peer
        bool reaches = false;                   // a ping node, as far as it knows
        std::optional<Instant> hears_rival;     // both active: since when it hears the other one, without a break
        Instant heard_rival{};
        std::optional<Instant> owes_resignation;
        bool peer_reached = false;  // a ping node, said its last heartbeat
        bool announced = false;     // in this turn
        bool conflict_ended = false;
        Timer cut_off;
    };

    void look();
    void look_at_routers(Node& node, Seen& seen);
    void look_at_cut_off(Node& node, Seen& seen);
    void judge_cut_off(Node& node);
    void judge_claim(Node& node, const std::string& text);
    void judge_fitness(const Node& node);
    void judge_planned(const Node& node);
    void look_at_kernels();
    [[nodiscard]] bool runs(const Node& node) const;
    [[nodiscard]] bool cut(const Node& from, const Node& to) const;
    [[nodiscard]] const heartbeat::Settings& settings() const;
    [[nodiscard]] Duration deadtime() const;
    [[nodiscard]] Duration keepalive() const;

    World& world_;
    const ServiceWatch& service_;
    Invariants& invariants_;
    std::map<const Node*, Seen> seen_;
    std::optional<Instant> paths_whole_;      // heartbeats can pass both ways, and both daemons run
    std::optional<Instant> kernels_visible_;  // both answer, and the LAN between them is whole
    Instant address_trouble_ = beginning - 1h;
    bool order_kept_ = true;  // no fault so far that brings datagrams twice or late
    Timer visible_;
};

}  // namespace lbcluster::sim
