#include "lbcluster/bus/request.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "lbcluster/base/descriptor.hpp"
#include "lbcluster/bus/credentials.hpp"
#include "lbcluster/bus/frame.hpp"

namespace lbcluster::bus {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t items_max = 65536;  // a server that sends more is not ours
constexpr auto full_backlog_pause = milliseconds{5};

std::string daemon_of(const std::string& path) {
    const std::string name = path.substr(path.rfind('/') + 1);
    return name.size() > 5 && name.ends_with(".sock") ? name.substr(0, name.size() - 5) : name;
}

Error not_running(const std::string& path, int code) {
    const std::string daemon = daemon_of(path);
    const std::string why = code == ENOENT ? "no socket at " + path : "nobody listens on " + path;
    return {daemon + " is not running (" + why + ")",
            "start it with 'systemctl start " + daemon + "', or name its folder with --run-dir", code};
}

// A connection with one deadline for all it does until the caller sets another.
class Wire {
  public:
    Wire(std::string path, milliseconds timeout) : path_(std::move(path)), deadline_(Clock::now() + timeout) {}

    Result<void> connect();
    Result<void> greet(const Frame& request);  // our hello and the request, then the server's hello
    Result<void> send(const std::string& bytes);
    // The next frame; nothing when `limit` (a time) has come first. Without one the deadline is an error.
    Result<std::optional<Frame>> receive(std::optional<Clock::time_point> limit = std::nullopt);
    void no_deadline() { deadline_ = Clock::time_point::max(); }

    [[nodiscard]] const Hello& server() const { return server_; }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    [[nodiscard]] Error timed_out() const;
    [[nodiscard]] Error broken(int code) const;
    // False when `until` has come.
    Result<bool> wait(short events, Clock::time_point until) const;

    std::string path_;
    Clock::time_point deadline_;
    Descriptor fd_;
    FrameDecoder decoder_;
    Hello server_;
};

Error Wire::timed_out() const {
    return {daemon_of(path_) + " did not answer in time (" + path_ + ")",
            "it may be stopped or overloaded; see its log and 'systemctl status " + daemon_of(path_) + "'", ETIMEDOUT};
}

Error Wire::broken(int code) const {
    return {"the connection to " + daemon_of(path_) + " broke (" + path_ + "): " + std::strerror(code),
            "it may have been restarted, or it has too many clients; try again, and see its log", code};
}

Result<bool> Wire::wait(short events, Clock::time_point until) const {
    for (;;) {
        int timeout = -1;
        if (until != Clock::time_point::max()) {
            const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
            timeout = static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX));
        }
        pollfd entry{fd_.get(), events, 0};
        const int ready = ::poll(&entry, 1, timeout);
        if (ready > 0) {
            return true;
        }
        if (ready == 0) {
            return false;
        }
        if (errno != EINTR) {
            return broken(errno);
        }
    }
}

Result<void> Wire::connect() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path_.size() >= sizeof address.sun_path) {
        return Error{path_ + " is too long for a socket", "choose a shorter --run-dir", ENAMETOOLONG};
    }
    std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
    fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd_) {
        return Error{std::string("cannot make a socket: ") + std::strerror(errno), "", errno};
    }
    while (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        const int code = errno;
        if (code == ENOENT || code == ECONNREFUSED || code == ENOTDIR) {
            return not_running(path_, code == ENOTDIR ? ENOENT : code);
        }
        if (code == EACCES || code == EPERM) {
            return Error{"no permission to talk to " + daemon_of(path_) + " (" + path_ + ")",
                         "use root (sudo), or for reading a member of the group 'lbcluster'", EACCES};
        }
        if (code != EAGAIN && code != EINTR) {
            return broken(code);
        }
        if (Clock::now() >= deadline_) {  // EAGAIN: the backlog is full, the server takes nobody
            return timed_out();
        }
        ::poll(nullptr, 0, static_cast<int>(full_backlog_pause.count()));
    }
    const auto peer = peer_credentials(fd_.get());
    if (!peer.ok()) {
        return peer.error();
    }
    if (!peer.value().trusted()) {
        return Error{path_ + " is served by uid " + std::to_string(peer.value().uid) + ", not by root",
                     "somebody else put this socket there: check who may write to its folder", EACCES};
    }
    return {};
}

Result<void> Wire::send(const std::string& bytes) {
    for (std::size_t sent = 0; sent < bytes.size();) {
        const ssize_t n = ::send(fd_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        if (n >= 0) {
            sent += static_cast<std::size_t>(n);
            continue;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return broken(errno == EPIPE ? ECONNRESET : errno);  // which of the two is a matter of luck
        }
        const auto writable = wait(POLLOUT, deadline_);
        if (!writable.ok()) {
            return writable.error();
        }
        if (!writable.value()) {
            return timed_out();
        }
    }
    return {};
}

Result<std::optional<Frame>> Wire::receive(std::optional<Clock::time_point> limit) {
    for (;;) {
        auto frame = decoder_.next();
        if (!frame.ok()) {
            return Error{daemon_of(path_) + " does not speak the bus protocol: " + frame.error().message, "",
                         frame.error().code};
        }
        if (frame.value()) {
            return frame;
        }
        const auto readable = wait(POLLIN, limit ? std::min(*limit, deadline_) : deadline_);
        if (!readable.ok()) {
            return readable.error();
        }
        if (!readable.value()) {
            if (limit && *limit <= deadline_) {
                return std::optional<Frame>{};
            }
            return timed_out();
        }
        std::array<char, 65536> input;
        const ssize_t n = ::recv(fd_.get(), input.data(), input.size(), 0);
        if (n == 0) {
            return broken(ECONNRESET);
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return broken(errno);
        }
        if (n > 0) {
            decoder_.append({input.data(), static_cast<std::size_t>(n)});
        }
    }
}

Result<void> Wire::greet(const Frame& request) {
    Frame hello;
    hello.mutable_hello()->set_protocol(protocol_version);
    hello.mutable_hello()->set_program("lbcluster");
    hello.mutable_hello()->set_version(LBCLUSTER_VERSION);
    const auto first = encode_frame(hello);
    const auto second = encode_frame(request);
    if (!first.ok() || !second.ok()) {
        return first.ok() ? second.error() : first.error();
    }
    auto sent = send(first.value() + second.value());
    // A server that turned us away may have said why before it closed.
    auto answer = receive();
    if (!answer.ok()) {
        return sent.ok() ? answer.error() : sent.error();
    }
    if (!answer.value() || !(*answer)->has_hello()) {
        return Error{daemon_of(path_) + " does not speak the bus protocol: no hello", "", EPROTO};
    }
    server_ = (*answer)->hello();
    if (server_.protocol() != protocol_version) {
        return Error{daemon_of(path_) + " speaks bus protocol " + std::to_string(server_.protocol()) +
                         ", this program speaks " + std::to_string(protocol_version),
                     "use the same version of lbcluster for all programs (it is " + server_.version() + ", this is " +
                         LBCLUSTER_VERSION + ")",
                     EPROTONOSUPPORT};
    }
    return sent;
}

Result<void> open_watch(Wire& wire, const std::string& prefix) {
    if (auto connected = wire.connect(); !connected.ok()) {
        return connected;
    }
    Frame request;
    request.mutable_watch()->set_prefix(prefix);
    return wire.greet(request);
}

void merge(std::map<std::string, Item>& state, const Item& item) {
    if (item.removed()) {
        state.erase(item.key());
    } else {
        state[item.key()] = item;
    }
}

// The rest of a snapshot whose first frame is `first`.
Result<std::vector<Item>> collect(Wire& wire, Frame first) {
    std::map<std::string, Item> state;
    for (Frame frame = std::move(first);;) {
        if (frame.has_reply()) {
            return Error{frame.reply().message(), frame.reply().hint(), EACCES};
        }
        for (const auto& item : frame.snapshot().items()) {
            merge(state, item);
        }
        if (state.size() > items_max) {
            return Error{wire.path() + " sends more than " + std::to_string(items_max) + " items", "", EMSGSIZE};
        }
        if (frame.has_snapshot() && frame.snapshot().last()) {
            break;
        }
        auto next = wire.receive();
        if (!next.ok()) {
            return next.error();
        }
        frame = std::move(**next);
    }
    std::vector<Item> items;
    items.reserve(state.size());
    for (auto& [key, item] : state) {
        items.push_back(std::move(item));
    }
    return items;
}

Result<std::vector<Item>> first_snapshot(Wire& wire) {
    auto frame = wire.receive();
    if (!frame.ok()) {
        return frame.error();
    }
    return collect(wire, std::move(**frame));
}

}  // namespace

Result<Fetched> fetch_all(const std::string& path, const std::string& prefix, milliseconds timeout) {
    Wire wire(path, timeout);
    if (auto opened = open_watch(wire, prefix); !opened.ok()) {
        return opened.error();
    }
    auto items = first_snapshot(wire);
    if (!items.ok()) {
        return items.error();
    }
    return Fetched{wire.server(), std::move(items).value()};
}

Result<std::vector<Item>> fetch(const std::string& path, const std::string& prefix, milliseconds timeout) {
    auto fetched = fetch_all(path, prefix, timeout);
    if (!fetched.ok()) {
        return fetched.error();
    }
    return std::move(fetched.value().items);
}

Result<Reply> call(const std::string& path, Call call, milliseconds timeout) {
    Wire wire(path, timeout);
    if (auto connected = wire.connect(); !connected.ok()) {
        return connected.error();
    }
    call.set_id(1);
    Frame request;
    *request.mutable_call() = std::move(call);
    if (auto greeted = wire.greet(request); !greeted.ok()) {
        return greeted.error();
    }
    for (;;) {
        auto frame = wire.receive();
        if (!frame.ok()) {
            return frame.error();
        }
        if ((*frame)->has_reply() && (*frame)->reply().id() == 1) {
            return (*frame)->reply();
        }
    }
}

Result<void> follow(const std::string& path, const std::string& prefix, const FollowHandler& on_items,
                    milliseconds timeout, milliseconds wake) {
    Wire wire(path, timeout);
    if (auto opened = open_watch(wire, prefix); !opened.ok()) {
        return opened;
    }
    auto snapshot = first_snapshot(wire);
    if (!snapshot.ok()) {
        return snapshot.error();
    }
    wire.no_deadline();
    if (!on_items(true, snapshot.value())) {
        return {};
    }
    for (;;) {
        auto frame = wire.receive(wake.count() < 0 ? std::nullopt : std::optional(Clock::now() + wake));
        if (!frame.ok()) {
            return frame.error();
        }
        bool first = false;
        std::vector<Item> items;
        if (frame.value() && (*frame)->has_snapshot()) {  // we were too slow for updates
            auto again = collect(wire, std::move(**frame));
            if (!again.ok()) {
                return again.error();
            }
            first = true;
            items = std::move(again).value();
        } else if (frame.value()) {
            items.assign((*frame)->update().items().begin(), (*frame)->update().items().end());
        }
        if (!on_items(first, items)) {
            return {};
        }
    }
}

bool listens(const std::string& path) { return Wire(path, milliseconds{0}).connect().ok(); }

int exit_code_of(const Error& error) {
    switch (error.code) {
        case EACCES:
        case EPERM:
            return 5;
        case ETIMEDOUT:
            return 6;
        default:
            return 4;
    }
}

}  // namespace lbcluster::bus
