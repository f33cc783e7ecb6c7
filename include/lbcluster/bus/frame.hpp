// Frames of the state bus: 4 bytes length (big-endian), then one protobuf `bus.Frame` (proto/lbcluster/state.proto).
// Pure: bytes in, frames out. Memory is bounded: a length above frame_bytes_max is refused when its four bytes are
// there, before anything is kept of the frame. Unknown fields are ignored, so that two versions can talk.
#pragma once

#include <lbcluster/state.pb.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lbcluster/base/result.hpp"

namespace lbcluster::bus {

inline constexpr std::uint32_t protocol_version = 1;
inline constexpr std::size_t frame_bytes_max = std::size_t{256} * 1024;  // without the four bytes of the length
inline constexpr std::size_t frame_header_bytes = 4;

// The bytes for the socket. Refuses (EMSGSIZE) what is larger than frame_bytes_max.
Result<std::string> encode_frame(const Frame& frame);
// The four bytes in front of a body of that size.
std::string frame_header(std::size_t body_bytes);

class FrameDecoder {
  public:
    void append(std::string_view bytes) { buffer_.append(bytes); }

    // The next whole frame; nothing if more bytes are needed; an error (EPROTO, EMSGSIZE) if the stream is broken,
    // after which it stays broken.
    Result<std::optional<Frame>> next();

    // Bytes of a frame that is not whole are waiting.
    [[nodiscard]] bool in_frame() const { return buffer_.size() > consumed_; }
    // A whole frame (or a broken one) is waiting: next() would not ask for more bytes.
    [[nodiscard]] bool ready() const;
    [[nodiscard]] std::size_t buffered_bytes() const { return buffer_.size() - consumed_; }

  private:
    [[nodiscard]] std::size_t body_bytes() const;  // only with the header there
    void compact();

    std::string buffer_;
    std::size_t consumed_ = 0;  // bytes at the front that are done with
};

}  // namespace lbcluster::bus
