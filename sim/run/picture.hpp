// The timeline as a picture: a lane for each node (what its daemon is, and beneath whether its kernel answers), what
// the clients see, and the faults. SVG; as HTML the same picture above the table of events. Pure.
#pragma once

#include <string>

#include "sim/run/run.hpp"

namespace lbcluster::sim {

std::string svg_picture(const Loaded& scenario, const RunResult& result);
std::string html_page(const Loaded& scenario, const RunResult& result);

}  // namespace lbcluster::sim
