#include <gtest/gtest.h>

#include "lbcluster/base/address.hpp"
#include "lbcluster/base/time.hpp"

namespace lbcluster {
namespace {

TEST(Duration, ParsesAndFormatsTheSameThing) {
    for (const char* text : {"100ms", "1.5s", "5m", "2h", "30s", "250us", "1ns", "0s"}) {
        const auto parsed = parse_duration(text);
        ASSERT_TRUE(parsed) << text;
        EXPECT_EQ(format_duration(*parsed), text);
    }
    EXPECT_EQ(*parse_duration("0"), Duration{0});
    EXPECT_EQ(format_duration(1500ms), "1.5s");
    EXPECT_EQ(format_duration(90s), "90s");
}

TEST(Duration, RefusesWhatIsNotADuration) {
    for (const char* text : {"", "5", "-1s", "1x", "s", "1 s", "1e400s", "nan", "99999999999h", "ms", "+-1s"}) {
        EXPECT_FALSE(parse_duration(text)) << text;
    }
}

TEST(Time, Rfc3339) { EXPECT_EQ(format_rfc3339(1795226899042), "2026-11-21T02:08:19.042Z"); }

TEST(Address, RoundTrip) {
    for (const char* text : {"10.77.0.200", "fd77::200", "::", "0.0.0.0", "255.255.255.255", "::ffff:10.0.0.1"}) {
        const auto a = IpAddress::parse(text);
        ASSERT_TRUE(a) << text;
        EXPECT_EQ(a->to_string(), text);
    }
    for (const char* text : {"", "10.77.0", "10.77.0.256", "fe80::1%eth0", "[::1]", "host", "10.0.0.1/24"}) {
        EXPECT_FALSE(IpAddress::parse(text)) << text;
    }
    EXPECT_FALSE(IpAddress::parse(std::string_view("10.0.0.1\0x", 10)));
}

TEST(Address, PrefixContains) {
    const auto p = *IpPrefix::parse("10.77.0.11/20");
    EXPECT_TRUE(p.contains(*IpAddress::parse("10.77.15.255")));
    EXPECT_FALSE(p.contains(*IpAddress::parse("10.77.16.0")));
    EXPECT_FALSE(p.contains(*IpAddress::parse("fd77::1")));
    EXPECT_TRUE(IpPrefix::parse("fd77::11/64")->contains(*IpAddress::parse("fd77::ffff")));
    EXPECT_EQ(IpPrefix::parse("10.0.0.1")->length, 32);
    EXPECT_EQ(IpPrefix::parse("fd00::1")->length, 128);
    for (const char* text : {"10.0.0.1/33", "fd00::/129", "10.0.0.1/", "10.0.0.1/x", "10.0.0.1/-1", "/24"}) {
        EXPECT_FALSE(IpPrefix::parse(text)) << text;
    }
}

TEST(Address, Mac) {
    EXPECT_EQ(MacAddress::parse("02:00:5e:10:00:ff")->to_string(), "02:00:5e:10:00:ff");
    for (const char* text : {"", "02:00:5e:10:00", "02-00-5e-10-00-ff", "02:00:5e:10:00:fg", "2:00:5e:10:00:0ff"}) {
        EXPECT_FALSE(MacAddress::parse(text)) << text;
    }
}

TEST(Time, Rfc3339IsReadStrictly) {
    EXPECT_EQ(format_rfc3339(*parse_rfc3339("2026-11-21T02:08:19.042Z")), "2026-11-21T02:08:19.042Z");
    EXPECT_EQ(parse_rfc3339("1970-01-01T00:00:01Z"), 1000U);
    EXPECT_EQ(parse_rfc3339("1970-01-01T00:00:00.5Z"), 500U);
    EXPECT_EQ(parse_rfc3339("1970-01-01T00:00:00.0429Z"), 42U);
    EXPECT_EQ(parse_rfc3339("2024-02-29T00:00:00Z"), 1709164800000U);
    for (const char* text :
         {"", "Z", "2026-11-21", "2026-11-21T02:08:19", "2026-11-21T02:08:19+01:00", "2026-11-21 02:08:19Z",
          "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-21T24:00:00Z", "2026-11-21T02:60:00Z",
          "2026-11-21T02:08:19.Z", "2026-11-21T02:08:19.xZ", "1969-12-31T23:59:59Z", "2026-11-21T02:08:19ZZ"}) {
        EXPECT_FALSE(parse_rfc3339(text)) << text;
    }
}

}  // namespace
}  // namespace lbcluster
