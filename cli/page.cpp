#include "page.hpp"

#include <algorithm>
#include <cctype>

namespace lbcluster::cli {

std::size_t columns(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string clip(std::string text, std::size_t width) {
    if (columns(text) <= width) {
        return text;
    }
    std::size_t bytes = 0;
    for (std::size_t seen = 0; bytes < text.size(); ++bytes) {
        if ((static_cast<unsigned char>(text[bytes]) & 0xC0U) != 0x80U && ++seen > width - 2) {
            break;
        }
    }
    return text.substr(0, bytes) + "..";
}

std::string pad(const std::string& text, std::size_t width) {
    const std::size_t have = columns(text);
    return have >= width ? text : text + std::string(width - have, ' ');
}

std::string upper(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return text;
}

std::vector<std::string> wrap(const std::string& text, std::size_t width) {
    std::vector<std::string> lines;
    std::string line;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t space = std::min(text.find(' ', at), text.size());
        const std::string word = clip(text.substr(at, space - at), width);
        at = space + 1;
        if (word.empty()) {
            continue;
        }
        if (!line.empty() && columns(line) + 1 + columns(word) > width) {
            lines.push_back(std::exchange(line, {}));
        }
        line += (line.empty() ? "" : " ") + word;
    }
    if (!line.empty() || lines.empty()) {
        lines.push_back(line);
    }
    return lines;
}

std::string age_text(std::uint64_t ms) {
    const std::uint64_t s = ms / 1000;
    if (ms < 1000) {
        return std::to_string(ms) + " ms";
    }
    if (s < 60) {
        return std::to_string(s) + " s";
    }
    if (s < 3600) {
        return std::to_string(s / 60) + " min " + std::to_string(s % 60) + " s";
    }
    if (s < 86400) {
        return std::to_string(s / 3600) + " h " + std::to_string(s / 60 % 60) + " min";
    }
    return std::to_string(s / 86400) + " d " + std::to_string(s / 3600 % 24) + " h";
}

}  // namespace lbcluster::cli
