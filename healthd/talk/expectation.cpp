#include "healthd/talk/expectation.hpp"

#include <re2/re2.h>

#include <memory>
#include <unordered_map>

#include "healthd/core/types.hpp"

namespace lbcluster::health {
namespace {

const RE2& compiled(const std::string& expression) {
    constexpr std::size_t kept_max = 64;
    thread_local std::unordered_map<std::string, std::unique_ptr<RE2>> kept;
    if (const auto found = kept.find(expression); found != kept.end()) return *found->second;
    if (kept.size() >= kept_max) kept.clear();
    return *kept.emplace(expression, std::make_unique<RE2>(expression, RE2::Quiet)).first->second;
}

}  // namespace

std::string Expectation::missing(std::string_view answer) const {
    constexpr std::size_t shown_max = 60;
    const std::string& text = check_.expect_text();
    if (!text.empty() && answer.find(text) == std::string_view::npos) {
        return "no \"" + printable(text, shown_max) + "\" in the answer";
    }
    const std::string& expression = check_.expect_regex();
    if (expression.empty()) return {};
    // The configuration was checked; one that does not compile matches nothing.
    const RE2& regex = compiled(expression);
    if (!RE2::PartialMatch(re2::StringPiece(answer.data(), answer.size()), regex)) {
        return "the answer does not match \"" + printable(expression, shown_max) + "\"";
    }
    return {};
}

}  // namespace lbcluster::health
