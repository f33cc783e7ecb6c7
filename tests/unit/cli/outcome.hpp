// Runs the command line's program as a user would.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

namespace lbcluster::cli {

struct Outcome {
    int exit_code = -1;
    std::string out;  // stdout and stderr
    [[nodiscard]] nlohmann::json json() const { return nlohmann::json::parse(out, nullptr, false); }
};

// A configuration, its state and the sockets of the daemons in one folder.
inline std::string command_in(const std::string& folder, const std::string& arguments) {
    return std::string(LBCLUSTER_PROGRAM) + " --run-dir " + folder + " --state-dir " + folder + " --config-dir " +
           folder + " " + arguments;
}

inline Outcome outcome_of(const std::string& command) {
    Outcome outcome;
    FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return outcome;
    std::array<char, 4096> part{};
    while (const std::size_t n = std::fread(part.data(), 1, part.size(), pipe)) outcome.out.append(part.data(), n);
    const int status = ::pclose(pipe);
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return outcome;
}

}  // namespace lbcluster::cli
