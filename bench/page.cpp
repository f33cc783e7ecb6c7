#include "bench/page.hpp"

#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/lab/process.hpp"

namespace lbcluster::bench {

namespace {

constexpr const char* page_path = LBCLUSTER_SOURCE_DIR "/docs/benchmarks.md";
constexpr const char* targets_title = "## Targets";
constexpr const char* beginning =
    "# Measurements\n\n"
    "Made beside others on the same machine, in the same run. `./dev bench` measures everything once, quickly, and "
    "writes\n"
    "this page; `./dev bench all --write` takes its time. Absolute numbers move from machine to machine, and with what "
    "else\n"
    "the machine does: compare within a table.\n\n";
constexpr const char* targets_heading =
    "## Targets\n\n"
    "What was aimed at, what came out last time, and how to get it again. Of several runs, medians.\n\n"
    "| target | aimed at | ours | beside it | | again |\n"
    "|---|---|---|---|---|---|\n";

// What stands after `key` in the first line that begins with it.
std::string value_in(const std::string& path, const std::string& key) {
    constexpr const char* around = "\t :=\"";
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        const std::size_t begin = line.find_first_not_of(around, key.size());
        if (line.starts_with(key) && begin != std::string::npos)
            return line.substr(begin, line.find_last_not_of(around) + 1 - begin);
    }
    return "unknown";
}

// Characters, not bytes: what is aligned is what is seen.
std::size_t width_of(const std::string& text) {
    return static_cast<std::size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80; }));
}

std::string line_of(const std::string& command, const Target& target) {
    return "| " + target.what + " | " + target.target + " | " + target.ours + " | " + target.beside + " | " +
           (target.met ? "met" : "**missed**") + " | `" + command + "` |\n";
}

// A part of the page: from its title to the next one.
struct Part {
    std::size_t begin = 0;
    std::size_t end = 0;
};
std::optional<Part> find_part(const std::string& page, const std::string& title) {
    const std::size_t found = ("\n" + page).find("\n" + title + "\n");
    if (found == std::string::npos) return std::nullopt;
    const std::size_t next = page.find("\n## ", found + 1);
    return Part{found, next == std::string::npos ? page.size() : next + 1};
}

// The lines of other commands stay where they are.
std::string with_targets(std::string page, const std::string& command, const std::vector<Target>& targets) {
    if (!find_part(page, targets_title)) {
        const std::size_t first = ("\n" + page).find("\n## ");
        page = beginning + std::string(targets_heading) + "\n" + (first == std::string::npos ? "" : page.substr(first));
    }
    const Part part = *find_part(page, targets_title);
    std::istringstream lines(page.substr(part.begin, part.end - part.begin));
    std::string before;
    std::string after;
    bool seen = false;
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("| ") || line.starts_with("| target |")) continue;
        if (line.ends_with("| `" + command + "` |")) seen = true;
        else (seen ? after : before) += line + "\n";
    }
    for (const Target& target : targets) before += line_of(command, target);
    return page.substr(0, part.begin) + targets_heading + before + after + "\n" + page.substr(part.end);
}

}  // namespace

std::string format(const char* pattern, ...) {
    std::array<char, 512> text{};
    va_list arguments;
    va_start(arguments, pattern);
    std::vsnprintf(text.data(), text.size(), pattern, arguments);
    va_end(arguments);
    return text.data();
}

std::string Table::text() const {
    std::vector<std::size_t> widths(rows_.front().size());
    for (const auto& row : rows_)
        for (std::size_t i = 0; i < widths.size() && i < row.size(); ++i)
            widths[i] = std::max(widths[i], width_of(row[i]));
    std::string text;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
        for (std::size_t i = 0; i < widths.size(); ++i) {
            const std::string cell = i < rows_[r].size() ? rows_[r][i] : "";
            text += (i == 0 ? "| " : " | ") + cell + std::string(widths[i] - width_of(cell), ' ');
        }
        text += " |\n";
        if (r > 0) continue;
        for (const std::size_t width : widths) text += "|" + std::string(width + 2, '-');
        text += "|\n";
    }
    return text;
}

std::string machine() {
    utsname system{};
    ::uname(&system);
    const long memory_kib = std::atol(value_in("/proc/meminfo", "MemTotal").c_str());
    return std::to_string(std::thread::hardware_concurrency()) + " cores " + value_in("/proc/cpuinfo", "model name") +
           ", " + std::to_string((memory_kib + 524288) / 1048576) + " GiB, Linux " + system.release + ", " +
           value_in("/etc/os-release", "PRETTY_NAME") + "; load before the run " +
           lab::read_file("/proc/loadavg").substr(0, 4);
}

std::string today() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &utc);
    return text.data();
}

void say(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
}

double median(std::vector<double> values) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// Some tell it on the one, some on the other.
std::string version_line(const std::vector<std::string>& argv) {
    try {
        const lab::Outcome outcome = lab::run(nullptr, argv);
        const std::string text = outcome.out.empty() ? outcome.err : outcome.out;
        return outcome.ok() ? text.substr(0, text.find('\n')) : "";
    } catch (const std::exception&) {
        return "";
    }
}

std::optional<int> bad_usage(CLI::App& app, int argc, char** argv) {
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    return std::nullopt;
}

std::string opening(const std::string& title, const std::string& command) {
    return title + "\n\nWritten by `" + command + " --write` on " + today() + ".\n\n- " + machine() + "\n";
}

std::string with_section(const std::string& page, const std::string& title, const std::string& text,
                         const std::string& command, const std::vector<Target>& targets) {
    const std::string next = with_targets(page, command, targets);
    if (const auto part = find_part(next, title))
        return next.substr(0, part->begin) + text + (part->end < next.size() ? "\n" : "") + next.substr(part->end);
    return next + (next.ends_with("\n\n") ? "" : "\n") + text;
}

void write_section(const std::string& title, const std::string& text, const std::string& command,
                   const std::vector<Target>& targets) {
    const std::string page = with_section(lab::read_file(page_path), title, text, command, targets);
    std::ofstream file(page_path, std::ios::trunc);
    if (!(file << page << std::flush)) lab::fail(std::string("cannot write ") + page_path);
}

std::string targets_text(const std::string& command, const std::vector<Target>& targets) {
    std::string text = "\n";
    for (const Target& target : targets) text += line_of(command, target);
    return text;
}

}  // namespace lbcluster::bench
