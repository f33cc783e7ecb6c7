#include "tests/lab/process.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

extern char** environ;

namespace lbcluster::lab {

void fail(const std::string& what) { throw std::runtime_error(what); }
void fail_errno(const std::string& what) { fail(what + ": " + std::strerror(errno)); }

namespace {

void loopback_up() {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail_errno("socket");
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    const int result = ::ioctl(fd, SIOCSIFFLAGS, &request);
    ::close(fd);
    if (result != 0) fail_errno("cannot bring lo up");
}

int exit_code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

int first_process(const std::function<int()>& body) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::signal(SIGPIPE, SIG_IGN);
    try {
        if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) fail_errno("mount --make-rprivate /");
        if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, nullptr) != 0) fail_errno("mount /proc");
        if (::mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") != 0) fail_errno("mount /run");
        if (::mkdir("/run/netns", 0755) != 0) fail_errno("mkdir /run/netns");
        loopback_up();
        return body();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "lab: %s\n", error.what());
        return 1;
    }
}

}  // namespace

int run_isolated(const std::function<int()>& body, const std::function<void(pid_t)>& on_started) {
    if (::unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID) != 0) {
        std::fprintf(stderr, "lab: cannot make namespaces: %s. The lab needs root.\n", std::strerror(errno));
        return 1;
    }
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) {
        std::perror("lab: fork");
        return 1;
    }
    if (child == 0) {
        const int code = first_process(body);
        std::fflush(nullptr);
        // Not exit(): what would be taken down by hand, the kernel takes down with the namespace.
        ::_exit(code);
    }
    if (on_started) on_started(child);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return exit_code_of(status);
}

Namespace::Namespace(std::string name) : name_(std::move(name)) {
    const std::string path = "/run/netns/" + name_;
    std::exception_ptr error;
    std::thread maker([&] {
        try {
            if (::unshare(CLONE_NEWNET) != 0) fail_errno("unshare for " + name_);
            write_file(path, "");
            if (::mount("/proc/thread-self/ns/net", path.c_str(), "none", MS_BIND, nullptr) != 0)
                fail_errno("mount " + path);
            loopback_up();
        } catch (...) {
            error = std::current_exception();
        }
    });
    maker.join();
    if (error) std::rethrow_exception(error);
    net_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (net_ < 0) fail_errno("open " + path);
    start_processes();
}

// The host's first process does nothing but be there: a pid namespace lives as long as it does.
void Namespace::start_processes() {
    init_ = static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (init_ < 0) fail_errno("clone for " + name_);
    if (init_ == 0) {
        // Only what is safe after a fork of a process with threads. Ignoring SIGCHLD reaps orphans.
        std::signal(SIGCHLD, SIG_IGN);
        // What the lab has open is not kept open by a host: sockets would hold their ports.
        ::close_range(3, ~0U, 0);
        while (true) ::pause();
    }
    const std::string own = "/proc/" + std::to_string(init_) + "/ns/pid";
    const std::string path = "/run/netns/" + name_ + ".pid";
    write_file(path, "");
    if (::mount(own.c_str(), path.c_str(), "none", MS_BIND, nullptr) != 0) fail_errno("mount " + path);
    processes_ = ::open(own.c_str(), O_RDONLY | O_CLOEXEC);
    if (processes_ < 0) fail_errno("open " + own);
}

void Namespace::end_processes() {
    const std::string path = "/run/netns/" + name_ + ".pid";
    ::kill(init_, SIGKILL);
    ::waitpid(init_, nullptr, 0);
    ::close(processes_);
    ::umount2(path.c_str(), MNT_DETACH);
    ::unlink(path.c_str());
}

void Namespace::kill_all() {
    end_processes();
    start_processes();
}

Namespace::~Namespace() {
    end_processes();
    const std::string path = "/run/netns/" + name_;
    ::close(net_);
    ::umount2(path.c_str(), MNT_DETACH);
    ::unlink(path.c_str());
}

void Namespace::enter() const {
    if (::setns(net_, CLONE_NEWNET) != 0) fail_errno("setns " + name_);
    if (::setns(processes_, CLONE_NEWPID) != 0) fail_errno("setns, processes of " + name_);
}

void Namespace::run(const std::function<void()>& function) const {
    std::exception_ptr error;
    std::thread worker([&] {
        try {
            enter();
            function();
        } catch (...) {
            error = std::current_exception();
        }
    });
    worker.join();
    if (error) std::rethrow_exception(error);
}

pid_t spawn(const Namespace* where, const Spawn& what) {
    std::vector<char*> argv;
    for (const auto& word : what.argv) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    // Later entries of the same name come first: getenv(3) finds the first one.
    std::vector<char*> env;
    for (const auto& entry : what.env) env.push_back(const_cast<char*>(entry.c_str()));
    for (char** entry = environ; *entry != nullptr; ++entry) env.push_back(*entry);
    env.push_back(nullptr);

    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    if (what.in >= 0) posix_spawn_file_actions_adddup2(&files, what.in, 0);
    else posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (what.out >= 0) posix_spawn_file_actions_adddup2(&files, what.out, 1);
    if (what.err >= 0) posix_spawn_file_actions_adddup2(&files, what.err, 2);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigset_t broken_pipe;
    sigemptyset(&none);
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &broken_pipe);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

    pid_t pid = -1;
    int result = 0;
    const auto start = [&] { result = ::posix_spawnp(&pid, argv[0], &files, &attributes, argv.data(), env.data()); };
    if (where != nullptr) where->run(start);
    else start();
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (result != 0) fail("cannot start " + what.argv[0] + ": " + std::strerror(result));
    return pid;
}

namespace {

struct Pipe {
    std::array<int, 2> fd{-1, -1};
    Pipe() {
        if (::pipe2(fd.data(), O_CLOEXEC) != 0) fail_errno("pipe");
    }
    ~Pipe() {
        close_end(0);
        close_end(1);
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    void close_end(std::size_t end) {
        if (fd[end] >= 0) ::close(fd[end]);
        fd[end] = -1;
    }
};

// Reads both pipes until they are closed; false at the deadline.
bool collect(Pipe& out, Pipe& err, Outcome& outcome, TimePoint deadline) {
    std::array<char, 65536> buffer{};
    while (out.fd[0] >= 0 || err.fd[0] >= 0) {
        std::array<pollfd, 2> fds{pollfd{out.fd[0], POLLIN, 0}, pollfd{err.fd[0], POLLIN, 0}};
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
        if (left <= 0) return false;
        if (::poll(fds.data(), fds.size(), static_cast<int>(left)) < 0 && errno != EINTR) fail_errno("poll");
        for (std::size_t i = 0; i < fds.size(); ++i) {
            if ((fds[i].revents & (POLLIN | POLLHUP)) == 0) continue;
            const ssize_t bytes = ::read(fds[i].fd, buffer.data(), buffer.size());
            if (bytes > 0) (i == 0 ? outcome.out : outcome.err).append(buffer.data(), static_cast<std::size_t>(bytes));
            else (i == 0 ? out : err).close_end(0);
        }
    }
    return true;
}

}  // namespace

Outcome run(const Namespace* where, const std::vector<std::string>& argv, const std::string& input,
            const std::vector<std::string>& env, Nanoseconds limit) {
    const TimePoint deadline = Clock::now() + limit;
    Pipe in;
    Pipe out;
    Pipe err;
    if (input.size() > 60000) ::fcntl(in.fd[1], F_SETPIPE_SZ, 1 << 20);
    const pid_t pid = spawn(where, Spawn{argv, env, in.fd[0], out.fd[1], err.fd[1]});
    in.close_end(0);
    out.close_end(1);
    err.close_end(1);
    if (!input.empty() && ::write(in.fd[1], input.data(), input.size()) != static_cast<ssize_t>(input.size()))
        fail_errno("cannot write to " + argv[0]);
    in.close_end(1);
    Outcome outcome;
    const bool in_time = collect(out, err, outcome, deadline);
    if (!in_time) {
        ::kill(pid, SIGKILL);
        outcome.err += "\n(killed by the lab: no end after its time limit)\n";
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    outcome.exit_code = exit_code_of(status);
    return outcome;
}

std::string must_run(const Namespace* where, const std::vector<std::string>& argv, const std::string& input) {
    Outcome outcome = run(where, argv, input);
    if (!outcome.ok()) {
        std::string line;
        for (const auto& word : argv) line += word + " ";
        fail((where != nullptr ? where->name() + ": " : "") + line + "failed: " + outcome.err + outcome.out + input);
    }
    return outcome.out;
}

bool wait_until(const std::function<bool()>& condition, Nanoseconds limit, Nanoseconds pace) {
    const TimePoint deadline = Clock::now() + limit;
    while (!condition()) {
        if (Clock::now() >= deadline) return false;
        std::this_thread::sleep_for(pace);
    }
    return true;
}

bool use_realtime(int priority) {
    sched_param parameter{};
    parameter.sched_priority = priority;
    return ::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &parameter) == 0;
}

std::vector<pid_t> processes_named(const std::string& name) {
    std::vector<pid_t> out;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const pid_t pid = std::atoi(entry.path().filename().c_str());
        if (pid > 0 && process_status(pid, "Name") == name) out.push_back(pid);
    }
    return out;
}

std::string process_status(pid_t pid, const std::string& key) {
    std::ifstream lines("/proc/" + std::to_string(pid) + "/status");  // one that has ended has none
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(key + ":\t")) return line.substr(key.size() + 2);
    }
    return "";
}

void write_file(const std::string& path, const std::string& text, unsigned mode) {
    // Written beside and renamed, as an editor or the product does: whoever watches sees one change.
    const std::string temporary = path + ".lab-tmp";
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0) fail_errno("open " + temporary);
    ::fchmod(fd, mode);
    const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::close(fd);
    if (!written) fail_errno("write " + temporary);
    if (::rename(temporary.c_str(), path.c_str()) != 0) fail_errno("rename " + path);
}

std::string read_file(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

}  // namespace lbcluster::lab
