#include "replicator/peer_call.hpp"

#include <cerrno>

#include "replicator/ssh/key_pair.hpp"
#include "replicator/ssh/session.hpp"

namespace lbcluster::replicator {

namespace {

constexpr Duration step_patience = 10s;
// The server runs its forced command whatever is asked for; this is for its log.
constexpr const char* command = "lbcluster replica";

boost::asio::awaitable<Result<std::unique_ptr<ByteStream>>> call(config::Paths paths, config::PeerRecord peer) {
    const auto key = ssh::load_private_key(ssh::private_key_path(paths.state_dir));
    if (!key) co_return key.error();
    ssh::Target target;
    target.address = peer.address();
    target.port = static_cast<std::uint16_t>(peer.port());
    target.user = peer.user();
    target.local_address = peer.local_address();
    target.host_key_type = peer.host_key_type();
    ssh::Session::HostKeyCheck check = [peer](const ssh::HostKey& shown) -> Result<void> {
        if (shown.type == peer.host_key_type() && shown.base64 == peer.host_key()) return {};
        return Error{peer.node() + " (" + peer.address() +
                         ") shows another host key than when it was paired: " + shown.fingerprint,
                     "if it was installed anew, run 'lbcluster pair' again; if not, somebody else answers there",
                     EKEYREJECTED};
    };
    auto session = co_await ssh::Session::connect(target, std::move(check), step_patience);
    if (!session) co_return session.error();
    const std::shared_ptr<ssh::Session> open = *session;
    std::string secret = *key;
    const auto known = co_await open->authenticate_key(std::move(secret), step_patience);
    if (!known) {
        open->close();
        co_return known.error();
    }
    std::string what = command;
    auto stream = co_await open->exec(std::move(what), step_patience);
    if (!stream) {
        open->close();
        co_return stream.error();
    }
    co_return std::move(*stream);
}

}  // namespace

Caller::Connect call_by_ssh(const config::Paths& paths) {
    return [paths](config::PeerRecord peer) { return call(paths, std::move(peer)); };
}

}  // namespace lbcluster::replicator
