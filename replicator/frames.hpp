// Frames between the nodes: 4 bytes length (big-endian), then one protobuf `replica.Frame`
// (proto/lbcluster/replica.proto). Pure: bytes in, frames out. Memory is bounded: a length above frame_bytes_max is
// refused when its four bytes are there, and of a frame only what has arrived is kept. Unknown fields are ignored, so
// that two versions can talk.
//
// Errors: EMSGSIZE (too large), EPROTO (not our language); a stream that is broken stays broken.
#pragma once

#include <lbcluster/replica.pb.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lbcluster/base/result.hpp"

namespace lbcluster::replicator {

inline constexpr std::uint32_t protocol_version = 1;
inline constexpr std::size_t frame_bytes_max = std::size_t{16} * 1024 * 1024;  // without the four bytes of the length
inline constexpr std::size_t frame_header_bytes = 4;

Result<std::string> encode_frame(const replica::Frame& frame);

class FrameDecoder {
  public:
    void append(std::string_view bytes) { buffer_.append(bytes); }
    // The next whole frame; nothing if more bytes are needed.
    Result<std::optional<replica::Frame>> next();
    // Bytes of a frame that is not whole are waiting.
    [[nodiscard]] bool in_frame() const { return buffer_.size() > consumed_; }

  private:
    std::string buffer_;
    std::size_t consumed_ = 0;  // bytes at the front that are done with
};

}  // namespace lbcluster::replicator
