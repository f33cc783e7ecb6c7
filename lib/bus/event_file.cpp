#include "lbcluster/bus/event_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include <nlohmann/json.hpp>

#include "lbcluster/base/time.hpp"

namespace lbcluster::bus {
namespace {

using Json = nlohmann::ordered_json;
constexpr auto replace_bad_utf8 = Json::error_handler_t::replace;

std::uint64_t number_of(const Json& object, const char* key) {
    const auto it = object.find(key);
    return it != object.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}

std::string text_of(const Json& object, const char* key) {
    const auto it = object.find(key);
    return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

std::optional<Event> parse_event_line(std::string_view line) {
    // The depth is bounded, as the parser's stack grows with it.
    const auto shallow = [](int depth, Json::parse_event_t, Json&) { return depth <= 8; };
    const Json object = Json::parse(line, shallow, false);
    if (!object.is_object() || !object.contains("sequence")) {
        return std::nullopt;
    }
    Event event;
    event.set_sequence(number_of(object, "sequence"));
    const std::string time = text_of(object, "time");
    event.set_time_ms(time.empty() ? std::max(number_of(object, "time"), number_of(object, "time_ms"))
                                   : parse_rfc3339(time).value_or(0));
    event.set_node(text_of(object, "node"));
    event.set_kind(text_of(object, "kind"));
    event.set_severity(text_of(object, "severity"));
    event.set_text(text_of(object, "text"));
    if (const auto inputs = object.find("inputs"); inputs != object.end() && inputs->is_object()) {
        for (const auto& [name, value] : inputs->items()) {
            (*event.mutable_inputs())[name] =
                value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, replace_bad_utf8);
        }
    }
    return event;
}

std::string event_line(const Event& event) {
    Json line;
    line["sequence"] = event.sequence();
    line["time"] = format_rfc3339(event.time_ms());
    line["node"] = event.node();
    line["kind"] = event.kind();
    line["severity"] = event.severity();
    line["text"] = event.text();
    line["inputs"] = Json::object();
    for (const auto& [name, value] : event.inputs()) line["inputs"][name] = value;
    return line.dump(-1, ' ', false, replace_bad_utf8) + "\n";
}

Result<EventFile> read_event_file(const std::string& path) {
    errno = 0;
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) {
        const int code = errno;
        return Error{"cannot read " + path + ": " + std::strerror(code), "", code == ENOENT ? ENOENT : EIO};
    }
    const auto size = static_cast<std::size_t>(std::max<std::streamoff>(file.tellg(), 0));
    const std::size_t bytes = std::min(size, event_file_bytes_max);
    std::string text(bytes, '\0');
    file.seekg(static_cast<std::streamoff>(size - bytes));
    file.read(text.data(), static_cast<std::streamsize>(bytes));
    text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    std::size_t at = 0;
    if (bytes < size) {  // begins in the middle of a line
        at = std::min(text.find('\n'), text.size() - 1) + 1;
    }
    EventFile out;
    while (at < text.size()) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string_view line = std::string_view(text).substr(at, end - at);
        at = end + 1;
        if (line.empty()) {
            continue;
        }
        if (auto event = parse_event_line(line)) {
            out.events.push_back(std::move(*event));
        } else {
            ++out.unreadable_lines;
        }
    }
    if (out.events.size() > event_lines_max) {
        out.events.erase(out.events.begin(), out.events.end() - static_cast<std::ptrdiff_t>(event_lines_max));
    }
    return out;
}

}  // namespace lbcluster::bus
