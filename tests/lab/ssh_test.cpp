// RE-1: the SSH session that pairing and replication are built on, against the system's own SSH server: who may log in,
// whose host key is believed, and that no fault of the server or the network holds anybody longer than its deadline.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <filesystem>
#include <thread>

#include "replicator/ssh/key_pair.hpp"
#include "replicator/ssh/session.hpp"
#include "tests/lab/lab.hpp"
#include "tests/lab/sshd.hpp"

namespace lbcluster::lab {
namespace {

using replicator::ByteStream;
using replicator::ssh::HostKey;
using replicator::ssh::Session;
using replicator::ssh::Target;
using ::testing::HasSubstr;
using SessionResult = Result<std::shared_ptr<Session>>;
template <class T>
using Task = boost::asio::awaitable<T>;

class Ssh : public ::testing::Test {
  protected:
    static constexpr auto patience = 10s;

    void serve(const std::string& shell = "/bin/sh", const std::string& more = "") {
        SshdSpec spec;
        spec.folder = "/run/ssh";
        spec.run_dir = "/run/node/run";
        spec.state_dir = "/run/node/state";
        spec.config_dir = "/run/node";
        spec.login_shell = shell;
        spec.more = more;
        sshd_ = std::make_unique<Sshd>(lab_.host("lb2"), spec);
        sshd_->start();
    }
    static Target target() { return {"10.77.0.12", 22, Sshd::account, "10.77.0.11", ""}; }
    static Result<void> any_key(const HostKey&) { return {}; }

    // Runs a coroutine on lb1 to its end; what it returned.
    template <class T>
    Result<T> on_lb1(Task<Result<T>> task) {
        Result<T> result = Error{"never ended", "", 0};
        lab_.host("lb1").run([&] {
            boost::asio::io_context io{1};
            const auto keep = [](Task<Result<T>> inner, Result<T>& kept) -> Task<void> {
                kept = co_await std::move(inner);
            };
            boost::asio::co_spawn(io, keep(std::move(task), result), [](const std::exception_ptr& error) {
                if (error) std::rethrow_exception(error);
            });
            io.run();
        });
        return result;
    }

    static Task<Result<std::string>> say(std::shared_ptr<Session> session, std::string command, std::string input) {
        auto stream = co_await session->exec(command, patience);
        if (!stream) co_return stream.error();
        auto written = co_await (*stream)->write(input);
        if (!written) co_return written.error();
        std::string all;
        std::array<char, 1000> space{};
        for (;;) {
            const boost::asio::mutable_buffer buffer(space.data(), space.size());
            const auto got = co_await (*stream)->read_some(buffer);
            if (!got) co_return got.error();
            if (*got == 0) break;
            all.append(space.data(), *got);
            if (all.size() >= input.size() && !input.empty()) break;
        }
        co_return all + session->ending().stderr_text;
    }
    static Task<Result<std::string>> by_password(std::string password, std::string command, std::string input) {
        const Session::HostKeyCheck check = any_key;
        auto session = co_await Session::connect(target(), check, patience);
        if (!session) co_return session.error();
        const auto in = co_await (*session)->authenticate_password(password, patience);
        if (!in) co_return in.error();
        co_return co_await say(*session, command, input);
    }

    Lab lab_;
    std::unique_ptr<Sshd> sshd_;
};

TEST_F(Ssh, PasswordRightAndWrong) {
    serve();
    const auto right = on_lb1(by_password(Sshd::password, "echo here; echo there >&2; exit 3", ""));
    ASSERT_TRUE(right) << right.error().message;
    EXPECT_EQ(*right, "here\nthere\n");
    const auto wrong = on_lb1(by_password("another word", "echo here", ""));
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code, EACCES);
    EXPECT_THAT(wrong.error().message, HasSubstr("does not accept the password of loadbalancer"));
    EXPECT_EQ((wrong.error().message + wrong.error().hint).find("another word"), std::string::npos);
}

// The key that this node makes for itself is one that OpenSSH knows.
TEST_F(Ssh, OwnKeyIsMadeAndAccepted) {
    serve();
    const auto pair = replicator::ssh::own_key_pair("/run/own", "lb1");
    ASSERT_TRUE(pair) << pair.error().message;
    EXPECT_EQ(replicator::ssh::own_key_pair("/run/own", "lb1")->private_key, pair->private_key) << "made once";
    EXPECT_THAT(must_run(nullptr, {"ssh-keygen", "-y", "-f", "/run/own/keys/replica"}), HasSubstr("ssh-ed25519 AAAA"));
    write_file(sshd_->authorized_keys_path(), "restrict,command=\"echo forced\" " + pair->public_key + "\n");
    const auto with = [](std::string key) -> Task<Result<std::string>> {
        const Session::HostKeyCheck check = any_key;
        auto session = co_await Session::connect(target(), check, patience);
        if (!session) co_return session.error();
        const auto in = co_await (*session)->authenticate_key(key, patience);
        if (!in) co_return in.error();
        co_return co_await say(*session, "echo wanted", "");
    };
    const auto got = on_lb1(with(pair->private_key));
    ASSERT_TRUE(got) << got.error().message << sshd_->log();
    EXPECT_EQ(*got, "forced\n");
    const auto stranger = on_lb1(with(replicator::ssh::generate_key_pair("x")->private_key));
    ASSERT_FALSE(stranger);
    EXPECT_EQ(stranger.error().code, EACCES);
    const auto nonsense = on_lb1(with("-----BEGIN NONSENSE-----\n"));
    EXPECT_FALSE(nonsense);
}

TEST_F(Ssh, KeyFilesThatOthersReadAreRefused) {
    ASSERT_TRUE(replicator::ssh::own_key_pair("/run/own", "lb1"));
    const std::string path = replicator::ssh::private_key_path("/run/own");
    std::filesystem::permissions(path, std::filesystem::perms(0640));
    const auto readable = replicator::ssh::load_private_key(path);
    ASSERT_FALSE(readable);
    EXPECT_THAT(readable.error().message, HasSubstr("others may read"));
    EXPECT_THAT(readable.error().hint, HasSubstr("chmod 600"));
    EXPECT_FALSE(replicator::ssh::own_key_pair("/run/own", "lb1")) << "nor made anew over it";
    std::filesystem::rename(path, path + ".moved");
    std::filesystem::create_symlink(path + ".moved", path);
    EXPECT_THAT(replicator::ssh::load_private_key(path).error().message, HasSubstr("symbolic link"));
}

// What the callback sees is what ssh-keygen prints; refused, nothing more is said to that server.
TEST_F(Ssh, WrongHostKeyEndsItBeforeThePassword) {
    serve();
    std::string seen;
    const auto refuse = [&seen]() -> Task<Result<std::string>> {
        const Session::HostKeyCheck check = [&seen](const HostKey& key) -> Result<void> {
            seen = key.fingerprint;
            return Error{"not that one", "", EKEYREJECTED};
        };
        auto session = co_await Session::connect(target(), check, patience);
        if (!session) co_return session.error();
        co_return std::string("connected");
    };
    const auto got = on_lb1(refuse());
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, EKEYREJECTED);
    EXPECT_EQ(seen, sshd_->fingerprint());
    EXPECT_EQ(sshd_->log().find("password"), std::string::npos) << sshd_->log();
}

TEST_F(Ssh, ClosedPortAndFilteredPort) {
    const auto connect = [](Nanoseconds limit) -> Task<Result<std::string>> {
        const Session::HostKeyCheck check = any_key;
        auto session = co_await Session::connect(target(), check, limit);
        if (!session) co_return session.error();
        co_return std::string("connected");
    };
    const auto closed = on_lb1(connect(5s));
    ASSERT_FALSE(closed);
    EXPECT_EQ(closed.error().code, ECONNREFUSED);
    EXPECT_THAT(closed.error().message, HasSubstr("10.77.0.12 port 22"));
    serve();
    lab_.drop("lb2", "eth0", "tcp dport 22");
    const TimePoint begun = Clock::now();
    const auto filtered = on_lb1(connect(1s));
    ASSERT_FALSE(filtered);
    EXPECT_EQ(filtered.error().code, ETIMEDOUT);
    EXPECT_THAT(filtered.error().hint, HasSubstr("firewall"));
    EXPECT_LT(Clock::now() - begun, 5s);
}

// Something listens and says nothing: the deadline of the handshake ends it.
TEST_F(Ssh, ServerThatSaysNothing) {
    boost::asio::io_context io;
    std::optional<boost::asio::ip::tcp::acceptor> listening;
    lab_.host("lb2").run([&] {
        listening.emplace(io, boost::asio::ip::tcp::endpoint(boost::asio::ip::make_address("10.77.0.12"), 22));
    });
    const auto connect = []() -> Task<Result<std::string>> {
        const Session::HostKeyCheck check = any_key;
        auto session = co_await Session::connect(target(), check, 1s);
        if (!session) co_return session.error();
        co_return std::string("connected");
    };
    const auto got = on_lb1(connect());
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, ETIMEDOUT);
    EXPECT_THAT(got.error().message, HasSubstr("handshake"));
}

// Both directions at once, more than any window or socket buffer holds.
TEST_F(Ssh, MegabytesInBothDirections) {
    serve();
    std::string input;
    for (int i = 0; input.size() < 6000000; ++i) input += std::to_string(i) + "\n";
    const auto echo = [](std::string bytes) -> Task<Result<std::string>> {
        const Session::HostKeyCheck check = any_key;
        auto session = co_await Session::connect(target(), check, patience);
        if (!session) co_return session.error();
        const auto in = co_await (*session)->authenticate_password(Sshd::password, patience);
        if (!in) co_return in.error();
        auto opened = co_await (*session)->exec("cat", patience);
        if (!opened) co_return opened.error();
        const std::shared_ptr<ByteStream> stream = std::move(*opened);
        const auto feed = [](std::shared_ptr<ByteStream> to, std::string all) -> Task<void> {
            (void)co_await to->write(std::move(all));
        };
        const auto executor = co_await boost::asio::this_coro::executor;
        const auto size = bytes.size();
        boost::asio::co_spawn(executor, feed(stream, std::move(bytes)), [](const std::exception_ptr&) {});
        std::string all;
        std::array<char, 30000> space{};
        while (all.size() < size) {
            const boost::asio::mutable_buffer buffer(space.data(), space.size());
            const auto got = co_await stream->read_some(buffer);
            if (!got) co_return got.error();
            if (*got == 0) break;
            all.append(space.data(), *got);
        }
        co_return all;
    };
    const auto got = on_lb1(echo(input));
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_TRUE(*got == input) << got->size();
}

TEST_F(Ssh, CutConnectionWakesTheReader) {
    serve();
    const auto read = [](Sshd& sshd) -> Task<Result<std::string>> {
        const Session::HostKeyCheck check = any_key;
        auto session = co_await Session::connect(target(), check, patience);
        if (!session) co_return session.error();
        const auto in = co_await (*session)->authenticate_password(Sshd::password, patience);
        if (!in) co_return in.error();
        auto stream = co_await (*session)->exec("echo begun; sleep 1000", patience);
        if (!stream) co_return stream.error();
        std::array<char, 100> space{};
        const boost::asio::mutable_buffer buffer(space.data(), space.size());
        const auto first = co_await (*stream)->read_some(buffer);
        if (!first) co_return first.error();
        sshd.cut();
        const auto second = co_await (*stream)->read_some(buffer);
        if (!second) co_return second.error();
        co_return std::string("went on");
    };
    const auto got = on_lb1(read(*sshd_));
    ASSERT_FALSE(got) << *got;
    EXPECT_EQ(got.error().code, ECONNRESET) << got.error().message;
}

// The network goes silent: the kept connection is found dead by its own questions.
TEST_F(Ssh, SilentNetworkIsNoticed) {
    serve();
    std::atomic<bool> silent_now = false;
    std::thread network([&] {  // not by the thread that is on lb1
        if (wait_until([&] { return silent_now.load(); }, 40s)) lab_.drop("lb2", "eth0", "tcp dport 22");
    });
    const auto read = [](std::atomic<bool>& drop) -> Task<Result<std::string>> {
        const Session::HostKeyCheck check = any_key;
        auto session = co_await Session::connect(target(), check, patience);
        if (!session) co_return session.error();
        const auto in = co_await (*session)->authenticate_password(Sshd::password, patience);
        if (!in) co_return in.error();
        auto stream = co_await (*session)->exec("echo begun; sleep 18; echo still; sleep 1000", patience);
        if (!stream) co_return stream.error();
        std::array<char, 100> space{};
        const boost::asio::mutable_buffer buffer(space.data(), space.size());
        for (int lines = 0; lines < 2; ++lines) {  // silence alone is no fault
            const auto line = co_await (*stream)->read_some(buffer);
            if (!line) co_return line.error();
        }
        drop = true;
        const auto end = co_await (*stream)->read_some(buffer);
        if (!end) co_return Error{"noticed: " + end.error().message, "", end.error().code};
        co_return std::string("went on");
    };
    const auto got = on_lb1(read(silent_now));
    silent_now = true;
    network.join();
    ASSERT_FALSE(got) << *got;
    EXPECT_EQ(got.error().code, ETIMEDOUT) << got.error().message;
    EXPECT_THAT(got.error().message, HasSubstr("noticed: nothing came"));
}

TEST_F(Ssh, ScpUpload) {
    serve();
    std::filesystem::create_directories("/run/there");
    std::filesystem::permissions("/run/there", std::filesystem::perms(0777));
    const std::string bytes(300000, 'x');
    const auto send = [](std::string name, std::string all) -> Task<Result<std::string>> {
        const Session::HostKeyCheck check = any_key;
        auto session = co_await Session::connect(target(), check, patience);
        if (!session) co_return session.error();
        const auto in = co_await (*session)->authenticate_password(Sshd::password, patience);
        if (!in) co_return in.error();
        const auto sent = co_await (*session)->upload(name, all, patience);
        if (!sent) co_return sent.error();
        co_return co_await say(*session, "echo after", "");
    };
    const auto got = on_lb1(send("/run/there/file", bytes));
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(*got, "after\n") << "the session goes on";
    EXPECT_EQ(read_file("/run/there/file"), bytes);
    const auto nowhere = on_lb1(send("/run/nowhere/file", bytes));
    ASSERT_FALSE(nowhere);
    must_run(nullptr, {"mount", "-t", "tmpfs", "-o", "size=100k,mode=777", "none", "/run/there"});
    const auto full = on_lb1(send("/run/there/file", bytes));
    ASSERT_FALSE(full);
    EXPECT_THAT(full.error().message, HasSubstr("No space left"));
}

}  // namespace
}  // namespace lbcluster::lab
