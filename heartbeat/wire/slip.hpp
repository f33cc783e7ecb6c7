// SLIP framing (RFC 1055) around heartbeats on a serial line: END, the datagram with END and ESC escaped, END.
//
// The leading END flushes line noise. The decoder is bounded: a frame that is too long, cut off or has a bad escape is
// dropped as damaged and the next END starts anew; the MAC decides about all else. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "heartbeat/wire/codec.hpp"

namespace lbcluster::heartbeat {

constexpr std::size_t slip_bytes_max = 2 * datagram_bytes_max + 2;

// Returns the number of bytes written to `out`. At most datagram_bytes_max of input.
std::size_t slip_encode(std::span<const std::uint8_t> datagram, std::span<std::uint8_t, slip_bytes_max> out);

class SlipDecoder {
  public:
    // The frame that this byte completed; valid until the next call.
    std::optional<std::span<const std::uint8_t>> feed(std::uint8_t byte);
    // Forgets a frame that has begun: the line was opened anew.
    void reset();
    [[nodiscard]] std::uint64_t damaged() const { return damaged_; }

  private:
    std::array<std::uint8_t, datagram_bytes_max> frame_{};
    std::size_t size_ = 0;
    bool escaped_ = false;
    bool bad_ = false;
    std::uint64_t damaged_ = 0;
};

}  // namespace lbcluster::heartbeat
