// Reloads of HAProxy under load: by forwarderd, which hands the sockets over, beside HAProxy reloaded by hand in the
// three ways there are. Lost requests, the time until the new one serves, and what a change without a reload costs.
//
//   bench_reload [--reloads N] [--quick] [--write]
//
// Needs root; everything happens in namespaces of its own and ends with them. `./dev bench reload` installs, builds and
// runs it. Exit codes: 0 measured, 1 failed, 2 usage.
#include <sys/stat.h>
#include <sys/wait.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <optional>
#include <sstream>
#include <thread>

#include "bench/page.hpp"
#include "bench/usage.hpp"
#include "lbcluster/bus/request.hpp"
#include "tests/lab/backend.hpp"
#include "tests/lab/pair.hpp"
#include "tests/lab/requests.hpp"

namespace lbcluster::bench {
namespace {

using namespace std::chrono_literals;
using lab::Clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr const char* title = "## Reloads of HAProxy";
constexpr const char* command = "./dev bench reload";
constexpr const char* folder = "/run/bench/reload";
constexpr const char* web_address = "10.77.0.210";
constexpr unsigned clients = 16;
constexpr unsigned servers_each = 200;

double ms_since(lab::TimePoint begin) { return Milliseconds(Clock::now() - begin).count(); }

// "web" is asked; `more` servers of other services only make the configuration large.
std::string services_yaml(unsigned more) {
    std::string text =
        "virtual_services:\n  - label: web\n    address: 10.77.0.210\n    ports: [80]\n    method: proxy\n"
        "    mode: http\n    check: {interval: 200ms, timeout: 150ms, fall: 1, rise: 1}\n"
        "    real_servers: [{label: rs1, address: 10.77.0.21}, {label: rs2, address: 10.77.0.22}]\n";
    for (unsigned i = 0; i < more; ++i) {
        if (i % servers_each == 0) {
            const std::string number = std::to_string(i / servers_each);
            text += "  - label: more" + number + "\n    address: 10.77.0.210\n    ports: [" +
                    std::to_string(1000 + i / servers_each) +
                    "]\n    method: proxy\n    mode: http\n    check: {type: always_up}\n    real_servers:\n";
        }
        text += "      - {label: r" + std::to_string(i) + ", address: 10.50." + std::to_string(i / 250) + "." +
                std::to_string(1 + i % 250) + "}\n";
    }
    return text;
}

enum class Way { fork, fork_with_sockets, master };

std::string haproxy_cfg(unsigned more, Way way, unsigned round) {
    std::string text = "global\n    maxconn 4000\n    stats socket " + std::string(folder) +
                       "/haproxy.sock level admin" + (way == Way::fork_with_sockets ? " expose-fd listeners" : "") +
                       "\ndefaults\n    mode http\n    timeout connect 4s\n    timeout server 45s\n    retries 3\n    "
                       "option redispatch 1\n"
                       "frontend web\n    bind 10.77.0.210:80\n    timeout client " +
                       std::to_string(100 + round) +
                       "s\n    default_backend web\nbackend web\n    server rs1 10.77.0.21:80\n    server rs2 "
                       "10.77.0.22:80\n";
    for (unsigned i = 0; i < more; ++i) {
        if (i % servers_each == 0) {
            const std::string number = std::to_string(i / servers_each);
            text += "frontend more" + number + "\n    bind 10.77.0.210:" + std::to_string(1000 + i / servers_each) +
                    "\n    timeout client 43s\n    default_backend more" + number + "\nbackend more" + number + "\n";
        }
        text += "    server r" + std::to_string(i) + " 10.50." + std::to_string(i / 250) + "." +
                std::to_string(1 + i % 250) + ":80\n";
    }
    return text;
}

// Of the process that answers at the runtime socket; empty: nobody does.
std::string pid_of(const std::string& socket) {
    const std::string text = lab::ask_unix(socket, "show info");
    const std::size_t at = text.find("\nPid: ");
    return at == std::string::npos ? "" : text.substr(at + 6, text.find('\n', at + 6) - at - 6);
}

struct Row {
    std::string name;
    unsigned servers = 0;
    unsigned reloads = 0;
    std::uint64_t asked = 0;
    std::uint64_t lost = 0;
    double longest_ms = 0;
    std::vector<double> ready_ms;  // from the signal or the new file to the first answer of the new process
    std::vector<double> whole_ms;  // ours: from the command's begin
    std::vector<std::string> failures;
};

// What a change without a reload costs.
struct Change {
    unsigned servers = 0;
    std::vector<double> verdict_ms;  // healthd says it -> HAProxy has it
    double forwarderd_cpu_ms = 0;    // of each change
    std::vector<double> command_us;  // HAProxy's own, over a new connection
};

void note(Row& row, const lab::Requests& requests) {
    const lab::RequestReport report = requests.report();
    row.asked = report.asked;
    row.lost = report.failed;
    row.longest_ms = Milliseconds(report.longest).count();
    row.failures = report.failures;
}

void must(bool done, const std::string& what) {
    if (!done) lab::fail(what);
}

// ---- ours ----

class Ours {
  public:
    Ours(lab::Lab& lab, unsigned more) : lab_(lab), more_(more), pair_(lab, folder + std::string("/ours"), spec(more)) {
        pair_.start("lb1");
        pair_.healthd("lb1").start();
        pair_.forwarderd("lb1").start();
        must(lab::wait_until([&] { return serves("rs1") && serves("rs2"); }, 30s, 20ms),
             "HAProxy under forwarderd does not serve:\n" + pair_.log("lb1"));
    }
    ~Ours() { lab_.kill_processes("lb1"); }  // HAProxy, too, which outlives forwarderd
    Ours(const Ours&) = delete;
    Ours& operator=(const Ours&) = delete;

    Row reload(unsigned reloads) {
        Row row{"forwarderd", more_ + 2, reloads};
        lab::Requests requests(lab_.host("client"), web_address, 80, clients);
        must(requests.wait_asked(200), "no requests");
        requests.mark();
        for (unsigned i = 0; i < reloads; ++i) {
            const std::string before = pid_of(socket());
            const auto begin = Clock::now();
            const lab::Outcome done =
                pair_.cli("lb1", {"service", "set", "web", "timeouts.client=" + std::to_string(100 + i) + "s"});
            must(done.ok(), "service set: " + done.err);
            must(lab::wait_until(
                     [&] {
                         const auto now = pid_of(socket());
                         return !now.empty() && now != before;
                     },
                     20s, 1ms),
                 "no reload: " + pair_.log("lb1"));
            row.whole_ms.push_back(ms_since(begin));
            row.ready_ms.push_back(since_written());
        }
        must(requests.wait_asked(200), "no requests");
        note(row, requests);
        return row;
    }

    // A server refuses connections and takes them again: healthd says so, forwarderd tells HAProxy.
    Change change(unsigned times, std::chrono::seconds quiet, lab::Backend& backend) {
        Change out{more_ + 2, {}, 0, {}};
        std::atomic<std::int64_t> heard_ns{0};
        std::jthread listener([&](const std::stop_token& end) {
            const auto on_items = [&](bool first, const std::vector<bus::Item>& items) {
                if (!first && !items.empty()) heard_ns = Clock::now().time_since_epoch().count();
                return !end.stop_requested();
            };
            (void)bus::follow(pair_.run_dir("lb1") + "/healthd.sock", "server/web/", on_items, 5s, 100ms);
        });
        std::this_thread::sleep_for(500ms);
        const pid_t forwarderd = pair_.forwarderd("lb1").pid();
        const auto idle_begin = usage_of_one(forwarderd).cpu;
        std::this_thread::sleep_for(quiet);
        const auto idle = usage_of_one(forwarderd).cpu - idle_begin;
        const auto begin = Clock::now();
        const auto cpu = usage_of_one(forwarderd).cpu;
        for (unsigned i = 0; i < times; ++i) {
            const std::string before = state();
            heard_ns = 0;
            backend.behave(i % 2 == 0 ? lab::Conduct::refuse : lab::Conduct::answer);
            lab::TimePoint changed{};
            must(lab::wait_until(
                     [&] {
                         changed = Clock::now();
                         return state() != before;
                     },
                     10s, 100us),
                 "HAProxy was not told");
            must(lab::wait_until([&] { return heard_ns != 0; }, 5s, 1ms), "healthd said nothing");
            out.verdict_ms.push_back(
                std::max(0.0, Milliseconds(changed.time_since_epoch() - lab::Nanoseconds(heard_ns)).count()));
            std::this_thread::sleep_for(300ms);
        }
        const auto used = usage_of_one(forwarderd).cpu - cpu;
        const double share = (Clock::now() - begin) / std::chrono::duration<double>(quiet);
        out.forwarderd_cpu_ms =
            std::max(0.0, (Milliseconds(used).count() - share * Milliseconds(idle).count()) / times);
        for (unsigned i = 0; i < 500; ++i) {
            const auto sent = Clock::now();
            (void)lab::ask_unix(socket(), "set server web/rs2 weight " + std::to_string(100 - i % 2));
            out.command_us.push_back(ms_since(sent) * 1000);
        }
        return out;
    }

  private:
    static lab::PairSpec spec(unsigned more) {
        lab::PairSpec out;
        out.single = true;
        out.more = services_yaml(more);
        return out;
    }
    [[nodiscard]] std::string socket() const { return pair_.run_dir("lb1") + "/haproxy.sock"; }
    // Of rs1: what follows its address in "show servers state".
    [[nodiscard]] std::string state() const {
        std::istringstream lines(lab::ask_unix(socket(), "show servers state web"));
        for (std::string line; std::getline(lines, line);) {
            const std::size_t at = line.find(" rs1 10.77.0.21 ");
            if (at != std::string::npos) return line.substr(at + 16, 3);
        }
        return "";
    }
    bool serves(const std::string& who) {
        const lab::Answer answer = lab::ask_http(lab_.host("client"), web_address, 80, "", 1s);
        return answer.status == 200 && answer.body == who;
    }
    double since_written() const {
        struct stat info{};
        must(::stat((pair_.run_dir("lb1") + "/haproxy.cfg").c_str(), &info) == 0, "no haproxy.cfg");
        timespec now{};
        ::clock_gettime(CLOCK_REALTIME, &now);
        return static_cast<double>(now.tv_sec - info.st_ctim.tv_sec) * 1e3 +
               static_cast<double>(now.tv_nsec - info.st_ctim.tv_nsec) / 1e6;
    }

    lab::Lab& lab_;
    const unsigned more_;
    lab::Pair pair_;
};

// ---- by hand ----

const std::vector<std::pair<Way, std::string>> ways{
    {Way::fork, "haproxy -D -f CFG -sf OLDPID"},
    {Way::fork_with_sockets, "haproxy -D -f CFG -sf OLDPID -x SOCKET"},
    {Way::master, "haproxy -W -f CFG, SIGUSR2"},
};

class ByHand {
  public:
    ByHand(lab::Lab& lab, unsigned more, Way way) : lab_(lab), more_(more), way_(way) {
        lab_.ip("lb1", "addr add 10.77.0.210/24 dev eth0\n");
        write(0);
        if (way == Way::master) {
            master_ = lab::spawn(&lab_.host("lb1"), {.argv = {"haproxy", "-W", "-q", "-f", config()}});
        } else {
            lab::must_run(&lab_.host("lb1"), {"haproxy", "-D", "-q", "-f", config()});
        }
        must(lab::wait_until([&] { return !pid_of(socket()).empty(); }, 10s, 5ms), "haproxy does not start");
    }
    ~ByHand() {
        if (master_ > 0) {
            ::kill(master_, SIGKILL);
            ::waitpid(master_, nullptr, 0);
        }
        lab_.kill_processes("lb1");
        lab_.reset_addresses("lb1");
    }
    ByHand(const ByHand&) = delete;
    ByHand& operator=(const ByHand&) = delete;

    Row reload(const std::string& name, unsigned reloads) {
        Row row{name, more_ + 2, reloads};
        lab::Requests requests(lab_.host("client"), web_address, 80, clients);
        must(requests.wait_asked(200), "no requests");
        requests.mark();
        for (unsigned i = 1; i <= reloads; ++i) {
            write(i);
            const std::string before = pid_of(socket());
            const auto begin = Clock::now();
            again(before);
            must(lab::wait_until(
                     [&] {
                         const auto now = pid_of(socket());
                         return !now.empty() && now != before;
                     },
                     20s, 1ms),
                 name + ": no reload");
            row.ready_ms.push_back(ms_since(begin));
            // As often as ours, which a command and a file's change precede.
            std::this_thread::sleep_for(200ms);
        }
        must(requests.wait_asked(200), "no requests");
        note(row, requests);
        return row;
    }

  private:
    static std::string config() { return std::string(folder) + "/plain.cfg"; }
    static std::string socket() { return std::string(folder) + "/haproxy.sock"; }
    void write(unsigned round) const { lab::write_file(config(), haproxy_cfg(more_, way_, round)); }
    void again(const std::string& pid) const {
        if (way_ == Way::master) {
            ::kill(master_, SIGUSR2);
            return;
        }
        std::vector<std::string> argv{"haproxy", "-D", "-q", "-f", config(), "-sf", pid};
        if (way_ == Way::fork_with_sockets) argv.insert(argv.end(), {"-x", socket()});
        lab::must_run(&lab_.host("lb1"), argv);
    }

    lab::Lab& lab_;
    const unsigned more_;
    const Way way_;
    pid_t master_ = -1;
};

// ---- what came out ----

std::string range(const std::vector<double>& values, const char* pattern = "%.0f") {
    if (values.empty()) return "";
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    return format(pattern, median(values)) + " (" + format(pattern, *least) + " to " + format(pattern, *most) + ")";
}

std::string reload_table(const std::vector<Row>& rows) {
    Table table({"reloaded by", "servers", "reloads", "requests", "lost", "longest request, ms",
                 "new process answers, ms", "of all, from the command on, ms"});
    for (const Row& row : rows)
        table.add({row.name, std::to_string(row.servers), std::to_string(row.reloads), std::to_string(row.asked),
                   std::to_string(row.lost), format("%.0f", row.longest_ms), range(row.ready_ms), range(row.whole_ms)});
    return table.text();
}

std::string change_table(const std::vector<Change>& changes) {
    Table table({"servers", "healthd says it - HAProxy has it, ms", "forwarderd's CPU a change, ms",
                 "HAProxy's command, new connection, µs"});
    for (const Change& one : changes)
        table.add({std::to_string(one.servers), range(one.verdict_ms, "%.1f"), format("%.2f", one.forwarderd_cpu_ms),
                   range(one.command_us)});
    return table.text();
}

std::vector<Target> judge(const std::vector<Row>& rows, const std::vector<Change>& changes) {
    std::vector<Target> out;
    std::uint64_t lost = 0;
    unsigned reloads = 0;
    std::string beside;
    for (const Row& row : rows) {
        if (row.name == "forwarderd") {
            lost += row.lost;
            reloads += row.reloads;
        } else if (row.name == ways.front().second) {
            beside += (beside.empty() ? "HAProxy without hand-over of sockets: " : ", ") +
                      format("%llu in %u reloads with %u servers", static_cast<unsigned long long>(row.lost),
                             row.reloads, row.servers);
        }
    }
    out.push_back({format("requests lost in %u reloads of HAProxy under load", reloads), "0", std::to_string(lost),
                   beside, lost == 0});
    for (const Change& one : changes) {
        const std::string with = format(" with %u servers", one.servers);
        out.push_back({"a verdict is in HAProxy, ms," + with, "<= 2", range(one.verdict_ms, "%.1f"),
                       format("its own command: %.2f", median(one.command_us) / 1000), median(one.verdict_ms) <= 2});
        out.push_back({"a change of state in HAProxy, forwarderd's CPU, ms," + with, "<= 1",
                       format("%.2f", one.forwarderd_cpu_ms), "", one.forwarderd_cpu_ms <= 1});
    }
    return out;
}

std::string section(const std::vector<Row>& rows, const std::vector<Change>& changes, const std::string& begin,
                    const std::vector<std::string>& notes) {
    std::string text = begin;
    for (const std::string& line : notes) text += "- " + line + "\n";
    text +=
        "\n" + reload_table(rows) +
        format(
            "\n%u clients ask without a pause over a connection for each request. *New process answers*: from the "
            "signal or command,\nof forwarderd from the new `haproxy.cfg` on, to the first answer of the new process "
            "at "
            "the runtime socket. *From the command on*:\n`lbcluster service set web timeouts.client=...` with its "
            "checks, the daemons that read the files, `haproxy -c`, and the reload.\n",
            clients) +
        "\n### A change without a reload\n\n" + change_table(changes) +
        "\nA server begins to refuse connections or to take them again. From the moment when healthd says so on its "
        "bus to "
        "the one when\nHAProxy's `show servers state` shows it (asked all the time, which costs the same processor).\n"
        "\nAgain, as root or with sudo: `" +
        command + "`; fewer: `" + command + " --reloads 10`.\n" +
        "\n### Configurations of reloads\n\nWith two servers. What forwarderd gets, and the file of who reloads by "
        "hand "
        "(`expose-fd listeners` only with `-x`):\n\n```\n" +
        services_yaml(0) + "```\n\n```\n" + haproxy_cfg(0, Way::fork_with_sockets, 0) + "```\n";
    for (const Row& row : rows)
        if (!row.failures.empty() && row.servers == 2)
            text += "\nOf the failures of `" + row.name + "`: " + row.failures.front() + ".\n";
    return text;
}

int measure(unsigned reloads, unsigned many, bool quick, bool write) {
    const std::string begin = opening(title, command);
    say(begin.substr(begin.find("- ")));
    const std::vector<std::string> notes{version_line({"haproxy", "-v"})};
    std::filesystem::create_directories(folder);
    lab::Lab lab;
    lab::Backend rs1(lab.host("rs1"), 80);
    lab::Backend rs2(lab.host("rs2"), 80);
    rs1.answer(200, "rs1");
    rs2.answer(200, "rs2");
    std::vector<Row> rows;
    std::vector<Change> changes;
    const auto add = [&](Row row) {
        rows.push_back(std::move(row));
        const Row& last = rows.back();
        say("  " + last.name +
            format(", %u servers: %llu of %llu lost, ready after ", last.servers,
                   static_cast<unsigned long long>(last.lost), static_cast<unsigned long long>(last.asked)) +
            range(last.ready_ms) + " ms\n");
    };
    for (const unsigned more : {0U, many}) {
        const unsigned count = more == 0 ? reloads : std::max(1U, reloads / 5);
        {
            Ours ours(lab, more);
            add(ours.reload(count));
            changes.push_back(ours.change(quick ? 6 : 40, quick ? 1s : 5s, rs1));
            rs1.answer(200, "rs1");
        }
        lab.reset_addresses("lb1");
        for (const auto& [way, name] : ways) add(ByHand(lab, more, way).reload(name, count));
    }
    say("\n" + reload_table(rows) + "\n" + change_table(changes));
    const std::vector<Target> targets = judge(rows, changes);
    say(targets_text(command, targets));
    if (write) write_section(title, section(rows, changes, begin, notes), command, targets);
    return 0;
}

}  // namespace
}  // namespace lbcluster::bench

int main(int argc, char** argv) {
    CLI::App app{"bench_reload - reloads of HAProxy under load"};
    unsigned reloads = 0;
    unsigned servers = 2000;
    bool quick = false;
    bool write = false;
    app.add_option("--reloads", reloads, "with two servers; a fifth as many with more (default: 100)")
        ->check(CLI::Range(1, 10000));
    app.add_option("--servers", servers, "of the large configuration (default: 2000)")->check(CLI::Range(1, 10000));
    app.add_flag("--quick", quick, "ten reloads");
    app.add_flag("--write", write, "write docs/benchmarks.md");
    if (const auto code = lbcluster::bench::bad_usage(app, argc, argv)) return *code;
    if (reloads == 0) reloads = quick ? 10 : 100;
    return lbcluster::lab::run_isolated([&] { return lbcluster::bench::measure(reloads, servers, quick, write); });
}
