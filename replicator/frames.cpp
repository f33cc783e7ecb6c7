#include "replicator/frames.hpp"

#include <cerrno>

namespace lbcluster::replicator {

Result<std::string> encode_frame(const replica::Frame& frame) {
    const std::size_t size = frame.ByteSizeLong();
    if (size > frame_bytes_max) {
        return Error{"a frame of " + std::to_string(size) + " bytes is larger than " + std::to_string(frame_bytes_max),
                     "", EMSGSIZE};
    }
    std::string bytes;
    bytes.reserve(frame_header_bytes + size);
    for (std::size_t i = frame_header_bytes; i-- > 0;) bytes += static_cast<char>(size >> (8 * i) & 0xFFU);
    if (!frame.AppendToString(&bytes)) {
        return Error{"a frame cannot be encoded: a text in it is not UTF-8", "", EPROTO};
    }
    return bytes;
}

Result<std::optional<replica::Frame>> FrameDecoder::next() {
    const std::size_t there = buffer_.size() - consumed_;
    std::size_t size = 0;
    if (there >= frame_header_bytes) {
        for (std::size_t i = 0; i < frame_header_bytes; ++i) {
            size = size << 8U | static_cast<std::uint8_t>(buffer_[consumed_ + i]);
        }
        if (size > frame_bytes_max) {
            return Error{"a frame of " + std::to_string(size) + " bytes was announced, at most " +
                             std::to_string(frame_bytes_max) + " are allowed",
                         "", EMSGSIZE};
        }
    }
    if (there < frame_header_bytes || there - frame_header_bytes < size) {
        buffer_.erase(0, consumed_);
        consumed_ = 0;
        return std::optional<replica::Frame>{};
    }
    replica::Frame frame;
    if (!frame.ParseFromArray(buffer_.data() + consumed_ + frame_header_bytes, static_cast<int>(size))) {
        return Error{"a frame of " + std::to_string(size) + " bytes is not a replica.Frame", "", EPROTO};
    }
    consumed_ += frame_header_bytes + size;
    return std::optional<replica::Frame>{std::move(frame)};
}

}  // namespace lbcluster::replicator
