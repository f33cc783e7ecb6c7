// An event as a line of STATE_DIR/events.jsonl and of `lbcluster events --json`: one JSON object with sequence, time
// (RFC 3339, UTC), node, kind, severity, text, inputs.
#pragma once

#include <string>

#include "lbcluster/state.pb.h"

namespace lbcluster::bus {

// Ends with a newline. Bytes that are not UTF-8 are replaced.
std::string event_line(const Event& event);

}  // namespace lbcluster::bus
