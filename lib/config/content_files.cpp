#include "lib/config/content_files.hpp"

#include <sys/stat.h>

#include "lbcluster/config/store.hpp"
#include "lib/config/file_ops.hpp"

namespace lbcluster::config {
namespace {

Result<void> replace_files(const std::string& folder, const std::map<std::string, std::string>& files) {
    const std::string building = folder + "/.files.new";
    const std::string path = folder + "/files";
    auto done = file_ops::remove_tree(building);
    if (done) done = write_files(building, files);
    struct stat info{};
    const bool exists = ::lstat(path.c_str(), &info) == 0;
    if (done) done = exists ? file_ops::exchange(building, path) : file_ops::rename_over(building, path);
    if (done) done = file_ops::sync_folder(folder);
    const auto cleaned = file_ops::remove_tree(building);
    return done ? cleaned : done;
}

}  // namespace

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

Result<void> write_files(const std::string& folder, const std::map<std::string, std::string>& files) {
    auto done = file_ops::make_folder(folder, folder_mode);
    for (auto file = files.begin(); file != files.end() && done; ++file) {
        const std::string path = folder + "/" + file->first;
        done = file_ops::make_folders(folder_of(path), folder_mode);
        if (done) done = file_ops::write_new_file(path, file->second, file_mode);
        if (done) done = file_ops::sync_folder(folder_of(path));
    }
    if (done) done = file_ops::sync_folder(folder);
    return done;
}

// files/ first: nothing reads them but by cluster.yaml.
Result<void> write_content(const std::string& folder, const Content& content) {
    const std::string cluster_file = folder + "/cluster.yaml";
    auto done = file_ops::make_folders(folder, 0755);
    if (!done) return done;
    const auto files = read_files(folder);
    if (!files) return files.error();
    const auto text = read_text(cluster_file);
    const bool same_text = text && *text == content.cluster_yaml;
    if (*files != content.files) done = replace_files(folder, content.files);
    if (done && !same_text) done = write_atomically(cluster_file, content.cluster_yaml, file_mode);
    if (done) return done;
    // The disk is full: back to the old. What failed may have come after the new one got its name.
    const auto new_text = read_text(cluster_file);
    if (!same_text && new_text && *new_text == content.cluster_yaml) {
        (void)(text ? write_atomically(cluster_file, *text, file_mode) : file_ops::remove_tree(cluster_file));
    }
    const auto new_files = read_files(folder);
    if (!new_files || *new_files != *files) (void)replace_files(folder, *files);
    return done;
}

}  // namespace lbcluster::config
