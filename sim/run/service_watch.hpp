// What the clients see, exactly and without their packets: from each client's neighbour cache and the kernels. Also how
// long two kernels answered, and how often the addresses moved. Changes are all that it looks at, so it costs nothing
// while nothing happens.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "sim/world/world.hpp"

namespace lbcluster::sim {

class ServiceWatch : public Observer {
  public:
    void watch(World& world);
    void on_change() override;
    // To be called once, at the end of the simulation.
    void finish();

    struct Stretch {
        Duration from{0};
        Duration to{0};
        [[nodiscard]] Duration length() const { return to - from; }
    };
    struct Gap {
        std::string client;
        IpAddress address;
        Stretch when;
    };
    // Unanswered, by client and address, after it was answered first.
    [[nodiscard]] const std::vector<Gap>& gaps() const { return gaps_; }
    [[nodiscard]] const std::vector<Stretch>& both() const { return both_; }
    struct Move {
        Duration at{0};
        std::string to;
    };
    // A node answers alone that is not the one that did before.
    [[nodiscard]] const std::vector<Move>& moves() const { return moves_; }

    [[nodiscard]] Duration longest_gap(Duration from, Duration to) const;
    [[nodiscard]] Duration longest_both(Duration from, Duration to) const;
    [[nodiscard]] std::size_t moves(Duration from, Duration to) const;

    // ---- now ----
    // Which nodes' kernels answer for at least one address / for all of them.
    [[nodiscard]] std::vector<std::string> serving() const;
    [[nodiscard]] bool serves_all(const std::string& node) const;
    // The node that answers this client for all its addresses; empty: none, or not one.
    [[nodiscard]] bool all_clients_reach(const std::string& node) const;

  private:
    struct View {
        int answered_by = -1;
        bool ever = false;
        Duration lost_at{0};
    };
    World* world_ = nullptr;
    std::vector<std::vector<View>> views_;  // by client, by address
    std::vector<Gap> gaps_;
    std::vector<Stretch> both_;
    bool both_now_ = false;
    Duration both_since_{0};
    std::string holder_;
    std::vector<Move> moves_;
};

}  // namespace lbcluster::sim
