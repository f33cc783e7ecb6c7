#include "lbcluster/bus/event_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>

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

Error not_written(const std::string& path) {
    return {"cannot write " + path + ": " + std::strerror(errno), "check space and permissions of the state folder",
            errno};
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

std::string event_line(const Event& event, std::string_view daemon) {
    Json line;
    line["sequence"] = event.sequence();
    line["time"] = format_rfc3339(event.time_ms());
    line["node"] = event.node();
    line["kind"] = event.kind();
    line["severity"] = event.severity();
    line["text"] = event.text();
    line["inputs"] = Json::object();
    for (const auto& [name, value] : std::map(event.inputs().begin(), event.inputs().end())) {
        line["inputs"][name] = value;
    }
    if (!daemon.empty()) line["daemon"] = daemon;
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

Result<EventFile> read_event_history(const std::string& path) {
    auto history = read_event_file(path);
    if (history.ok() && history->events.size() >= event_lines_max) return history;
    if (!history.ok() && history.error().code != ENOENT) return history;
    auto older = read_event_file(path + ".1");
    if (!older.ok()) return history;
    if (!history.ok()) return older;
    const std::size_t wanted = std::min(event_lines_max - history->events.size(), older->events.size());
    history->events.insert(history->events.begin(),
                           std::make_move_iterator(older->events.end() - static_cast<std::ptrdiff_t>(wanted)),
                           std::make_move_iterator(older->events.end()));
    history->unreadable_lines += older->unreadable_lines;
    return history;
}

Result<void> append_event(const std::string& path, const Event& event) {
    constexpr off_t bytes_max = 2 * 1024 * 1024;
    struct stat info{};
    if (::stat(path.c_str(), &info) == 0 && info.st_size > bytes_max) {
        ::rename(path.c_str(), (path + ".1").c_str());
    }
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0) return not_written(path);
    const std::string line = event_line(event);
    // One write: a cut leaves at most one half line, which readers skip. If half a line got in, end it.
    const ssize_t written = ::write(fd, line.data(), line.size());
    Result<void> result;
    if (written < static_cast<ssize_t>(line.size())) {
        if (written >= 0) errno = ENOSPC;
        result = not_written(path);
    }
    if (written > 0 && written < static_cast<ssize_t>(line.size())) {
        [[maybe_unused]] const ssize_t ended = ::write(fd, "\n", 1);
    }
    ::close(fd);
    return result;
}

}  // namespace lbcluster::bus
