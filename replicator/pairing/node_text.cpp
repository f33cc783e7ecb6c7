#include "replicator/pairing/node_text.hpp"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "lbcluster/config/schema.hpp"

namespace lbcluster::replicator {

namespace {

Result<config::NodeConfig> parse(const std::string& text) {
    config::NodeConfig node;
    config::Positions positions;
    config::Problems problems;
    if (!config::parse_yaml(text, "node.yaml", node, positions, problems)) {
        return Error{"node.yaml is not valid: " + config::format(problems), "put it right, and try again", EINVAL};
    }
    return node;
}

bool begins_key(const std::string& line) {
    return !line.empty() && line.front() != ' ' && line.front() != '\t' && line.front() != '#' && line.front() != '-';
}

// `text` with the block of a top-level key replaced, or with the block at its end.
std::string replace_block(const std::string& text, const std::string& key, const std::string& block) {
    std::istringstream in(text);
    std::string out;
    bool inside = false;
    bool done = false;
    for (std::string line; std::getline(in, line);) {
        if (begins_key(line)) {
            inside = line.rfind(key + ":", 0) == 0;
            if (inside && !done) out += block;
            done = done || inside;
        }
        // A comment at the very left belongs to what comes after it.
        if (inside && !line.empty() && line.front() == '#') inside = false;
        if (!inside) out += line + "\n";
    }
    return done ? out : out + block;
}

std::string links_block(const config::NodeConfig& node) {
    if (node.links().empty()) return "";
    config::NodeConfig only;
    *only.mutable_links() = node.links();
    return config::to_yaml(only);
}

Result<NodeText> render(const std::string& old_text, const config::NodeConfig& wanted) {
    std::string text = replace_block(old_text, "links", links_block(wanted));
    if (wanted.has_role()) text = replace_block(text, "role", "role: " + config::written_text(wanted.role()) + "\n");
    const auto read = parse(text);
    if (read && google::protobuf::util::MessageDifferencer::Equals(*read, wanted)) return NodeText{text, false};
    return NodeText{config::to_yaml(wanted), config::has_comments(old_text)};
}

}  // namespace

Result<NodeText> with_peer(const std::string& node_yaml, config::Role role, const std::string& local,
                           const std::string& peer) {
    auto node = parse(node_yaml);
    if (!node) return node.error();
    config::NodeConfig wanted = *node;
    const auto known = std::any_of(node->links().begin(), node->links().end(), [&](const config::Link& link) {
        return link.local() == local && link.peer() == peer;
    });
    if (!known) {
        wanted.clear_links();
        auto* link = wanted.add_links();
        link->set_local(local);
        link->set_peer(peer);
        for (const config::Link& old : node->links()) {
            if (old.has_serial()) *wanted.add_links() = old;
        }
    }
    wanted.set_role(role);
    if (google::protobuf::util::MessageDifferencer::Equals(*node, wanted)) return NodeText{node_yaml, false};
    return render(node_yaml, wanted);
}

Result<NodeText> without_peer(const std::string& node_yaml) {
    auto node = parse(node_yaml);
    if (!node) return node.error();
    config::NodeConfig wanted = *node;
    wanted.clear_links();
    return render(node_yaml, wanted);
}

}  // namespace lbcluster::replicator
