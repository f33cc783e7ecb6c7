#include "replicator/gate.hpp"

#include <pwd.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "lbcluster/bus/credentials.hpp"
#include "replicator/unix_stream.hpp"

namespace lbcluster::replicator {

namespace {

constexpr auto as_tuple = boost::asio::as_tuple(boost::asio::use_awaitable);

struct Ids {
    uid_t user = 0;
    gid_t group = 0;
};

// An entry of /etc/passwd; asked for again each time, as it may be made, or made again, while we run.
std::optional<Ids> account_ids() {
    std::array<char, 16384> buffer{};
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwnam_r(Gate::account, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
        return std::nullopt;
    }
    return Ids{entry.pw_uid, entry.pw_gid};
}

Error cannot(const std::string& what, const std::string& path, int code) {
    return {"cannot " + what + " " + path + ": " + std::strerror(code), "", code};
}

}  // namespace

Gate::Gate(boost::asio::io_context& io, std::string path, Handler handler)
    : executor_(io.get_executor()), path_(std::move(path)), handler_(std::move(handler)), acceptor_(io), pause_(io) {}

Result<void> Gate::listen() {
    const std::string temporary = path_ + ".new";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (temporary.size() >= sizeof address.sun_path) return cannot("listen on", path_, ENAMETOOLONG);
    std::memcpy(address.sun_path, temporary.c_str(), temporary.size() + 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return cannot("make a socket for", path_, errno);
    acceptor_.assign(boost::asio::local::stream_protocol(), fd);
    ::unlink(temporary.c_str());
    // Under another name first: nobody meets a socket that is not ready or has not got its mode yet.
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return cannot("listen on", path_, errno);
    }
    if (::chmod(temporary.c_str(), 0660) != 0 || ::listen(fd, static_cast<int>(streams_max)) != 0 ||
        ::rename(temporary.c_str(), path_.c_str()) != 0) {
        return cannot("listen on", path_, errno);
    }
    let_account_in();
    spawn(accept());
    return {};
}

void Gate::let_account_in() {
    if (account_known_) return;
    const auto ids = account_ids();
    if (!ids) return;
    account_known_ = true;
    if (::lchown(path_.c_str(), static_cast<uid_t>(-1), ids->group) != 0) {
        spdlog::warn("the peer cannot come in: group of {}: {}", path_, std::strerror(errno));
    }
}

void Gate::spawn(boost::asio::awaitable<void> what) {
    boost::asio::co_spawn(executor_, std::move(what), [self = shared_from_this()](const std::exception_ptr& error) {
        if (error) std::rethrow_exception(error);
    });
}

boost::asio::awaitable<void> Gate::accept() {
    while (!closed_) {
        auto [error, socket] = co_await acceptor_.async_accept(as_tuple);
        if (closed_) co_return;
        if (error) {
            spdlog::warn("cannot accept a stream of the peer: {}", error.message());
            pause_.expires_after(std::chrono::milliseconds(100));
            co_await pause_.async_wait(as_tuple);
            continue;
        }
        if (streams_ >= streams_max || !may_come_in(socket.native_handle())) continue;
        spawn(welcome(std::move(socket)));
    }
}

bool Gate::may_come_in(int socket) {
    const auto peer = bus::peer_credentials(socket);
    if (!peer) return false;
    if (peer->trusted()) return true;
    const auto ids = account_ids();
    if (ids && ids->user == peer->uid) return true;
    spdlog::warn("refused a stream: only {} may come in uid={} pid={}", account, peer->uid, peer->pid);
    return false;
}

boost::asio::awaitable<void> Gate::welcome(Socket socket) {
    ++streams_;
    auto channel = std::make_unique<Channel>(executor_, std::make_unique<UnixStream>(std::move(socket)));
    auto first = co_await channel->receive(first_patience);
    --streams_;
    if (!first || closed_) {
        if (!first) spdlog::info("a stream of the peer said nothing: {}", first.error().message);
        channel->close();
        co_return;
    }
    handler_(std::move(channel), std::move(*first));
}

void Gate::close() {
    if (std::exchange(closed_, true)) return;
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    ::unlink(path_.c_str());
}

}  // namespace lbcluster::replicator
