// A backup of a node's configuration as one file (RE-5): cluster.yaml and files/, node.yaml, and, if asked for, the
// secrets of STATE_DIR. What certificates' files and cluster.yaml have in them is always there: they are configuration.
//
// Blocks on the disk. Any thread.
#pragma once

#include <optional>
#include <string>

#include "lbcluster/backup.pb.h"
#include "lbcluster/base/result.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::config {

// What is in force, valid or not: a backup is wanted most when something is wrong.
Result<Backup> make_backup(const Paths& paths, bool secrets, const std::string& version);
std::string backup_file(const Backup& backup);
// EPROTO: it is no backup, was cut or changed, or is of a newer version; the message says which.
Result<Backup> read_backup(const std::string& bytes);

// cluster.yaml and files/ of it as a new revision, checked as on this node.
Result<Applied, Refusal> restore(const Paths& paths, const Backup& backup, const std::optional<Facts>& facts,
                                 const Change& change);
// All of it: this machine takes the place of that node. Secrets first, node.yaml last; checked before anything is
// written, and taken back if the disk does not take it.
Result<Applied, Refusal> restore_node(const Paths& paths, const Backup& backup, const std::optional<Facts>& facts,
                                      const Change& change);

}  // namespace lbcluster::config
