#include "replicator/pairing/ssh_dialer.hpp"

#include <openssl/crypto.h>

#include <boost/asio/this_coro.hpp>
#include <cerrno>

namespace lbcluster::replicator {

namespace {

class SshPeer : public PeerConnection {
  public:
    SshPeer(const boost::asio::any_io_executor& executor, std::shared_ptr<ssh::Session> session,
            std::unique_ptr<ByteStream> stream)
        : session_(std::move(session)), channel_(executor, std::move(stream)) {}
    ~SshPeer() override { session_->close(); }

    Channel& channel() override { return channel_; }
    boost::asio::awaitable<Result<void>> upload(std::string bytes) override {
        const auto session = session_;
        co_return co_await session->upload(incoming_name, std::move(bytes), 60s);
    }
    [[nodiscard]] ssh::HostKey host_key() const override { return session_->host_key(); }
    [[nodiscard]] std::string last_words() const override {
        std::string text = session_->ending().stderr_text;
        text.erase(text.find_last_not_of(" \r\n") + 1);
        return text;
    }

  private:
    std::shared_ptr<ssh::Session> session_;
    Channel channel_;
};

boost::asio::awaitable<PeerDialer::Connected> open_stream(std::shared_ptr<ssh::Session> session) {
    const auto executor = co_await boost::asio::this_coro::executor;
    auto stream = co_await session->exec(peer_command, SshDialer::patience);
    if (!stream) co_return stream.error();
    std::unique_ptr<PeerConnection> peer = std::make_unique<SshPeer>(executor, session, std::move(*stream));
    co_return std::move(peer);
}

}  // namespace

ssh::Session::HostKeyCheck pinned_key(const config::PeerRecord& record) {
    return [record](const ssh::HostKey& seen) -> Result<void> {
        if (seen.type == record.host_key_type() && seen.base64 == record.host_key()) return {};
        return Error{"the SSH server at " + record.address() + " is not the one that was paired: its host key is now " +
                         seen.fingerprint,
                     "if the peer was installed anew, pair again: lbcluster pair; if not, somebody is in between",
                     EKEYREJECTED};
    };
}

ssh::Target target_of(const config::PeerRecord& record) {
    return {record.address(), static_cast<std::uint16_t>(record.has_port() ? record.port() : 22),
            record.has_user() ? record.user() : "loadbalancer", record.local_address(), record.host_key_type()};
}

boost::asio::awaitable<PeerDialer::Connected> SshDialer::by_password() {
    auto session = co_await ssh::Session::connect(target_, check_, patience);
    if (!session) co_return session.error();
    auto password = password_();
    if (!password) co_return password.error();
    const auto in = co_await (*session)->authenticate_password(*password, patience);
    OPENSSL_cleanse(password->data(), password->size());
    if (!in) co_return in.error();
    co_return co_await open_stream(*session);
}

boost::asio::awaitable<PeerDialer::Connected> SshDialer::by_key(config::PeerRecord record, std::string private_key) {
    const auto check = pinned_key(record);
    auto session = co_await ssh::Session::connect(target_of(record), check, patience);
    if (!session) co_return session.error();
    const auto in = co_await (*session)->authenticate_key(std::move(private_key), patience);
    if (!in) co_return in.error();
    co_return co_await open_stream(*session);
}

boost::asio::awaitable<Result<ssh::HostKey>> host_key_of(std::string address, std::uint16_t port) {
    const ssh::Target target{address, port, "nobody", "", ""};
    const ssh::Session::HostKeyCheck any = [](const ssh::HostKey&) -> Result<void> { return {}; };
    auto session = co_await ssh::Session::connect(target, any, SshDialer::patience);
    if (!session) co_return session.error();
    (*session)->close();
    co_return (*session)->host_key();
}

}  // namespace lbcluster::replicator
