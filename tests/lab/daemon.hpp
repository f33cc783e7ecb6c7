// A supervised daemon: started again at once when it dies, as systemd does with Restart=always RestartSec=0.
// A thread of its own waits for the process. Output is appended to a log file.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

class Daemon {
  public:
    Daemon(const Namespace& where, std::vector<std::string> argv, std::string log_path);
    ~Daemon();  // kills it
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    void start();
    // Ends it and does not start it again: SIGTERM, and SIGKILL after `patience`. Returns its exit code (128 + signal).
    int stop(Nanoseconds patience = 10s);
    // The machine lost power: SIGKILL, not started again until start().
    void vanish();
    // A signal to the process, if it runs; what follows from it is the supervisor's affair.
    void signal(int number);
    // Whether a process that died is started again (default: yes).
    void set_restart(bool restart);

    [[nodiscard]] bool running() const;
    [[nodiscard]] pid_t pid() const;  // -1: not running
    [[nodiscard]] unsigned starts() const;
    [[nodiscard]] std::string log() const;

  private:
    void supervise();

    const Namespace& where_;
    const std::vector<std::string> argv_;
    const std::string log_path_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    bool wanted_ = false;
    bool restart_ = true;
    bool ending_ = false;
    pid_t pid_ = -1;
    unsigned starts_ = 0;
    int last_exit_ = 0;
    std::thread thread_;
};

}  // namespace lbcluster::lab
