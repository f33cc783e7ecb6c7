// The verdict on one target: outcomes in, health out. Pure, a small value.
//
// One rule for every kind of check: `fall` failures in a row make it down, `rise` successes in a row up. The very first
// outcome decides alone: until then nothing was known, and one look is better than none. What says nothing about the
// server (Finding::unusable) is not shown to the judge at all.
//
//   unknown -> up | standby | down   with the first outcome
//   up <-> standby                   at once: both are successes, and only the server knows who of a pair serves
//   up, standby -> down              after `fall` failures in a row
//   down -> up | standby             after `rise` successes in a row; the newest one says which
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "healthd/core/types.hpp"

namespace lbcluster::health {

enum class Health : std::uint8_t { unknown, up, down, standby };
std::string_view word_of(Health health);
// Anything else than one of the words: unknown.
Health health_of(std::string_view word);

class Judge {
  public:
    Judge() = default;
    // Goes on from an earlier verdict.
    explicit Judge(Health health) : health_(health) {}

    // True if the verdict has changed. Not for Finding::unusable.
    bool on_finding(Finding finding, unsigned fall, unsigned rise);
    // Failures seen so far are not held against the server; the verdict stays.
    void forgive();

    [[nodiscard]] Health health() const { return health_; }
    // Outcomes in a row that speak against the verdict, not yet enough of them.
    [[nodiscard]] bool in_doubt() const { return doubts_ > 0; }
    // "3 of 3", "1 of 2": how far it is, or how it came to be; empty if there is nothing to count.
    [[nodiscard]] std::string count(unsigned fall, unsigned rise) const;

  private:
    Health health_ = Health::unknown;
    unsigned doubts_ = 0;  // in a row
    bool alone_ = false;   // the first outcome decided
};

}  // namespace lbcluster::health
