#include "replicator/ssh/session.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <climits>
#include <span>

namespace lbcluster::replicator::ssh {

namespace {

constexpr auto as_tuple = boost::asio::as_tuple(boost::asio::use_awaitable);
constexpr std::size_t said_bytes_max = 4096;
constexpr auto ending_patience = 2s;

// libssh2 knows these; ed25519 and the curves first. RSA only with SHA-1 in 1.10, which OpenSSH no longer offers.
constexpr const char* host_key_types =
    "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,ssh-rsa";

std::chrono::steady_clock::time_point after(Duration patience) {
    return std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(patience);
}

std::string base64(std::span<const unsigned char> bytes) {
    std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
    const int size =
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes.data(), static_cast<int>(bytes.size()));
    out.resize(static_cast<std::size_t>(size));
    return out;
}

void free_all(LIBSSH2_SESSION* session) {
    // The socket is closed by now: nothing waits. Bounded all the same.
    for (int tries = 0; tries < 1000 && libssh2_session_free(session) == LIBSSH2_ERROR_EAGAIN; ++tries) {
    }
}

}  // namespace

// The command's standard streams.
class Session::Stream : public ByteStream {
  public:
    explicit Stream(std::shared_ptr<Session> session) : session_(std::move(session)) {}
    ~Stream() override { session_->close(); }

    boost::asio::awaitable<Result<std::size_t>> read_some(boost::asio::mutable_buffer space) override {
        const auto session = session_;
        const std::function<long()> step = [session, space]() -> long {
            return session->read_channel(session->channel_, static_cast<char*>(space.data()), space.size());
        };
        const auto got = co_await session->drive("reading", TimePoint::max(), step);
        if (!got) co_return got.error();
        if (*got < 0) co_return session->ssh_error("reading", *got);
        if (*got == 0) (void)co_await session->collect_ending(session->channel_);
        co_return static_cast<std::size_t>(*got);
    }

    boost::asio::awaitable<Result<void>> write(std::string bytes) override {
        const auto session = session_;
        co_return co_await session->write_all(session->channel_, bytes, TimePoint::max());
    }

    void close() override { session_->close(); }

  private:
    std::shared_ptr<Session> session_;
};

Session::Session(boost::asio::any_io_executor executor, Target target)
    : executor_(std::move(executor)), target_(std::move(target)), socket_(executor_), keepalive_timer_(executor_) {}

Session::~Session() {
    close();
    if (session_ != nullptr) free_all(session_);
}

std::string Session::where() const { return target_.address + " port " + std::to_string(target_.port); }

void Session::close() { fail({"the connection to " + where() + " was closed", "", ECANCELED}); }

void Session::fail(const Error& why) {
    if (over_) return;
    over_ = why;
    keepalive_timer_.cancel();
    boost::system::error_code ignored;
    socket_.close(ignored);
    wake();
}

void Session::wake() {
    for (boost::asio::steady_timer* timer : waiting_) timer->cancel();
}

Error Session::ssh_error(const std::string& what, long code) const {
    char* text = nullptr;
    libssh2_session_last_error(session_, &text, nullptr, 0);
    const bool lost = code == LIBSSH2_ERROR_SOCKET_DISCONNECT || code == LIBSSH2_ERROR_SOCKET_RECV ||
                      code == LIBSSH2_ERROR_SOCKET_SEND || code == LIBSSH2_ERROR_CHANNEL_EOF_SENT;
    if (lost) return {"the connection to " + where() + " was lost while " + what, "", ECONNRESET};
    return {what + " with " + where() + " failed: " + (text != nullptr && *text != '\0' ? text : "SSH error ") +
                (text != nullptr && *text != '\0' ? "" : std::to_string(code)),
            "", EPROTO};
}

ssize_t Session::receive(libssh2_socket_t socket, void* buffer, std::size_t length, int flags, void** abstract) {
    auto* self = static_cast<Session*>(*abstract);
    if (self->over_) return -EPIPE;
    const ssize_t got = ::recv(socket, buffer, length, flags);
    if (got < 0) return -errno;
    self->received_ += static_cast<std::uint64_t>(got);
    if (got > 0) self->heard_ = std::chrono::steady_clock::now();
    return got;
}

ssize_t Session::send(libssh2_socket_t socket, const void* buffer, std::size_t length, int flags, void** abstract) {
    auto* self = static_cast<Session*>(*abstract);
    if (self->over_) return -EPIPE;
    const ssize_t put = ::send(socket, buffer, length, flags | MSG_NOSIGNAL);
    return put < 0 ? -errno : put;
}

// What is waited for is the same for everybody: that the connection can go on.
void Session::arm() {
    const int directions = libssh2_session_block_directions(session_);
    if (!reading_armed_) {
        reading_armed_ = true;
        socket_.async_wait(boost::asio::socket_base::wait_read,
                           [weak = weak_from_this()](const boost::system::error_code&) {
                               const auto self = weak.lock();
                               if (!self) return;
                               self->reading_armed_ = false;
                               self->wake();
                           });
    }
    if ((directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0 && !writing_armed_) {
        writing_armed_ = true;
        socket_.async_wait(boost::asio::socket_base::wait_write,
                           [weak = weak_from_this()](const boost::system::error_code&) {
                               const auto self = weak.lock();
                               if (!self) return;
                               self->writing_armed_ = false;
                               self->wake();
                           });
    }
}

boost::asio::awaitable<void> Session::wait(TimePoint until) {
    arm();
    boost::asio::steady_timer timer(executor_, until);
    waiting_.insert(&timer);
    (void)co_await timer.async_wait(as_tuple);
    waiting_.erase(&timer);
}

boost::asio::awaitable<Result<long>> Session::drive(std::string what, TimePoint until, std::function<long()> step) {
    const auto self = shared_from_this();
    const int mark = 0;  // its address names this operation
    for (;;) {
        if (over_) co_return *over_;
        if (owner_ == nullptr || owner_ == &mark) {
            const std::uint64_t before = received_;
            const long result = step();
            const bool again = result == LIBSSH2_ERROR_EAGAIN;
            const bool half_sent =
                again && (libssh2_session_block_directions(session_) & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
            const bool freed = owner_ == &mark && !half_sent;
            owner_ = half_sent ? &mark : nullptr;
            // What this call took from the socket may be what others wait for.
            if (freed || received_ != before) wake();
            if (!again) {
                const bool broken = result == LIBSSH2_ERROR_SOCKET_DISCONNECT || result == LIBSSH2_ERROR_SOCKET_RECV ||
                                    result == LIBSSH2_ERROR_SOCKET_SEND;
                if (over_) co_return *over_;
                if (broken) fail(ssh_error(what, result));
                if (broken) co_return *over_;
                co_return result;
            }
        }
        if (std::chrono::steady_clock::now() >= until) {
            fail({where() + " does not answer in time (" + what + ")",
                  "is the machine overloaded, or the network between the nodes very slow?", ETIMEDOUT});
            co_return *over_;
        }
        co_await wait(until);
    }
}

boost::asio::awaitable<Result<long>> Session::open_channel(std::string what, TimePoint until,
                                                           std::function<LIBSSH2_CHANNEL*()> open,
                                                           LIBSSH2_CHANNEL** made) {
    const std::function<long()> step = [this, open, made]() -> long {
        *made = open();
        return *made != nullptr ? 0 : libssh2_session_last_errno(session_);
    };
    auto done = co_await drive(what, until, step);
    if (done && *done != 0) co_return ssh_error(what, *done);
    co_return done;
}

boost::asio::awaitable<Result<std::shared_ptr<Session>>> Session::connect(Target target, HostKeyCheck check,
                                                                          Duration patience) {
    static const int started = libssh2_init(0);
    if (started != 0) co_return Error{"libssh2 does not start", "", EPROTO};
    const auto executor = co_await boost::asio::this_coro::executor;
    const std::shared_ptr<Session> session(new Session(executor, std::move(target)));
    const auto until = after(patience);
    auto done = co_await session->open_socket(until);
    if (done) done = co_await session->shake_hands(std::move(check), until);
    if (!done) {
        session->close();
        co_return done.error();
    }
    co_return session;
}

boost::asio::awaitable<Result<void>> Session::open_socket(TimePoint until) {
    boost::system::error_code error;
    const auto address = boost::asio::ip::make_address(target_.address, error);
    if (error) co_return Error{"'" + target_.address + "' is no IP address", "", EINVAL};
    const boost::asio::ip::tcp::endpoint there(address, target_.port);
    socket_.open(there.protocol(), error);
    if (!error && !target_.local_address.empty()) {
        const auto local = boost::asio::ip::make_address(target_.local_address, error);
        if (!error) socket_.bind({local, 0}, error);
        if (error) {
            co_return Error{"cannot connect from " + target_.local_address + ": " + error.message(),
                            "it must be an address of this node, of the same family as the peer's", error.value()};
        }
    }
    auto late = std::make_shared<bool>(false);
    boost::asio::steady_timer deadline(executor_, until);
    deadline.async_wait([self = shared_from_this(), late](const boost::system::error_code& cancelled) {
        if (cancelled || *late) return;
        *late = true;
        boost::system::error_code ignored;
        self->socket_.close(ignored);
    });
    if (!error) {
        const auto [failed] = co_await socket_.async_connect(there, as_tuple);
        error = failed;
    }
    const bool timed_out = *late;
    *late = true;  // a handler that is on its way does nothing any more
    deadline.cancel();
    if (timed_out || error == boost::asio::error::timed_out) {
        co_return Error{where() + " (TCP) does not answer",
                        "is the peer on, and the address right? A firewall in between that drops TCP port " +
                            std::to_string(target_.port) + " looks the same",
                        ETIMEDOUT};
    }
    if (error == boost::asio::error::connection_refused) {
        co_return Error{where() + " (TCP) refuses connections",
                        "is sshd running there, on this port, and does a firewall reject TCP port " +
                            std::to_string(target_.port) + "?",
                        ECONNREFUSED};
    }
    if (error) {
        co_return Error{"cannot connect to " + where() + " (TCP): " + error.message(),
                        "is the network between the nodes there?", error.value()};
    }
    socket_.non_blocking(true, error);
    socket_.set_option(boost::asio::ip::tcp::no_delay(true), error);
    co_return Result<void>{};
}

boost::asio::awaitable<Result<void>> Session::shake_hands(HostKeyCheck check, TimePoint until) {
    session_ = libssh2_session_init_ex(nullptr, nullptr, nullptr, this);
    if (session_ == nullptr) co_return Error{"no memory for an SSH session", "", ENOMEM};
    libssh2_session_set_blocking(session_, 0);
    // The library keeps callbacks as pointers to data (its interface).
    libssh2_session_callback_set(session_, LIBSSH2_CALLBACK_RECV, reinterpret_cast<void*>(&Session::receive));
    libssh2_session_callback_set(session_, LIBSSH2_CALLBACK_SEND, reinterpret_cast<void*>(&Session::send));
    const std::string types = target_.host_key_type.empty() ? host_key_types : target_.host_key_type;
    if (libssh2_session_method_pref(session_, LIBSSH2_METHOD_HOSTKEY, types.c_str()) != 0) {
        co_return Error{"host keys of the type '" + target_.host_key_type + "' are not known", "", EKEYREJECTED};
    }
    const std::function<long()> step = [this]() -> long {
        return libssh2_session_handshake(session_, socket_.native_handle());
    };
    const auto done = co_await drive("the SSH handshake", until, step);
    if (!done) co_return done.error();
    if (*done == LIBSSH2_ERROR_KEX_FAILURE && !target_.host_key_type.empty()) {
        co_return Error{where() + " has no host key of the type " + target_.host_key_type + " (any more)",
                        "if that was done on purpose, pair again: lbcluster pair", EKEYREJECTED};
    }
    if (*done != 0) co_return ssh_error("the SSH handshake", *done);
    if (auto read = read_host_key(); !read) co_return read.error();
    co_return check(host_key_);
}

Result<void> Session::read_host_key() {
    std::size_t size = 0;
    int kind = 0;
    const char* blob = libssh2_session_hostkey(session_, &size, &kind);
    const char* digest = libssh2_hostkey_hash(session_, LIBSSH2_HOSTKEY_HASH_SHA256);
    if (blob == nullptr || digest == nullptr || size < 4) return Error{where() + " has no host key", "", EKEYREJECTED};
    const std::span bytes(reinterpret_cast<const unsigned char*>(blob), size);
    const std::size_t length = std::size_t{bytes[2]} << 8 | bytes[3];  // RFC 4253, 6.6: string type, ...
    if (length > size - 4) return Error{where() + " has a broken host key", "", EKEYREJECTED};
    host_key_.type.assign(blob + 4, length);
    host_key_.base64 = base64(bytes);
    std::string print = base64(std::span(reinterpret_cast<const unsigned char*>(digest), 32));
    print.erase(print.find_last_not_of('=') + 1);
    host_key_.fingerprint = "SHA256:" + print;
    return {};
}

boost::asio::awaitable<Result<void>> Session::authenticate_password(std::string password, Duration patience) {
    const auto until = after(patience);
    const std::function<long()> ask = [this]() -> long {
        const char* list =
            libssh2_userauth_list(session_, target_.user.data(), static_cast<unsigned>(target_.user.size()));
        if (list == nullptr) return libssh2_session_last_errno(session_);
        return std::string_view(list).find("password") != std::string_view::npos ? 0 : 1;
    };
    const auto offered = co_await drive("asking how to log in", until, ask);
    if (!offered) co_return offered.error();
    if (*offered == 1) {
        co_return Error{"the SSH server at " + where() + " takes no passwords for " + target_.user,
                        "set 'PasswordAuthentication yes' for this account there until the nodes are paired", EACCES};
    }
    const std::function<long()> step = [this, &password]() -> long {
        return libssh2_userauth_password_ex(session_, target_.user.data(), static_cast<unsigned>(target_.user.size()),
                                            password.data(), static_cast<unsigned>(password.size()), nullptr);
    };
    const auto done = co_await drive("logging in", until, step);
    OPENSSL_cleanse(password.data(), password.size());
    if (!done) co_return done.error();
    if (*done == LIBSSH2_ERROR_PASSWORD_EXPIRED) {
        co_return Error{"the password of " + target_.user + " at " + where() + " has expired",
                        "set a new one there: passwd " + target_.user, EACCES};
    }
    if (*done != 0) {
        co_return Error{where() + " does not accept the password of " + target_.user,
                        "is it the right one, and the account there? (there, as root: passwd " + target_.user + ")",
                        EACCES};
    }
    keep_alive();
    co_return Result<void>{};
}

boost::asio::awaitable<Result<void>> Session::authenticate_key(std::string private_key, Duration patience) {
    const std::function<long()> step = [this, &private_key]() -> long {
        return libssh2_userauth_publickey_frommemory(session_, target_.user.data(), target_.user.size(), nullptr, 0,
                                                     private_key.data(), private_key.size(), nullptr);
    };
    const auto done = co_await drive("logging in", after(patience), step);
    OPENSSL_cleanse(private_key.data(), private_key.size());
    if (!done) co_return done.error();
    if (*done == LIBSSH2_ERROR_FILE) {
        co_return Error{"this node's own key is no ed25519 key in OpenSSH's format",
                        "move it away and pair again: lbcluster pair", EINVAL};
    }
    if (*done != 0) {
        co_return Error{where() + " does not accept this node's key for " + target_.user, "pair again: lbcluster pair",
                        EACCES};
    }
    keep_alive();
    co_return Result<void>{};
}

boost::asio::awaitable<Result<std::unique_ptr<ByteStream>>> Session::exec(std::string command, Duration patience) {
    const auto until = after(patience);
    const std::string what = "starting '" + command + "'";
    if (channel_ != nullptr) co_return Error{"this session has a command already", "", EPROTO};
    const std::function<LIBSSH2_CHANNEL*()> open = [this] { return libssh2_channel_open_session(session_); };
    const auto opened = co_await open_channel(what, until, open, &channel_);
    if (!opened) co_return opened.error();
    const std::function<long()> step = [this, &command]() -> long {
        return libssh2_channel_process_startup(channel_, "exec", 4, command.data(),
                                               static_cast<unsigned>(command.size()));
    };
    const auto done = co_await drive(what, until, step);
    if (!done) co_return done.error();
    if (*done != 0) co_return ssh_error(what, *done);
    std::unique_ptr<ByteStream> stream = std::make_unique<Stream>(shared_from_this());
    co_return std::move(stream);
}

boost::asio::awaitable<Result<void>> Session::write_all(LIBSSH2_CHANNEL* channel, const std::string& bytes,
                                                        TimePoint until) {
    for (std::size_t done = 0; done < bytes.size();) {
        const std::function<long()> step = [channel, &bytes, done]() -> long {
            return static_cast<long>(libssh2_channel_write(channel, bytes.data() + done, bytes.size() - done));
        };
        const auto put = co_await drive("sending", until, step);
        if (!put) co_return put.error();
        if (*put < 0) co_return ssh_error("sending", *put);
        done += static_cast<std::size_t>(*put);
    }
    co_return Result<void>{};
}

// 0: the end. What the command says to its standard error is taken along: the end does not come before it is read.
long Session::read_channel(LIBSSH2_CHANNEL* channel, char* space, std::size_t size) {
    const auto got = libssh2_channel_read(channel, space, size);
    if (got != 0 && got != LIBSSH2_ERROR_EAGAIN) return static_cast<long>(got);
    std::array<char, 1024> text{};
    constexpr int reads_max = 64;  // who never ends to speak there does not keep us
    for (int i = 0; i < reads_max; ++i) {
        const auto said = libssh2_channel_read_stderr(channel, text.data(), text.size());
        if (said <= 0) break;
        const std::size_t space_left = said_bytes_max - std::min(said_bytes_max, ending_.stderr_text.size());
        ending_.stderr_text.append(text.data(), std::min(static_cast<std::size_t>(said), space_left));
    }
    return got == 0 && libssh2_channel_eof(channel) != 0 ? 0 : LIBSSH2_ERROR_EAGAIN;
}

boost::asio::awaitable<Result<void>> Session::collect_ending(LIBSSH2_CHANNEL* channel) {
    // Closing on our side too: the server tells the exit status before it answers that.
    const std::function<long()> close = [channel]() -> long { return libssh2_channel_close(channel); };
    const auto closed = co_await drive("ending the command", after(ending_patience), close);
    if (!closed) co_return closed.error();
    ending_.exit_status = libssh2_channel_get_exit_status(channel);
    co_return Result<void>{};
}

boost::asio::awaitable<Result<std::string>> Session::drain(LIBSSH2_CHANNEL* channel, TimePoint until) {
    std::string all;
    for (;;) {
        std::array<char, 1024> space{};
        const std::function<long()> step = [this, channel, &space]() -> long {
            return read_channel(channel, space.data(), space.size());
        };
        const auto got = co_await drive("waiting for the end of a file", until, step);
        if (!got) co_return got.error();
        if (*got < 0) co_return ssh_error("waiting for the end of a file", *got);
        if (*got == 0) co_return all;
        if (all.size() < said_bytes_max) all.append(space.data(), static_cast<std::size_t>(*got));
    }
}

boost::asio::awaitable<Result<void>> Session::upload(std::string name, std::string bytes, Duration patience) {
    const auto until = after(patience);
    const std::string what = "sending a file (scp)";
    LIBSSH2_CHANNEL* channel = nullptr;
    const std::function<LIBSSH2_CHANNEL*()> open = [this, &name, &bytes] {
        return libssh2_scp_send64(session_, name.c_str(), 0600, static_cast<libssh2_int64_t>(bytes.size()), 0, 0);
    };
    const auto opened = co_await open_channel(what, until, open, &channel);
    if (!opened) co_return opened.error();
    const auto free_channel = [this, channel]() -> long { return over_ ? 0 : libssh2_channel_free(channel); };
    bytes.push_back('\0');  // the end of the file in SCP's language
    auto done = co_await write_all(channel, bytes, until);
    const std::function<long()> eof = [channel]() -> long { return libssh2_channel_send_eof(channel); };
    Result<long> ended = 0;
    if (done) ended = co_await drive(what, until, eof);
    if (done && !ended) co_return ended.error();
    auto said = co_await drain(channel, until);
    const std::function<long()> release = free_channel;
    if (!over_) (void)co_await drive(what, until, release);
    if (!said) co_return said.error();
    // A 0 for a file that is whole; else 1 or 2 and a line for people.
    const auto complaint = said->find_first_not_of('\0');
    if (complaint != std::string::npos) {
        std::string text = said->substr(complaint + 1, said->find('\n', complaint) - complaint - 1);
        co_return Error{where() + " could not store what was sent: " + text,
                        text.find("No space") != std::string::npos ? "free some space there" : "", EIO};
    }
    if (!done) co_return done.error();
    if (said->empty()) co_return Error{where() + " did not store what was sent", "is scp installed there?", EIO};
    co_return Result<void>{};
}

// Asks a connection that is silent. An answer that nobody has read yet is a sign of life, too.
void Session::keep_alive() {
    heard_ = std::max(heard_, std::chrono::steady_clock::now());
    libssh2_keepalive_config(session_, 1,
                             static_cast<unsigned>(std::chrono::duration_cast<seconds>(keepalive).count()));
    const auto tick = std::make_shared<std::function<void()>>();
    const std::weak_ptr<Session> weak = weak_from_this();
    *tick = [weak, tick_weak = std::weak_ptr(tick)] {
        const auto self = weak.lock();
        const auto again = tick_weak.lock();
        if (!self || !again || self->over_) return;
        const auto now = std::chrono::steady_clock::now();
        int unread = 0;
        (void)::ioctl(self->socket_.native_handle(), FIONREAD, &unread);
        if (unread == 0 && now - self->heard_ >= 3 * keepalive) {
            self->fail({"nothing came from " + self->where() + " for 15 s: the connection is lost",
                        "is the peer on, and the network between the nodes there?", ETIMEDOUT});
            return;
        }
        int next = 0;
        // Not in the middle of a packet; and only with space for it, as it would not be tried again.
        int queued = 0;
        (void)::ioctl(self->socket_.native_handle(), TIOCOUTQ, &queued);
        if (self->owner_ == nullptr && queued < 4096) (void)libssh2_keepalive_send(self->session_, &next);
        self->keepalive_timer_.expires_after(1s);
        self->keepalive_timer_.async_wait([again](const boost::system::error_code& error) {
            if (!error) (*again)();
        });
    };
    (*tick)();
}

}  // namespace lbcluster::replicator::ssh
