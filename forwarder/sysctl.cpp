#include "forwarder/sysctl.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace lbcluster::forward {

namespace {

std::string path_of(const std::string& name) {
    std::string path = "/proc/sys/";
    for (const char c : name) path += c == '.' ? '/' : c == '/' ? '.' : c;
    return path;
}

Error sysctl_error(const char* what, const std::string& name, int code) {
    return Error{std::string("cannot ") + what + " the sysctl " + name + ": " + std::strerror(code),
                 code == EROFS || code == EACCES ? "is /proc/sys read-only for forwarderd?" : "", code};
}

}  // namespace

Result<std::string> read_sysctl(const std::string& name) {
    const int fd = ::open(path_of(name).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return sysctl_error("read", name, errno);
    std::array<char, 256> buffer{};
    const ssize_t bytes = ::read(fd, buffer.data(), buffer.size());
    const int code = errno;
    ::close(fd);
    if (bytes < 0) return sysctl_error("read", name, code);
    std::string value(buffer.data(), static_cast<std::size_t>(bytes));
    while (!value.empty() && value.back() == '\n') value.pop_back();
    return value;
}

Result<void> write_sysctl(const std::string& name, const std::string& value) {
    const int fd = ::open(path_of(name).c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return sysctl_error("set", name, errno);
    const ssize_t bytes = ::write(fd, value.data(), value.size());
    const int code = errno;
    ::close(fd);
    if (bytes != static_cast<ssize_t>(value.size())) return sysctl_error("set", name, bytes < 0 ? code : EIO);
    return {};
}

}  // namespace lbcluster::forward
