// The history of a daemon as a file: STATE_DIR/events.jsonl is heartbeatd's, STATE_DIR/health-events.jsonl healthd's.
// One JSON object a line with sequence, time (RFC 3339, or milliseconds since 1970), node, kind, severity, text,
// inputs; also what `lbcluster events --json` prints. A file that has grown large becomes FILE.1. Reading looks at the
// end of a file only (event_file_bytes_max), so that its size does not matter; half lines and garbage are passed over.
//
// Everything here blocks; any thread.
#pragma once

#include <lbcluster/state.pb.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lbcluster/base/result.hpp"

namespace lbcluster::bus {

struct EventFile {
    std::vector<Event> events;  // oldest first, the newest event_lines_max
    std::size_t unreadable_lines = 0;
};

inline constexpr std::size_t event_lines_max = 1000;
inline constexpr std::size_t event_file_bytes_max = std::size_t{4} * 1024 * 1024;

// ENOENT if there is no such file; EIO for other reasons.
Result<EventFile> read_event_file(const std::string& path);
// As read_event_file(), and what is missing to event_lines_max from FILE.1.
Result<EventFile> read_event_history(const std::string& path);
// One line more. An error leaves at most half a line, which readers pass over.
Result<void> append_event(const std::string& path, const Event& event);
std::optional<Event> parse_event_line(std::string_view line);
// Ends with a newline. Bytes that are not UTF-8 are replaced. `daemon`: whose history it is from, if that is to be
// shown.
std::string event_line(const Event& event, std::string_view daemon = "");

}  // namespace lbcluster::bus
