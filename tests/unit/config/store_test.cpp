// RE-5: revisions, diff, roll back, apply, reset; a power cut anywhere leaves the old or the new configuration.
#include "lbcluster/config/store.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "lbcluster/config/applied.hpp"
#include "lib/config/file_ops.hpp"

namespace lbcluster::config {
namespace {

namespace fs = std::filesystem;

const std::string old_yaml = "heartbeat: {profile: lan}  # old\n";
// Long enough for several write calls.
const std::string new_yaml = "heartbeat: {profile: fast}\n# " + std::string(10'000, 'x') + "\n";

class Store : public testing::Test {
  protected:
    void SetUp() override {
        // In memory where there is such a place: fsync of a real disk makes these tests take minutes.
        const bool memory = ::access("/dev/shm", W_OK) == 0;
        std::string pattern = (memory ? "/dev/shm/" : testing::TempDir()) + "lbcluster-config-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
        paths_.config_dir = root_ + "/etc";
        paths_.state_dir = root_ + "/state";
        start_over();
    }
    void TearDown() override {
        file_ops::set_hook({});
        fs::remove_all(root_);
    }

    void start_over() const {
        fs::remove_all(paths_.config_dir);
        fs::remove_all(paths_.state_dir);
        fs::create_directories(paths_.files_dir() + "/certs");
        put("node.yaml", "node: lb1\n");
        put("cluster.yaml", old_yaml);
        put("files/certs/a.pem", "old certificate");
    }
    void put(const std::string& name, const std::string& text) const {
        std::ofstream(paths_.config_dir + "/" + name) << text;
    }
    [[nodiscard]] std::string get(const std::string& name) const {
        std::ifstream in(paths_.config_dir + "/" + name);
        std::stringstream text;
        text << in.rdbuf();
        return text.str();
    }
    [[nodiscard]] Result<Applied, Refusal> apply_text(const std::string& text) const {
        return apply(paths_, text, "new.yaml", std::nullopt, change_);
    }

    std::string root_;
    Paths paths_;
    Change change_{"tester", "test", std::chrono::milliseconds(100)};
};

TEST_F(Store, RE5ApplyMakesARevision) {
    const auto applied = apply_text(new_yaml);
    ASSERT_TRUE(applied) << applied.error().error.message << format(applied.error().problems);
    EXPECT_EQ(applied->revision, 2U);
    EXPECT_EQ(applied->hand_edit, 1U);  // what was there first
    EXPECT_EQ(get("cluster.yaml"), new_yaml);
    const auto loaded = load(paths_, std::nullopt);
    EXPECT_EQ(loaded.revision, 2U);
    EXPECT_EQ(loaded.digest, applied->digest);
    EXPECT_EQ(loaded.heartbeat.keepalive, 10ms);
    const auto revisions = history(paths_);
    ASSERT_EQ(revisions.size(), 2U);
    EXPECT_EQ(revisions[0].author(), "tester");
    EXPECT_EQ(revisions[0].reason(), "test");
    EXPECT_EQ(revisions[0].parent(), revisions[1].digest());
    EXPECT_EQ(revisions[1].author(), "hand edit");
    EXPECT_EQ(revisions[0].time().back(), 'Z');

    const auto again = apply_text(new_yaml);
    ASSERT_TRUE(again);
    EXPECT_FALSE(again->changed);
    EXPECT_EQ(again->revision, 2U);
    EXPECT_EQ(history(paths_).size(), 2U);
}

TEST_F(Store, WhatWasAppliedIsKnownByItsDigest) {
    ASSERT_TRUE(apply_text(new_yaml));
    const auto loaded = load(paths_, std::nullopt);
    EXPECT_FALSE(applied_cluster(paths_, loaded.digest));
    EXPECT_TRUE(keep_applied(paths_, loaded).empty());
    const auto kept = applied_cluster(paths_, loaded.digest);
    ASSERT_TRUE(kept);
    EXPECT_EQ(kept->DebugString(), loaded.effective_cluster.DebugString());
    EXPECT_EQ(load(applied_paths(paths_), std::nullopt).digest, loaded.digest);

    const auto other = load_texts(std::nullopt, old_yaml, "cluster.yaml", std::nullopt);
    EXPECT_FALSE(applied_cluster(paths_, digest_of({other.cluster_text, {}})));
    // Of another version, or a file that was cut off.
    const std::string file = paths_.state_dir + "/applied/effective";
    const std::string bytes = *read_bytes(file, 10000);
    for (const std::string& bad : {loaded.digest + " 0.0.9\n", bytes.substr(0, bytes.size() - 1), std::string()}) {
        std::ofstream(file, std::ios::trunc) << bad;
        EXPECT_FALSE(applied_cluster(paths_, loaded.digest));
    }
}

TEST_F(Store, RE5ABadFileChangesNothing) {
    const auto refused = apply_text("heartbeat: {profile: x}\n");
    ASSERT_FALSE(refused);
    EXPECT_EQ(format(refused.error().problems), "new.yaml:1:22: heartbeat.profile: 'x' is none of lan, fast, vm\n");
    EXPECT_EQ(get("cluster.yaml"), old_yaml);
    EXPECT_TRUE(history(paths_).empty());
}

TEST_F(Store, RE5RollbackBringsFilesBackToo) {
    ASSERT_TRUE(apply_text(new_yaml));
    put("files/certs/a.pem", "new certificate");
    put("files/page.html", "new");
    const auto back = rollback(paths_, 1, std::nullopt, change_);
    ASSERT_TRUE(back) << back.error().error.message;
    EXPECT_EQ(back->hand_edit, 3U);
    EXPECT_EQ(back->revision, 4U);
    EXPECT_EQ(get("cluster.yaml"), old_yaml);
    EXPECT_EQ(get("files/certs/a.pem"), "old certificate");
    EXPECT_FALSE(fs::exists(paths_.files_dir() + "/page.html"));
    EXPECT_EQ(load(paths_, std::nullopt).revision, 4U);
    const auto none = rollback(paths_, 99, std::nullopt, change_);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().error.message, "there is no revision 99");
}

TEST_F(Store, RE5ResetHelpsOutOfAnything) {
    put("cluster.yaml", "{{{{");
    ASSERT_FALSE(load(paths_, std::nullopt).ok());
    ASSERT_TRUE(reset(paths_, change_));
    EXPECT_TRUE(load(paths_, std::nullopt).ok());
    EXPECT_EQ(read_revision(paths_, 1)->cluster_yaml, "{{{{");  // nothing is lost
    fs::remove_all(paths_.config_dir + "/cluster.yaml");
    EXPECT_EQ(format(load(paths_, std::nullopt).problems),
              "cluster.yaml: cannot read " + paths_.cluster_file() +
                  ": No such file or directory; 'lbcluster config reset' writes an empty one\n");
    ASSERT_TRUE(reset(paths_, change_));
    EXPECT_TRUE(load(paths_, std::nullopt).ok());
    put("cluster.yaml", std::string(text_bytes_max + 1, '#'));
    ASSERT_TRUE(reset(paths_, change_));
    EXPECT_TRUE(load(paths_, std::nullopt).ok());
}

// What can be no revision is never destroyed: rollback refuses, reset sets it aside.
TEST_F(Store, RE5WhatCannotBeReadIsNotLost) {
    ASSERT_TRUE(settle(paths_, 100ms));
    put("cluster.yaml", new_yaml);
    put("files/certs/a.pem", "precious");
    const auto spoil = [&](int n) {
        if (n == 0) fs::create_symlink("a.pem", paths_.files_dir() + "/certs/live.pem");
        if (n == 1) fs::create_directories(paths_.files_dir() + "/1/2/3/4/5");
        if (n == 2) put("files/large", std::string(files_bytes_max + 1, 'x'));
    };
    for (int n = 0; n < 3; ++n) {
        spoil(n);
        const auto refused = rollback(paths_, 1, std::nullopt, change_);
        ASSERT_FALSE(refused) << n;
        EXPECT_NE(refused.error().error.message.find(paths_.files_dir()), std::string::npos);
        EXPECT_EQ(get("files/certs/a.pem"), "precious");
        EXPECT_EQ(get("cluster.yaml"), new_yaml);
        const auto done = reset(paths_, change_);
        ASSERT_TRUE(done) << n << done.error().error.message;
        ASSERT_TRUE(done->set_aside) << n;
        std::ifstream kept(done->set_aside->folder + "/files/certs/a.pem");
        std::string text;
        kept >> text;
        EXPECT_EQ(text, "precious") << n;
        EXPECT_TRUE(fs::exists(done->set_aside->folder + "/cluster.yaml")) << n;
        EXPECT_TRUE(load(paths_, std::nullopt).ok()) << n;
        EXPECT_FALSE(fs::exists(paths_.files_dir() + "/certs")) << n;
        put("cluster.yaml", new_yaml);
        fs::create_directories(paths_.files_dir() + "/certs");
        put("files/certs/a.pem", "precious");
    }
    // Without a cluster.yaml the files are no revision either.
    fs::remove(paths_.cluster_file());
    const auto back = rollback(paths_, 1, std::nullopt, change_);
    ASSERT_TRUE(back) << back.error().error.message;
    ASSERT_TRUE(back->set_aside);
    EXPECT_TRUE(fs::exists(back->set_aside->folder + "/files/certs/a.pem"));
    EXPECT_EQ(get("files/certs/a.pem"), "old certificate");
}

// Files that were there before the first cluster.yaml belong to the first revision.
TEST_F(Store, RE5TheFirstApplyTakesFilesAlong) {
    fs::remove(paths_.cluster_file());
    const auto applied = apply_text(new_yaml);
    ASSERT_TRUE(applied) << applied.error().error.message;
    EXPECT_EQ(applied->revision, 1U);
    EXPECT_FALSE(applied->set_aside);
    EXPECT_EQ(load(paths_, std::nullopt).revision, 1U);
    EXPECT_EQ(load(paths_, std::nullopt).digest, applied->digest);
    EXPECT_EQ(read_revision(paths_, 1)->files.at("certs/a.pem"), "old certificate");
    EXPECT_EQ(*settle(paths_, 100ms), 1U);
    fs::remove(paths_.cluster_file());
    fs::create_symlink("a.pem", paths_.files_dir() + "/certs/live.pem");
    EXPECT_FALSE(apply_text(old_yaml));
}

TEST_F(Store, RE5AnyReasonGivesARevisionThatCanBeRead) {
    const std::string escape = "\x1b";
    std::uint64_t number = 1;
    for (const std::string& odd :
         {std::string("caf\xe9"), std::string("a\rb"), escape + "[2J", std::string("\x7f"), std::string(1, '\0'),
          std::string("\xc2\x85 \xed\xa0\x80 \xf5"), std::string("\xef\xbb\xbfx")}) {
        change_.reason = odd;
        change_.author = odd;
        const auto applied = apply_text("heartbeat: {port: " + std::to_string(number) + "}\n");
        ASSERT_TRUE(applied);
        ASSERT_FALSE(history(paths_).empty());
        EXPECT_EQ(history(paths_)[0].number(), applied->revision) << "reason " << number;
        ++number;
    }
    EXPECT_EQ(history(paths_).size(), number);  // and what was there first
    EXPECT_EQ(history(paths_)[number - 2].reason(), "caf\xEF\xBF\xBD");
}

TEST_F(Store, RE5HandEditsBecomeRevisions) {
    EXPECT_EQ(*settle(paths_, 100ms), 1U);
    EXPECT_EQ(*settle(paths_, 100ms), 1U);
    put("cluster.yaml", new_yaml);
    EXPECT_EQ(load(paths_, std::nullopt).revision, 0U);
    EXPECT_EQ(*settle(paths_, 100ms), 2U);
    EXPECT_EQ(load(paths_, std::nullopt).revision, 2U);
    put("cluster.yaml", old_yaml);
    EXPECT_EQ(*settle(paths_, 100ms), 3U);
    EXPECT_EQ(history(paths_)[0].reason(), "cluster.yaml or files/ was changed by hand, back to revision 1");
    put("files/x", "y");
    EXPECT_EQ(*settle(paths_, 100ms), 4U);
}

TEST_F(Store, RE5TheNewestHundredAreKept) {
    ASSERT_TRUE(settle(paths_, 100ms));
    for (std::size_t i = 2; i <= revisions_max; ++i) {
        const std::string copy = paths_.revisions_dir() + "/" + std::to_string(i);
        fs::copy(paths_.revisions_dir() + "/1", copy, fs::copy_options::recursive);
        std::ofstream(copy + "/revision.yaml") << "{number: " << i << ", digest: " << i << "}\n";
    }
    for (std::size_t i = 0; i < 5; ++i) {
        ASSERT_TRUE(apply_text("heartbeat: {port: " + std::to_string(i + 1) + "}\n"));
    }
    const auto revisions = history(paths_);
    EXPECT_EQ(revisions.size(), revisions_max);
    EXPECT_EQ(revisions.front().number(), revisions_max + 6);
    EXPECT_EQ(revisions.back().number(), 7U);
}

TEST_F(Store, TheLockKeepsOthersOut) {
    ASSERT_TRUE(apply_text(new_yaml));
    const int other = ::open((paths_.state_dir + "/lock").c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_EQ(::flock(other, LOCK_EX), 0);
    const auto refused = apply_text(old_yaml);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().error.code, EWOULDBLOCK);
    EXPECT_EQ(get("cluster.yaml"), new_yaml);
    ::close(other);
    EXPECT_TRUE(apply_text(old_yaml));
}

TEST_F(Store, NeverWritesThroughLinks) {
    const std::string victim = root_ + "/victim";
    std::ofstream(victim) << "precious";
    fs::create_symlink(victim, paths_.config_dir + "/.cluster.yaml.new");
    ASSERT_TRUE(apply_text(new_yaml));
    EXPECT_FALSE(fs::is_symlink(paths_.cluster_file()));
    fs::remove(paths_.state_dir + "/lock");
    fs::create_symlink(victim, paths_.state_dir + "/lock");
    EXPECT_FALSE(apply_text(old_yaml));
    fs::remove(paths_.state_dir + "/lock");
    fs::create_symlink(victim, paths_.files_dir() + "/link");
    const auto refused = apply_text(old_yaml);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().error.message, paths_.files_dir() + "/link is not a regular file");
    std::ifstream in(victim);
    std::string text;
    in >> text;
    EXPECT_EQ(text, "precious");
}

TEST_F(Store, KeepsTheModeOfTheFile) {
    ::chmod(paths_.cluster_file().c_str(), 0600);
    ASSERT_TRUE(apply_text(new_yaml));
    struct stat info{};
    ASSERT_EQ(::stat(paths_.cluster_file().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0600U);
}

// What every interruption must leave: a valid configuration, the old or the new one, whose revision is right, and a
// history that reads well and goes on.
void expect_whole(const Paths& paths, const std::string& old_digest, const std::string& new_digest, int step) {
    auto loaded = load(paths, std::nullopt);
    ASSERT_TRUE(loaded.ok()) << "step " << step << "\n" << format(loaded.problems);
    const auto settled = settle(paths, std::chrono::milliseconds(100));
    ASSERT_TRUE(settled) << "step " << step << ": " << settled.error().error.message;
    loaded = load(paths, std::nullopt);
    EXPECT_TRUE(loaded.digest == old_digest || loaded.digest == new_digest) << "step " << step;
    EXPECT_EQ(loaded.revision, *settled) << "step " << step;
    std::string parent;
    const auto revisions = history(paths);
    for (auto revision = revisions.rbegin(); revision != revisions.rend(); ++revision) {
        EXPECT_EQ(revision->parent(), parent) << "step " << step;
        parent = revision->digest();
        const auto content = read_revision(paths, revision->number());
        ASSERT_TRUE(content) << "step " << step;
        EXPECT_EQ(digest_of(*content), revision->digest()) << "step " << step;
        // Nobody edited anything: only what was there first may be called that.
        EXPECT_EQ(revision->author() == hand_edit_author, revision->number() <= 2) << "step " << step;
    }
    EXPECT_EQ(parent, loaded.digest) << "step " << step;
    EXPECT_FALSE(fs::exists(paths.revisions_dir() + "/pending")) << "step " << step;
}

TEST_F(Store, RE5APowerCutAtAnySystemCallLeavesOldOrNew) {
    // Revision 1: old files, 2: old_yaml and new files in force. The change under test goes back to 1, files too.
    const auto prepare = [&] {
        start_over();
        put("cluster.yaml", new_yaml);
        ASSERT_TRUE(settle(paths_, 100ms));
        put("cluster.yaml", old_yaml);
        put("files/certs/a.pem", "new certificate");
        put("files/page.html", std::string(9000, 'p'));
        ASSERT_TRUE(settle(paths_, 100ms));
    };
    prepare();
    const std::string old_digest = load(paths_, std::nullopt).digest;
    const std::string new_digest = history(paths_)[1].digest();
    int step = 0;
    bool finished = false;
    int old_seen = 0;
    int new_seen = 0;
    for (; !finished; ++step) {
        ASSERT_LT(step, 500);
        prepare();
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            int calls = 0;
            file_ops::set_hook([&](const char*) {
                if (calls++ == step) ::_exit(42);  // the power goes here
                return 0;
            });
            const auto done = rollback(paths_, 1, std::nullopt, change_);
            ::_exit(done ? 0 : 1);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFEXITED(status));
        ASSERT_NE(WEXITSTATUS(status), 1) << "step " << step;
        finished = WEXITSTATUS(status) == 0;
        const std::string yaml = get("cluster.yaml");
        EXPECT_TRUE(yaml == old_yaml || yaml == new_yaml) << "step " << step;
        expect_whole(paths_, old_digest, new_digest, step);
        (load(paths_, std::nullopt).digest == old_digest ? old_seen : new_seen)++;
        ASSERT_TRUE(apply_text("heartbeat: {port: 1}\n")) << "step " << step;  // and it goes on
    }
    EXPECT_GT(step, 30);
    EXPECT_GT(old_seen, 10);
    EXPECT_GT(new_seen, 5);
}

// `lasts`: calls that fail; once there is room again, what was begun is taken back, files/ included.
TEST_F(Store, RE5AFullDiskAtAnySystemCallLeavesOldOrNew) {
    for (const int lasts : {1, 100'000}) {
        int files_taken_back = 0;
        for (int step = 0;; ++step) {
            ASSERT_LT(step, 500);
            start_over();
            put("cluster.yaml", new_yaml);
            ASSERT_TRUE(settle(paths_, 100ms));
            put("cluster.yaml", old_yaml);
            put("files/certs/a.pem", "new certificate");
            ASSERT_TRUE(settle(paths_, 100ms));
            int calls = 0;
            int exchanges = 0;
            file_ops::set_hook([&](const char* call) {
                const bool fails = calls >= step && calls < step + lasts;
                ++calls;
                if (!fails && std::string(call) == "exchange") ++exchanges;
                return fails ? ENOSPC : 0;
            });
            const auto done = rollback(paths_, 1, std::nullopt, change_);  // to new_yaml and the old certificate
            file_ops::set_hook({});
            const std::string now = get("cluster.yaml") + get("files/certs/a.pem");
            if (!done) {
                EXPECT_NE(done.error().error.message.find("No space left on device"), std::string::npos);
                EXPECT_NE(done.error().error.hint, "");
                if (exchanges == 2) ++files_taken_back;
            } else {
                EXPECT_EQ(now, new_yaml + "old certificate");
            }
            // A disk that stays full may stop the taking back: files/ new, cluster.yaml old. Nothing is lost then, too.
            const bool old_or_new = now == old_yaml + "new certificate" || now == new_yaml + "old certificate";
            EXPECT_TRUE(old_or_new || (lasts > 1 && now == old_yaml + "old certificate")) << step;
            EXPECT_TRUE(load(paths_, std::nullopt).ok());
            EXPECT_TRUE(settle(paths_, 100ms)) << step;
            if (calls <= step) break;
        }
        EXPECT_EQ(files_taken_back > 0, lasts == 1);
    }
}

Received received(const std::string& yaml, const std::string& page, const std::string& author) {
    Received out;
    out.content = {yaml, {{"fallback.html", page}}};
    out.revision.set_digest(digest_of(out.content));
    out.revision.set_author(author);
    out.revision.set_time("2026-11-22T04:00:00.000Z");
    out.revision.set_reason("of " + author);
    return out;
}

TEST_F(Store, RE2RevisionsOfThePeerAreTakenOverWithAuthorTimeAndReason) {
    const std::vector<Received> chain{received(old_yaml, "1", "anna"), received(new_yaml, "2", "bert")};
    const auto applied = take_over(paths_, chain, std::nullopt, change_);
    ASSERT_TRUE(applied) << applied.error().error.message << format(applied.error().problems);
    EXPECT_EQ(applied->revision, 3U);
    EXPECT_EQ(applied->hand_edit, 1U);
    EXPECT_EQ(get("cluster.yaml") + get("files/fallback.html"), new_yaml + "2");
    EXPECT_FALSE(fs::exists(paths_.files_dir() + "/certs/a.pem"));
    const auto revisions = history(paths_);
    ASSERT_EQ(revisions.size(), 3U);
    EXPECT_EQ(revisions[0].author() + " " + revisions[0].time() + " " + revisions[0].reason(),
              "bert 2026-11-22T04:00:00.000Z of bert");
    EXPECT_EQ(revisions[0].parent(), revisions[1].digest());
    EXPECT_EQ(revisions[1].author(), "anna");
    EXPECT_EQ(revisions[1].parent(), revisions[2].digest());
}

TEST_F(Store, RE2WhatIsNotValidHereOrNotExpectedIsNotTakenOver) {
    const auto bad = take_over(paths_, {received("heartbeat: {profile: x}\n", "1", "anna")}, std::nullopt, change_);
    ASSERT_FALSE(bad);
    EXPECT_FALSE(bad.error().problems.empty());
    change_.expected_digest = "another";
    const auto late = take_over(paths_, {received(new_yaml, "1", "anna")}, std::nullopt, change_);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().error.code, EAGAIN);
    EXPECT_EQ(get("cluster.yaml"), old_yaml);
    EXPECT_EQ(get("files/certs/a.pem"), "old certificate");
}

TEST_F(Store, RE2APowerCutWhileRevisionsAreTakenOverLeavesAllOfThemOrNone) {
    const std::vector<Received> chain{received(old_yaml, "1", "anna"), received(new_yaml, "2", "bert")};
    start_over();
    ASSERT_TRUE(settle(paths_, 100ms));
    const std::string old_digest = load(paths_, std::nullopt).digest;
    int old_seen = 0;
    int new_seen = 0;
    bool finished = false;
    for (int step = 0; !finished; ++step) {
        ASSERT_LT(step, 500);
        start_over();
        ASSERT_TRUE(settle(paths_, 100ms));
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            int calls = 0;
            file_ops::set_hook([&](const char*) {
                if (calls++ == step) ::_exit(42);
                return 0;
            });
            ::_exit(take_over(paths_, chain, std::nullopt, change_) ? 0 : 1);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_NE(WEXITSTATUS(status), 1) << "step " << step;
        finished = WEXITSTATUS(status) == 0;
        const auto settled = settle(paths_, 100ms);
        ASSERT_TRUE(settled) << "step " << step << ": " << settled.error().error.message;
        const auto revisions = history(paths_);
        const std::string digest = load(paths_, std::nullopt).digest;
        const bool done = digest == chain.back().revision.digest();
        EXPECT_TRUE(done || digest == old_digest) << "step " << step;
        EXPECT_EQ(revisions.size(), done ? 3U : 1U) << "step " << step;
        EXPECT_EQ(revisions.front().digest(), digest) << "step " << step;
        EXPECT_FALSE(fs::exists(paths_.revisions_dir() + "/pending")) << "step " << step;
        (done ? new_seen : old_seen)++;
    }
    EXPECT_GT(old_seen, 10);
    EXPECT_GT(new_seen, 5);
}

TEST_F(Store, RE4WhatWasInForceIsPutBackAndTheEditKept) {
    ASSERT_TRUE(settle(paths_, 100ms));
    const std::string digest = load(paths_, std::nullopt).digest;
    put("cluster.yaml", "no: [yaml");
    const auto back = put_back(paths_, digest, change_);
    ASSERT_TRUE(back) << back.error().error.message;
    EXPECT_EQ(back->hand_edit, 2U);
    EXPECT_EQ(get("cluster.yaml"), old_yaml);
    EXPECT_EQ(read_revision(paths_, 2)->cluster_yaml, "no: [yaml");
    fs::remove(paths_.cluster_file());
    ASSERT_TRUE(put_back(paths_, digest, change_));
    EXPECT_EQ(get("cluster.yaml"), old_yaml);
    EXPECT_FALSE(put_back(paths_, "nothing", change_));
}

// A rename may reach the disk before the bytes do: what must be synced, and when.
TEST_F(Store, BytesAreSyncedBeforeTheyGetTheirName) {
    std::vector<std::string> calls;
    file_ops::set_hook([&](const char* call) {
        if (std::string(call) != "write") calls.emplace_back(call);
        return 0;
    });
    ASSERT_TRUE(write_atomically(paths_.cluster_file(), new_yaml, 0640));
    EXPECT_EQ(calls, (std::vector<std::string>{"open", "fchmod", "fsync", "rename", "fsync folder"}));
}

TEST(Digest, CoversNamesAndBytes) {
    const Content a{"x", {{"f", "1"}}};
    EXPECT_EQ(digest_of(a), digest_of(Content{"x", {{"f", "1"}}}));
    EXPECT_NE(digest_of(a), digest_of(Content{"x", {{"g", "1"}}}));
    EXPECT_NE(digest_of(a), digest_of(Content{"x", {{"f", "2"}}}));
    EXPECT_NE(digest_of(a), digest_of(Content{"y", {{"f", "1"}}}));
    EXPECT_NE(digest_of(a), digest_of(Content{"x", {}}));
    EXPECT_EQ(digest_of(a).size(), 64U);
}

TEST(Diff, ShowsNoSecrets) {
    const std::string key = "-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----\n";
    const Content one{
        "virtual_services:\n"
        "  - label: a\n"
        "    check:\n"
        "      request: /a?b=1&token=SECRET,SECRET&c=2\n"
        "      password: SECRET # SECRET\n"
        "      user: u\n"
        "      secret: |\n"
        "        SECRET\n\n"
        "        SECRET\n"
        "      headers: {\"X-Api-Key\": \"SECRET\", Accept: x}\n"
        "      \"password\" : 'SECRET\n"
        "\n"
        "   SECRET'\n"
        "      fall: 1\n"
        "  - password: SECRET\n"
        "    user: v\n"
        "  - { a: [ {user: w, \"secret\":\n"
        "\"SECRET\", b: 1}]}\n"
        "  - webhook: {url: \"https://u:SECRET@host/?key=SECRET\"}\n"
        "  - check: {request: '/?d=1&token=SECRET', headers: {Authorization: 'Basic SECRET'}}\n"
        "  - webhook: {url: 'https://u:SECRET@host/', headers: {Authorization: 'Basic SECRET'}}\n"
        "  - webhook:\n"
        "      url: \"https://host/services/SECRET?sig=SECRET\\\n"
        "        SECRET\"\n"
        "      verify: true\n"
        "  - headers: {Cookie: session=SECRET}\n"
        "  - ? password\n"
        "    : SECRET\n"
        "  - ? url\n"
        "    : https://host/SECRET\n",
        {{"a.pem", key}, {"b.bin", std::string("a\0SECRET", 8)}, {"c.cfg", "password: SECRET\nx\n"}}};
    Content other{"", {{"a.pem", key + "x"}, {"b.bin", "SECRET"}, {"c.cfg", "password: SECRET2\ny\n"}}};
    const std::string shown = unified_diff(one, other, "old", "new");
    EXPECT_EQ(shown.find("SECRET"), std::string::npos) << shown;
    EXPECT_EQ(shown.find("MII"), std::string::npos) << shown;
    for (const char* there :
         {"-      request: /a?b=1&token=***&c=2\n", "-      password: ***\n-      user: u\n", "-      fall: 1\n",
          "-    user: v\n", "{url: https://***@host/***\n", "/?d=1&token=*** headers: {Authorization: ***\n",
          "      url: https://host/***\n-        ***\n-      verify: true\n",
          "--- old/files/a.pem\n+++ new/files/a.pem\nThey differ; not shown",
          "-password: ***\n-x\n+password: ***\n+y\n"}) {
        EXPECT_NE(shown.find(there), std::string::npos) << there << shown;
    }
    EXPECT_NE(unified_diff(Content{"password: |\n  ", {}}, Content{"", {}}, "x", "y"), "");
    // That a secret has changed is no secret.
    EXPECT_NE(unified_diff(Content{"password: a\n", {}}, Content{"password: b\n", {}}, "x", "y")
                  .find("-password: ***\n+password: ***\n"),
              std::string::npos);
}

TEST(Diff, ShowsNoSecretsOfHaproxyAndHeaders) {
    const std::string service =
        "virtual_services:\n"
        "  - label: a\n    address: 10.0.0.1\n    ports: [80]\n    persistence: {cookie: {name: SRV}}\n    headers:\n";
    const Content one{service, {}};
    const Content other{service +
                            "      - name: X-Api-Key\n        value: SECRET1\n"
                            "      - value: SECRET2\n        name: X-Token\n"
                            "      - {name: X-Plain, value: plain}\n",
                        {{"haproxy/additions.cfg",
                          "userlist u\n    user joe insecure-password SECRET3\n    stats auth admin:SECRET4\n"
                          "    http-request set-header X-Api-Key SECRET5\n    timeout client 5s"},
                         {"note.txt", "SECRET3 is what joe types\n"}}};
    const std::string shown = unified_diff(one, other, "old", "new");
    EXPECT_EQ(shown.find("SECRET"), std::string::npos) << shown;
    for (const char* there :
         {"+      - {name: X-Plain, value: plain}\n", "+      - name: X-Api-Key\n+        value: ***\n",
          "+    user joe insecure-password ***\n+    stats auth ***\n",
          "+    timeout client 5s\n\\ No newline at end of file\n", " persistence: {cookie: {name: SRV}}\n"}) {
        EXPECT_NE(shown.find(there), std::string::npos) << there << shown;
    }
}

TEST(Diff, IsUnified) {
    EXPECT_EQ(unified_diff("a\n", "a\n", "x", "y"), "");
    EXPECT_EQ(unified_diff("a\nb\nc\n", "a\nB\nc\n", "x", "y"), "--- x\n+++ y\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
    EXPECT_EQ(unified_diff("", "a\n", "x", "y"), "--- x\n+++ y\n@@ -0,0 +1 @@\n+a\n");
    EXPECT_EQ(unified_diff("a", "a\n", "x", "y"), "--- x\n+++ y\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
    EXPECT_EQ(
        unified_diff("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n", "1\nx\n2\n3\n4\n5\n6\n7\n8\n9\n10\n12\n", "x", "y"),
        "--- x\n+++ y\n@@ -1,4 +1,5 @@\n 1\n+x\n 2\n 3\n 4\n@@ -8,5 +9,4 @@\n 8\n 9\n 10\n-11\n 12\n");
}

}  // namespace
}  // namespace lbcluster::config
