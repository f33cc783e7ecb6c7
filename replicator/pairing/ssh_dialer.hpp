// The way to the peer by SSH: with the password while the nodes are being paired, by key afterwards. Either way the
// host key is checked before anything secret is said.
#pragma once

#include <functional>
#include <string>

#include "replicator/pairing/initiator.hpp"

namespace lbcluster::replicator {

// The command that the peer's account may run.
inline constexpr const char* peer_command = "lbcluster replica";

// Only the key that the record pins.
ssh::Session::HostKeyCheck pinned_key(const config::PeerRecord& record);
ssh::Target target_of(const config::PeerRecord& record);

class SshDialer : public PeerDialer {
  public:
    // `password` is called once, after the host key was accepted.
    SshDialer(ssh::Target target, ssh::Session::HostKeyCheck check, std::function<Result<std::string>()> password)
        : target_(std::move(target)), check_(std::move(check)), password_(std::move(password)) {}

    boost::asio::awaitable<Connected> by_password() override;
    boost::asio::awaitable<Connected> by_key(config::PeerRecord record, std::string private_key) override;

    static constexpr Duration patience = 15s;

  private:
    ssh::Target target_;
    ssh::Session::HostKeyCheck check_;
    std::function<Result<std::string>()> password_;
};

// The host key of an SSH server; nobody logs in.
boost::asio::awaitable<Result<ssh::HostKey>> host_key_of(std::string address, std::uint16_t port);

}  // namespace lbcluster::replicator
