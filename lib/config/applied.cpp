#include "lbcluster/config/applied.hpp"

#include <sys/stat.h>

#include "lbcluster/config/store.hpp"
#include "lib/config/content_files.hpp"
#include "lib/config/file_ops.hpp"

namespace lbcluster::config {
namespace {

constexpr std::size_t effective_bytes_max = 8 * text_bytes_max;

// With a line before it that says of what, and by whom: another version may have other defaults.
std::string effective_file(const Paths& paths) { return applied_paths(paths).config_dir + "/effective"; }
std::string first_line(std::string_view digest) { return std::string(digest) + " " LBCLUSTER_VERSION "\n"; }

}  // namespace

Paths applied_paths(const Paths& paths) {
    Paths applied = paths;
    applied.config_dir = paths.state_dir + "/applied";
    return applied;
}

std::vector<Error> keep_applied(const Paths& paths, const LoadResult& loaded) {
    const Paths applied = applied_paths(paths);
    std::vector<Error> errors;
    const auto take = [&](const Result<void>& done) {
        if (!done) errors.push_back(done.error());
    };
    const auto keep = [&](const std::string& path, const std::string& bytes) {
        const auto kept = file_ops::read_file(path, effective_bytes_max, true);
        if (!kept || *kept != bytes) take(write_atomically(path, bytes, file_mode));
    };
    ::mkdir(applied.config_dir.c_str(), folder_mode);
    take(write_content(applied.config_dir, {loaded.cluster_text, loaded.files}));
    keep(applied.node_file(), loaded.node_text);
    keep(effective_file(paths), first_line(loaded.digest) + loaded.effective_cluster.SerializeAsString());
    return errors;
}

std::optional<ClusterConfig> applied_cluster(const Paths& paths, std::string_view digest) {
    const auto bytes = file_ops::read_file(effective_file(paths), effective_bytes_max, true);
    const std::string begin = first_line(digest);
    ClusterConfig cluster;
    if (!bytes || !bytes->starts_with(begin)) return std::nullopt;
    const std::string_view rest = std::string_view(*bytes).substr(begin.size());
    if (!cluster.ParseFromArray(rest.data(), static_cast<int>(rest.size()))) return std::nullopt;
    return cluster;
}

}  // namespace lbcluster::config
