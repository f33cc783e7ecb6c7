#include "lbcluster/bus/frame.hpp"

#include <cerrno>

namespace lbcluster::bus {

std::string frame_header(std::size_t body_bytes) {
    std::string header(frame_header_bytes, '\0');
    for (std::size_t i = 0; i < frame_header_bytes; ++i) {
        header[i] = static_cast<char>(body_bytes >> (8 * (frame_header_bytes - 1 - i)) & 0xFFU);
    }
    return header;
}

Result<std::string> encode_frame(const Frame& frame) {
    const std::size_t size = frame.ByteSizeLong();
    if (size > frame_bytes_max) {
        return Error{
            "bus frame of " + std::to_string(size) + " bytes is larger than " + std::to_string(frame_bytes_max), "",
            EMSGSIZE};
    }
    std::string bytes = frame_header(size);
    if (!frame.AppendToString(&bytes)) {
        return Error{"bus frame cannot be encoded: a text in it is not UTF-8", "", EPROTO};
    }
    return bytes;
}

std::size_t FrameDecoder::body_bytes() const {
    std::size_t size = 0;
    for (std::size_t i = 0; i < frame_header_bytes; ++i) {
        size = size << 8U | static_cast<std::uint8_t>(buffer_[consumed_ + i]);
    }
    return size;
}

bool FrameDecoder::ready() const {
    if (buffered_bytes() < frame_header_bytes) {
        return false;
    }
    const std::size_t size = body_bytes();
    return size > frame_bytes_max || buffered_bytes() - frame_header_bytes >= size;
}

Result<std::optional<Frame>> FrameDecoder::next() {
    if (!ready()) {
        compact();
        return std::optional<Frame>{};
    }
    const std::size_t size = body_bytes();
    if (size > frame_bytes_max) {
        return Error{"frame of " + std::to_string(size) + " bytes announced, at most " +
                         std::to_string(frame_bytes_max) + " are allowed",
                     "", EMSGSIZE};
    }
    Frame frame;
    if (!frame.ParseFromArray(buffer_.data() + consumed_ + frame_header_bytes, static_cast<int>(size))) {
        return Error{"frame of " + std::to_string(size) + " bytes is not a bus.Frame", "", EPROTO};
    }
    consumed_ += frame_header_bytes + size;
    return std::optional<Frame>{std::move(frame)};
}

// Moves the rest of a frame to the front, once all whole frames in the buffer are taken.
void FrameDecoder::compact() {
    buffer_.erase(0, consumed_);
    consumed_ = 0;
}

}  // namespace lbcluster::bus
