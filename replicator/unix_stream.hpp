// A Unix stream socket as a ByteStream.
#pragma once

#include <boost/asio/local/stream_protocol.hpp>

#include "replicator/stream.hpp"

namespace lbcluster::replicator {

class UnixStream : public ByteStream {
  public:
    using Socket = boost::asio::local::stream_protocol::socket;
    explicit UnixStream(Socket socket) : socket_(std::move(socket)) {}

    boost::asio::awaitable<Result<std::size_t>> read_some(boost::asio::mutable_buffer space) override;
    boost::asio::awaitable<Result<void>> write(std::string bytes) override;
    void close() override;

  private:
    Socket socket_;
};

}  // namespace lbcluster::replicator
