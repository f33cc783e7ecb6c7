// What must not be: two nodes that answer for one address, and take-overs nobody needed.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "bench/trial.hpp"

namespace lbcluster::bench {

// How long both nodes answered for the address, of a window that begins with the fault.
enum class Breach { killed, frozen, one_way, heartbeats_cut, one_more_address };
inline const std::vector<std::pair<Breach, std::string>> all_breaches{
    {Breach::killed, "processes killed, 14 s"},
    {Breach::frozen, "processes stopped for 8 s, 14 s"},
    {Breach::one_way, "passive hears nothing, 12 s"},
    {Breach::heartbeats_cut, "heartbeats cut both ways, 12 s"},
    {Breach::one_more_address, "passive configured with one more, 10 s"}};

// Empty: it cannot be done with this one.
std::optional<double> seconds_both_answer(Trial& trial, Breach breach);

struct Restlessness {
    unsigned moves = 0;  // a node began to hold the address
    double minutes = 0;
    double late_ms = 0;  // the longest that a processor was kept from the most urgent thread
};
// Eight processes that compute, in windows.
Restlessness under_load(Trial& trial, unsigned windows, std::chrono::seconds each);
// That share of everything that arrives at both nodes is lost.
Restlessness with_loss(Trial& trial, unsigned percent, std::chrono::seconds time);

}  // namespace lbcluster::bench
