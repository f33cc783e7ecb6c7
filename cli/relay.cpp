#include "relay.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace lbcluster::cli {
namespace {

Error error_of(const std::string& what, int code, const std::string& hint = "") {
    return {what + ": " + std::strerror(code), hint, code};
}

// One direction: at most a buffer full is on the way.
struct Direction {
    int from;
    int to;
    std::array<char, 65536> buffer{};
    std::size_t begin = 0;
    std::size_t end = 0;
    bool ended = false;  // `from` has

    [[nodiscard]] bool wants_to_read() const { return !ended && end == 0; }
    [[nodiscard]] bool wants_to_write() const { return end > begin; }

    Result<void> read() {
        const ssize_t got = ::read(from, buffer.data(), buffer.size());
        if (got < 0 && errno != EINTR && errno != EAGAIN) return error_of("cannot read", errno);
        if (got == 0) ended = true;
        if (got > 0) end = static_cast<std::size_t>(got);
        return {};
    }
    Result<void> write() {
        const ssize_t put = ::write(to, buffer.data() + begin, end - begin);
        if (put < 0 && errno != EINTR && errno != EAGAIN) return error_of("cannot write", errno);
        if (put > 0) begin += static_cast<std::size_t>(put);
        if (begin == end) begin = end = 0;
        return {};
    }
};

Result<void> pass_on(int socket, int in, int out) {
    Direction there{in, socket};
    Direction back{socket, out};
    while (!back.ended || back.wants_to_write()) {
        std::array<pollfd, 4> waiting{};
        const auto wait_for = [&](std::size_t i, bool wanted, int fd, short what) {
            waiting.at(i) = {wanted ? fd : -1, what, 0};
        };
        wait_for(0, there.wants_to_read(), in, POLLIN);
        wait_for(1, there.wants_to_write(), socket, POLLOUT);
        wait_for(2, back.wants_to_read(), socket, POLLIN);
        wait_for(3, back.wants_to_write(), out, POLLOUT);
        if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return error_of("poll", errno);
        Result<void> done;
        if (waiting[0].revents != 0) done = there.read();
        if (done && waiting[1].revents != 0) done = there.write();
        if (done && waiting[2].revents != 0) done = back.read();
        if (done && waiting[3].revents != 0) done = back.write();
        if (!done) return done;
        // The daemon sees the end, and what it still has to say comes through.
        if (there.ended && !there.wants_to_write() && there.to >= 0) {
            ::shutdown(socket, SHUT_WR);
            there.to = -1;
        }
    }
    return {};
}

}  // namespace

Result<void> relay(const std::string& path, int in, int out) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return error_of("cannot connect to " + path, ENAMETOOLONG);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) return error_of("cannot make a socket", errno);
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        const int code = errno;
        ::close(socket);
        return error_of("replicatord is not reached at " + path, code, "is it running on this node?");
    }
    auto done = pass_on(socket, in, out);
    ::close(socket);
    return done;
}

}  // namespace lbcluster::cli
