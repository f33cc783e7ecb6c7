// unified_diff(): longest common subsequence of lines, after what both texts begin and end with is set aside.
#include <algorithm>
#include <set>

#include "lbcluster/base/assert.hpp"
#include "lbcluster/config/store.hpp"
#include "lib/config/mask.hpp"
#include "lib/config/redact.hpp"

namespace lbcluster::config {
namespace {

constexpr std::size_t context_lines = 3;
constexpr std::size_t table_max = 4'000'000;  // beyond that, everything between is shown as replaced

struct Line {
    char mark;  // ' ', '-', '+'
    std::string text;
};

// A line of one of the texts, and what is shown of it.
struct Row {
    std::string text;
    std::string shown;
    bool operator==(const Row& other) const { return text == other.text; }
};

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = text.find('\n', at);
        if (end == std::string::npos) {
            lines.push_back(text.substr(at) + "\n\\ No newline at end of file");
            break;
        }
        lines.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return lines;
}

// What is shown of a text; as many lines as it has.
using Mask = std::string (*)(std::string_view text);

std::string all_of(std::string_view text) { return std::string(text); }

std::vector<Row> rows_of(const std::string& text, Mask mask) {
    const auto lines = lines_of(text);
    const auto shown = lines_of(mask(text));
    LBC_ASSERT(shown.size() == lines.size());
    std::vector<Row> rows;
    for (std::size_t i = 0; i < lines.size(); ++i) rows.push_back({lines[i], shown[i]});
    return rows;
}

// a[from_a, to_a) -> b[from_b, to_b)
void compare(const std::vector<Row>& a, const std::vector<Row>& b, std::size_t from, std::size_t to_a, std::size_t to_b,
             std::vector<Line>& out) {
    const std::size_t rows = to_a - from;
    const std::size_t columns = to_b - from;
    std::size_t i = 0;
    std::size_t j = 0;
    if (rows != 0 && columns != 0 && rows <= table_max / columns) {
        const std::size_t width = columns + 1;
        std::vector<std::uint32_t> length((rows + 1) * width);  // of the rest, from (i, j) on
        for (std::size_t r = rows; r-- > 0;) {
            for (std::size_t c = columns; c-- > 0;) {
                length[r * width + c] = a[from + r] == b[from + c]
                                            ? length[(r + 1) * width + c + 1] + 1
                                            : std::max(length[(r + 1) * width + c], length[r * width + c + 1]);
            }
        }
        while (i < rows && j < columns) {
            if (a[from + i] == b[from + j]) {
                out.push_back({' ', a[from + i].shown});
                ++i;
                ++j;
            } else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) {
                out.push_back({'-', a[from + i++].shown});
            } else {
                out.push_back({'+', b[from + j++].shown});
            }
        }
    }
    while (i < rows) out.push_back({'-', a[from + i++].shown});
    while (j < columns) out.push_back({'+', b[from + j++].shown});
}

std::string range_text(std::size_t start, std::size_t count) {
    return std::to_string(count == 0 ? start : start + 1) + (count == 1 ? "" : "," + std::to_string(count));
}

std::string hunks(const std::vector<Line>& lines) {
    std::string out;
    std::size_t old_line = 0;
    std::size_t new_line = 0;
    std::size_t i = 0;
    while (i < lines.size()) {
        if (lines[i].mark == ' ') {
            ++i;
            ++old_line;
            ++new_line;
            continue;
        }
        // From here to the last change that is no further than two contexts from the one before.
        std::size_t last = i;
        for (std::size_t n = i; n < lines.size() && n <= last + 2 * context_lines + 1; ++n) {
            if (lines[n].mark != ' ') last = n;
        }
        const std::size_t before = std::min(context_lines, i);
        const std::size_t first = i - before;
        const std::size_t end = std::min(lines.size(), last + 1 + context_lines);
        std::size_t old_count = 0;
        std::size_t new_count = 0;
        std::string body;
        for (std::size_t n = first; n < end; ++n) {
            old_count += lines[n].mark != '+' ? 1 : 0;
            new_count += lines[n].mark != '-' ? 1 : 0;
            body += lines[n].mark + lines[n].text + "\n";
        }
        const std::size_t old_start = old_line - before;
        const std::size_t new_start = new_line - before;
        out += "@@ -" + range_text(old_start, old_count) + " +" + range_text(new_start, new_count) + " @@\n" + body;
        old_line = old_start + old_count;
        new_line = new_start + new_count;
        i = end;
    }
    return out;
}

std::string diff(const std::string& old_text, const std::string& new_text, const std::string& old_name,
                 const std::string& new_name, Mask mask) {
    if (old_text == new_text) return {};
    const auto a = rows_of(old_text, mask);
    const auto b = rows_of(new_text, mask);
    std::size_t start = 0;
    while (start < a.size() && start < b.size() && a[start] == b[start]) ++start;
    std::size_t end = 0;
    while (end < a.size() - start && end < b.size() - start && a[a.size() - 1 - end] == b[b.size() - 1 - end]) ++end;
    std::vector<Line> lines;
    for (std::size_t i = 0; i < start; ++i) lines.push_back({' ', a[i].shown});
    compare(a, b, start, a.size() - end, b.size() - end, lines);
    for (std::size_t i = a.size() - end; i < a.size(); ++i) lines.push_back({' ', a[i].shown});
    return "--- " + old_name + "\n+++ " + new_name + "\n" + hunks(lines);
}

// A private key, or no text.
bool is_unprintable(const std::string& bytes) {
    return bytes.find("PRIVATE KEY") != std::string::npos || bytes.find('\0') != std::string::npos;
}

bool is_haproxy(const std::string& name) { return name.starts_with("haproxy/"); }

}  // namespace

std::string unified_diff(const std::string& old_text, const std::string& new_text, const std::string& old_name,
                         const std::string& new_name) {
    return diff(old_text, new_text, old_name, new_name, all_of);
}

std::string unified_diff(const Content& old_content, const Content& new_content, const std::string& old_name,
                         const std::string& new_name) {
    std::string out = diff(old_content.cluster_yaml, new_content.cluster_yaml, old_name + "/cluster.yaml",
                           new_name + "/cluster.yaml", mask_lines);
    std::set<std::string> names;
    for (const auto& [name, bytes] : old_content.files) names.insert(name);
    for (const auto& [name, bytes] : new_content.files) names.insert(name);
    for (const std::string& name : names) {
        const auto old_file = old_content.files.find(name);
        const auto new_file = new_content.files.find(name);
        const bool in_old = old_file != old_content.files.end();
        const bool in_new = new_file != new_content.files.end();
        const std::string old_bytes = in_old ? old_file->second : "";
        const std::string new_bytes = in_new ? new_file->second : "";
        const std::string old_path = in_old ? old_name + "/files/" + name : "/dev/null";
        const std::string new_path = in_new ? new_name + "/files/" + name : "/dev/null";
        if (!is_unprintable(old_bytes) && !is_unprintable(new_bytes)) {
            out += diff(old_bytes, new_bytes, old_path, new_path, is_haproxy(name) ? mask_text : mask_lines);
        } else if (old_bytes != new_bytes) {
            out += "--- " + old_path + "\n+++ " + new_path + "\nThey differ; not shown: a private key, or no text.\n";
        }
    }
    // What a line alone does not tell: a header's value below its name.
    Redactor redactor;
    for (const Content* content : {&old_content, &new_content}) {
        redactor.add_cluster(content->cluster_yaml);
        for (const auto& [name, bytes] : content->files) {
            if (is_haproxy(name)) redactor.add_haproxy(bytes);
        }
    }
    return redactor.known(out);
}

}  // namespace lbcluster::config
