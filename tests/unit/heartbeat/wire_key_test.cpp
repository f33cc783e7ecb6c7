// HA-1 (heartbeat): the key file is accepted only if it is secret, and never shows.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "lbcluster/keys/key_ring.hpp"

namespace lbcluster {
namespace {

namespace fs = std::filesystem;

const std::string good =
    "# two nodes\ncluster: 00112233445566778899aabbccddeeff\r\n\n"
    "key:  000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F  \n";
const std::string secret_part = "101112131415161718191";

class HA1KeyFile : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "lbcluster-key-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
        fs::create_directory(folder_ / "keys");
        ASSERT_EQ(::chmod((folder_ / "keys").c_str(), 0700), 0);
        path_ = heartbeat_key_path(name);
    }
    void TearDown() override { fs::remove_all(folder_); }

    void put(const std::string& text, mode_t mode = 0600) const {
        std::ofstream(path_) << text;
        ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
    }
    void expect_refused(const std::string& word, const std::string& cure = "") const {
        const auto loaded = KeyRing::load(path_);
        ASSERT_FALSE(loaded) << word;
        EXPECT_NE(loaded.error().message.find(word), std::string::npos) << loaded.error().message;
        EXPECT_NE(loaded.error().hint.find(cure), std::string::npos) << loaded.error().hint;
        EXPECT_EQ((loaded.error().message + loaded.error().hint).find(secret_part), std::string::npos);
    }

    fs::path folder_;
    std::string path_;
};

TEST_F(HA1KeyFile, Loads) {
    put(good);
    const auto ring = KeyRing::load(path_);
    ASSERT_TRUE(ring) << ring.error().message;
    EXPECT_EQ(ring->cluster_id_hex(), "00112233445566778899aabbccddeeff");
    EXPECT_EQ(ring->size(), 1U);
    EXPECT_EQ(ring->secret(0)[31], 0x1f);
}

TEST_F(HA1KeyFile, RefusesWhatOthersCouldReadOrReplace) {
    for (const mode_t mode : {0640U, 0604U, 0660U, 0644U, 0610U}) {
        put(good, mode);
        expect_refused("group or others", "chmod 600 " + path_);
    }
    put(good);
    ASSERT_EQ(::chmod((folder_ / "keys").c_str(), 0770), 0);
    expect_refused("others may write", "chmod 700");
    ASSERT_EQ(::chmod((folder_ / "keys").c_str(), 0707), 0);
    expect_refused("others may write", "chmod 700");
    ASSERT_EQ(::chmod((folder_ / "keys").c_str(), 0700), 0);
    EXPECT_TRUE(KeyRing::load(path_));
    if (::geteuid() != 0) return;
    ASSERT_EQ(::chown(path_.c_str(), 1234, 0), 0);
    expect_refused("belongs to user 1234", "chown root");
    ASSERT_EQ(::chown(path_.c_str(), 0, 0), 0);
    ASSERT_EQ(::chown((folder_ / "keys").c_str(), 1234, 0), 0);
    expect_refused("belongs to user 1234", "chown root");
}

TEST_F(HA1KeyFile, RefusesWhatIsNotAFile) {
    expect_refused("cannot open", "lbcluster key generate");
    put(good);
    fs::rename(path_, path_ + ".real");
    fs::create_symlink(path_ + ".real", path_);
    expect_refused("symbolic link");
    fs::remove(path_);
    ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
    expect_refused("not a regular file");
    fs::remove(path_);
    fs::create_directory(path_);
    expect_refused("not a regular file");
    fs::remove(path_);
    put(good + std::string(5000, '#'));
    expect_refused("larger than");
}

TEST_F(HA1KeyFile, RefusesBadText) {
    const std::string cluster = "cluster: 00112233445566778899aabbccddeeff\n";
    const std::string key = "key: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";
    const auto refused = [](const std::string& text, const std::string& word) {
        const auto ring = KeyRing::parse(text, "f");
        ASSERT_FALSE(ring) << text;
        EXPECT_NE(ring.error().message.find(word), std::string::npos) << ring.error().message;
        EXPECT_EQ(ring.error().message.find(secret_part), std::string::npos) << "a secret in a message";
    };
    refused("", "no line 'cluster");
    refused(cluster, "no line 'key");
    refused(key, "no line 'cluster");
    refused(cluster + cluster + key, "f:2: a second cluster id");
    refused("cluster: 00000000000000000000000000000000\n" + key, "f:1: a cluster id");
    refused("cluster: 001122\n" + key, "f:1: a cluster id");
    refused(cluster + "key: " + std::string(64, '0'), "f:2: this is the example key");
    refused(cluster + key + key, "f:3: the same key twice");
    refused(cluster + key.substr(0, 60), "64 hexadecimal digits");
    refused(cluster + "key: " + std::string(63, '1') + "g", "64 hexadecimal digits");
    refused(cluster + "kye" + key.substr(3), "f:2: neither");
    refused(cluster + key.substr(5), "f:2: neither");
    std::string many = cluster;
    for (const char c : {'1', '2', '3', '4'}) many += "key: " + std::string(64, c) + "\n";
    EXPECT_TRUE(KeyRing::parse(many, "f"));
    refused(many + key, "more than 4 keys");
}

TEST_F(HA1KeyFile, GeneratesWritesAndKeeps) {
    fs::remove(folder_ / "keys");
    const auto first = KeyRing::generate();
    const auto second = KeyRing::generate();
    ASSERT_TRUE(first);
    ASSERT_TRUE(second);
    EXPECT_NE(first->fingerprint(), second->fingerprint());
    ASSERT_TRUE(first->write(path_, false));
    struct stat status{};
    ASSERT_EQ(::stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0600U);
    ASSERT_EQ(::stat((folder_ / "keys").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0700U);
    EXPECT_EQ(KeyRing::load(path_)->fingerprint(), first->fingerprint());

    const auto again = second->write(path_, false);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, EEXIST);
    EXPECT_EQ(KeyRing::load(path_)->fingerprint(), first->fingerprint());
    ASSERT_TRUE(second->write(path_, true));
    EXPECT_EQ(KeyRing::load(path_)->fingerprint(), second->fingerprint());
    // Nothing half-written stays behind.
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "keys"), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace lbcluster
