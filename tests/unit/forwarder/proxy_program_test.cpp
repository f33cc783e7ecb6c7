// The texts for HAProxy before the HAProxy of this machine (skipped without one): every kind of service is taken, and
// what is not is refused with the reason.
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "forwarder/core/proxy_text.hpp"
#include "forwarder/haproxy/program.hpp"
#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward {
namespace {

using namespace test;

class ProxyProgram : public testing::Test {
  protected:
    void SetUp() override {
        const auto program = find_proxy_program();
        if (!program) GTEST_SKIP() << program.error().message;
        program_ = *program;
        std::string pattern = "/tmp/lb it's #1 XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
        std::ofstream(proxy_page_path(folder_)) << "<p>no</p>";
    }
    void TearDown() override {
        if (!folder_.empty()) std::filesystem::remove_all(folder_);
    }
    Result<void> check(const std::string& text) {
        std::ofstream(folder_ + "/cfg") << text;
        return check_proxy_file(program_, folder_ + "/cfg", milliseconds(8000));
    }

    std::string program_;
    std::string folder_;
};

TEST_F(ProxyProgram, TakesEveryKindOfService) {
    int n = 0;
    ProxySpec spec;
    spec.peers = ProxyPeers{ip("10.78.0.11"), ip("10.78.0.12")};
    for (const bool v6 : {false, true}) {
        for (const bool http : {false, true}) {
            for (const std::string balance :
                 {"leastconn", "roundrobin", "static", "first", "source", "uri", "header"}) {
                if (!http && (balance == "uri" || balance == "header")) continue;
                for (const std::string keeps : {"none", "all", "net", "cookie"}) {
                    if (!http && keeps == "cookie") continue;
                    ProxyServiceSpec one;
                    one.label = "s." + std::to_string(++n) + "_A-" + std::string(50, 'x');
                    one.address = ip(v6 ? "fd00::1" : "10.0.0.1");
                    one.ports = {static_cast<std::uint16_t>(n), static_cast<std::uint16_t>(n + 10000)};
                    one.http = http;
                    one.forwarded_for = http;
                    one.balance = balance;
                    if (keeps == "all") one.persistence = Persistence{300s, v6 ? 128U : 32U};
                    if (keeps == "net") one.persistence = Persistence{596h, v6 ? 64U : 24U};
                    if (keeps == "cookie") one.cookie = "a.b_C-1";
                    if (n % 2 == 0) one.max_connections = 5;
                    one.servers = {server("a", "10.0.0.5"), server("b", "fd00::5")};
                    one.servers[0].max_connections = 9;
                    if (n % 3 == 0) one.servers[1].port = 8080;
                    one.fallback.kind = static_cast<FallbackSpec::Kind>(n % 4);
                    one.fallback.server = "b";
                    one.fallback.address = ip("fd00::9");
                    spec.services.push_back(one);
                }
            }
        }
    }
    spec.page_places = {{"four", ip("10.0.0.2"), {{80, 80}, {8000, 8010}}}, {"six", ip("fd00::2"), {{80, 81}}}};
    ProxyPlace place{folder_, "", "", 1000};
    for (const auto& user : {"", "root"}) {
        place.user = place.group = user;
        const ProxyText text = render_proxy(spec, place);
        const auto done = check(text.loaded({{{spec.services[0].label, "a"}, {true, 256, false}}}));
        EXPECT_TRUE(done.ok()) << done.error().message;
    }
}

TEST_F(ProxyProgram, TellsWhatItDoesNotTake) {
    ProxySpec spec;
    ProxyServiceSpec one;
    one.label = "web";
    one.address = ip("10.0.0.1");
    one.ports = {80};
    one.balance = "nonsense";
    spec.services = {one};
    const ProxyText text = render_proxy(spec, {folder_, "", "", 1000});
    const auto done = check(text.loaded({}));
    ASSERT_FALSE(done.ok());
    EXPECT_THAT(text.explain(done.error().message), testing::StartsWith("service 'web': balance only supports"));
}

}  // namespace
}  // namespace lbcluster::forward
