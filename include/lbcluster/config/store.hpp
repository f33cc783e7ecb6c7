// Changing cluster.yaml and files/: under a lock, atomically, each change kept as a revision.
//
// Invariants, whenever the process or the power ends: cluster.yaml is the old or the new one, never a part of either;
// a revision that is visible in STATE_DIR/revisions is complete; what is in force is a revision, or a hand edit that
// becomes one with the next change. A change that was interrupted after its revision was complete is finished by the
// next one that takes the lock (settle(), or any change).
//
//   STATE_DIR/lock                      flock; held while anything below is written
//   STATE_DIR/revisions/<number>/       cluster.yaml, files/, revision.yaml (message Revision)
//   STATE_DIR/revisions/pending         number of the revision that is being put in force; if revisions of the peer are
//                                       taken over with it, the first one's number and the digest that was in force
//
// Blocks on the disk. Safe against others that use it at the same time; not for several threads of one process.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lbcluster/base/result.hpp"
#include "lbcluster/config/load.hpp"

namespace lbcluster::config {

inline constexpr std::size_t revisions_max = 100;
inline constexpr const char* hand_edit_author = "hand edit";

struct Change {
    std::string author;
    std::string reason;
    std::chrono::milliseconds lock_timeout{5000};  // how long to wait for somebody else's change
    std::string expected_digest;  // refuse (EAGAIN) if something else is in force by then; empty: do not
};

// What could not be kept as a revision: where it was moved to, and why.
struct SetAside {
    std::string folder;
    std::string why;
};

struct Applied {
    std::uint64_t revision = 0;
    std::string digest;
    bool changed = true;                     // false: the content was in force already
    std::optional<std::uint64_t> hand_edit;  // a hand edit was found before and kept as this revision
    std::optional<SetAside> set_aside;
    Problems warnings;
};

// Why nothing was changed. `problems` if the configuration is not valid, else `error`.
struct Refusal {
    Error error;
    Problems problems;
};

// Checks `cluster_yaml` (called `name` in problems) together with node.yaml, then puts it in force, bytes kept.
Result<Applied, Refusal> apply(const Paths& paths, const std::string& cluster_yaml, const std::string& name,
                               const std::optional<Facts>& facts, const Change& change);
// The content of an old revision, files/ too, as a new one.
Result<Applied, Refusal> rollback(const Paths& paths, std::uint64_t number, const std::optional<Facts>& facts,
                                  const Change& change);
// All of a content, files/ too, checked as on this node; `name` is what problems call its cluster.yaml.
Result<Applied, Refusal> apply_content(const Paths& paths, const Content& content, const std::string& name,
                                       const std::optional<Facts>& facts, const Change& change);
// Factory settings. The way out of a broken state: what cannot be kept as a revision is set aside.
Result<Applied, Refusal> reset(const Paths& paths, const Change& change);
std::string factory_cluster_yaml();
// The content with this digest as a new one, from the revisions kept. As with reset(), what stands in its way is set
// aside if it cannot be kept as a revision. It was in force on this node before, so it is not checked again.
Result<Applied, Refusal> put_back(const Paths& paths, const std::string& digest, const Change& change);

// A revision of the peer.
struct Received {
    Revision revision;  // its digest is that of `content`; the number counts for nothing here
    Content content;
};
// Takes over revisions of the peer, oldest first, with author, time and reason, all of them or none; the last one is
// checked as what would be in force on this node, and put in force. Of `change`: lock_timeout and expected_digest.
Result<Applied, Refusal> take_over(const Paths& paths, const std::vector<Received>& chain,
                                   const std::optional<Facts>& facts, const Change& change);

// Finishes an interrupted change and keeps a hand edit as a revision; returns the number of what is in force.
Result<std::uint64_t, Refusal> settle(const Paths& paths, std::chrono::milliseconds lock_timeout);

Result<Content> read_revision(const Paths& paths, std::uint64_t number);

// `bytes` at `path`, old or new whatever happens: temporary file beside it, fsync, rename, fsync of the folder. Keeps
// mode and owner of what stood there; `mode` for a new one. Takes no lock.
Result<void> write_atomically(const std::string& path, const std::string& bytes, unsigned mode);

// Unified diff, three lines of context; empty if they are the same.
std::string unified_diff(const std::string& old_text, const std::string& new_text, const std::string& old_name,
                         const std::string& new_name);
// The same over all of two contents, to be shown: secrets are masked, private keys left out.
std::string unified_diff(const Content& old_content, const Content& new_content, const std::string& old_name,
                         const std::string& new_name);

}  // namespace lbcluster::config
