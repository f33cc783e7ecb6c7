// HTTP answers, byte by byte: verdicts, reasons, bounds. HC-2, HC-7.
#include "healthd/talk/http.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

namespace lbcluster::health {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

ProbeSpec http_spec() {
    ProbeSpec spec;
    spec.address = IpAddress::v4({10, 0, 0, 1});
    spec.port = 8080;
    spec.virtual_address = "10.0.0.100";
    spec.virtual_port = 80;
    spec.check.set_type(config::CHECK_TYPE_NEGOTIATE);
    spec.check.set_protocol(config::CHECK_PROTOCOL_HTTP);
    spec.check.set_request("/status");
    return spec;
}

std::string text_of(const Outcome& outcome) {
    static const std::map<Finding, std::string> words{
        {Finding::up, "up"}, {Finding::standby, "standby"}, {Finding::down, "down"}, {Finding::unusable, "unusable"}};
    return words.at(outcome.finding) + ": " + outcome.reason;
}

// How a conversation ends when the server says `answer` in pieces of `piece` bytes, and then hangs up if `end`.
// "reading: ..." when it has no verdict yet.
std::string verdict(const ProbeSpec& spec, std::string_view answer, bool end = false, std::size_t piece = 100000) {
    const auto talk = make_http_talk(spec);
    EXPECT_EQ(talk->on_connected().next, Talk::Next::read);
    for (; !answer.empty(); answer.remove_prefix(std::min(piece, answer.size()))) {
        const auto step = talk->on_bytes(answer.substr(0, piece));
        if (step.next == Talk::Next::done) return text_of(step.outcome);
    }
    if (end) return text_of(talk->on_end().outcome);
    return "reading: " + talk->waiting_for();
}

std::string request(const ProbeSpec& spec) { return make_http_talk(spec)->on_connected().send; }

TEST(HttpRequest, HasWhatAServerNeeds) {
    EXPECT_EQ(request(http_spec()),
              "GET /status HTTP/1.1\r\nHost: 10.0.0.100\r\nUser-Agent: lbcluster-healthd/" LBCLUSTER_VERSION
              "\r\nAccept: */*\r\nConnection: close\r\n\r\n");
}

TEST(HttpRequest, HostIsTheVirtualAddressWithAPortThatIsNotUsual) {
    ProbeSpec spec = http_spec();
    spec.virtual_port = 8081;
    EXPECT_THAT(request(spec), HasSubstr("\r\nHost: 10.0.0.100:8081\r\n"));
    spec.virtual_port = 443;
    EXPECT_THAT(request(spec), HasSubstr("\r\nHost: 10.0.0.100:443\r\n"));
    spec.check.set_protocol(config::CHECK_PROTOCOL_HTTPS);
    EXPECT_THAT(request(spec), HasSubstr("\r\nHost: 10.0.0.100\r\n"));
    spec.virtual_address = "fd00::1";
    EXPECT_THAT(request(spec), HasSubstr("\r\nHost: [fd00::1]\r\n"));
    spec.virtual_address.clear();
    EXPECT_THAT(request(spec), HasSubstr("\r\nHost: 10.0.0.1:8080\r\n"));
    spec.check.set_host("www.example");
    EXPECT_THAT(request(spec), HasSubstr("\r\nHost: www.example\r\n"));
}

TEST(HttpRequest, OwnHeadersReplaceOurs) {
    ProbeSpec spec = http_spec();
    spec.check.set_method(config::HTTP_METHOD_HEAD);
    (*spec.check.mutable_headers())["user-agent"] = "me";
    (*spec.check.mutable_headers())["X-Two"] = "2";
    (*spec.check.mutable_headers())["Authorization"] = "Basic abc";
    EXPECT_EQ(request(spec),
              "HEAD /status HTTP/1.1\r\nHost: 10.0.0.100\r\nUser-Agent: me\r\nAccept: */*\r\nConnection: close\r\n"
              "Authorization: Basic abc\r\nX-Two: 2\r\n\r\n");
}

TEST(HttpRequest, PathBeginsWithASlash) {
    ProbeSpec spec = http_spec();
    spec.check.set_request("status?x=1");
    EXPECT_THAT(request(spec), StartsWith("GET /status?x=1 HTTP/1.1\r\n"));
    spec.check.clear_request();
    EXPECT_THAT(request(spec), StartsWith("GET / HTTP/1.1\r\n"));
    spec.check.set_request("http://proxy.example/");
    EXPECT_THAT(request(spec), StartsWith("GET http://proxy.example/ HTTP/1.1\r\n"));
}

TEST(HttpRequest, WhatWouldBreakItIsRefused) {
    for (const char* bad : {"/a b", "/a\r\nX: y", "/\x7f"}) {
        ProbeSpec spec = http_spec();
        spec.check.set_request(bad);
        EXPECT_FALSE(HttpCheck::make(spec)) << bad;
        EXPECT_EQ(make_http_talk(spec)->on_connected().outcome.finding, Finding::unusable);
    }
    ProbeSpec spec = http_spec();
    (*spec.check.mutable_headers())["X"] = "a\r\nY: b";
    EXPECT_FALSE(HttpCheck::make(spec));
    spec = http_spec();
    spec.check.set_host("a\nb");
    EXPECT_FALSE(HttpCheck::make(spec));
    spec = http_spec();
    spec.check.set_method(config::HTTP_METHOD_HEAD);
    spec.check.set_expect_text("OK");
    EXPECT_FALSE(HttpCheck::make(spec));
}

struct Row {
    const char* name;
    std::string answer;
    bool end;
    std::string verdict;
};

TEST(HttpAnswer, StatusAlone) {
    const std::vector<Row> rows{
        {"good", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", false, "up: HTTP 200"},
        {"the body does not matter", "HTTP/1.1 204 No Content\r\n\r\n", false, "up: HTTP 204"},
        {"nor whether it comes", "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", false, "up: HTTP 200"},
        {"a redirection is an answer", "HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n", false, "up: HTTP 301"},
        {"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n", false, "up: HTTP 200"},
        {"bad", "HTTP/1.1 404 Not Found\r\n\r\n", false, "down: HTTP 404, wanted 200-399"},
        {"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
         false, "up: HTTP 200"},
        {"interim, then bad", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 500 Oh\r\n\r\n", false,
         "down: HTTP 500, wanted 200-399"},
        {"interim alone", "HTTP/1.1 100 Continue\r\n\r\n", true,
         "down: the server closed the connection in the header of its answer"},
        {"a bad body does not matter", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense", false,
         "up: HTTP 200"},
        {"nobody asked to switch", "HTTP/1.1 101 Switching\r\n\r\n", false, "down: HTTP 101, wanted 200-399"},
        {"nothing yet", "", false, "reading: answer to GET"},
        {"half a header", "HTTP/1.1 200 OK\r\nServer: x\r\n", false, "reading: rest of the header"},
        {"closed without a word", "", true, "down: the server closed the connection without an answer"},
        {"closed in the status line", "HTTP/1.1 20", true,
         "down: the server closed the connection in the header of its answer"},
        {"closed in the header", "HTTP/1.1 200 OK\r\nServer: x\r\n", true,
         "down: the server closed the connection in the header of its answer"},
    };
    for (const Row& row : rows) {
        for (const std::size_t piece : {1, 2, 3, 7, 100000}) {
            EXPECT_EQ(verdict(http_spec(), row.answer, row.end, piece), row.verdict) << row.name << ", by " << piece;
        }
    }
}

TEST(HttpAnswer, BadStatusInOnePieceNeedsNoMore) {
    EXPECT_EQ(verdict(http_spec(), "HTTP/1.1 503 Busy\r\nRetry"), "down: HTTP 503, wanted 200-399");
}

TEST(HttpAnswer, OtherProtocolsAreNamed) {
    for (const std::string answer :
         {"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", "220 mail.example ESMTP\r\n", "HTTP/2 200 OK\r\n\r\n",
          "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "\x15\x03\x01 \x02\x02\x16 alert",
          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"}) {
        for (const std::size_t piece : {1, 5, 100000}) {
            const std::string text = verdict(http_spec(), answer, true, piece);
            EXPECT_THAT(text, HasSubstr("down: ")) << answer;
            if (piece > 5) {
                EXPECT_THAT(text, HasSubstr("not HTTP")) << answer;
            }
        }
    }
    EXPECT_THAT(verdict(http_spec(), "SSH-2.0-OpenSSH_9.2p1 Debian\r\n"), HasSubstr("in \"SSH-2.0-OpenSSH_9.2p1"));
}

TEST(HttpAnswer, StatusesAreChosen) {
    ProbeSpec spec = http_spec();
    for (const unsigned status : {301U, 200U, 201U, 202U}) spec.check.add_expect_status(status);
    spec.check.add_standby_status(503);
    EXPECT_EQ(verdict(spec, "HTTP/1.1 201 Made\r\n\r\n"), "up: HTTP 201");
    EXPECT_EQ(verdict(spec, "HTTP/1.1 503 Passive\r\n\r\n"), "standby: HTTP 503, standby");
    EXPECT_EQ(verdict(spec, "HTTP/1.1 204 None\r\n\r\n"), "down: HTTP 204, wanted 200-202, 301, or 503 for standby");
    EXPECT_EQ(verdict(spec, "HTTP/1.1 500 Oh\r\n\r\n"), "down: HTTP 500, wanted 200-202, 301, or 503 for standby");
    spec.check.add_expect_status(101);
    EXPECT_EQ(verdict(spec, "HTTP/1.1 101 Switching\r\n\r\n"), "up: HTTP 101");
}

TEST(HttpAnswer, StandbyDoesNotLookAtTheBody) {
    ProbeSpec spec = http_spec();
    spec.check.set_expect_text("active");
    spec.check.add_standby_status(503);
    EXPECT_EQ(verdict(spec, "HTTP/1.1 503 Passive\r\nContent-Length: 7\r\n\r\n"), "standby: HTTP 503, standby");
}

TEST(HttpAnswer, HeadHasNoBody) {
    ProbeSpec spec = http_spec();
    spec.check.set_method(config::HTTP_METHOD_HEAD);
    EXPECT_EQ(verdict(spec, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), "up: HTTP 200");
    EXPECT_EQ(verdict(spec, ""), "reading: answer to HEAD");
}

TEST(HttpAnswer, TextIsFoundHoweverTheBodyIsCut) {
    ProbeSpec spec = http_spec();
    spec.check.set_expect_text("the needle");
    const std::vector<Row> rows{
        {"by length", "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\nin the needle box", false, "up: HTTP 200"},
        {"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6;x=y\r\nin the\r\n7\r\n needle\r\n0\r\n\r\n",
         false, "up: HTTP 200"},
        {"until the end", "HTTP/1.1 200 OK\r\n\r\nthe needle", true, "up: HTTP 200"},
        {"found before the end", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe needle", false, "up: HTTP 200"},
        {"not there", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nnadel", false,
         "down: HTTP 200, but no \"the needle\" in the answer, which begins with \"nadel\""},
        {"in the header only", "HTTP/1.1 200 OK\r\nX: the needle\r\nContent-Length: 0\r\n\r\n", false,
         "down: HTTP 200, but no \"the needle\" in the answer, its body is empty"},
        {"waiting", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nthe need", false, "reading: rest of the body"},
        {"closed early", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nthe need", true,
         "down: HTTP 200, but the connection was closed in the middle of the body (8 bytes came)"},
        {"chunks closed early", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nthe need\r\n", true,
         "down: HTTP 200, but the connection was closed in the middle of the body (8 bytes came)"},
        {"without a body", "HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", false,
         "down: HTTP 304, but no \"the needle\" in the answer, its body is empty"},
    };
    for (const Row& row : rows) {
        for (std::size_t piece = 1; piece <= row.answer.size(); ++piece) {
            EXPECT_EQ(verdict(spec, row.answer, row.end, piece), row.verdict) << row.name << ", by " << piece;
        }
    }
}

TEST(HttpAnswer, ExpressionSeesTheWholeBody) {
    ProbeSpec spec = http_spec();
    spec.check.set_expect_regex("^OK$");
    const std::string header = "HTTP/1.1 200 OK\r\nContent-Length: ";
    for (const std::size_t piece : {1, 100000}) {
        EXPECT_EQ(verdict(spec, header + "2\r\n\r\nOK", false, piece), "up: HTTP 200");
        EXPECT_EQ(verdict(spec, header + "6\r\n\r\nOK not", false, piece),
                  "down: HTTP 200, but the answer does not match \"^OK$\", which begins with \"OK not\"");
        EXPECT_EQ(verdict(spec, header + "6\r\n\r\nOK", true, piece),
                  "down: HTTP 200, but the connection was closed in the middle of the body (2 bytes came)");
    }
    spec.check.set_expect_regex("a.*z");
    spec.check.set_expect_text("m");
    EXPECT_EQ(verdict(spec, header + "5\r\n\r\na m z"), "up: HTTP 200");
    EXPECT_THAT(verdict(spec, header + "5\r\n\r\na   z"), HasSubstr("but no \"m\""));
    EXPECT_THAT(verdict(spec, header + "5\r\n\r\nz m a"), HasSubstr("does not match"));
}

TEST(HttpAnswer, EndlessOnesEnd) {
    ProbeSpec spec = http_spec();
    spec.check.set_expect_text("needle");
    const std::string much(Talk::received_bytes_max, 'x');
    EXPECT_THAT(verdict(spec, "HTTP/1.1 200 OK\r\n\r\n" + much, false, 1000),
                HasSubstr("but no \"needle\" in the answer (64 KiB of it), which begins with \"xxx"));
    EXPECT_THAT(verdict(http_spec(), "HTTP/1.1 200 OK\r\nX: " + much, false, 1000), HasSubstr("header"));
    std::string headers = "HTTP/1.1 200 OK\r\n";
    while (headers.size() < 2 * Talk::received_bytes_max) headers += "X: y\r\n";
    EXPECT_THAT(verdict(http_spec(), headers, false, 1000), HasSubstr("down: "));
    std::string interim;
    while (interim.size() < 2 * Talk::received_bytes_max) interim += "HTTP/1.1 100 Continue\r\n\r\n";
    EXPECT_THAT(verdict(http_spec(), interim, false, 1000), HasSubstr("down: "));
}

TEST(HttpAnswer, ReasonsHideSecrets) {
    ProbeSpec spec = http_spec();
    spec.check.set_request("/s?Authorization=KEY123");
    spec.check.set_expect_text("OK");
    EXPECT_THAT(verdict(spec, "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nno page /s?Authorization=KEY123 is here. "),
                Not(HasSubstr("KEY123")));
    EXPECT_THAT(verdict(spec, "nonsense Authorization=KEY123\r\n"), Not(HasSubstr("KEY123")));
}

TEST(HttpHost, NameWithoutPort) {
    EXPECT_EQ(host_name_of("www.example"), "www.example");
    EXPECT_EQ(host_name_of("www.example:8443"), "www.example");
    EXPECT_EQ(host_name_of("[fd00::1]:8443"), "fd00::1");
    EXPECT_EQ(host_name_of("[fd00::1]"), "fd00::1");
    EXPECT_EQ(host_name_of("fd00::1"), "fd00::1");
    EXPECT_EQ(host_name_of("[broken"), "broken");
    EXPECT_EQ(host_name_of(""), "");
}

}  // namespace
}  // namespace lbcluster::health
