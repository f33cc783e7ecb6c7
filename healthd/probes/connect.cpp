#include "healthd/probes/connect.hpp"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "healthd/probes/errors.hpp"

namespace lbcluster::health {

void ConnectProbe::begin() {
    if (const int code = watch_.open(to_.family(), SOCK_STREAM, IPPROTO_TCP); code != 0) {
        return settle(no_socket(code, poller_.sockets_max()));
    }
    // The ACK of the SYN-ACK may wait a moment: the RST will come first.
    const int off = 0;
    ::setsockopt(watch_.fd(), IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
    const int code = watch_.connect(to_);
    if (code != 0 && code != EINPROGRESS) return settle(call_failed("connect", code));
    go_on(0);  // on this machine the answer is there already
}

void ConnectProbe::go_on(std::uint32_t /*events*/) {
    const int code = watch_.connect(to_);
    if (code == EALREADY || code == EINPROGRESS) {
        if (const int failed = watch_.watch(EPOLLOUT); failed != 0) settle(call_failed("epoll", failed));
        return;
    }
    if (code != 0) return settle(network_failed("connect", code));
    watch_.abort();
    settle(Finding::up, "connected");
}

}  // namespace lbcluster::health
