// What a push carries: revisions of one node, and the contents that the other has not got. Pure: messages and bytes.
//
// What comes from the peer is believed only as far as it was checked here: names that stay inside files/, lengths
// within the limits below before anything of that length is kept, the SHA-256 of each content, and the digest of each
// revision.
#pragma once

#include <lbcluster/replica.pb.h>

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lbcluster/base/result.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::replicator {

inline constexpr int offered_revisions_max = 100;
inline constexpr std::size_t offered_bytes_max = std::size_t{64} * 1024 * 1024;  // of all contents, each counted once
inline constexpr std::size_t piece_bytes_max = std::size_t{256} * 1024;

using Contents = std::map<std::string, std::string>;  // SHA-256 -> bytes

std::string sha256(std::string_view bytes);  // 32 bytes
// The same revision has the same key on both nodes, whatever its number.
std::string key_of(const config::Revision& revision);
// Whether `name` is cluster.yaml or names a file below files/.
bool is_file_name(std::string_view name);

// Adds a revision to an offer and what it needs to `contents`. False, and nothing was added: the offer is full.
bool add_to_offer(const config::Revision& revision, const config::Content& content, replica::Offer& offer,
                  Contents& contents);

// The bytes of `contents` that are wanted, as pieces. An error if something is wanted that was not offered.
class PieceSource {
  public:
    static Result<PieceSource> make(Contents contents, const replica::Want& want);
    // False: that was all.
    bool next(replica::Piece& piece);

  private:
    Contents contents_;
    std::vector<std::string> wanted_;
    std::size_t at_ = 0;
    std::size_t done_bytes_ = 0;
};

// The receiver's side of an offer: knows what is missing, takes the pieces, and puts the revisions together.
class Assembly {
  public:
    // `have`: contents that are here already. An error if the offer breaks a rule.
    static Result<Assembly> make(replica::Offer offer, const Contents& have);

    [[nodiscard]] const replica::Offer& offer() const { return offer_; }
    [[nodiscard]] replica::Want want() const;
    [[nodiscard]] bool complete() const { return at_ == missing_.size(); }
    Result<void> add(const replica::Piece& piece);
    // Needs complete(); may be called once. An error if a digest is not what was announced.
    Result<std::vector<config::Received>> finish();

  private:
    replica::Offer offer_;
    Contents contents_;
    std::vector<std::string> missing_;          // in the order of want()
    std::map<std::string, std::size_t> bytes_;  // announced
    std::size_t at_ = 0;
    std::string content_;  // of missing_[at_], as far as it has come
};

}  // namespace lbcluster::replicator
