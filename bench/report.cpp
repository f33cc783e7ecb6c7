#include "bench/report.hpp"

#include <algorithm>

#include "bench/page.hpp"

namespace lbcluster::bench {

namespace {

constexpr unsigned bar_max = 24;
constexpr const char* explanation = R"(
Everybody checks each server once a second, waits a second, and calls it down after three failures in a row: fall x
interval + timeout is 4 s. healthd's pace is 0 to 10 % faster than the interval, so it checks a little more often.
HAProxy and keepalived let a whole interval pass after each timeout, so 6 s are their worst case; a shorter `fastinter` or
`delay_before_retry` would bring that down. keepalived has no `rise`.

- **CPU**: of the peer's processes, user and system, with the kernel's work on its packets; per 1000 checks that arrived
- **memory**: resident, its processes added
- **most in 10 ms**: in the fullest of all windows of 10 ms, wherever it begins
- **longest gap**: between two checks of the same server
- **dead found**: a hundred servers (a tenth of fewer than 1000) fall silent at one moment, as without power. The time
  is from just before that to the peer's word that the server is down: healthd's on its bus, the others' in their log

Checks are counted where they arrive: each SYN, with the kernel's time, on the servers' side of a cable (veth) between
two network namespaces. One thread there answers for all of them; it shares the machine with the peer.

)";

double seconds_of(std::chrono::nanoseconds d) { return std::chrono::duration<double>(d).count(); }

std::string detections_of(const Row& row) {
    if (row.detections.empty()) return "none";
    return format("%.3f / %.3f / %.3f", seconds_of(row.detections.front()),
                  seconds_of(row.detections[row.detections.size() / 2]), seconds_of(row.detections.back()));
}

// "12.3 #####": a share and its bar; `full` is the share of the longest bar.
std::string cell(double percent, double full) {
    const auto length = static_cast<unsigned>(std::min(1.0, percent / full) * bar_max + 0.5);
    return format("%5.1f %-*s", percent, static_cast<int>(bar_max), std::string(length, '#').c_str());
}

template <class Counts>
std::string histogram(const std::vector<const Row*>& rows, const std::vector<std::string>& names,
                      const Counts& counts) {
    std::vector<std::vector<double>> shares;  // of each row
    double full = 0;
    for (const Row* row : rows) {
        const auto& list = counts(row->spread);
        double sum = 0;
        for (const std::size_t count : list) sum += static_cast<double>(count);
        auto& of_row = shares.emplace_back();
        for (const std::size_t count : list) of_row.push_back(sum > 0 ? 100.0 * static_cast<double>(count) / sum : 0);
        full = std::max(full, *std::max_element(of_row.begin(), of_row.end()));
    }
    std::string text = format("%-16s", "");
    for (const Row* row : rows) text += format("  %-*s", static_cast<int>(bar_max) + 6, (row->peer + ", %").c_str());
    text.erase(text.find_last_not_of(' ') + 1);
    text += "\n";
    for (std::size_t i = 0; i < names.size(); ++i) {
        text += format("%-16s", names[i].c_str());
        for (const auto& of_row : shares) text += "  " + cell(of_row[i], std::max(full, 1.0));
        text.erase(text.find_last_not_of(' ') + 1);
        text += "\n";
    }
    return text;
}

std::vector<std::string> load_names() {
    std::vector<std::string> names;
    unsigned from = 0;
    for (const unsigned to : Spread::load_bounds) {
        names.push_back(format("%.2f to %.2f", from / 100.0, to / 100.0));
        from = to;
    }
    names.push_back(format("%.2f and more", from / 100.0));
    return names;
}

std::vector<std::string> phase_names() {
    std::vector<std::string> names;
    constexpr unsigned step = 1000 / Spread::phases;
    for (unsigned i = 0; i < Spread::phases; ++i) names.push_back(format("%u to %u ms", i * step, (i + 1) * step));
    return names;
}

std::string histograms_of(const std::vector<const Row*>& rows) {
    const Plan& plan = rows.front()->plan;
    const std::string what = word_of(plan.kind) + ", " + std::to_string(plan.targets) + " targets: ";
    return what + "load of each 10 ms, 1.00 is the mean; how many of them had it\n" +
           histogram(rows, load_names(), [](const Spread& s) { return s.by_load; }) + "\n" + what +
           "when in the second checks arrive, all seconds laid upon each other; even were 5.0\n" +
           histogram(rows, phase_names(), [](const Spread& s) { return s.by_phase; });
}

std::string configurations(const std::vector<std::unique_ptr<Peer>>& peers) {
    std::string text =
        "### Configurations\n\nTen services with a tenth of the servers each; of these the first one with its first two"
        " servers. Everything else is as it is in Debian.\n";
    for (const auto& peer : peers) {
        for (const Kind kind : {Kind::connect, Kind::http}) {
            text += "\n" + peer->name() + ", " + word_of(kind) + ":\n\n```\n$";
            for (const std::string& word : peer->command("DIR"))
                text += " " + (word.starts_with("/") ? word.substr(word.rfind('/') + 1) : word);
            text += "\n";
            for (const Peer::File& file : peer->files({kind, 2, 1})) text += "# DIR/" + file.name + "\n" + file.text;
            text += "```\n";
        }
    }
    return text;
}

}  // namespace

std::string heading() {
    return "| check   | targets | by         | CPU ms per 1000 | of a core | memory   | most in 10 ms (mean) | longest "
           "gap |"
           " dead found | after s: first / median / last |\n"
           "|---------|---------|------------|-----------------|-----------|----------|----------------------|---------"
           "----|"
           "------------|--------------------------------|\n";
}

std::string line_of(const Row& row) {
    const double cpu_ms = seconds_of(row.usage.cpu) * 1000;
    const double checks = std::max(1.0, static_cast<double>(row.spread.checks));
    const std::string most = format("%zu (%.1f)", row.spread.most, row.spread.mean);
    const std::string found = format("%zu of %zu", row.detections.size(), row.deaths);
    return format("| %-7s | %7zu | %-10s | %15.1f | %7.1f %% | %5.1f MB | %-20s | %8.0f ms | %-10s | %-30s |\n",
                  word_of(row.plan.kind).c_str(), row.plan.targets, row.peer.c_str(), cpu_ms / checks * 1000,
                  cpu_ms / seconds_of(row.length) / 10, static_cast<double>(row.usage.resident_kib) / 1024,
                  most.c_str(), seconds_of(row.spread.longest_gap) * 1000, found.c_str(), detections_of(row).c_str());
}

std::vector<std::string> oddities(const Row& row) {
    std::vector<std::string> list;
    if (row.missed > 0) list.push_back(std::to_string(row.missed) + " checks were not noted: the kernel had no room");
    if (row.false_downs > 0) list.push_back(std::to_string(row.false_downs) + " servers were called down and were not");
    if (!row.detections.empty() && row.detections.back() > row.limit)
        list.push_back(
            format("the last one was found later than after %.0f s; of these, silencing them took up to %.0f ms",
                   seconds_of(row.limit), seconds_of(row.dying) * 1000));
    if (!row.remark.empty()) list.push_back("until the deaths: " + row.remark);
    if (row.remark_after != row.remark) list.push_back("with them: " + row.remark_after);
    return list;
}

std::string histograms(const std::vector<Row>& rows) {
    std::size_t most = 0;
    for (const Row& row : rows) most = std::max(most, row.plan.targets);
    std::string text;
    for (const Kind kind : {Kind::connect, Kind::http}) {
        std::vector<const Row*> chosen;
        for (const Row& row : rows)
            if (row.plan.kind == kind && row.plan.targets == most) chosen.push_back(&row);
        if (!chosen.empty()) text += (text.empty() ? "" : "\n") + histograms_of(chosen);
    }
    return text;
}

std::string section(const Report& report, const std::vector<std::unique_ptr<Peer>>& peers) {
    std::string text = report.opening;
    for (const std::string& version : report.versions) text += "- " + version + "\n";
    for (const std::string& absent : report.absent) text += "- " + absent + "\n";
    text += "\n" + heading();
    std::string odd;
    for (const Row& row : report.rows) {
        text += line_of(row);
        for (const std::string& line : oddities(row))
            odd += "- " + word_of(row.plan.kind) + ", " + std::to_string(row.plan.targets) + ", " + row.peer + ": " +
                   line + "\n";
    }
    if (!odd.empty()) text += "\n" + odd;
    text += explanation;
    text += "```\n" + histograms(report.rows) + "```\n\n";
    text += "Again, as root or with sudo: `./dev bench health`; one line of the table:\n\n```\n";
    for (const Row& row : report.rows) {
        text +=
            format("./dev bench health --peers %s --checks %s --targets %zu --seconds %lld\n", lower(row.peer).c_str(),
                   lower(word_of(row.plan.kind)).c_str(), row.plan.targets, static_cast<long long>(row.length.count()));
    }
    return text + "```\n\n" + configurations(peers);
}

}  // namespace lbcluster::bench
