// A page for the terminal: lines of at most a given width, labels on the left, colours only if asked for. Everything
// that came from outside must have gone through harmless() before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "status_view.hpp"

namespace lbcluster::cli {

inline constexpr std::size_t page_columns = 100;  // where nobody asks how wide the terminal is
inline constexpr std::size_t label_width = 15;    // "Configuration" and a gap
inline constexpr std::size_t rows_shown_max = 8;  // of a long list

// One a code point, which is right for all but East Asian names.
std::size_t columns(std::string_view text);
// At most `width` columns; what is cut ends in "..".
std::string clip(std::string text, std::size_t width);
std::string pad(const std::string& text, std::size_t width);
std::string upper(std::string text);
std::vector<std::string> wrap(const std::string& text, std::size_t width);
// For people: one or two units, never more.
std::string age_text(std::uint64_t ms);

class Page {
  public:
    Page(bool color, std::size_t width) : color_(color), width_(width) {}

    // `code`: what stands between ESC[ and m; "": as it is.
    [[nodiscard]] std::string paint(const char* code, const std::string& text) const {
        return color_ && !text.empty() && *code != '\0' ? std::string("\x1b[") + code + "m" + text + "\x1b[0m" : text;
    }
    [[nodiscard]] std::string paint(Level level, const std::string& text) const {
        return paint(level == Level::good ? "32" : level == Level::warning ? "33" : "1;31", text);
    }
    void add(const std::string& lines) { text_ += lines; }
    void line(const std::string& text = "") { text_ += text + "\n"; }
    // `rest` is already painted and short; the label is given once a section.
    void row(const std::string& label, const std::string& rest) { line("  " + pad(label, label_width) + rest); }
    void wrapped(const std::string& label, const std::string& text, Level level) {
        std::string first = label;
        for (const auto& part : wrap(text, room())) {
            row(std::exchange(first, ""), level == Level::good ? part : paint(level, part));
        }
    }
    [[nodiscard]] std::size_t room() const { return width_ - 2 - label_width; }
    [[nodiscard]] std::size_t width() const { return width_; }
    std::string take() { return std::move(text_); }

  private:
    bool color_;
    std::size_t width_;
    std::string text_;
};

}  // namespace lbcluster::cli
