// What only layer 7 has (L7-2 to L7-8): what is refused and how it is told, and the files that go with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "lbcluster/config/load.hpp"
#include "lbcluster/config/manual.hpp"
#include "lbcluster/config/schema.hpp"
#include "tests/unit/config/loading.hpp"

namespace lbcluster::config {
namespace {

using testing::HasSubstr;

std::string with(const std::string& more, const std::string& after = "") {
    return "virtual_services:\n  - {label: a, address: 10.0.0.1, ports: [443], " + more + "}\n" + after;
}

struct ProxyCase {
    const char* name;
    std::string text;
    const char* message;  // without file and line
};

class ProxyRules : public testing::TestWithParam<ProxyCase> {};

TEST_P(ProxyRules, Refuse) {
    const LoadResult loaded = load(GetParam().text);
    EXPECT_FALSE(loaded.ok());
    EXPECT_THAT(format(loaded.problems), HasSubstr(GetParam().message));
}

const std::string proxy = "method: proxy, ";
const std::string http = "method: proxy, mode: http, ";

std::string header(const std::string& more) { return with(http + "headers: [{" + more + "}]"); }
std::string rewrite(const std::string& path, const std::string& to) {
    return with(http + "rewrite: [{path: '" + path + "', to: '" + to + "'}]");
}

INSTANTIATE_TEST_SUITE_P(
    L7, ProxyRules,
    testing::Values(
        ProxyCase{"TlsOnLayer4", with("tls: {reencrypt: true}"), "[0].tls: only layer 7 (method: proxy) has it"},
        ProxyCase{"SourceOnLayer4", with("source: 10.0.0.1"), "[0].source: only layer 7"},
        ProxyCase{"ManualOnLayer4", with("manual: a"), "[0].manual: only layer 7"},
        ProxyCase{"HeadersInModeTcp", with(proxy + "headers: [{name: A, value: b}]"),
                  "[0].headers: only layer 7 with mode: http has it"},
        ProxyCase{"CompressionInModeTcp", with(proxy + "compression: true"), "[0].compression: only layer 7 with mode"},
        ProxyCase{"TlsOfNothing", with(proxy + "tls: {}"), "[0].tls: says nothing"},
        ProxyCase{"RedirectWithoutCertificates", with(proxy + "tls: {reencrypt: true, redirect_http: true}"),
                  "[0].tls.redirect_http: needs certificates"},
        ProxyCase{"Http2InModeTcp", with(proxy + "tls: {certificates: [c], http2: true}"),
                  "[0].tls.http2: needs mode: http"},
        ProxyCase{"CaWithoutReencrypt", with(proxy + "tls: {certificates: [c], server_ca: d}"),
                  "[0].tls.server_ca: needs reencrypt: true"},
        ProxyCase{"NameThatIsAnAddress", with(proxy + "tls: {reencrypt: true, server_name: 10.0.0.1}"),
                  "[0].tls.server_name: is an address"},
        ProxyCase{"CertificateTwice", with(proxy + "tls: {certificates: [c, c]}"),
                  "[0].tls.certificates[1]: is in the list already"},
        ProxyCase{"ProxyProtocolOfNothing", with(proxy + "proxy_protocol: {}"), "[0].proxy_protocol: says nothing"},
        ProxyCase{"SourceOfNobody", with(proxy + "source: 10.0.0.9"),
                  "[0].source: 10.0.0.9 is neither in floating_ips nor a virtual service's"},
        ProxyCase{"SourceOfTheOtherFamily",
                  with(proxy + "source: 10.0.0.1, real_servers: [{label: s, address: \"fd00::1\"}]"),
                  "[0].source: is not of the IP family of real_servers[0], fd00::1"},
        ProxyCase{"TransparentOnLayer4", with("transparent: true"),
                  "[0].transparent: only layer 7 (method: proxy) has it"},
        ProxyCase{"TransparentWithSource", with(proxy + "transparent: true, source: 10.0.0.1"),
                  "[0].transparent: contradicts source"},
        ProxyCase{
            "TransparentToTheOtherFamily",
            with(proxy + "transparent: true, real_servers: [{label: s, address: \"fd00::1\"}]"),
            "[0].transparent: real_servers[0], fd00::1, is not of the IP family of the clients, who come to 10.0.0.1"},
        ProxyCase{"TransparentToThePair",
                  with(proxy + "transparent: true, real_servers: [{label: s, address: 10.0.0.7}]",
                       "floating_ips: [{address: 10.0.0.7}]\n"),
                  "[0].transparent: real server 's', 10.0.0.7, is an address of the pair"},
        ProxyCase{
            "RouteToATransparentOneOfTheOtherFamily",
            with(http + "routes: [{service: b}]",
                 "  - {label: b, address: \"fd00::1\", ports: [80], method: proxy, mode: http, transparent: true}\n"),
            "'b' is transparent, and of another IP family"},
        ProxyCase{"RdpInModeHttp", with(http + "persistence: {rdp_cookie: {}}"), ".rdp_cookie: needs mode: tcp"},
        ProxyCase{"SslIdWithTls", with(proxy + "tls: {certificates: [c]}, persistence: {ssl_id: {}}"),
                  ".ssl_id: needs TLS to end at the servers"},
        ProxyCase{"CookieWithoutName", with(http + "persistence: {cookie: {existing: true}}"),
                  ".cookie: has no name of the application's cookie"},
        ProxyCase{"TimeoutOfAnInsertedCookie", with(http + "persistence: {cookie: {timeout: 5m}}"),
                  ".cookie.timeout: only an existing cookie is remembered"},
        ProxyCase{"HeaderThatIsNoName", header("name: 'A B', value: c"), "[0].headers[0].name: is no name of a header"},
        ProxyCase{"HeaderOfTheLength", header("name: Content-Length, value: '5'"), "tells where a message ends"},
        ProxyCase{"HeaderWithoutValue", header("name: A"), "[0].headers[0]: has no value"},
        ProxyCase{"DeletedHeaderWithValue", header("name: A, action: delete, value: b"), ".value: has no use with"},
        ProxyCase{"HeaderOfTwoLines", header("name: A, value: \"b\\nC: d\""), ".value: has a line break"},
        ProxyCase{"UnknownVariable", header("name: A, value: '${env}'"), "'${env}' stands for nothing"},
        ProxyCase{"UnendedVariable", header("name: A, value: 'x ${client'"), "'${client' stands for nothing"},
        ProxyCase{"RequestsVariable", header("in: response, name: A, value: '${host}'"), "${host} is of requests only"},
        ProxyCase{"RewriteToNoPath", rewrite("^/a", "b"), "[0].rewrite[0].to: is no path"},
        ProxyCase{"RewriteToASpace", rewrite("^/a", "/b c"), "[0].rewrite[0].to: is no path"},
        ProxyCase{"RewriteToAQuery", rewrite("^/a", "/b?c"), ".to: has a query in it"},
        ProxyCase{"RewriteWithoutThatGroup", rewrite("^/(a)", "/\\2"), ".to: there is no group 2 in 'path'"},
        ProxyCase{"RewriteWithoutAGroup", rewrite("^/(a)", "/\\x"), ".to: has a \\ that no group follows"},
        ProxyCase{"RouteToNobody", with(http + "routes: [{service: b}]"), "there is no virtual service 'b'"},
        ProxyCase{"RouteToItself", with(http + "routes: [{service: a}]"), "is the service itself"},
        ProxyCase{
            "RouteToModeTcp",
            with(http + "routes: [{service: b}]", "  - {label: b, address: 10.0.0.2, ports: [80], method: proxy}\n"),
            "'b' is not of layer 7 with mode: http"},
        ProxyCase{"RouteToADisabledOne",
                  with(http + "routes: [{service: b}]",
                       "  - {label: b, address: 10.0.0.2, ports: [80], method: proxy, mode: http, enabled: false}\n"),
                  "'b' is disabled"},
        ProxyCase{"RouteToSeveralPorts",
                  with(http + "routes: [{service: b}]",
                       "  - {label: b, address: 10.0.0.2, ports: [80, 81], method: proxy, mode: http}\n"),
                  "'b' has several ports, so its servers' is not known"},
        ProxyCase{"RouteOfNoHost", with(http + "routes: [{host: 'a*.b', service: b}]"),
                  ".host[0]: is no name of a host"},
        ProxyCase{"RouteOfNoPath", with(http + "routes: [{path: shop, service: b}]"), ".path[0]: is no path"},
        ProxyCase{"RedirectBesidePort80",
                  with(http + "tls: {certificates: [c], redirect_http: true}",
                       "  - {label: b, address: 10.0.0.1, ports: [80], method: nat}\n"),
                  "[0].tls.redirect_http: 10.0.0.1 port 80 belongs to virtual_services[1] (b) already"},
        ProxyCase{"TwoRedirects",
                  with(http + "tls: {certificates: [c], redirect_http: true}",
                       "  - {label: b, address: 10.0.0.1, ports: [444], method: proxy, tls: {certificates: [c], "
                       "redirect_http: true}}\n"),
                  "[1].tls.redirect_http: 10.0.0.1 port 80 belongs to virtual_services[0] (a) for its redirect_http"},
        ProxyCase{"ServiceOnThePagesPort", "layer7: {page_port: 443}\n" + with(proxy + "fallback: page"),
                  "[0].ports: port 443 is layer7.page_port on every address of the node"},
        ProxyCase{"ServiceOnTheStatisticsPort",
                  "layer7: {statistics: {port: 443, user: a, password: b}}\n" + with(proxy + "mode: tcp"),
                  "[0].ports: port 443 is layer7.statistics.port on every address of the node"},
        ProxyCase{"OnePortForTwoThings",
                  "layer7: {statistics: {port: 7778, user: a, password: b}}\n" + with(proxy + "mode: tcp"),
                  "layer7.statistics.port: 7778 is layer7.peers_port as well"}),
    [](const auto& one) { return one.param.name; });

TEST(ProxyRulesOfNobody, WhatIsNotUsedHasNoPort) {
    EXPECT_TRUE(load("layer7: {page_port: 443}\n" + with(proxy + "mode: tcp")).ok());
}

class ProxyFiles : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = "/tmp/lb-files-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
        for (const std::string name : {"a", "b"}) {
            const std::string command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=" + name +
                                        " -days 1 -keyout " + folder_ + "/" + name + ".key -out " + folder_ + "/" +
                                        name + ".crt 2>/dev/null";
            ASSERT_EQ(std::system(command.c_str()), 0);
        }
    }
    void TearDown() override {
        if (!folder_.empty()) std::filesystem::remove_all(folder_);
    }
    std::string read(const std::string& name) {
        std::ifstream in(folder_ + "/" + name);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    static std::string problems(const std::string& text, const std::map<std::string, std::string>& files) {
        return format(check_files(load(text).cluster, files));
    }

    std::string folder_;
};

TEST_F(ProxyFiles, CertificatesAreThereAndWhole) {
    const std::string text = with(proxy + "tls: {certificates: [c.pem], reencrypt: true, server_ca: ca.pem}");
    const std::string ca = read("b.crt");
    const auto of = [&](const std::string& pem) {
        return problems(text, {{"certs/c.pem", pem}, {"certs/ca.pem", ca}});
    };
    EXPECT_EQ(of(read("a.crt") + read("a.key")), "");
    EXPECT_EQ(of(read("a.key") + read("a.crt") + read("b.crt")), "");
    EXPECT_THAT(of(read("a.crt")), HasSubstr("files/certs/c.pem has no private key in it"));
    EXPECT_THAT(of(read("a.key")), HasSubstr("files/certs/c.pem has no certificate in it"));
    EXPECT_THAT(of(read("a.crt") + read("b.key")), HasSubstr("is not the first certificate's"));
    EXPECT_THAT(of(""), HasSubstr("has no certificate"));
    EXPECT_THAT(of(read("a.crt").substr(0, 300)), HasSubstr("has no certificate"));
    const std::string none = problems(text, {});
    EXPECT_THAT(none, HasSubstr("cluster.yaml:2:"));
    EXPECT_THAT(none, HasSubstr("[0].tls.certificates[0]: there is no files/certs/c.pem"));
    EXPECT_THAT(none, HasSubstr("[0].tls.server_ca: there is no files/certs/ca.pem"));
}

TEST_F(ProxyFiles, ManualLines) {
    const std::string text = with(proxy + "manual: own");
    EXPECT_EQ(problems(text, {{"haproxy/own", "# x\n option a\r\nfrontend\n  option b\nbackend\noption c"}}), "");
    const ManualPiece piece = parse_manual("# x\n option a\r\nfrontend\n  option b\nbackend\noption c");
    ASSERT_EQ(piece.backend.size(), 2U);
    EXPECT_EQ(piece.backend[0].text, "option a");
    EXPECT_EQ(piece.backend[1].number, 6U);
    ASSERT_EQ(piece.frontend.size(), 1U);
    EXPECT_EQ(piece.frontend[0].number, 4U);
    EXPECT_THAT(problems(text, {}), HasSubstr("there is no files/haproxy/own"));
    for (const std::string line : {"backend other", "global", ".if 1", "peers x", "a\x01"}) {
        EXPECT_THAT(problems(text, {{"haproxy/own", "\n" + line}}),
                    HasSubstr("files/haproxy/own line 2 is not a line"));
    }
    EXPECT_EQ(problems(text, {{"haproxy/own", ""}, {"haproxy/additions.cfg", "# x\nfrontend a\n mode http\n"}}), "");
    EXPECT_THAT(problems(text, {{"haproxy/own", ""}, {"haproxy/additions.cfg", "\nmode http\n"}}),
                HasSubstr("files/haproxy/additions.cfg line 2 is not in a section"));
}

}  // namespace
}  // namespace lbcluster::config
