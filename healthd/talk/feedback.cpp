#include "healthd/talk/feedback.hpp"

#include <charconv>

#include "healthd/talk/parts.hpp"

namespace lbcluster::health {
namespace {

std::string state_of(std::string_view word) {
    for (const std::string_view same : {"up", "ready"}) {
        if (word == same) return "up";
    }
    for (const std::string_view same : {"down", "stopped", "fail", "failed", "maint"}) {
        if (word == same) return "down";
    }
    return word == "drain" ? "drain" : "";
}

std::optional<unsigned> percent_of(std::string_view word) {
    if (word.ends_with('%')) word.remove_suffix(1);
    unsigned value = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    constexpr unsigned percent_max = 100;
    if (error != std::errc{} || stop != word.data() + word.size() || value > percent_max) return {};
    return value;
}

FeedbackAnswer wrong(const std::string& why, std::string_view line) {
    return {.error = why + ": \"" + printable(line, 80) + '"'};
}

class FeedbackTalk final : public Talk {
  public:
    explicit FeedbackTalk(std::function<void(const FeedbackAnswer&)> on_answer) : on_answer_(std::move(on_answer)) {}

    Step on_connected() override { return {}; }
    Step on_bytes(std::string_view bytes) override {
        line_ += bytes.substr(0, feedback_bytes_max - line_.size());
        const bool whole = line_.find('\n') != std::string::npos || line_.size() == feedback_bytes_max;
        return whole ? answer() : Step{};
    }
    Step on_tls() override { return unusable("feedback: there is no TLS"); }
    Step on_end() override { return line_.empty() ? down("feedback: connection closed without a line") : answer(); }
    [[nodiscard]] std::string waiting_for() const override { return "line of the feedback agent"; }

  private:
    Step answer() {
        const FeedbackAnswer answer = parse_feedback(line_);
        on_answer_(answer);
        if (!answer.error.empty()) return down("feedback: " + answer.error);
        return up("feedback: " + printable(line_.substr(0, line_.find_first_of("\r\n")), 80));
    }

    std::function<void(const FeedbackAnswer&)> on_answer_;
    std::string line_;
};

}  // namespace

FeedbackAnswer parse_feedback(std::string_view line) {
    FeedbackAnswer answer;
    line = line.substr(0, std::min(line.size(), feedback_bytes_max));
    line = line.substr(0, line.find('\n'));
    std::string_view rest = line.substr(0, line.find('#'));
    constexpr std::string_view blanks = " \t\r,";
    for (;;) {
        rest.remove_prefix(std::min(rest.find_first_not_of(blanks), rest.size()));
        if (rest.empty()) break;
        const std::string_view word = rest.substr(0, rest.find_first_of(blanks));
        rest.remove_prefix(word.size());
        const std::string state = state_of(word);
        const auto percent = percent_of(word);
        if (state.empty() && !percent) return wrong("neither 0% to 100% nor up, drain or down", line);
        if ((!state.empty() && !answer.state.empty()) || (percent && answer.percent))
            return wrong("says two things", line);
        if (percent) answer.percent = percent;
        if (!state.empty()) answer.state = state;
    }
    if (!answer.percent && answer.state.empty()) return wrong("says nothing", line);
    return answer;
}

std::unique_ptr<Talk> make_feedback_talk(std::function<void(const FeedbackAnswer&)> on_answer) {
    return std::make_unique<FeedbackTalk>(std::move(on_answer));
}

}  // namespace lbcluster::health
