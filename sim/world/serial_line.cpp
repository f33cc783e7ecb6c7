#include "sim/world/serial_line.hpp"

#include <ns3/data-rate.h>
#include <ns3/drop-tail-queue.h>
#include <ns3/mac48-address.h>
#include <ns3/queue-size.h>
#include <ns3/string.h>

#include <algorithm>

namespace lbcluster::sim {

namespace {
constexpr std::uint16_t type_on_line = 0x0800;  // ns-3's PPP carries nothing else
constexpr const char* queue_size = "2p";
}  // namespace

SerialLine::SerialLine(unsigned baud, std::array<std::string, 2> owners, std::uint64_t seed) : random_(seed, "serial") {
    auto channel = ns3::CreateObject<ns3::PointToPointChannel>();
    channel->SetAttribute("Delay", ns3::TimeValue(ns3::NanoSeconds(1000)));
    for (std::size_t i = 0; i < ends_.size(); ++i) {
        End& end = ends_.at(i);
        end.owner = std::move(owners.at(i));
        end.node = ns3::CreateObject<ns3::Node>();
        end.device = ns3::CreateObject<ns3::PointToPointNetDevice>();
        end.device->SetAddress(ns3::Mac48Address(i == 0 ? "02:00:00:00:00:01" : "02:00:00:00:00:02"));
        end.node->AddDevice(end.device);
        // A start and a stop bit for each byte.
        end.device->SetDataRate(ns3::DataRate(static_cast<std::uint64_t>(baud) * 8 / 10));
        auto queue = ns3::CreateObject<ns3::DropTailQueue<ns3::Packet>>();
        queue->SetMaxSize(ns3::QueueSize(queue_size));
        end.device->SetQueue(queue);
        end.device->Attach(channel);
        end.device->SetReceiveCallback(ns3::NetDevice::ReceiveCallback(
            [this, i](ns3::Ptr<ns3::NetDevice>, ns3::Ptr<const ns3::Packet> packet, std::uint16_t,
                      const ns3::Address&) { return receive(i, packet); }));
    }
}

void SerialLine::send(std::size_t end, ByteView datagram) {
    auto& device = ends_.at(end).device;
    device->Send(ns3::Create<ns3::Packet>(datagram.data(), static_cast<std::uint32_t>(datagram.size())),
                 device->GetBroadcast(), type_on_line);
}

bool SerialLine::about(const Rule& rule, std::size_t from) const {
    return (rule.from.empty() || rule.from == ends_.at(from).owner) &&
           (rule.to.empty() || rule.to == ends_.at(1 - from).owner);
}

bool SerialLine::clean(std::size_t from) const {
    return std::none_of(rules_.begin(), rules_.end(), [&](const auto& rule) { return about(*rule, from); });
}

bool SerialLine::severed(std::size_t from) const {
    return std::any_of(rules_.begin(), rules_.end(),
                       [&](const auto& rule) { return rule->kind == RuleKind::cut && about(*rule, from); });
}

Rule& SerialLine::add(Rule rule) {
    rules_.push_back(std::make_unique<Rule>(std::move(rule)));
    return *rules_.back();
}

void SerialLine::remove(const Rule& rule) {
    std::erase_if(rules_, [&](const auto& one) { return one.get() == &rule; });
}

bool SerialLine::receive(std::size_t end, const ns3::Ptr<const ns3::Packet>& packet) {
    Bytes data(packet->GetSize());
    packet->CopyData(data.data(), packet->GetSize());
    for (const auto& rule : rules_) {
        if (!about(*rule, 1 - end)) continue;
        const bool hit = rule->kind == RuleKind::cut || random_.chance(rule->probability);
        if (!hit) continue;
        if (rule->kind == RuleKind::corrupt && !data.empty()) {
            data[random_.below(data.size())] ^= static_cast<std::uint8_t>(1U << random_.below(8));
        } else if (rule->kind == RuleKind::cut || rule->kind == RuleKind::loss) {
            return true;
        }
    }
    if (ends_.at(end).on_data) ends_.at(end).on_data(data);
    return true;
}

}  // namespace lbcluster::sim
