#include "sim/run/expectations.hpp"

#include <algorithm>

#include "sim/run/run.hpp"

namespace lbcluster::sim {

namespace {

std::string list(const std::vector<std::string>& names) {
    if (names.empty()) return "nobody";
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : " and ") + name;
    return text;
}

std::string ms_text(Duration duration) {
    const double value = static_cast<double>(duration.count()) / 1e6;
    std::string text = std::to_string(value);
    return text.substr(0, text.find('.') + 2) + " ms";
}

}  // namespace

void Expectations::start() {
    for (const Expectation& expect : world_.scenario().scenario.expect()) {
        if (!expect.has_at()) continue;
        after(to_duration(expect.at()), [this, &expect] { look(expect); });
    }
}

void Expectations::fail(Duration at, const std::string& what) {
    failures_.push_back({at, what});
    recorder_.add("expectation", "failed", "alarm", what);
}

void Expectations::look(const Expectation& expect) {
    const Duration at = to_duration(expect.at());
    const auto serving = service_.serving();
    if (expect.has_active()) {
        const std::string& wanted = expect.active();
        bool right = serving.size() == 1 && serving.front() == wanted && service_.serves_all(wanted);
        if (wanted == "none") right = serving.empty();
        if (wanted == "both") right = serving.size() == 2;
        if (!right)
            fail(at, "expected that " + (wanted == "none" ? "nobody" : wanted) + " answers, but " + list(serving) +
                         (serving.size() == 1 ? " does" : " do"));
    }
    if (expect.has_clients_reach() && !service_.all_clients_reach(expect.clients_reach())) {
        fail(at, "expected that every client reaches " + expect.clients_reach());
    }
    for (const std::string& wanted : expect.alarms()) {
        for (const auto& node : world_.nodes()) {
            if (expect.has_node() && expect.node() != node->name()) continue;
            std::vector<std::string> shown;
            if (node->daemon() != nullptr) {
                const bus::NodeStatus status = node->daemon()->status();
                for (const auto& alarm : status.alarms()) shown.push_back(alarm.id());
            }
            if (std::any_of(shown.begin(), shown.end(),
                            [&](const std::string& id) { return id.starts_with(wanted); })) {
                continue;
            }
            fail(at, "expected the alarm '" + wanted + "' on " + node->name() + ", which shows " +
                         (shown.empty() ? "none" : list(shown)));
        }
    }
}

std::vector<Failure> Expectations::finish() {
    const Duration end = to_duration(world_.scenario().scenario.duration());
    for (const Expectation& expect : world_.scenario().scenario.expect()) {
        const Duration from = to_duration(expect.from());
        const Duration to = expect.has_to() ? to_duration(expect.to()) : end;
        const Duration gap = service_.longest_gap(from, to);
        if (expect.has_gap_max() && gap > to_duration(expect.gap_max())) {
            fail(to, "expected no gap longer than " + ms_text(to_duration(expect.gap_max())) + ", but one was " +
                         ms_text(gap));
        }
        if (expect.has_gap_min() && gap < to_duration(expect.gap_min())) {
            fail(to, "expected a gap of at least " + ms_text(to_duration(expect.gap_min())) + ", but the longest was " +
                         ms_text(gap));
        }
        const Duration both = service_.longest_both(from, to);
        if (expect.has_both_max() && both > to_duration(expect.both_max())) {
            fail(to, "expected that both answer for at most " + ms_text(to_duration(expect.both_max())) +
                         ", but it was " + ms_text(both));
        }
        const std::size_t moves = service_.moves(from, to);
        if (expect.has_moves() && moves != expect.moves()) {
            fail(to, "expected " + std::to_string(expect.moves()) + " moves, but there were " + std::to_string(moves));
        }
        if (expect.has_moves_max() && moves > expect.moves_max()) {
            fail(to, "expected at most " + std::to_string(expect.moves_max()) + " moves, but there were " +
                         std::to_string(moves));
        }
        const auto happened = [&](const std::string& text) {
            const auto& events = recorder_.events();
            return std::any_of(events.begin(), events.end(), [&](const TimelineEvent& event) {
                const bool by = !expect.has_node() || expect.node() == event.who;
                const bool then = event.at >= from && event.at <= to;
                return by && then && event.kind != "failed" &&
                       (event.kind + " " + event.text).find(text) != std::string::npos;
            });
        };
        if (expect.has_event() && !happened(expect.event())) fail(to, "expected the event '" + expect.event() + "'");
        if (expect.has_no_event() && happened(expect.no_event())) {
            fail(to, "expected no event '" + expect.no_event() + "'");
        }
    }
    return failures_;
}

}  // namespace lbcluster::sim
