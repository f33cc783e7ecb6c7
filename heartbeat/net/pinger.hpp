// ICMP and ICMPv6 echo to the ping nodes (RFC 792, RFC 4443).
//
// One raw socket per address family, opened at the start. Each request carries 16 random bytes; only an answer from
// the node asked that brings them back counts, once. The kernel chooses the source address; it does not choose a
// floating IP while the interface has an address of its own (those come first; IPv6 ones are deprecated). Errors of
// sending are no answer, nothing more. Everything runs on the io_context's thread.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "lbcluster/base/address.hpp"
#include "lbcluster/base/result.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/net/packets.hpp"

namespace lbcluster::heartbeat {

class Pinger {
  public:
    using OnReply = std::function<void(std::size_t index, Duration round_trip)>;
    // Fails only if neither family is there.
    static Result<std::unique_ptr<Pinger>> open(boost::asio::io_context& io, OnReply on_reply);

    void set_nodes(const std::vector<IpAddress>& nodes);  // forgets what is unanswered
    void ping(std::size_t index);
    void drain();
    // -1: that family is not there.
    [[nodiscard]] int fd_v4() { return v4_.native_handle(); }
    [[nodiscard]] int fd_v6() { return v6_.native_handle(); }

  private:
    struct Request {
        std::uint16_t sequence = 0;
        std::array<std::uint8_t, 16> nonce{};
        Instant sent_at;
    };
    struct Node {
        IpAddress ip;
        std::deque<Request> open;  // the newest ones
        std::optional<Instant> answered_at;
    };
    Pinger(boost::asio::io_context& io, OnReply on_reply);
    void wait(boost::asio::posix::stream_descriptor& socket);
    void drain(boost::asio::posix::stream_descriptor& socket, bool v6);
    void on_message(const IpAddress& from, net::ByteView message, bool v6);

    boost::asio::posix::stream_descriptor v4_;
    boost::asio::posix::stream_descriptor v6_;
    OnReply on_reply_;
    std::vector<Node> nodes_;
    std::uint16_t id_ = 0;
    std::uint16_t sequence_ = 0;
};

}  // namespace lbcluster::heartbeat
