#include "healthd/core/target.hpp"

#include <algorithm>

namespace lbcluster::health {

namespace {

// The shape of the tree: leaves by number, groups as 2(0,1,2).
void append_shape(const CheckTree& tree, std::string& out) {
    if (tree.parts.empty()) {
        out += std::to_string(tree.leaf);
        return;
    }
    out += std::to_string(tree.need) + "(";
    for (const CheckTree& part : tree.parts) {
        append_shape(part, out);
        out += ',';
    }
    out += ')';
}

struct Count {
    std::size_t up = 0;
    std::size_t standby = 0;
    std::size_t undecided = 0;  // pending or unusable
    bool pending = false;
};

Count count_parts(const CheckTree& tree, const std::vector<LeafState>& leaves) {
    Count count;
    for (const CheckTree& part : tree.parts) {
        const auto finding = evaluate(part, leaves);
        if (!finding) count.pending = true;
        if (!finding || *finding == Finding::unusable) ++count.undecided;
        else if (*finding == Finding::up) ++count.up;
        else if (*finding == Finding::standby) ++count.standby;
    }
    return count;
}

// "http 9191", "connect 80", "ping": which part of a composite it is.
std::string label_of(const ProbeSpec& spec) {
    const config::Check& check = spec.check;
    std::string name = check.type() == config::CHECK_TYPE_NEGOTIATE
                           ? config::CheckProtocol_Name(check.protocol()).substr(sizeof "CHECK_PROTOCOL_" - 1)
                           : config::CheckType_Name(check.has_type() ? check.type() : config::CHECK_TYPE_CONNECT)
                                 .substr(sizeof "CHECK_TYPE_" - 1);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return spec.port == 0 ? name : name + " " + std::to_string(spec.port);
}

// The first leaf below that ended with `finding`; null if there is none.
const LeafState* first_with(const CheckTree& tree, const std::vector<LeafState>& leaves, Finding finding,
                            std::size_t& index) {
    if (tree.parts.empty()) {
        const LeafState& leaf = leaves[tree.leaf];
        index = tree.leaf;
        return leaf.stage == LeafState::Stage::ended && leaf.outcome.finding == finding ? &leaf : nullptr;
    }
    for (const CheckTree& part : tree.parts) {
        if (const LeafState* found = first_with(part, leaves, finding, index)) return found;
    }
    return nullptr;
}

}  // namespace

std::string Target::question() const {
    std::string out;
    append_shape(tree, out);
    for (const ProbeSpec& leaf : leaves) {
        // With its length in front: no text inside of one leaf can look like the end of it.
        const std::string key = leaf.key();
        out += '\n' + std::to_string(key.size()) + ':' + key;
    }
    return out;
}

std::string key_of(const Target& target) {
    return target.question() + "\n" + format_duration(target.interval) + " " + format_duration(target.timeout) + " " +
           std::to_string(target.fall) + " " + std::to_string(target.rise);
}

std::string key_of(const Agent& agent) {
    return "agent\n" + agent.address.to_string() + " " + std::to_string(agent.port) + " " +
           format_duration(agent.interval);
}

std::optional<Finding> evaluate(const CheckTree& tree, const std::vector<LeafState>& leaves) {
    if (tree.parts.empty()) {
        const LeafState& leaf = leaves[tree.leaf];
        if (leaf.stage != LeafState::Stage::ended) return std::nullopt;
        return leaf.outcome.finding;
    }
    const Count count = count_parts(tree, leaves);
    const std::size_t healthy = count.up + count.standby;
    if (count.up >= tree.need) return Finding::up;
    if (healthy + count.undecided < tree.need) return Finding::down;
    if (healthy >= tree.need && count.up + count.undecided < tree.need) return Finding::standby;
    if (count.pending) return std::nullopt;
    return Finding::unusable;
}

std::string reason_of(const Target& target, const std::vector<LeafState>& leaves, Finding finding) {
    if (target.tree.parts.empty()) return leaves[target.tree.leaf].outcome.reason;
    const Count count = count_parts(target.tree, leaves);
    const std::string numbers = std::to_string(count.up) + " of " + std::to_string(target.tree.parts.size()) +
                                " checks up, " + std::to_string(target.tree.need) + " needed";
    if (finding == Finding::up) return numbers;
    std::size_t index = 0;
    const LeafState* leaf = first_with(target.tree, leaves, finding, index);
    if (leaf == nullptr) return numbers;
    // The leaf's own reason may be as long as a reason can be: the numbers come first, so that they are never cut.
    std::string out = numbers + "; " + label_of(target.leaves[index]) + ": " + leaf->outcome.reason;
    if (out.size() <= reason_bytes_max) return out;
    out.resize(reason_bytes_max - 3);
    return out + "...";
}

std::string timeout_reason(const std::string& reached, Duration timeout) {
    const std::string what = reached.empty() ? "answer" : reached == "connect" ? "connection" : reached;
    return "no " + what + " within " + format_duration(timeout);
}

Duration recheck_delay(const Target& target) {
    return std::min<Duration>(target.interval, std::max<Duration>(100ms, target.interval / 4));
}

Duration detection_time(const Target& target) {
    const Duration again = std::min(target.interval, target.timeout + recheck_delay(target));
    return target.interval + again * (std::max(target.fall, 1U) - 1) + target.timeout;
}

}  // namespace lbcluster::health
