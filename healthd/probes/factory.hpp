// Makes probes, and owns what they share: the poller, TLS contexts, the sockets of pings, the wardens of programs, the
// limit of open sockets. It outlives every probe it made.
//
// An error of make() is one of the configuration or of this node: it says what and where.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>

#include "healthd/probes/ping.hpp"
#include "healthd/probes/poller.hpp"
#include "healthd/probes/probe.hpp"
#include "healthd/probes/stream.hpp"
#include "healthd/probes/tls.hpp"
#include "healthd/probes/warden.hpp"
#include "lbcluster/base/result.hpp"

namespace lbcluster::health {

class ProbeFactory {
  public:
    // Descriptors that are left to the rest of the daemon, of those it may open when the factory is made.
    static constexpr std::size_t descriptors_kept = 256;

    explicit ProbeFactory(boost::asio::io_context& io);

    // Reads certificates and looks up users, so it may touch files.
    Result<std::unique_ptr<Probe>> make(const ProbeSpec& spec);
    // A conversation over TCP that no check describes: the feedback agent's.
    std::unique_ptr<Probe> make_conversation(const IpAddress& address, std::uint16_t port,
                                             std::function<std::unique_ptr<Talk>()> make_talk);

    [[nodiscard]] std::size_t sockets_max() const { return poller_.sockets_max(); }

  private:
    Result<std::unique_ptr<Probe>> make_negotiate(const ProbeSpec& spec);
    Result<std::unique_ptr<Probe>> make_external(const ProbeSpec& spec);

    boost::asio::io_context& io_;
    Poller poller_;
    TlsContexts contexts_;
    PingSocket ping_v4_;
    PingSocket ping_v6_;
    Wardens wardens_;
};

}  // namespace lbcluster::health
