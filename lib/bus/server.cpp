#include "lbcluster/bus/server.hpp"

#include <fcntl.h>
#include <grp.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "connection.hpp"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "lbcluster/base/descriptor.hpp"

namespace lbcluster::bus {
namespace {

using namespace std::chrono_literals;
using boost::asio::local::stream_protocol;
using boost::system::error_code;

constexpr std::size_t clients_max = 64;
constexpr std::size_t places_for_root = 8;
constexpr auto accept_pause = 100ms;       // after an accept error
constexpr int accept_drops_per_turn = 16;  // when there is no descriptor for them
constexpr std::uint64_t log_lines_per_second_max = 5;
constexpr std::size_t item_bytes_max = frame_bytes_max - 64;  // leaves room for the frame around it

Error system_error(const std::string& what, const std::string& path, int code, const std::string& hint = "") {
    return {what + " " + path + ": " + std::strerror(code), hint, code};
}

Descriptor open_reserve() { return Descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

// The same value gives the same bytes: maps are sorted.
std::string deterministic(const Item& item) {
    std::string bytes;
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    item.SerializeToCodedStream(&coded);
    coded.Trim();
    return bytes;
}

std::optional<gid_t> group_id(const std::string& name) {
    if (name.empty()) {
        return std::nullopt;
    }
    // By number: nobody has to be asked, and asking may take long.
    gid_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc{} && end == name.data() + name.size()) {
        return number;
    }
    std::vector<char> buffer(16384);
    group entry{};
    group* found = nullptr;
    if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
        return std::nullopt;
    }
    return entry.gr_gid;
}

}  // namespace

class Server::Impl : public ConnectionHost, public std::enable_shared_from_this<Server::Impl> {
  public:
    Impl(boost::asio::io_context& io, Options options)
        : io_(io), options_(std::move(options)), acceptor_(io), pause_(io), readers_(group_id(options_.group)) {}

    Result<void> listen();
    void set(Item item);
    void erase(const std::string& key);
    void close();

    [[nodiscard]] const Items& items() const override { return items_; }
    [[nodiscard]] std::string fresh_wire(const Stored& stored) const override;
    [[nodiscard]] std::uint64_t generation() const override { return generation_; }
    [[nodiscard]] const ServerOptions& options() const override { return options_; }
    [[nodiscard]] bool may_read(const PeerCredentials& peer) const override {
        return peer.trusted() || (readers_ && peer.in_group(*readers_));
    }
    ServerCounters& count() override { return counters_; }
    void dispatch(const Call& call, const PeerCredentials& peer, Server::Respond respond) override;
    void warn(const std::string& line) override;
    void gone(const Connection* connection) override;

    CallHandler handler_;
    std::function<void(Item&)> refresh_;
    ServerCounters counters_;
    std::map<const Connection*, std::shared_ptr<Connection>> connections_;

  private:
    Result<void> lock();
    Result<Descriptor> bind_socket(const std::string& temporary);
    void accept();
    void admit(stream_protocol::socket socket);
    void accept_failed(const error_code& error);
    void mark(const std::string& key);

    boost::asio::io_context& io_;
    Options options_;
    stream_protocol::acceptor acceptor_;
    boost::asio::steady_timer pause_;
    std::optional<gid_t> readers_;
    Descriptor lock_;
    Descriptor reserve_;  // given up for a moment when there is no other descriptor left
    Items items_;
    std::uint64_t generation_ = 0;
    std::chrono::steady_clock::time_point log_second_{};
    std::uint64_t log_lines_ = 0;
    bool listening_ = false;
};

// The lock tells a live daemon from a dead one: the kernel gives it up when the process ends, however it ends.
Result<void> Server::Impl::lock() {
    const std::string path = options_.path + ".lock";
    Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd.get() < 0) {
        return system_error("cannot open", path, errno, "run as root, or choose another folder with --run-dir");
    }
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) {
            return system_error("cannot lock", path, errno);
        }
        return Error{"another " + options_.program + " already serves " + options_.path,
                     "stop it first, or choose another folder with --run-dir", EADDRINUSE};
    }
    lock_ = std::move(fd);
    return {};
}

Result<Descriptor> Server::Impl::bind_socket(const std::string& temporary) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (temporary.size() >= sizeof address.sun_path) {
        return system_error("cannot listen on", options_.path, ENAMETOOLONG, "choose a shorter --run-dir");
    }
    std::memcpy(address.sun_path, temporary.c_str(), temporary.size() + 1);
    Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd.get() < 0) {
        return system_error("cannot make a socket for", options_.path, errno);
    }
    ::unlink(temporary.c_str());
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return system_error("cannot bind", temporary, errno);
    }
    if (readers_ && ::chown(temporary.c_str(), static_cast<uid_t>(-1), *readers_) != 0) {
        // A daemon without the capability still serves root.
        warn("the group " + options_.group + " cannot read " + options_.path + ": " + std::strerror(errno));
    }
    if (::chmod(temporary.c_str(), 0660) != 0 || ::listen(fd.get(), static_cast<int>(clients_max)) != 0) {
        return system_error("cannot listen on", temporary, errno);
    }
    return fd;
}

Result<void> Server::Impl::listen() {
    LBC_ASSERT(!listening_);
    const auto slash = options_.path.rfind('/');
    if (slash != std::string::npos && slash > 0) {
        const std::string folder = options_.path.substr(0, slash);
        // A failure shows in the next step, with its reason. Whoever may read the socket must get there.
        if (::mkdir(folder.c_str(), 0755) == 0) {
            ::chmod(folder.c_str(), 0755);
        }
    }
    if (auto locked = lock(); !locked.ok()) {
        return locked;
    }
    struct stat existing{};
    if (::lstat(options_.path.c_str(), &existing) == 0 && !S_ISSOCK(existing.st_mode)) {
        return Error{options_.path + " exists and is not a socket", "move it away", EEXIST};
    }
    // Made under another name and moved in place, so that nobody meets a socket that is not ready or has not
    // got its mode yet.
    const std::string temporary = options_.path + ".new";
    auto socket = bind_socket(temporary);
    if (!socket.ok()) {
        return socket.error();
    }
    if (::rename(temporary.c_str(), options_.path.c_str()) != 0) {
        const int code = errno;
        ::unlink(temporary.c_str());
        return system_error("cannot create", options_.path, code);
    }
    error_code error;
    acceptor_.assign(stream_protocol(), socket.value().get(), error);
    if (error) {
        return system_error("cannot serve", options_.path, error.value());
    }
    socket.value().release();
    reserve_ = open_reserve();
    listening_ = true;
    accept();
    return {};
}

void Server::Impl::accept() {
    acceptor_.async_accept([self = shared_from_this()](error_code error, stream_protocol::socket socket) {
        if (!self->listening_) {
            return;
        }
        if (error) {
            return self->accept_failed(error);
        }
        self->admit(std::move(socket));
        self->accept();
    });
}

void Server::Impl::admit(stream_protocol::socket socket) {
    const auto peer = peer_credentials(socket.native_handle());
    if (!peer.ok()) {
        ++counters_.refused;
        return warn(peer.error().message);
    }
    const std::size_t places = peer.value().trusted() ? clients_max : clients_max - places_for_root;
    if (connections_.size() >= places) {
        ++counters_.refused;
        return warn("refused a bus client: " + std::to_string(connections_.size()) + " are connected pid=" +
                    std::to_string(peer.value().pid) + " uid=" + std::to_string(peer.value().uid));
    }
    ++counters_.accepted;
    auto connection = std::make_shared<Connection>(std::move(socket), peer.value(), weak_from_this());
    connections_.emplace(connection.get(), connection);
    connection->start();
}

// Out of descriptors: the waiting clients would make the loop spin, so they are taken with the reserve and let go.
void Server::Impl::accept_failed(const error_code& error) {
    warn("cannot accept a bus client: " + error.message());
    if (error.value() == EMFILE || error.value() == ENFILE) {
        reserve_.reset();
        for (int i = 0; i < accept_drops_per_turn; ++i) {
            const Descriptor dropped(::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
            if (dropped.get() < 0) {
                break;
            }
            ++counters_.refused;
        }
        reserve_ = open_reserve();
    }
    pause_.expires_after(accept_pause);
    pause_.async_wait([self = shared_from_this()](error_code stopped) {
        if (!stopped && self->listening_) {
            self->accept();
        }
    });
}

void Server::Impl::set(Item item) {
    item.set_generation(0);
    item.set_removed(false);
    std::string value = deterministic(item);
    if (value.size() > item_bytes_max) {
        return warn("not published, too large: key=" + item.key() + " bytes=" + std::to_string(value.size()));
    }
    auto& stored = items_[item.key()];
    if (stored.value == value && !stored.wire.empty()) {
        return;
    }
    item.set_generation(++generation_);
    stored.value = std::move(value);
    stored.wire = item.SerializeAsString();
    mark(item.key());
}

void Server::Impl::erase(const std::string& key) {
    if (items_.erase(key) != 0) {
        ++generation_;
        mark(key);
    }
}

std::string Server::Impl::fresh_wire(const Stored& stored) const {
    Item item;
    if (!refresh_ || !item.ParseFromString(stored.wire)) {
        return stored.wire;
    }
    refresh_(item);
    std::string wire = item.SerializeAsString();
    return wire.size() <= item_bytes_max ? wire : stored.wire;
}

void Server::Impl::mark(const std::string& key) {
    for (const auto& [raw, connection] : connections_) {
        connection->mark(key);
    }
}

void Server::Impl::dispatch(const Call& call, const PeerCredentials& peer, Server::Respond respond) {
    if (const auto handler = handler_) {  // a copy: the handler may call close()
        return handler(call, peer, std::move(respond));
    }
    Reply reply;
    reply.set_exit_code(1);
    reply.set_message(options_.program + " takes no calls");
    respond(std::move(reply));
}

void Server::Impl::warn(const std::string& line) {
    const auto now = std::chrono::steady_clock::now();
    if (now - log_second_ >= 1s) {
        if (log_lines_ > log_lines_per_second_max) {
            spdlog::warn("{} more lines about bus clients were left out", log_lines_ - log_lines_per_second_max);
        }
        log_second_ = now;
        log_lines_ = 0;
    }
    if (++log_lines_ <= log_lines_per_second_max) {
        spdlog::warn("{}", line);
    }
}

void Server::Impl::gone(const Connection* connection) { connections_.erase(connection); }

void Server::Impl::close() {
    handler_ = nullptr;
    refresh_ = nullptr;
    if (std::exchange(listening_, false)) {
        error_code ignored;
        acceptor_.close(ignored);
        pause_.cancel();
        ::unlink(options_.path.c_str());
    }
    while (!connections_.empty()) {
        const auto connection = connections_.begin()->second;
        connection->close();  // leaves the registry by gone()
    }
    reserve_.reset();
    lock_.reset();
}

Server::Server(boost::asio::io_context& io, Options options) : impl_(std::make_shared<Impl>(io, std::move(options))) {}
Server::~Server() { impl_->close(); }
Result<void> Server::listen() { return impl_->listen(); }
void Server::set(Item item) { impl_->set(std::move(item)); }
void Server::erase(const std::string& key) { impl_->erase(key); }
void Server::on_call(CallHandler handler) { impl_->handler_ = std::move(handler); }
void Server::on_snapshot(std::function<void(Item&)> refresh) { impl_->refresh_ = std::move(refresh); }
void Server::close() { impl_->close(); }
std::size_t Server::client_count() const { return impl_->connections_.size(); }
const ServerCounters& Server::counters() const { return impl_->counters_; }

std::size_t Server::backlog_bytes() const {
    std::size_t bytes = 0;
    for (const auto& [raw, connection] : impl_->connections_) {
        bytes += connection->backlog_bytes();
    }
    return bytes;
}

std::size_t Server::backlog_keys() const {
    std::size_t keys = 0;
    for (const auto& [raw, connection] : impl_->connections_) {
        keys += connection->backlog_keys();
    }
    return keys;
}

}  // namespace lbcluster::bus
