#include "sim/run/report.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace lbcluster::sim {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t bar_width = 72;

std::string printf_text(const char* format, double value) {
    std::array<char, 64> buffer{};
    std::snprintf(buffer.data(), buffer.size(), format, value);
    return buffer.data();
}

double seconds_of(Duration duration) { return static_cast<double>(duration.count()) / 1e9; }

const std::string& value_at(const std::vector<Span>& spans, Duration at) {
    static const std::string nothing;
    const std::string* value = &nothing;
    for (const Span& span : spans) {
        if (span.from > at) break;
        value = &span.value;
    }
    return *value;
}

// One character for each stretch of time: A active, - passive, s starting, ! holds the address without being active.
std::string bar(const RunResult& result, const std::string& node) {
    std::string out;
    for (std::size_t i = 0; i < bar_width; ++i) {
        const Duration at =
            result.duration * static_cast<std::int64_t>(2 * i + 1) / static_cast<std::int64_t>(2 * bar_width);
        const std::string& activity = value_at(result.activities.at(node), at);
        const auto kernel = result.kernels.find(node);
        const bool serves = kernel != result.kernels.end() && value_at(kernel->second, at) == "serves";
        char mark = ' ';
        if (activity == "active") mark = serves ? 'A' : 'a';
        else if (activity == "passive") mark = serves ? '!' : '-';
        else if (activity == "standby") mark = serves ? '!' : 'w';
        else if (activity == "starting") mark = serves ? '!' : 's';
        else if (activity == "stopped") mark = serves ? '#' : 'z';
        else if (serves) mark = '!';
        out += mark;
    }
    return out;
}

class Painter {
  public:
    explicit Painter(bool color) : color_(color) {}
    [[nodiscard]] std::string operator()(const char* code, const std::string& text) const {
        return color_ ? std::string("\x1b[") + code + "m" + text + "\x1b[0m" : text;
    }

  private:
    bool color_;
};

std::string event_line(const TimelineEvent& event, const Painter& paint) {
    const char* code = event.severity == "alarm" ? "31" : event.severity == "warning" ? "33" : "0";
    if (event.who == "fault") code = "36";
    std::string who = event.who;
    who.resize(std::max<std::size_t>(who.size(), 8), ' ');
    std::string kind = event.kind;
    kind.resize(std::max<std::size_t>(kind.size(), 16), ' ');
    return printf_text("%12.6f", seconds_of(event.at)) + "  " + paint(code, who + " " + kind + " " + event.text) + "\n";
}

Json event_json(const TimelineEvent& event) {
    Json out{{"at_ns", event.at.count()},
             {"who", event.who},
             {"kind", event.kind},
             {"severity", event.severity},
             {"text", event.text}};
    if (!event.inputs.empty()) out["inputs"] = event.inputs;
    return out;
}

}  // namespace

std::string clock_text(Duration at) { return printf_text("%.6f s", seconds_of(at)); }
std::string milliseconds_text(Duration duration) { return printf_text("%.1f ms", seconds_of(duration) * 1e3); }

std::string text_violation(const Violation& violation) {
    std::string out = "invariant " + std::to_string(violation.invariant) + " (" + violation.name + ") violated at " +
                      clock_text(violation.at) + ", seed " + std::to_string(violation.seed) + ": " + violation.what +
                      "\n  the events before it:\n";
    for (const TimelineEvent& event : violation.before) out += "  " + event_line(event, Painter(false));
    return out;
}

std::string text_report(const Loaded& scenario, const RunResult& result, const ReportOptions& options) {
    const Painter paint(options.color);
    std::string out = paint("1", scenario.scenario.title()) + "\n" + scenario.file + "  seed " +
                      std::to_string(result.seed) + "  " + format_duration(result.duration) + "\n\n";
    for (const TimelineEvent& event : result.events) {
        out += event_line(event, paint);
        if (!options.inputs || event.inputs.empty()) continue;
        out += std::string(14, ' ') + "because";
        for (const auto& [name, value] : event.inputs) out += " " + name + "=" + value;
        out += "\n";
    }
    out += "\n";
    for (const auto& [node, spans] : result.activities) {
        std::string name = node;
        name.resize(std::max<std::size_t>(name.size(), 10), ' ');
        out += name + " |" + bar(result, node) + "|\n";
    }
    out +=
        "            A active  a active, without address  - passive  s starting  w standby  z stands still\n"
        "            ! not active, but its kernel answers  # stands still, its kernel answers\n\n";
    out += "moves " + std::to_string(result.moves.size()) + "   longest gap " + milliseconds_text(result.longest_gap) +
           "   both answered at most " + milliseconds_text(result.longest_both) + "\n";
    for (const auto& gap : result.gaps) {
        out += "  gap of " + milliseconds_text(gap.when.length()) + " from " + clock_text(gap.when.from) + ": " +
               gap.client + " to " + gap.address.to_string() + "\n";
    }
    for (const Failure& failure : result.failures) {
        out += paint("31", "FAILED at " + clock_text(failure.at) + ": " + failure.what) + "\n";
    }
    for (const Violation& violation : result.violations) out += paint("31", "FAILED ") + text_violation(violation);
    if (result.good()) out += paint("32", "all expectations and invariants held") + "\n";
    return out;
}

std::string json_report(const Loaded& scenario, const RunResult& result) {
    Json out{{"scenario", scenario.file},
             {"title", scenario.scenario.title()},
             {"seed", result.seed},
             {"duration_ns", result.duration.count()},
             {"good", result.good()},
             {"moves", Json::array()},
             {"longest_gap_ns", result.longest_gap.count()},
             {"longest_both_ns", result.longest_both.count()},
             {"gaps", Json::array()},
             {"failures", Json::array()},
             {"violations", Json::array()},
             {"activities", Json::object()},
             {"kernels", Json::object()},
             {"events", Json::array()},
             {"heartbeats", result.heartbeats}};
    for (const auto& move : result.moves) out["moves"].push_back({{"at_ns", move.at.count()}, {"to", move.to}});
    for (const auto& gap : result.gaps) {
        out["gaps"].push_back({{"client", gap.client},
                               {"address", gap.address.to_string()},
                               {"from_ns", gap.when.from.count()},
                               {"to_ns", gap.when.to.count()}});
    }
    for (const Failure& failure : result.failures) {
        out["failures"].push_back({{"at_ns", failure.at.count()}, {"what", failure.what}});
    }
    for (const Violation& violation : result.violations) {
        Json one{{"seed", violation.seed}, {"at_ns", violation.at.count()}, {"invariant", violation.invariant},
                 {"name", violation.name}, {"what", violation.what},        {"before", Json::array()}};
        for (const TimelineEvent& event : violation.before) one["before"].push_back(event_json(event));
        out["violations"].push_back(std::move(one));
    }
    const auto spans = [](const std::map<std::string, std::vector<Span>>& all, Json& into) {
        for (const auto& [node, list] : all) {
            into[node] = Json::array();
            for (const Span& span : list) into[node].push_back({{"from_ns", span.from.count()}, {"is", span.value}});
        }
    };
    spans(result.activities, out["activities"]);
    spans(result.kernels, out["kernels"]);
    for (const TimelineEvent& event : result.events) out["events"].push_back(event_json(event));
    return out.dump(1, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace lbcluster::sim
