// lbcluster-schema-reference DESCRIPTOR_SET markdown | man node|cluster [DATE]: see schema.hpp. A tool of the build.
// Exit code 1: a key's meaning stands nowhere in config.proto.
#include <cstdio>
#include <fstream>
#include <string>

#include "lbcluster/config.pb.h"
#include "lib/reference/schema.hpp"

namespace lbcluster::reference {
namespace {

constexpr const char* head =
    "# Every key of node.yaml and cluster.yaml\n\n"
    "Made from `proto/lbcluster/config.proto` by `ninja reference_renew`; a test says when it is not what the schema "
    "is. "
    "What belongs together, with examples: [configuration.md](../configuration.md).\n\n"
    "A duration is a number and a unit: `500ms`, `3s`, `5m`, `1h`. A list of one single value may be written without "
    "brackets. `x[].y` is the key `y` of each entry of the list `x`. What cannot be "
    "known here is checked by `lbcluster config check FILE`: it names every mistake with its place.\n\n";

bool is_complete(const std::vector<Section>& sections, const char* file) {
    bool complete = true;
    for (const Section& section : sections) {
        for (const Key& key : section.keys) {
            if (!key.meaning.empty()) continue;
            std::fprintf(stderr, "config.proto does not say what %s: %s%s%s is\n", file, section.title.c_str(),
                         section.title.empty() ? "" : ".", key.name.c_str());
            complete = false;
        }
    }
    return complete;
}

int run(const std::vector<std::string>& arguments) {
    google::protobuf::FileDescriptorSet set;
    std::ifstream in(arguments.empty() ? "" : arguments[0], std::ios::binary);
    if (arguments.size() < 2 || !set.ParseFromIstream(&in)) {
        std::fputs("usage: lbcluster-schema-reference DESCRIPTOR_SET markdown | man node|cluster [DATE]\n", stderr);
        return 2;
    }
    const Comments comments(set);
    const auto node = sections_of(*config::NodeConfig::descriptor(), comments);
    const auto cluster = sections_of(*config::ClusterConfig::descriptor(), comments);
    std::string text;
    if (arguments[1] == "markdown") {
        text = head + markdown_of(node, "node.yaml") + markdown_of(cluster, "cluster.yaml");
    } else {
        const bool of_node = arguments.size() > 2 && arguments[2] == "node";
        text = man_of(of_node ? node : cluster, of_node ? "node.yaml" : "cluster.yaml",
                      of_node ? "configuration of one load balancer, never replicated"
                              : "configuration of a load balancer cluster, the same on both nodes",
                      arguments.size() > 3 ? arguments[3] : "");
    }
    while (text.ends_with("\n\n")) text.pop_back();
    std::fwrite(text.data(), 1, text.size(), stdout);
    return is_complete(node, "node.yaml") && is_complete(cluster, "cluster.yaml") ? 0 : 1;
}

}  // namespace
}  // namespace lbcluster::reference

int main(int argc, char** argv) { return lbcluster::reference::run({argv + 1, argv + argc}); }
