// OP-1: the language between the daemons and the command line.
#include "lbcluster/bus/frame.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace lbcluster::bus {
namespace {

Frame watch_frame(const std::string& prefix) {
    Frame frame;
    frame.mutable_watch()->set_prefix(prefix);
    return frame;
}

TEST(FrameDecoder, GivesFramesWhateverTheirPieces) {
    const std::string bytes = encode_frame(watch_frame("one")).value() + encode_frame(watch_frame("two")).value();
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
        FrameDecoder decoder;
        std::string prefixes;
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
            decoder.append(std::string_view(bytes).substr(at, piece));
            for (auto frame = decoder.next(); frame.value(); frame = decoder.next()) {
                prefixes += (*frame)->watch().prefix() + " ";
            }
        }
        EXPECT_EQ(prefixes, "one two ") << "in pieces of " << piece;
        EXPECT_FALSE(decoder.in_frame());
    }
}

TEST(FrameDecoder, RefusesATooLargeLengthBeforeTheBodyComes) {
    FrameDecoder decoder;
    decoder.append(frame_header(frame_bytes_max));
    EXPECT_TRUE(decoder.next().ok());
    FrameDecoder strict;
    strict.append(frame_header(frame_bytes_max + 1));
    EXPECT_TRUE(strict.ready());
    EXPECT_EQ(strict.next().error().code, EMSGSIZE);
}

TEST(FrameDecoder, RefusesGarbage) {
    FrameDecoder decoder;
    decoder.append(frame_header(4) + "\xff\xff\xff\xff");
    EXPECT_EQ(decoder.next().error().code, EPROTO);
}

TEST(FrameDecoder, SkipsFieldsOfANewerVersion) {
    std::string body = watch_frame("node").SerializeAsString();
    body += std::string("\xba\x3e\x03new", 6);  // field 999, three bytes
    FrameDecoder decoder;
    decoder.append(frame_header(body.size()) + body);
    EXPECT_EQ((*decoder.next().value()).watch().prefix(), "node");
}

TEST(EncodeFrame, RefusesWhatTheOtherSideWould) {
    EXPECT_EQ(encode_frame(watch_frame(std::string(frame_bytes_max, 'x'))).error().code, EMSGSIZE);
}

}  // namespace
}  // namespace lbcluster::bus
