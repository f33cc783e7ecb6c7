// OP-1: the daemons' client and the command line's requests.
#include "lbcluster/bus/client.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>

#include "bus_fixture.hpp"
#include "lbcluster/bus/request.hpp"

namespace lbcluster::bus {
namespace {

using namespace std::chrono_literals;

class ClientTest : public BusTest {
  protected:
    Client::Options options() { return {path_, "forwarderd", "0.1.0", "", 5ms, 50ms}; }
};

TEST_F(ClientTest, KeepsTheLastStateOverARestartAndIsRightAgain) {
    Client client(io_, options());
    int snapshots = 0;
    int lost = 0;
    client.on_snapshot([&](const Client::State&) { ++snapshots; });
    client.on_lost([&](const Error&) { ++lost; });
    client.start();  // before the server is there
    EXPECT_TRUE(client.stale());
    start_server();
    server_->set(item_of("a", "1"));
    server_->set(item_of("b", "1"));
    ASSERT_TRUE(run_until([&] { return snapshots == 1; }));
    EXPECT_FALSE(client.stale());
    EXPECT_EQ(client.server_version(), "0.1.0");
    std::vector<Item> updates;
    client.on_update(
        [&](const std::vector<Item>& items) { updates.insert(updates.end(), items.begin(), items.end()); });
    server_->set(item_of("a", "2"));
    server_->erase("b");
    ASSERT_TRUE(run_until([&] { return updates.size() == 2; }));
    EXPECT_EQ(client.state().size(), 1U);

    server_.reset();
    ASSERT_TRUE(run_until([&] { return lost == 1; }));
    EXPECT_TRUE(client.stale());
    EXPECT_EQ(client.state().at("a").event().text(), "2") << "the last known state stays";

    start_server();
    server_->set(item_of("c", "3"));
    ASSERT_TRUE(run_until([&] { return snapshots == 2; }));
    EXPECT_FALSE(client.stale());
    ASSERT_EQ(client.state().size(), 1U) << "what the restarted server does not have is gone";
    EXPECT_EQ(client.state().begin()->first, "c");
    EXPECT_EQ(lost, 1);
}

TEST_F(ClientTest, MayBeClosedInItsOwnCallback) {
    start_server();
    server_->set(item_of("a", "1"));
    Client client(io_, options());
    bool called = false;
    client.on_snapshot([&](const Client::State&) {
        called = true;
        client.close();
    });
    client.start();
    ASSERT_TRUE(run_until([&] { return called && server_->client_count() == 0; }));
}

TEST_F(ClientTest, RequestsSayWhyTheyFail) {
    const auto absent = fetch(path_, "", 1s);
    EXPECT_EQ(absent.error().code, ENOENT);
    EXPECT_EQ(absent.error().message, "heartbeatd is not running (no socket at " + path_ + ")");
    EXPECT_FALSE(absent.error().hint.empty());
    EXPECT_EQ(exit_code_of(absent.error()), 4);
    EXPECT_FALSE(listens(path_));
    start_server();
    EXPECT_TRUE(listens(path_));
    const auto mute = fetch(path_, "", 50ms);  // nobody runs the loop
    EXPECT_EQ(mute.error().code, ETIMEDOUT);
    EXPECT_EQ(exit_code_of(mute.error()), 6);
}

// A server that says whatever the test likes.
class FakeServer {
  public:
    explicit FakeServer(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(fd_, 4), 0);
    }
    ~FakeServer() { ::close(fd_); }
    FakeServer(const FakeServer&) = delete;
    FakeServer& operator=(const FakeServer&) = delete;
    void serve_one(const std::string& bytes) const {
        const int client = ::accept(fd_, nullptr, nullptr);
        EXPECT_EQ(::send(client, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
        // Closed with unread bytes of the client it would say ECONNRESET, perhaps before ours are read.
        ::shutdown(client, SHUT_WR);
        std::array<char, 256> rest{};
        while (::recv(client, rest.data(), rest.size(), 0) > 0) {
        }
        ::close(client);
    }

  private:
    int fd_;
};

TEST_F(ClientTest, RequestsSurviveAStrangeServer) {
    Frame hello;
    hello.mutable_hello()->set_protocol(2);
    const std::string other = encode_frame(hello).value();
    hello.mutable_hello()->set_protocol(1);
    const std::string good = encode_frame(hello).value();
    const std::vector<std::pair<std::string, int>> cases{
        {other, EPROTONOSUPPORT}, {"SSH-2.0-OpenSSH_9.2\r\n", EMSGSIZE},  {good + frame_header(2) + "\xff\xff", EPROTO},
        {good, ECONNRESET},       {good + good.substr(0, 5), ECONNRESET},
    };
    FakeServer server(path_);
    for (const auto& [bytes, code] : cases) {
        std::thread thread([&server, &bytes = bytes] { server.serve_one(bytes); });
        const auto result = fetch(path_, "", 5s);
        thread.join();
        ASSERT_FALSE(result.ok());
        EXPECT_EQ(result.error().code, code) << result.error().message;
    }
}

TEST_F(ClientTest, FollowsUntilTheHandlerHasEnoughOrTheServerIsGone) {
    start_server();
    server_->set(item_of("a", "1"));
    std::atomic<int> seen = 0;
    const auto following = [&] {
        return follow(
            path_, "",
            [&](bool first, const std::vector<Item>& items) {
                EXPECT_EQ(first, seen == 0);
                EXPECT_EQ(items.size(), 1U);
                return ++seen < 2;
            },
            5s);
    };
    auto result = std::async(std::launch::async, following);
    ASSERT_TRUE(run_until([&] { return seen == 1; }));
    server_->set(item_of("a", "2"));
    ASSERT_TRUE(run_until([&] { return result.wait_for(0s) == std::future_status::ready; }));
    EXPECT_TRUE(result.get().ok());

    seen = -100;
    auto endless = std::async(std::launch::async, [&] {
        return follow(path_, "", [&](bool, const std::vector<Item>&) { return ++seen < 0; }, 5s);
    });
    ASSERT_TRUE(run_until([&] { return seen == -99; }));
    server_.reset();
    EXPECT_EQ(endless.get().error().code, ECONNRESET);
}

}  // namespace
}  // namespace lbcluster::bus
