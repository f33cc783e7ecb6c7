// Processes and network namespaces for the lab.
//
// `run_isolated` gives a test process its own network, mount and pid namespaces with an empty /run, so that labs
// run side by side and nothing outlives the outermost process (killing it kills everything inside: the
// kernel ends a pid namespace with its first process). `Namespace` is one host inside. A command started
// "in" a host is spawned by a short-lived thread that entered the host's network namespace: setns(2) is per thread.
//
// Test code: what should not fail throws std::runtime_error, and the test framework reports it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace lbcluster::lab {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Nanoseconds = std::chrono::nanoseconds;

// Runs `body` as the first process of new network, mount and pid namespaces and returns its exit code. Call it first in
// main, before any thread. `on_started` is called outside with the pid that the inner process has there.
int run_isolated(const std::function<int()>& body, const std::function<void(pid_t)>& on_started = {});

// One host: a network namespace, visible to ip(8) as /run/netns/NAME, and a pid namespace, /run/netns/NAME.pid, so
// that `pkill` on one host means that host.
class Namespace {
  public:
    explicit Namespace(std::string name);
    ~Namespace();
    Namespace(const Namespace&) = delete;
    Namespace& operator=(const Namespace&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    // Moves the calling thread into the network, and its future children among the host's processes, for good.
    void enter() const;
    // Every process of the host ends at once, as without power.
    void kill_all();
    // Calls `function` on a thread inside the namespace and waits for it; what it throws is thrown here.
    void run(const std::function<void()>& function) const;

  private:
    void start_processes();
    void end_processes();

    std::string name_;
    int net_ = -1;
    int processes_ = -1;
    pid_t init_ = -1;
};

struct Spawn {
    std::vector<std::string> argv;
    std::vector<std::string> env = {};  // NAME=value, beside the inherited environment
    int in = -1;                        // -1: /dev/null
    int out = -1;                       // -1: inherited
    int err = -1;
};

// Starts a process in `where` (nullptr: here) and returns its pid. The caller waits for it.
pid_t spawn(const Namespace* where, const Spawn& what);

struct Outcome {
    int exit_code = -1;  // 128 + signal if it was killed
    std::string out;
    std::string err;
    [[nodiscard]] bool ok() const { return exit_code == 0; }
};

// Runs a command to its end; killed after `limit`. `input` goes to its standard input.
Outcome run(const Namespace* where, const std::vector<std::string>& argv, const std::string& input = "",
            const std::vector<std::string>& env = {}, Nanoseconds limit = 20s);

// As run(), and throws unless it ended with 0.
std::string must_run(const Namespace* where, const std::vector<std::string>& argv, const std::string& input = "");

// True as soon as `condition` is; false after `limit`. Looks every `pace`.
bool wait_until(const std::function<bool()>& condition, Nanoseconds limit, Nanoseconds pace = 2ms);

// SCHED_FIFO for the calling thread; false where that is not permitted.
bool use_realtime(int priority);

// Processes of this name on any host of the lab, and a line of /proc/PID/status: "Uid", "VmRSS".
std::vector<pid_t> processes_named(const std::string& name);
std::string process_status(pid_t pid, const std::string& key);

void write_file(const std::string& path, const std::string& text, unsigned mode = 0644);
std::string read_file(const std::string& path);

[[noreturn]] void fail(const std::string& what);        // throws, with `what`
[[noreturn]] void fail_errno(const std::string& what);  // throws, with `what` and errno's text

}  // namespace lbcluster::lab
