// Health checks side by side: healthd, HAProxy and keepalived check the same servers with the same pace, one after the
// other on this machine. What it costs, how evenly it is spread, how soon servers that die at once are found.
//
//   bench_health [--targets N] [--seconds S] [--checks connect|http] [--peers NAME] [--quick] [--write]
//
// Needs root; everything happens in namespaces of its own and ends with them. `./dev bench health` installs, builds and
// runs it. Exit codes: 0 measured, 1 failed, 2 usage.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <thread>

#include "bench/page.hpp"
#include "bench/peers.hpp"
#include "bench/report.hpp"
#include "bench/targets.hpp"
#include "bench/usage.hpp"
#include "tests/lab/process.hpp"

namespace lbcluster::bench {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr const char* title = "## Health checks";
constexpr const char* command = "./dev bench health";
const std::vector<std::string> all_checks{"connect", "http"};
const std::vector<std::string> peers_known{"healthd", "haproxy", "keepalived"};

struct Options {
    std::vector<std::size_t> targets;
    std::vector<std::string> checks = all_checks;
    std::vector<std::string> peers = peers_known;
    long seconds = 0;  // 0: as the number of targets says
    bool quick = false;
    bool write = false;

    [[nodiscard]] std::chrono::seconds length(std::size_t target_count) const {
        if (seconds > 0) return std::chrono::seconds(seconds);
        return target_count >= 10000 ? 60s : 20s;
    }
};

constexpr std::size_t deaths_max = 100;
constexpr auto start_patience = 30s;      // until everybody was checked a few times
constexpr auto settle = 2s;               // from then on to the measurement
constexpr auto detection_patience = 30s;  // from the deaths to giving up

nanoseconds realtime_now() { return std::chrono::system_clock::now().time_since_epoch(); }

// Thrown when a peer cannot be measured here; says why.
struct DoesNotRun : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A peer that runs with a plan, until the end of the scope.
class Trial {
  public:
    Trial(Targets& targets, Peer& peer, const Plan& plan) : targets_(targets), peer_(peer), plan_(plan) {
        static_cast<void>(targets_.take());
        try {
            peer_.start(targets_.checker(), plan_, "/run/bench/" + peer_.name());
        } catch (const std::exception& error) {
            throw DoesNotRun(error.what());
        }
    }
    ~Trial() {
        peer_.stop();
        targets_.revive();
    }
    Trial(const Trial&) = delete;
    Trial& operator=(const Trial&) = delete;

    Row run(std::chrono::seconds length) {
        Row row;
        row.plan = plan_;
        row.peer = peer_.name();
        row.length = length;
        row.limit = peer_.detection_limit();
        wait_until_all_are_checked();
        observe(row);
        bury(row);
        row.remark_after = peer_.remark();
        return row;
    }

  private:
    void must_run() {
        if (!peer_.running()) throw DoesNotRun(peer_.last_words());
    }

    // Seen from outside, the same for everybody: each target has been checked three times. And none is down.
    void wait_until_all_are_checked() {
        std::vector<unsigned> seen(plan_.targets);
        std::size_t ready = 0;
        const auto deadline = lab::Clock::now() + start_patience;
        while (ready < plan_.targets || peer_.down_now() > 0) {
            must_run();
            if (lab::Clock::now() > deadline) {
                const bool checked = ready == plan_.targets;
                throw DoesNotRun(std::to_string(checked ? peer_.down_now() : plan_.targets - ready) + " of " +
                                 std::to_string(plan_.targets) +
                                 (checked ? " servers are down" : " servers were not checked three times") + " after " +
                                 std::to_string(start_patience / 1s) + " s; " + peer_.last_words());
            }
            std::this_thread::sleep_for(100ms);
            for (const Arrival& one : targets_.take()) ready += one.target < plan_.targets && ++seen[one.target] == 3;
        }
        std::this_thread::sleep_for(settle);
    }

    void observe(Row& row) {
        const std::size_t missed = targets_.missed();
        static_cast<void>(targets_.take());
        peer_.forget_downs();
        const Usage before = usage_of(peer_.pid());
        const nanoseconds begin = realtime_now();
        std::this_thread::sleep_for(row.length);
        must_run();
        row.usage = usage_of(peer_.pid());
        row.usage.cpu -= before.cpu;
        const nanoseconds end = realtime_now();
        std::vector<Arrival> arrivals = targets_.take();
        row.spread = spread_of(arrivals, begin, end);
        row.missed = targets_.missed() - missed;
        row.false_downs = peer_.downs().size();
        row.remark = peer_.remark();
    }

    void bury(Row& row) {
        row.deaths = std::min(deaths_max, plan_.targets / 10);
        std::vector<std::size_t> dead;
        for (std::size_t i = 0; i < row.deaths; ++i)
            dead.push_back(i * plan_.targets / row.deaths + i % plan_.services);
        peer_.forget_downs();
        const auto died = lab::Clock::now();
        row.dying = targets_.kill(dead);
        const auto all_found = [&] {
            const auto downs = peer_.downs();
            return std::all_of(dead.begin(), dead.end(), [&](std::size_t target) { return downs.contains(target); });
        };
        static_cast<void>(lab::wait_until(all_found, detection_patience, 50ms));
        must_run();
        for (const auto& [target, at] : peer_.downs()) {
            if (std::find(dead.begin(), dead.end(), target) == dead.end()) ++row.false_downs;
            else row.detections.push_back(at - died);
        }
        std::sort(row.detections.begin(), row.detections.end());
    }

    Targets& targets_;
    Peer& peer_;
    const Plan plan_;
};

void raise_descriptor_limit() {
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
}

// By its word on the command line: its name in small letters.
bool chosen(const std::vector<std::string>& list, const std::string& name) {
    return std::find(list.begin(), list.end(), lower(name)) != list.end();
}

const Row* row_of(const std::vector<Row>& rows, const std::string& peer, Kind kind, std::size_t targets) {
    for (const Row& row : rows)
        if (row.peer == peer && row.plan.kind == kind && row.plan.targets == targets) return &row;
    return nullptr;
}

double cpu_of(const Row& row) {
    return std::chrono::duration<double, std::milli>(row.usage.cpu).count() * 1000 /
           std::max<double>(1, static_cast<double>(row.spread.checks));
}

// What targets.md demands of as many servers as were measured.
std::vector<Target> judge(const std::vector<Row>& rows) {
    struct Demand {
        Kind kind;
        std::size_t targets;
        double cpu_ms;
    };
    std::vector<Target> out;
    for (const Demand& demand :
         {Demand{Kind::connect, 1000, 50}, {Kind::connect, 5000, 36}, {Kind::http, 1000, 85}, {Kind::http, 5000, 70}}) {
        const Row* ours = row_of(rows, "healthd", demand.kind, demand.targets);
        if (ours == nullptr) continue;
        const std::string what = format("%zu %s checks: ", demand.targets, word_of(demand.kind).c_str());
        std::vector<std::string> beside(3);
        for (const char* name : {"HAProxy", "keepalived"}) {
            const Row* peer = row_of(rows, name, demand.kind, demand.targets);
            if (peer == nullptr) continue;
            const std::vector<std::string> figures{
                format("%.0f", cpu_of(*peer)), format("%.0f MB", static_cast<double>(peer->usage.resident_kib) / 1024),
                format("%zu", peer->spread.most)};
            for (std::size_t i = 0; i < beside.size(); ++i)
                beside[i] += (beside[i].empty() ? "" : ", ") + (name + (" " + figures[i]));
        }
        out.push_back({what + "CPU ms per 1000", format("%.0f", demand.cpu_ms), format("%.1f", cpu_of(*ours)),
                       beside[0], cpu_of(*ours) <= demand.cpu_ms});
        if (demand.targets != 5000) continue;
        const double memory_mb = static_cast<double>(ours->usage.resident_kib) / 1024;
        out.push_back({what + "memory", "30 MB", format("%.1f MB", memory_mb), beside[1], memory_mb <= 30});
        out.push_back(
            {what + "most in one 10 ms", "75", format("%zu", ours->spread.most), beside[2], ours->spread.most <= 75});
    }
    if (const Row* ours = row_of(rows, "healthd", Kind::connect, 10000)) {
        const double share = std::chrono::duration<double>(ours->usage.cpu) / ours->length * 100;
        out.push_back({"10000 connect checks: of a core", "45 %", format("%.1f %%", share), "", share <= 45});
    }
    return out;
}

int measure(const Options& options) {
    raise_descriptor_limit();
    Report report{opening(title, command), {}, {}, {}};
    say(machine() + "\n");
    std::vector<std::unique_ptr<Peer>> peers;
    for (auto& peer : all_peers()) {
        if (!chosen(options.peers, peer->name())) continue;
        const std::string version = peer->version();
        const std::string line = peer->name() + ": " + (version.empty() ? "is not installed" : version);
        (version.empty() ? report.absent : report.versions).push_back(line);
        say(line + "\n");
        if (!version.empty()) peers.push_back(std::move(peer));
    }
    Targets targets;
    say("\n" + heading());
    std::vector<std::string> given_up;
    for (const Kind kind : {Kind::connect, Kind::http}) {
        if (!chosen(options.checks, word_of(kind))) continue;
        for (const std::size_t count : options.targets) {
            for (const auto& peer : peers) {
                if (chosen(given_up, peer->name())) continue;
                try {
                    report.rows.push_back(Trial(targets, *peer, {kind, count}).run(options.length(count)));
                    say(line_of(report.rows.back()));
                    for (const std::string& line : oddities(report.rows.back())) say("  " + line + "\n");
                } catch (const DoesNotRun& why) {
                    report.absent.push_back(peer->name() + " does not run here: " + why.what());
                    say(report.absent.back() + "\n");
                    given_up.push_back(lower(peer->name()));
                }
            }
        }
    }
    say("\n" + histograms(report.rows));
    const std::vector<Target> verdicts = judge(report.rows);
    say(targets_text(command, verdicts));
    if (options.write) write_section(title, section(report, peers), command, verdicts);
    // healthd is ours: a comparison without it has failed.
    return chosen(given_up, "healthd") || report.rows.empty() ? 1 : 0;
}

}  // namespace
}  // namespace lbcluster::bench

int main(int argc, char** argv) {
    using namespace lbcluster;
    bench::Options options;
    CLI::App app{"bench_health - healthd, HAProxy and keepalived check the same servers"};
    app.add_option("--targets", options.targets, "how many servers (default: 10000, 5000 and 1000)")
        ->delimiter(',')
        ->check(CLI::Range(std::size_t{10}, bench::Targets::max));
    app.add_option("--seconds", options.seconds, "how long each is watched (default: 60 with 10000 targets, else 20)")
        ->check(CLI::Range(1, 3600));
    app.add_option("--checks", options.checks, "connect, http (default: both)")
        ->delimiter(',')
        ->check(CLI::IsMember(bench::all_checks));
    app.add_option("--peers", options.peers, "healthd, haproxy, keepalived (default: all)")
        ->delimiter(',')
        ->check(CLI::IsMember(bench::peers_known));
    app.add_flag("--quick", options.quick, "1000 targets for 5 s: does it work at all?");
    app.add_flag("--write", options.write, "write docs/benchmarks.md");
    if (const auto code = lbcluster::bench::bad_usage(app, argc, argv)) return *code;
    if (options.quick && options.seconds == 0) options.seconds = 5;
    if (options.targets.empty())
        options.targets = options.quick ? std::vector<std::size_t>{1000} : std::vector<std::size_t>{10000, 5000, 1000};
    return lab::run_isolated([&] { return bench::measure(options); });
}
