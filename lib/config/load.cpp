#include "lbcluster/config/load.hpp"

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>

#include "lib/config/file_ops.hpp"

namespace lbcluster::config {
namespace {

Problem unreadable(const std::string& name, const Error& error, const std::string& remedy) {
    Problem problem{name, 0, 0, error.message, error.hint};
    if (error.code == ENOENT) problem.hint = remedy;
    return problem;
}

bool is_denied(const Error& error) { return error.code == EACCES || error.code == EPERM; }

}  // namespace

LoadResult load(const Paths& paths, const std::optional<Facts>& facts) {
    Problems missing;
    std::optional<Error> denied;
    std::optional<std::string> node_text;
    auto node = file_ops::read_file(paths.node_file(), text_bytes_max, true);
    if (node) {
        node_text = std::move(*node);
    } else {
        if (is_denied(node.error())) denied = node.error();
        missing.push_back(unreadable("node.yaml", node.error(), "write one with at least 'node: NAME'"));
    }
    auto content = read_content(paths.config_dir);
    if (!content) {
        if (is_denied(content.error()) && !denied) denied = content.error();
        missing.push_back(unreadable("cluster.yaml", content.error(), "'lbcluster config reset' writes an empty one"));
    }
    if (!content) {
        // node.yaml's own problems are worth reporting all the same; an empty mapping adds none.
        LoadResult result = load_texts(node_text, "{}", "cluster.yaml", facts);
        std::erase_if(result.problems, [](const Problem& p) { return p.file == "cluster.yaml"; });
        result.problems.insert(result.problems.begin(), missing.begin(), missing.end());
        result.denied = denied;
        return result;
    }
    LoadResult result = load_texts(node_text, content->cluster_yaml, "cluster.yaml", facts);
    result.node_text = node_text.value_or("");
    result.cluster_text = content->cluster_yaml;
    result.problems.insert(result.problems.begin(), missing.begin(), missing.end());
    result.denied = denied;
    result.digest = digest_of(*content);
    take_files(result, std::move(content->files));
    for (const Revision& revision : history(paths, &result.history_denied)) {
        if (revision.digest() != result.digest) continue;
        result.revision = revision.number();
        break;
    }
    return result;
}

std::vector<Revision> history(const Paths& paths, std::optional<Error>* denied) {
    std::vector<Revision> revisions;
    const auto check = [&](const Error& error) {
        if (denied != nullptr && is_denied(error)) *denied = error;
    };
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(paths.revisions_dir().c_str()), &::closedir);
    if (!folder) {
        check(file_ops::system_error("read", paths.revisions_dir(), errno));
        return revisions;
    }
    for (const dirent* entry = ::readdir(folder.get()); entry != nullptr; entry = ::readdir(folder.get())) {
        const std::string name = entry->d_name;
        std::uint64_t number = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
        if (error != std::errc{} || end != name.data() + name.size()) continue;  // a temporary folder
        const std::string file = paths.revisions_dir() + "/" + name + "/revision.yaml";
        const auto text = file_ops::read_file(file, text_bytes_max, false);
        if (!text) check(text.error());
        Revision revision;
        Positions positions;
        Problems problems;
        if (!text || !parse_yaml(*text, file, revision, positions, problems) || revision.number() != number) continue;
        revisions.push_back(std::move(revision));
    }
    std::sort(revisions.begin(), revisions.end(),
              [](const Revision& a, const Revision& b) { return a.number() > b.number(); });
    return revisions;
}

Result<std::string> read_bytes(const std::string& path, std::size_t bytes_max) {
    return file_ops::read_file(path, bytes_max, true);
}

Result<std::string> read_text(const std::string& path) { return file_ops::read_file(path, text_bytes_max, true); }

}  // namespace lbcluster::config
