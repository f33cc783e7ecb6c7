// A YAML document as a bounded tree with positions, built from libyaml's events. Duplicate keys and aliases are refused
// here. Private to the configuration library.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lbcluster/config/problem.hpp"
#include "lbcluster/config/schema.hpp"

namespace lbcluster::config {

struct YamlNode {
    enum class Kind { null, scalar, sequence, mapping };

    struct Entry;

    Kind kind = Kind::null;
    Position position;
    bool quoted = false;          // scalar: written in quotes, hence text
    std::string text;             // scalar
    std::vector<YamlNode> items;  // sequence
    std::vector<Entry> entries;   // mapping, in the order of the file, keys unique
};

struct YamlNode::Entry {
    std::string key;
    Position position;  // of the key
    YamlNode value;
};

// False (with at least one problem) if there is no tree; duplicate keys are problems, but leave a tree. `root` is
// null-kind for a file without content.
bool parse_tree(std::string_view text, const std::string& file, YamlNode& root, Problems& problems);

// `text` cut to a readable length, control characters shown as '?': for messages.
std::string printable(std::string_view text);

}  // namespace lbcluster::config
