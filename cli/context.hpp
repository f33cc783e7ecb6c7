// What every command of `lbcluster` shares: where the node keeps its files, how to print, how to fail. No CLI11 in
// here, so that rendering and its tests stay quick to build.
//
// A command sits in a file of its own and has one function `void register_xxx(CLI::App&, Context&)` (commands.hpp)
// that adds its verb; the verb's callback sets `context.exit_code`. The contract is the specification's
// 'cli-and-config': results go to stdout, errors to stderr, with --json both to stdout as one JSON value.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "lbcluster/base/result.hpp"
#include "lbcluster/config/paths.hpp"

namespace lbcluster::cli {

using Json = nlohmann::ordered_json;  // keys stay in the order a reader expects

enum ExitCode : int {
    exit_done = 0,
    exit_failed = 1,
    exit_usage = 2,
    exit_invalid = 3,      // the configuration
    exit_unreachable = 4,  // a daemon
    exit_refused = 5,      // wrong node, conflict, permission
    exit_timed_out = 6,
};

inline constexpr std::chrono::milliseconds answer_time{2000};  // that a daemon may take to show what it has on the bus

struct Context {
    config::Paths paths;
    bool json = false;
    bool color = false;  // stdout is a terminal and NO_COLOR is unset
    int exit_code = exit_done;
};

// The stable word of an exit code: failed, usage, invalid, unreachable, refused, timeout.
std::string_view code_word(int exit_code);

// What it means, for the manual.
std::string_view meaning_of(ExitCode exit_code);

Json error_json(int exit_code, const Error& error);
// Prints the error as the caller asked for it, sets context.exit_code and returns it.
int fail(Context& context, int exit_code, const Error& error);

// `text` without anything that could steer a terminal: control characters, escapes, text-direction marks and bytes that
// are not UTF-8 appear as \n, \xNN or \u{NNNN}. Everything printed that came from outside goes through this.
std::string harmless(std::string_view text);

// One JSON value to stdout, ASCII only. `indent` as nlohmann's: -1 puts it on one line.
void print_json(const Json& value, int indent = 2);
std::string json_text(const Json& value, int indent = 2);

// Writes to stdout; what stdout does not take (closed pipe, full disk) makes the command fail at its end.
void print(std::string_view text);

// Flushes; false if what was printed did not get out or nobody reads stdout any more. For commands that go on.
bool stdout_works();

// True if stdout may carry colours.
bool stdout_wants_color();

}  // namespace lbcluster::cli
