#include "forwarder/owned_file.hpp"

#include <fstream>
#include <sstream>

namespace lbcluster::forward {

namespace {

constexpr std::streamoff file_bytes_max = std::streamoff{4} * 1024 * 1024;
constexpr const char* title = "forwarderd-owned 1";

}  // namespace

std::string owned_path(const std::string& run_dir) { return run_dir + "/forwarderd.owned"; }

std::string render_owned(const Owned& owned) {
    std::string out = std::string(title) + "\n";
    for (const ServiceKey& key : owned.services) out += "S " + key.to_string() + "\n";
    for (const auto& [name, memory] : owned.sysctls) out += "C " + name + " " + memory.before + "|" + memory.set + "\n";
    for (const SyncRole role : owned.syncs) out += "Y " + std::string(word_of(role)) + "\n";
    for (const bool v6 : owned.deliveries) out += v6 ? "T 6\n" : "T 4\n";
    if (owned.rules_text != 0) {
        out += "R " + std::to_string(owned.rules_text) + " " + std::to_string(owned.rules_listing) + "\n";
    }
    return out;
}

Owned parse_owned(const std::string& text) {
    Owned out;
    std::istringstream lines(text);
    std::string line;
    if (!std::getline(lines, line) || line != title) return out;
    while (std::getline(lines, line)) {
        if (line.size() < 3 || line[1] != ' ') continue;
        const std::string rest = line.substr(2);
        std::istringstream words(rest);
        if (line[0] == 'S') {
            if (const auto key = ServiceKey::parse(rest)) out.services.insert(*key);
        } else if (line[0] == 'C') {
            const auto space = rest.find(' ');
            const auto bar = rest.find('|', space);
            if (space == std::string::npos || bar == std::string::npos) continue;
            out.sysctls[rest.substr(0, space)] = {rest.substr(space + 1, bar - space - 1), rest.substr(bar + 1)};
        } else if (line[0] == 'Y') {
            if (rest == "master") out.syncs.insert(SyncRole::master);
            if (rest == "backup") out.syncs.insert(SyncRole::backup);
        } else if (line[0] == 'T') {
            if (rest == "4" || rest == "6") out.deliveries.insert(rest == "6");
        } else if (line[0] == 'R') {
            words >> out.rules_text >> out.rules_listing;
        }
    }
    return out;
}

Owned read_owned(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) return {};
    const std::streamoff size = file.tellg();
    if (size <= 0 || size > file_bytes_max) return {};
    std::string text(static_cast<std::size_t>(size), '\0');
    file.seekg(0);
    file.read(text.data(), size);
    text.resize(static_cast<std::size_t>(file.gcount()));
    return parse_owned(text);
}

}  // namespace lbcluster::forward
