#include "replicator/session.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <utility>

#include "lbcluster/base/utf8.hpp"

namespace lbcluster::replicator {

namespace {

constexpr std::size_t text_bytes_max = 4096;

// The peer's words are shown to people.
std::string bounded(const std::string& text) { return one_line(text.substr(0, text_bytes_max)); }

}  // namespace

Session::Session(boost::asio::any_io_executor executor, std::unique_ptr<Channel> channel, SessionHost& host,
                 bool outgoing)
    : executor_(std::move(executor)),
      channel_(std::move(channel)),
      host_(&host),
      outgoing_(outgoing),
      wake_(executor_) {}

void Session::spawn(boost::asio::awaitable<void> what) {
    boost::asio::co_spawn(executor_, std::move(what), [self = shared_from_this()](const std::exception_ptr& error) {
        if (error) std::rethrow_exception(error);  // none of ours throws: a programming error
    });
}

void Session::start(std::optional<replica::Frame> first) {
    replica::Frame hello;
    *hello.mutable_hello() = host_->own_hello();
    send(std::move(hello));
    spawn(read(std::move(first)));
    spawn(write());
}

// ---- reading ----

boost::asio::awaitable<void> Session::read(std::optional<replica::Frame> first) {
    if (!first) {
        auto got = co_await channel_->receive(hello_patience);
        if (!got) co_return finish(got.error());
        first = std::move(*got);
    }
    if (const auto greeted = greet(*first); !greeted) {
        end(greeted.error());
        co_return;
    }
    while (!down_) {
        auto got = co_await channel_->receive(silence_max);
        if (!got) co_return finish(got.error());
        if (down_ || ending_) co_return;
        if (got->has_error()) {
            const Error told{"the peer ended the connection: " + bounded(got->error().message()),
                             bounded(got->error().hint()), static_cast<int>(got->error().exit_code())};
            co_return finish(told);
        }
        if (!got->has_alive()) host_->on_frame(shared_from_this(), std::move(*got));
    }
}

Result<void> Session::greet(const replica::Frame& frame) {
    if (down_) return Error{"closed", "", ECANCELED};
    if (frame.has_error()) {
        return Error{"the peer refused the connection: " + bounded(frame.error().message()),
                     bounded(frame.error().hint()), static_cast<int>(frame.error().exit_code())};
    }
    if (!frame.has_hello()) return Error{"the peer did not say hello", "is it replicatord that answers there?", EPROTO};
    peer_ = frame.hello();
    peer_.set_version(bounded(peer_.version()));
    peer_.set_node(bounded(peer_.node()));
    if (const auto right = host_->check_hello(peer_); !right) return right.error();
    up_ = true;
    host_->on_up(shared_from_this());
    return {};
}

// ---- writing ----

void Session::send(replica::Frame frame) {
    if (down_ || ending_) return;
    queue_bytes_ += frame.ByteSizeLong();
    if (queue_bytes_ > queue_bytes_max) return finish({"the peer does not read what it is sent", "", ENOBUFS});
    queue_.push_back(std::move(frame));
    wake_.cancel();
}

void Session::send_pieces(std::uint64_t id, PieceSource source) {
    if (down_) return;
    pieces_.emplace(std::move(source));
    pieces_id_ = id;
    wake_.cancel();
}

std::optional<replica::Frame> Session::next_frame() {
    if (!queue_.empty()) {
        std::optional<replica::Frame> frame = std::move(queue_.front());
        queue_.pop_front();
        queue_bytes_ -= frame->ByteSizeLong();
        return frame;
    }
    if (!pieces_) return std::nullopt;
    replica::Frame frame;
    if (pieces_->next(*frame.mutable_piece())) {
        frame.mutable_piece()->set_id(pieces_id_);
        return frame;
    }
    pieces_.reset();
    return std::nullopt;
}

boost::asio::awaitable<void> Session::write() {
    constexpr auto as_tuple = boost::asio::as_tuple(boost::asio::use_awaitable);
    while (!down_) {
        std::optional<replica::Frame> frame = next_frame();
        if (!frame && ending_) co_return finish(*ending_);
        if (!frame) {
            wake_.expires_after(std::chrono::duration_cast<boost::asio::steady_timer::duration>(alive_interval));
            const auto [error] = co_await wake_.async_wait(as_tuple);
            if (error) continue;  // there is something
            frame.emplace();
            frame->mutable_alive();
        }
        const bool piece = frame->has_piece();
        const auto sent = co_await channel_->send(std::move(*frame), silence_max);
        if (!sent) co_return finish(ending_ ? *ending_ : sent.error());
        if (piece) ++pieces_sent_;
    }
}

// ---- the end ----

void Session::end(const Error& reason) {
    if (down_ || ending_) return;
    replica::Frame frame;
    frame.mutable_error()->set_exit_code(reason.code > 0 && reason.code <= 6 ? static_cast<unsigned>(reason.code) : 1);
    frame.mutable_error()->set_message(one_line(reason.message));
    frame.mutable_error()->set_hint(one_line(reason.hint));
    pieces_.reset();
    send(std::move(frame));
    ending_ = reason;
    wake_.cancel();
}

void Session::finish(const Error& reason) {
    if (std::exchange(down_, true)) return;
    channel_->close();
    wake_.cancel();
    if (SessionHost* host = std::exchange(host_, nullptr)) host->on_down(shared_from_this(), reason);
}

void Session::close() {
    host_ = nullptr;
    down_ = true;
    channel_->close();
    wake_.cancel();
}

}  // namespace lbcluster::replicator
