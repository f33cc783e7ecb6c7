// An SSH session to the other node: libssh2 (RFC 4251 to 4254) on Asio, for coroutines. No operation outlasts its
// deadline; the server is who its host key says, and the caller decides whether that is the right one before any
// secret is sent. Only what the pair needs: a password or a key, one command with its streams, one file upwards.
//
// One thread, the io_context's. libssh2 wants an operation that could not send all of a packet to be called again
// before any other; `owner_` sees to it. When an operation fails by its deadline or by the connection, the session is
// at its end: everything else fails at once, and what waits is woken.
//
// Errors: ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH ... (connecting), EKEYREJECTED (host key), EACCES (password or key
// not accepted), ECONNRESET (connection lost), ECANCELED (close()), EPROTO (else).
#pragma once

#include <libssh2.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "lbcluster/base/address.hpp"
#include "lbcluster/base/time.hpp"
#include "replicator/stream.hpp"

namespace lbcluster::replicator::ssh {

struct HostKey {
    std::string type;         // ssh-ed25519
    std::string base64;       // as in known_hosts
    std::string fingerprint;  // SHA256:..., as OpenSSH prints it
};

struct Target {
    std::string address;
    std::uint16_t port = 22;
    std::string user;
    std::string local_address;  // own address to come from; empty: any
    std::string host_key_type;  // the only one to ask for; empty: the best that both know
};

// How a command ended, as far as the server has told.
struct Ending {
    std::optional<int> exit_status;
    std::string stderr_text;  // at most 4 KiB
};

class Session : public std::enable_shared_from_this<Session> {
  public:
    // Returns an error to refuse the key; nothing but the handshake has been sent by then.
    using HostKeyCheck = std::function<Result<void>(const HostKey&)>;

    static boost::asio::awaitable<Result<std::shared_ptr<Session>>> connect(Target target, HostKeyCheck check,
                                                                            Duration patience);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    boost::asio::awaitable<Result<void>> authenticate_password(std::string password, Duration patience);
    // `private_key` as in the file (ed25519, OpenSSH's format, without a passphrase).
    boost::asio::awaitable<Result<void>> authenticate_key(std::string private_key, Duration patience);
    // Closing the stream ends the session. One command at a time.
    boost::asio::awaitable<Result<std::unique_ptr<ByteStream>>> exec(std::string command, Duration patience);
    // By SCP, to where the server's account has `name`.
    boost::asio::awaitable<Result<void>> upload(std::string name, std::string bytes, Duration patience);
    void close();

    [[nodiscard]] const HostKey& host_key() const { return host_key_; }
    // Of the command; complete when its stream has ended.
    [[nodiscard]] const Ending& ending() const { return ending_; }

    // A silent connection is asked this often, and lost when nothing came for three times as long.
    static constexpr Duration keepalive = 5s;

  private:
    using TimePoint = std::chrono::steady_clock::time_point;
    class Stream;

    Session(boost::asio::any_io_executor executor, Target target);
    boost::asio::awaitable<Result<void>> open_socket(TimePoint until);
    boost::asio::awaitable<Result<void>> shake_hands(HostKeyCheck check, TimePoint until);
    Result<void> read_host_key();

    // Calls `step` until it is no longer EAGAIN: what it returned, or an error (the session is closed then).
    boost::asio::awaitable<Result<long>> drive(std::string what, TimePoint until, std::function<long()> step);
    boost::asio::awaitable<Result<long>> open_channel(std::string what, TimePoint until,
                                                      std::function<LIBSSH2_CHANNEL*()> open, LIBSSH2_CHANNEL** made);
    boost::asio::awaitable<void> wait(TimePoint until);
    boost::asio::awaitable<Result<void>> write_all(LIBSSH2_CHANNEL* channel, const std::string& bytes, TimePoint until);
    long read_channel(LIBSSH2_CHANNEL* channel, char* space, std::size_t size);
    boost::asio::awaitable<Result<void>> collect_ending(LIBSSH2_CHANNEL* channel);
    boost::asio::awaitable<Result<std::string>> drain(LIBSSH2_CHANNEL* channel, TimePoint until);
    void arm();
    void wake();
    void keep_alive();
    void fail(const Error& why);
    [[nodiscard]] Error ssh_error(const std::string& what, long code) const;
    [[nodiscard]] std::string where() const;

    static ssize_t receive(libssh2_socket_t socket, void* buffer, std::size_t length, int flags, void** abstract);
    static ssize_t send(libssh2_socket_t socket, const void* buffer, std::size_t length, int flags, void** abstract);

    boost::asio::any_io_executor executor_;
    Target target_;
    boost::asio::ip::tcp::socket socket_;
    boost::asio::steady_timer keepalive_timer_;
    LIBSSH2_SESSION* session_ = nullptr;
    LIBSSH2_CHANNEL* channel_ = nullptr;  // of the command
    HostKey host_key_;
    Ending ending_;
    std::optional<Error> over_;  // why the session is at its end
    std::set<boost::asio::steady_timer*> waiting_;
    const void* owner_ = nullptr;
    bool reading_armed_ = false;
    bool writing_armed_ = false;
    TimePoint heard_{};
    std::uint64_t received_ = 0;  // bytes of the connection
};

}  // namespace lbcluster::replicator::ssh
