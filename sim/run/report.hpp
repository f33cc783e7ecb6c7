// A run as text for the terminal, as JSON and as a picture. Pure: a result in, a string out; the same result gives the
// same bytes.
#pragma once

#include <string>

#include "sim/run/run.hpp"

namespace lbcluster::sim {

struct ReportOptions {
    bool color = false;
    bool inputs = false;  // what led to each decision
};

std::string text_report(const Loaded& scenario, const RunResult& result, const ReportOptions& options);
std::string json_report(const Loaded& scenario, const RunResult& result);
// A violation with the events before it.
std::string text_violation(const Violation& violation);
// Time as "12.345678 s".
std::string clock_text(Duration at);
std::string milliseconds_text(Duration duration);

}  // namespace lbcluster::sim
