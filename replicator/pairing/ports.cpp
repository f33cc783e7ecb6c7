#include "replicator/pairing/ports.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <string_view>

namespace lbcluster::replicator {

namespace {

constexpr auto as_tuple = boost::asio::as_tuple(boost::asio::use_awaitable);
constexpr std::string_view question = "lbcluster: does this get through?";
constexpr std::string_view answer = "lbcluster: this got through.";
constexpr int udp_tries = 100;
constexpr auto udp_pace = 20ms;
constexpr auto tcp_patience = 3s;

Error blocked(const std::string& port, const std::string& use, const std::string& from, const std::string& to,
              const std::string& why) {
    return {port + " (" + use + ") does not get through from " + from + " to " + to + (why.empty() ? "" : ": " + why),
            "open it in the firewalls of both nodes and of the network between them, in both directions", EHOSTUNREACH};
}

}  // namespace

Result<std::shared_ptr<Ports>> Ports::open(const boost::asio::any_io_executor& executor, const std::string& local,
                                           const std::string& peer, std::uint16_t udp_port, std::uint16_t tcp_port) {
    const std::shared_ptr<Ports> ports(new Ports(executor));
    boost::system::error_code bad_local;
    boost::system::error_code bad_peer;
    ports->local_ = boost::asio::ip::make_address(local, bad_local);
    ports->peer_ = boost::asio::ip::make_address(peer, bad_peer);
    if (bad_local || bad_peer) return Error{"'" + (bad_local ? local : peer) + "' is no IP address", "", EINVAL};
    ports->udp_port_ = udp_port;
    ports->tcp_port_ = tcp_port;
    boost::system::error_code error;
    const boost::asio::ip::udp::endpoint heartbeats(ports->local_, udp_port);
    ports->udp_.open(heartbeats.protocol(), error);
    if (!error) ports->udp_.bind(heartbeats, error);
    if (error == boost::asio::error::address_in_use) ports->udp_.close(error);
    else if (error)
        return Error{"cannot use " + local + ": " + error.message(), "is that an address of this node?", error.value()};
    else ports->receive();
    const boost::asio::ip::tcp::endpoint tables(ports->local_, tcp_port);
    ports->tcp_.open(tables.protocol(), error);
    if (!error) ports->tcp_.set_option(boost::asio::socket_base::reuse_address(true), error);
    if (!error) ports->tcp_.bind(tables, error);
    if (!error) ports->tcp_.listen(4, error);
    if (error) ports->tcp_.close(error);
    else ports->accept();
    return ports;
}

void Ports::close() {
    boost::system::error_code ignored;
    udp_.close(ignored);
    tcp_.close(ignored);
}

void Ports::receive() {
    udp_.async_receive_from(boost::asio::buffer(space_), from_,
                            [self = shared_from_this()](const boost::system::error_code& error, std::size_t got) {
                                if (!self->udp_.is_open() || error == boost::asio::error::operation_aborted) return;
                                const std::string_view said(self->space_.data(), error ? 0 : got);
                                if (said == answer && self->from_.address() == self->peer_) self->answered_ = true;
                                boost::system::error_code ignored;
                                if (said == question && self->from_.address() == self->peer_) {
                                    self->udp_.send_to(boost::asio::buffer(answer), self->from_, 0, ignored);
                                }
                                self->receive();
                            });
}

void Ports::accept() {
    tcp_.async_accept(
        [self = shared_from_this()](const boost::system::error_code& error, boost::asio::ip::tcp::socket) {
            if (self->tcp_.is_open() && !error) self->accept();
        });
}

boost::asio::awaitable<Result<void>> Ports::try_udp() {
    const auto self = shared_from_this();
    boost::asio::steady_timer pause(executor_);
    for (int i = 0; i < udp_tries && !answered_ && udp_.is_open(); ++i) {
        boost::system::error_code ignored;
        udp_.send_to(boost::asio::buffer(question), {peer_, udp_port_}, 0, ignored);
        pause.expires_after(udp_pace);
        (void)co_await pause.async_wait(as_tuple);
    }
    if (answered_) co_return Result<void>{};
    co_return blocked("UDP port " + std::to_string(udp_port_), "heartbeats", local_.to_string(), peer_.to_string(),
                      "no answer");
}

boost::asio::awaitable<Result<void>> Ports::try_tcp() {
    const auto self = shared_from_this();
    const auto socket = std::make_shared<boost::asio::ip::tcp::socket>(executor_);
    boost::system::error_code error;
    socket->open(peer_.is_v4() ? boost::asio::ip::tcp::v4() : boost::asio::ip::tcp::v6(), error);
    if (!error) socket->bind({local_, 0}, error);
    boost::asio::steady_timer deadline(executor_, tcp_patience);
    deadline.async_wait([socket](const boost::system::error_code& cancelled) {
        boost::system::error_code ignored;
        if (!cancelled) socket->close(ignored);
    });
    const boost::asio::ip::tcp::endpoint there(peer_, tcp_port_);
    const auto [failed] = co_await socket->async_connect(there, as_tuple);
    const bool late = !socket->is_open();
    deadline.cancel();
    boost::system::error_code ignored;
    socket->close(ignored);
    if (!failed && !late) co_return Result<void>{};
    co_return blocked("TCP port " + std::to_string(tcp_port_), "HAProxy's tables", local_.to_string(),
                      peer_.to_string(), late ? "no answer" : failed.message());
}

}  // namespace lbcluster::replicator
