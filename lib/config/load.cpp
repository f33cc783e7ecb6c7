#include "lbcluster/config/load.hpp"

#include <dirent.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "lib/config/file_ops.hpp"

namespace lbcluster::config {
namespace {

Problem unreadable(const std::string& name, const Error& error, const std::string& remedy) {
    Problem problem{name, 0, 0, error.message, error.hint};
    if (error.code == ENOENT) problem.hint = remedy;
    return problem;
}

}  // namespace

LoadResult load(const Paths& paths, const std::optional<Facts>& facts) {
    Problems missing;
    std::optional<std::string> node_text;
    auto node = file_ops::read_file(paths.node_file(), text_bytes_max, true);
    if (node) {
        node_text = std::move(*node);
    } else {
        missing.push_back(unreadable("node.yaml", node.error(), "write one with at least 'node: NAME'"));
    }
    auto content = read_content(paths.config_dir);
    if (!content) {
        missing.push_back(unreadable("cluster.yaml", content.error(), "'lbcluster config reset' writes an empty one"));
    }
    if (!content) {
        // node.yaml's own problems are worth reporting all the same; an empty mapping adds none.
        LoadResult result = load_texts(node_text, "{}", "cluster.yaml", facts);
        std::erase_if(result.problems, [](const Problem& p) { return p.file == "cluster.yaml"; });
        result.problems.insert(result.problems.begin(), missing.begin(), missing.end());
        return result;
    }
    LoadResult result = load_texts(node_text, content->cluster_yaml, "cluster.yaml", facts);
    result.node_text = node_text.value_or("");
    result.cluster_text = content->cluster_yaml;
    result.problems.insert(result.problems.begin(), missing.begin(), missing.end());
    result.digest = digest_of(*content);
    for (const Revision& revision : history(paths)) {
        if (revision.digest() != result.digest) continue;
        result.revision = revision.number();
        break;
    }
    return result;
}

std::vector<Revision> history(const Paths& paths) {
    std::vector<Revision> revisions;
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(paths.revisions_dir().c_str()), &::closedir);
    if (!folder) return revisions;
    for (const dirent* entry = ::readdir(folder.get()); entry != nullptr; entry = ::readdir(folder.get())) {
        const std::string name = entry->d_name;
        std::uint64_t number = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
        if (error != std::errc{} || end != name.data() + name.size()) continue;  // a temporary folder
        const std::string file = paths.revisions_dir() + "/" + name + "/revision.yaml";
        const auto text = file_ops::read_file(file, text_bytes_max, false);
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

Result<std::string> read_text(const std::string& path) { return file_ops::read_file(path, text_bytes_max, true); }

Result<Facts> read_facts() {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) {
        return Error{"cannot read this machine's interfaces: " + std::string(std::strerror(errno)), "", errno};
    }
    const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, &::freeifaddrs);
    Facts facts;
    for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
        auto known = std::find_if(facts.interfaces.begin(), facts.interfaces.end(),
                                  [&](const LocalInterface& i) { return i.name == one->ifa_name; });
        if (known == facts.interfaces.end()) known = facts.interfaces.insert(known, {one->ifa_name, {}});
        if (one->ifa_addr == nullptr || one->ifa_netmask == nullptr) continue;
        IpPrefix prefix;
        const auto count_bits = [](const unsigned char* mask, int bytes) {
            int bits = 0;
            for (int i = 0; i < bytes; ++i) bits += __builtin_popcount(mask[i]);
            return static_cast<std::uint8_t>(bits);
        };
        if (one->ifa_addr->sa_family == AF_INET) {
            sockaddr_in address{};
            sockaddr_in mask{};
            std::memcpy(&address, one->ifa_addr, sizeof address);
            std::memcpy(&mask, one->ifa_netmask, sizeof mask);
            std::array<std::uint8_t, 4> bytes{};
            std::memcpy(bytes.data(), &address.sin_addr, bytes.size());
            prefix = {IpAddress::v4(bytes), count_bits(reinterpret_cast<const unsigned char*>(&mask.sin_addr), 4)};
        } else if (one->ifa_addr->sa_family == AF_INET6) {
            sockaddr_in6 address{};
            sockaddr_in6 mask{};
            std::memcpy(&address, one->ifa_addr, sizeof address);
            std::memcpy(&mask, one->ifa_netmask, sizeof mask);
            std::array<std::uint8_t, 16> bytes{};
            std::memcpy(bytes.data(), &address.sin6_addr, bytes.size());
            prefix = {IpAddress::v6(bytes), count_bits(reinterpret_cast<const unsigned char*>(&mask.sin6_addr), 16)};
        } else {
            continue;
        }
        known->addresses.push_back(prefix);
    }
    return facts;
}

}  // namespace lbcluster::config
