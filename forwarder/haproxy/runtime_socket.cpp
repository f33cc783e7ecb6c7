#include "forwarder/haproxy/runtime_socket.hpp"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <vector>

namespace lbcluster::forward {

namespace {

namespace asio = boost::asio;
using Socket = asio::local::stream_protocol::socket;

// `show stat` of 10,000 servers is 4 MB.
constexpr std::size_t answer_bytes_max = std::size_t{64} * 1024 * 1024;

Error failed(const std::string& path, const char* what, const boost::system::error_code& error) {
    const bool late = error == asio::error::operation_aborted;
    return Error{
        "HAProxy's socket " + path + ": cannot " + what + ": " + (late ? "it takes too long" : error.message()), "",
        late ? ETIMEDOUT : error.value()};
}

}  // namespace

asio::awaitable<Result<std::string>> ask_proxy(std::string socket_path, std::string command, milliseconds limit) {
    const auto executor = co_await asio::this_coro::executor;
    const auto token = asio::as_tuple(asio::use_awaitable);
    const auto socket = std::make_shared<Socket>(executor);
    asio::steady_timer deadline(executor, limit);
    deadline.async_wait([socket](const boost::system::error_code& error) {
        boost::system::error_code ignored;
        if (!error) socket->close(ignored);
    });
    if (socket_path.size() >= 108)
        co_return Error{socket_path + ": the path is too long for a socket", "", ENAMETOOLONG};
    const asio::local::stream_protocol::endpoint there(socket_path);
    const auto [no_connection] = co_await socket->async_connect(there, token);
    if (no_connection) co_return failed(socket_path, "connect", no_connection);
    command += '\n';
    const auto [not_sent, sent] = co_await asio::async_write(*socket, asio::buffer(command), token);
    if (not_sent) co_return failed(socket_path, "write", not_sent);
    std::string answer;
    std::vector<char> piece(65536);
    for (;;) {
        const auto [error, bytes] = co_await socket->async_read_some(asio::buffer(piece), token);
        answer.append(piece.data(), bytes);
        if (error == asio::error::eof) break;
        if (error) co_return failed(socket_path, "read", error);
        if (answer.size() > answer_bytes_max) co_return Error{socket_path + ": the answer has no end", "", EMSGSIZE};
    }
    co_return answer;
}

}  // namespace lbcluster::forward
