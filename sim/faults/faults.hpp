// The faults of a scenario, carried out at their times. One function begins each kind and one ends it; a blinking
// fault (`on`, `off`) begins and ends again and again. To add a kind: a value in scenario.proto, its keys in
// scenario/check.cpp, and its two lines in faults.cpp.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "sim/world/world.hpp"

namespace lbcluster::sim {

class Faults {
  public:
    Faults(World& world, const std::vector<FaultPlan>& plans);
    // Schedules all of them.
    void start();

    // ---- what is wrong now ----
    [[nodiscard]] std::size_t active() const { return active_; }

  private:
    struct Running {
        const FaultPlan* plan = nullptr;
        bool on = false;
        std::vector<std::pair<Network*, Rule*>> rules;
        Rule* serial_rule = nullptr;
        std::uint64_t round = 0;  // of forged traffic; another one is over
    };

    void schedule(Running& fault);
    void blink(Running& fault, Instant until);
    void begin(Running& fault);
    void end(Running& fault);
    void begin_machine(Running& fault);
    void end_machine(Running& fault);
    void begin_network(Running& fault);
    void end_network(Running& fault);
    void begin_host(Running& fault);
    void end_host(Running& fault);
    void forge(Running& fault, std::uint64_t round);
    void forge_one(const Fault& fault, Node& target);
    [[nodiscard]] std::vector<Network*> networks_of(const Fault& fault) const;

    World& world_;
    Random random_;
    std::vector<std::unique_ptr<Running>> faults_;
    std::size_t active_ = 0;
};

// What changes roles by itself when it happens, for the invariants: machines, daemons, carriers and commands do.
bool is_forged_traffic(FaultKind kind);
bool is_network_fault(FaultKind kind);

}  // namespace lbcluster::sim
