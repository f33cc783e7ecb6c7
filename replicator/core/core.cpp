#include "replicator/core/core.hpp"

#include <algorithm>

#include "lbcluster/base/assert.hpp"

namespace lbcluster::replicator {

namespace {

constexpr int exit_refused = 5;

// Of two contents that were in force here, the one that was so later: what a change was made on top of.
bool is_newer(const std::vector<std::string>& history, const std::string& one, const std::string& other) {
    const auto first = std::find(history.begin(), history.end(), one);
    return first != history.end() && first < std::find(history.begin(), history.end(), other);
}

Result<void> must_differ(const Counted& own, const Counted& peer) {
    const Order order = compare(own.version, peer.version);
    const bool apart = order == Order::apart || order == Order::same;
    if (own.digest != peer.digest && apart) return {};
    return Error{"the nodes have not diverged: there is nothing to choose",
                 own.digest == peer.digest ? "both have the same" : "'lbcluster sync' replicates what is newer",
                 exit_refused};
}

}  // namespace

Order compare(const Version& own, const Version& other) {
    if (own == other) return Order::same;
    if (own.mine >= other.mine && own.peer >= other.peer) return Order::ahead;
    if (own.mine <= other.mine && own.peer <= other.peer) return Order::behind;
    return Order::apart;
}

Ledger first_ledger(const std::string& digest, const std::string& pair, bool primary) {
    return {{digest, {primary ? 1U : 0U, 0}}, std::nullopt, pair};
}

Account account(const Ledger& ledger, const Own& own, bool may_change) {
    LBC_ASSERT(!own.digest.empty());
    Account out{ledger};
    Counted& counted = out.ledger.counted;
    if (ledger.incoming) {
        const bool in_force = own.digest == ledger.incoming->digest;
        // Put in force, and changed again since, before anybody could count it.
        const bool was = own.digest != counted.digest && is_newer(own.history, ledger.incoming->digest, counted.digest);
        if (in_force || was) counted = *ledger.incoming;
        out.ledger.incoming.reset();
    }
    if (own.digest == counted.digest) return out;
    if (own.by_hand && !may_change) {
        out.set_aside = true;
        return out;
    }
    counted.digest = own.digest;
    ++counted.version.mine;
    return out;
}

std::string word_of(State state) {
    switch (state) {
        case State::in_sync:
            return "in-sync";
        case State::push:
        case State::wait:
        case State::setting_aside:
            return "behind";
        case State::diverged:
            return "diverged";
        case State::not_heard:
        case State::unreadable:
        case State::refused:
            break;
    }
    return "failed";
}

State decide(const Situation& situation) {
    if (situation.own.empty()) return State::unreadable;
    if (!situation.peer) return State::not_heard;
    if (situation.own != situation.counted.digest) return State::setting_aside;
    const Counted& own = situation.counted;
    const Counted& peer = *situation.peer;
    if (own.digest == peer.digest) return State::in_sync;
    switch (compare(own.version, peer.version)) {
        case Order::ahead:
            return situation.refused == own.digest ? State::refused : State::push;
        case Order::behind:
            return State::wait;
        case Order::same:  // never replicated: neither has come out of the other
        case Order::apart:
            break;
    }
    return State::diverged;
}

std::optional<Version> merged(const Counted& own, const Counted& peer) {
    LBC_ASSERT(own.digest == peer.digest);
    const Version all{std::max(own.version.mine, peer.version.mine), std::max(own.version.peer, peer.version.peer)};
    if (all == own.version) return std::nullopt;
    return all;
}

std::optional<Error> refusal_of(const std::string& own, const Counted& counted, const Counted& offered) {
    if (own != counted.digest && !own.empty()) {
        return Error{"the configuration was changed on this node at this moment", "", exit_refused};
    }
    switch (compare(counted.version, offered.version)) {
        case Order::behind:
            return std::nullopt;
        case Order::apart:
            return Error{"the configuration was changed on both nodes", "'lbcluster config resolve' chooses",
                         exit_refused};
        case Order::ahead:
        case Order::same:
            break;
    }
    return Error{"what was sent is older than what is in force", "", exit_refused};
}

Result<Version> choose_mine(const Counted& own, const Counted& peer) {
    if (const auto differ = must_differ(own, peer); !differ) return differ.error();
    return Version{std::max(own.version.mine, peer.version.mine) + 1, std::max(own.version.peer, peer.version.peer)};
}

Result<Version> choose_peer(const Counted& own, const Counted& peer) {
    if (const auto differ = must_differ(own, peer); !differ) return differ.error();
    if (own.version == peer.version) {
        return Error{"neither node's configuration was ever replicated, so this must be chosen on the peer",
                     "run 'lbcluster config resolve mine' there", exit_refused};
    }
    return Version{std::min(own.version.mine, peer.version.mine), std::min(own.version.peer, peer.version.peer)};
}

}  // namespace lbcluster::replicator
