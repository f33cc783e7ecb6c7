#include "replicator/caller.hpp"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace lbcluster::replicator {

Caller::Caller(boost::asio::io_context& io, Connect connect, Events events)
    : executor_(io.get_executor()), connect_(std::move(connect)), events_(std::move(events)), timer_(io) {}

void Caller::start() {
    boost::asio::co_spawn(executor_, run(), [self = shared_from_this()](const std::exception_ptr& error) {
        if (error) std::rethrow_exception(error);
    });
}

void Caller::kick() {
    kicked_ = true;
    timer_.cancel();
}

void Caller::close() {
    closed_ = true;
    timer_.cancel();
}

boost::asio::awaitable<void> Caller::wait(Duration pause) {
    constexpr auto as_tuple = boost::asio::as_tuple(boost::asio::use_awaitable);
    if (std::exchange(kicked_, false)) co_return;
    timer_.expires_after(std::chrono::duration_cast<boost::asio::steady_timer::duration>(pause));
    co_await timer_.async_wait(as_tuple);
    kicked_ = false;
}

boost::asio::awaitable<void> Caller::run() {
    Duration pause = pause_min;
    while (!closed_) {
        const std::optional<config::PeerRecord> record = events_.wanted();
        if (!record) {
            pause = pause_min;
            co_await wait(1s);
            continue;
        }
        config::PeerRecord whom = *record;
        auto stream = co_await connect_(std::move(whom));
        if (closed_) co_return;
        if (stream) {
            events_.on_stream(std::move(*stream));
            co_await wait(pause);  // one that ends at once is no reason to call without a pause
        } else {
            events_.on_error(stream.error());
            co_await wait(pause);
        }
        pause = std::min(2 * pause, pause_max);
    }
}

}  // namespace lbcluster::replicator
