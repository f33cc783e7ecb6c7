#include "lbcluster/bus/credentials.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace lbcluster::bus {
namespace {

constexpr std::size_t groups_max = 1024;

}  // namespace

bool PeerCredentials::in_group(gid_t group) const {
    return gid == group || std::find(groups.begin(), groups.end(), group) != groups.end();
}

bool PeerCredentials::trusted() const { return uid == 0 || uid == ::geteuid(); }

Result<PeerCredentials> peer_credentials(int socket) {
    ucred kernel{};
    socklen_t size = sizeof kernel;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &kernel, &size) != 0) {
        return Error{std::string("cannot read the peer's credentials: ") + std::strerror(errno), "", errno};
    }
    PeerCredentials out{kernel.pid, kernel.uid, kernel.gid, {}};
    out.groups.resize(groups_max);
    size = static_cast<socklen_t>(out.groups.size() * sizeof(gid_t));
    // Older kernels and other namespaces may not say; then only the primary group counts.
    const bool known = ::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, out.groups.data(), &size) == 0;
    out.groups.resize(known ? size / sizeof(gid_t) : 0);
    return out;
}

}  // namespace lbcluster::bus
