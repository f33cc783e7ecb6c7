// The login shell of the account `loadbalancer`: lbcluster under the name `lbcluster-peer`. Whoever logs in, with the
// password or with the peer's key, can pass frames on to replicatord and bring one file by SCP, and nothing else: no
// interactive shell, no other program, no other file. It runs nothing that it was sent: words are compared, not parsed.
#pragma once

namespace lbcluster::cli {

inline constexpr const char* peer_shell_name = "lbcluster-peer";

// Whether this process was started as that shell (also as a login shell, with '-' in front).
bool is_peer_shell(const char* argv0);
int peer_shell(int argc, char** argv);

}  // namespace lbcluster::cli
