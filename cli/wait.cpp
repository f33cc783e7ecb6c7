#include "wait.hpp"

#include <CLI/App.hpp>

#include "lbcluster/base/assert.hpp"
#include "lbcluster/base/time.hpp"

namespace lbcluster::cli {
namespace {

constexpr auto wait_max = 1h;

std::string complaint(const std::string& text) {
    const auto wait = parse_duration(text);
    if (!wait.ok()) return wait.error().message + "; for example --wait 10s";
    return *wait > 0ns && *wait <= wait_max ? "" : text + " is not more than 0 and at most 1h";
}

}  // namespace

void add_wait_time(CLI::App* command, WaitOptions& options, const std::string& for_what) {
    command->add_option("--wait", options.wait, "How long to wait until " + for_what)
        ->check(complaint)
        ->capture_default_str();
}

void add_wait_options(CLI::App* command, WaitOptions& options, const std::string& for_what) {
    add_wait_time(command, options, for_what);
    command->add_flag("--no-wait", options.no_wait, "Do not wait");
}

std::chrono::milliseconds wait_of(const WaitOptions& options) {
    const auto wait = parse_duration(options.wait);
    LBC_ASSERT(wait.ok());
    return std::chrono::ceil<std::chrono::milliseconds>(*wait);
}

}  // namespace lbcluster::cli
