// A stream of bytes to the other node, whatever carries it: a Unix socket, an SSH channel. One thread, the
// io_context's. One read and one write may be under way at a time, also both together.
//
// Errors are for people: what failed and why. After close(), and after an error, everything fails at once.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <cstddef>
#include <memory>
#include <string>

#include "lbcluster/base/result.hpp"

namespace lbcluster::replicator {

class ByteStream {
  public:
    ByteStream() = default;
    virtual ~ByteStream() = default;
    ByteStream(const ByteStream&) = delete;
    ByteStream& operator=(const ByteStream&) = delete;

    // As many bytes as are there, at least one; 0: the other side has ended.
    virtual boost::asio::awaitable<Result<std::size_t>> read_some(boost::asio::mutable_buffer space) = 0;
    // All of them.
    virtual boost::asio::awaitable<Result<void>> write(std::string bytes) = 0;
    // What waits is woken with an error. The object must outlive it: see Channel.
    virtual void close() = 0;
};

}  // namespace lbcluster::replicator
