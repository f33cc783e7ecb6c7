// A machine in trouble: no CPU, no disk, no log, no file descriptors (HA-1, HA-2). Heartbeats go on.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "tests/lab/measure.hpp"
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Load : public PairTest {
  protected:
    static std::string folder() {
        return std::string("/run/") + ::testing::UnitTest::GetInstance()->current_test_info()->name();
    }
    void expect_no_failover() {
        EXPECT_TRUE(pair().wait_settled("lb1", 5s));
        for (const char* node : {"lb1", "lb2"}) {
            const std::string events = pair().cli(node, {"events"}).out;
            EXPECT_EQ(events.find("peer-dead"), std::string::npos) << events;
            EXPECT_EQ(pair().daemon(node).starts(), 1U) << node << " was restarted";
        }
        EXPECT_EQ(prober_->report().answered_by.count("lb2"), 0U);
        expect_never_two();
    }
    // Not a page more for the daemon: every mapping is refused, as on a full machine without overcommitment.
    void take_memory_from(const std::string& node) {
        const pid_t pid = pair().daemon(node).pid();
        const auto mapped = std::stoul(read_file("/proc/" + std::to_string(pid) + "/statm"));
        const rlimit what_it_has{mapped * static_cast<unsigned long>(::sysconf(_SC_PAGESIZE)), RLIM_INFINITY};
        ASSERT_EQ(::prlimit(pid, RLIMIT_AS, &what_it_has, nullptr), 0);
    }
    void take_over_all_the_same() {
        mark();
        pair().power_off("lb1");
        EXPECT_TRUE(prober_->wait_answers("lb2", 10s));
        expect_gap_at_most(1200ms);
    }
};

// Processes that share little memory, as a whole machine that runs out of it would; whoever takes too much is killed by
// the kernel. Not ok(): the kernel has no place for it here.
class MemoryGroup {
  public:
    explicit MemoryGroup(std::uint64_t bytes_max) {
        for (const auto& [root, limit] :
             {std::pair{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, std::pair{"/sys/fs/cgroup", "memory.max"}}) {
            root_ = root;
            // Control groups know no process namespaces: the name must be the only one on the host.
            path_ = root_ + "/lbcluster-XXXXXX";
            if (::mkdtemp(path_.data()) == nullptr) continue;
            ok_ = write(path_ + "/" + limit, std::to_string(bytes_max));
            if (ok_) return;
            ::rmdir(path_.c_str());
        }
    }
    ~MemoryGroup() {
        if (!ok_) return;
        for (const pid_t pid : members_) write(root_ + "/cgroup.procs", std::to_string(pid));
        ::rmdir(path_.c_str());
    }
    MemoryGroup(const MemoryGroup&) = delete;
    MemoryGroup& operator=(const MemoryGroup&) = delete;
    MemoryGroup(MemoryGroup&&) = delete;
    MemoryGroup& operator=(MemoryGroup&&) = delete;

    [[nodiscard]] bool ok() const { return ok_; }
    bool add(pid_t pid) {
        members_.push_back(pid);
        return write(path_ + "/cgroup.procs", std::to_string(pid));
    }
    // A process takes memory until the kernel ends it; true if that is how it ended.
    bool run_out() {
        const pid_t child = ::fork();
        if (child == 0) {
            add(::getpid());
            const std::size_t all = std::size_t{1} << 30U;
            auto* memory = static_cast<char*>(
                ::mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
            for (std::size_t i = 0; memory != MAP_FAILED && i < all; i += 4096) memory[i] = 1;
            ::_exit(0);
        }
        int status = 0;
        return ::waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    }

  private:
    static bool write(const std::string& path, const std::string& text) {
        const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
        if (fd < 0) return false;
        const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
        ::close(fd);
        return written;
    }
    std::string root_;
    std::string path_;
    std::vector<pid_t> members_;
    bool ok_ = false;
};

TEST_F(Load, EightCpuBurnersCauseNoFailover) {
    PairSpec spec;
    spec.timers = "keepalive: 10ms\ndeadtime: 50ms";
    begin(spec);
    if (HasFatalFailure()) return;
    const int windows = full_run() ? 20 : 1;
    for (int i = 0; i < windows && !HasFailure(); ++i) {
        mark();
        const Burners burners(8);
        std::this_thread::sleep_for(full_run() ? 30s : 10s);
        EXPECT_EQ(pair().activity("lb1"), "active") << "window " << i;
        EXPECT_EQ(pair().activity("lb2"), "passive") << "window " << i;
    }
    expect_no_failover();
}

// lb2's disk is full before its first term was written.
TEST_F(Load, FullDiskIsAlarmedAndStopsNeitherHeartbeatNorTakeOver) {
    const std::string state = folder() + "/lb2/state";
    const std::string filler = state + "/filler";
    std::filesystem::create_directories(state);
    ASSERT_EQ(::mount("tmpfs", state.c_str(), "tmpfs", 0, "size=64k"), 0);
    make({});
    const int fd = ::open(filler.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const std::string block(4096, 'x');
    while (::write(fd, block.data(), block.size()) > 0) {
    }
    ::close(fd);
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1"));
    watch();
    EXPECT_TRUE(wait_until([&] { return pair().has_alarm("lb2", "term-not-stored"); }, 5s));
    EXPECT_FALSE(pair().has_alarm("lb1", "term-not-stored"));
    std::this_thread::sleep_for(2s);
    expect_no_failover();
    take_over_all_the_same();
    EXPECT_TRUE(wait_until([&] { return pair().activity("lb2") == "active"; }, 5s));
    EXPECT_TRUE(pair().has_alarm("lb2", "term-not-stored"));
    EXPECT_FALSE(std::filesystem::exists(state + "/term"));
    // Room again: written without anybody's help, within the next try (10 s).
    std::filesystem::remove(filler);
    EXPECT_TRUE(wait_until([&] { return !pair().has_alarm("lb2", "term-not-stored"); }, 20s, 100ms));
    EXPECT_TRUE(std::filesystem::exists(state + "/term"));
    EXPECT_TRUE(has_event(pair(), "lb2", "alarm-end", "term-not-stored"));
}

// A log that nobody reads and that is full. A plain file again at its end, for who wants to read it.
class BlockedLogFile {
  public:
    explicit BlockedLogFile(std::string path) : path_(std::move(path)) {
        if (::mkfifo(path_.c_str(), 0600) != 0) fail_errno(path_);
        fd_ = ::open(path_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd_ < 0) fail_errno(path_);
        const std::string block(4096, 'x');
        while (::write(fd_, block.data(), block.size()) > 0) {
        }
    }
    ~BlockedLogFile() {
        ::close(fd_);
        std::filesystem::remove(path_);
        write_file(path_, "");
    }
    BlockedLogFile(const BlockedLogFile&) = delete;
    BlockedLogFile& operator=(const BlockedLogFile&) = delete;

    [[nodiscard]] bool full() const { return ::write(fd_, "x", 1) < 0; }
    // What waits there is read.
    [[nodiscard]] std::string read() const {
        std::string text;
        std::array<char, 4096> part{};
        while (true) {
            const ssize_t bytes = ::read(fd_, part.data(), part.size());
            if (bytes <= 0) return text;
            text.append(part.data(), static_cast<std::size_t>(bytes));
        }
    }

  private:
    const std::string path_;
    int fd_ = -1;
};

TEST_F(Load, BlockedLogStopsNothing) {
    make({});
    const BlockedLogFile log(folder() + "/lb2.log");
    pair().start();
    ASSERT_TRUE(pair().wait_settled("lb1"));
    watch();
    for (int i = 0; i < 6; ++i) {
        const std::string target = i % 2 == 0 ? "lb2" : "lb1";
        EXPECT_EQ(pair().cli(target, {"activate"}).exit_code, 0);
        ASSERT_TRUE(pair().wait_settled(target));
    }
    expect_nobody_noticed();
    take_over_all_the_same();
    EXPECT_TRUE(log.full()) << "somebody read the log: it was not blocked";
    EXPECT_GT(counter_of(pair(), "lb2", "log_lines_dropped"), 0U);
    // Read again, it goes on.
    EXPECT_EQ(log.read().find("event="), std::string::npos);
    pair().power_on("lb1");
    std::string seen;
    EXPECT_TRUE(wait_until([&] { return (seen += log.read()).find("event=") != std::string::npos; }, 10s));
}

TEST_F(Load, NoFileDescriptorsLeftStopsNeitherHeartbeatNorTakeOver) {
    begin({});
    if (HasFatalFailure()) return;
    rlimit enough{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &enough), 0);
    for (const char* node : {"lb1", "lb2"}) {
        const rlimit none{8, enough.rlim_max};  // fewer than are open: every new one is refused
        ASSERT_EQ(::prlimit(pair().daemon(node).pid(), RLIMIT_NOFILE, &none, nullptr), 0);
    }
    EXPECT_NE(pair().cli("lb1", {"status"}, 2s).exit_code, 0) << "a connection was accepted: there was one left";
    std::this_thread::sleep_for(4s);
    EXPECT_TRUE(lab_.holds("lb1", vip));
    EXPECT_FALSE(lab_.holds("lb2", vip));
    expect_nobody_noticed();
    expect_never_two();
    for (const char* node : {"lb1", "lb2"}) EXPECT_EQ(pair().daemon(node).starts(), 1U) << node << " was restarted";
    take_over_all_the_same();
    // There are some again: whoever asks is answered.
    ASSERT_EQ(::prlimit(pair().daemon("lb2").pid(), RLIMIT_NOFILE, &enough, nullptr), 0);
    EXPECT_TRUE(wait_until([&] { return pair().activity("lb2") == "active"; }, 5s));
    EXPECT_EQ(pair().daemon("lb2").starts(), 1U);
}

TEST_F(Load, NoMemoryLeftStopsNeitherHeartbeatNorTakeOver) {
    PairSpec spec;
    spec.timers = "keepalive: 10ms\ndeadtime: 50ms";
    begin(spec);
    if (HasFatalFailure()) return;
    for (const char* node : {"lb1", "lb2"}) take_memory_from(node);
    const TimePoint end = Clock::now() + 5s;
    while (Clock::now() < end) {
        for (const char* node : {"lb1", "lb2"}) static_cast<void>(pair().cli(node, {"events"}));
    }
    expect_no_failover();
    expect_nobody_noticed();
    mark();
    pair().power_off("lb1");
    EXPECT_TRUE(prober_->wait_answers("lb2", 10s));
    expect_gap_at_most(70ms);
    EXPECT_EQ(pair().daemon("lb2").starts(), 1U);
}

// Reading a configuration takes memory. A daemon that dies of it is restarted and adopts.
TEST_F(Load, AReloadWithoutMemoryIsNotNoticed) {
    begin({});
    if (HasFatalFailure()) return;
    take_memory_from("lb1");
    pair().daemon("lb1").signal(SIGHUP);
    static_cast<void>(wait_until([&] { return pair().daemon("lb1").starts() > 1; }, 2s));
    EXPECT_TRUE(pair().wait_settled("lb1"));
    EXPECT_EQ(pair().status("lb1")["config"]["error"].text(), "");
    std::this_thread::sleep_for(4s);  // longer than a lease
    expect_nobody_noticed();
    expect_never_two();
}

// A process takes memory and touches it again and again: a quarter of what is free, at most 1 GiB. Locked memory is
// not taken from the daemon.
TEST_F(Load, MemoryTakenByOthersCausesNoFailover) {
    PairSpec spec;
    spec.timers = "keepalive: 10ms\ndeadtime: 50ms";
    begin(spec);
    if (HasFatalFailure()) return;
    const long pages = ::sysconf(_SC_AVPHYS_PAGES) / 4;
    const auto bytes = std::min<std::uint64_t>(static_cast<std::uint64_t>(pages) * 4096, 1024UL * 1024 * 1024);
    const TimePoint end = Clock::now() + 8s;
    while (Clock::now() < end) {
        std::vector<char> hog(bytes);
        for (std::size_t i = 0; i < hog.size() && Clock::now() < end; i += 4096) hog[i] = 1;
    }
    expect_no_failover();
}

// The kernel runs out of memory again and again and kills for it, with both heartbeatds among the candidates.
TEST_F(Load, AMemoryShortageThatKillsLeavesTheHeartbeatAlone) {
    PairSpec spec;
    spec.timers = "keepalive: 10ms\ndeadtime: 50ms";
    begin(spec);
    if (HasFatalFailure()) return;
    MemoryGroup group(std::uint64_t{128} << 20U);
    if (!group.ok()) GTEST_SKIP() << "no memory control group can be made here";
    for (const char* node : {"lb1", "lb2"}) ASSERT_TRUE(group.add(pair().daemon(node).pid()));
    const TimePoint end = Clock::now() + 8s;
    int killed = 0;
    while (Clock::now() < end) {
        ASSERT_TRUE(group.run_out());
        ++killed;
    }
    EXPECT_GT(killed, 3);
    expect_no_failover();
    expect_nobody_noticed();
}

}  // namespace
}  // namespace lbcluster::lab
