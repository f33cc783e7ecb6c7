// Kernel events about links and addresses (rtnetlink groups, RFC 3549) on an io_context.
//
// A socket of its own with a large buffer, never blocking, without sequence checks; only messages of the kernel
// (port 0) count. When the kernel had to drop events (ENOBUFS), on_overrun tells the owner to dump everything again.
// All calls and callbacks belong to the io_context's thread. Callbacks must not destroy the monitor.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <vector>

#include "lbcluster/net/netlink.hpp"

namespace lbcluster::net {

class Monitor {
  public:
    struct Groups {
        bool links = true;
        bool addresses = true;  // IPv4 and IPv6
    };
    struct Callbacks {
        std::function<void(const Link&, bool removed)> on_link;
        std::function<void(const Address&, bool removed)> on_address;
        std::function<void()> on_overrun;
    };

    static Result<std::unique_ptr<Monitor>> open(boost::asio::io_context& io, Groups groups, Callbacks callbacks);

    // Handles what waits in the socket now (bounded). Also called by itself when the socket becomes readable.
    void drain();
    // From now on the kernel leaves out the events of changes that were asked for on this Netlink::port(). Best effort.
    void ignore(std::uint32_t port);
    [[nodiscard]] int fd() { return socket_.native_handle(); }

  private:
    Monitor(boost::asio::io_context& io, int fd, Callbacks callbacks);
    void wait();
    void handle(std::size_t bytes);

    boost::asio::posix::stream_descriptor socket_;
    Callbacks callbacks_;
    std::vector<char> buffer_;
};

}  // namespace lbcluster::net
