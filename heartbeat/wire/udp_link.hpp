// A heartbeat path over UDP (RFC 768), IPv4 or IPv6: see link.hpp.
//
// Bound to the local address and port, even if the address is not there (yet) (IP_FREEBIND): the interface may come
// later. The socket is not connected, so that opening needs no route; instead each datagram's source address and port
// must be the configured peer's, and anything else is counted and dropped before it costs a MAC. DF is set by
// PMTUDISC_PROBE, which, other than PMTUDISC_DO, believes no ICMP "fragmentation needed": one forged message could
// otherwise stop all heartbeats. Packets are marked CS6 (RFC 2474) and have a high local priority.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>

#include "heartbeat/wire/codec.hpp"
#include "heartbeat/wire/link.hpp"
#include "lbcluster/base/address.hpp"
#include "lbcluster/base/time.hpp"

namespace lbcluster::heartbeat {

struct UdpLinkOptions {
    std::string name;
    IpAddress local;
    IpAddress peer;  // same family
    std::uint16_t port = 6694;
    std::uint16_t peer_port = 0;  // 0: the same
    std::string interface;        // not empty: send and receive on this one only, and scope of link-local addresses
};

class UdpLink final : public Link {
  public:
    UdpLink(boost::asio::io_context& io, UdpLinkOptions options, OnReadable on_readable);
    ~UdpLink() override;

    [[nodiscard]] const std::string& name() const override { return options_.name; }
    [[nodiscard]] std::string_view kind() const override { return "udp"; }
    void start() override;
    void send(std::span<const std::uint8_t> datagram) override;
    void drain(const OnDatagram& on_datagram) override;
    [[nodiscard]] int fd() override { return socket_.is_open() ? socket_.native_handle() : -1; }
    [[nodiscard]] bool is_open() const override { return socket_.is_open(); }
    [[nodiscard]] const std::string& error() const override { return error_; }
    [[nodiscard]] const std::string& note() const override { return note_; }
    [[nodiscard]] const LinkCounters& counters() const override { return counters_; }

  private:
    static constexpr std::size_t batch = 16;
    static constexpr std::size_t drain_max = 512;
    // One byte more than a datagram may have, so that a longer one shows.
    using Buffer = std::array<std::uint8_t, datagram_bytes_max + 1>;

    struct Endpoint {
        sockaddr_storage address{};
        socklen_t size = 0;
    };
    [[nodiscard]] Endpoint endpoint(const IpAddress& address, std::uint16_t port) const;
    void open();
    [[nodiscard]] bool prepare(int fd);
    void reopen_later();
    void wait();
    void fail(std::string_view what, int code);
    void read_error_queue();
    [[nodiscard]] bool is_peer(const sockaddr_storage& source) const;
    [[nodiscard]] unsigned interface_index() const;  // now; 0: none, or no interface is named

    UdpLinkOptions options_;
    OnReadable on_readable_;
    boost::asio::ip::udp::socket socket_;
    boost::asio::steady_timer retry_;
    std::chrono::milliseconds back_off_;
    bool answered_ = false;  // an ICMP message came for something we sent
    bool reopening_ = false;
    unsigned opened_on_ = 0;  // interface_index() at the opening: the socket keeps it when another one gets the name
    Endpoint peer_;
    std::string error_;
    std::string note_;
    int error_code_ = 0;
    LinkCounters counters_;
    std::optional<Instant> heard_at_;  // anything from the peer's address
    std::array<Buffer, batch> buffers_{};
    std::array<sockaddr_storage, batch> sources_{};
    std::array<iovec, batch> vectors_{};
    std::array<mmsghdr, batch> messages_{};
    // Handlers hold it weakly: a link that is gone is not called back.
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace lbcluster::heartbeat
