// An errno as a verdict: whose fault, and in words. Pure.
#pragma once

#include <string>
#include <string_view>

#include "healthd/core/types.hpp"

namespace lbcluster::health {

// "connection refused"; in lower case, as it follows a colon.
std::string error_text(int code);

// A call of ours that failed at once. Without a descriptor, memory, route, source address or permission it is our own
// fault. Refused, reset or unreachable (no ARP answer, a router's message) is the server's: its clients would fare
// alike.
Outcome call_failed(std::string_view what, int code);
// An error that came from the network later: always the server's or its network's.
Outcome network_failed(std::string_view what, int code);

// "connect: ..."; `sockets_max` for the message that says that it was reached.
Outcome no_socket(int code, std::size_t sockets_max);

}  // namespace lbcluster::health
