#include "tests/lab/daemon.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace lbcluster::lab {

Daemon::Daemon(const Namespace& where, std::vector<std::string> argv, std::string log_path)
    : where_(where), argv_(std::move(argv)), log_path_(std::move(log_path)), thread_([this] { supervise(); }) {}

Daemon::~Daemon() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
        wanted_ = false;
        if (pid_ > 0) ::kill(pid_, SIGKILL);
    }
    changed_.notify_all();
    thread_.join();
}

void Daemon::supervise() {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return wanted_ || ending_; });
        if (ending_) return;
        const int log = ::open(log_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        try {
            pid_ = spawn(&where_, Spawn{argv_, {}, -1, log, log});
        } catch (const std::exception& error) {
            const std::string text = std::string("lab: ") + error.what() + "\n";
            [[maybe_unused]] const ssize_t ignored = ::write(log, text.data(), text.size());
            wanted_ = false;
        }
        if (log >= 0) ::close(log);
        if (pid_ <= 0) continue;
        ++starts_;
        const TimePoint begun = Clock::now();
        changed_.notify_all();
        const pid_t pid = pid_;
        lock.unlock();
        siginfo_t info{};
        // The zombie is kept until pid_ is cleared, so that a signal never meets a stranger with the same pid.
        while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
        }
        lock.lock();
        pid_ = -1;
        int status = 0;
        ::waitpid(pid, &status, 0);
        last_exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (!restart_) wanted_ = false;
        changed_.notify_all();
        // A daemon that cannot even start must not become a fork bomb.
        if (Clock::now() - begun < 20ms) changed_.wait_for(lock, 100ms, [this] { return !wanted_ || ending_; });
    }
}

void Daemon::start() {
    std::unique_lock lock(mutex_);
    wanted_ = true;
    const unsigned before = starts_;
    if (pid_ > 0) return;
    changed_.notify_all();
    if (!changed_.wait_for(lock, 5s, [&] { return starts_ != before || !wanted_; }) || starts_ == before)
        fail("cannot start " + argv_.front());
}

int Daemon::stop(Nanoseconds patience) {
    std::unique_lock lock(mutex_);
    wanted_ = false;
    if (pid_ > 0) ::kill(pid_, SIGTERM);
    changed_.notify_all();
    if (!changed_.wait_for(lock, patience, [this] { return pid_ <= 0; })) {
        ::kill(pid_, SIGKILL);
        changed_.wait(lock, [this] { return pid_ <= 0; });
    }
    return last_exit_;
}

void Daemon::vanish() {
    std::unique_lock lock(mutex_);
    wanted_ = false;
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    changed_.notify_all();
    changed_.wait(lock, [this] { return pid_ <= 0; });
}

void Daemon::signal(int number) {
    const std::lock_guard lock(mutex_);
    if (pid_ > 0) ::kill(pid_, number);
}

void Daemon::set_restart(bool restart) {
    const std::lock_guard lock(mutex_);
    restart_ = restart;
}

bool Daemon::running() const { return pid() > 0; }
pid_t Daemon::pid() const {
    const std::lock_guard lock(mutex_);
    return pid_;
}
unsigned Daemon::starts() const {
    const std::lock_guard lock(mutex_);
    return starts_;
}
std::string Daemon::log() const { return read_file(log_path_); }

}  // namespace lbcluster::lab
