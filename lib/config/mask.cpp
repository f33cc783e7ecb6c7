#include "lib/config/mask.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "lbcluster/config/schema.hpp"

namespace lbcluster::config {
namespace {

bool is_letter_or_digit(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return out;
}

// Short ones are secret only as a word of their own: X-Auth, ?sig=, but not `authority` or `design`.
bool is_secret(std::string_view name) {
    static constexpr std::array<const char*, 8> parts{"authorization", "password", "passwd",    "key",
                                                      "secret",        "token",    "signature", "credential"};
    const std::string text = lower(name);
    if (std::any_of(parts.begin(), parts.end(), [&](const char* p) { return text.find(p) != std::string::npos; })) {
        return true;
    }
    for (const std::string_view word : {"auth", "sig"}) {
        for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
            const std::size_t end = at + word.size();
            if ((at == 0 || !is_letter_or_digit(text[at - 1])) &&
                (end == text.size() || !is_letter_or_digit(text[end])))
                return true;
        }
    }
    return false;
}

bool is_cookie(std::string_view name) { return lower(name).find("cookie") != std::string::npos; }

// By its name, and by what follows it: keys of persistence are called `cookie`, too, but have mappings.
bool is_secret(std::string_view name, std::string_view behind) {
    if (is_secret(name)) return true;
    if (!is_cookie(name)) return false;
    const std::size_t value = behind.find_first_not_of(" \t");
    const bool mapping = value == std::string_view::npos || std::string_view("\r\n{#").find(behind[value]) < 4;
    return !mapping || lower(name) != name;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
    return text;
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
        // `AUTH: 535 no` is a server's answer to that command.
        if (sign == std::string_view::npos || part == "AUTH:" ||
            !is_secret(part.substr(0, sign), std::string_view(text).substr(at + sign + 1))) {
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

// `AUTH password` of redis, `PASS password` of others: in upper case, or where a command begins.
std::string without_logins(const std::string& text, bool written_ends) {
    std::string out;
    std::size_t done = 0;
    const std::string small = lower(text);
    for (std::size_t at = 0; at + 4 < text.size(); ++at) {
        const std::string_view command = std::string_view(small).substr(at, 4);
        if (command != "auth" && command != "pass") continue;
        std::size_t from = at + 4;
        if (text[from] == '\\') ++from;  // HAProxy's way to write a blank
        if (from >= text.size() || (text[from] != ' ' && text[from] != '\t')) continue;
        const bool written_end = at >= 2 && text[at - 2] == '\\' && (text[at - 1] == 'n' || text[at - 1] == 'r');
        const bool begins = at == 0 || written_end || std::string_view("\r\n\"'").find(text[at - 1]) < 4;
        const bool blank = !begins && (text[at - 1] == ' ' || text[at - 1] == '\t');
        const bool upper = std::string_view(text).substr(at, 4) == (command == "auth" ? "AUTH" : "PASS");
        if (!begins && !(blank && upper)) continue;
        const std::size_t end = line_end(text, from, written_ends);
        if (trimmed(std::string_view(text).substr(from, end - from)).empty()) continue;
        out += text.substr(done, from + 1 - done) + stars;
        done = end;
        at = end - 1;
    }
    return out + text.substr(done);
}

// https://user:password@host/services/T0/B0/token -> https://***@host/***: tokens stand in paths as well.
std::string without_path(const std::string& url) {
    const std::size_t scheme = url.find("://");
    if (scheme == std::string::npos) return stars;
    const std::size_t path = std::min(url.find_first_of("/?# \t", scheme + 3), url.size());
    const std::string host = without_userinfo(url.substr(0, path));
    return host + (path == url.size() ? "" : path + 1 == url.size() ? "/" : std::string("/") + stars);
}

// The lines of private keys.
class Pem {
  public:
    bool hides(std::string_view line) {
        const bool marker = line.find("PRIVATE KEY-----") != std::string_view::npos;
        if (marker) inside_ = line.find("BEGIN") != std::string_view::npos;
        return inside_ || marker;
    }

  private:
    bool inside_ = false;
};

// `stats auth USER:PASSWORD`, `user U password P`, `http-request set-header X-Api-Key ...`: the rest of the line. The
// word `cookie` is HAProxy's own, too; as the name of a header it is one to hide.
std::string without_haproxy_secrets(const std::string& line) {
    constexpr const char* blanks = " \t\r\n";
    std::string before;
    for (std::size_t at = line.find_first_not_of(blanks); at != std::string::npos;) {
        const std::size_t end = std::min(line.find_first_of(blanks, at), line.size());
        const std::string word = line.substr(at, end - at);
        const bool secret = is_secret(word) || (is_cookie(word) && is_header_word(before));
        at = line.find_first_not_of(blanks, end);
        if (secret && at != std::string::npos) return line.substr(0, end) + " " + stars;
        before = word;
    }
    return line;
}

// What is hidden after a line whose key is a secret's: its value may go on in the lines below.
struct Below {
    bool active = false;
    std::size_t column = 0;    // of the key: what is indented further belongs to its value
    bool value_comes = false;  // the key's own line had none
    char quote = 0;            // that the value opened and did not close
};

// Of a webhook. Quoted, or behind the `?` of a key of its own.
bool is_url_name(std::string_view name) {
    name.remove_prefix(std::min(name.find_first_not_of(" -?\t\"'"), name.size()));
    while (!name.empty() && std::string_view(" \t\"'\r").find(name.back()) != std::string_view::npos)
        name.remove_suffix(1);
    return lower(name) == "url";
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
        const std::string_view name = line.substr(begin, end - begin);
        if (!is_secret(name, line.substr(colon + 1)) && !is_url_name(name)) continue;
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

bool is_secret_name(std::string_view name) { return is_secret(name) || is_cookie(name); }

std::string mask_value(std::string_view name, const std::string& text, bool written_ends) {
    if (is_secret_name(name)) return stars;
    if (is_url_name(name)) return without_path(text);
    return without_logins(without_secrets(without_userinfo(text), written_ends), written_ends);
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
        const bool alone = !below.active && (is_secret(line) || is_url_name(line)) &&
                           line.find_first_not_of(" -") == line.find('?') && line.find('?') != std::string_view::npos;
        if (value != std::string_view::npos || alone) {
            const std::string_view given = alone ? "" : trimmed(line.substr(value));
            below = {true, alone ? line.find('?') : column, given.empty(), '\0'};
            if (!given.empty() && (given[0] == '"' || given[0] == '\'') && !closes(given.substr(1), given[0])) {
                below.quote = given[0];
            }
            // In front of it there may be others that are parts of a text.
            const std::string front = alone ? "" : mask_value("", std::string(line.substr(0, column)), true);
            out += front + std::string(alone ? line : line.substr(column, value - column));
            const bool url = !alone && is_url_name(line.substr(column, value - 1 - column));
            const std::size_t quote = !given.empty() && (given[0] == '"' || given[0] == '\'') ? 1 : 0;
            if (!given.empty()) out += " " + (url ? without_path(std::string(given.substr(quote))) : stars);
        } else if (!below.active) {
            out += mask_value("", std::string(line), true);
        }
        if (ended) out += '\n';
        text.remove_prefix(end + (ended ? 1 : 0));
    }
    return out;
}

std::string mask_text(std::string_view text) {
    std::string out;
    Pem pem;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string line(text.substr(at, end - at));
        out += pem.hides(line) ? stars : without_haproxy_secrets(mask_value("", line, true));
        if (end < text.size()) out += '\n';
        at = end + 1;
    }
    return out;
}

bool is_header_word(std::string_view word) { return word.ends_with("-header") || word == "hdr"; }

}  // namespace lbcluster::config
