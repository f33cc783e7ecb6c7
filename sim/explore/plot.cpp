// The picture of explore(): a point for each cell.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>

#include "sim/explore/judge.hpp"

namespace lbcluster::sim {

namespace {

constexpr double left = 70;
constexpr double top = 60;
constexpr double width = 760;
constexpr double height = 380;
constexpr std::array<const char*, 6> colors{"#1b7837", "#2c7fb8", "#e08214", "#b2182b", "#762a83", "#444444"};

std::string one_digit(double value) {
    char text[40];
    std::snprintf(text, sizeof text, "%.1f", value);
    return text;
}

std::string svg_text(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '<') out += "&lt;";
        else if (c == '&') out += "&amp;";
        else out += c;
    }
    return out;
}

double at_least_one_ms(Duration duration) { return std::max(1.0, static_cast<double>(duration.count()) / 1e6); }

class Plot {
  public:
    Plot(const std::vector<Cell>& cells, const Advice& advice) : cells_(cells), advice_(advice) {
        for (const Cell& cell : cells) {
            low_ = std::min(low_, at_least_one_ms(cell.median()));
            high_ = std::max(high_, at_least_one_ms(cell.worst()));
            most_ = std::max(most_, cell.moves_an_hour());
            if (!color_.contains(cell.loss)) color_.emplace(cell.loss, colors[color_.size() % colors.size()]);
        }
        low_ = std::pow(10, std::floor(std::log10(low_)));
        high_ = std::pow(10, std::ceil(std::log10(high_)));
    }

    std::string draw(const std::string& title) {
        text(left, 24, title, "font-size=\"16\" font-weight=\"bold\"");
        text(left, 44, "outage after a crash against moves without a fault; the bar reaches to the longest outage",
             "fill=\"#666\"");
        axes();
        for (const Cell& cell : cells_) {
            if (cell.problem.empty() && !cell.crashes.empty()) point(cell);
        }
        legend();
        return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"980\" height=\"520\" font-family=\"sans-serif\" "
               "font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n" +
               body_ + "</svg>\n";
    }

  private:
    [[nodiscard]] double x(double value) const {
        return left + width * (std::log10(value) - std::log10(low_)) / std::max(0.1, std::log10(high_ / low_));
    }
    // 0 at the bottom, logarithmic from 1 an hour on.
    [[nodiscard]] double y(double moves) const {
        return top + height - height * std::log10(1 + moves) / std::max(0.1, std::log10(1 + most_));
    }
    void text(double at_x, double at_y, const std::string& what, const std::string& style = "") {
        body_ += "<text x=\"" + one_digit(at_x) + "\" y=\"" + one_digit(at_y) + "\" " + style + ">" + svg_text(what) +
                 "</text>\n";
    }
    void line(double x1, double y1, double x2, double y2, const std::string& color) {
        body_ += "<line x1=\"" + one_digit(x1) + "\" y1=\"" + one_digit(y1) + "\" x2=\"" + one_digit(x2) + "\" y2=\"" +
                 one_digit(y2) + "\" stroke=\"" + color + "\"/>\n";
    }

    void axes() {
        for (double tick = low_; tick <= high_ * 1.01; tick *= 10) {
            line(x(tick), top, x(tick), top + height, "#dddddd");
            text(x(tick), top + height + 16, one_digit(tick) + " ms", "text-anchor=\"middle\"");
        }
        for (double tick = 0; tick <= most_; tick = tick == 0 ? 1 : tick * 10) {
            line(left, y(tick), left + width, y(tick), "#dddddd");
            text(left - 6, y(tick) + 4, one_digit(tick) + "/h", "text-anchor=\"end\"");
        }
        line(left, top + height, left + width, top + height, "black");
        line(left, top, left, top + height, "black");
    }

    void point(const Cell& cell) {
        const std::string& color = color_.at(cell.loss);
        const double px = x(at_least_one_ms(cell.median()));
        const double py = y(cell.moves_an_hour());
        line(px, py, x(at_least_one_ms(cell.worst())), py, color);
        const bool advised = advice_.timers && advice_.timers->keepalive == cell.timers.keepalive &&
                             advice_.timers->deadtime == cell.timers.deadtime;
        body_ += "<circle cx=\"" + one_digit(px) + "\" cy=\"" + one_digit(py) + "\" r=\"" + (advised ? "8" : "4") +
                 "\" fill=\"" + color + "\"" + (cell.timers.configured ? " stroke=\"black\" stroke-width=\"2\"" : "") +
                 "><title>" + cell.timers.text() + ", loss " + one_digit(cell.loss) +
                 " %: " + one_digit(at_least_one_ms(cell.median())) + " ms, at most " +
                 one_digit(at_least_one_ms(cell.worst())) + " ms; " + one_digit(cell.moves_an_hour()) +
                 " moves an hour</title></circle>\n";
        // The timers once, beneath the points of the best network.
        if (cell.loss == color_.begin()->first) {
            text(px, top + height + 30, cell.timers.text(),
                 "transform=\"rotate(40 " + one_digit(px) + " " + one_digit(top + height + 30) + ")\" font-size=\"9\"");
        }
    }

    void legend() {
        double at = top + 10;
        for (const auto& [loss, color] : color_) {
            body_ += "<circle cx=\"852\" cy=\"" + one_digit(at - 4) + "\" r=\"5\" fill=\"" + color + "\"/>\n";
            text(864, at, "loss " + one_digit(loss) + " %");
            at += 18;
        }
        text(846, at + 8, "large: advised");
        text(846, at + 24, "ring: configured");
    }

    const std::vector<Cell>& cells_;
    const Advice& advice_;
    std::map<double, std::string> color_;
    double low_ = 1e9;
    double high_ = 1;
    double most_ = 1;
    std::string body_;
};

}  // namespace

std::string explore_svg(const std::vector<Cell>& cells, const Advice& advice, const std::string& title) {
    return Plot(cells, advice).draw(title);
}

}  // namespace lbcluster::sim
