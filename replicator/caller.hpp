// Keeps a connection to the peer: calls it, and again when it does not answer or the connection is gone, each time a
// little later. How it is called is passed in.
//
// One thread, the io_context's. After close() nothing is called back.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lbcluster/base/time.hpp"
#include "lbcluster/config.pb.h"
#include "replicator/stream.hpp"

namespace lbcluster::replicator {

class Caller : public std::enable_shared_from_this<Caller> {
  public:
    static constexpr Duration pause_min = 500ms;
    static constexpr Duration pause_max = 10s;

    using Connect = std::function<boost::asio::awaitable<Result<std::unique_ptr<ByteStream>>>(config::PeerRecord)>;
    struct Events {
        std::function<std::optional<config::PeerRecord>()> wanted;  // nothing: no call, there is one or nobody to call
        std::function<void(std::unique_ptr<ByteStream>)> on_stream;
        std::function<void(const Error&)> on_error;
    };

    Caller(boost::asio::io_context& io, Connect connect, Events events);
    void start();
    // Now, not only after the pause.
    void kick();
    void close();

  private:
    boost::asio::awaitable<void> run();
    boost::asio::awaitable<void> wait(Duration pause);

    boost::asio::any_io_executor executor_;
    Connect connect_;
    Events events_;
    boost::asio::steady_timer timer_;
    bool kicked_ = false;
    bool closed_ = false;
};

}  // namespace lbcluster::replicator
