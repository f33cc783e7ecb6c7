// What forwarderd says of itself, for the fitness of this node (heartbeat-protocol.md: "local forwarder able to
// serve").
//
// A forwarderd that is gone is as able as it last said: what it has programmed goes on in the kernel. One that does not
// run when we start is not able until it has spoken; one that listens has not said yet.
//
// One thread: that of the io_context.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <optional>
#include <string>

#include "lbcluster/bus/client.hpp"

namespace lbcluster::heartbeat {

class ForwarderWatch {
  public:
    // `socket`: forwarderd's, on the bus. `changed`: what is asked below may have another answer.
    ForwarderWatch(boost::asio::io_context& io, std::string socket, std::function<void()> changed);
    void start();
    void close() { client_.close(); }

    // Every service is served as it is wanted. None: not known yet; where the daemons start together, forwarderd may
    // come a moment later, and the core waits for a deadtime.
    [[nodiscard]] std::optional<bool> able() const { return able_; }
    [[nodiscard]] bool heard() const { return !client_.stale(); }
    // It had spoken, in this life of ours.
    [[nodiscard]] bool known() const { return known_; }

  private:
    void take(const bus::ForwardStatus& status);

    bus::Client client_;
    const std::function<void()> changed_;
    std::optional<bool> able_;
    bool known_ = false;
};

}  // namespace lbcluster::heartbeat
