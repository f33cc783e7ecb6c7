// A web server that is never what a measurement waits for: one thread, epoll, 200 for each request, and closes.
#pragma once

#include <cstdint>

namespace lbcluster::bench {

// A non-blocking TCP socket that listens on `address` (host byte order) and `port` (0: any); -1 and errno on failure.
int listen_tcp(std::uint32_t address, std::uint16_t port);

// Serves until something can be read from `stop` (-1: for ever).
void serve(int listener, int stop = -1);

}  // namespace lbcluster::bench
