#include "heartbeat/wire/slip.hpp"

namespace lbcluster::heartbeat {

namespace {
constexpr std::uint8_t end = 0300;
constexpr std::uint8_t esc = 0333;
constexpr std::uint8_t esc_end = 0334;
constexpr std::uint8_t esc_esc = 0335;
}  // namespace

std::size_t slip_encode(std::span<const std::uint8_t> datagram, std::span<std::uint8_t, slip_bytes_max> out) {
    LBC_ASSERT(datagram.size() <= datagram_bytes_max);
    std::size_t size = 0;
    out[size++] = end;
    for (const std::uint8_t byte : datagram) {
        if (byte == end || byte == esc) {
            out[size++] = esc;
            out[size++] = byte == end ? esc_end : esc_esc;
        } else {
            out[size++] = byte;
        }
    }
    out[size++] = end;
    return size;
}

void SlipDecoder::reset() {
    size_ = 0;
    escaped_ = false;
    bad_ = false;
}

std::optional<std::span<const std::uint8_t>> SlipDecoder::feed(std::uint8_t byte) {
    if (byte == end) {
        const std::size_t size = size_;
        const bool bad = bad_ || escaped_;
        reset();
        if (bad) ++damaged_;
        if (bad || size == 0) return std::nullopt;  // nothing between two ENDs is no frame
        return std::span<const std::uint8_t>(frame_).first(size);
    }
    if (bad_) return std::nullopt;
    if (escaped_) {
        escaped_ = false;
        if (byte != esc_end && byte != esc_esc) {
            bad_ = true;
            return std::nullopt;
        }
        byte = byte == esc_end ? end : esc;
    } else if (byte == esc) {
        escaped_ = true;
        return std::nullopt;
    }
    if (size_ == frame_.size()) {
        bad_ = true;
    } else {
        frame_.at(size_++) = byte;
    }
    return std::nullopt;
}

}  // namespace lbcluster::heartbeat
