// OP-4: the history is readable while heartbeatd does not run.
#include "lbcluster/bus/event_file.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "lbcluster/base/time.hpp"

namespace lbcluster::bus {
namespace {

TEST(EventFile, ReadsALine) {
    const auto event = parse_event_line(
        R"({"sequence":7,"time":"2026-11-21T02:08:19.042Z","node":"lb1","kind":"became-active","severity":"warning",)"
        R"("text":"peer is dead","inputs":{"silence":"1.1s","votes":2},"new":[1]})");
    ASSERT_TRUE(event);
    EXPECT_EQ(event->sequence(), 7U);
    EXPECT_EQ(format_rfc3339(event->time_ms()), "2026-11-21T02:08:19.042Z");
    EXPECT_EQ(event->kind(), "became-active");
    EXPECT_EQ(event->inputs().at("silence"), "1.1s");
    EXPECT_EQ(event->inputs().at("votes"), "2");
    EXPECT_EQ(parse_event_line(R"({"sequence":1,"time":1790000000000})")->time_ms(), 1790000000000U);
}

TEST(EventFile, WritesWhatItReads) {
    Event event;
    event.set_sequence(7);
    event.set_time_ms(1795226899042);
    event.set_node("lb1");
    event.set_kind("became-active");
    event.set_severity("info");
    event.set_text("a \"quoted\" \n reason \xff");
    (*event.mutable_inputs())["peer_silence"] = "1s";
    const std::string line = event_line(event);
    EXPECT_EQ(line.back(), '\n');
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    const auto read = parse_event_line(line);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->sequence(), 7U);
    EXPECT_EQ(read->time_ms(), 1795226899042U);
    EXPECT_EQ(read->inputs().at("peer_silence"), "1s");
}

TEST(EventFile, TakesNothingElseForAnEvent) {
    const std::string deep = R"({"sequence":1,"inputs":)" + std::string(100000, '[');
    for (const std::string& line : {std::string("half a li"), std::string("[]"), std::string("{}"), std::string("7"),
                                    std::string(R"({"sequence":1)"), deep}) {
        EXPECT_FALSE(parse_event_line(line)) << line.substr(0, 40);
    }
    EXPECT_EQ(parse_event_line(R"({"sequence":-5,"time":"yesterday","text":7})")->sequence(), 0U);
}

TEST(EventFile, ReadsTheEndOfALargeFileAndCountsBadLines) {
    std::string path = "/tmp/lbcluster-events-XXXXXX";
    ::close(::mkstemp(path.data()));
    std::ofstream file(path);
    const int lines = 60000;
    for (int i = 1; i <= lines; ++i) {
        file << R"({"sequence":)" << i << R"(,"text":")" << std::string(80, 'x') << "\"}\n";
    }
    file << "{\"sequence\":9";  // cut off by a power failure
    file.close();
    const auto read = read_event_file(path);
    ::unlink(path.c_str());
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(read.value().events.size(), event_lines_max);
    EXPECT_EQ(read.value().events.back().sequence(), static_cast<unsigned>(lines));
    EXPECT_EQ(read.value().unreadable_lines, 1U);
    EXPECT_EQ(read_event_file(path).error().code, ENOENT);
}

}  // namespace
}  // namespace lbcluster::bus
