// What is asked of a real server: the check of a service, resolved for one server. Equal checks of the same server are
// one target, however many services use it. Pure values; made from the configuration by healthd/setup.hpp.
//
// A check is a tree. Its leaves are probes (ProbeSpec); a group is up if at least `need` of its parts are:
// `all` needs all of them, `any` one; several ports are an `all`. With standby and undecided parts:
//
//   up        at least `need` parts are up, whatever the rest says
//   down      not even with every undecided part there could be `need` parts that are up or on standby
//   standby   `need` parts are up or on standby, and no undecided part can make it up
//   unusable  none of these, and every part has ended
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "healthd/core/types.hpp"

namespace lbcluster::health {

struct CheckTree {
    std::size_t leaf = 0;  // of Target::leaves, if there are no parts
    std::size_t need = 0;  // of the parts
    std::vector<CheckTree> parts;
};

struct Target {
    std::vector<ProbeSpec> leaves;  // at least one
    CheckTree tree;
    Duration interval = 4s;
    Duration timeout = 3s;  // of a whole round: all leaves
    unsigned fall = 2;
    unsigned rise = 2;

    // What is asked of whom: equal texts get equal answers, so that a verdict outlives a change of the timing.
    [[nodiscard]] std::string question() const;
};

// question() and the timing: equal for targets that are one.
std::string key_of(const Target& target);

// A feedback agent of a server; equal ones are asked once.
struct Agent {
    IpAddress address;
    std::uint16_t port = 0;
    Duration interval = 5s;
    [[nodiscard]] Duration timeout() const { return std::min<Duration>(interval, 3s); }
};
std::string key_of(const Agent& agent);

// How a leaf stands in the round that is under way.
struct LeafState {
    enum class Stage : std::uint8_t { waiting, running, ended };
    Stage stage = Stage::waiting;
    Outcome outcome;  // if ended
};

// Nothing: it depends on leaves that have not ended.
std::optional<Finding> evaluate(const CheckTree& tree, const std::vector<LeafState>& leaves);
// One line for the outcome of a round that found `finding`.
std::string reason_of(const Target& target, const std::vector<LeafState>& leaves, Finding finding);
// Of a probe that was ended by the deadline; `reached` as Probe::stop() tells it.
std::string timeout_reason(const std::string& reached, Duration timeout);

// How long until the next look after a first outcome against the verdict: a quarter of the interval, at least 100 ms,
// so that a lost packet and a dead server are told apart soon, and a server that restarts has time for it all the same.
Duration recheck_delay(const Target& target);
// From a server's death to the verdict, at worst: it dies right after a probe, and every further one runs into its
// timeout. Never more than fall x interval + timeout.
Duration detection_time(const Target& target);

}  // namespace lbcluster::health
