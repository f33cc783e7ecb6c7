#include "lbcluster/bus/event_line.hpp"

#include <nlohmann/json.hpp>

#include "lbcluster/base/time.hpp"

namespace lbcluster::bus {

std::string event_line(const Event& event) {
    nlohmann::ordered_json line;
    line["sequence"] = event.sequence();
    line["time"] = format_rfc3339(event.time_ms());
    line["node"] = event.node();
    line["kind"] = event.kind();
    line["severity"] = event.severity();
    line["text"] = event.text();
    line["inputs"] = nlohmann::ordered_json::object();
    for (const auto& [name, value] : event.inputs()) line["inputs"][name] = value;
    return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace lbcluster::bus
