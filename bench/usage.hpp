// What a process and its children take from the machine. From /proc, so it works for whatever program is measured.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>

namespace lbcluster::bench {

struct Usage {
    std::chrono::nanoseconds cpu{};  // of all threads, user and system
    std::size_t resident_kib = 0;    // what several processes share counts for each
    std::size_t own_kib = 0;         // of it what is no file's: neither programs nor libraries
    std::size_t processes = 0;
};

// A process that has ended, and its children, count nothing.
Usage usage_of(pid_t pid);
Usage usage_of_one(pid_t pid);  // without its children

}  // namespace lbcluster::bench
