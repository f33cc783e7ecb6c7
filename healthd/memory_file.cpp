#include "healthd/memory_file.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace lbcluster::health {

namespace {

constexpr std::streamoff file_bytes_max = std::streamoff{16} * 1024 * 1024;
constexpr const char* title = "healthd-verdicts 1";

std::string text_of(const std::optional<Instant>& at) {
    return at ? std::to_string(at->time_since_epoch().count()) : "-";
}

// Nothing: "-". Not in the future: that would be another boot.
bool read_time(std::istream& in, Instant now, std::optional<Instant>& out) {
    std::string word;
    if (!(in >> word)) return false;
    if (word == "-") return true;
    std::istringstream number(word);
    Duration::rep count = 0;
    if (!(number >> count) || !number.eof() || count < 0) return false;
    out = Instant{Duration{count}};
    return *out <= now;
}

std::string rest_of(std::istream& in) {
    std::string rest;
    std::getline(in >> std::ws, rest);
    std::erase_if(rest, [](char c) { return c < 0x20 || c > 0x7e; });
    return rest.substr(0, reason_bytes_max);
}

bool read_target(std::istream& in, Instant now, Remembered& out) {
    std::string word;
    if (!(in >> word)) return false;
    out.verdict.health = health_of(word);
    if (!read_time(in, now, out.verdict.since) || !read_time(in, now, out.verdict.checked)) return false;
    out.verdict.reason = rest_of(in);
    return out.verdict.health != Health::unknown;
}

bool read_agent(std::istream& in, Instant now, Remembered& out) {
    unsigned wish = 0;
    if (!(in >> out.weight.percent >> wish) || out.weight.percent > 100 || wish > 2) return false;
    out.weight.wish = static_cast<AgentReading::Wish>(wish);
    if (!read_time(in, now, out.weight.answered) || !out.weight.answered) return false;
    out.weight.text = rest_of(in);
    return true;
}

}  // namespace

std::string memory_path(const std::string& run_dir) { return run_dir + "/healthd.verdicts"; }

std::string render_memory(Instant now, const MemoryList& list) {
    std::string out = std::string(title) + " " + text_of(now) + "\n";
    for (const auto& [hash, kept] : list) {
        if (kept.weight.answered) {
            out += "A " + std::to_string(hash) + " " + std::to_string(kept.weight.percent) + " " +
                   std::to_string(static_cast<unsigned>(kept.weight.wish)) + " " + text_of(kept.weight.answered) + " " +
                   kept.weight.text + "\n";
        } else {
            out += "T " + std::to_string(hash) + " " + std::string(word_of(kept.verdict.health)) + " " +
                   text_of(kept.verdict.since) + " " + text_of(kept.verdict.checked) + " " + kept.verdict.reason + "\n";
        }
    }
    return out;
}

Memory parse_memory(Instant now, const std::string& text) {
    Memory memory;
    std::istringstream lines(text);
    std::string line;
    if (!std::getline(lines, line) || !line.starts_with(title)) return memory;
    std::istringstream head(line.substr(std::string_view(title).size()));
    std::optional<Instant> written;
    if (!read_time(head, now, written) || !written || now - *written > memory_age_max) return memory;
    while (std::getline(lines, line)) {
        std::istringstream in(line);
        std::string kind;
        std::uint64_t hash = 0;
        Remembered kept;
        if (!(in >> kind >> hash)) continue;
        if ((kind == "T" && read_target(in, now, kept)) || (kind == "A" && read_agent(in, now, kept))) {
            memory[hash] = std::move(kept);
        }
    }
    return memory;
}

Memory read_memory(Instant now, const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) return {};
    const std::streamoff size = file.tellg();
    if (size <= 0 || size > file_bytes_max) return {};
    std::string text(static_cast<std::size_t>(size), '\0');
    file.seekg(0);
    file.read(text.data(), size);
    text.resize(static_cast<std::size_t>(file.gcount()));
    return parse_memory(now, text);
}

}  // namespace lbcluster::health
