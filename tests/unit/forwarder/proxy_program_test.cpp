// The texts for HAProxy before the HAProxy of this machine (skipped without one): every kind of service is taken, and
// what is not is refused with the reason; ending it.
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

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

TEST_F(ProxyProgram, TakesWhatAServiceCanHaveBesideThat) {
    ProxySpec spec;
    spec.peers = ProxyPeers{ip("10.78.0.11"), ip("10.78.0.12")};
    spec.statistics = StatisticsSpec{7777, "me", "it's $HOME \"#1\":%"};
    ASSERT_EQ(std::system(("cd \"" + folder_ +
                           "\" && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=a.example.org -days 3650 "
                           "-keyout key -out cert 2>/dev/null && cat cert key > both")
                              .c_str()),
              0);
    std::ifstream both(folder_ + "/both");
    const std::string pem(std::istreambuf_iterator<char>(both), {});
    // Certificates of several: more than fit into a line.
    for (int i = 0; i < 100; ++i) spec.certificates["c" + std::to_string(i)] = pem;
    int n = 0;
    for (const bool http : {false, true}) {
        for (const bool v6 : {false, true}) {
            for (const KeepBy keep : {KeepBy::nothing, KeepBy::cookie, KeepBy::rdp, KeepBy::ssl_id}) {
                if (http ? keep > KeepBy::cookie : keep == KeepBy::cookie) continue;
                for (const std::string version : {"1.0", "1.1", "1.2", "1.3"}) {
                    ProxyServiceSpec one;
                    one.label = "s" + std::to_string(++n);
                    one.address = ip(v6 ? "fd00::1" : "10.0.0.1");
                    one.ports = {static_cast<std::uint16_t>(n), static_cast<std::uint16_t>(n + 10000)};
                    one.http = http;
                    one.forwarded_for = http;
                    one.keep_by = keep;
                    one.keep_cookie = "a.b_C-1";
                    one.connect_timeout = 100ms;
                    one.queue_timeout = 1h;
                    one.accept_proxy = n % 2 == 0;
                    one.send_proxy = static_cast<unsigned>(n % 3);
                    if (n % 5 == 0) one.transparent = true;
                    else one.source = ip(v6 ? "fd00::1" : "10.0.0.1");
                    one.servers = {server("a", "10.0.0.5"), server("b", "fd00::5")};
                    one.fallback.kind = static_cast<FallbackSpec::Kind>(n % 4);
                    one.fallback.server = "b";
                    one.fallback.address = ip("fd00::9");
                    if (keep != KeepBy::ssl_id) {
                        for (const auto& [name, bytes] : spec.certificates) one.tls.certificates.push_back(name);
                    }
                    one.tls.min_version = version;
                    one.tls.http2 = n % 2 == 0;
                    one.tls.redirect_http = n == 1;
                    one.tls.reencrypt = n % 3 != 0;
                    if (n % 3 == 1) one.tls.server_ca = "c1";
                    if (n % 2 == 1) one.tls.server_name = "in.example.org";
                    one.backend_lines = {{"retries 2", "x"}};
                    one.frontend_lines = {{"backlog 10", "x"}};
                    if (http) {
                        for (const std::string value :
                             {"${client} ${client_port} ${address} ${port}", "it's \"$HOME\" # 100% \\n %[src]", "a"}) {
                            one.headers.push_back({false, HeaderSpec::Action::set, "X-A", value});
                            one.headers.push_back({true, HeaderSpec::Action::add, "X.B!~|", value});
                        }
                        one.headers.push_back({false, HeaderSpec::Action::add, "X-C", "${host}${path}${scheme}"});
                        one.headers.push_back({false, HeaderSpec::Action::remove, "X-D", ""});
                        one.headers.push_back({true, HeaderSpec::Action::remove, "Server", ""});
                        one.rewrite = {{"^/a(b|c) 'd\"#$", "/%20\\1"}, {"(?i)^/x{2,3}\\.php(.*)", "\\1"}};
                        one.routes = {{{"a.b", "*.c"}, {"/", "/x", "/y/", "/it's"}, "s" + std::to_string(n)},
                                      {{"a"}, {}, "s" + std::to_string(n)},
                                      {{}, {"/z"}, "s" + std::to_string(n)},
                                      {{}, {}, "s" + std::to_string(n)}};
                        one.compression = true;
                    }
                    spec.services.push_back(one);
                }
            }
        }
    }
    spec.additions = {{"# own", "x"}, {"", "x"}, {"frontend own", "x"}, {"mode http", "x"}, {"bind 127.0.0.1:1", "x"}};
    const ProxyFiles files{folder_};
    ASSERT_TRUE(write_certificates(files, proxy_certificate_files(spec)).ok());
    for (const auto& user : {"", "root", "nobody"}) {
        const std::string group = std::string(user) == "nobody" ? "nogroup" : user;
        const auto done = check(render_proxy(spec, {folder_, user, group, 1000}).loaded({}));
        EXPECT_TRUE(done.ok()) << user << ": " << done.error().message;
    }
    // Keys are for nobody else's eyes, and go when they are not needed any more.
    const auto rights = [&](const std::string& path) { return std::filesystem::status(path).permissions(); };
    const std::string folder = proxy_certificates_path(folder_);
    EXPECT_EQ(rights(folder), std::filesystem::perms::owner_all);
    EXPECT_EQ(rights(folder + "/c1"), std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    ASSERT_TRUE(keep_certificates(files, {{"c1", ""}}).ok());
    EXPECT_TRUE(std::filesystem::exists(folder + "/c1"));
    EXPECT_FALSE(std::filesystem::exists(folder + "/c2"));
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
    // What somebody wrote by hand is told by its place.
    spec.services[0].balance = "leastconn";
    spec.services[0].backend_lines = {{"nonsense 1", "files/haproxy/own line 7"}};
    spec.additions = {{"frontend own", "files/haproxy/additions.cfg line 1"},
                      {"mode nonsense", "files/haproxy/additions.cfg line 2"}};
    const ProxyText other = render_proxy(spec, {folder_, "", "", 1000});
    const auto refused = check(other.loaded({}));
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(other.explain(refused.error().message),
                testing::HasSubstr("files/haproxy/own line 7: unknown keyword"));
    EXPECT_THAT(other.explain(refused.error().message), testing::HasSubstr("files/haproxy/additions.cfg line 2: "));
}

// One that listens as its master does, and is deaf to SIGTERM or not.
class ProxyEnd : public testing::TestWithParam<bool> {};

TEST_P(ProxyEnd, OurProxyEndsEvenIfItIsDeaf) {
    std::string folder = "/tmp/lbcluster-proxy-end-XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    const ProxyFiles files{folder};
    EXPECT_TRUE(end_proxy(files, milliseconds(100))) << "there is none";
    std::array<int, 2> ready{};
    ASSERT_EQ(::pipe(ready.data()), 0);
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
        if (GetParam()) ::signal(SIGTERM, SIG_IGN);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strcpy(address.sun_path, files.master_socket().c_str());
        const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
        if (::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) ::_exit(1);
        if (::listen(socket, 5) != 0 || ::write(ready[1], "x", 1) != 1) ::_exit(1);
        for (;;) ::pause();
    }
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    const auto ended = end_proxy(files, GetParam() ? milliseconds(200) : milliseconds(20000));
    EXPECT_TRUE(ended) << ended.error().message;
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, WNOHANG), pid);
    ::kill(pid, SIGKILL);
    EXPECT_EQ(WTERMSIG(status), GetParam() ? SIGKILL : SIGTERM);
    EXPECT_TRUE(end_proxy(files, milliseconds(100))) << "its socket is left, and nobody listens";
    for (const int fd : ready) ::close(fd);
    std::filesystem::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(Deafness, ProxyEnd, testing::Bool());

}  // namespace
}  // namespace lbcluster::forward
