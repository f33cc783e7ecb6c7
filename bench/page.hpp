// docs/benchmarks.md, as the measurements write it: a section each, and their lines of the table of targets at its top.
// The page itself is the store: who writes replaces what it wrote last time, and leaves the rest.
#pragma once

#include <optional>
#include <string>
#include <vector>

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

// "## TITLE\n\nWritten by `COMMAND --write` on ...", the machine; the section's text follows.
std::string opening(const std::string& title, const std::string& command);
// Puts the section, which begins with its opening(), and the targets' lines into docs/benchmarks.md.
void write_section(const std::string& title, const std::string& text, const std::string& command,
                   const std::vector<Target>& targets);
// The targets' lines, for the terminal.
std::string targets_text(const std::string& command, const std::vector<Target>& targets);

}  // namespace lbcluster::bench
