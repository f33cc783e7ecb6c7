// When which job is due. Pure; the generator is seeded by the caller.
//
// Agenda: one time for each job, a binary heap that knows where each job stands: O(log n) to set, O(1) to ask.
// Spread: chooses the times. Within the window that a job leaves open it takes the emptiest of a few random moments, by
//   counts of what is planned in each millisecond. So probes are spread more evenly than by chance (two or three
//   choices instead of one), and no two jobs march in step for long.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

#include "lbcluster/base/time.hpp"

namespace lbcluster::health {

using Id = std::uint32_t;  // of a job

class Agenda {
  public:
    void set(Id id, Instant at);
    void erase(Id id);
    [[nodiscard]] bool empty() const { return heap_.empty(); }
    // Of the next one; Instant::max() if there is none.
    [[nodiscard]] Instant next() const { return heap_.empty() ? Instant::max() : heap_.front().at; }
    [[nodiscard]] Id next_id() const { return heap_.front().id; }

  private:
    struct Entry {
        Instant at;
        Id id;
    };
    static constexpr std::uint32_t nowhere = UINT32_MAX;
    void put(std::size_t place, Entry entry);
    void up(std::size_t place, Entry entry);
    void down(std::size_t place, Entry entry);

    std::vector<Entry> heap_;
    std::vector<std::uint32_t> place_;  // of each id
};

class Spread {
  public:
    explicit Spread(std::uint64_t seed) : random_(seed) {}
    // The emptiest of a few moments in [from, from + width]; counted until take_back().
    Instant choose(Instant from, Duration width);
    void take_back(Instant chosen);

  private:
    static constexpr std::size_t bins = 8192;  // milliseconds; what lies further ahead shares them
    static constexpr int tries = 4;
    static std::size_t bin_of(Instant at);
    [[nodiscard]] unsigned load_around(Instant at) const;

    std::mt19937_64 random_;
    std::array<std::uint16_t, bins> load_{};
};

// A number in [0, 1) that depends on the text only, evenly spread.
double phase_of(std::string_view text);
// FNV-1a with a finish that spreads it; for phases, and for keys in files that must not show what they stand for.
std::uint64_t hash_of(std::string_view text);

}  // namespace lbcluster::health
