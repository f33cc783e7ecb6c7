// RE-5: daemons notice a new configuration by themselves, however it was written.
#include "lbcluster/config/watcher.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "lbcluster/base/time.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::config {
namespace {

namespace fs = std::filesystem;

class WatcherTest : public testing::Test {
  protected:
    void SetUp() override {
        const bool memory = ::access("/dev/shm", W_OK) == 0;
        std::string pattern = (memory ? "/dev/shm/" : testing::TempDir()) + "lbcluster-watch-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
        paths_.config_dir = root_ + "/a/etc";
        paths_.state_dir = root_ + "/state";
    }
    void TearDown() override { fs::remove_all(root_); }

    void put(const std::string& path, const std::string& text) const { std::ofstream(path) << text; }
    // True as soon as a callback came; false if none did within the time.
    bool noticed(std::chrono::milliseconds within = 5s) {
        const int before = calls_;
        io_.restart();
        const auto deadline = std::chrono::steady_clock::now() + within;
        while (calls_ == before && std::chrono::steady_clock::now() < deadline) io_.run_one_until(deadline);
        return calls_ != before;
    }
    // Lets what is on its way come in, so that the next change is counted alone.
    void drain() {
        while (noticed(50ms)) {
        }
    }

    std::string root_;
    Paths paths_;
    boost::asio::io_context io_{1};
    int calls_ = 0;
};

TEST_F(WatcherTest, RE5WhatIsPutInForceAsAWholeIsToldAtOnce) {
    fs::create_directories(paths_.config_dir);
    fs::create_directories(paths_.revisions_dir());
    put(paths_.node_file(), "node: lb1\n");
    put(paths_.cluster_file(), "{}\n");
    // By waiting for quiet it would come never.
    Watcher watcher(io_, paths_, [this] { ++calls_; }, 1h);
    ASSERT_TRUE(watcher.start());
    const std::string text = "heartbeat: {port: 6700}\n";
    ASSERT_TRUE(apply(paths_, text, "new.yaml", std::nullopt, Change{"test", "first"}));
    EXPECT_TRUE(noticed());
    drain();
    put(paths_.cluster_file(), "by hand");
    EXPECT_FALSE(noticed(100ms)) << "an edit by hand waits for quiet again";
}

TEST_F(WatcherTest, RE5NoticesEveryWayToChangeAFile) {
    fs::create_directories(paths_.config_dir);
    put(paths_.cluster_file(), "{}");
    Watcher watcher(io_, paths_, [this] { ++calls_; }, 5ms);
    ASSERT_TRUE(watcher.start());
    put(paths_.cluster_file(), "a");
    EXPECT_TRUE(noticed()) << "written in place";
    drain();
    ASSERT_TRUE(write_atomically(paths_.cluster_file(), "b", 0600));
    EXPECT_TRUE(noticed()) << "renamed over";
    drain();
    put(paths_.node_file(), "node: x");
    EXPECT_TRUE(noticed()) << "node.yaml made";
    drain();
    fs::remove(paths_.node_file());
    EXPECT_TRUE(noticed()) << "node.yaml removed";
    drain();
    fs::create_directories(paths_.files_dir() + "/certs/deep");
    EXPECT_TRUE(noticed()) << "files/ made";
    drain();
    put(paths_.files_dir() + "/certs/deep/x.pem", "x");
    EXPECT_TRUE(noticed()) << "file in a new folder";
    drain();
    put(paths_.config_dir + "/.cluster.yaml.swp", "editor");
    EXPECT_FALSE(noticed(100ms)) << "not ours";
}

TEST_F(WatcherTest, RE5NoticesAFolderThatComesLaterAndOneThatIsReplaced) {
    Watcher watcher(io_, paths_, [this] { ++calls_; }, 5ms);
    ASSERT_TRUE(watcher.start());
    fs::create_directories(paths_.config_dir);
    EXPECT_TRUE(noticed());
    drain();
    put(paths_.cluster_file(), "a");
    EXPECT_TRUE(noticed());
    drain();
    fs::rename(paths_.config_dir, root_ + "/away");
    EXPECT_TRUE(noticed());
    drain();
    fs::create_directories(paths_.config_dir);
    EXPECT_TRUE(noticed());
    drain();
    put(paths_.cluster_file(), "a");
    EXPECT_TRUE(noticed());
}

TEST_F(WatcherTest, ABurstIsOneCallback) {
    fs::create_directories(paths_.config_dir);
    Watcher watcher(io_, paths_, [this] { ++calls_; }, 100ms);
    ASSERT_TRUE(watcher.start());
    for (int i = 0; i < 100; ++i) put(paths_.cluster_file(), std::to_string(i));
    EXPECT_TRUE(noticed());
    EXPECT_FALSE(noticed(300ms));
    EXPECT_EQ(calls_, 1);
}

TEST_F(WatcherTest, AFileThatIsBeingRewrittenIsLeftUntilItIsThere) {
    fs::create_directories(paths_.config_dir);
    put(paths_.cluster_file(), "a");
    std::string seen;
    const auto look = [&] {
        ++calls_;
        std::ifstream(paths_.cluster_file()) >> seen;
    };
    Watcher watcher(io_, paths_, look, 50ms);
    ASSERT_TRUE(watcher.start());
    put(paths_.cluster_file(), "b");
    const auto begin = std::chrono::steady_clock::now();
    while (io_.poll_one() == 0) ASSERT_LT(std::chrono::steady_clock::now() - begin, 5s);
    // The quiet time passes while nobody looks, and ends with the file emptied by the next writer.
    while (std::chrono::steady_clock::now() - begin < 100ms) std::this_thread::yield();
    std::ofstream writer(paths_.cluster_file());
    io_.restart();
    io_.poll();
    EXPECT_EQ(calls_, 0) << "it read '" << seen << "'";
    writer << "c";
    writer.close();
    EXPECT_TRUE(noticed());
    EXPECT_EQ(seen, "c");
}

TEST_F(WatcherTest, NothingComesAfterClose) {
    fs::create_directories(paths_.config_dir);
    Watcher watcher(io_, paths_, [this] { ++calls_; }, 5ms);
    ASSERT_TRUE(watcher.start());
    put(paths_.cluster_file(), "a");
    watcher.close();
    EXPECT_FALSE(noticed(100ms));
}

}  // namespace
}  // namespace lbcluster::config
