// How fast layer 4 is programmed: 10 services with 1000 servers each from nothing, and one server changed among them,
// beside `ipvsadm -R` and keepalived on the same kernel in the same run. Needs a kernel with IPVS:
//   tests/ipvs/bed.sh --timeout 900 -- build/release/bench/bench_forward [--quick]
// What is measured of ours is what forwarderd does with healthd's verdicts: core, reconciler, netlink.
#include <signal.h>
#include <sys/wait.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "bench/contenders.hpp"
#include "bench/page.hpp"
#include "forwarder/linux_kernel.hpp"
#include "forwarder/reconciler.hpp"
#include "tests/lab/process.hpp"

namespace lbcluster {
namespace {

using namespace forward;
using lab::Clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr unsigned services = 10;
constexpr unsigned servers = 1000;
constexpr double target_all_ms = 600;
constexpr double target_one_ms = 1;
constexpr const char* title = "## Layer 4 programmed: forwarderd beside `ipvsadm -R` and keepalived";
constexpr const char* command = "./dev bench forward";
constexpr const char* explanation = R"(
On a kernel without IPVS this runs in the virtual machine of [ipvs-tests.md](ipvs-tests.md), which is about ten times
slower than a machine. Ours is measured inside a process; the peers' times hold their start and reading their
configuration, which flatters us a little.

Again, as root or with sudo: `./dev bench forward`, five rounds; `--quick`: one.
)";

IpAddress v4(unsigned a, unsigned b, unsigned c) {
    return IpAddress::v4(
        {10, static_cast<std::uint8_t>(a), static_cast<std::uint8_t>(b), static_cast<std::uint8_t>(c)});
}

Spec make_spec() {
    Spec spec;
    for (unsigned s = 0; s < services; ++s) {
        ServiceSpec one;
        one.label = "v" + std::to_string(s);
        one.traffic.address = v4(0, 0, s + 1);
        one.traffic.tcp = true;
        one.traffic.ports = {{80, 80}};
        for (unsigned i = 0; i < servers; ++i) {
            ServerSpec server;
            server.label = "s" + std::to_string(i);
            server.address = v4(s + 1, i / 250, i % 250 + 1);
            one.servers.push_back(server);
        }
        spec.services.push_back(std::move(one));
    }
    return spec;
}

double ms_since(Clock::time_point begin) { return Milliseconds(Clock::now() - begin).count(); }

struct Ours {
    std::vector<double> all_ms;
    std::vector<double> one_ms;
    std::vector<double> read_back_ms;
};

// forwarderd's part, once: from nothing, and then changes one by one; in the end all are up.
void measure_ours(Ours& out, unsigned changes) {
    LinuxKernel kernel;
    if (const auto version = kernel.ipvs(); !version) lab::fail(version.error().message);
    Reconciler reconciler(kernel, Owned{}, [](const std::string&) { return Result<void>(); });
    Core core;
    Spec spec = make_spec();
    core.configure(spec, 0);
    for (const ServiceSpec& service : spec.services)
        for (const ServerSpec& one : service.servers)
            core.on_health(service.label, one.label, one.address, {Health::up, 100, Wish::none});
    core.catch_up(0);
    auto begin = Clock::now();
    const Outcome& outcome = reconciler.reconcile(core.desired());
    out.all_ms.push_back(ms_since(begin));
    if (outcome.failures > 0) lab::fail("the kernel refused " + std::to_string(outcome.failures) + " steps");
    begin = Clock::now();
    if (reconciler.reconcile(core.desired()).steps > 0) lab::fail("a second look found something to do");
    out.read_back_ms.push_back(ms_since(begin));
    for (unsigned i = 0; i < changes; ++i) {
        const ServiceSpec& service = spec.services[i % services];
        const ServerSpec& one = service.servers[i * 37 % servers];
        begin = Clock::now();
        core.on_health(service.label, one.label, one.address, {Health::down, 100, Wish::none});
        if (!reconciler.update(core.desired().table, core.catch_up(0))) lab::fail("a change failed");
        out.one_ms.push_back(ms_since(begin));
    }
    for (const ServiceSpec& service : spec.services)
        for (const ServerSpec& one : service.servers)
            core.on_health(service.label, one.label, one.address, {Health::up, 100, Wish::none});
    core.catch_up(0);
    reconciler.reconcile(core.desired());
}

double measure_restore(const lab::Namespace& host, const std::string& file) {
    const auto begin = Clock::now();
    const auto outcome = lab::run(&host, {"sh", "-c", "ipvsadm -R < " + file}, "", {}, 300s);
    if (!outcome.ok()) lab::fail("ipvsadm -R: " + outcome.err);
    return ms_since(begin);
}

std::string keepalived_conf() {
    std::string out = "global_defs {\n checker_priority 0\n}\n";
    for (const ServiceSpec& service : make_spec().services) {
        out += "virtual_server " + service.traffic.address.to_string() +
               " 80 {\n lb_algo wlc\n lb_kind DR\n protocol TCP\n";
        for (const ServerSpec& one : service.servers)
            out += " real_server " + one.address.to_string() + " 80 {\n  weight 100\n }\n";
        out += "}\n";
    }
    return out;
}

// From its start to the last server; it has no checks, so all are up at once.
// Negative: it is not here, or did not do it.
double measure_keepalived(const lab::Namespace& host, const std::string& folder) {
    if (bench::version_of(bench::Product::keepalived).empty()) return -1;
    lab::write_file(folder + "/keepalived.conf", keepalived_conf());
    LinuxKernel kernel;
    host.run([&] { (void)kernel.ipvs(); });
    const auto last = ServiceKey::of_address(protocol_tcp, v4(0, 0, services), 80);
    const auto begin = Clock::now();
    const pid_t pid = lab::spawn(&host, {{"keepalived", "-C", "-n", "-f", folder + "/keepalived.conf", "-p",
                                          folder + "/keepalived.pid", "-c", folder + "/checkers.pid"}});
    const bool complete = lab::wait_until(
        [&] {
            const auto reading = kernel.read({last});
            const auto found = reading ? reading->table.find(last) : Table::const_iterator{};
            return reading && found != reading->table.end() && found->second.destinations.size() == servers;
        },
        120s, std::chrono::milliseconds(20));
    const double took = ms_since(begin);
    ::kill(pid, SIGTERM);
    ::waitpid(pid, nullptr, 0);
    return complete ? took : -1;
}

int measure(bool quick, bool write) {
    const std::string begin = bench::opening(title, command);
    const std::string folder = "/run/bench";
    std::filesystem::create_directories(folder);
    const unsigned rounds = quick ? 1 : 5;
    Ours ours;
    std::vector<double> restore_ms;
    std::vector<double> keepalived_ms;
    // In turns, so that what else the machine does meets all of them. Each in a namespace that is new: IPVS remembers
    // servers that were removed for two minutes, and looks through all of them for each one that is added.
    for (unsigned round = 0; round < rounds; ++round) {
        {
            const lab::Namespace host("ours");
            host.run([&] { measure_ours(ours, 100); });
            if (round == 0) {
                const lab::Outcome saved = lab::run(&host, {"ipvsadm", "-S", "-n"}, "", {}, 300s);
                if (!saved.ok()) lab::fail("ipvsadm -S: " + saved.err);
                lab::write_file(folder + "/saved", saved.out);
            }
        }
        restore_ms.push_back(measure_restore(lab::Namespace("ipvsadm"), folder + "/saved"));
        const double took = measure_keepalived(lab::Namespace("keepalived"), folder);
        if (took > 0) keepalived_ms.push_back(took);
    }
    const double all = bench::median(ours.all_ms);
    const double one = bench::median(ours.one_ms);
    using bench::format;
    bench::Table table({"", "from nothing", "times ours", "one server changed"});
    table.add({"forwarderd's core and netlink", format("%.0f ms", all), "",
               format("%.2f ms; slowest of %zu: %.1f ms", one, ours.one_ms.size(),
                      *std::max_element(ours.one_ms.begin(), ours.one_ms.end()))});
    table.add({"`ipvsadm -R`", format("%.0f ms", bench::median(restore_ms)),
               format("%.1f", bench::median(restore_ms) / all), ""});
    std::string beside = format("ipvsadm -R: %.0f", bench::median(restore_ms));
    if (!keepalived_ms.empty()) {
        const double took = bench::median(keepalived_ms);
        table.add({"keepalived, from its start", format("%.0f ms", took), format("%.1f", took / all), ""});
        beside += format(", keepalived: %.0f", took);
    }
    const std::string text =
        format(
            "%u services with %u servers each into an empty IPVS, and the weight of one server changed in it; medians "
            "of "
            "%u rounds.\n\n",
            services, servers, rounds) +
        table.text() +
        format("\nAll of it read and compared with nothing to do: %.0f ms.%s\n", bench::median(ours.read_back_ms),
               keepalived_ms.empty() ? " keepalived did not program IPVS here." : "");
    const std::vector<bench::Target> targets{
        {format("IPVS, %u servers from nothing, ms", services * servers), format("<= %.0f", target_all_ms),
         format("%.0f", all), beside, all <= target_all_ms},
        {"IPVS, one server changed among them, ms", format("<= %.0f", target_one_ms), format("%.2f", one), "",
         one <= target_one_ms}};
    bench::say(text + bench::targets_text(command, targets));
    if (write) bench::write_section(title, begin + "\n" + text + explanation, command, targets);
    return 0;
}

}  // namespace
}  // namespace lbcluster

int main(int argc, char** argv) {
    CLI::App app{"bench_forward - how fast layer 4 is programmed"};
    bool quick = false;
    bool write = false;
    app.add_flag("--quick", quick, "one round instead of five");
    app.add_flag("--write", write, "write docs/benchmarks.md");
    if (const auto code = lbcluster::bench::bad_usage(app, argc, argv)) return *code;
    return lbcluster::lab::run_isolated([&] { return lbcluster::measure(quick, write); });
}
