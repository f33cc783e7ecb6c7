// The side of a pairing that asks: `lbcluster pair` and `unpair` on the node that becomes the primary. Runs as root on
// that node and needs no daemon there; the peer's replicatord answers. Everything that can be refused is refused before
// the first change; the peer is changed first, then this node; a pairing that was broken off is completed by pairing
// again.
//
// Errors name the step. Codes as may_pair(), the SSH session and the store have them; `exit_code` is the CLI's.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>

#include "lbcluster/config/paths.hpp"
#include "replicator/channel.hpp"
#include "replicator/pairing/local.hpp"
#include "replicator/ssh/session.hpp"

namespace lbcluster::replicator {

// A stream to the peer's replicatord, and SCP beside it.
class PeerConnection {
  public:
    PeerConnection() = default;
    virtual ~PeerConnection() = default;
    PeerConnection(const PeerConnection&) = delete;
    PeerConnection& operator=(const PeerConnection&) = delete;
    virtual Channel& channel() = 0;
    virtual boost::asio::awaitable<Result<void>> upload(std::string bytes) = 0;
    [[nodiscard]] virtual ssh::HostKey host_key() const = 0;
    // Why the stream ended, if more is known than its error: what the command on the other side has said.
    [[nodiscard]] virtual std::string last_words() const { return ""; }
};

// How to reach the peer; the tests have one without SSH.
class PeerDialer {
  public:
    PeerDialer() = default;
    virtual ~PeerDialer() = default;
    PeerDialer(const PeerDialer&) = delete;
    PeerDialer& operator=(const PeerDialer&) = delete;
    using Connected = Result<std::unique_ptr<PeerConnection>>;
    // With the account's password, before the pair is there.
    virtual boost::asio::awaitable<Connected> by_password() = 0;
    // With this node's key, as the record says.
    virtual boost::asio::awaitable<Connected> by_key(config::PeerRecord record, std::string private_key) = 0;
};

struct PairRequest {
    std::string local;
    std::string peer;
    std::string user = "loadbalancer";
    std::uint16_t ssh_port = 22;
    std::uint16_t tcp_port = 0;  // HAProxy's tables; 0: as configured
    bool replace_peer = false;
    std::string author;
    ssh::HostKey own_host_key;  // of this node's SSH server
};

struct PairFailure {
    int exit_code = 1;
    Error error;
};

struct PairOutcome {
    config::PeerRecord record;
    std::string digest;
    bool comments_dropped = false;  // of node.yaml here
    bool heartbeats_tried = false;
};

using Progress = std::function<void(const std::string& step)>;  // "attempting to pair", "configuring"

boost::asio::awaitable<Result<PairOutcome, PairFailure>> pair_nodes(config::Paths paths, PairRequest request,
                                                                    PeerDialer& dialer, Progress progress);

// Tells the peer that the pair is no more, and clears it there if the floating IPs stay here.
boost::asio::awaitable<Result<void, PairFailure>> tell_unpair(config::Paths paths, LocalNode node, PeerDialer& dialer,
                                                              bool clear_there);

// A new key for the heartbeats of a pair that runs: first accepted by both nodes, then used by both, then alone. What a
// stop leaves in between works, and the next rotation tidies it up. Returns the new fingerprint.
boost::asio::awaitable<Result<std::string, PairFailure>> rotate_keys(config::Paths paths, PeerDialer& dialer);

int exit_code_of_pairing(const Error& error);

}  // namespace lbcluster::replicator
