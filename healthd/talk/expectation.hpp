// `expect_text` and `expect_regex` of a check. Compiled expressions are kept for the next probe: a conversation is made
// anew each time, and most servers of a service share one. One thread.
#pragma once

#include <string>
#include <string_view>

#include "lbcluster/config.pb.h"

namespace lbcluster::health {

// `check` outlives it.
class Expectation {
  public:
    explicit Expectation(const config::Check& check) : check_(check) {}

    [[nodiscard]] bool any() const { return !check_.expect_text().empty() || !check_.expect_regex().empty(); }
    // Empty: `answer` is as expected. Else why not: `no "ready" in the answer`.
    [[nodiscard]] std::string missing(std::string_view answer) const;

  private:
    const config::Check& check_;
};

}  // namespace lbcluster::health
