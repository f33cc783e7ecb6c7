// What lies between the nodes when a link does not go straight: a UDP relay on the host `relay` that may drop, copy,
// delay, reorder, alter or invent heartbeats, and a serial cable between two pseudo terminals.
//
// UdpRelay stands for links of the kind LinkSpec::through_relay(): each node sends to 10.78.0.50 and hears from it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

using Datagram = std::vector<std::uint8_t>;

class UdpRelay {
  public:
    // Called for each datagram with the node it comes from; what it returns goes to the other node, in this order.
    using Rule = std::function<std::vector<Datagram>(const std::string& from, const Datagram&)>;

    explicit UdpRelay(const Namespace& host);
    ~UdpRelay();
    UdpRelay(const UdpRelay&) = delete;
    UdpRelay& operator=(const UdpRelay&) = delete;

    void set_rule(Rule rule);  // {}: pass on
    // Something invented, to `node`, beside what passes.
    void inject(const std::string& node, const Datagram& datagram);
    // Everything that passed until now, at most 10000 datagrams.
    [[nodiscard]] std::vector<std::pair<std::string, Datagram>> heard() const;

  private:
    void relay();
    void send(const std::string& node, const Datagram& datagram);

    int fd_ = -1;
    mutable std::mutex mutex_;
    Rule rule_;
    std::vector<std::pair<std::string, Datagram>> heard_;
    std::atomic<bool> ending_{false};
    std::thread thread_;
};

class SerialCable {
  public:
    SerialCable();
    ~SerialCable();
    SerialCable(const SerialCable&) = delete;
    SerialCable& operator=(const SerialCable&) = delete;

    [[nodiscard]] const std::string& device(std::size_t end) const { return devices_[end]; }
    void plug(bool plugged) { plugged_ = plugged; }

  private:
    void carry();

    std::array<int, 2> masters_{-1, -1};
    std::array<int, 2> slaves_{-1, -1};  // kept open, so that a node may close and open its end
    std::array<std::string, 2> devices_;
    std::atomic<bool> plugged_{true};
    std::atomic<bool> ending_{false};
    std::thread thread_;
};

}  // namespace lbcluster::lab
