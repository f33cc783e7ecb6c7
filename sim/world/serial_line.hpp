// A null-modem cable between the two nodes: ns-3's point-to-point channel at the speed of the line. A datagram takes
// its time on the wire (ten bits a byte); what does not fit into the short queue is not sent, as heartbeatd's own
// serial link does when the line is busy.
#pragma once

#include <ns3/node.h>
#include <ns3/point-to-point-channel.h>
#include <ns3/point-to-point-net-device.h>

#include <array>
#include <functional>
#include <memory>

#include "sim/world/network.hpp"

namespace lbcluster::sim {

class SerialLine {
  public:
    using OnData = std::function<void(ByteView)>;
    SerialLine(unsigned baud, std::array<std::string, 2> owners, std::uint64_t seed);

    void listen(std::size_t end, OnData on_data) { ends_.at(end).on_data = std::move(on_data); }
    void send(std::size_t end, ByteView datagram);
    Rule& add(Rule rule);
    void remove(const Rule& rule);
    // From end 0 to 1, or back: nothing is wrong.
    [[nodiscard]] bool clean(std::size_t from) const;
    [[nodiscard]] bool severed(std::size_t from) const;
    [[nodiscard]] const ns3::Ptr<ns3::PointToPointNetDevice>& device(std::size_t end) const {
        return ends_.at(end).device;
    }

  private:
    struct End {
        std::string owner;
        ns3::Ptr<ns3::Node> node;
        ns3::Ptr<ns3::PointToPointNetDevice> device;
        OnData on_data;
    };
    bool receive(std::size_t end, const ns3::Ptr<const ns3::Packet>& packet);
    [[nodiscard]] bool about(const Rule& rule, std::size_t from) const;

    std::array<End, 2> ends_;
    std::vector<std::unique_ptr<Rule>> rules_;
    Random random_;
};

}  // namespace lbcluster::sim
