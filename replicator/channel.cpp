#include "replicator/channel.hpp"

#include <cerrno>

namespace lbcluster::replicator {

class Channel::Deadline {
  public:
    Deadline(Channel& channel, Duration patience) : timer_(channel.executor_), passed_(std::make_shared<bool>(false)) {
        timer_.expires_after(std::chrono::duration_cast<boost::asio::steady_timer::duration>(patience));
        timer_.async_wait(
            [&channel, passed = passed_, alive = std::weak_ptr<int>(alive_)](const boost::system::error_code& error) {
                if (error || alive.expired()) return;
                *passed = true;
                channel.stream_->close();
            });
    }
    [[nodiscard]] bool passed() const { return *passed_; }

  private:
    boost::asio::steady_timer timer_;
    std::shared_ptr<bool> passed_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // an expired timer's handler may run after we are gone
};

Channel::Channel(const boost::asio::any_io_executor& executor, std::unique_ptr<ByteStream> stream)
    : executor_(executor), stream_(std::move(stream)) {}

Error Channel::reason(const Error& error, bool timed_out) const {
    if (timed_out)
        return {"the other node does not answer in time", "is the network between the nodes slow?", ETIMEDOUT};
    if (closed_) return {"the stream was closed", "", ECANCELED};
    return error;
}

boost::asio::awaitable<Result<replica::Frame>> Channel::receive(Duration patience) {
    const Deadline deadline(*this, patience);
    for (;;) {
        auto decoded = decoder_.next();
        if (!decoded) {
            stream_->close();
            co_return decoded.error();
        }
        if (*decoded) co_return std::move(**decoded);
        const boost::asio::mutable_buffer space(space_.data(), space_.size());
        const auto got = co_await stream_->read_some(space);
        if (!got) co_return reason(got.error(), deadline.passed());
        if (*got == 0) {
            const Error ended{decoder_.in_frame() ? "the other node ended the stream in the middle of a frame"
                                                  : "the other node ended the stream",
                              "", EPIPE};
            co_return reason(ended, deadline.passed());
        }
        bytes_ += *got;
        decoder_.append({space_.data(), *got});
    }
}

boost::asio::awaitable<Result<void>> Channel::send(replica::Frame frame, Duration patience) {
    auto encoded = encode_frame(frame);
    if (!encoded) co_return encoded.error();
    bytes_ += encoded->size();
    const Deadline deadline(*this, patience);
    const auto written = co_await stream_->write(std::move(*encoded));
    if (!written) co_return reason(written.error(), deadline.passed());
    co_return Result<void>{};
}

void Channel::close() {
    closed_ = true;
    stream_->close();
}

}  // namespace lbcluster::replicator
