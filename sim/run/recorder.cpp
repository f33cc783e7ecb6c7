#include "sim/run/recorder.hpp"

#include <algorithm>
#include <cmath>

namespace lbcluster::sim {

namespace {

constexpr std::size_t events_max = 20000;

const char* word(heartbeat::Severity severity) {
    switch (severity) {
        case heartbeat::Severity::warning:
            return "warning";
        case heartbeat::Severity::alarm:
            return "alarm";
        default:
            return "info";
    }
}

std::string word(heartbeat::Activity activity) {
    switch (activity) {
        case heartbeat::ACTIVITY_PASSIVE:
            return "passive";
        case heartbeat::ACTIVITY_ACTIVE:
            return "active";
        case heartbeat::ACTIVITY_STANDBY:
            return "standby";
        default:
            return "starting";
    }
}

std::string plain_number(double value) {
    std::string text = std::to_string(value);
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text.pop_back();
    return text;
}

}  // namespace

std::string describe(const Fault& fault) {
    std::string text = word(fault.fault());
    std::replace(text.begin(), text.end(), '_', ' ');
    if (fault.has_node()) text += " " + fault.node();
    if (fault.has_host()) text += " " + fault.host();
    if (fault.has_percent()) text += " " + plain_number(fault.percent()) + "%";
    if (fault.has_delay()) text += " " + format_duration(to_duration(fault.delay()));
    if (fault.has_network()) text += " on " + fault.network();
    if (fault.has_from()) text += " from " + fault.from();
    if (fault.has_to()) text += " to " + fault.to();
    if (fault.has_note()) text += " (" + fault.note() + ")";
    return text;
}

void Recorder::add(std::string who, std::string kind, std::string severity, std::string text,
                   std::map<std::string, std::string> inputs) {
    if (!keep_events_) return;
    if (events_.size() >= events_max) events_.erase(events_.begin(), events_.begin() + events_max / 4);
    events_.push_back(
        {elapsed(), std::move(who), std::move(kind), std::move(severity), std::move(text), std::move(inputs)});
}

void Recorder::put(std::vector<Span>& spans, const std::string& value) {
    if (!spans.empty() && spans.back().value == value) return;
    if (!spans.empty() && spans.back().from == elapsed()) spans.pop_back();
    if (spans.empty() || spans.back().value != value) spans.push_back({elapsed(), value});
}

void Recorder::look(Node& node) {
    std::string activity = "down";
    if (node.machine().powered() && node.daemon() == nullptr) activity = "no daemon";
    if (node.daemon() != nullptr) activity = word(node.daemon()->core().activity());
    if (node.daemon() != nullptr && (node.daemon()->stopped() || node.machine().paused())) activity = "stopped";
    put(activities_[node.name()], activity);
}

void Recorder::on_process(Node& node) {
    const auto& spans = activities_[node.name()];
    const std::string before = spans.empty() ? "" : spans.back().value;
    look(node);
    const std::string& now = spans.back().value;
    if (before == now) return;
    if (now == "starting") add(node.name(), "daemon-started", "info", "heartbeatd starts");
    if (now == "no daemon") add(node.name(), "daemon-ended", "warning", "heartbeatd is gone");
    if (now == "down" && !before.empty()) add(node.name(), "machine-off", "warning", "the machine is off");
    if (now == "stopped") add(node.name(), "stands-still", "warning", "stands still");
    if (before == "stopped" && now != "down" && now != "no daemon") add(node.name(), "goes-on", "info", "goes on");
}

void Recorder::on_activity(Node& node, heartbeat::Activity /*before*/) { look(node); }

void Recorder::on_note(Node& node, const heartbeat::Note& note) {
    add(node.name(), note.kind, word(note.severity), note.text, note.inputs);
}

void Recorder::on_answer(Node& node, const heartbeat::Answer& answer) {
    add(node.name(), "answer", answer.exit_code == 0 ? "info" : "warning",
        "exit " + std::to_string(answer.exit_code) + ": " + answer.message +
            (answer.hint.empty() ? "" : "; " + answer.hint));
}

void Recorder::on_change() {
    for (const auto& node : world_->nodes()) {
        auto& spans = kernels_[node->name()];
        const std::string before = spans.empty() ? "silent" : spans.back().value;
        const std::string now = node->serves() ? "serves" : "silent";
        put(spans, now);
        if (before == now) continue;
        add(node->name(), "kernel", "info",
            now == "serves" ? "its kernel answers for the floating IPs" : "its kernel answers no more");
    }
}

void Recorder::on_fault(const FaultPlan& fault, bool begins) {
    add("fault", begins ? "fault-begins" : "fault-ends", "info", (begins ? "" : "over: ") + describe(fault.fault));
}

}  // namespace lbcluster::sim
