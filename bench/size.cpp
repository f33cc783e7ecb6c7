// What the daemons take from an idle node: processor and memory of each, with nothing to do and with services, beside
// keepalived and Linux-HA heartbeat. And how long `lbcluster status` takes.
//
//   bench_size [--seconds S] [--services N] [--quick] [--write]
//
// Needs root; everything happens in namespaces of its own and ends with them. `./dev bench size` installs, builds and
// runs it. Exit codes: 0 measured, 1 failed, 2 usage.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <thread>

#include "bench/page.hpp"
#include "bench/trial.hpp"
#include "bench/usage.hpp"
#include "tests/lab/backend.hpp"
#include "tests/lab/pair.hpp"

namespace lbcluster::bench {
namespace {

using namespace std::chrono_literals;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr const char* title = "## Size: an idle node";
constexpr const char* command = "./dev bench size";
constexpr const char* folder = "/run/bench/size";
constexpr std::uint16_t server_port = 20000;

struct Idle {
    std::string who;
    std::string with;
    std::string node;
    double percent = 0;  // of a core
    double memory_mb = 0;
    double own_mb = 0;
    std::size_t processes = 1;
};

struct Status {
    unsigned services = 0;
    std::vector<double> ms;
    std::vector<double> start_ms;  // of a program of that size that has nothing to do: `lbcluster --version`
};

struct Results {
    std::vector<Idle> idle;
    std::vector<Status> status;
    std::vector<std::string> failed;
};

// Layer 7, ten servers each, checked as the defaults are.
std::string services_yaml(unsigned count) {
    std::string text = count == 0 ? "" : "virtual_services:\n";
    for (unsigned s = 0; s < count; ++s) {
        text += "  - label: s" + std::to_string(s) + "\n    address: 10.77.0.200\n    ports: [" +
                std::to_string(10000 + s) + "]\n    method: proxy\n    mode: http\n    real_servers:\n";
        for (unsigned r = 0; r < 10; ++r)
            text += "      - {label: r" + std::to_string(r) + ", address: 10.77.0." + (r < 5 ? "21" : "22") +
                    ", port: " + std::to_string(server_port + r) + "}\n";
    }
    return text;
}

Idle idle_of(const std::string& who, const std::string& with, const std::string& node, const Usage& before,
             const Usage& after, std::chrono::seconds time) {
    return {who,
            with,
            node,
            Milliseconds(after.cpu - before.cpu) / Milliseconds(time) * 100,
            static_cast<double>(after.resident_kib) / 1024,
            static_cast<double>(after.own_kib) / 1024,
            after.processes};
}

std::string line_of(const Idle& one) {
    return "  " + one.who + ", " + one.with + ", " + one.node +
           format(": %.3f %%, %.1f MB\n", one.percent, one.memory_mb);
}

void measure_ours(lab::Lab& lab, unsigned services, std::chrono::seconds time, Results& results) {
    std::filesystem::remove_all(folder);
    lab::PairSpec spec;
    spec.more = services_yaml(services);
    lab::Pair pair(lab, folder, spec);
    const std::vector<std::string> programs{"heartbeatd", "healthd", "forwarderd", "replicatord"};
    const auto daemon = [&](const std::string& node, const std::string& program) -> lab::Daemon& {
        return program == "heartbeatd"   ? pair.daemon(node)
               : program == "healthd"    ? pair.healthd(node)
               : program == "forwarderd" ? pair.forwarderd(node)
                                         : pair.replicatord(node);
    };
    for (const std::string node : {"lb1", "lb2"})
        for (const std::string& program : programs) daemon(node, program).start();
    if (!pair.wait_settled("lb1")) lab::fail("the pair did not come to rest:\n" + pair.log("lb1"));
    // Whatever starting brings with it is over: checks of everything, announcements, HAProxy.
    std::this_thread::sleep_for(services == 0 ? 8s : 20s);
    const std::string with = std::to_string(services) + " services";
    std::map<std::string, Usage> before;
    for (const std::string node : {"lb1", "lb2"}) {
        for (const std::string& program : programs) before[node + program] = usage_of_one(daemon(node, program).pid());
        before[node] = usage_of_host(node);
    }
    std::this_thread::sleep_for(time);
    for (const std::string node : {"lb1", "lb2"}) {
        const std::string what = node == "lb1" ? "active" : "passive";
        Usage rest = usage_of_host(node);
        Usage rest_before = before[node];
        for (const std::string& program : programs) {
            const Usage now = usage_of_one(daemon(node, program).pid());
            const Usage& then = before[node + program];
            results.idle.push_back(idle_of(program, with, what, then, now, time));
            rest.cpu -= now.cpu;
            rest.resident_kib -= std::min(rest.resident_kib, now.resident_kib);
            rest.own_kib -= std::min(rest.own_kib, now.own_kib);
            rest.processes -= std::min<std::size_t>(rest.processes, 1);
            rest_before.cpu -= then.cpu;
            say(line_of(results.idle.back()));
        }
        if (rest.processes == 0) continue;
        results.idle.push_back(idle_of("HAProxy under forwarderd", with, what, rest_before, rest, time));
        say(line_of(results.idle.back()));
    }
    Status status{services, {}, {}};
    const auto time_of = [&](const char* word) {
        const auto begin = lab::Clock::now();
        if (!pair.cli("lb1", {word}).ok()) lab::fail(std::string("lbcluster ") + word + " failed");
        return Milliseconds(lab::Clock::now() - begin).count();
    };
    for (int i = 0; i < 30; ++i) {
        status.ms.push_back(time_of("status"));
        status.start_ms.push_back(time_of("--version"));
    }
    say(format("  lbcluster status, %u services: %.1f ms\n", services, median(status.ms)));
    results.status.push_back(status);
    for (const std::string node : {"lb1", "lb2"}) {
        for (const std::string& program : programs) daemon(node, program).set_restart(false);
        lab.kill_processes(node);
        lab.reset_addresses(node);
    }
}

void measure_peer(lab::Lab& lab, const Setup& setup, std::chrono::seconds time, Results& results) {
    Trial trial(lab, setup, 1);
    const std::string active = trial.settle();
    std::this_thread::sleep_for(3s);
    std::map<std::string, Usage> before;
    for (const std::string node : {"lb1", "lb2"}) before[node] = usage_of_host(node);
    std::this_thread::sleep_for(time);
    for (const std::string node : {"lb1", "lb2"}) {
        results.idle.push_back(idle_of(setup.name, "1 address", node == active ? "active" : "passive", before[node],
                                       usage_of_host(node), time));
        say(line_of(results.idle.back()));
    }
}

std::string idle_table(const Results& results) {
    Table table({"", "with", "node", "of a core", "memory, MB", "of it its own", "processes"});
    for (const Idle& one : results.idle)
        table.add({one.who, one.with, one.node, format("%.3f %%", one.percent), format("%.1f", one.memory_mb),
                   format("%.1f", one.own_mb), std::to_string(one.processes)});
    return table.text();
}

std::vector<Target> judge(const Results& results) {
    std::vector<Target> out;
    const auto of = [&](const std::string& who, const auto& figure) {
        double most = -1;
        for (const Idle& one : results.idle)
            if (one.who == who && (one.with == "0 services" || one.with == "1 address"))
                most = std::max(most, figure(one));
        return most;
    };
    const auto percent = [](const Idle& one) { return one.percent; };
    const auto memory = [](const Idle& one) { return one.memory_mb; };
    const double keepalived = of("keepalived, 1 s", percent);
    for (const char* daemon : {"heartbeatd", "healthd", "forwarderd", "replicatord"}) {
        const double share = of(daemon, percent);
        const double megabytes = of(daemon, memory);
        if (share < 0) continue;
        const bool heart = std::string(daemon) == "heartbeatd";
        std::string beside;
        if (heart && keepalived >= 0)
            beside = format("keepalived 1 s: %.2f, 100 ms: %.2f, heartbeat 1/3 s: %.2f", keepalived,
                            of("keepalived, 100 ms", percent), of("heartbeat, 1/3 s", percent));
        out.push_back(
            {std::string(daemon) + " idle, % of a core", "<= 0.1", format("%.2f", share), beside, share <= 0.1});
        out.push_back({std::string(daemon) + " idle, MB resident", "<= 15",
                       format("%.1f, its own %.1f", megabytes, of(daemon, [](const Idle& one) { return one.own_mb; })),
                       heart && keepalived >= 0 ? format("keepalived %.1f, heartbeat %.1f",
                                                         of("keepalived, 1 s", memory), of("heartbeat, 1/3 s", memory))
                                                : "",
                       megabytes <= 15});
    }
    const double fast = of("lbcluster, 10/30 ms", percent);
    const double peer = of("keepalived, 10 ms", percent);
    if (fast >= 0 && peer >= 0)
        out.push_back({"heartbeatd at 10/30 ms, two links, % of a core", "<= keepalived's at 10 ms",
                       format("%.2f", fast), format("keepalived, 10 ms: %.2f", peer), fast <= peer});
    for (const Status& status : results.status)
        out.push_back({format("`lbcluster status` with %u services, ms", status.services), "<= 20",
                       format("%.1f", median(status.ms)),
                       format("`lbcluster --version`: %.1f", median(status.start_ms)), median(status.ms) <= 20});
    return out;
}

std::string section(const Results& results, const std::string& begin, std::chrono::seconds time) {
    std::string text = begin;
    for (const std::string& line : results.failed) text += "- " + line + "\n";
    text +=
        "\n" + idle_table(results) +
        format(
            "\nOver %lld s, at default timers unless it says otherwise; processor: user and system, with the kernel's "
            "work on its packets.\nMemory: resident, processes added, what they share counted for each. A service here "
            "is one of layer 7 with ten servers, each checked\nas the defaults are.\n\n",
            static_cast<long long>(time.count()));
    for (const Status& status : results.status) {
        const auto [least, most] = std::minmax_element(status.ms.begin(), status.ms.end());
        text += format("`lbcluster status` with %u services: %.1f ms (%.1f to %.1f), process start included.\n",
                       status.services, median(status.ms), *least, *most);
    }
    return text + "\nAgain, as root or with sudo: `" + command + "`; longer: `" + command +
           " --seconds 120`. The peers' configurations "
           "are those of failover.\n";
}

int measure(std::chrono::seconds time, unsigned services, bool write) {
    const std::string begin = opening(title, command);
    say(begin.substr(begin.find("- ")));
    lab::Lab lab;
    Results results;
    {
        lab::Backend rs1(lab.host("rs1"), 80);
        lab::Backend rs2(lab.host("rs2"), 80);
        for (const char* host : {"rs1", "rs2"})
            lab::Backend::redirect(lab.host(host), server_port, server_port + 9, 80);
        rs1.answer(200);
        rs2.answer(200);
        for (const unsigned count : {0U, services}) measure_ours(lab, count, time, results);
    }
    for (const Setup& setup : all_setups()) {
        // Of ours: the timers above are `lan`, so here are the short ones.
        if (setup.product == Product::ours && setup.timers == "profile: lan") continue;
        if (setup.name.ends_with("real-time")) continue;
        if (version_of(setup.product).empty()) {
            const std::string line = name_of(setup.product) + " is not installed: not measured";
            if (std::find(results.failed.begin(), results.failed.end(), line) == results.failed.end())
                results.failed.push_back(line);
            continue;
        }
        try {
            measure_peer(lab, setup, time, results);
        } catch (const std::exception& error) {
            if (setup.product == Product::ours) throw;
            const std::string what = error.what();
            results.failed.push_back(setup.name + ": " + what.substr(0, what.find('\n')));
        }
    }
    for (const std::string& line : results.failed) say(line + "\n");
    say("\n" + idle_table(results));
    const std::vector<Target> targets = judge(results);
    say(targets_text(command, targets));
    if (write) write_section(title, section(results, begin, time), command, targets);
    return 0;
}

}  // namespace
}  // namespace lbcluster::bench

int main(int argc, char** argv) {
    CLI::App app{"bench_size - what the daemons take from an idle node"};
    long seconds = 0;
    unsigned services = 100;
    bool quick = false;
    bool write = false;
    app.add_option("--seconds", seconds, "how long each is watched (default: 60)")->check(CLI::Range(1, 3600));
    app.add_option("--services", services, "beside none (default: 100)")->check(CLI::Range(1, 1000));
    app.add_flag("--quick", quick, "10 seconds each");
    app.add_flag("--write", write, "write docs/benchmarks.md");
    if (const auto code = lbcluster::bench::bad_usage(app, argc, argv)) return *code;
    if (seconds == 0) seconds = quick ? 10 : 60;
    const std::chrono::seconds time(seconds);
    return lbcluster::lab::run_isolated([&] { return lbcluster::bench::measure(time, services, write); });
}
