// Writing what both nodes share: the counterpart of read_content(). Private to the configuration library.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>

#include "lbcluster/base/result.hpp"
#include "lbcluster/config/load.hpp"

namespace lbcluster::config {

inline constexpr mode_t folder_mode = 0750;
inline constexpr mode_t file_mode = 0640;

std::string folder_of(const std::string& path);  // without a '/': "."

// A new folder with these files, synced.
Result<void> write_files(const std::string& folder, const std::map<std::string, std::string>& files);

// cluster.yaml and files/ below `folder`, which is made if there is none; each of both is old or new whatever happens,
// and what cannot be written (the disk is full) leaves the old.
Result<void> write_content(const std::string& folder, const Content& content);

}  // namespace lbcluster::config
