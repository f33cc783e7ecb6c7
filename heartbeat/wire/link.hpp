// A heartbeat path: takes datagrams to the peer and brings the peer's. UDP (udp_link.hpp) or a serial line
// (serial_link.hpp).
//
// No call waits and no call fails: a heartbeat that cannot go out now is worthless later. What went wrong is counted
// and readable as error(), and the link mends itself (re-opens with back-off) as long as it lives.
//
// Lives on the one thread of its io_context. `on_readable` is called there when something may have arrived; the
// caller then drains all links before it decides anything. It may not destroy the link; nor may a drain() callback.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace lbcluster::heartbeat {

// Between attempts to open a link again, doubled each time.
inline constexpr std::chrono::milliseconds back_off_min{100};
inline constexpr std::chrono::milliseconds back_off_max{2000};

struct LinkCounters {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint64_t strangers = 0;  // from another address than the peer's
    std::uint64_t send_busy = 0;  // no room in the socket, or the line busy: not sent
    std::uint64_t send_errors = 0;
    std::uint64_t receive_errors = 0;
    std::uint64_t network_errors = 0;  // the network answered with ICMP: port closed, no route, too big
    std::uint64_t frames_damaged = 0;  // serial: garbage, too long, cut off
    std::uint64_t opened = 0;
    std::uint64_t open_failures = 0;
};

using OnReadable = std::function<void()>;
using OnDatagram = std::function<void(std::span<const std::uint8_t>)>;

class Link {
  public:
    Link() = default;
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    virtual ~Link() = default;

    [[nodiscard]] virtual const std::string& name() const = 0;
    [[nodiscard]] virtual std::string_view kind() const = 0;  // "udp", "serial"

    // Opens; what fails is tried again on its own.
    virtual void start() = 0;
    virtual void send(std::span<const std::uint8_t> datagram) = 0;
    // Hands over everything that has arrived, at most 512 datagrams a call (the rest makes on_readable fire again).
    virtual void drain(const OnDatagram& on_datagram) = 0;

    // To poll; -1 while it is not open. Another one after each opening.
    [[nodiscard]] virtual int fd() = 0;
    [[nodiscard]] virtual bool is_open() const = 0;
    // Why it is not open or the last send failed; empty when all is well.
    [[nodiscard]] virtual const std::string& error() const = 0;
    // What works, but less well than wanted ("cannot bind to eth0: ..."); usually empty.
    [[nodiscard]] virtual const std::string& note() const = 0;
    [[nodiscard]] virtual const LinkCounters& counters() const = 0;
};

}  // namespace lbcluster::heartbeat
