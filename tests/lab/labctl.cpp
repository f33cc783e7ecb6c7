// labctl: the lab by hand, used by ./dev.
//
//   labctl --home FOLDER up DIR            leave a lab standing; nodes' folders are DIR/lb1 and DIR/lb2
//   labctl --home FOLDER exec HOST -- CMD  run CMD on a host of it; its exit code is ours
//   labctl --home FOLDER down              take it down
//   labctl demo                            a lab of its own, a minute long
//
// FOLDER/standing says which processes the standing lab consists of: outermost pid, pid of the first process
// inside, start time of the outermost (a pid alone could be somebody else's by now), DIR.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "tests/lab/backend.hpp"
#include "tests/lab/demo.hpp"
#include "tests/lab/pair.hpp"

namespace {

using namespace lbcluster::lab;
namespace fs = std::filesystem;

struct Standing {
    pid_t outer = 0;
    pid_t inner = 0;
    std::string started;
    std::string folder;
};

// Field 22 of /proc/PID/stat (proc(5)): start time in clock ticks since boot. Empty: no such process, or a zombie.
std::string start_time(pid_t pid) {
    const std::string text = read_file("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t after_name = text.rfind(')');
    if (after_name == std::string::npos) return "";
    std::istringstream fields(text.substr(after_name + 1));
    std::string field;
    for (int i = 3; i <= 22; ++i) {
        fields >> field;
        if (i == 3 && field == "Z") return "";
    }
    return field;
}

// The standing lab, if it still runs.
std::optional<Standing> find_standing(const std::string& home) {
    Standing lab;
    std::istringstream text(read_file(home + "/standing"));
    if (!(text >> lab.outer >> lab.inner >> lab.started)) return std::nullopt;
    std::getline(text >> std::ws, lab.folder);
    if (lab.started.empty() || start_time(lab.outer) != lab.started) return std::nullopt;
    return lab;
}

int standing_lab(const std::string& folder, int ready) {
    Lab lab;
    PairSpec spec;
    spec.ping_nodes = {"10.77.0.1"};
    spec.floating_ips = {"10.77.0.200", "fd77::200"};
    const Backend rs1(lab.host("rs1"), 80);
    const Backend rs2(lab.host("rs2"), 80);
    Pair pair(lab, folder, spec);
    pair.start();
    for (const char* node : {"lb1", "lb2"}) {
        pair.healthd(node).start();
        pair.forwarderd(node).start();
        pair.replicatord(node).start();
    }
    // Usable when `up` returns; with files of the user's own perhaps nobody ever serves, so not for ever.
    static_cast<void>(
        wait_until([&] { return pair.activity("lb1") == "active" || pair.activity("lb2") == "active"; }, 8s, 50ms));
    const std::string word = "ready\n";
    if (::write(ready, word.data(), word.size()) < 0) return 1;
    ::close(ready);
    while (true) ::pause();
}

int up(const std::string& home, const std::string& given) {
    if (const auto lab = find_standing(home)) {
        std::fprintf(stderr, "labctl: a lab stands already, its folders are in %s; ./dev lab down takes it down\n",
                     lab->folder.c_str());
        return 5;
    }
    fs::create_directories(home);
    const std::string folder = fs::absolute(given).lexically_normal().string();
    std::string made;
    for (const char* node : {"lb1", "lb2"})
        if (!fs::exists(folder + "/" + node)) made += std::string(node) + "\n";
    fs::create_directories(folder);
    write_file(home + "/made", made);
    int ready[2];
    if (::pipe(ready) != 0) return 1;
    const pid_t outer = ::fork();
    if (outer < 0) return 1;
    if (outer == 0) {
        ::setsid();
        ::close(ready[0]);
        ::fcntl(ready[1], F_SETFD, FD_CLOEXEC);
        const int log = ::open((folder + "/lab.log").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        ::dup2(null, 0);
        ::dup2(log, 1);
        ::dup2(log, 2);
        // Looked up before: what is isolated mounts a /proc of its own.
        const std::string began = start_time(::getpid());
        ::_exit(run_isolated([&] { return standing_lab(folder, ready[1]); },
                             [&](pid_t inner) {
                                 ::close(ready[1]);
                                 write_file(home + "/standing", std::to_string(::getpid()) + " " +
                                                                    std::to_string(inner) + " " + began + "\n" +
                                                                    folder + "\n");
                             }));
    }
    ::close(ready[1]);
    char answer[16];
    if (::read(ready[0], answer, sizeof answer) <= 0) {
        std::fprintf(stderr, "labctl: the lab did not come up: %s", read_file(folder + "/lab.log").c_str());
        return 1;
    }
    if (!wait_until([&] { return find_standing(home).has_value(); }, 5s)) {
        ::kill(outer, SIGKILL);
        std::fprintf(stderr, "labctl: the lab came up, and is not to be found\n");
        return 1;
    }
    std::printf(
        "The lab stands: lb1 lb2 client rs1 rs2 gw (and obs, relay, switch). Folders: %s/lb1 and %s/lb2\n"
        "  ./dev lab exec lb1 -- lbcluster status\n"
        "  ./dev lab exec client -- ping -c 3 10.77.0.200\n"
        "  ./dev lab exec switch -- ip link set lb1.eth0 down      (pulls a cable)\n"
        "  ./dev lab down\n",
        folder.c_str(), folder.c_str());
    return 0;
}

int usage(const std::string& what) {
    std::fprintf(stderr, "labctl: %s\nusage: ./dev lab up [DIR] | exec HOST -- CMD... | down\n", what.c_str());
    return 2;
}

void enter(const std::string& path, int kind) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail_errno(path);
    if (::setns(fd, kind) != 0) fail_errno("setns " + path);
    ::close(fd);
}

[[noreturn]] void exec_inside(const Standing& lab, const std::string& host, std::vector<char*> argv) {
    const std::string here = fs::current_path().string();
    try {
        enter("/proc/" + std::to_string(lab.inner) + "/ns/mnt", CLONE_NEWNS);
        enter("/run/netns/" + host, CLONE_NEWNET);
        // ps, pkill and their like see the processes of this host.
        if (::unshare(CLONE_NEWNS) != 0) fail_errno("unshare");
        if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, nullptr) != 0) fail_errno("mount /proc");
        if (::chdir(here.c_str()) != 0 && ::chdir("/") != 0) fail_errno("chdir /");
        const std::string path =
            fs::path(cli_path()).parent_path().string() + ":" + fs::path(heartbeatd_path()).parent_path().string() +
            ":" + fs::path(healthd_path()).parent_path().string() + ":" +
            fs::path(forwarderd_path()).parent_path().string() + ":" +
            fs::path(replicatord_path()).parent_path().string() + ":" +
            (std::getenv("PATH") != nullptr ? std::getenv("PATH") : "/usr/sbin:/usr/bin:/sbin:/bin");
        ::setenv("PATH", path.c_str(), 1);
        if (host == "lb1" || host == "lb2") {
            const std::string node = lab.folder + "/" + host;
            ::setenv("LBCLUSTER_CONFIG_DIR", node.c_str(), 1);
            ::setenv("LBCLUSTER_RUN_DIR", (node + "/run").c_str(), 1);
            ::setenv("LBCLUSTER_STATE_DIR", (node + "/state").c_str(), 1);
        }
        argv.push_back(nullptr);
        ::execvp(argv[0], argv.data());
        std::fprintf(stderr, "labctl: %s: %s\n", argv[0], std::strerror(errno));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "labctl: %s\n", error.what());
    }
    ::_exit(127);
}

int exec(const std::string& home, std::vector<char*> words) {
    if (words.size() < 2) return usage("exec needs a host and a command");
    const std::string host = words[0];
    words.erase(words.begin());
    if (std::string(words[0]) == "--") words.erase(words.begin());
    if (words.empty()) return usage("exec needs a command");
    bool known = host == "switch";
    for (const auto& name : Lab::host_names()) known = known || name == host;
    if (!known) return usage("no host " + host + " in the lab; hosts: lb1 lb2 client rs1 rs2 gw obs relay switch");
    const auto lab = find_standing(home);
    if (!lab) {
        std::fprintf(stderr, "labctl: no lab stands; ./dev lab up makes one\n");
        return 4;
    }
    enter("/proc/" + std::to_string(lab->inner) + "/root/run/netns/" + host + ".pid", CLONE_NEWPID);
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) return 1;
    if (child == 0) exec_inside(*lab, host, words);
    // ^C is for the command; we only pass on how it ended.
    std::signal(SIGINT, SIG_IGN);
    std::signal(SIGQUIT, SIG_IGN);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int down(const std::string& home) {
    const auto lab = find_standing(home);
    if (!lab) {
        std::printf("no lab stands\n");
        fs::remove(home + "/standing");
        return 0;
    }
    ::kill(lab->outer, SIGKILL);
    if (!wait_until([&] { return start_time(lab->outer) != lab->started && start_time(lab->inner).empty(); }, 10s)) {
        std::fprintf(stderr, "labctl: process %d does not end\n", static_cast<int>(lab->inner));
        return 1;
    }
    std::istringstream made(read_file(home + "/made"));
    for (std::string node; std::getline(made, node);) fs::remove_all(lab->folder + "/" + node);
    for (const char* log :
         {"/lab.log", "/lb1.log", "/lb2.log", "/lb1.healthd.log", "/lb2.healthd.log", "/lb1.forwarderd.log",
          "/lb2.forwarderd.log", "/lb1.replicatord.log", "/lb2.replicatord.log"})
        fs::remove(lab->folder + log);
    fs::remove(home + "/standing");
    fs::remove(home + "/made");
    std::printf("the lab is down\n");
    return 0;
}

int dispatch(std::string home, std::vector<char*> words) {
    if (words.size() >= 2 && std::string(words[0]) == "--home") {
        home = fs::absolute(words[1]).string();
        words.erase(words.begin(), words.begin() + 2);
    }
    if (words.empty()) return usage("what?");
    const std::string verb = words[0];
    words.erase(words.begin());
    if (verb == "demo") return run_isolated(demo);
    if (verb == "up") return up(home, words.empty() ? home : words[0]);
    if (verb == "exec") return exec(home, words);
    if (verb == "down") return down(home);
    return usage("no verb " + verb);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return dispatch(".lab", std::vector<char*>(argv + 1, argv + argc));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "labctl: %s\n", error.what());
        return 1;
    }
}
