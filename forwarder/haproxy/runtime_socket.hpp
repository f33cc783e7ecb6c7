// One question to HAProxy over a Unix socket (its runtime API, or its master's), and the answer. Bounded in bytes and
// time; one connection each.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "lbcluster/base/result.hpp"
#include "lbcluster/base/time.hpp"

namespace lbcluster::forward {

// `command`: without a line end; several are separated by ';'. The answer is what comes until HAProxy closes.
boost::asio::awaitable<Result<std::string>> ask_proxy(std::string socket_path, std::string command, milliseconds limit);

}  // namespace lbcluster::forward
