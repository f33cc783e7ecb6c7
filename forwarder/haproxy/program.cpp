#include "forwarder/haproxy/program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "forwarder/core/proxy_text.hpp"
#include "lbcluster/base/descriptor.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::forward {

namespace {

constexpr std::size_t said_bytes_max = 16384;
constexpr std::uint32_t connections_wanted = 50000;

Error system_error(const std::string& what, int code) { return Error{what + ": " + std::strerror(code), "", code}; }

// A new session, and signals as they are at a login: what is ignored or blocked here is our affair.
Result<pid_t> spawn(const std::vector<std::string>& words, int output) {
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t files;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_init(&files);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    pid_t pid = -1;
    const int code = ::posix_spawn(&pid, argv[0], &files, &attributes, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
    if (code != 0) return system_error("cannot start " + words[0], code);
    return pid;
}

// What comes out until the other end is closed; false when `limit` has passed before.
bool read_all(int fd, milliseconds limit, std::string& out) {
    const auto end = std::chrono::steady_clock::now() + limit;
    std::array<char, 4096> buffer{};
    for (;;) {
        const auto left = std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now());
        if (left <= 0ms) return false;
        pollfd wait{fd, POLLIN, 0};
        if (::poll(&wait, 1, static_cast<int>(left.count())) < 0 && errno != EINTR) return false;
        if (wait.revents == 0) continue;
        const ssize_t bytes = ::read(fd, buffer.data(), buffer.size());
        if (bytes == 0) return true;
        if (bytes < 0 && errno != EINTR) return false;
        if (bytes > 0 && out.size() < said_bytes_max) out.append(buffer.data(), static_cast<std::size_t>(bytes));
    }
}

}  // namespace

Result<std::string> find_proxy_program() {
    std::vector<std::string> places{"/usr/sbin/haproxy", "/usr/local/sbin/haproxy"};
    if (const char* given = std::getenv("LBCLUSTER_HAPROXY"); given != nullptr && *given != '\0') places = {given};
    for (const std::string& place : places) {
        if (::access(place.c_str(), X_OK) == 0) return place;
    }
    return Error{"HAProxy is not installed: there is no " + places[0], "apt-get install haproxy", ENOENT};
}

std::uint32_t proxy_connections_max() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1000;
    // Two files a connection, and some for listening and for itself.
    const auto files = static_cast<std::uint64_t>(limit.rlim_max);
    const std::uint64_t can = files > 2000 ? (files - 1000) / 2 : 500;
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(can, connections_wanted));
}

bool has_proxy_user() {
    std::array<char, 4096> buffer{};
    passwd entry{};
    passwd* found = nullptr;
    return ::getpwnam_r("haproxy", &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr;
}

Result<void> check_proxy_file(const std::string& program, const std::string& path, milliseconds limit) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return system_error("cannot make a pipe", errno);
    const Descriptor in(ends[0]);
    Result<pid_t> pid = [&] {
        const Descriptor out(ends[1]);
        return spawn({program, "-c", "-f", path}, out.get());
    }();
    if (!pid) return pid.error();
    std::string said;
    const bool ended = read_all(in.get(), limit, said);
    if (!ended) ::kill(*pid, SIGKILL);
    int status = 0;
    while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!ended) return Error{"checking the file took too long", "", ETIMEDOUT};
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return Error{said.empty() ? "it ended with status " + std::to_string(status) : said, "", EINVAL};
}

Result<ProxyProcess> start_proxy(const std::string& program, const ProxyFiles& files) {
    const Descriptor log(::open(files.log().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
    if (log.get() < 0) return system_error("cannot open " + files.log(), errno);
    const auto pid = spawn({program, "-W", "-S", files.master_socket() + ",mode,600", "-f", files.config()}, log.get());
    if (!pid) return pid.error();
    return watch_process(*pid);
}

Result<ProxyProcess> watch_process(pid_t pid) {
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0) return system_error("cannot watch process " + std::to_string(pid), errno);
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    return ProxyProcess{pid, fd};
}

ProxyProcess find_proxy(const ProxyFiles& files) {
    const std::string path = files.master_socket();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return {};
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (socket.get() < 0) return {};
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
    ucred who{};
    socklen_t size = sizeof who;
    // Whoever began to listen there: the master, whatever it has executed since.
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 || who.pid <= 0) return {};
    const auto process = watch_process(who.pid);
    return process ? *process : ProxyProcess{};
}

Result<void> end_proxy(const ProxyFiles& files, milliseconds limit) {
    const ProxyProcess process = find_proxy(files);
    if (process.pid <= 0) return {};
    const Descriptor fd(process.fd);
    const std::string what = "HAProxy (process " + std::to_string(process.pid) + ")";
    // The master takes its workers along: on SIGTERM it waits for them, and without it they end by themselves.
    for (const int signal : {SIGTERM, SIGKILL}) {
        if (::syscall(SYS_pidfd_send_signal, fd.get(), signal, nullptr, 0) != 0 && errno != ESRCH) {
            Error error = system_error("cannot end " + what, errno);
            error.hint = "end it as root: kill " + std::to_string(process.pid);
            return error;
        }
        pollfd wait{fd.get(), POLLIN, 0};
        if (::poll(&wait, 1, static_cast<int>(limit.count())) > 0) return {};
    }
    return Error{what + " does not end: " + std::strerror(ETIMEDOUT), "it ends with the next boot", ETIMEDOUT};
}

void reap(pid_t pid) {
    int status = 0;
    ::waitpid(pid, &status, WNOHANG);
}

Result<void> write_certificates(const ProxyFiles& files, const std::map<std::string, std::string>& certificates) {
    if (certificates.empty()) return {};
    const std::string folder = proxy_certificates_path(files.run_dir);
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return system_error("cannot make " + folder, errno);
    for (const auto& [name, bytes] : certificates) {
        const std::string path = folder + "/" + name;
        const auto there = config::read_text(path);
        if (there && *there == bytes) continue;
        if (auto done = config::write_atomically(path, bytes, 0600); !done) return done;
    }
    return {};
}

Result<void> keep_certificates(const ProxyFiles& files, const std::map<std::string, std::string>& certificates) {
    std::error_code error;
    std::filesystem::directory_iterator folder(proxy_certificates_path(files.run_dir), error);
    if (error) return {};  // there were none
    std::vector<std::filesystem::path> going;
    for (; folder != std::filesystem::directory_iterator(); folder.increment(error)) {
        if (error) break;
        if (!certificates.contains(folder->path().filename().string())) going.push_back(folder->path());
    }
    for (const std::filesystem::path& one : going) {
        if (::unlink(one.c_str()) != 0) return system_error("cannot remove " + one.string(), errno);
    }
    return {};
}

std::string read_proxy_log(const ProxyFiles& files) {
    const Descriptor log(::open(files.log().c_str(), O_RDONLY | O_CLOEXEC));
    if (log.get() < 0) return "";
    const off_t size = ::lseek(log.get(), 0, SEEK_END);
    std::string out(static_cast<std::size_t>(std::clamp<off_t>(size, 0, said_bytes_max)), '\0');
    const ssize_t bytes = ::pread(log.get(), out.data(), out.size(), size - static_cast<off_t>(out.size()));
    out.resize(static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
    return out;
}

void empty_proxy_log(const ProxyFiles& files) {
    // It is opened for appending there, so the next line comes first.
    if (::truncate(files.log().c_str(), 0) != 0) return;
}

}  // namespace lbcluster::forward
