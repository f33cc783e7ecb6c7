// A heartbeat path over a serial line: see link.hpp. Raw 8N1 without flow control, SLIP frames (slip.hpp).
//
// At most one heartbeat is on the line and one waits: a newer one replaces the waiting one, so that what is sent is
// never old. "On the line" includes the kernel's transmit buffer where the driver tells (TIOCOUTQ).
// A device that is missing, unplugged or hung up is opened again with back-off.
//
// Asio's serial_port cannot wait for readiness without reading, but a decision needs all links drained first: hence a
// stream_descriptor and termios(3).
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>

#include "heartbeat/wire/link.hpp"
#include "heartbeat/wire/slip.hpp"

namespace lbcluster::heartbeat {

struct SerialLinkOptions {
    std::string name;
    std::string device;  // "/dev/ttyS0"
    unsigned baud = 115200;
};

// False for a speed that termios has no constant for.
bool is_serial_baud(unsigned baud);

class SerialLink final : public Link {
  public:
    SerialLink(boost::asio::io_context& io, SerialLinkOptions options, OnReadable on_readable);
    ~SerialLink() override;

    [[nodiscard]] const std::string& name() const override { return options_.name; }
    [[nodiscard]] std::string_view kind() const override { return "serial"; }
    void start() override;
    void send(std::span<const std::uint8_t> datagram) override;
    void drain(const OnDatagram& on_datagram) override;
    [[nodiscard]] int fd() override { return line_.is_open() ? line_.native_handle() : -1; }
    [[nodiscard]] bool is_open() const override { return line_.is_open(); }
    [[nodiscard]] const std::string& error() const override { return error_; }
    [[nodiscard]] const std::string& note() const override { return note_; }
    [[nodiscard]] const LinkCounters& counters() const override { return counters_; }

  private:
    static constexpr std::size_t drain_max = 512;
    static constexpr std::size_t read_rounds_max = 64;

    struct Frame {
        std::array<std::uint8_t, slip_bytes_max> bytes{};
        std::size_t size = 0;
    };

    void open();
    void close(std::string_view what, int code);
    void wait_readable();
    void write_on();
    void write_when_ready();
    void write_later(std::chrono::microseconds after);

    SerialLinkOptions options_;
    OnReadable on_readable_;
    boost::asio::posix::stream_descriptor line_;
    boost::asio::steady_timer retry_;
    boost::asio::steady_timer line_free_;
    std::chrono::milliseconds back_off_;
    SlipDecoder decoder_;
    Frame current_;  // being written: bytes from written_ on are still ours
    std::size_t written_ = 0;
    Frame waiting_;                 // size 0: none
    bool write_armed_ = false;      // a handler will call write_on()
    std::uint64_t generation_ = 0;  // of the open descriptor: handlers of an earlier one are ignored
    std::string error_;
    std::string note_;
    LinkCounters counters_;
    std::array<std::uint8_t, 2048> input_{};
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace lbcluster::heartbeat
