// Whose content counts: the decisions of the replication, as pure functions over what both nodes have.
//
// A content's version is how many changes made on this node, and on the peer, are in it (a version vector of two;
// Parker et al., "Detection of Mutual Inconsistency in Distributed Systems", IEEE TSE 1983). A change counts one up on
// the node where it is made; a push carries its version along. So, whatever was lost, cut off or restarted in between:
//
//   same digest              in sync
//   ahead                    we have all of the peer's changes and more: we push
//   behind                   the other way round: we wait for the peer's push
//   apart                    both were changed: diverged; nothing is overwritten until somebody chooses
//
// Who may change: the active node, and any node that knows of no active peer. What is edited by hand on the other one
// counts for nothing: it is kept as a revision, and what was in force comes back. A content that was changed with right
// counts wherever it is: a node that failed before its last change was with the peer brings it along when it comes
// back, unless the peer was changed meanwhile (apart).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lbcluster/base/result.hpp"

namespace lbcluster::replicator {

// As seen from this node, also where it is the peer's content that is meant.
struct Version {
    std::uint64_t mine = 0;  // changes made on this node
    std::uint64_t peer = 0;
    bool operator==(const Version&) const = default;
};

enum class Order { same, ahead, behind, apart };
Order compare(const Version& own, const Version& other);

struct Counted {
    std::string digest;
    Version version;
    bool operator==(const Counted&) const = default;
};

// What a node must not forget (STATE_DIR/replica.yaml).
struct Ledger {
    Counted counted;                  // the content that counts here
    std::optional<Counted> incoming;  // is being put in force; a stop may interrupt it
    std::string pair;                 // cluster id of the pair that the versions are of
    bool operator==(const Ledger&) const = default;
};

// At the beginning of a pair the primary's content counts.
Ledger first_ledger(const std::string& digest, const std::string& pair, bool primary);

// The content in force on this node.
struct Own {
    std::string digest;                // empty: it cannot be read
    bool by_hand = false;              // its newest revision is a hand edit
    std::vector<std::string> history;  // digests of the revisions, newest first
};

struct Account {
    Ledger ledger;
    bool set_aside = false;  // a hand edit where nothing may be changed: ledger.counted.digest is to be put back
};

// Counts what was changed on this node since the ledger was written, and finds out what became of a push that a stop
// interrupted. `own.digest` must not be empty.
Account account(const Ledger& ledger, const Own& own, bool may_change);

struct Situation {
    std::string own;              // digest in force; empty: it cannot be read
    Counted counted;              // of the ledger
    std::optional<Counted> peer;  // nothing: it is not heard
    std::string refused;          // digest of a content of ours that the peer could not put in force
};

enum class State { not_heard, unreadable, in_sync, push, refused, wait, diverged, setting_aside };
std::string word_of(State state);  // as `status` has it: in-sync | behind | diverged | failed

State decide(const Situation& situation);

// Both have the same: both know of all changes. Nothing: it was known.
std::optional<Version> merged(const Counted& own, const Counted& peer);

// A push arrives: why not to take it; nothing: take it. The error's code is the CLI's exit code.
std::optional<Error> refusal_of(const std::string& own, const Counted& counted, const Counted& offered);

// Both were changed, and somebody has chosen. An error if there is nothing to choose.
Result<Version> choose_mine(const Counted& own, const Counted& peer);
Result<Version> choose_peer(const Counted& own, const Counted& peer);

}  // namespace lbcluster::replicator
