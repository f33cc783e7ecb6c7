#include "capture.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "lbcluster/base/descriptor.hpp"

namespace lbcluster::cli {
namespace {

using Clock = std::chrono::steady_clock;

Error error_of(const std::string& what, int code) { return {what + ": " + std::strerror(code), "", code}; }

// Until the end, the time or the size; what ended it stands in the last line if it was not the end.
std::string read_all(int fd, const Limits& limits, bool& ended) {
    const auto until = Clock::now() + limits.time;
    std::string out;
    std::array<char, 65536> part{};
    ended = false;
    while (out.size() < limits.bytes) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
        pollfd entry{fd, POLLIN, 0};
        if (left <= 0 || ::poll(&entry, 1, static_cast<int>(left)) <= 0) {
            if (left > 0 && errno == EINTR) continue;
            return out + "\n(cut off: it took longer than " + std::to_string(limits.time.count() / 1000) + " s)\n";
        }
        const ssize_t got = ::read(fd, part.data(), std::min(part.size(), limits.bytes - out.size()));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            ended = true;
            return out;
        }
        out.append(part.data(), static_cast<std::size_t>(got));
    }
    return out + "\n(cut off: there is more)\n";
}

Result<int> connected(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return error_of(path, ENAMETOOLONG);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return error_of("socket", errno);
    const timeval wait{2, 0};  // one whose queue is full answers nobody
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
    const int code = errno;
    ::close(fd);
    return error_of(path, code);
}

}  // namespace

Result<std::string> capture(const std::vector<std::string>& arguments, const Limits& limits) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return error_of("pipe", errno);
    Descriptor in(pipe[0]);
    Descriptor out(pipe[1]);
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&files, out.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&files, out.get(), STDERR_FILENO);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);  // a group of its own, to be killed as one
    pid_t pid = -1;
    const int code = ::posix_spawnp(&pid, argv[0], &files, &attributes, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
    if (code != 0) return error_of(arguments[0], code);
    out.reset();
    bool ended = false;
    std::string text = read_all(in.get(), limits, ended);
    if (!ended) ::kill(-pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return text;
}

Result<std::string> ask_socket(const std::string& path, const std::string& question, const Limits& limits) {
    auto socket = connected(path);
    if (!socket) return socket.error();
    const Descriptor file(*socket);
    if (::send(*socket, question.data(), question.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(question.size())) {
        return error_of(path, errno);
    }
    bool ended = false;
    return read_all(*socket, limits, ended);
}

Result<pid_t> listener_of(const std::string& path) {
    auto socket = connected(path);
    if (!socket) return socket.error();
    const Descriptor file(*socket);
    ucred who{};
    socklen_t size = sizeof who;
    if (::getsockopt(*socket, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return error_of(path, errno);
    // 0 would be ourselves to whoever asks about it.
    if (who.pid <= 0) return Error{"who listens at " + path + " is in another pid namespace", "", ESRCH};
    return who.pid;
}

Result<std::string> tail_of(const std::string& path, std::size_t bytes_max) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
    struct stat info{};
    if (file.get() < 0 || ::fstat(file.get(), &info) != 0) return error_of(path, errno);
    if (!S_ISREG(info.st_mode)) return Error{path + " is no file", "", EINVAL};
    if (info.st_size > static_cast<off_t>(bytes_max)) ::lseek(file.get(), -static_cast<off_t>(bytes_max), SEEK_END);
    std::string out(bytes_max, '\0');  // files of /proc have no size
    std::size_t have = 0;
    while (have < out.size()) {
        const ssize_t got = ::read(file.get(), out.data() + have, out.size() - have);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_of(path, errno);
        if (got == 0) break;
        have += static_cast<std::size_t>(got);
    }
    out.resize(have);
    return out;
}

}  // namespace lbcluster::cli
