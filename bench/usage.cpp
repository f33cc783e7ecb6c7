#include "bench/usage.hpp"

#include <ctime>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace lbcluster::bench {

namespace {

std::size_t memory_kib(const std::string& folder, const std::string& key) {
    std::ifstream status(folder + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(key)) return std::stoul(line.substr(key.size()));
    }
    return 0;
}

// To the nanosecond; /proc/PID/stat counts the same in hundredths of a second.
std::chrono::nanoseconds cpu_time(pid_t pid) {
    clockid_t clock{};
    timespec time{};
    if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return {};
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

Usage usage_of_one(pid_t pid) {
    const std::string folder = "/proc/" + std::to_string(pid);
    return {cpu_time(pid), memory_kib(folder, "VmRSS:"), memory_kib(folder, "RssAnon:"), 1};
}

Usage usage_of(pid_t pid) {
    Usage sum = usage_of_one(pid);
    std::ifstream list("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children");
    for (pid_t child = 0; list >> child;) {
        const Usage more = usage_of(child);
        sum.cpu += more.cpu;
        sum.resident_kib += more.resident_kib;
        sum.own_kib += more.own_kib;
        sum.processes += more.processes;
    }
    return sum;
}

}  // namespace lbcluster::bench
