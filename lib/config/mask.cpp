#include "lib/config/mask.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "lbcluster/config/schema.hpp"

namespace lbcluster::config {
namespace {

constexpr const char* stars = "***";

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return out;
}

bool is_secret(std::string_view name) {
    static constexpr std::array<const char*, 6> words{"authorization", "password", "passwd", "key", "secret", "token"};
    const std::string text = lower(name);
    return std::any_of(words.begin(), words.end(), [&](const char* w) { return text.find(w) != std::string::npos; });
}

std::size_t line_end(std::string_view text, std::size_t from, bool written_ends) {
    std::size_t end = std::min(text.find_first_of("\r\n", from), text.size());
    if (!written_ends) return end;
    for (const char* written : {"\\r", "\\n"}) end = std::min(end, text.find(written, from));
    return end;
}

// https://user:password@host/ -> https://***@host/
std::string without_userinfo(const std::string& text) {
    std::string out;
    std::size_t done = 0;
    for (std::size_t at = text.find("://"); at != std::string::npos; at = text.find("://", at)) {
        at += 3;
        const std::size_t end = std::min(text.find_first_of("/?# \t\r\n\"'<>", at), text.size());
        const std::size_t sign = text.substr(0, end).rfind('@');
        if (sign == std::string::npos || sign < at) continue;
        out += text.substr(done, at - done) + stars;
        done = sign;
    }
    return out + text.substr(done);
}

// `name=value` up to the next parameter, `name: value` up to the end of the line.
std::string without_secrets(const std::string& text, bool written_ends) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find_first_of("&?;, /\r\n", at), text.size());
        const std::string_view part = std::string_view(text).substr(at, end - at);
        const std::size_t sign = part.find_first_of("=:");
        if (sign == std::string_view::npos || !is_secret(part.substr(0, sign))) {
            out += std::string_view(text).substr(at, end + 1 - at);
            at = end + 1;
            continue;
        }
        const std::string name(part.substr(0, sign + 1));
        out += name + stars;
        at += name.size();
        const std::size_t line = line_end(text, at, written_ends);
        // Authorization=Basic dXNlcg: there the blank belongs to the value.
        const bool words = lower(name).find("authorization") != std::string::npos;
        const std::size_t parameter = text.find_first_of(words ? "&" : "& \t", at);
        at = name.back() == ':' ? line : std::min(line, parameter);
    }
    return out;
}

// What is hidden after a line whose key is a secret's: its value may go on in the lines below.
struct Below {
    bool active = false;
    std::size_t column = 0;    // of the key: what is indented further belongs to its value
    bool value_comes = false;  // the key's own line had none
    char quote = 0;            // that the value opened and did not close
};

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
    return text;
}

// Where the value of the first key that is a secret's begins, behind the colon; npos: there is none. Keys may be
// quoted.
std::size_t secret_value(std::string_view line, std::size_t& column) {
    for (std::size_t colon = line.find(':'); colon != std::string_view::npos; colon = line.find(':', colon + 1)) {
        std::size_t end = colon;
        while (end > 0 && (line[end - 1] == ' ' || line[end - 1] == '\t')) --end;
        const char quote = end > 0 && (line[end - 1] == '"' || line[end - 1] == '\'') ? line[end - 1] : '\0';
        std::size_t begin = quote != 0 ? end - 1 : end;
        while (begin > 0 && (quote != 0 ? line[begin - 1] != quote
                                        : std::string_view(" \t,{[").find(line[begin - 1]) == std::string_view::npos)) {
            --begin;
        }
        if (!is_secret(line.substr(begin, end - begin))) continue;
        column = quote != 0 && begin > 0 ? begin - 1 : begin;
        return colon + 1;
    }
    return std::string_view::npos;
}

bool closes(std::string_view text, char quote) {
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (quote == '"' && text[i] == '\\') ++i;
        else if (text[i] == quote) return true;
    }
    return false;
}

// One line that belongs to the value above it; false if it does not.
bool hide(std::string_view line, Below& below, std::string& out) {
    const std::string_view text = trimmed(line);
    const std::size_t indent = text.empty() ? 0 : static_cast<std::size_t>(text.data() - line.data());
    if (text.empty()) {
        out += line;
        return true;
    }
    if (below.quote == 0 && !below.value_comes && indent <= below.column) return false;
    if (below.quote != 0 && closes(text, below.quote)) below.quote = 0;
    below.value_comes = below.value_comes && text == ":";
    out += std::string(line.substr(0, indent)) + stars;
    return true;
}

}  // namespace

std::string mask_value(std::string_view name, const std::string& text, bool written_ends) {
    if (is_secret(name)) return stars;
    return without_secrets(without_userinfo(text), written_ends);
}

std::string mask_secrets(std::string_view text) { return mask_value("", std::string(text), false); }

std::string mask_lines(std::string_view text) {
    std::string out;
    Below below;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        const bool ended = end < text.size();
        below.active = below.active && hide(line, below, out);
        std::size_t column = 0;
        std::size_t value = below.active ? std::string_view::npos : secret_value(line, column);
        // A key of its own: '? password', ': value' in the next line.
        const bool alone = !below.active && is_secret(line) && line.find_first_not_of(" -") == line.find('?') &&
                           line.find('?') != std::string_view::npos;
        if (value != std::string_view::npos || alone) {
            const std::string_view given = alone ? "" : trimmed(line.substr(value));
            below = {true, alone ? line.find('?') : column, given.empty(), '\0'};
            if (!given.empty() && (given[0] == '"' || given[0] == '\'') && !closes(given.substr(1), given[0])) {
                below.quote = given[0];
            }
            // In front of it there may be others that are parts of a text.
            const std::string front = alone ? "" : mask_value("", std::string(line.substr(0, column)), true);
            out += front + std::string(alone ? line : line.substr(column, value - column));
            if (!given.empty()) out += std::string(" ") + stars;
        } else if (!below.active) {
            out += mask_value("", std::string(line), true);
        }
        if (ended) out += '\n';
        text.remove_prefix(end + (ended ? 1 : 0));
    }
    return out;
}

}  // namespace lbcluster::config
