// HC-1 to HC-3 for people: the answer to `lbcluster check` of a service with very many servers fits in a frame of the
// bus, and says what was cut.
#include "healthd/probe_now.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lbcluster/bus/frame.hpp"

namespace lbcluster::health {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

bus::ProbeReport report(std::size_t number, const char* finding, std::size_t transcript_bytes,
                        const std::string& reason = "HTTP 200") {
    bus::ProbeReport out;
    out.set_service("web");
    out.set_server("rs" + std::to_string(number));
    out.set_address("10.0.0.1");
    out.set_port(80);
    out.set_finding(finding);
    out.set_reason(reason);
    out.set_took_us(1234567);
    out.set_transcript(std::string(transcript_bytes, 'x'));
    return out;
}

// Bytes of the frame, or 0 if there is none.
std::size_t frame_of(const std::vector<bus::ProbeReport>& reports, const std::string& note) {
    bus::Frame frame;
    frame.mutable_reply()->set_id(1);
    frame.mutable_reply()->set_message(note);
    for (const bus::ProbeReport& one : reports) *frame.mutable_reply()->add_probes() = one;
    const auto encoded = bus::encode_frame(frame);
    return encoded.ok() ? encoded->size() : 0;
}

TEST(ProbeNowFit, WhatFitsIsLeftAlone) {
    std::vector<bus::ProbeReport> reports{report(1, "up", 16384), report(2, "down", 100000)};
    const auto before = reports[1].SerializeAsString();
    EXPECT_EQ(ProbeNow::fit(reports), "");
    EXPECT_EQ(reports[1].SerializeAsString(), before);
    reports.clear();
    EXPECT_EQ(ProbeNow::fit(reports), "");
}

TEST(ProbeNowFit, LongTranscriptsAreCutAndThatIsSaid) {
    std::vector<bus::ProbeReport> reports;
    for (std::size_t i = 0; i < 20; ++i) reports.push_back(report(i, "down", 100000));
    const std::string note = ProbeNow::fit(reports);
    EXPECT_THAT(note, HasSubstr("transcripts are cut"));
    EXPECT_THAT(note, HasSubstr("name one server"));
    EXPECT_GT(frame_of(reports, note), std::size_t{200} * 1024) << "the room is used";
    for (const bus::ProbeReport& one : reports) {
        EXPECT_GT(one.transcript().size(), 10000U);
        EXPECT_THAT(one.transcript(), EndsWith("... (cut)\n"));
    }
}

TEST(ProbeNowFit, AThousandServersKeepTheTranscriptsOfThoseThatFail) {
    std::vector<bus::ProbeReport> reports;
    for (std::size_t i = 0; i < 1024; ++i) reports.push_back(report(i, i % 300 == 7 ? "down" : "up", 2048));
    const std::string note = ProbeNow::fit(reports);
    EXPECT_GT(frame_of(reports, note), 0U);
    ASSERT_EQ(reports.size(), 1024U);
    for (const bus::ProbeReport& one : reports) {
        EXPECT_EQ(one.reason(), "HTTP 200");
        if (one.finding() == "down") {
            EXPECT_EQ(one.transcript().size(), 2048U);
        }
    }
}

// All that the configuration allows at once.
TEST(ProbeNowFit, TheWorstCaseFits) {
    std::vector<bus::ProbeReport> reports;
    for (std::size_t i = 0; i < 1024; ++i) {
        bus::ProbeReport one = report(i, "unusable", 2048, std::string(reason_bytes_max + 60, 'r'));
        one.set_service(std::string(63, 's'));
        one.set_server(std::string(63, 'l'));
        one.set_address("fd77:1111:2222:3333:4444:5555:6666:7777");
        one.set_port(65535);
        one.set_took_us(3'600'000'000);
        reports.push_back(std::move(one));
    }
    const std::string note = ProbeNow::fit(reports);
    EXPECT_THAT(note, HasSubstr("transcripts and reasons are cut"));
    EXPECT_GT(frame_of(reports, note), 0U);
    ASSERT_EQ(reports.size(), 1024U);
    EXPECT_THAT(reports[0].reason(), EndsWith("r..."));
    EXPECT_EQ(reports[0].transcript(), "");
}

}  // namespace
}  // namespace lbcluster::health
