// Lines for HAProxy that somebody wrote by hand: files/haproxy/NAME of a service, and files/haproxy/additions.cfg.
// Pure.
//
// A service's file has the lines of its backend; a line `frontend` alone switches to those of its frontend, `backend`
// alone back. Comments and empty lines are left out.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lbcluster/config/check.hpp"

namespace lbcluster::config {

inline constexpr const char* manual_folder = "haproxy/";     // below files/
inline constexpr const char* certificate_folder = "certs/";  // below files/
inline constexpr const char* additions_file = "haproxy/additions.cfg";

struct NumberedLine {
    std::string text;
    unsigned number = 0;  // in its file
};

struct ManualPiece {
    std::vector<NumberedLine> frontend;
    std::vector<NumberedLine> backend;
    std::optional<NumberedLine> refused;  // the first that begins a section, or is no line of one
};

ManualPiece parse_manual(const std::string& text);
// All lines, empty ones among them. `refused`: what stands before the first section.
std::vector<NumberedLine> parse_additions(const std::string& text, std::optional<NumberedLine>& refused);

// What the cluster's configuration names in files/ (path below it -> bytes): it must be there, and be what it shall be.
// Certificates are not looked at by date.
Problems check_files(const ClusterFile& cluster, const std::map<std::string, std::string>& files);

}  // namespace lbcluster::config
