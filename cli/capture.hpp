// What programs, sockets and files say, for the support bundle: each within a time and a size. Blocks.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "lbcluster/base/result.hpp"

namespace lbcluster::cli {

struct Limits {
    std::chrono::milliseconds time{10'000};
    std::size_t bytes = 2UL * 1024 * 1024;  // the rest is dropped, and said
};

// Its stdout and stderr, whatever its exit code; it is killed, with its children, when the time is over. ENOENT: there
// is no such program.
Result<std::string> capture(const std::vector<std::string>& arguments, const Limits& limits);
// What a Unix socket answers to `question` until it closes.
Result<std::string> ask_socket(const std::string& path, const std::string& question, const Limits& limits);
// Who listens there.
Result<pid_t> listener_of(const std::string& path);
// A file's end, if it is longer than the limit.
Result<std::string> tail_of(const std::string& path, std::size_t bytes_max);

}  // namespace lbcluster::cli
