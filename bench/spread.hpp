// How evenly checks are spread over time, from the moments at which they were seen on the wire. Pure.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lbcluster::bench {

// One check: the first packet of a connection.
struct Arrival {
    std::chrono::nanoseconds at{};  // since the epoch
    std::uint32_t target = 0;
};

struct Spread {
    static constexpr std::chrono::milliseconds window{10};
    static constexpr std::size_t phases = 20;  // of a second
    // Upper bounds of the classes of loads, in hundredths of the mean load of a window; the last class is open.
    static constexpr std::array<unsigned, 9> load_bounds{25, 50, 75, 100, 125, 150, 200, 300, 500};

    std::size_t checks = 0;
    std::size_t most = 0;                                       // in one window, wherever it begins
    double mean = 0;                                            // in one window
    std::array<std::size_t, phases> by_phase{};                 // all seconds laid upon each other
    std::array<std::size_t, load_bounds.size() + 1> by_load{};  // windows side by side, by their share of the mean
    std::chrono::nanoseconds longest_gap{};                     // between two checks of the same target
};

// Of what arrived in [begin, end). `arrivals` is sorted in place.
Spread spread_of(std::vector<Arrival>& arrivals, std::chrono::nanoseconds begin, std::chrono::nanoseconds end);

}  // namespace lbcluster::bench
