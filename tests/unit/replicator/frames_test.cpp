// RE-2: frames between the nodes: what was encoded comes back, whatever the pieces; bytes that are none end the stream.
#include "replicator/frames.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace lbcluster::replicator {
namespace {

replica::Frame hello(const std::string& node) {
    replica::Frame frame;
    frame.mutable_hello()->set_protocol(protocol_version);
    frame.mutable_hello()->set_node(node);
    return frame;
}

TEST(ReplicaFrames, ComeBackWhateverThePieces) {
    const std::string bytes = *encode_frame(hello("lb1")) + *encode_frame(hello("lb2"));
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
        FrameDecoder decoder;
        std::string names;
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
            decoder.append(std::string_view(bytes).substr(at, piece));
            for (auto frame = decoder.next(); *frame; frame = decoder.next()) names += (**frame).hello().node();
        }
        EXPECT_EQ(names, "lb1lb2") << "pieces of " << piece;
        EXPECT_FALSE(decoder.in_frame());
    }
}

TEST(ReplicaFrames, ALengthAboveTheLimitIsRefusedBeforeAnythingIsKept) {
    FrameDecoder decoder;
    decoder.append(std::string("\x01\x00\x00\x01", 4));
    const auto frame = decoder.next();
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code, EMSGSIZE);
    EXPECT_FALSE(decoder.next()) << "and stays broken";
}

TEST(ReplicaFrames, BytesThatAreNoFrameAreRefused) {
    FrameDecoder decoder;
    decoder.append(std::string("\x00\x00\x00\x03\x0a\x7f\x01", 7));
    const auto frame = decoder.next();
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code, EPROTO);
}

TEST(ReplicaFrames, WhatIsTooLargeIsNotEncoded) {
    replica::Frame frame;
    frame.mutable_piece()->set_data(std::string(frame_bytes_max, 'x'));
    const auto bytes = encode_frame(frame);
    ASSERT_FALSE(bytes);
    EXPECT_EQ(bytes.error().code, EMSGSIZE);
}

TEST(ReplicaFrames, AFrameOfANewerVersionIsReadAsFarAsItIsKnown) {
    // Field 9999, a string, before the hello.
    FrameDecoder decoder;
    std::string body =
        "\xfa\xf0\x04\x03"
        "new" +
        hello("lb1").SerializeAsString();
    decoder.append(std::string("\x00\x00\x00", 3) + static_cast<char>(body.size()) + body);
    const auto frame = decoder.next();
    ASSERT_TRUE(frame && *frame);
    EXPECT_EQ((**frame).hello().node(), "lb1");
}

}  // namespace
}  // namespace lbcluster::replicator
