// RUN_DIR/replica.sock and pairing.sock: where the peer's frames arrive, by its key or its password. Root, the daemon's
// own user and the peer's account may come in; the first frame says what a stream is for.
//
// One thread, the io_context's. Bounds: streams_max that have not said what they are for, first_patience for each.
// After close() nothing is called back.
#pragma once

#include <lbcluster/replica.pb.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>

#include "lbcluster/base/result.hpp"
#include "replicator/channel.hpp"

namespace lbcluster::replicator {

class Gate : public std::enable_shared_from_this<Gate> {
  public:
    static constexpr std::size_t streams_max = 16;
    static constexpr Duration first_patience = 10s;
    static constexpr const char* account = "loadbalancer";

    using Handler = std::function<void(std::unique_ptr<Channel>, replica::Frame first)>;

    // Anything but an error as the first frame goes to `handler`.
    Gate(boost::asio::io_context& io, std::string path, Handler handler);
    // Replaces what a dead daemon left there: whoever calls this must know that there is no other live one.
    Result<void> listen();
    // The account may have been made meanwhile.
    void let_account_in();
    void close();

  private:
    using Socket = boost::asio::local::stream_protocol::socket;
    boost::asio::awaitable<void> accept();
    boost::asio::awaitable<void> welcome(Socket socket);
    [[nodiscard]] static bool may_come_in(int socket);
    void spawn(boost::asio::awaitable<void> what);

    boost::asio::any_io_executor executor_;
    std::string path_;
    Handler handler_;
    boost::asio::local::stream_protocol::acceptor acceptor_;
    boost::asio::steady_timer pause_;
    std::size_t streams_ = 0;
    bool account_known_ = false;
    bool closed_ = false;
};

}  // namespace lbcluster::replicator
