#include "sim/run/picture.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "sim/run/report.hpp"

namespace lbcluster::sim {

namespace {

constexpr double left = 110;
constexpr double plot_width = 900;
constexpr double lane_height = 26;
constexpr double kernel_height = 6;
constexpr double lane_step = 46;
constexpr double fault_step = 16;
constexpr double top = 46;

std::string two_digits(double value) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.2f", value);
    return text.data();
}

std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '&':
                out += "&amp;";
                break;
            case '"':
                out += "&quot;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

const char* color_of(const std::string& activity) {
    if (activity == "active") return "#2e8b57";
    if (activity == "passive") return "#b7c9d9";
    if (activity == "starting") return "#f2d16b";
    if (activity == "standby") return "#c8a2c8";
    if (activity == "stopped") return "#d98c40";
    return "#eeeeee";  // down, no daemon
}

class Picture {
  public:
    Picture(const Loaded& scenario, const RunResult& result) : scenario_(scenario), result_(result) {}

    std::string draw() {
        double y = top;
        for (const auto& [node, spans] : result_.activities) {
            lane(y, node, spans);
            y += lane_step;
        }
        service(y);
        y += lane_step;
        faults(y);
        y += fault_step * static_cast<double>(scenario_.faults.size()) + 8;
        axis(y);
        y += 64;
        const std::string head = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" +
                                 two_digits(left + plot_width + 30) + "\" height=\"" + two_digits(y) +
                                 "\" font-family=\"sans-serif\" font-size=\"12\">\n" +
                                 "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n" +
                                 text(10, 22, scenario_.scenario.title(), "font-size=\"16\" font-weight=\"bold\"") +
                                 text(10, 38, "seed " + std::to_string(result_.seed), "fill=\"#666\"");
        return head + body_ + "</svg>\n";
    }

  private:
    [[nodiscard]] double x(Duration at) const {
        return left + plot_width * static_cast<double>(at.count()) / static_cast<double>(result_.duration.count());
    }
    static std::string text(double x, double y, const std::string& what, const std::string& style = "") {
        return "<text x=\"" + two_digits(x) + "\" y=\"" + two_digits(y) + "\" " + style + ">" + escaped(what) +
               "</text>\n";
    }
    void box(Duration from, Duration to, double y, double height, const std::string& fill, const std::string& title) {
        const double width = std::max(x(to) - x(from), 0.6);
        body_ += "<rect x=\"" + two_digits(x(from)) + "\" y=\"" + two_digits(y) + "\" width=\"" + two_digits(width) +
                 "\" height=\"" + two_digits(height) + "\" fill=\"" + fill + "\"><title>" + escaped(title) +
                 "</title></rect>\n";
    }
    void each(const std::vector<Span>& spans, const std::function<void(const Span&, Duration)>& what) const {
        for (std::size_t i = 0; i < spans.size(); ++i) {
            what(spans[i], i + 1 < spans.size() ? spans[i + 1].from : result_.duration);
        }
    }
    static std::string range(Duration from, Duration to) {
        return clock_text(from) + " - " + clock_text(to) + ", " + milliseconds_text(to - from);
    }

    void lane(double y, const std::string& node, const std::vector<Span>& spans) {
        body_ += text(10, y + 17, node, "font-weight=\"bold\"");
        each(spans, [&](const Span& span, Duration to) {
            box(span.from, to, y, lane_height, color_of(span.value),
                node + " " + span.value + ": " + range(span.from, to));
        });
        const auto kernel = result_.kernels.find(node);
        if (kernel == result_.kernels.end()) return;
        each(kernel->second, [&](const Span& span, Duration to) {
            if (span.value != "serves") return;
            box(span.from, to, y + lane_height + 1, kernel_height, "#14532d",
                node + "'s kernel answers: " + range(span.from, to));
        });
    }

    void service(double y) {
        body_ += text(10, y + 17, "clients", "font-weight=\"bold\"");
        box(Duration{0}, result_.duration, y, lane_height, "#e3f1e7", "answered");
        for (const auto& gap : result_.gaps) {
            box(gap.when.from, gap.when.to, y, lane_height, "#c0392b",
                gap.client + " to " + gap.address.to_string() + " unanswered: " + range(gap.when.from, gap.when.to));
        }
        for (const auto& both : result_.both) {
            box(both.from, both.to, y + lane_height + 1, kernel_height, "#8e44ad",
                "both answer: " + range(both.from, both.to));
        }
        for (const Violation& violation : result_.violations) {
            body_ += "<path d=\"M" + two_digits(x(violation.at)) + " " + two_digits(top) + " V" +
                     two_digits(y + lane_height) + "\" stroke=\"#c0392b\" stroke-width=\"2\"><title>" +
                     escaped("invariant " + std::to_string(violation.invariant) + ": " + violation.what) +
                     "</title></path>\n";
        }
    }

    void faults(double y) {
        for (const FaultPlan& fault : scenario_.faults) {
            const Duration end = std::min(fault.end.value_or(fault.at), result_.duration);
            box(fault.at, std::max(end, fault.at), y, 10, "#5b7db1", describe(fault.fault));
            const bool right = x(end) < left + plot_width * 0.7;
            body_ += text(right ? x(end) + 5 : x(fault.at) - 5, y + 9, describe(fault.fault),
                          right ? "font-size=\"10\"" : "font-size=\"10\" text-anchor=\"end\"");
            y += fault_step;
        }
    }

    void axis(double y) {
        const double seconds = static_cast<double>(result_.duration.count()) / 1e9;
        double step = 1;
        for (const double candidate : {1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0}) {
            step = candidate;
            if (seconds / step <= 16) break;
        }
        for (double at = 0; at <= seconds + 1e-9; at += step) {
            const double here = left + plot_width * at / seconds;
            body_ += "<path d=\"M" + two_digits(here) + " " + two_digits(top) + " V" + two_digits(y) +
                     "\" stroke=\"#000\" stroke-opacity=\"0.12\"/>\n";
            body_ +=
                text(here, y + 14, two_digits(at).substr(0, two_digits(at).find('.')) + " s", "text-anchor=\"middle\"");
        }
        double place = left;
        for (const char* activity : {"active", "passive", "starting", "standby", "stopped", "down"}) {
            body_ += "<rect x=\"" + two_digits(place) + "\" y=\"" + two_digits(y + 28) +
                     "\" width=\"12\" height=\"12\" fill=\"" + color_of(activity) + "\" stroke=\"#999\"/>\n" +
                     text(place + 16, y + 38, activity);
            place += 90;
        }
        body_ += text(left, y + 56, "dark green: its kernel answers   red: clients unanswered   purple: both answer");
    }

    const Loaded& scenario_;
    const RunResult& result_;
    std::string body_;
};

}  // namespace

std::string svg_picture(const Loaded& scenario, const RunResult& result) { return Picture(scenario, result).draw(); }

std::string html_page(const Loaded& scenario, const RunResult& result) {
    std::string out = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" +
                      escaped(scenario.scenario.title()) +
                      "</title>\n<style>body{font-family:sans-serif}td{padding:1px 8px;vertical-align:top}"
                      "td.t{font-family:monospace;text-align:right}.warning{color:#a05a00}.alarm{color:#b00020}"
                      ".why{color:#777;font-size:85%}</style></head><body>\n" +
                      svg_picture(scenario, result);
    for (const Failure& failure : result.failures) {
        out += "<p class=\"alarm\">FAILED at " + clock_text(failure.at) + ": " + escaped(failure.what) + "</p>\n";
    }
    for (const Violation& violation : result.violations) {
        out += "<p class=\"alarm\">invariant " + std::to_string(violation.invariant) + " (" + escaped(violation.name) +
               ") violated at " + clock_text(violation.at) + ": " + escaped(violation.what) + "</p>\n";
    }
    out += "<table>\n";
    for (const TimelineEvent& event : result.events) {
        std::string why;
        for (const auto& [name, value] : event.inputs) why += " " + name + "=" + value;
        out += "<tr class=\"" + event.severity + "\"><td class=\"t\">" + clock_text(event.at) + "</td><td>" +
               escaped(event.who) + "</td><td>" + escaped(event.kind) + "</td><td>" + escaped(event.text) +
               (why.empty() ? "" : "<div class=\"why\">" + escaped(why) + "</div>") + "</td></tr>\n";
    }
    return out + "</table></body></html>\n";
}

}  // namespace lbcluster::sim
