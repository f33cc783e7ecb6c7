// OP-1: the state bus's server, on real sockets, with clients that break every rule.
#include "lbcluster/bus/server.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <vector>

#include "bus_fixture.hpp"
#include "lbcluster/bus/request.hpp"

namespace lbcluster::bus {
namespace {

using ServerTest = BusTest;

TEST_F(ServerTest, GivesASnapshotThenUpdates) {
    start_server();
    server_->set(item_of("node", "a"));
    server_->set(item_of("other", "x"));
    RawClient client(path_);
    client.hello();
    client.watch("node");
    EXPECT_EQ(next_frame(client).hello().program(), "heartbeatd");
    const Frame snapshot = next_frame(client);
    ASSERT_EQ(snapshot.snapshot().items_size(), 1);
    EXPECT_EQ(snapshot.snapshot().items(0).event().text(), "a");
    EXPECT_TRUE(snapshot.snapshot().last());

    server_->set(item_of("node", "a"));  // equal: no update
    server_->set(item_of("other", "y"));
    server_->set(item_of("node2", "b"));
    const Frame update = next_frame(client);
    ASSERT_EQ(update.update().items_size(), 1);
    EXPECT_EQ(update.update().items(0).key(), "node2");
    EXPECT_GT(update.update().items(0).generation(), snapshot.snapshot().items(0).generation());

    server_->erase("node");
    const Frame gone = next_frame(client);
    ASSERT_EQ(gone.update().items_size(), 1);
    EXPECT_TRUE(gone.update().items(0).removed());
}

TEST_F(ServerTest, EqualMapsAreEqualValues) {
    start_server();
    Item item;
    item.set_key("node");
    for (int i = 0; i < 50; ++i) {
        (*item.mutable_node()->mutable_counters())["c" + std::to_string(i)] = 1;
    }
    server_->set(item);
    Item again;
    again.set_key("node");
    for (int i = 49; i >= 0; --i) {
        (*again.mutable_node()->mutable_counters())["c" + std::to_string(i)] = 1;
    }
    RawClient client(path_);
    client.hello();
    client.watch();
    next_frame(client);
    next_frame(client);
    server_->set(again);
    server_->set(item_of("end", ""));
    const Frame update = next_frame(client);
    ASSERT_EQ(update.update().items_size(), 1);
    EXPECT_EQ(update.update().items(0).key(), "end");
}

TEST_F(ServerTest, SplitsALargeSnapshot) {
    start_server();
    for (int i = 0; i < 50; ++i) {
        server_->set(item_of("key" + std::to_string(i), std::string(20000, 'x')));
    }
    const auto items = beside([this] { return fetch(path_, "", std::chrono::seconds{5}); });
    ASSERT_TRUE(items.ok()) << items.error().message;
    EXPECT_EQ(items.value().size(), 50U);
}

TEST_F(ServerTest, CoalescesForAReaderThatDoesNotRead) {
    start_server();
    RawClient slow(path_);
    slow.hello();
    slow.watch();
    ASSERT_TRUE(run_until([&] { return server_->client_count() == 1; }));
    constexpr int rounds = 3000;
    const auto began = std::chrono::steady_clock::now();
    for (int i = 0; i <= rounds; ++i) {
        server_->set(item_of("node", std::string(10000, 'x') + std::to_string(i)));
        io_.restart();
        io_.poll();
        ASSERT_LE(server_->backlog_keys(), 1U);
        ASSERT_LE(server_->backlog_bytes(), 200U * 1024);
    }
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds{10});
    // Then it reads: fewer values than were set, the newest last.
    int updates = 0;
    std::string last;
    ASSERT_TRUE(run_until([&] {
        if (const auto frame = slow.poll(); frame && frame->has_update()) {
            ++updates;
            last = frame->update().items(frame->update().items_size() - 1).event().text().substr(10000);
        }
        return last == std::to_string(rounds);
    }));
    EXPECT_LT(updates, rounds / 2);
}

TEST_F(ServerTest, AReaderFarBehindGetsANewSnapshotInsteadOfAGrowingListOfKeys) {
    start_server();
    RawClient slow(path_);
    slow.hello();
    slow.watch();
    ASSERT_TRUE(run_until([&] { return server_->client_count() == 1; }));
    for (int i = 0; i < 20000; ++i) {
        server_->set(item_of("event/" + std::to_string(i), std::string(200, 'x')));
        if (i >= 10) {
            server_->erase("event/" + std::to_string(i - 10));
        }
        io_.restart();
        io_.poll();
        ASSERT_LE(server_->backlog_keys(), 1100U);
    }
    EXPECT_GT(server_->counters().resyncs, 0U);
    // What it ends up with is what is true.
    std::map<std::string, Item> state;
    std::map<std::string, Item> incoming;
    ASSERT_TRUE(run_until([&] {
        const auto frame = slow.poll();
        if (frame && frame->has_snapshot()) {
            for (const auto& item : frame->snapshot().items()) {
                incoming[item.key()] = item;
            }
            if (frame->snapshot().last()) {
                state = std::exchange(incoming, {});
            }
        } else if (frame) {
            for (const auto& item : frame->update().items()) {
                item.removed() ? static_cast<void>(state.erase(item.key()))
                               : static_cast<void>(state[item.key()] = item);
            }
        }
        return state.size() == 10 && state.contains("event/19999");
    }));
}

TEST_F(ServerTest, AnItemTooLargeForAFrameKeepsTheOldValue) {
    start_server();
    server_->set(item_of("node", "old"));
    server_->set(item_of("node", std::string(frame_bytes_max, 'x')));
    const auto items = beside([this] { return fetch(path_, "", std::chrono::seconds{5}); });
    ASSERT_EQ(items.value().size(), 1U);
    EXPECT_EQ(items.value()[0].event().text(), "old");
}

TEST_F(ServerTest, AnswersACallLaterAndSafelyWhenTheClientHasGone) {
    start_server();
    std::vector<Server::Respond> waiting;
    server_->on_call([&](const Call& call, const PeerCredentials& peer, Server::Respond respond) {
        EXPECT_TRUE(call.has_activate());
        EXPECT_EQ(peer.pid, ::getpid());
        waiting.push_back(std::move(respond));
    });
    RawClient client(path_);
    client.hello();
    client.activate(7);
    ASSERT_TRUE(run_until([&] { return waiting.size() == 1; }));
    Reply reply;
    reply.set_exit_code(5);
    reply.set_message("peer is not reachable");
    waiting[0](reply);
    waiting[0](reply);  // a second answer is nobody's
    next_frame(client);
    const Frame answer = next_frame(client);
    EXPECT_EQ(answer.reply().id(), 7U);
    EXPECT_EQ(answer.reply().exit_code(), 5U);
    {
        RawClient leaver(path_);
        leaver.hello();
        leaver.activate(1);
        ASSERT_TRUE(run_until([&] { return waiting.size() == 2; }));
    }
    ASSERT_TRUE(run_until([&] { return server_->client_count() == 1; }));
    waiting[1](reply);
    client.activate(8);
    ASSERT_TRUE(run_until([&] { return waiting.size() == 3; }));
    waiting.clear();  // dropped without an answer
    EXPECT_EQ(next_frame(client).reply().exit_code(), 1U);
}

TEST_F(ServerTest, LimitsTheCallsInFlight) {
    start_server();
    std::vector<Server::Respond> waiting;
    server_->on_call(
        [&](const Call&, const PeerCredentials&, Server::Respond respond) { waiting.push_back(std::move(respond)); });
    RawClient client(path_);
    client.hello();
    for (std::uint64_t id = 1; id <= 9; ++id) {
        client.activate(id);
    }
    next_frame(client);
    const Frame refused = next_frame(client);
    EXPECT_EQ(refused.reply().id(), 9U);
    EXPECT_EQ(refused.reply().exit_code(), 1U);
    EXPECT_EQ(waiting.size(), 8U);
}

TEST_F(ServerTest, AClientThatCallsWithoutReadingIsReadNoMore) {
    start_server();
    server_->on_call([](const Call&, const PeerCredentials&, const Server::Respond& respond) {
        Reply reply;
        reply.set_message(std::string(100000, 'x'));
        respond(reply);
    });
    RawClient client(path_);
    client.hello();
    std::uint64_t id = 0;
    for (int i = 0; i < 2000; ++i) {
        client.activate(++id);
        io_.restart();
        io_.poll();
        ASSERT_LE(server_->backlog_bytes(), 3U * 1024 * 1024);
    }
}

TEST_F(ServerTest, DisconnectsWhoBreaksTheRules) {
    start_server();
    const std::string half = encode_frame([] {
                                 Frame frame;
                                 frame.mutable_watch()->set_prefix("node");
                                 return frame;
                             }())
                                 .value();
    const std::vector<std::pair<std::string, std::function<void(RawClient&)>>> rules{
        {"garbage for hello", [](RawClient& c) { c.send("GET / HTTP/1.1\r\n\r\n"); }},
        {"a watch before hello", [](RawClient& c) { c.watch(); }},
        {"another protocol", [](RawClient& c) { c.hello(2); }},
        {"silence", [](RawClient&) {}},
        {"an oversized frame", [](RawClient& c) { c.hello() && c.send(frame_header(frame_bytes_max + 1)); }},
        {"a broken frame", [](RawClient& c) { c.hello() && c.send(frame_header(3) + "\xff\xff\xff"); }},
        {"half a frame", [&](RawClient& c) { c.hello() && c.send(half.substr(0, half.size() - 1)); }},
        {"half a length", [&](RawClient& c) { c.hello() && c.send(half.substr(0, 2)); }},
        {"two watches", [](RawClient& c) { c.hello() && c.watch() && c.watch(); }},
        {"two hellos", [](RawClient& c) { c.hello() && c.hello(); }},
        {"one id twice", [](RawClient& c) { c.hello() && c.activate(1) && c.activate(1); }},
    };
    std::vector<Server::Respond> waiting;
    server_->on_call(
        [&](const Call&, const PeerCredentials&, Server::Respond respond) { waiting.push_back(std::move(respond)); });
    std::vector<RawClient> clients;
    clients.reserve(rules.size());
    for (const auto& [name, act] : rules) {
        act(clients.emplace_back(path_));
    }
    for (std::size_t i = 0; i < rules.size(); ++i) {
        EXPECT_TRUE(ends_closed(clients[i])) << rules[i].first;
    }
    EXPECT_EQ(server_->client_count(), 0U);
    // And everybody else is still served.
    server_->set(item_of("node", "a"));
    EXPECT_TRUE(beside([this] { return fetch(path_, "", std::chrono::seconds{5}); }).ok());
}

TEST_F(ServerTest, AQuietClientMayStay) {
    start_server();
    RawClient client(path_);
    client.hello();
    client.watch();
    next_frame(client);
    next_frame(client);
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds{2300};
    ASSERT_TRUE(run_until([&] { return std::chrono::steady_clock::now() > until; }));
    client.poll();
    EXPECT_FALSE(client.closed());
}

TEST_F(ServerTest, HasAMaximumOfClients) {
    start_server();
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 70; ++i) {
        clients.push_back(std::make_unique<RawClient>(path_));
        clients.back()->hello();
        ASSERT_TRUE(
            run_until([&] { return server_->counters().accepted + server_->counters().refused == clients.size(); }));
    }
    EXPECT_EQ(server_->client_count(), 64U);
    EXPECT_EQ(server_->counters().refused, 6U);
    EXPECT_TRUE(ends_closed(*clients.back()));
    clients.clear();
    EXPECT_TRUE(run_until([&] { return server_->client_count() == 0; }));
}

TEST_F(ServerTest, ReplacesTheSocketOfADeadDaemonAndRefusesALiveOne) {
    start_server();
    Server second(io_, {path_, "heartbeatd", "0.1.0", ""});
    const auto refused = second.listen();
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, EADDRINUSE);
    struct stat before{};
    ASSERT_EQ(::stat(path_.c_str(), &before), 0);
    EXPECT_EQ(before.st_mode & 0777, 0660U);
    server_.reset();
    EXPECT_NE(::access(path_.c_str(), F_OK), 0) << "a clean end removes the socket";

    // A dead daemon's: bound, and nobody listens.
    const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::close(dead);
    start_server();
    EXPECT_TRUE(RawClient(path_).connected());
}

TEST_F(ServerTest, RefusesToReplaceAFileThatIsNoSocket) {
    ::close(::open(path_.c_str(), O_CREAT | O_WRONLY, 0600));
    Server server(io_, {path_, "heartbeatd", "0.1.0", ""});
    EXPECT_EQ(server.listen().error().code, EEXIST);
}

TEST_F(ServerTest, GoesOnWhenThereIsNoDescriptorLeft) {
    start_server();
    server_->set(item_of("node", "a"));
    std::vector<int> hoard;
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit small{256, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &small), 0);
    const int spare = ::open("/dev/null", O_RDONLY);
    for (int fd = spare; fd >= 0; fd = ::open("/dev/null", O_RDONLY)) {
        hoard.push_back(fd);
    }
    ::close(hoard.back());
    hoard.pop_back();
    RawClient client(path_);  // takes the last one
    ASSERT_TRUE(client.connected());
    EXPECT_TRUE(ends_closed(client)) << "let go with the help of the reserve";
    EXPECT_GE(server_->counters().refused, 1U);
    // It does not spin meanwhile: the loop has next to nothing to do.
    io_.restart();
    EXPECT_LT(io_.run_for(std::chrono::milliseconds{250}), 20U);
    for (const int fd : hoard) {
        ::close(fd);
    }
    ::setrlimit(RLIMIT_NOFILE, &before);
    EXPECT_TRUE(beside([this] { return fetch(path_, "", std::chrono::seconds{5}); }).ok());
}

// In a child with another user and group: exit code of `function`.
int as_user(uid_t uid, gid_t gid, const std::function<int()>& function,
            const std::function<bool(std::function<bool()>)>& run) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setgroups(0, nullptr) != 0 || ::setgid(gid) != 0 || ::setuid(uid) != 0) {
            ::_exit(99);
        }
        ::_exit(function());
    }
    int status = 0;
    EXPECT_TRUE(run([&] { return ::waitpid(child, &status, WNOHANG) == child; }));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

TEST_F(ServerTest, TheGroupReadsAndOnlyRootChanges) {
    if (::geteuid() != 0) {
        GTEST_SKIP() << "needs root to become another user";
    }
    ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
    start_server("daemon");  // a group that every Debian has; its number is 1
    server_->set(item_of("node", "a"));
    int calls = 0;
    server_->on_call([&](const Call&, const PeerCredentials&, const Server::Respond& respond) {
        ++calls;
        respond(Reply{});
    });
    const auto read = [this] {
        const auto items = fetch(path_, "", std::chrono::seconds{5});
        return items.ok() ? static_cast<int>(items.value().size()) : 50 + exit_code_of(items.error());
    };
    const auto change = [this] {
        Call request;
        request.mutable_activate();
        const auto reply = call(path_, request, std::chrono::seconds{5});
        return reply.ok() ? static_cast<int>(reply.value().exit_code()) : 50 + exit_code_of(reply.error());
    };
    const auto run = [this](const std::function<bool()>& done) { return run_until(done); };
    const gid_t group = ::getgrnam("daemon")->gr_gid;
    EXPECT_EQ(as_user(1, group, read, run), 1);
    EXPECT_EQ(as_user(1, group, change, run), 5);
    EXPECT_EQ(as_user(65534, 65534, read, run), 55) << "the file's mode";
    ASSERT_EQ(::chmod(path_.c_str(), 0666), 0);
    EXPECT_EQ(as_user(65534, 65534, read, run), 55) << "the server's own check";
    EXPECT_EQ(as_user(65534, 65534, change, run), 5);
    EXPECT_EQ(calls, 0);
    EXPECT_EQ(as_user(0, 0, change, run), 0);
    EXPECT_EQ(calls, 1);
}

TEST_F(ServerTest, WhatChangesAllTheTimeIsFilledInForSnapshots) {
    start_server();
    server_->set(item_of("a", "published"));
    RawClient first(path_);
    ASSERT_TRUE(first.hello() && first.watch());
    EXPECT_TRUE(next_frame(first).has_hello());
    EXPECT_EQ(next_frame(first).snapshot().items(0).event().text(), "published");

    server_->on_snapshot([](Item& item) { item.mutable_event()->set_text("as of now"); });
    RawClient second(path_);
    ASSERT_TRUE(second.hello() && second.watch());
    EXPECT_TRUE(next_frame(second).has_hello());
    const Frame snapshot = next_frame(second);
    EXPECT_EQ(snapshot.snapshot().items(0).key(), "a");
    EXPECT_EQ(snapshot.snapshot().items(0).event().text(), "as of now");

    // Nobody else was told: the next thing the first one hears of is a change.
    server_->set(item_of("a", "changed"));
    EXPECT_EQ(next_frame(first).update().items(0).event().text(), "changed");
    EXPECT_EQ(next_frame(second).update().items(0).event().text(), "changed");
}

}  // namespace
}  // namespace lbcluster::bus
