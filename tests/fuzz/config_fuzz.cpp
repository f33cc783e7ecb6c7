// The configuration from outside: any bytes as node.yaml and as cluster.yaml go through reading, checking, defaults
// and rendering. Whatever is accepted must read back the same from what is rendered of it, or this target aborts.
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "lbcluster/base/assert.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/store.hpp"

namespace {

using namespace lbcluster::config;

template <class M>
void round_trip(const M& message) {
    const std::string yaml = to_yaml(message);
    M again;
    Positions positions;
    Problems problems;
    const bool read = parse_yaml(yaml, "again", again, positions, problems);
    if (!read) std::fputs((yaml + format(problems)).c_str(), stderr);
    LBC_ASSERT(read);
    LBC_ASSERT(google::protobuf::util::MessageDifferencer::Equals(message, again));
    LBC_ASSERT(to_yaml(again) == yaml);
}

const Facts& machine() {
    static const Facts facts{{{"eth0", {*lbcluster::IpPrefix::parse("10.77.0.11/24")}},
                              {"eth1", {*lbcluster::IpPrefix::parse("fd77::11/64")}}}};
    return facts;
}

// A description of a revision, and KEY=VALUE words, one a line: a word that is refused changes nothing.
void read_revision(const std::string& text) {
    Revision revision;
    Positions positions;
    Problems problems;
    if (parse_yaml(text, "revision.yaml", revision, positions, problems)) round_trip(revision);
}

void assign_words(const std::string& text) {
    VirtualService service;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string word = text.substr(at, end - at);
        at = end + 1;
        const std::size_t equals = word.find('=');
        if (equals == std::string::npos) continue;
        const VirtualService before = service;
        const Problems problems = assign(service, word.substr(0, equals), word.substr(equals + 1));
        for (const Problem& problem : problems) LBC_ASSERT(!format(problem).empty());
        LBC_ASSERT(problems.empty() || google::protobuf::util::MessageDifferencer::Equals(before, service));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    const LoadResult as_cluster = load_texts(std::string("node: a\n"), text, "cluster.yaml", machine());
    for (const Problem& problem : as_cluster.problems) LBC_ASSERT(!format(problem).empty());
    LBC_ASSERT(as_cluster.problems.size() <= 3 * problems_max);
    (void)to_json(as_cluster.effective_cluster);
    if (as_cluster.ok()) {
        round_trip(as_cluster.cluster.config);
        round_trip(as_cluster.effective_cluster);
    }
    const LoadResult as_node = load_texts(text, "{}", "cluster.yaml", machine());
    (void)to_json(as_node.effective_node);
    if (as_node.ok()) {
        round_trip(as_node.node.config);
        round_trip(as_node.effective_node);
    }
    read_revision(text);
    assign_words(text);
    (void)has_comments(text);
    if (size < 2000)
        (void)unified_diff(Content{text.substr(0, size / 2), {}}, Content{text.substr(size / 2), {}}, "a", "b");
    if (size < 2000) (void)unified_diff(text.substr(0, size / 2), text.substr(size / 2), "a", "b");
    return 0;
}
