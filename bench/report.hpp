// What a comparison found, for the terminal and for docs/benchmarks.md. Markdown that reads well as it stands.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "bench/peers.hpp"
#include "bench/spread.hpp"
#include "bench/usage.hpp"

namespace lbcluster::bench {

// One peer with one plan.
struct Row {
    Plan plan;
    std::string peer;
    std::chrono::seconds length{};  // of the window in which all but the deaths was measured
    Spread spread;
    Usage usage;                  // its cpu: in the window
    std::size_t missed = 0;       // checks that the kernel could not note
    std::size_t false_downs = 0;  // servers said to be down that were not
    std::size_t deaths = 0;
    std::chrono::seconds limit{};                      // for their detection
    std::chrono::nanoseconds dying{};                  // how long it took to silence them, which detections include
    std::vector<std::chrono::nanoseconds> detections;  // of those that were found, sorted
    std::string remark;                                // what the peer says of itself, before the deaths
    std::string remark_after;                          // and after them
};

struct Report {
    std::string opening;
    std::vector<std::string> versions;
    std::vector<std::string> absent;  // peers that do not run here, and why
    std::vector<Row> rows;
};

std::string heading();
std::string line_of(const Row& row);                // of the table
std::vector<std::string> oddities(const Row& row);  // what must be known to judge it
// Two for each kind, of the rows with most targets.
std::string histograms(const std::vector<Row>& rows);
// The section of docs/benchmarks.md.
std::string section(const Report& report, const std::vector<std::unique_ptr<Peer>>& peers);

}  // namespace lbcluster::bench
