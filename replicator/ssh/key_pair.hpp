// This node's own SSH key (ed25519): STATE_DIR/keys/replica, readable by root only, and replica.pub beside it. Used for
// nothing but the connection between the replicatords.
//
// The private key stands in OpenSSH's own format (PROTOCOL.key: "openssh-key-v1", not encrypted), so that ssh-keygen
// and libssh2 read it. Refused if anybody else can read or replace it. Blocking file access.
#pragma once

#include <string>

#include "lbcluster/base/result.hpp"

namespace lbcluster::replicator::ssh {

struct KeyPair {
    std::string private_key;  // the file's text; a secret
    std::string public_key;   // "ssh-ed25519 AAAA... COMMENT", without a line end
};

Result<KeyPair> generate_key_pair(const std::string& comment);
std::string private_key_path(const std::string& state_dir);
// The private key's text.
Result<std::string> load_private_key(const std::string& path);
// The pair of this node; made now if there is none.
Result<KeyPair> own_key_pair(const std::string& state_dir, const std::string& node);

// A line of somebody else: "ssh-ed25519 AAAA..." and nothing that would mean something in authorized_keys.
Result<std::string> checked_public_key(const std::string& line);

}  // namespace lbcluster::replicator::ssh
