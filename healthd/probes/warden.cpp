#include "healthd/probes/warden.hpp"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "healthd/probes/errors.hpp"

// Between fork() and execve() or _exit() only calls that are safe in a signal handler: no allocation, no stdio.
namespace lbcluster::health {
namespace {

enum Step : std::int32_t { step_fork, step_descriptors, step_user, step_folder, step_execve };

// Everything the children need, made before they exist.
struct Plan {
    std::vector<char*> arguments;
    std::vector<char*> environment;
    const User* user = nullptr;
    bool change_user = false;
    int input_fd = -1;
    int output_fd = -1;
    int end_fd = -1;
    pid_t daemon = 0;
};

// The children's descriptors of the warden: 0 to 2 are the program's, 3 is the way home.
constexpr int warden_end_fd = 3;

void tell(ProgramEnd::Kind kind, int value, std::int32_t step = 0) {
    const ProgramEnd end{kind, value, step};
    (void)!::write(warden_end_fd, &end, sizeof end);
}

[[noreturn]] void not_started(Step step) {
    tell(ProgramEnd::Kind::not_started, errno, step);
    ::_exit(127);
}

void default_signals() {
    struct sigaction action{};
    action.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) (void)::sigaction(signal, &action, nullptr);
}

[[noreturn]] void run_program(const Plan& plan) {
    (void)::setsid();
    // glibc's calls would tell other threads, which there are none of in a forked child.
    const User& user = *plan.user;
    if (plan.change_user && (::syscall(SYS_setgroups, user.groups.size(), user.groups.data()) != 0 ||
                             ::syscall(SYS_setresgid, user.gid, user.gid, user.gid) != 0 ||
                             ::syscall(SYS_setresuid, user.uid, user.uid, user.uid) != 0)) {
        not_started(step_user);
    }
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) not_started(step_user);
    (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);  // should somebody kill the warden
    if (::chdir("/") != 0) not_started(step_folder);
    (void)::umask(022);
    // The daemon's high limit breaks programs that use select() or close all they could have.
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > 1024) {
        files.rlim_cur = 1024;
        (void)::setrlimit(RLIMIT_NOFILE, &files);
    }
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    (void)::fcntl(warden_end_fd, F_SETFD, FD_CLOEXEC);
    ::execve(plan.arguments[0], plan.arguments.data(), plan.environment.data());
    not_started(step_execve);
}

// Our children: the file holds pids in decimal, each followed by a space.
void kill_children() {
    const int fd = ::open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    std::array<char, 4096> text;
    pid_t pid = 0;
    for (;;) {
        const ssize_t got = ::read(fd, text.data(), text.size());
        if (got <= 0) break;
        for (ssize_t i = 0; i < got; ++i) {
            const char c = text[static_cast<std::size_t>(i)];
            if (c >= '0' && c <= '9') {
                pid = pid * 10 + (c - '0');
            } else {
                if (pid > 1) (void)::kill(pid, SIGKILL);
                pid = 0;
            }
        }
    }
    ::close(fd);
}

// Kills what is below us until nothing is left: the children of a killed one become ours.
void kill_all(pid_t program) {
    for (;;) {
        (void)::kill(-program, SIGKILL);
        kill_children();
        // Blocks: what was killed will end. One that ended may leave new children to us.
        if (::waitpid(-1, nullptr, 0) < 0 && errno == ECHILD) return;
    }
}

[[noreturn]] void run_warden(const Plan& plan) {
    default_signals();
    (void)::setsid();
    (void)::prctl(PR_SET_NAME, "healthd-warden");
    // The pipes' ends that are ours may be among 0 to 3: first out of the way.
    const int end_fd = ::fcntl(plan.end_fd, F_DUPFD_CLOEXEC, 16);
    const int output_fd = ::fcntl(plan.output_fd, F_DUPFD_CLOEXEC, 16);
    const int input_fd = ::fcntl(plan.input_fd, F_DUPFD_CLOEXEC, 16);
    if (end_fd < 0 || ::dup2(end_fd, warden_end_fd) < 0) ::_exit(127);
    if (output_fd < 0 || input_fd < 0 || ::dup2(input_fd, 0) < 0 || ::dup2(output_fd, 1) < 0 ||
        ::dup2(output_fd, 2) < 0 || ::syscall(SYS_close_range, warden_end_fd + 1, ~0U, 0) != 0) {
        not_started(step_descriptors);
    }
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) {
        not_started(step_fork);
    }
    if (::getppid() != plan.daemon) ::_exit(0);  // it died before that was set

    const pid_t program = ::fork();
    if (program < 0) not_started(step_fork);
    if (program == 0) run_program(plan);
    // Only the program writes into its output from here on.
    for (const int fd : {0, 1, 2}) ::close(fd);

    sigset_t awaited;  // blocked since before the fork
    ::sigemptyset(&awaited);
    ::sigaddset(&awaited, SIGCHLD);
    ::sigaddset(&awaited, SIGTERM);
    for (;;) {
        const int signal = ::sigwaitinfo(&awaited, nullptr);
        if (signal == SIGTERM) break;
        if (signal != SIGCHLD) continue;
        int status = 0;
        pid_t ended = 0;
        bool program_ended = false;
        while ((ended = ::waitpid(-1, &status, WNOHANG)) > 0) {
            if (ended != program) continue;  // an orphan
            program_ended = true;
            if (WIFSIGNALED(status)) tell(ProgramEnd::Kind::killed, WTERMSIG(status));
            else tell(ProgramEnd::Kind::exited, WEXITSTATUS(status));
        }
        if (program_ended) break;
    }
    kill_all(program);
    ::_exit(0);
}

struct Pipe {
    int read_fd = -1;
    int write_fd = -1;
    Pipe() {
        int fds[2];
        if (::pipe2(fds, O_CLOEXEC) != 0) return;
        read_fd = fds[0];
        write_fd = fds[1];
        ::fcntl(read_fd, F_SETFL, O_NONBLOCK);
    }
    ~Pipe() {
        if (read_fd >= 0) ::close(read_fd);
        if (write_fd >= 0) ::close(write_fd);
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    int take_read_fd() {
        const int fd = read_fd;
        read_fd = -1;
        return fd;
    }
};

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> out;
    out.reserve(texts.size() + 1);
    for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
    out.push_back(nullptr);
    return out;
}

// The pid, or -1 with errno.
pid_t fork_warden(const Plan& plan) {
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, &before);  // no handler of ours may run in the child
    const pid_t pid = ::fork();
    if (pid == 0) run_warden(plan);
    const int code = errno;
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    errno = code;
    return pid;
}

}  // namespace

const char* step_text(std::int32_t step) {
    switch (step) {
        case step_descriptors:
            return "its descriptors";
        case step_user:
            return "become the user of run_as";
        case step_folder:
            return "chdir /";
        case step_execve:
            return "execve";
        default:
            return "fork";
    }
}

Result<User> User::find(const std::string& name) {
    std::vector<char> buffer(16 * 1024);
    passwd entry{};
    passwd* found = nullptr;
    const int code = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (found == nullptr) {
        return Error{"there is no user '" + name + "'" + (code != 0 ? ": " + error_text(code) : ""),
                     "name one that exists in run_as, or create it", code};
    }
    User user{name, entry.pw_dir, entry.pw_uid, entry.pw_gid, std::vector<gid_t>(64)};
    int count = static_cast<int>(user.groups.size());
    if (::getgrouplist(name.c_str(), user.gid, user.groups.data(), &count) < 0) {
        user.groups.resize(static_cast<std::size_t>(count));
        if (::getgrouplist(name.c_str(), user.gid, user.groups.data(), &count) < 0) count = 0;
    }
    user.groups.resize(static_cast<std::size_t>(count));
    return user;
}

Wardens::~Wardens() {
    for (auto& [id, warden] : wardens_) (void)::kill(warden.pid, SIGTERM);
}

Result<Program> Wardens::start(const std::vector<std::string>& arguments, const User& user,
                               const ProgramExtras& extras) {
    if (running() >= programs_max) {
        return Error{"too many external checks at once (" + std::to_string(programs_max) + ")", "", EAGAIN};
    }
    const auto failed = [](const char* what, int code) {
        return Error{std::string(what) + ": " + error_text(code), "", code};
    };
    std::vector<std::string> environment{std::string("PATH=") + program_path, "LANG=C.UTF-8", "HOME=" + user.home,
                                         "USER=" + user.name};
    environment.insert(environment.end(), extras.environment.begin(), extras.environment.end());
    Pipe output;
    Pipe end;
    if (output.read_fd < 0 || end.read_fd < 0) return failed("pipe", errno);
    const int input =
        extras.input_fd >= 0 ? ::fcntl(extras.input_fd, F_DUPFD_CLOEXEC, 3) : ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (input < 0) return failed("the input", errno);
    const Plan plan{
        pointers(arguments), pointers(environment), &user,     ::geteuid() == 0 || ::geteuid() != user.uid, input,
        output.write_fd,     end.write_fd,          ::getpid()};
    const pid_t pid = fork_warden(plan);
    const int code = errno;
    ::close(input);
    if (pid < 0) return failed("fork", code);
    // The child is not waited for yet, so its number is still its own.
    const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (pidfd < 0) {
        const int why = errno;
        (void)::kill(pid, SIGKILL);
        (void)::waitpid(pid, nullptr, 0);
        return failed("pidfd_open", why);
    }
    const std::uint64_t id = ++last_id_;
    Warden& warden = wardens_[id];
    warden.pid = pid;
    warden.pidfd = std::make_unique<boost::asio::posix::stream_descriptor>(io_, pidfd);
    warden.pidfd->async_wait(boost::asio::posix::descriptor_base::wait_read,
                             [this, id](const boost::system::error_code& error) {
                                 if (error) return;
                                 (void)::waitpid(wardens_.at(id).pid, nullptr, WNOHANG);
                                 wardens_.erase(id);
                             });
    return Program{id, output.take_read_fd(), end.take_read_fd()};
}

void Wardens::end(std::uint64_t id) {
    const auto found = wardens_.find(id);
    if (found != wardens_.end()) (void)::kill(found->second.pid, SIGTERM);
}

}  // namespace lbcluster::health
