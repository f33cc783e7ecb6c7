// --wait and --no-wait, the same for every verb that waits for daemons.
#pragma once

#include <chrono>
#include <string>

namespace CLI {
class App;
}

namespace lbcluster::cli {

struct WaitOptions {
    std::string wait = "10s";
    bool no_wait = false;
};

// `for_what` goes on after "How long to wait until". `options` must live as long as the command.
// --wait alone, for what makes no sense without waiting.
void add_wait_time(CLI::App* command, WaitOptions& options, const std::string& for_what);
void add_wait_options(CLI::App* command, WaitOptions& options, const std::string& for_what);

// Of what the parser took: more than 0, at most an hour.
std::chrono::milliseconds wait_of(const WaitOptions& options);

}  // namespace lbcluster::cli
