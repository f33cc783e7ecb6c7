#include "lbcluster/base/memory.hpp"

#include <malloc.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>

namespace lbcluster {

namespace {

// A mapping as /proc/self/smaps (proc_pid_smaps(5)) tells of it: a line of its own, then one a figure.
struct Mapping {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    bool file_only_read = false;
    // What was changed, by relocation above all, is in no file, be it in memory or swapped: such a mapping stays.
    unsigned long changed_kib = 0;
};

std::optional<Mapping> header(const std::string& line) {
    Mapping mapping;
    char permissions[5] = {};
    unsigned long inode = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %lu", &mapping.begin, &mapping.end, permissions, &inode) != 4)
        return std::nullopt;
    mapping.file_only_read = inode != 0 && permissions[1] == '-' && permissions[3] == 'p';
    return mapping;
}

}  // namespace

void trim_memory() {
    ::malloc_trim(0);
    std::ifstream maps("/proc/self/smaps");
    Mapping mapping;
    for (std::string line; std::getline(maps, line);) {
        unsigned long kib = 0;
        if (const auto next = header(line)) mapping = *next;
        else if (std::sscanf(line.c_str(), "Anonymous: %lu kB", &kib) == 1) mapping.changed_kib = kib;
        else if (std::sscanf(line.c_str(), "Swap: %lu kB", &kib) == 1 && mapping.file_only_read &&
                 mapping.changed_kib + kib == 0)
            (void)::madvise(reinterpret_cast<void*>(mapping.begin), mapping.end - mapping.begin, MADV_DONTNEED);
    }
}

}  // namespace lbcluster
