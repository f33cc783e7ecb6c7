// Probe `external`: exit codes, what a program gets and does not get, and that nothing of it survives. HC-3. Needs
// root.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/unit/healthd/probes_rig.hpp"

namespace lbcluster::health::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class External : public Rig {
  protected:
    External() {
        std::string name = "/tmp/external_test.XXXXXX";
        folder_ = ::mkdtemp(name.data());
        ::chmod(folder_.c_str(), 0777);  // NOLINT: its programs run as nobody
    }
    ~External() override { std::filesystem::remove_all(folder_); }

    // A shell script as the program.
    ProbeSpec script(const std::string& text) {
        // A new file each time: one that is just being executed cannot be written (ETXTBSY).
        const auto path = folder_ / "check";
        const auto written = folder_ / "check.new";
        std::ofstream(written) << "#!/bin/sh\n" << text << '\n';
        ::chmod(written.c_str(), 0755);
        std::filesystem::rename(written, path);
        return program(path);
    }
    static ProbeSpec program(const std::string& path) {
        ProbeSpec spec = connect_to(8080);
        spec.virtual_address = "10.0.0.100";
        spec.virtual_port = 80;
        spec.check.set_type(config::CHECK_TYPE_EXTERNAL);
        spec.check.set_command(path);
        return spec;
    }
    [[nodiscard]] std::string file(const char* name) const {
        std::ostringstream out;
        out << std::ifstream(folder_ / name).rdbuf();
        return out.str();
    }
    // Pids that the script wrote, a line each.
    [[nodiscard]] std::vector<pid_t> pids(const char* name) const {
        std::istringstream in(file(name));
        std::vector<pid_t> out;
        for (pid_t pid = 0; in >> pid;) out.push_back(pid);
        return out;
    }
    static bool is_gone(pid_t pid) {
        // A zombie that nobody has waited for yet is gone, too.
        std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
        std::string text;
        if (!std::getline(stat, text)) return true;
        return text.compare(text.rfind(')') + 2, 1, "Z") == 0;
    }
    bool all_go(const char* name) {
        return turn_until([&] {
            const auto list = pids(name);
            return std::all_of(list.begin(), list.end(), is_gone);
        });
    }

    std::filesystem::path folder_;
};

TEST_F(External, ExitCodeIsTheVerdict) {
    EXPECT_EQ(text_of(ask(script("exit 0"))), "up: exit code 0");
    EXPECT_EQ(text_of(ask(script("echo all is well; exit 0"))), "up: exit code 0: all is well");
    EXPECT_EQ(text_of(ask(script("echo 'not \"ready\"' >&2; echo more; exit 3"))),
              "down: exit code 3: not \\\"ready\\\"");
    EXPECT_EQ(text_of(ask(script("kill -9 $$"))), "down: killed by signal 9");
}

TEST_F(External, ArgumentsSayWhoIsAsked) {
    EXPECT_EQ(text_of(ask(script("echo \"$#: $*\""))), "up: exit code 0: 4: 10.0.0.100 80 127.0.0.1 8080");
}

TEST_F(External, RunsAsItsUserInACleanPlace) {
    ::setenv("SECRET_OF_THE_DAEMON", "1", 1);
    const std::string script_text =
        "{ id -un; id -gn; id -G; pwd; umask; cat; ulimit -n; ls /proc/self/fd | tr '\\n' ' '; echo;"
        " grep -E '^(NoNewPrivs|SigBlk|SigIgn):' /proc/self/status; env | grep -v ^_= | sort; } > " +
        (folder_ / "out").string();
    ASSERT_EQ(text_of(ask(script(script_text))), "up: exit code 0");
    const std::string out = file("out");
    EXPECT_THAT(out, StartsWith("nobody\nnogroup\n65534\n/\n0022\n1024\n"));
    EXPECT_THAT(out, HasSubstr("\n0 1 2 3 \n")) << "3 is that of ls itself";
    EXPECT_THAT(out, HasSubstr("NoNewPrivs:\t1\n"));
    EXPECT_THAT(out, HasSubstr("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"));
    EXPECT_THAT(out, ::testing::EndsWith("HOME=/nonexistent\nLANG=C.UTF-8\nPATH=" + std::string(program_path) +
                                         "\nPWD=/\nUSER=nobody\n"))
        << "and PWD is the shell's own";
}

TEST_F(External, WhatCannotRunIsOurOwnFault) {
    EXPECT_EQ(text_of(ask(program("/nonexistent/check"))),
              "unusable: /nonexistent/check cannot be run: execve: no such file or directory");
    EXPECT_EQ(text_of(ask(program("/etc/passwd"))), "unusable: /etc/passwd cannot be run: execve: permission denied");
    ProbeSpec spec = script("exit 0");
    spec.check.set_run_as("no-such-user");
    const auto made = factory_.make(spec);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().message, "run_as: there is no user 'no-such-user'");
}

TEST_F(External, MuchOutputIsReadAndForgotten) {
    EXPECT_EQ(text_of(ask(script("echo first; head -c 3000000 /dev/zero; exit 1"))), "down: exit code 1: first");
    const Outcome outcome = ask(script("head -c 5000 /dev/zero | tr '\\0' x; exit 1"));
    EXPECT_THAT(text_of(outcome), StartsWith("down: exit code 1: xxx"));
    EXPECT_THAT(text_of(outcome), ::testing::EndsWith("..."));
    EXPECT_LE(outcome.reason.size(), reason_bytes_max);
}

TEST_F(External, DescriptorsAreGivenBack) {
    EXPECT_EQ(text_of(ask(script("exit 0"))), "up: exit code 0");
    const auto count = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                             std::filesystem::directory_iterator{});
    };
    const auto before = count();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(text_of(ask(script("exit 0"))), "up: exit code 0");
    EXPECT_TRUE(turn_until([&] { return count() <= before; }));
}

// Children of every kind: in the same group, in a session of their own, orphaned, and all of that.
constexpr const char* family =
    "D=$(dirname $0)\n"
    "sh -c 'echo $$ >> '$D'/pids; sleep 1000' &\n"
    "setsid sh -c 'echo $$ >> '$D'/pids; sleep 1000' &\n"
    "(setsid sh -c 'echo $$ >> '$D'/pids; (sh -c \"echo \\$\\$ >> '$D'/pids; exec sleep 1000\") & sleep 1000' &)\n"
    "trap '' TERM HUP INT\n"
    "echo $$ >> $D/pids\n"
    "while [ $(wc -l < $D/pids) -lt 5 ]; do :; done\n";

TEST_F(External, StopKillsAllOfTheFamily) {
    const auto probe = make(script(std::string(family) + "touch $D/ready; sleep 1000"));
    probe->start([](const Outcome& outcome) { ADD_FAILURE() << outcome.reason; });
    ASSERT_TRUE(turn_until([&] { return std::filesystem::exists(folder_ / "ready"); }));
    ASSERT_EQ(pids("pids").size(), 5U);
    for (const pid_t pid : pids("pids")) EXPECT_FALSE(is_gone(pid));
    EXPECT_EQ(probe->stop(), "end of " + (folder_ / "check").string());
    EXPECT_TRUE(all_go("pids"));
}

TEST_F(External, EndKillsTheRestOfTheFamily) {
    EXPECT_EQ(text_of(ask(script(std::string(family) + "exit 0"))), "up: exit code 0");
    ASSERT_EQ(pids("pids").size(), 5U);
    EXPECT_TRUE(all_go("pids"));
}

// Killed like the daemon by SIGKILL: what it started goes, too.
TEST_F(External, DaemonsDeathKillsTheFamily) {
    const ProbeSpec spec = script(std::string(family) + "touch $D/ready; sleep 1000");
    const pid_t daemon = ::fork();
    ASSERT_GE(daemon, 0);
    if (daemon == 0) {
        boost::asio::io_context io{1};
        ProbeFactory factory(io);
        auto probe = factory.make(spec);
        if (!probe) ::_exit(1);
        (*probe)->start([](const Outcome&) {}, nullptr);
        io.run_for(patience);
        ::_exit(0);
    }
    EXPECT_TRUE(turn_until([&] { return std::filesystem::exists(folder_ / "ready"); }));
    ::kill(daemon, SIGKILL);
    ::waitpid(daemon, nullptr, 0);
    EXPECT_TRUE(all_go("pids"));
}

TEST_F(External, NotTooManyAtOnce) {
    const ProbeSpec spec = script("sleep 1000");
    std::vector<std::unique_ptr<Probe>> probes;
    for (std::size_t i = 0; i < Wardens::programs_max; ++i) {
        probes.push_back(make(spec));
        probes.back()->start([](const Outcome& outcome) { ADD_FAILURE() << outcome.reason; });
    }
    EXPECT_EQ(text_of(ask(spec)), "unusable: too many external checks at once (100)");
    probes.clear();
    // Their wardens clean up in the background; then there is room again.
    std::string last;
    EXPECT_TRUE(turn_until([&] {
        last = text_of(ask(script("exit 0")));
        return last.starts_with("up: ");
    })) << last;
}

TEST_F(External, StoppedAndStartedAgainAtOnce) {
    const auto probe = make(script("[ -e $(dirname $0)/go ] || sleep 1000"));
    for (int i = 0; i < 5; ++i) {
        probe->start([](const Outcome& outcome) { ADD_FAILURE() << outcome.reason; });
        EXPECT_THAT(probe->stop(), StartsWith("end of "));
    }
    std::ofstream(folder_ / "go") << "";
    EXPECT_EQ(text_of(ask(*probe)), "up: exit code 0");
}

}  // namespace
}  // namespace lbcluster::health::test
