// How long this machine keeps a processor from the most urgent thread there is: what a node cannot do better than. On a
// virtual machine the host stops one processor while the others go on, so each has a witness of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

class Witness {
  public:
    Witness();
    ~Witness();
    Witness(const Witness&) = delete;
    Witness& operator=(const Witness&) = delete;
    Witness(Witness&&) = delete;
    Witness& operator=(Witness&&) = delete;

    void mark();
    // The longest that a processor was late since mark().
    [[nodiscard]] Nanoseconds latest() const;

  private:
    void watch(int processor);

    std::atomic<bool> end_{false};
    std::atomic<std::int64_t> latest_ns_{0};
    std::vector<std::thread> threads_;  // one a processor
};

}  // namespace lbcluster::lab
