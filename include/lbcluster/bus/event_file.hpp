// STATE_DIR/events.jsonl as heartbeatd keeps it: one JSON object a line with sequence, time (RFC 3339, or milliseconds
// since 1970), node, kind, severity, text, inputs; also what `lbcluster events --json` prints. Reading looks at the end
// of the file only (event_file_bytes_max), so that its size does not matter; half lines and garbage are passed over.
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
std::optional<Event> parse_event_line(std::string_view line);
// Ends with a newline. Bytes that are not UTF-8 are replaced.
std::string event_line(const Event& event);

}  // namespace lbcluster::bus
