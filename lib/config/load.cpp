#include "lbcluster/config/load.hpp"

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <functional>
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

void note_denial(const Error& error, std::optional<Error>* denied) {
    if (denied != nullptr && is_denied(error)) *denied = error;
}

// Newest first.
std::vector<std::uint64_t> revision_numbers(const Paths& paths, std::optional<Error>* denied) {
    std::vector<std::uint64_t> numbers;
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(paths.revisions_dir().c_str()), &::closedir);
    if (!folder) {
        note_denial(file_ops::system_error("read", paths.revisions_dir(), errno), denied);
        return numbers;
    }
    for (const dirent* entry = ::readdir(folder.get()); entry != nullptr; entry = ::readdir(folder.get())) {
        const std::string name = entry->d_name;
        std::uint64_t number = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
        if (error == std::errc{} && end == name.data() + name.size()) numbers.push_back(number);  // or a temporary one
    }
    std::sort(numbers.begin(), numbers.end(), std::greater<>());
    return numbers;
}

std::optional<Revision> read_description(const Paths& paths, std::uint64_t number, std::optional<Error>* denied) {
    const std::string file = paths.revisions_dir() + "/" + std::to_string(number) + "/revision.yaml";
    const auto text = file_ops::read_file(file, text_bytes_max, false);
    if (!text) {
        note_denial(text.error(), denied);
        return std::nullopt;
    }
    Revision revision;
    Positions positions;
    Problems problems;
    if (!parse_yaml(*text, file, revision, positions, problems) || revision.number() != number) return std::nullopt;
    return revision;
}

}  // namespace

LoadResult load(const Paths& paths, const std::optional<Facts>& facts, Depth depth) {
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
    const bool whole = content && depth == Depth::whole;
    // node.yaml's own problems are worth reporting all the same; an empty mapping adds none.
    LoadResult result = load_texts(node_text, whole ? content->cluster_yaml : "{}", "cluster.yaml", facts);
    if (!whole) std::erase_if(result.problems, [](const Problem& p) { return p.file == "cluster.yaml"; });
    result.problems.insert(result.problems.begin(), missing.begin(), missing.end());
    result.denied = denied;
    if (!content) return result;
    result.node_text = node_text.value_or("");
    result.cluster_text = content->cluster_yaml;
    result.digest = digest_of(*content);
    if (whole) take_files(result, std::move(content->files));
    for (const std::uint64_t number : revision_numbers(paths, &result.history_denied)) {
        const auto revision = read_description(paths, number, &result.history_denied);
        if (!revision || revision->digest() != result.digest) continue;
        result.revision = number;
        break;
    }
    return result;
}

std::vector<Revision> history(const Paths& paths, std::optional<Error>* denied) {
    std::vector<Revision> revisions;
    for (const std::uint64_t number : revision_numbers(paths, denied)) {
        if (auto revision = read_description(paths, number, denied)) revisions.push_back(std::move(*revision));
    }
    return revisions;
}

Result<std::string> read_bytes(const std::string& path, std::size_t bytes_max) {
    return file_ops::read_file(path, bytes_max, true);
}

Result<std::string> read_text(const std::string& path) { return file_ops::read_file(path, text_bytes_max, true); }

}  // namespace lbcluster::config
