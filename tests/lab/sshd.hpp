// The system's own SSH server on a host of the lab, with the account `loadbalancer` as the package makes it: its login
// shell is `lbcluster-peer`, its password `the account's word`; sshd reads packaging/ssh/lbcluster.conf.
//
// The accounts are bind-mounted over those of the machine (passwd, group, shadow): in the test's mount namespace only.
// Each server has its own host key and gives the shell its node's folders, so that two nodes share one machine.
#pragma once

#include <memory>
#include <string>

#include "tests/lab/daemon.hpp"
#include "tests/lab/pair.hpp"

namespace lbcluster::lab {

struct SshdSpec {
    std::string folder;            // for its files; made
    std::string run_dir;           // of the node
    std::string state_dir;         // of the node; the account's home is STATE_DIR-peer
    std::string config_dir;        // of the node
    std::string more = {};         // lines for sshd_config, in front of the rest
    std::string login_shell = {};  // empty: lbcluster-peer
};

class Sshd {
  public:
    static constexpr const char* account = "loadbalancer";
    static const std::string password;

    Sshd(const Namespace& where, const SshdSpec& spec);

    void start();  // waits until it listens
    void stop();
    // Every connection ends, the server goes on.
    void cut();
    void new_host_key();                            // as after a new installation; stops and starts it
    [[nodiscard]] std::string fingerprint() const;  // SHA256:..., by ssh-keygen
    [[nodiscard]] std::string host_key() const;     // type, key, comment
    [[nodiscard]] std::string log() const { return daemon_->log(); }
    [[nodiscard]] std::string authorized_keys_path() const { return spec_.state_dir + "-peer/.ssh/authorized_keys"; }

  private:
    const Namespace& where_;
    SshdSpec spec_;
    std::unique_ptr<Daemon> daemon_;
};

// The server of a pair's node. Without `login_shell` it is lbcluster-peer.
SshdSpec sshd_spec(const Pair& pair, const std::string& node, const std::string& login_shell = "");

// What `lbcluster pair` leaves behind for `node`, made by hand: its key, that key with the peer, peer.yaml.
void introduce(const Pair& pair, const std::string& node, const Sshd& peer);

}  // namespace lbcluster::lab
