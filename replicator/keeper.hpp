// The replicator's disk: what is in force on this node, what the ledger says of it, and putting in force what the peer
// has sent. All decisions are the core's.
//
//   STATE_DIR/replica.yaml   message Ledger
//   STATE_DIR/peer/          what the peer has in force, as it was last asked for to be shown
//
// Blocks; used by one thread only, and not the one that runs the io_context. A stop at any moment is no harm: what is
// about to be put in force stands in the ledger before, and the next look() finds what has come true.
#pragma once

#include <lbcluster/replica.pb.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lbcluster/config.pb.h"
#include "lbcluster/config/store.hpp"
#include "replicator/core/core.hpp"
#include "replicator/parcel.hpp"

namespace lbcluster::replicator {

// What happened, for the history.
struct Note {
    std::string kind;
    std::string severity;
    std::string text;
};

struct Look {
    std::optional<config::PeerRecord> peer;  // nothing: not paired
    std::string node;
    std::string log_level = "info";
    Counted counted;
    std::string own;             // digest in force; empty: see `error`
    std::uint64_t revision = 0;  // its number
    std::vector<std::string> known;
    std::string error;                                // why what is in force cannot be replicated
    std::optional<std::uint64_t> set_aside;           // a hand edit is this revision now
    std::optional<replica::Unconfirmed> unconfirmed;  // about what is in force
    std::vector<Note> notes;
};

struct Parcel {
    replica::Offer offer;
    Contents contents;
};

struct Taken {
    std::string digest;  // in force now, read back
    int exit_code = 0;
    Error error;
};

class Keeper {
  public:
    explicit Keeper(config::Paths paths) : paths_(std::move(paths)) {}

    // What is in force. Counts changes, and puts back what was edited where nothing may be changed.
    Look look(bool may_change);
    // The version of the content with this digest, if it is still in force.
    Result<void> set_version(const std::string& digest, const Version& version);
    // What was not confirmed in time: what was in force before it comes back. A note says so; nothing: it is not in
    // force.
    std::optional<Note> take_back();
    // As the active node has it.
    Result<void> keep_unconfirmed(const std::optional<replica::Unconfirmed>& unconfirmed);
    // What the peer has not got, up to what is in force.
    Result<Parcel> pack(const std::set<std::string>& peer_knows);
    // Contents that are here and need not be sent.
    Contents have();
    Taken take(std::vector<config::Received> chain, const Counted& offered, const std::set<IpPrefix>& floating);
    replica::Copy copy();
    // The folder that it was written to.
    Result<std::string> keep_copy(const replica::Copy& copy);

  private:
    void read_ledger(const Look& look, const std::string& digest, bool primary);
    Result<void> write_ledger(const Ledger& ledger);
    void count(Look& look, const Own& own, bool may_change);
    void put_back(Look& look);
    [[nodiscard]] std::optional<replica::Unconfirmed> unconfirmed(const std::string& digest) const;
    [[nodiscard]] std::string ledger_file() const { return paths_.state_dir + "/replica.yaml"; }

    config::Paths paths_;
    std::optional<Ledger> ledger_;
    std::optional<Ledger> stored_;  // as it stands in the file
};

}  // namespace lbcluster::replicator
