// RE-5: a backup of a node as one file, and what becomes of it.
#include "lbcluster/config/backup.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

namespace lbcluster::config {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

class BackupTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = "/tmp/backup-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
        paths_ = paths_below(folder_ + "/one");
        put(paths_.node_file(), "node: lb1  # mine\nrole: primary\n");
        put(paths_.cluster_file(), "# by hand\nheartbeat: {port: 7000}\n");
        put(paths_.files_dir() + "/fallback.html", "<p>ours</p>");
        put(paths_.keys_dir() + "/heartbeat.key", "cluster: secret of the pair\n");
        put(paths_.peer_file(), "node: lb2\n");
        put(paths_.peer_home() + "/.ssh/authorized_keys", "restrict ssh-ed25519 x\n");
        change_.author = "anna";
        change_.reason = "test";
    }
    void TearDown() override { fs::remove_all(folder_); }

    static Paths paths_below(const std::string& folder) {
        return {folder + "/etc", folder + "/run", folder + "/state"};
    }
    static void put(const std::string& path, const std::string& text) {
        fs::create_directories(fs::path(path).parent_path());
        std::ofstream(path) << text;
    }
    static std::string get(const std::string& path) {
        std::ifstream in(path);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    Result<Backup> made(bool secrets) {
        const auto backup = make_backup(paths_, secrets, "1");
        return backup ? read_backup(backup_file(*backup)) : backup;
    }

    std::string folder_;
    Paths paths_;
    Change change_;
};

TEST_F(BackupTest, WithoutSecretsThereAreNone) {
    const auto backup = make_backup(paths_, false, "1");
    ASSERT_TRUE(backup.ok()) << backup.error().message;
    EXPECT_THAT(backup_file(*backup), Not(HasSubstr("secret of the pair")));
    EXPECT_TRUE(backup->secrets().empty());
    EXPECT_EQ(backup->node(), "lb1");
    EXPECT_THAT(backup_file(*make_backup(paths_, true, "1")), HasSubstr("secret of the pair"));
}

TEST_F(BackupTest, TheSharedPartComesBackAsARevisionAndTheNodeStays) {
    const auto backup = made(true);
    ASSERT_TRUE(backup.ok()) << backup.error().message;
    put(paths_.node_file(), "node: lb1\nrole: secondary\n");
    put(paths_.cluster_file(), "heartbeat: {port: 7001}\n");
    fs::remove_all(paths_.files_dir());
    const auto applied = restore(paths_, *backup, std::nullopt, change_);
    ASSERT_TRUE(applied.ok()) << applied.error().error.message;
    EXPECT_EQ(applied->digest, backup->digest());
    EXPECT_EQ(get(paths_.cluster_file()), "# by hand\nheartbeat: {port: 7000}\n");
    EXPECT_EQ(get(paths_.files_dir() + "/fallback.html"), "<p>ours</p>");
    EXPECT_EQ(get(paths_.node_file()), "node: lb1\nrole: secondary\n");
    EXPECT_EQ(history(paths_).front().reason(), "test");
    EXPECT_TRUE(applied->hand_edit) << "what stood there is kept";
}

TEST_F(BackupTest, AMachineSetUpAnewTakesThePlaceOfTheOldOne) {
    const auto backup = made(true);
    const Paths anew = paths_below(folder_ + "/two");
    put(anew.node_file(), "node: fresh\n");
    put(anew.cluster_file(), "{}\n");
    const auto applied = restore_node(anew, *backup, std::nullopt, change_);
    ASSERT_TRUE(applied.ok()) << applied.error().error.message;
    EXPECT_EQ(get(anew.node_file()), "node: lb1  # mine\nrole: primary\n");
    EXPECT_EQ(get(anew.keys_dir() + "/heartbeat.key"), "cluster: secret of the pair\n");
    EXPECT_EQ(get(anew.peer_file()), "node: lb2\n");
    EXPECT_EQ(get(anew.peer_home() + "/.ssh/authorized_keys"), "restrict ssh-ed25519 x\n");
    struct stat info{};
    ASSERT_EQ(::stat((anew.keys_dir() + "/heartbeat.key").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0600U);
}

TEST_F(BackupTest, WhatIsNotValidHereChangesNothing) {
    put(paths_.cluster_file(), "heartbeat: {prot: 1}\n");
    const auto backup = made(true);  // of a configuration that is not right, as it is
    ASSERT_TRUE(backup.ok()) << backup.error().message;
    const Paths anew = paths_below(folder_ + "/two");
    put(anew.node_file(), "node: fresh\n");
    put(anew.cluster_file(), "{}\n");
    for (const bool node : {false, true}) {
        const auto refused =
            node ? restore_node(anew, *backup, std::nullopt, change_) : restore(anew, *backup, std::nullopt, change_);
        ASSERT_FALSE(refused.ok());
        EXPECT_THAT(format(refused.error().problems), HasSubstr("prot"));
        EXPECT_EQ(get(anew.node_file()), "node: fresh\n");
        EXPECT_EQ(get(anew.cluster_file()), "{}\n");
        EXPECT_FALSE(fs::exists(anew.keys_dir()));
    }
}

TEST_F(BackupTest, AFileThatIsNotWholeIsRefused) {
    const std::string good = backup_file(*make_backup(paths_, true, "1"));
    for (std::size_t size = 0; size < good.size(); size += 7) {
        const auto cut = read_backup(good.substr(0, size));
        ASSERT_FALSE(cut.ok()) << size;
        EXPECT_EQ(cut.error().code, EPROTO);
    }
    std::string changed = good;
    changed[good.size() / 2] ^= 1;
    EXPECT_FALSE(read_backup(changed).ok());
    EXPECT_THAT(read_backup("lbcluster backup 2\n").error().message, HasSubstr("newer"));
    Backup strange = *make_backup(paths_, false, "1");
    (*strange.mutable_secrets())["../../etc/passwd"] = "x";
    EXPECT_THAT(read_backup(backup_file(strange)).error().message, HasSubstr("passwd"));
    EXPECT_TRUE(read_backup(good).ok());
}

}  // namespace
}  // namespace lbcluster::config
