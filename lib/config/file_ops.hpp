// The system calls with which this library touches files, each one counted by a hook: a test ends the process, or
// fails the call, before any of them. Private to the configuration library.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <string>

#include "lbcluster/base/result.hpp"

namespace lbcluster::config::file_ops {

// Called before each call that changes something, with its name; returns 0 or the errno the call shall fail with.
using Hook = std::function<int(const char* call)>;
void set_hook(Hook hook);  // tests only

// In the folder of the revisions: there is a change under way. Its removal says that the change is whole.
inline constexpr const char* pending_name = "pending";

// "cannot <what> <path>: <errno text>" with what to do about it.
Error system_error(const std::string& what, const std::string& path, int code);

// The whole file, at most `bytes_max`; only regular files. With `follow` off a symbolic link is refused.
Result<std::string> read_file(const std::string& path, std::size_t bytes_max, bool follow);

// A new file with exactly these bytes, synced. Fails if the name is taken (O_EXCL: no link is followed).
Result<void> write_new_file(const std::string& path, const std::string& bytes, mode_t mode);
Result<void> make_folder(const std::string& path, mode_t mode);   // the parent must exist; fails if the name is taken
Result<void> make_folders(const std::string& path, mode_t mode);  // with parents; fine if it exists
Result<void> sync_folder(const std::string& path);
Result<void> rename_over(const std::string& from, const std::string& to);
Result<void> exchange(const std::string& one, const std::string& other);  // both must exist
// A rename, or between file systems a copy that keeps links as links. `to` must not exist.
Result<void> move_tree(const std::string& from, const std::string& to);
Result<void> remove_tree(const std::string& path);  // fine if there is none; follows no link

}  // namespace lbcluster::config::file_ops
