// OP-4: a support bundle of a node whose configuration, keys and HAProxy are full of secrets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
namespace fs = std::filesystem;

class Bundle : public PairTest {
  protected:
    void begin() {
        const std::string key = must_run(nullptr, {"openssl", "genpkey", "-algorithm", "ed25519"});
        const std::map<std::string, std::string> words{
            {"LOGIN", "tell-nobody-0"},   {"PAGE", "tell-nobody-2"},   {"QUERY", "tell-nobody-3"},
            {"HEADER", "tell-nobody-4"},  {"HOOK", "tell-nobody-5"},   {"OLD", "tell-nobody-6"},
            {"PATH", "tell-nobody-8"},    {"COOKIE", "tell-nobody-9"}, {"SENT", "tell-nobody-10"},
            {"MANUAL", "tell-nobody-11"}, {"STATS", "tell-nobody-12"}, {"BEARER", "tell-nobody-13"},
            {"RULE", "tell-nobody-14"},   {"SAID", "tell-nobody-15"},  {"PEER", "tell-nobody-16"},
            {"CAUGHT", "tell-nobody-17"}};
        for (const auto& [name, word] : words) secrets_.add("a configured word, " + name, word);
        secrets_.add_private_keys("a certificate's private key", key);
        PairSpec spec;
        spec.more =
            "virtual_services:\n"
            "  - label: page\n    address: 10.77.0.210\n    ports: [80]\n    method: proxy\n    mode: http\n"
            "    headers: [{name: X-Api-Key, value: HEADER}]\n"
            "    check: {type: negotiate, protocol: http, request: '/?Authorization=QUERY'}\n"
            "    real_servers: [{label: rs1, address: 10.77.0.21}]\n"
            "  - label: radius\n    address: 10.77.0.211\n    ports: [81]\n"
            "    check: {type: negotiate, protocol: radius, user: me, password: LOGIN, secret: OLD}\n"
            "    real_servers: [{label: rs1, address: 10.77.0.21}]\n"
            "  - label: cache\n    address: 10.77.0.212\n    ports: [82]\n    note: MANUAL and PEER\n"
            "    check: {type: negotiate, protocol: tcp, send: 'AUTH SENT\\r\\n', expect: OK}\n"
            "    real_servers: [{label: rs1, address: 10.77.0.21}]\n"
            "layer7: {statistics: {user: me, password: PAGE}}\n"
            "notifications: [{label: b, webhook: {url: 'https://me:HOOK@10.77.0.22/a/PATH?sig=PATH', headers: {Cookie: "
            "s=COOKIE}}}]\n";
        additions_ =
            "userlist people\n  user joe insecure-password MANUAL\n"
            "frontend own\n  mode http\n  bind 127.0.0.1:8997\n  stats auth admin:STATS\n"
            "  http-request set-header Authorization \"Bearer BEARER\"\n";
        for (const auto& [name, word] : words) {
            for (std::string* text : {&spec.more, &additions_}) {
                for (std::size_t at = 0; (at = text->find(name, at)) != std::string::npos; at += word.size())
                    text->replace(at, name.size(), word);
            }
        }
        make(spec);
        fs::create_directories(pair().config_dir("lb1") + "/files/certs");
        write_file(pair().config_dir("lb1") + "/files/certs/web.pem", key, 0640);
        file_ = pair().config_dir("lb1") + ".tar.gz";
        folder_ = pair().config_dir("lb1") + ".unpacked";
        fs::create_directories(folder_);
    }
    // This node's and the peer's; notes of this node repeat words of both.
    void add_lines_for_haproxy() {
        const std::string own = pair().config_dir("lb1") + "/files/haproxy";
        const std::string peers = pair().state_dir("lb1") + "/peer/files/haproxy";
        for (const std::string& folder : {own, peers}) fs::create_directories(folder);
        write_file(own + "/additions.cfg", additions_, 0640);
        write_file(peers + "/additions.cfg", "stats auth a:tell-nobody-16\n", 0600);
    }
    Outcome make_bundle() { return pair().cli("lb1", {"support-bundle", file_, "--json"}, 110s); }
    // By their names behind the bundle's own folder.
    std::map<std::string, std::string> unpacked() {
        must_run(nullptr, {"tar", "-xzf", file_, "-C", folder_, "--strip-components=1"});
        std::map<std::string, std::string> files;
        for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
            if (entry.is_regular_file()) files[fs::relative(entry.path(), folder_)] = read_file(entry.path());
        }
        return files;
    }

    std::string file_;
    std::string folder_;
    std::string additions_;
};

TEST_F(Bundle, HasEverythingButTheSecrets) {
    begin();
    if (HasFatalFailure()) return;
    pair().start();
    pair().healthd("lb1").start();
    pair().forwarderd("lb1").start();
    ASSERT_TRUE(pair().wait_settled("lb1"));
    const std::string rendered = pair().run_dir("lb1") + "/haproxy.cfg";
    ASSERT_TRUE(wait_until([&] { return fs::exists(pair().run_dir("lb1") + "/haproxy.sock"); }, 20s));
    // A password that is only in an old revision and in the histories.
    ASSERT_EQ(pair().cli("lb1", {"service", "set", "radius", "check.secret=newer-secret-7"}).exit_code, 0);
    // In force now, and not in revision 1.
    add_lines_for_haproxy();
    ASSERT_EQ(pair().cli("lb1", {"service", "set", "radius", "note=x"}).exit_code, 0);
    ASSERT_TRUE(wait_until([&] { return read_file(rendered).find("frontend own") != std::string::npos; }, 20s));
    // A request that HAProxy does not take and keeps; a rule of somebody else's.
    std::string token;
    for (int i = 0; i < 20; ++i) token += "tell-nobody-17";
    const std::string ask = "exec 3<>/dev/tcp/127.0.0.1/8997; printf 'GET / HTTP/1.1\\r\\nCookie: a=" + token +
                            "\\r\\nno header\\r\\n\\r\\n' >&3; cat <&3";
    ASSERT_TRUE(wait_until(
        [&] { return run(&lab_.host("lb1"), {"bash", "-c", ask}).out.find("400 Bad") != std::string::npos; }, 20s));
    must_run(&lab_.host("lb1"), {"nft", "add table ip other { comment \"password=tell-nobody-14\"; }"});
    note_secrets();

    const Outcome made = make_bundle();
    ASSERT_EQ(made.exit_code, 0) << made.out << made.err;
    const Json result = Json::parse(made.out);
    EXPECT_EQ(result["file"].text(), file_);
    struct stat info{};
    ASSERT_EQ(::stat(file_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0600U);
    EXPECT_EQ(result["bytes"].number(), static_cast<double>(info.st_size));
    const auto files = unpacked();
    EXPECT_EQ(result["files"].number(), static_cast<double>(files.size()));
    std::set<std::string> names;
    for (const auto& [name, text] : files) {
        names.insert(name);
        EXPECT_EQ(secrets_.found_in(text), std::set<std::string>{}) << "in " << name;
    }
    EXPECT_THAT(names,
                IsSupersetOf({"lbcluster/status.json", "lbcluster/config-check.txt", "lbcluster/diagnose.txt",
                              "lbcluster/config-diff.txt", "config/cluster.yaml", "config/node.yaml",
                              "node/addresses.txt", "node/nftables.txt", "haproxy/haproxy.cfg", "haproxy/show-stat.txt",
                              "haproxy/haproxy.log", "haproxy/version.txt", "state/events.jsonl", "missing.txt"}));
    EXPECT_EQ(Json::parse(files.at("lbcluster/status.json"))["node"]["name"].text(), "lb1");
    EXPECT_THAT(files.at("config/cluster.yaml"), HasSubstr("password: ***"));
    EXPECT_THAT(files.at("haproxy/haproxy.cfg"), HasSubstr("auth ***"));
    EXPECT_THAT(files.at("haproxy/show-stat.txt"), HasSubstr("page"));
    EXPECT_THAT(files.at("haproxy/show-errors.txt"), HasSubstr("frontend own"));
    EXPECT_THAT(files.at("lbcluster/config-diff-since-1.txt"), HasSubstr("+  user joe insecure-password ***\n"));
    EXPECT_THAT(files.at("node/nftables.txt"), HasSubstr("password=***"));
    // The lab's hosts have processes of their own, but not a /proc of their own.
    EXPECT_THAT(files.at("missing.txt"), HasSubstr("daemons/heartbeatd: process "));
    // The search would find them: there they are.
    EXPECT_FALSE(secrets_.found_in(read_file(rendered)).empty());
    EXPECT_FALSE(secrets_.found_in(read_file(pair().config_dir("lb1") + "/cluster.yaml")).empty());
    EXPECT_FALSE(secrets_.found_in(read_file(pair().state_dir("lb1") + "/keys/heartbeat.key")).empty());
    EXPECT_FALSE(secrets_.found_in(read_file(pair().config_dir("lb1") + "/files/certs/web.pem")).empty());
}

TEST_F(Bundle, WithoutDaemonsItSaysWhatIsMissingAndOverwritesNothing) {
    begin();
    if (HasFatalFailure()) return;
    add_lines_for_haproxy();
    // HAProxy did not take the first text: all that there is are its last words.
    fs::create_directories(pair().run_dir("lb1"));
    write_file(pair().run_dir("lb1") + "/haproxy.log", "[ALERT] 'stats auth admin:tell-nobody-15'\n", 0600);
    const Outcome made = make_bundle();
    ASSERT_EQ(made.exit_code, 0) << made.out << made.err;
    EXPECT_THAT(made.out, HasSubstr("daemons/heartbeatd"));
    const auto files = unpacked();
    EXPECT_THAT(files.at("missing.txt"), HasSubstr("daemons/heartbeatd: "));
    EXPECT_THAT(files.at("missing.txt"), HasSubstr("haproxy/haproxy.cfg: "));
    EXPECT_THAT(files.at("haproxy/haproxy.log"), HasSubstr("[ALERT] 'stats auth ***"));
    EXPECT_EQ(files.count("haproxy/version.txt"), 1U);
    EXPECT_THAT(files.at("lbcluster/status.txt"), HasSubstr("heartbeatd is not running"));
    for (const auto& [name, text] : files) EXPECT_EQ(secrets_.found_in(text), std::set<std::string>{}) << "in " << name;
    const std::string bytes = read_file(file_);
    const Outcome again = make_bundle();
    EXPECT_EQ(again.exit_code, 5);
    EXPECT_EQ(Json::parse(again.out)["error"]["code"].text(), "refused");
    EXPECT_EQ(read_file(file_), bytes);
    EXPECT_EQ(pair().cli("lb1", {"support-bundle", folder_ + "/no/such/folder.tar.gz"}).exit_code, 1);
}

}  // namespace
}  // namespace lbcluster::lab
