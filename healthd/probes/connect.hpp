// Probe `connect`: can a TCP connection be made? (RFC 9293)
//
// The connection is ended by RST as soon as the server's SYN-ACK is there, before our own ACK: a server in LISTEN has
// answered, no TIME_WAIT is left on either side, and the application never sees (and logs) a connection that says
// nothing. This is what HAProxy's checks do. An application that hangs shows when clients have filled its queue, as
// then the kernel answers no SYN any more.
#pragma once

#include "healthd/probes/base.hpp"

namespace lbcluster::health {

class ConnectProbe final : public PolledProbe {
  public:
    ConnectProbe(Poller& poller, const IpAddress& address, std::uint16_t port)
        : PolledProbe(poller), poller_(poller), to_(address, port) {}

  private:
    void begin() override;
    void go_on(std::uint32_t events) override;
    std::string waiting_for() const override { return "connect"; }

    Poller& poller_;
    SocketAddress to_;
};

}  // namespace lbcluster::health
