// Random numbers of a simulation: every consumer has a stream of its own, derived from the scenario's seed and a name,
// so that what one draws never changes what another one gets. SplitMix64: the same on every platform and library.
#pragma once

#include <cstdint>
#include <string_view>

#include "lbcluster/base/time.hpp"

namespace lbcluster::sim {

class Random {
  public:
    Random(std::uint64_t seed, std::string_view name) : state_(seed * 0x9e3779b97f4a7c15ULL) {
        for (const char c : name) state_ = mix(state_ ^ static_cast<unsigned char>(c));
    }
    std::uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15ULL); }
    // Evenly in [0, 1).
    double unit() { return static_cast<double>(next() >> 11U) * 0x1.0p-53; }
    bool chance(double probability) { return probability > 0 && unit() < probability; }
    // Evenly in [0, below).
    std::uint64_t below(std::uint64_t below) { return below == 0 ? 0 : next() % below; }
    Duration upto(Duration most) {
        return Duration{static_cast<std::int64_t>(unit() * static_cast<double>(most.count()))};
    }

  private:
    static std::uint64_t mix(std::uint64_t z) {
        z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31U);
    }
    std::uint64_t state_;
};

}  // namespace lbcluster::sim
