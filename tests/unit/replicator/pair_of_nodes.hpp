// Two replications in one process, each with its own folders, joined by socket pairs: everything but SSH, the bus and
// the daemons around it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>

#include "lbcluster/base/clock.hpp"
#include "lbcluster/config/store.hpp"
#include "replicator/replication.hpp"
#include "replicator/unix_stream.hpp"

namespace lbcluster::replicator {

inline std::string yaml_of(const std::string& word) { return "heartbeat: {profile: lan}\n# " + word + "\n"; }

struct TestNode {
    TestNode(boost::asio::io_context& io, const std::string& root, const std::string& name, const std::string& peer)
        : io(io), name(name) {
        paths.config_dir = root + "/" + name;
        paths.run_dir = paths.config_dir + "/run";
        paths.state_dir = paths.config_dir + "/state";
        std::filesystem::create_directories(paths.state_dir);
        const bool primary = name == "lb1";
        put("node.yaml", "node: " + name + "\nrole: " + (primary ? "primary" : "secondary") + "\n");
        put("cluster.yaml", yaml_of("first"));
        std::ofstream(paths.peer_file()) << "node: " + peer +
                                                "\naddress: 127.0.0.1\nhost_key_type: ssh-ed25519\nhost_key: AAAA\n"
                                                "cluster_id: 00112233445566778899aabbccddeeff\n"
                                                "local_address: 127.0.0.1\n";
        start();
    }
    ~TestNode() { stop(); }
    TestNode(const TestNode&) = delete;
    TestNode& operator=(const TestNode&) = delete;

    void start() {
        files = std::make_unique<boost::asio::thread_pool>(1);
        Replication::Events events;
        events.on_note = [this](const Note& note) { notes.push_back(note.kind); };
        events.on_verdict = [this](const replica::Verdict& verdict) {
            verdicts[verdict.service() + "/" + verdict.server()] = verdict.health();
        };
        events.wall_ms = [this] {
            return static_cast<std::uint64_t>(static_cast<std::int64_t>(realtime_ms_now()) + ahead_ms);
        };
        replication = std::make_unique<Replication>(io, *files, paths, events);
        replication->set_may_change(may_change);
        replication->look();
    }
    // As SIGKILL, as far as one process can: nothing more is done, what is being written is finished.
    void stop() {
        if (!replication) return;
        replication->close();
        files->join();
        replication.reset();
    }

    void put(const std::string& file, const std::string& text) const {
        const std::filesystem::path path = std::filesystem::path(paths.config_dir) / file;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path) << text;
    }
    void put_state(const std::string& file, const std::string& text) const {
        std::ofstream(paths.state_dir + "/" + file) << text;
    }
    [[nodiscard]] std::string get(const std::string& file) const {
        std::ifstream in(paths.config_dir + "/" + file);
        std::stringstream text;
        text << in.rdbuf();
        return text.str();
    }
    // As the command line does.
    void apply(const std::string& text, const std::string& author = "anna") const {
        config::Change change;
        change.author = author;
        change.reason = "test";
        const auto applied = config::apply(paths, text, "new.yaml", std::nullopt, change);
        ASSERT_TRUE(applied) << applied.error().error.message << config::format(applied.error().problems);
        replication->look();
    }
    [[nodiscard]] std::string digest() const {
        const auto content = config::read_content(paths.config_dir);
        return content ? config::digest_of(*content) : "";
    }
    [[nodiscard]] std::string state() const { return replication->status().state(); }
    [[nodiscard]] bool alarmed(const std::string& id) const {
        const bus::ReplicationStatus status = replication->status();
        return std::any_of(status.alarms().begin(), status.alarms().end(),
                           [&](const bus::Alarm& one) { return one.id() == id; });
    }
    [[nodiscard]] bool noted(const std::string& kind) const {
        return std::find(notes.begin(), notes.end(), kind) != notes.end();
    }
    // Revisions by this content.
    [[nodiscard]] bool has_revision(const std::string& cluster_yaml) const {
        for (const config::Revision& revision : config::history(paths)) {
            const auto content = config::read_revision(paths, revision.number());
            if (content && content->cluster_yaml == cluster_yaml) return true;
        }
        return false;
    }

    boost::asio::io_context& io;
    std::string name;
    config::Paths paths;
    bool may_change = true;
    std::int64_t ahead_ms = 0;  // of its wall clock
    std::vector<std::string> notes;
    std::map<std::string, std::string> verdicts;
    std::unique_ptr<boost::asio::thread_pool> files;
    std::unique_ptr<Replication> replication;
};

class PairOfNodes : public testing::Test {
  protected:
    PairOfNodes() {
        const bool memory = ::access("/dev/shm", W_OK) == 0;
        std::string pattern = (memory ? "/dev/shm/" : testing::TempDir()) + "lbcluster-replica-XXXXXX";
        EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
        lb1_ = std::make_unique<TestNode>(io_, root_, "lb1", "lb2");
        lb2_ = std::make_unique<TestNode>(io_, root_, "lb2", "lb1");
        EXPECT_TRUE(run_until([this] { return lb1_->replication->looked() && lb2_->replication->looked(); }));
    }
    ~PairOfNodes() override {
        lb1_.reset();
        lb2_.reset();
        std::filesystem::remove_all(root_);
    }

    // A new connection, opened by lb1.
    void connect() {
        UnixStream::Socket one(io_);
        UnixStream::Socket other(io_);
        boost::asio::local::connect_pair(one, other);
        const int limit = 65536;
        ::setsockopt(one.native_handle(), SOL_SOCKET, SO_SNDBUF, &limit, sizeof limit);
        cut_ = ::dup(one.native_handle());
        const auto attach = [this](TestNode& node, UnixStream::Socket socket, bool outgoing) {
            auto stream = std::make_unique<UnixStream>(std::move(socket));
            node.replication->attach(std::make_unique<Channel>(io_.get_executor(), std::move(stream)), outgoing);
        };
        attach(*lb1_, std::move(one), true);
        attach(*lb2_, std::move(other), false);
    }
    void cut() {
        if (cut_ < 0) return;
        ::shutdown(cut_, SHUT_RDWR);
        ::close(std::exchange(cut_, -1));
    }

    [[nodiscard]] bool run_until(const std::function<bool()>& condition, std::chrono::seconds limit = 20s) {
        const auto end = std::chrono::steady_clock::now() + limit;
        while (!condition()) {
            if (std::chrono::steady_clock::now() >= end) return false;
            io_.restart();
            io_.run_for(std::chrono::milliseconds(2));
        }
        return true;
    }
    [[nodiscard]] bool in_sync() {
        return lb1_->state() == "in-sync" && lb2_->state() == "in-sync" && lb1_->digest() == lb2_->digest();
    }
    // What was true before this call is known after it: a look that was on its way has ended as well.
    void look_now(TestNode& node) {
        const auto looked = std::make_shared<bool>(false);
        node.replication->look([looked] { *looked = true; });
        ASSERT_TRUE(run_until([&] { return *looked; }));
    }
    // The answer to a call.
    [[nodiscard]] bus::Reply answer(const std::function<void(Replication::Respond)>& call) {
        std::optional<bus::Reply> reply;
        call([&](bus::Reply one) { reply = std::move(one); });
        EXPECT_TRUE(run_until([&] { return reply.has_value(); }));
        return reply.value_or(bus::Reply());
    }

    boost::asio::io_context io_{1};
    std::string root_;
    std::unique_ptr<TestNode> lb1_;
    std::unique_ptr<TestNode> lb2_;
    int cut_ = -1;
};

}  // namespace lbcluster::replicator
