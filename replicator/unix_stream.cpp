#include "replicator/unix_stream.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace lbcluster::replicator {

namespace {

constexpr auto as_tuple = boost::asio::as_tuple(boost::asio::use_awaitable);

}  // namespace

boost::asio::awaitable<Result<std::size_t>> UnixStream::read_some(boost::asio::mutable_buffer space) {
    const auto [error, got] = co_await socket_.async_read_some(space, as_tuple);
    if (error == boost::asio::error::eof) co_return std::size_t{0};
    if (error) co_return Error{"the stream broke: " + error.message(), "", error.value()};
    co_return got;
}

boost::asio::awaitable<Result<void>> UnixStream::write(std::string bytes) {
    const auto buffer = boost::asio::buffer(bytes);
    const auto [error, put] = co_await boost::asio::async_write(socket_, buffer, as_tuple);
    if (error) co_return Error{"the stream broke: " + error.message(), "", error.value()};
    co_return Result<void>{};
}

void UnixStream::close() {
    boost::system::error_code ignored;
    socket_.close(ignored);
}

}  // namespace lbcluster::replicator
