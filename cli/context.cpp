#include "context.hpp"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "lbcluster/base/utf8.hpp"

namespace lbcluster::cli {
namespace {

bool steers(std::uint32_t c) {
    const bool control = c < 0x20 || (c >= 0x7F && c < 0xA0);
    const bool direction = c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
                           (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF;
    return control || direction;
}

std::string hex(const char* prefix, std::uint32_t value, const char* suffix) {
    std::array<char, 24> out{};
    std::snprintf(out.data(), out.size(), "%s%02x%s", prefix, value, suffix);
    return out.data();
}

}  // namespace

std::string_view code_word(int exit_code) {
    switch (exit_code) {
        case exit_done:
            return "done";
        case exit_usage:
            return "usage";
        case exit_invalid:
            return "invalid";
        case exit_unreachable:
            return "unreachable";
        case exit_refused:
            return "refused";
        case exit_timed_out:
            return "timeout";
        default:
            return "failed";
    }
}

std::string_view meaning_of(ExitCode exit_code) {
    switch (exit_code) {
        case exit_done:
            return "Done";
        case exit_failed:
            return "Failed; check and diagnose: something is wrong";
        case exit_usage:
            return "Usage: the command line is not understood";
        case exit_invalid:
            return "The configuration is not valid";
        case exit_unreachable:
            return "A daemon is not reachable";
        case exit_refused:
            return "Refused: the wrong node, a conflict, or no permission";
        case exit_timed_out:
            return "Not done in time";
    }
    return "";
}

Json error_json(int exit_code, const Error& error) {
    return {{"code", code_word(exit_code)}, {"message", error.message}, {"hint", error.hint}};
}

int fail(Context& context, int exit_code, const Error& error) {
    context.exit_code = exit_code;
    if (context.json) {
        print_json({{"error", error_json(exit_code, error)}});
        return exit_code;
    }
    std::string text = "lbcluster: " + harmless(error.message) + "\n";
    if (!error.hint.empty()) {
        text += "  " + harmless(error.hint) + "\n";
    }
    std::fputs(text.c_str(), stderr);
    return exit_code;
}

std::string harmless(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const CodePoint decoded = decode_utf8(text);
        if (decoded.size == 0) {
            out += hex("\\x", static_cast<std::uint8_t>(text[0]), "");
            text.remove_prefix(1);
            continue;
        }
        if (!steers(decoded.value)) {
            out += text.substr(0, decoded.size);
        } else if (decoded.value == '\n') {
            out += "\\n";
        } else if (decoded.value == '\t') {
            out += "\\t";
        } else if (decoded.value < 0x80) {
            out += hex("\\x", decoded.value, "");
        } else {
            out += hex("\\u{", decoded.value, "}");
        }
        text.remove_prefix(decoded.size);
    }
    return out;
}

std::string json_text(const Json& value, int indent) {
    return value.dump(indent, ' ', true, Json::error_handler_t::replace);
}

void print_json(const Json& value, int indent) { print(json_text(value, indent) + "\n"); }

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

bool stdout_works() {
    pollfd entry{STDOUT_FILENO, 0, 0};  // POLLERR: a pipe without a reader
    const bool reader_gone = ::poll(&entry, 1, 0) == 1 && (entry.revents & (POLLERR | POLLHUP)) != 0;
    return std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && !reader_gone;
}

bool stdout_wants_color() {
    const char* no_color = std::getenv("NO_COLOR");  // https://no-color.org: set and not empty
    return ::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0');
}

}  // namespace lbcluster::cli
