// One stream to the peer's replicatord: hello in both directions, then frames both ways, and a sign of life when there
// is nothing to say. Either node may have opened it; after hello there is no difference.
//
// One thread, the io_context's. A session lives as long as its coroutines run (shared_from_this); it tells its end
// once, with the reason, unless it was closed by close(). Bounded: what waits to be sent is at most queue_bytes_max.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <optional>

#include "replicator/channel.hpp"
#include "replicator/parcel.hpp"

namespace lbcluster::replicator {

class Session;

class SessionHost {
  public:
    virtual ~SessionHost() = default;
    virtual replica::Hello own_hello() = 0;
    // Why not to talk to it; its code is the CLI's exit code.
    virtual Result<void> check_hello(const replica::Hello& hello) = 0;
    virtual void on_up(const std::shared_ptr<Session>& session) = 0;
    virtual void on_frame(const std::shared_ptr<Session>& session, replica::Frame frame) = 0;
    virtual void on_down(const std::shared_ptr<Session>& session, const Error& reason) = 0;
};

class Session : public std::enable_shared_from_this<Session> {
  public:
    static constexpr std::size_t queue_bytes_max = std::size_t{64} * 1024 * 1024;
    static constexpr Duration hello_patience = 10s;
    static constexpr Duration alive_interval = 4s;
    static constexpr Duration silence_max = 15s;

    Session(boost::asio::any_io_executor executor, std::unique_ptr<Channel> channel, SessionHost& host, bool outgoing);

    // `first`: what was read of the stream already.
    void start(std::optional<replica::Frame> first);
    void send(replica::Frame frame);
    // In turn with other frames, each piece when there is room for it.
    void send_pieces(std::uint64_t id, PieceSource source);
    // Tells the peer why, then ends.
    void end(const Error& reason);
    // At once; nothing is called back any more.
    void close();

    [[nodiscard]] bool outgoing() const { return outgoing_; }
    [[nodiscard]] bool up() const { return up_ && !down_; }
    [[nodiscard]] const replica::Hello& peer() const { return peer_; }
    [[nodiscard]] std::uint64_t pieces_sent() const { return pieces_sent_; }

    std::uint64_t asked = 0;    // the host's: id of the peer's newest LookAgain
    std::uint64_t answers = 0;  // the host's: and of that which a look answers that is under way
    bool fetching = false;      // the host's: the peer waits for a copy

  private:
    boost::asio::awaitable<void> read(std::optional<replica::Frame> first);
    boost::asio::awaitable<void> write();
    Result<void> greet(const replica::Frame& frame);
    std::optional<replica::Frame> next_frame();
    void finish(const Error& reason);
    void spawn(boost::asio::awaitable<void> what);

    boost::asio::any_io_executor executor_;
    std::unique_ptr<Channel> channel_;
    SessionHost* host_;  // nothing: closed
    bool outgoing_;
    boost::asio::steady_timer wake_;
    std::deque<replica::Frame> queue_;
    std::size_t queue_bytes_ = 0;
    std::optional<PieceSource> pieces_;
    std::uint64_t pieces_id_ = 0;
    std::uint64_t pieces_sent_ = 0;
    replica::Hello peer_;
    std::optional<Error> ending_;
    bool up_ = false;
    bool down_ = false;
};

}  // namespace lbcluster::replicator
