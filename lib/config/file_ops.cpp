#include "lib/config/file_ops.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "lbcluster/base/descriptor.hpp"

namespace lbcluster::config::file_ops {
namespace {

Hook hook_;

int before(const char* call) { return hook_ ? hook_(call) : 0; }

// Runs `call` unless the hook fails it; errno is set either way.
template <class F>
int guarded(const char* name, F&& call) {
    const int code = before(name);
    if (code != 0) {
        errno = code;
        return -1;
    }
    return call();
}

const char* hint_of(int code) {
    switch (code) {
        case ENOSPC:
        case EDQUOT:
            return "the disk is full: free some space; nothing was changed";
        case EACCES:
        case EPERM:
            return "run it as root";
        case EROFS:
            return "the file system is read-only";
        case ELOOP:
            return "a symbolic link stands there; put a real file or folder in its place";
        default:
            return "";
    }
}

}  // namespace

void set_hook(Hook hook) { hook_ = std::move(hook); }

Error system_error(const std::string& what, const std::string& path, int code) {
    return {"cannot " + what + " " + path + ": " + std::generic_category().message(code), hint_of(code), code};
}

Result<std::string> read_file(const std::string& path, std::size_t bytes_max, bool follow) {
    // O_NONBLOCK: a pipe of that name must not hold us up.
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW)));
    if (!fd) return system_error("read", path, errno);
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0) return system_error("read", path, errno);
    if (!S_ISREG(info.st_mode)) return Error{path + " is not a regular file", "", 0};
    const Error too_large{path + " is larger than " + std::to_string(bytes_max) + " bytes", "is it the right file?", 0};
    if (static_cast<std::uint64_t>(info.st_size) > bytes_max) return too_large;
    std::string bytes;
    for (;;) {
        constexpr std::size_t piece = 65536;
        const std::size_t had = bytes.size();
        bytes.resize(had + piece);
        const ssize_t got = ::read(fd.get(), bytes.data() + had, piece);
        bytes.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return system_error("read", path, errno);
        if (got == 0) return bytes;
        if (bytes.size() > bytes_max) return too_large;
    }
}

Result<void> write_new_file(const std::string& path, const std::string& bytes, mode_t mode) {
    const Descriptor fd(guarded(
        "open", [&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode); }));
    if (!fd) return system_error("create", path, errno);
    for (std::size_t done = 0; done < bytes.size();) {
        constexpr std::size_t piece = 4096;
        const ssize_t put = guarded("write", [&] {
            return static_cast<int>(::write(fd.get(), bytes.data() + done, std::min(piece, bytes.size() - done)));
        });
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return system_error("write", path, errno);
        done += static_cast<std::size_t>(put);
    }
    // The umask must not make a difference between the nodes.
    if (guarded("fchmod", [&] { return ::fchmod(fd.get(), mode); }) != 0) return system_error("write", path, errno);
    if (guarded("fsync", [&] { return ::fsync(fd.get()); }) != 0) return system_error("write", path, errno);
    return {};
}

Result<void> make_folder(const std::string& path, mode_t mode) {
    if (guarded("mkdir", [&] { return ::mkdir(path.c_str(), mode); }) != 0) return system_error("create", path, errno);
    return {};
}

Result<void> make_folders(const std::string& path, mode_t mode) {
    for (std::size_t cut = path.find('/', 1);; cut = path.find('/', cut + 1)) {
        const std::string part = path.substr(0, cut);
        struct stat info{};
        if (::stat(part.c_str(), &info) != 0) {
            if (guarded("mkdir", [&] { return ::mkdir(part.c_str(), mode); }) != 0 && errno != EEXIST) {
                return system_error("create", part, errno);
            }
        } else if (!S_ISDIR(info.st_mode)) {
            return system_error("create", part, ENOTDIR);
        }
        if (cut == std::string::npos) return {};
    }
}

Result<void> sync_folder(const std::string& path) {
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return system_error("sync", path, errno);
    if (guarded("fsync folder", [&] { return ::fsync(fd.get()); }) != 0) return system_error("sync", path, errno);
    return {};
}

Result<void> rename_over(const std::string& from, const std::string& to) {
    if (guarded("rename", [&] { return ::rename(from.c_str(), to.c_str()); }) != 0) {
        return system_error("replace", to, errno);
    }
    return {};
}

Result<void> exchange(const std::string& one, const std::string& other) {
    const auto call = [&] { return ::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE); };
    if (guarded("exchange", call) != 0) return system_error("replace", other, errno);
    return {};
}

Result<void> move_tree(const std::string& from, const std::string& to) {
    if (guarded("rename", [&] { return ::rename(from.c_str(), to.c_str()); }) == 0) return {};
    if (errno != EXDEV) return system_error("move", from, errno);
    std::error_code error;
    std::filesystem::copy(
        from, to, std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks, error);
    if (error) return system_error("copy", from, error.value());
    ::sync();
    return remove_tree(from);
}

Result<void> remove_tree(const std::string& path) {
    struct stat info{};
    if (::lstat(path.c_str(), &info) != 0)
        return errno == ENOENT ? Result<void>{} : system_error("remove", path, errno);
    if (!S_ISDIR(info.st_mode)) {
        if (guarded("unlink", [&] { return ::unlink(path.c_str()); }) != 0) return system_error("remove", path, errno);
        return {};
    }
    DIR* folder = ::opendir(path.c_str());
    if (folder == nullptr) return system_error("remove", path, errno);
    Result<void> result;
    for (const dirent* entry = ::readdir(folder); entry != nullptr && result; entry = ::readdir(folder)) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") result = remove_tree(path + "/" + name);
    }
    ::closedir(folder);
    if (!result) return result;
    if (guarded("rmdir", [&] { return ::rmdir(path.c_str()); }) != 0) return system_error("remove", path, errno);
    return {};
}

}  // namespace lbcluster::config::file_ops
