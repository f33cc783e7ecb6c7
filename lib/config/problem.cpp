#include "lbcluster/config/problem.hpp"

#include <algorithm>

namespace lbcluster::config {

std::string format(const Problem& problem) {
    std::string line = problem.file;
    if (problem.line > 0) line += ":" + std::to_string(problem.line) + ":" + std::to_string(problem.column);
    line += problem.warning ? ": warning: " : ": ";
    line += problem.message;
    if (!problem.hint.empty()) line += "; " + problem.hint;
    return line;
}

std::string format(const Problems& problems) {
    std::string text;
    for (const Problem& problem : problems) text += format(problem) + "\n";
    return text;
}

bool has_errors(const Problems& problems) {
    return std::any_of(problems.begin(), problems.end(), [](const Problem& p) { return !p.warning; });
}

}  // namespace lbcluster::config
