// RE-1: pairing without SSH: who may be paired with whom, what is written into node.yaml, and that a pairing that
// breaks after any of its messages leaves both nodes as they were, or is completed by pairing again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "replicator/core/pairing.hpp"
#include "replicator/pairing/initiator.hpp"
#include "replicator/pairing/node_text.hpp"
#include "replicator/pairing/service.hpp"
#include "replicator/ssh/key_pair.hpp"
#include "replicator/unix_stream.hpp"

namespace lbcluster::replicator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

replica::PairBegin asked() {
    replica::PairBegin begin;
    begin.set_protocol(pairing_protocol);
    begin.set_version("1");
    begin.set_node("lb1");
    begin.set_cluster_id("c1");
    begin.set_digest("d1");
    return begin;
}
replica::PairState fresh() {
    replica::PairState state;
    state.set_protocol(pairing_protocol);
    state.set_version("2");
    state.set_node("lb2");
    state.set_digest("d2");
    return state;
}

TEST(MayPair, FreshPeer) { EXPECT_TRUE(may_pair(asked(), fresh())); }

TEST(MayPair, OtherProtocolNamesBothVersions) {
    auto state = fresh();
    state.set_protocol(pairing_protocol + 1);
    const auto may = may_pair(asked(), state);
    ASSERT_FALSE(may);
    EXPECT_THAT(may.error().message, HasSubstr("1 here, 2 on the peer"));
}

TEST(MayPair, SameName) {
    auto state = fresh();
    state.set_node("lb1");
    EXPECT_FALSE(may_pair(asked(), state));
}

TEST(MayPair, PeerOfSomebodyElse) {
    auto state = fresh();
    state.set_cluster_id("c2");
    state.set_paired_with("lb3");
    auto begin = asked();
    const auto may = may_pair(begin, state);
    ASSERT_FALSE(may);
    EXPECT_THAT(may.error().message, HasSubstr("lb3"));
    begin.set_replace_peer(true);
    EXPECT_TRUE(may_pair(begin, state));
    state.set_cluster_id("c1");  // of this very pair: a pairing that goes on
    EXPECT_TRUE(may_pair(asked(), state));
}

TEST(MayPair, PeerWithServices) {
    auto state = fresh();
    state.set_services(3);
    auto begin = asked();
    const auto may = may_pair(begin, state);
    ASSERT_FALSE(may);
    EXPECT_THAT(may.error().hint, HasSubstr("--replace-peer"));
    state.set_digest("d1");
    EXPECT_TRUE(may_pair(begin, state)) << "they are the same";
    state.set_digest("d2");
    begin.set_replace_peer(true);
    EXPECT_TRUE(may_pair(begin, state));
}

TEST(NodeText, KeepsWhatIsNotItsOwn) {
    const std::string text =
        "# top\nnode: lb1  # name\nrole: secondary\nlinks:\n  - {local: 10.0.0.1, peer: 10.0.0.9}\n"
        "  # inside\n# about interfaces\ninterfaces: {lan: eth0}\n";
    const auto paired = with_peer(text, config::ROLE_PRIMARY, "10.0.0.1", "10.0.0.2");
    ASSERT_TRUE(paired);
    EXPECT_EQ(paired->text,
              "# top\nnode: lb1  # name\nrole: primary\nlinks:\n  - {local: 10.0.0.1, peer: 10.0.0.2}\n"
              "# about interfaces\ninterfaces: {lan: eth0}\n");
    EXPECT_FALSE(paired->comments_dropped);
    EXPECT_EQ(with_peer(paired->text, config::ROLE_PRIMARY, "10.0.0.1", "10.0.0.2")->text, paired->text);
    const auto single = without_peer(paired->text);
    ASSERT_TRUE(single);
    EXPECT_EQ(single->text, "# top\nnode: lb1  # name\nrole: primary\n# about interfaces\ninterfaces: {lan: eth0}\n");
}

TEST(NodeText, OtherLinksWithThisPeerAndSerialLinesStay) {
    const std::string both =
        "node: lb1\nlinks:\n  - {interface: eth0, local: 10.0.0.1, peer: 10.0.0.2}\n  - {local: 10.1.0.1, peer: "
        "10.1.0.2}\n"
        "role: primary\n";
    EXPECT_EQ(with_peer(both, config::ROLE_PRIMARY, "10.0.0.1", "10.0.0.2")->text, both);
    const auto serial =
        with_peer("node: lb1\nlinks: [{serial: /dev/ttyS0}]\n", config::ROLE_PRIMARY, "10.0.0.1", "10.0.0.2");
    ASSERT_TRUE(serial);
    EXPECT_THAT(serial->text, HasSubstr("/dev/ttyS0"));
    EXPECT_THAT(serial->text, HasSubstr("10.0.0.2"));
}

TEST(NodeText, FlowStyleIsRenderedAnewAndSaid) {
    const auto paired =
        with_peer("{node: lb1, role: primary}  # all in one\n", config::ROLE_PRIMARY, "10.0.0.1", "10.0.0.2");
    ASSERT_TRUE(paired);
    EXPECT_TRUE(paired->comments_dropped);
    EXPECT_THAT(paired->text, HasSubstr("node: lb1"));
}

// Counts messages and cuts the connection at one of them. What was written before the cut arrives.
class CutStream : public ByteStream {
  public:
    CutStream(std::unique_ptr<ByteStream> inner, int& left) : inner_(std::move(inner)), left_(left) {}
    boost::asio::awaitable<Result<std::size_t>> read_some(boost::asio::mutable_buffer space) override {
        if (cut()) co_return Error{"cut", "", ECONNRESET};
        co_return co_await inner_->read_some(space);
    }
    boost::asio::awaitable<Result<void>> write(std::string bytes) override {
        if (cut()) co_return Error{"cut", "", ECONNRESET};
        co_return co_await inner_->write(std::move(bytes));
    }
    void close() override { inner_->close(); }

  private:
    bool cut() {
        if (left_-- > 0) return false;
        inner_->close();
        return true;
    }
    std::unique_ptr<ByteStream> inner_;
    int& left_;
};

class PairNodes : public ::testing::Test {
  protected:
    PairNodes() {
        char pattern[] = "/tmp/lbcluster-pairing-XXXXXX";
        folder_ = ::mkdtemp(pattern);
        port_ = static_cast<std::uint16_t>(20000 + ::getpid() % 20000);
        make("lb1", "heartbeat: {port: " + std::to_string(port_) +
                        "}\nvirtual_services:\n  - {label: web, address: 10.99.0.1, ports: [80]}\n");
        make("lb2", "floating_ips: []\n");
    }
    ~PairNodes() override { fs::remove_all(folder_); }

    void make(const std::string& node, const std::string& cluster) {
        const config::Paths paths = paths_of(node);
        fs::create_directories(paths.config_dir);
        fs::create_directories(paths.peer_home() + "/incoming");
        write(paths.node_file(), "node: " + node + "  # kept\n");
        write(paths.cluster_file(), cluster);
    }
    static void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
    static std::string read(const std::string& path) {
        std::ostringstream text;
        text << std::ifstream(path).rdbuf();
        return text.str();
    }
    [[nodiscard]] config::Paths paths_of(const std::string& node) const {
        const std::string own = folder_ + "/" + node;
        return {own, own + "/run", own + "/state"};
    }
    // What a pairing changes.
    [[nodiscard]] std::string files_of(const std::string& node) const {
        const config::Paths paths = paths_of(node);
        return read(paths.node_file()) + read(paths.cluster_file()) + read(heartbeat_key_path(paths.state_dir)) +
               read(paths.peer_file()) + read(paths.peer_home() + "/.ssh/authorized_keys");
    }

    // One pairing, cut at the message `left`; 1000: not at all.
    Result<PairOutcome, PairFailure> run(int left = 1000, bool replace = false) {
        std::optional<Result<PairOutcome, PairFailure>> result;
        boost::asio::io_context io{1};
        PairingService service(io.get_executor(), paths_of("lb2"), [](const std::string&) {});
        Dialer dialer(io, service, paths_of("lb2"), left);
        PairRequest request;
        request.local = "127.0.0.1";
        request.peer = "127.0.0.2";
        request.tcp_port = static_cast<std::uint16_t>(port_ + 1);
        request.replace_peer = replace;
        request.own_host_key = {"ssh-ed25519", "AAAA", "SHA256:x"};
        const auto keep = [](boost::asio::awaitable<Result<PairOutcome, PairFailure>> task,
                             std::optional<Result<PairOutcome, PairFailure>>& kept) -> boost::asio::awaitable<void> {
            kept.emplace(co_await std::move(task));
        };
        auto task = pair_nodes(paths_of("lb1"), request, dialer, [](const std::string&) {});
        boost::asio::co_spawn(io, keep(std::move(task), result), [](const std::exception_ptr& error) {
            if (error) std::rethrow_exception(error);
        });
        io.run();  // the service's side, too
        return std::move(*result);
    }
    void expect_paired() {
        const config::Paths one = paths_of("lb1");
        const config::Paths other = paths_of("lb2");
        EXPECT_EQ(read(one.cluster_file()), read(other.cluster_file()));
        EXPECT_EQ(read(heartbeat_key_path(one.state_dir)), read(heartbeat_key_path(other.state_dir)));
        EXPECT_NE(read(heartbeat_key_path(one.state_dir)), "");
        EXPECT_THAT(read(one.node_file()), HasSubstr("role: primary"));
        EXPECT_THAT(read(other.node_file()), HasSubstr("node: lb2  # kept\n"));
        EXPECT_THAT(read(other.node_file()), HasSubstr("role: secondary"));
        EXPECT_THAT(read(one.peer_file()), HasSubstr("node: lb2"));
        EXPECT_THAT(read(other.peer_file()), HasSubstr("node: lb1"));
        EXPECT_THAT(read(other.peer_home() + "/.ssh/authorized_keys"),
                    HasSubstr("restrict,command=\"lbcluster replica\",from=\"127.0.0.1\" ssh-ed25519 "));
        EXPECT_FALSE(fs::exists(heartbeat_key_path(one.state_dir) + ".pairing"));
    }

    class Connection : public PeerConnection {
      public:
        Connection(boost::asio::io_context& io, std::unique_ptr<ByteStream> stream, std::string incoming, int& left)
            : channel_(io.get_executor(), std::move(stream)), incoming_(std::move(incoming)), left_(left) {}
        ~Connection() override { channel_.close(); }
        Channel& channel() override { return channel_; }
        boost::asio::awaitable<Result<void>> upload(std::string bytes) override {
            if (left_-- <= 0) co_return Error{"cut", "", ECONNRESET};
            write(incoming_, bytes);
            co_return Result<void>{};
        }
        [[nodiscard]] ssh::HostKey host_key() const override { return {"ssh-ed25519", "BBBB", "SHA256:y"}; }

      private:
        Channel channel_;
        std::string incoming_;
        int& left_;
    };
    class Dialer : public PeerDialer {
      public:
        Dialer(boost::asio::io_context& io, PairingService& service, config::Paths there, int& left)
            : io_(io), service_(service), there_(std::move(there)), left_(left) {}
        boost::asio::awaitable<Connected> by_password() override { co_return open(); }
        boost::asio::awaitable<Connected> by_key(config::PeerRecord, std::string) override { co_return open(); }

      private:
        Connected open() {
            using Socket = boost::asio::local::stream_protocol::socket;
            Socket here(io_);
            Socket there(io_);
            boost::asio::local::connect_pair(here, there);
            auto channel =
                std::make_unique<Channel>(io_.get_executor(), std::make_unique<UnixStream>(std::move(there)));
            boost::asio::co_spawn(io_, serve(std::move(channel)), [](const std::exception_ptr& error) {
                if (error) std::rethrow_exception(error);
            });
            auto stream = std::make_unique<CutStream>(std::make_unique<UnixStream>(std::move(here)), left_);
            const std::string incoming = there_.peer_home() + "/incoming/" + incoming_name;
            std::unique_ptr<PeerConnection> made =
                std::make_unique<Connection>(io_, std::move(stream), incoming, left_);
            return made;
        }
        boost::asio::awaitable<void> serve(std::unique_ptr<Channel> channel) {
            auto first = co_await channel->receive(5s);
            if (first && PairingService::is_call(*first)) service_.take(std::move(channel), std::move(*first));
        }
        boost::asio::io_context& io_;
        PairingService& service_;
        config::Paths there_;
        int& left_;
    };

    std::string folder_;
    std::uint16_t port_ = 0;
};

TEST_F(PairNodes, InOneGo) {
    const auto done = run();
    ASSERT_TRUE(done) << done.error().error.message;
    expect_paired();
    ASSERT_TRUE(run()) << "once more does no harm";
    expect_paired();
}

TEST_F(PairNodes, ACutAfterAnyMessageIsMended) {
    int cuts = 0;
    int unchanged = 0;
    for (bool whole = false; !whole; ++cuts) {
        SCOPED_TRACE("cut at message " + std::to_string(cuts));
        fs::remove_all(folder_ + "/lb1");
        fs::remove_all(folder_ + "/lb2");
        for (const char* node : {"lb1", "lb2"}) fs::remove_all(folder_ + "/" + node + "/state-peer");
        make("lb1", "heartbeat: {port: " + std::to_string(port_) +
                        "}\nvirtual_services:\n  - {label: web, address: 10.99.0.1, ports: [80]}\n");
        make("lb2", "floating_ips: []\n");
        const std::string before = files_of("lb1") + files_of("lb2");
        const auto first = run(cuts);
        whole = first.ok();
        if (files_of("lb1") + files_of("lb2") == before) ++unchanged;
        const auto again = run();
        ASSERT_TRUE(again) << again.error().error.message;
        expect_paired();
        ASSERT_LT(cuts, 100);
    }
    // Begin, ports, try, file, prepare: each with its answer; then commit and its answer, check and its answer.
    EXPECT_GE(unchanged, 9) << "nothing is changed before the commit";
    EXPECT_GE(cuts, 13);
}

// Whoever says what the peer shall get must have said who he is, and keep the order.
TEST_F(PairNodes, PeerWithServicesKeepsThemInItsHistory) {
    write(paths_of("lb2").cluster_file(), "floating_ips: [{address: 10.99.0.7}]\n");
    const auto refused = run();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exit_code, 5);
    EXPECT_EQ(read(paths_of("lb2").cluster_file()), "floating_ips: [{address: 10.99.0.7}]\n");
    const auto done = run(1000, true);
    ASSERT_TRUE(done) << done.error().error.message;
    expect_paired();
    EXPECT_EQ(read(paths_of("lb2").revisions_dir() + "/1/cluster.yaml"), "floating_ips: [{address: 10.99.0.7}]\n");
}

// A write in the middle of the commit fails: what was written before it is taken back.
TEST_F(PairNodes, AFailedCommitIsTakenBack) {
    const config::Paths peer = paths_of("lb2");
    write(peer.peer_home() + "/.ssh", "no folder");
    const auto before = files_of("lb2");
    const auto refused = run();
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().error.message, HasSubstr("authorized_keys"));
    EXPECT_EQ(files_of("lb2"), before);
    EXPECT_EQ(read(heartbeat_key_path(peer.state_dir)), "");
    EXPECT_EQ(read(paths_of("lb1").peer_file()), "");
    EXPECT_EQ(read(peer.revisions_dir() + "/3/cluster.yaml"), "floating_ips: []\n") << "it had got as far as that";
    fs::remove_all(peer.peer_home() + "/.ssh");
    ASSERT_TRUE(run());
    expect_paired();
}

TEST(OwnKey, PublicKeysOfOthersAreTakenApart) {
    const auto pair = ssh::generate_key_pair("me");
    ASSERT_TRUE(pair);
    const auto checked = ssh::checked_public_key(pair->public_key);
    ASSERT_TRUE(checked);
    EXPECT_EQ(pair->public_key, *checked + " me");
    EXPECT_FALSE(ssh::checked_public_key("command=\"sh\" " + pair->public_key));
    EXPECT_FALSE(ssh::checked_public_key("ssh-ed25519 AAAA"));
    EXPECT_EQ(*ssh::checked_public_key(*checked + " x\ncommand=\"sh\" ssh-ed25519 AAAA"), *checked);
}

}  // namespace
}  // namespace lbcluster::replicator
