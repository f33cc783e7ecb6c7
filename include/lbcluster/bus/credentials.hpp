// Who is at the other end of a Unix socket, as the kernel says (unix(7): SO_PEERCRED, SO_PEERGROUPS).
#pragma once

#include <sys/types.h>

#include <vector>

#include "lbcluster/base/result.hpp"

namespace lbcluster::bus {

struct PeerCredentials {
    pid_t pid = 0;
    uid_t uid = static_cast<uid_t>(-1);
    gid_t gid = static_cast<gid_t>(-1);
    std::vector<gid_t> groups;  // supplementary

    [[nodiscard]] bool in_group(gid_t group) const;
    // root or this process's own user: may change things; and a server that is one of them is believed.
    [[nodiscard]] bool trusted() const;
};

Result<PeerCredentials> peer_credentials(int socket);

}  // namespace lbcluster::bus
