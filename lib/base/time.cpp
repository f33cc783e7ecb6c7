#include "lbcluster/base/time.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <ctime>

namespace lbcluster {

namespace {
struct Unit {
    const char* name;
    std::int64_t ns;
};
constexpr std::array<Unit, 6> units{{{"h", 3'600'000'000'000},
                                     {"m", 60'000'000'000},
                                     {"s", 1'000'000'000},
                                     {"ms", 1'000'000},
                                     {"us", 1'000},
                                     {"ns", 1}}};
}  // namespace

std::string format_duration(Duration d) {
    const std::int64_t ns = d.count();
    if (ns == 0) return "0s";
    // Prefer the largest unit that divides exactly; minutes and hours only for whole ones above a minute.
    for (const Unit& unit : units) {
        if (ns % unit.ns == 0) return std::to_string(ns / unit.ns) + unit.name;
        // 1500ms reads better as 1.5s: a single decimal digit is exact enough to keep.
        if (unit.ns <= 1'000'000'000 && unit.ns >= 1'000'000 && ns > unit.ns && ns % (unit.ns / 10) == 0) {
            return std::to_string(ns / unit.ns) + "." + std::to_string(std::abs(ns % unit.ns) / (unit.ns / 10)) +
                   unit.name;
        }
    }
    return std::to_string(ns) + "ns";
}

Result<Duration> parse_duration(std::string_view text) {
    const Error bad{"'" + std::string(text) + "' is not a duration", "write a number and a unit: 500ms, 3s, 5m, 2h", 0};
    if (text == "0") return Duration{0};
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc{} || !std::isfinite(number) || number < 0 || text.front() == '-') return bad;
    const std::string_view unit_text(end, static_cast<std::size_t>(text.data() + text.size() - end));
    for (const Unit& unit : units) {
        if (unit_text != unit.name) continue;
        const double ns = number * static_cast<double>(unit.ns);
        if (ns > 9.0e18) return Error{"'" + std::string(text) + "' is too long a duration", "", 0};
        return Duration{static_cast<std::int64_t>(std::llround(ns))};
    }
    return bad;
}

std::string format_rfc3339(std::uint64_t realtime_ms) {
    const auto seconds_since_1970 = static_cast<std::time_t>(realtime_ms / 1000);
    std::tm utc{};
    gmtime_r(&seconds_since_1970, &utc);
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", utc.tm_year + 1900, utc.tm_mon + 1,
                  utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, static_cast<unsigned>(realtime_ms % 1000));
    return text.data();
}

std::optional<std::uint64_t> parse_rfc3339(std::string_view text) {
    constexpr std::string_view form = "dddd-dd-ddTdd:dd:dd";
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    if (text.size() <= form.size() || text.back() != 'Z') return std::nullopt;
    for (std::size_t i = 0; i < form.size(); ++i) {
        if (form[i] == 'd' ? !digit(text[i]) : text[i] != form[i]) return std::nullopt;
    }
    const auto number = [&](std::size_t at, std::size_t size) {
        int value = 0;
        for (const char c : text.substr(at, size)) value = value * 10 + (c - '0');
        return value;
    };
    using namespace std::chrono;
    const year_month_day date{year(number(0, 4)), month(static_cast<unsigned>(number(5, 2))),
                              day(static_cast<unsigned>(number(8, 2)))};
    const int hour = number(11, 2);
    const int minute = number(14, 2);
    const int second = number(17, 2);
    if (!date.ok() || number(0, 4) < 1970 || hour > 23 || minute > 59 || second > 59) return std::nullopt;

    std::string_view fraction = text.substr(form.size(), text.size() - form.size() - 1);
    int ms = 0;
    if (!fraction.empty()) {
        if (fraction.front() != '.' || fraction.size() == 1) return std::nullopt;
        fraction.remove_prefix(1);
        int scale = 100;
        for (const char c : fraction) {
            if (!digit(c)) return std::nullopt;
            ms += (c - '0') * scale;
            scale /= 10;
        }
    }
    const auto since_1970 = sys_days(date).time_since_epoch() + hours(hour) + minutes(minute) + seconds(second);
    return static_cast<std::uint64_t>(duration_cast<milliseconds>(since_1970).count() + ms);
}

}  // namespace lbcluster
