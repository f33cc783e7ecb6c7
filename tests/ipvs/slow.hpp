// Commands in the bed: its machine is ten times slower than this one, and fifty times when others want the processors.
#pragma once

#include <string>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

// Also the first call of nft, which loads a dozen modules.
inline constexpr Nanoseconds slow_limit = 120s;

inline std::string must_run_slowly(const Namespace* where, const std::vector<std::string>& argv) {
    const Outcome outcome = run(where, argv, "", {}, slow_limit);
    if (!outcome.ok()) fail(argv.front() + " failed: " + outcome.err + outcome.out);
    return outcome.out;
}

}  // namespace lbcluster::lab
