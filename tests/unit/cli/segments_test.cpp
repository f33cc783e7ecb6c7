// L4-10: the TCP segments that `lbcluster diagnose` makes by hand, and what it takes for an answer.
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/diagnose_segments.hpp"
#include "lbcluster/net/packets.hpp"

namespace lbcluster::cli {
namespace {

using Bytes = std::vector<std::uint8_t>;

SegmentQuestion question(const char* from, const char* to) {
    SegmentQuestion out;
    out.ifindex = 1;
    out.from_mac = MacAddress{{2, 0, 0, 0, 0, 1}};
    out.to_mac = MacAddress{{2, 0, 0, 0, 0, 2}};
    out.from = IpAddress::parse(from).value();
    out.to = {IpAddress::parse(to).value(), 80};
    return out;
}

// The same segment from the other side: what a server sends back.
Bytes answer(const char* server, const char* us, std::uint8_t flags) {
    SegmentQuestion back = question(server, us);
    std::swap(back.from_mac, back.to_mac);
    back.to.port = 40000;
    return make_segment(back, 80, flags, 7, 8);
}

TEST(Segments, AreWellFormed) {
    const Bytes v4 = make_segment(question("10.77.0.11", "10.77.0.200"), 40000, segment_syn, 1, 0);
    const Bytes wanted_head{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6};
    ASSERT_EQ(v4.size(), 54U);
    EXPECT_TRUE(std::equal(wanted_head.begin(), wanted_head.end(), v4.begin()));
    EXPECT_EQ(net::internet_checksum(std::span(v4).subspan(14, 20)), 0);
    Bytes summed(v4.begin() + 26, v4.begin() + 34);  // the pseudo-header
    summed.insert(summed.end(), {0, 6, 0, 20});
    summed.insert(summed.end(), v4.begin() + 34, v4.end());
    EXPECT_EQ(net::internet_checksum(summed), 0);
    const Bytes v6 = make_segment(question("fd77::11", "fd77::200"), 40000, segment_syn, 1, 0);
    ASSERT_EQ(v6.size(), 74U);
    Bytes summed6(v6.begin() + 22, v6.begin() + 54);
    summed6.insert(summed6.end(), {0, 6, 0, 20});
    summed6.insert(summed6.end(), v6.begin() + 54, v6.end());
    EXPECT_EQ(net::internet_checksum(summed6), 0);
}

TEST(Segments, AnswersAreUnderstood) {
    for (const auto& [server, us] : {std::pair{"10.77.0.200", "10.77.0.11"}, std::pair{"fd77::200", "fd77::11"}}) {
        const auto accepted = parse_segment(answer(server, us, segment_syn | segment_ack));
        ASSERT_TRUE(accepted.has_value()) << server;
        EXPECT_TRUE(accepted->accepted);
        EXPECT_EQ(accepted->from, (Endpoint{IpAddress::parse(server).value(), 80}));
        EXPECT_EQ(accepted->port, 40000);
        EXPECT_EQ(accepted->mac, (MacAddress{{2, 0, 0, 0, 0, 2}}));
        EXPECT_EQ(accepted->acknowledged, 8U);
        const auto refused = parse_segment(answer(server, us, segment_rst | segment_ack));
        ASSERT_TRUE(refused.has_value());
        EXPECT_FALSE(refused->accepted);
        EXPECT_FALSE(parse_segment(answer(server, us, segment_ack)).has_value());
        EXPECT_FALSE(parse_segment(answer(server, us, segment_syn)).has_value());
    }
}

TEST(Segments, WhatIsCutOrChangedIsReadWithinItsBounds) {
    for (const auto& [server, us] : {std::pair{"10.77.0.200", "10.77.0.11"}, std::pair{"fd77::200", "fd77::11"}}) {
        const Bytes whole = answer(server, us, segment_syn | segment_ack);
        for (std::size_t size = 0; size < whole.size(); ++size) {
            const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));  // its own memory
            EXPECT_FALSE(parse_segment(cut).has_value()) << size;
        }
        for (std::size_t at = 12; at < 24; ++at) {
            Bytes changed = whole;
            changed[at] ^= 0xff;
            static_cast<void>(parse_segment(changed));  // any outcome, but no crash
        }
    }
}

}  // namespace
}  // namespace lbcluster::cli
