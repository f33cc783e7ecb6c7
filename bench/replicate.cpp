// How fast a configuration of 50 KB that is applied on one node is in force on the other, beside scp and rsync of the
// same file between the same nodes in the same run: ./dev bench replicate. Real daemons and SSH servers in the lab's
// network. The peers copy a file and that is all; ours is checked, stored with fsync on both nodes, and in force.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bench/page.hpp"
#include "lbcluster/bus/request.hpp"
#include "tests/lab/pair.hpp"
#include "tests/lab/sshd.hpp"

namespace lbcluster {
namespace {

using namespace std::chrono_literals;
// The wall clock, as the times of files are the kernel's.
using Wall = std::chrono::system_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr const char* title = "## Replication: a change in force on the other node, beside scp and rsync";
constexpr const char* command = "./dev bench replicate";
constexpr const char* explanation = R"(
A `cluster.yaml` in which one weight changes goes from lb1 to lb2 of the lab's network; all daemons run on both nodes,
with the system's SSH servers. scp and rsync copy the same file between the same nodes, in turns with ours, each over a
connection of its own and over one that ssh keeps (ControlMaster); lbcluster keeps its own always. They copy a file,
and that is all; of ours, `config apply` has checked and stored it, the peer has checked it in full, stored it with
fsync and has it in force in heartbeatd. "New file here" is the moment when the new `cluster.yaml` has its name on lb1,
"read back" the one when lb1 knows that lb2 has it. Both nodes share this machine's processors.

Again, as root or with sudo: `./dev bench replicate`; `--bytes N`, `--rounds N`.
)";

double ms_between(Wall::time_point begin, Wall::time_point end) { return Milliseconds(end - begin).count(); }

Wall::time_point changed_at(const std::string& path) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) lab::fail_errno(path);
    return Wall::time_point(std::chrono::duration_cast<Wall::duration>(std::chrono::seconds(info.st_ctim.tv_sec) +
                                                                       std::chrono::nanoseconds(info.st_ctim.tv_nsec)));
}

// Services of ten servers each until there are so many bytes; one server's weight is what a round changes.
std::string services_yaml(std::size_t bytes_min, unsigned weight) {
    std::string text = "virtual_services:\n";
    for (unsigned s = 1; text.size() < bytes_min; ++s) {
        const std::string service = std::to_string(s);
        text += "  - label: service" + service + "\n    address: 10.77.0.200\n    ports: [" + std::to_string(1000 + s) +
                "]\n    check: {type: always_up}\n    real_servers:\n";
        for (unsigned i = 1; i <= 10; ++i) {
            text += "      - {label: server" + std::to_string(i) + ", address: 10.50." + service + "." +
                    std::to_string(i) + ", weight: " + std::to_string(s == 1 && i == 1 ? weight : 100) + "}\n";
        }
    }
    return text;
}

// Since when a daemon says which digest.
class Follower {
  public:
    using Digest = std::string (*)(const bus::Item&);

    Follower(std::string path, std::string prefix, Digest digest)
        : thread_([this, path = std::move(path), prefix = std::move(prefix), digest] {
              const auto note = [&](bool, const std::vector<bus::Item>& items) {
                  const std::lock_guard lock(mutex_);
                  for (const bus::Item& item : items) {
                      const std::string one = digest(item);
                      if (!one.empty() && one != latest_) seen_[latest_ = one] = Wall::now();
                  }
                  changed_.notify_all();
                  return !ending_;
              };
              (void)bus::follow(path, prefix, note, 10s, 100ms);
          }) {}
    ~Follower() {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
        }
        thread_.join();
    }
    Follower(const Follower&) = delete;
    Follower& operator=(const Follower&) = delete;

    [[nodiscard]] std::string latest() {
        const std::lock_guard lock(mutex_);
        return latest_;
    }
    Wall::time_point wait(const std::string& digest) {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_for(lock, 20s, [&] { return seen_.contains(digest); }))
            lab::fail("a daemon never had " + digest + " but " + latest_);
        return seen_.at(digest);
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::string, Wall::time_point> seen_;
    std::string latest_;
    bool ending_ = false;
    std::thread thread_;
};

std::string in_force(const bus::Item& item) { return item.has_config() ? item.config().digest() : ""; }
std::string of_peer(const bus::Item& item) { return item.has_replication() ? item.replication().peer_digest() : ""; }

struct Times {
    std::vector<double> ms;

    [[nodiscard]] double median() const {
        std::vector<double> sorted = ms;
        std::sort(sorted.begin(), sorted.end());
        const std::size_t half = sorted.size() / 2;
        return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    }
    [[nodiscard]] double slowest() const { return *std::max_element(ms.begin(), ms.end()); }
};

struct Ours {
    Times whole;      // config apply begins -> heartbeatd of the peer has it in force
    Times forwarder;  // the same for its forwarderd
    Times rest;       // config apply has ended -> ...; nothing if it was there by then
    Times alone;      // the new file is there on this node -> ...
    Times read_back;  // ... -> this node has heard so
};

class Bench {
  public:
    Bench() {
        std::filesystem::create_directories(folder);
        for (const std::string node : {"lb1", "lb2"}) {
            sshd_[node] = std::make_unique<lab::Sshd>(lab_.host(node), lab::sshd_spec(pair_, node, "/bin/sh"));
            sshd_[node]->start();
        }
        for (const std::string node : {"lb1", "lb2"}) lab::introduce(pair_, node, *sshd_[lab::Pair::peer_of(node)]);
        pair_.start();
        for (const char* node : {"lb1", "lb2"}) {
            pair_.replicatord(node).start();
            pair_.healthd(node).start();
            pair_.forwarderd(node).start();
        }
        if (!pair_.wait_settled("lb1")) lab::fail("the pair does not settle: " + pair_.log("lb1"));
        if (!lab::wait_until([&] { return state() == "in-sync"; }, 20s, 100ms))
            lab::fail("the pair does not replicate: " + state() + pair_.log("lb1"));
        make_copier();
    }
    void measure(unsigned rounds, std::size_t bytes_min) {
        Follower here(socket("lb1", "heartbeatd"), "config", in_force);
        Follower heard(socket("lb1", "replicatord"), "replication", of_peer);
        Follower there(socket("lb2", "heartbeatd"), "config", in_force);
        Follower forwarder(socket("lb2", "forwarderd"), "config", in_force);
        Ours ours;
        std::map<std::string, Times> fresh;
        std::map<std::string, Times> kept;
        std::size_t bytes = 0;
        // The first round is for caches and lazy starts of all. The rest in turns, so that what else the machine does
        // meets everybody.
        for (unsigned round = 0; round <= rounds; ++round) {
            const std::string text = lab::cluster_yaml(lab::PairSpec{}) + services_yaml(bytes_min, 200 + round);
            bytes = text.size();
            lab::write_file(source, text);
            Ours one;
            apply(one, here, heard, there, forwarder);
            std::map<std::string, double> times;
            for (const std::string& program : copiers_) {
                times[program] = copy(program, false, text);
                times[program + "+"] = copy(program, true, text);
            }
            if (round == 0) continue;
            for (const auto member : {&Ours::whole, &Ours::forwarder, &Ours::rest, &Ours::alone, &Ours::read_back})
                (ours.*member).ms.push_back((one.*member).ms.front());
            for (const std::string& program : copiers_) {
                fresh[program].ms.push_back(times[program]);
                kept[program].ms.push_back(times[program + "+"]);
            }
        }
        judge(bytes, ours, kept);
        const std::string text = text_of(bytes, rounds, ours, fresh, kept);
        bench::say(text + "\n");
        text_ += "\n" + text;
    }
    int report(bool write, const std::string& begin) const {
        bench::say(bench::targets_text(command, targets_));
        if (write) bench::write_section(title, begin + text_ + explanation, command, targets_);
        return 0;
    }

  private:
    static constexpr const char* folder = "/run/bench";
    const std::string source = std::string(folder) + "/new.yaml";
    const std::string target = std::string(folder) + "/incoming/new.yaml";
    const std::string key = std::string(folder) + "/key";

    [[nodiscard]] std::string socket(const std::string& node, const std::string& daemon) const {
        return pair_.run_dir(node) + "/" + daemon + ".sock";
    }
    [[nodiscard]] std::string state() const { return pair_.status("lb1")["replication"]["state"].text(); }

    // A key without any restriction for scp and rsync, and a connection to share.
    void make_copier() {
        std::filesystem::create_directories(std::string(folder) + "/incoming");
        ::chmod((std::string(folder) + "/incoming").c_str(), 0777);
        lab::must_run(nullptr, {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key});
        const std::string keys = sshd_["lb2"]->authorized_keys_path();
        lab::write_file(keys, lab::read_file(keys) + lab::read_file(key + ".pub"));
        lab::write_file(std::string(folder) + "/known_hosts", "10.77.0.12 " + sshd_["lb2"]->host_key());
        master_ = std::make_unique<lab::Daemon>(
            lab_.host("lb1"),
            std::vector<std::string>{"ssh", "-F", "/dev/null", "-i", key, "-o", "IdentitiesOnly=yes", "-o",
                                     "UserKnownHostsFile=" + known_hosts, "-M", "-N", "-S", control, whom},
            std::string(folder) + "/master.log");
        master_->start();
        const auto answers = [&] {
            return lab::run(&lab_.host("lb1"), {"ssh", "-F", "/dev/null", "-S", control, "-O", "check", whom}).ok();
        };
        if (!lab::wait_until(answers, 10s, 50ms)) lab::fail("ssh keeps no connection: " + sshd_["lb2"]->log());
    }

    void apply(Ours& out, Follower& here, Follower& heard, Follower& there, Follower& forwarder) {
        const auto begin = Wall::now();
        const lab::Outcome outcome = pair_.cli("lb1", {"config", "apply", source});
        const auto end = Wall::now();
        if (!outcome.ok()) lab::fail("config apply: " + outcome.err + outcome.out);
        // config apply has waited for the daemons of its node.
        const std::string digest = here.latest();
        const auto active = there.wait(digest);
        const auto committed = changed_at(pair_.config_dir("lb1") + "/cluster.yaml");
        out.whole.ms.push_back(ms_between(begin, active));
        out.forwarder.ms.push_back(ms_between(begin, forwarder.wait(digest)));
        out.rest.ms.push_back(std::max(0.0, ms_between(end, active)));
        out.alone.ms.push_back(ms_between(committed, active));
        out.read_back.ms.push_back(ms_between(committed, heard.wait(digest)));
        if (lab::read_file(pair_.config_dir("lb2") + "/cluster.yaml") != lab::read_file(source))
            lab::fail("the other node has something else");
    }

    double copy(const std::string& program, bool over_kept, const std::string& text) {
        std::vector<std::string> options{"-F", "/dev/null",
                                         "-i", key,
                                         "-o", "IdentitiesOnly=yes",
                                         "-o", "BatchMode=yes",
                                         "-o", "UserKnownHostsFile=" + known_hosts};
        options.insert(options.end(), {"-o", over_kept ? "ControlPath=" + control : "ControlPath=none"});
        std::vector<std::string> argv;
        if (program == "scp") {
            argv = {"scp", "-q"};
            argv.insert(argv.end(), options.begin(), options.end());
        } else {
            std::string shell = "ssh";
            for (const std::string& word : options) shell += " " + word;
            argv = {"rsync", "--ignore-times", "-e", shell};
        }
        argv.insert(argv.end(), {source, whom + ":" + target});
        const auto begin = Wall::now();
        const lab::Outcome outcome = lab::run(&lab_.host("lb1"), argv);
        const auto end = Wall::now();
        if (!outcome.ok()) lab::fail(program + ": " + outcome.err + outcome.out);
        if (lab::read_file(target) != text) lab::fail(program + " brought something else");
        // The next one finds an older file: what rsync is best at.
        std::filesystem::copy_file(previous(text), target, std::filesystem::copy_options::overwrite_existing);
        return ms_between(begin, end);
    }

    // What the peer had before, for each copy the same.
    std::string previous(const std::string& text) {
        const std::string path = std::string(folder) + "/older.yaml";
        std::string older = text;
        older.replace(older.find("weight: 2"), 9, "weight: 1");
        lab::write_file(path, older);
        return path;
    }

    static std::string text_of(std::size_t bytes, unsigned rounds, const Ours& ours,
                               const std::map<std::string, Times>& fresh, const std::map<std::string, Times>& kept) {
        using bench::format;
        const double whole = ours.whole.median();
        const double alone = ours.alone.median();
        bench::Table mine({"lbcluster, which keeps its connection", "median", "slowest"});
        const auto line = [&](const char* what, const Times& times) {
            mine.add({what, format("%.1f", times.median()), format("%.1f", times.slowest())});
        };
        line("`config apply` begins - in force on the peer", ours.whole);
        line("... - in force in the peer's forwarderd", ours.forwarder);
        line("`config apply` has ended - in force on the peer", ours.rest);
        line("new file here - in force on the peer", ours.alone);
        line("new file here - read back from the peer", ours.read_back);
        bench::Table others(
            {"copies the file, no more", "median", "slowest", "of `config apply`'s", "of new file - in force"});
        const auto peer = [&](const std::string& what, const Times& times) {
            others.add({what, format("%.1f", times.median()), format("%.1f", times.slowest()),
                        format("%.1f x", times.median() / whole), format("%.1f x", times.median() / alone)});
        };
        for (const auto& [program, times] : fresh) peer(program, times);
        for (const auto& [program, times] : kept) peer(program + ", connection kept", times);
        return format("`cluster.yaml` of %zu bytes, %u times in turns, ms:\n\n", bytes, rounds) + mine.text() + "\n" +
               others.text();
    }

    void judge(std::size_t bytes, const Ours& ours, const std::map<std::string, Times>& kept) {
        const std::string size = bench::format("%.0f KB", static_cast<double>(bytes) / 1000);
        const auto add = [&](const std::string& what, double limit_ms, const Times& times, const std::string& beside) {
            targets_.push_back({"replication of " + size + ", ms: " + what, bench::format("<= %.0f", limit_ms),
                                bench::format("%.0f (slowest %.0f)", times.median(), times.slowest()), beside,
                                times.median() <= limit_ms});
        };
        add("`config apply` begins - in force on the peer", 100, ours.whole, "");
        std::string beside;
        for (const auto& [program, times] : kept)
            beside += (beside.empty() ? "" : ", ") + program + bench::format(" %.0f", times.median());
        add("from node to node, checked, in force, read back", 20, ours.read_back, "connection kept: " + beside);
    }

    const std::string whom = std::string(lab::Sshd::account) + "@10.77.0.12";
    const std::string control = std::string(folder) + "/control";
    const std::string known_hosts = std::string(folder) + "/known_hosts";
    lab::Lab lab_;
    lab::Pair pair_{lab_, std::string(folder) + "/pair"};
    std::map<std::string, std::unique_ptr<lab::Sshd>> sshd_;
    std::unique_ptr<lab::Daemon> master_;  // the connection that scp and rsync share
    std::string text_;                     // of the section
    const std::vector<std::string> copiers_ = bench::version_line({"rsync", "--version"}).empty()
                                                  ? std::vector<std::string>{"scp"}
                                                  : std::vector<std::string>{"scp", "rsync"};
    std::vector<bench::Target> targets_;
};

}  // namespace
}  // namespace lbcluster

int main(int argc, char** argv) {
    CLI::App app{"bench_replicate - how fast a change is in force on the other node"};
    unsigned rounds = 20;
    std::vector<std::size_t> sizes;
    bool quick = false;
    bool write = false;
    app.add_option("--bytes", sizes, "of cluster.yaml, at least (default: 50000, then 1500)")
        ->delimiter(',')
        ->check(CLI::Range(1, 1'000'000));
    app.add_option("--rounds", rounds, "how often (default: 20)")->check(CLI::Range(1, 1000));
    app.add_flag("--quick", quick, "three times: does it work at all?");
    app.add_flag("--write", write, "write docs/benchmarks.md");
    if (const auto code = lbcluster::bench::bad_usage(app, argc, argv)) return *code;
    if (sizes.empty()) sizes = {50'000, 1500};
    return lbcluster::lab::run_isolated([&] {
        const std::string begin = lbcluster::bench::opening(lbcluster::title, lbcluster::command);
        lbcluster::Bench bench;
        for (const std::size_t bytes : sizes) bench.measure(quick ? 3 : rounds, bytes);
        return bench.report(write, begin);
    });
}
