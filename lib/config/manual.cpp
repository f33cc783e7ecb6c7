#include "lbcluster/config/manual.hpp"

#include <algorithm>
#include <set>

namespace lbcluster::config {
namespace {

constexpr std::size_t line_bytes_max = 2000;

std::string first_word(const std::string& line) { return line.substr(0, line.find_first_of(" \t")); }

bool begins_section(const std::string& word) {
    static const std::set<std::string> sections{"global",      "defaults",  "listen",   "frontend",    "backend",
                                                "peers",       "resolvers", "userlist", "mailers",     "program",
                                                "http-errors", "cache",     "ring",     "log-forward", "fcgi-app",
                                                "crt-store",   "traces",    "acme",     "log-profile"};
    return sections.contains(word);
}

// Without blanks around; a carriage return is one of them.
std::string trimmed(const std::string& text) {
    const char* blanks = " \t\r";
    const std::size_t first = text.find_first_not_of(blanks);
    if (first == std::string::npos) return "";
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

bool is_no_line(const std::string& line) {
    const auto control = [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; };
    return line.size() > line_bytes_max || line.starts_with('.') || std::any_of(line.begin(), line.end(), control);
}

std::vector<NumberedLine> lines_of(const std::string& text) {
    std::vector<NumberedLine> out;
    std::size_t at = 0;
    unsigned number = 0;
    while (at < text.size()) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        out.push_back({trimmed(text.substr(at, end - at)), ++number});
        at = end + 1;
    }
    return out;
}

bool says_nothing(const std::string& line) { return line.empty() || line.starts_with('#'); }

}  // namespace

ManualPiece parse_manual(const std::string& text) {
    ManualPiece out;
    std::vector<NumberedLine>* to = &out.backend;
    for (NumberedLine& line : lines_of(text)) {
        if (says_nothing(line.text)) continue;
        if (line.text == "frontend") {
            to = &out.frontend;
        } else if (line.text == "backend") {
            to = &out.backend;
        } else if (begins_section(first_word(line.text)) || is_no_line(line.text)) {
            if (!out.refused) out.refused = line;
        } else {
            to->push_back(std::move(line));
        }
    }
    return out;
}

std::vector<NumberedLine> parse_additions(const std::string& text, std::optional<NumberedLine>& refused) {
    std::vector<NumberedLine> out = lines_of(text);
    bool in_section = false;
    for (const NumberedLine& line : out) {
        if (says_nothing(line.text)) continue;
        in_section = in_section || begins_section(first_word(line.text));
        if ((!in_section || is_no_line(line.text)) && !refused) refused = line;
    }
    return out;
}

}  // namespace lbcluster::config
