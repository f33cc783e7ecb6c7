// Failover side by side: lbcluster, keepalived and Linux-HA heartbeat guard the same addresses on the same two nodes,
// one after the other on this machine. The gap a client sees when the active node fails, how long both nodes answer
// where one should, and take-overs nobody needed.
//
//   bench_failover [--runs N] [--parts gaps,both,false] [--only TEXT] [--faults NAMES] [--addresses N] [--quick]
//   [--write]
//
// Needs root; everything happens in namespaces of its own and ends with them. `./dev bench failover` installs, builds
// and runs it. Exit codes: 0 measured, 1 failed, 2 usage.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "bench/contenders.hpp"
#include "bench/disturbance.hpp"
#include "bench/page.hpp"
#include "bench/trial.hpp"
#include "tests/lab/process.hpp"

namespace lbcluster::bench {
namespace {

using namespace std::chrono_literals;

constexpr const char* title = "## Failover: lbcluster, keepalived and Linux-HA heartbeat";
constexpr const char* command = "./dev bench failover";

const std::vector<std::string> all_parts{"gaps", "both", "false"};

std::vector<std::string> fault_names() {
    std::vector<std::string> names;
    for (const auto& [fault, name] : all_faults) names.push_back(name);
    return names;
}

struct Options {
    unsigned runs = 5;
    std::vector<std::string> parts = all_parts;
    std::vector<std::string> only;
    std::vector<std::string> faults = fault_names();
    std::vector<std::size_t> addresses{1, 100, 1000};
    bool quick = false;
    bool write = false;

    [[nodiscard]] bool wants(const std::string& part) const { return contains(parts, part); }
    [[nodiscard]] bool wants(const Setup& setup) const {
        return only.empty() || std::any_of(only.begin(), only.end(), [&](const std::string& word) {
                   return setup.name.find(word) != std::string::npos;
               });
    }
    static bool contains(const std::vector<std::string>& list, const std::string& word) {
        return std::find(list.begin(), list.end(), word) != list.end();
    }
};

// Of one setup with one number of addresses.
struct Gaps {
    Setup setup;
    std::size_t addresses = 1;
    std::map<Fault, std::vector<std::optional<Sample>>> samples;

    template <class Figure>
    [[nodiscard]] std::vector<double> all(Fault fault, const Figure& figure) const {
        std::vector<double> out;
        const auto found = samples.find(fault);
        if (found == samples.end()) return out;
        for (const auto& sample : found->second)
            if (sample) out.push_back(figure(*sample));
        return out;
    }
    [[nodiscard]] double noise() const {
        double worst = 0;
        for (const auto& [fault, list] : samples)
            for (const auto& sample : list) worst = std::max(worst, sample ? sample->noise_ms : 0);
        return worst;
    }
};

double first_of(const Sample& sample) { return sample.first_ms; }
double worse_of(const Sample& sample) { return std::max(sample.first_ms, sample.last_ms); }

std::string number(double ms) { return format(ms > 0 && ms < 9.95 ? "%.1f" : "%.0f", ms); }

// "12 (10 to 15)"
std::string spread_of(const std::vector<double>& values) {
    if (values.empty()) return "";
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    const std::string middle = number(median(values));
    if (number(*least) == number(*most)) return middle;
    return middle + " (" + number(*least) + " to " + number(*most) + ")";
}

std::string cell_of(const Gaps& gaps, Fault fault) {
    const auto found = gaps.samples.find(fault);
    if (found == gaps.samples.end()) return "";
    const auto none = std::count(found->second.begin(), found->second.end(), std::nullopt);
    std::string text = spread_of(gaps.all(fault, first_of));
    if (none > 0)
        text += (text.empty() ? "" : ", ") + format("nobody took over: %ld of %zu", none, found->second.size());
    return text;
}

// ---- measuring ----

Gaps measure_gaps(lab::Lab& lab, const Setup& setup, std::size_t addresses, const Options& options) {
    Gaps gaps{setup, addresses, {}};
    Trial trial(lab, setup, addresses);
    for (const auto& [fault, name] : all_faults) {
        if (!Options::contains(options.faults, name)) continue;
        // Several addresses: how a node falls makes no difference to who takes them.
        if (addresses > 1 && fault != Fault::gone && fault != Fault::planned) continue;
        // Its scripts take half a minute each time.
        const bool slow = setup.product == Product::heartbeat && addresses > 1;
        if (slow && fault == Fault::planned) continue;
        const unsigned runs = slow ? std::min(options.runs, 2U) : options.runs;
        for (unsigned run = 0; run < runs; ++run) gaps.samples[fault].push_back(trial.strike(fault));
        std::string line = "  " + setup.name + format(", %zu address%s, ", addresses, addresses == 1 ? "" : "es") +
                           name + ": " + cell_of(gaps, fault);
        if (addresses > 1)
            line += "; last address " + spread_of(gaps.all(fault, [](const Sample& s) { return s.last_ms; }));
        say(line + " ms\n");
    }
    return gaps;
}

struct Both {
    Setup setup;
    std::map<Breach, std::optional<double>> seconds;
};

Both measure_both(lab::Lab& lab, const Setup& setup) {
    Both both{setup, {}};
    Trial trial(lab, setup, 1);
    bool first = true;
    for (const auto& [breach, name] : all_breaches) {
        if (!first) trial.restart();
        first = false;
        both.seconds[breach] = seconds_both_answer(trial, breach);
        const auto& found = both.seconds[breach];
        say("  " + setup.name + ", " + name + ": " + (found ? format("%.1f s", *found) : "-") + "\n");
    }
    return both;
}

struct Unneeded {
    Setup setup;
    Restlessness load;
    std::map<unsigned, Restlessness> loss;  // by percent
};

Unneeded measure_false(lab::Lab& lab, const Setup& setup, const Options& options) {
    Unneeded found{setup, {}, {}};
    const unsigned windows = options.quick ? 1 : 4;
    {
        Trial trial(lab, setup, 1);
        found.load = under_load(trial, windows, options.quick ? 10s : 30s);
        say("  " + setup.name + format(", 8 burners for %.1f min: %u moves\n", found.load.minutes, found.load.moves));
    }
    for (const unsigned percent : {20U, 30U}) {
        Trial trial(lab, setup, 1);
        const auto& one = found.loss[percent] = with_loss(trial, percent, options.quick ? 15s : 60s);
        say("  " + setup.name + format(", %u %% loss for %.1f min: %u moves\n", percent, one.minutes, one.moves));
    }
    return found;
}

struct Results {
    std::vector<Gaps> gaps;
    std::vector<Both> both;
    std::vector<Unneeded> unneeded;
    std::vector<std::string> failed;

    [[nodiscard]] const Gaps* find(const std::string& name, std::size_t addresses = 1) const {
        for (const Gaps& one : gaps)
            if (one.setup.name == name && one.addresses == addresses) return &one;
        return nullptr;
    }
};

// What one contender cannot does not end the others' measurements.
template <class Function>
void attempt(Results& results, const Setup& setup, const Function& function) {
    try {
        function();
    } catch (const std::exception& error) {
        const std::string text = error.what();
        results.failed.push_back(setup.name + ": " + text.substr(0, text.find('\n')));
        say("  " + text + "\n");
    }
}

// ---- what came out ----

std::string gaps_table(const Results& results) {
    Table table({"", "machine gone", "cable pulled", "killed, kernel forwards", "killed, service too",
                 "frozen, kernel forwards", "frozen, service too", "planned", "machine late"});
    for (const Gaps& gaps : results.gaps) {
        if (gaps.addresses != 1) continue;
        std::vector<std::string> row{gaps.setup.name};
        for (const auto& [fault, name] : all_faults) row.push_back(cell_of(gaps, fault));
        row.push_back(number(gaps.noise()));
        table.add(std::move(row));
    }
    return table.size() == 0 ? "" : table.text();
}

std::string many_table(const Results& results) {
    Table table({"", "addresses", "gone: first address", "gone: last address", "planned: worse of both",
                 "first to last announced", "claim to last announced", "announced in the first second"});
    for (const Gaps& gaps : results.gaps) {
        if (gaps.addresses == 1) continue;
        const auto gone = [&](const auto& figure) { return spread_of(gaps.all(Fault::gone, figure)); };
        std::vector<double> claims;
        for (const Fault fault : {Fault::gone, Fault::planned})
            for (const double one : gaps.all(fault, [](const Sample& s) { return s.claim_to_last_ms.value_or(-1); }))
                if (one >= 0) claims.push_back(one);
        table.add({gaps.setup.name, std::to_string(gaps.addresses), gone(first_of),
                   gone([](const Sample& s) { return s.last_ms; }), spread_of(gaps.all(Fault::planned, worse_of)),
                   gone([](const Sample& s) { return s.first_to_last_ms; }), spread_of(claims),
                   gone([](const Sample& s) { return static_cast<double>(s.in_first_second); })});
    }
    return table.size() == 0 ? "" : table.text();
}

// The medians as bars; each ten characters are ten times as long.
std::string bars(const Results& results, Fault fault, const std::string& what) {
    std::string text;
    for (const Gaps& gaps : results.gaps) {
        const auto values = gaps.all(fault, first_of);
        if (gaps.addresses != 1 || values.empty()) continue;
        const double ms = median(values);
        const auto length = static_cast<std::size_t>(ms < 1 ? 0 : std::lround(10 * std::log10(ms)));
        text += format("%-30s %6s ", gaps.setup.name.c_str(), number(ms).c_str()) + std::string(length, '#') + "\n";
    }
    return text.empty() ? "" : what + ", ms; ten # more are ten times as long\n" + text + "\n";
}

std::string both_table(const Results& results) {
    std::vector<std::string> heads{""};
    for (const auto& [breach, name] : all_breaches) heads.push_back(name);
    Table table(heads);
    for (const Both& both : results.both) {
        std::vector<std::string> row{both.setup.name};
        for (const auto& [breach, seconds] : both.seconds) row.push_back(seconds ? format("%.1f s", *seconds) : "");
        table.add(std::move(row));
    }
    return table.size() == 0 ? "" : table.text();
}

std::string false_table(const Results& results) {
    Table table({"", "8 burners", "of windows", "machine late, ms", "20 % loss", "30 % loss", "each for"});
    for (const Unneeded& one : results.unneeded) {
        const auto& loss = one.loss;
        table.add({one.setup.name, std::to_string(one.load.moves), format("%.1f min", one.load.minutes),
                   number(one.load.late_ms), std::to_string(loss.at(20).moves), std::to_string(loss.at(30).moves),
                   format("%.2f min", loss.at(20).minutes)});
    }
    return table.size() == 0 ? "" : table.text();
}

class Judge {
  public:
    explicit Judge(const Results& results) : results_(results) {}

    std::vector<Target> targets() {
        gap("lbcluster, lan, one link", Fault::cable, "cable pulled, the only link, `lan`", 1200, "keepalived, 1 s");
        gap("lbcluster, lan", Fault::cable, "cable pulled, second link, `lan`", 20, "keepalived, 10 ms");
        gap("lbcluster, lan", Fault::gone, "machine gone, `lan`", 1200, "keepalived, 1 s");
        gap("lbcluster, 10/30 ms, one link", Fault::cable, "cable pulled, the only link, 10/30 ms", 34,
            "keepalived, 10 ms");
        gap("lbcluster, 10/30 ms", Fault::cable, "cable pulled, second link, 10/30 ms", 10, "keepalived, 10 ms");
        gap("lbcluster, 10/30 ms, one link", Fault::gone, "machine gone, 10/30 ms", 34, "keepalived, 10 ms");
        gap("lbcluster, 5/15 ms, one link", Fault::cable, "cable pulled, 5/15 ms", 19, "keepalived, 10 ms");
        gap("lbcluster, 5/15 ms, one link", Fault::gone, "machine gone, 5/15 ms", 19, "keepalived, 10 ms");
        for (const Fault fault : {Fault::killed_kernel, Fault::frozen_kernel}) {
            const std::string what = fault == Fault::killed_kernel ? "all killed" : "all frozen";
            gap("lbcluster, lan", fault, what + ", kernel forwards, `lan`", 400, "keepalived, 1 s");
            gap("lbcluster, 10/30 ms", fault, what + ", kernel forwards, 10/30 ms", 150, "keepalived, 10 ms");
        }
        for (const char* name : {"lbcluster, lan", "lbcluster, 10/30 ms", "lbcluster, 5/15 ms, one link"})
            gap(name, Fault::planned, std::string("planned, ") + (name + 11), 0, "keepalived, 10 ms");
        thousand();
        never();
        return std::move(targets_);
    }

  private:
    void gap(const std::string& ours, Fault fault, const std::string& what, double limit_ms, const std::string& peer) {
        const Gaps* mine = results_.find(ours);
        if (mine == nullptr) return;
        const auto samples = mine->samples.find(fault);
        if (samples == mine->samples.end()) return;
        const auto values = mine->all(fault, first_of);
        const bool always = values.size() == samples->second.size();  // somebody took over
        const Gaps* theirs = results_.find(peer);
        const std::string beside = theirs == nullptr ? "" : spread_of(theirs->all(fault, first_of));
        targets_.push_back({"gap, ms: " + what, limit_ms > 0 ? "<= " + number(limit_ms) : "0", cell_of(*mine, fault),
                            beside.empty() ? "" : peer + ": " + beside, always && median(values) <= limit_ms});
    }

    void thousand() {
        std::vector<double> claims;
        std::vector<double> firsts;
        double most = 0;
        for (const Gaps& gaps : results_.gaps) {
            if (gaps.addresses != 1000 || gaps.setup.product != Product::ours) continue;
            for (const Fault fault : {Fault::gone, Fault::planned}) {
                for (const double one :
                     gaps.all(fault, [](const Sample& s) { return s.claim_to_last_ms.value_or(-1); }))
                    if (one >= 0) claims.push_back(one);
                for (const double one : gaps.all(fault, [](const Sample& s) { return s.first_to_last_ms; }))
                    firsts.push_back(one);
                for (const double one :
                     gaps.all(fault, [](const Sample& s) { return static_cast<double>(s.in_first_second); }))
                    most = std::max(most, one);
            }
        }
        if (claims.empty()) return;
        const Gaps* peer = results_.find("keepalived, 10 ms", 1000);
        const auto theirs = [&](const auto& figure) {
            const auto values = peer == nullptr ? std::vector<double>{} : peer->all(Fault::gone, figure);
            return values.empty() ? std::string() : "keepalived: " + spread_of(values);
        };
        const std::string first_to_last = theirs([](const Sample& s) { return s.first_to_last_ms; });
        targets_.push_back({"1000 addresses, ms from the claim to the last announcement", "<= 20", spread_of(claims),
                            first_to_last.empty()
                                ? ""
                                : first_to_last + " from its first one; ours from the first one: " + spread_of(firsts),
                            median(claims) <= 20});
        targets_.push_back({"1000 addresses, announcements in the first second", "<= 3000", number(most),
                            theirs([](const Sample& s) { return static_cast<double>(s.in_first_second); }),
                            most <= 3000});
    }

    void never() {
        double both_ours = -1;
        double both_theirs = -1;
        for (const Both& one : results_.both)
            for (const auto& [breach, seconds] : one.seconds)
                if (seconds)
                    (one.setup.product == Product::ours ? both_ours : both_theirs) =
                        std::max(one.setup.product == Product::ours ? both_ours : both_theirs, *seconds);
        if (both_ours >= 0)
            targets_.push_back({"both nodes answer, s, worst of five faults", "0", format("%.1f", both_ours),
                                both_theirs < 0 ? "" : format("worst of the others: %.1f", both_theirs),
                                both_ours < 0.005});
        unneeded("lbcluster, lan", "keepalived, 100 ms");
        unneeded("lbcluster, 10/30 ms", "keepalived, 10 ms");
        unneeded("lbcluster, 5/15 ms, one link", "keepalived, 10 ms");
    }

    void unneeded(const std::string& ours, const std::string& peer) {
        const Unneeded* mine = nullptr;
        const Unneeded* theirs = nullptr;
        for (const Unneeded& one : results_.unneeded) {
            if (one.setup.name == ours) mine = &one;
            if (one.setup.name == peer) theirs = &one;
        }
        if (mine == nullptr) return;
        const auto beside = [&](unsigned moves, double minutes) {
            return peer + format(": %u in %.2f min", moves, minutes);
        };
        targets_.push_back({format("needless moves with 8 burners, %.1f min, %s", mine->load.minutes, ours.c_str()),
                            "0", std::to_string(mine->load.moves),
                            theirs == nullptr ? "" : beside(theirs->load.moves, theirs->load.minutes),
                            mine->load.moves == 0});
        for (const auto& [percent, one] : mine->loss) {
            const Restlessness* other = theirs == nullptr ? nullptr : &theirs->loss.at(percent);
            targets_.push_back(
                {format("needless moves at %u %% loss, %.2f min, %s", percent, one.minutes, ours.c_str()), "0",
                 std::to_string(one.moves), other == nullptr ? "" : beside(other->moves, other->minutes),
                 one.moves == 0});
        }
    }

    const Results& results_;
    std::vector<Target> targets_;
};

constexpr const char* how = R"(
A client sends to the floating IP every millisecond; the gap is the longest time between two answers. 0: no request was
lost. Medians, and from the least to the most. **machine late** is the longest that this machine kept a processor from
the most urgent thread meanwhile: no gap is known better than that, and who shares the machine with compilers gets
outliers.

- **machine gone**: both cables dead at one moment, then the processes killed: as without power
- **cable pulled**: the LAN's cable. "one link" has its heartbeats there as well, as keepalived has; the others have a
  second link, over which the peer says so
- **killed**, **frozen**: all processes of the product on the active node, SIGKILL or SIGSTOP, and nobody starts them
  again (the packages' units would: then the gap is 0). *Kernel forwards*: what the kernel does goes on, as with layer
  4; *service too*: what answered the client died or stopped with them. keepalived moves at once, and both nodes answer
  from then on; ours stays where the kernel serves until the lease in the kernel ends, and never two answer
- **planned**: `lbcluster activate` on the other node; keepalived stopped by SIGTERM; `hb_standby`
)";

std::string section(const Results& results, const std::vector<Setup>& setups, const std::string& begin, unsigned runs) {
    std::string text = begin + format("- each fault %u time%s\n", runs, runs == 1 ? "" : "s");
    for (const Product product : {Product::ours, Product::keepalived, Product::heartbeat}) {
        const std::string version = version_of(product);
        text += "- " + name_of(product) + ": " + (version.empty() ? "is not installed: not measured" : version) + "\n";
    }
    for (const std::string& line : results.failed) text += "- failed: " + line + "\n";
    const std::string gaps = gaps_table(results);
    if (!gaps.empty()) {
        const std::string plots =
            bars(results, Fault::gone, "machine gone") + bars(results, Fault::cable, "cable pulled");
        text += "\n### The gap a client sees, ms\n\n" + gaps + how;
        if (!plots.empty()) text += "\n```\n" + plots.substr(0, plots.size() - 1) + "```\n";
    }
    const std::string many = many_table(results);
    if (!many.empty())
        text += "\n### Many addresses, ms\n\n" + many +
                "\nThe first address is the one that is added first, the last one last. *Announced*: gratuitous ARP, "
                "seen on\n"
                "the node's cable, of each address the first one; lbcluster's claim is its event `became-active`.\n";
    const std::string both = both_table(results);
    if (!both.empty())
        text +=
            "\n### Both nodes answer\n\nHow long a third host that asks for the address by ARP every 5 ms was answered "
            "by "
            "both, of the window from the fault on:\n\n" +
            both;
    const std::string unneeded = false_table(results);
    if (!unneeded.empty())
        text +=
            "\n### Moves nobody needed\n\nHow often a node began to hold the address while nothing had failed: with "
            "eight "
            "processes that compute, and with that share\nof everything lost that arrives at either node:\n\n" +
            unneeded;
    text += "\nAgain, as root or with sudo: `" + std::string(command) + "`; one line or cell: `" + command +
            " --only 'keepalived, 10 ms' --parts gaps --faults gone --addresses 1`.\n";
    text +=
        "\n### Configurations of failover\n\nOf lb1, with one address; lb2 has the same with its own name. Nothing "
        "else "
        "differs from Debian's packages.\n";
    for (const Setup& setup : setups) text += "\n" + setup.name + ":\n\n```\n" + configuration_of(setup) + "```\n";
    return text;
}

int measure(const Options& options) {
    const std::string begin = opening(title, command);
    say(begin.substr(begin.find("- ")));
    std::vector<Setup> setups;
    std::set<Product> absent;
    for (const Setup& setup : all_setups()) {
        if (!options.wants(setup)) continue;
        if (version_of(setup.product).empty()) {
            if (absent.insert(setup.product).second) say(name_of(setup.product) + " is not installed: not measured\n");
        } else {
            setups.push_back(setup);
        }
    }
    lab::Lab lab;
    lab.ip("client", "route add 10.99.0.0/16 dev eth0\n");
    Results results;
    for (const Setup& setup : setups) {
        for (const std::size_t addresses : options.addresses) {
            if (options.wants("gaps") && addresses <= setup.addresses_max)
                attempt(results, setup, [&] { results.gaps.push_back(measure_gaps(lab, setup, addresses, options)); });
        }
    }
    for (const Setup& setup : setups) {
        // With two links, where there is a choice: "one link" differs in nothing else.
        if (setup.name.ends_with("one link") && !setup.name.starts_with("lbcluster, 5/15")) continue;
        if (options.wants("both")) attempt(results, setup, [&] { results.both.push_back(measure_both(lab, setup)); });
    }
    for (const Setup& setup : setups) {
        if (setup.name.ends_with("one link") && !setup.name.starts_with("lbcluster, 5/15")) continue;
        if (options.wants("false"))
            attempt(results, setup, [&] { results.unneeded.push_back(measure_false(lab, setup, options)); });
    }
    for (const std::string& table :
         {gaps_table(results), many_table(results), both_table(results), false_table(results)})
        if (!table.empty()) say("\n" + table);
    const std::vector<Target> targets = Judge(results).targets();
    say(targets_text(command, targets));
    if (options.write) write_section(title, section(results, setups, begin, options.runs), command, targets);
    // Ours must have been measured; a peer that could not is reported.
    const bool ours_failed = std::any_of(results.failed.begin(), results.failed.end(),
                                         [](const std::string& line) { return line.starts_with("lbcluster"); });
    return ours_failed ? 1 : 0;
}

}  // namespace
}  // namespace lbcluster::bench

int main(int argc, char** argv) {
    using namespace lbcluster;
    bench::Options options;
    CLI::App app{"bench_failover - lbcluster, keepalived and Linux-HA heartbeat lose their active node"};
    unsigned runs = 0;
    app.add_option("--runs", runs, "how often each fault (default: 5)")->check(CLI::Range(1, 1000));
    app.add_option("--parts", options.parts, "gaps, both, false (default: all)")
        ->delimiter(',')
        ->check(CLI::IsMember(bench::all_parts));
    app.add_option("--only", options.only, "setups whose name contains this; may be repeated (default: all)");
    app.add_option("--faults", options.faults, "of the gaps (default: all)")
        ->delimiter(',')
        ->check(CLI::IsMember(bench::fault_names()));
    app.add_option("--addresses", options.addresses, "how many floating IPs (default: 1, 100 and 1000)")
        ->delimiter(',')
        ->check(CLI::Range(std::size_t{1}, std::size_t{1000}));
    app.add_flag("--quick", options.quick, "once each, short windows: does it work at all?");
    app.add_flag("--write", options.write, "write docs/benchmarks.md");
    if (const auto code = lbcluster::bench::bad_usage(app, argc, argv)) return *code;
    options.runs = runs > 0 ? runs : options.quick ? 1 : 5;
    return lab::run_isolated([&] { return bench::measure(options); });
}
