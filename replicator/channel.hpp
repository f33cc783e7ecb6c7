// Frames over a ByteStream, with deadlines: whatever the other side does, every call ends in time. A deadline that
// passes, or anything that is not our language, ends the stream (nobody knows where the next frame begins).
//
// One thread, the io_context's. One receive() and one send() may be under way at a time, also both together. The
// channel and its stream must live until they have returned: close() wakes them, with an error.
//
// Errors: ETIMEDOUT (its deadline), EPIPE (the other side has ended), ECANCELED (close()), EMSGSIZE and EPROTO
// (frames.hpp), else the stream's own.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>

#include "lbcluster/base/time.hpp"
#include "replicator/frames.hpp"
#include "replicator/stream.hpp"

namespace lbcluster::replicator {

class Channel {
  public:
    Channel(const boost::asio::any_io_executor& executor, std::unique_ptr<ByteStream> stream);

    // The next frame, whole by then.
    boost::asio::awaitable<Result<replica::Frame>> receive(Duration patience);
    boost::asio::awaitable<Result<void>> send(replica::Frame frame, Duration patience);
    void close();

    // In both directions, since the beginning.
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  private:
    // Closes the stream unless it is taken back in time.
    class Deadline;

    Error reason(const Error& error, bool timed_out) const;

    boost::asio::any_io_executor executor_;
    std::unique_ptr<ByteStream> stream_;
    FrameDecoder decoder_;
    std::array<char, 65536> space_{};
    std::uint64_t bytes_ = 0;
    bool closed_ = false;
};

}  // namespace lbcluster::replicator
