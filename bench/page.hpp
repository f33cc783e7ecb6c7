// docs/benchmarks.md, as the measurements write it: a section each, and their lines of the table of targets at its top.
// The page itself is the store: who writes replaces what it wrote last time, and leaves the rest.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace lbcluster::bench {

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

// Markdown that reads well as it stands: columns of one width each.
class Table {
  public:
    explicit Table(std::vector<std::string> heads) : rows_{std::move(heads)} {}
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    [[nodiscard]] std::size_t size() const { return rows_.size() - 1; }
    [[nodiscard]] std::string text() const;

  private:
    std::vector<std::vector<std::string>> rows_;
};

// A line of the table of targets: what shared/spec/targets.md demands, and what came out.
struct Target {
    std::string what;
    std::string target;
    std::string ours;
    std::string beside;  // a peer's figure of the same run; empty: there is none
    bool met = false;
};

// One line: processors, memory, kernel, distribution, load. And the time.
std::string machine();
std::string today();
void say(const std::string& text);  // at once, to the terminal

double median(std::vector<double> values);  // of none: 0

// The first line that the program prints when asked for its version; empty: there is no such program.
std::string version_line(const std::vector<std::string>& argv);

// For main(): the exit code of a command line that asks for help (0) or is not understood (2); nothing: measure.
std::optional<int> bad_usage(CLI::App& app, int argc, char** argv);

// "## TITLE\n\nWritten by `COMMAND --write` on ...", the machine; the section's text follows.
std::string opening(const std::string& title, const std::string& command);
// The page with this section, which begins with its opening(), and these lines of the table of targets in place of what
// the same command wrote before.
std::string with_section(const std::string& page, const std::string& title, const std::string& text,
                         const std::string& command, const std::vector<Target>& targets);
void write_section(const std::string& title, const std::string& text, const std::string& command,
                   const std::vector<Target>& targets);  // docs/benchmarks.md
// The targets' lines, for the terminal.
std::string targets_text(const std::string& command, const std::vector<Target>& targets);

}  // namespace lbcluster::bench
