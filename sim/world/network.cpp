#include "sim/world/network.hpp"

#include <ns3/boolean.h>
#include <ns3/data-rate.h>
#include <ns3/drop-tail-queue.h>
#include <ns3/ethernet-header.h>
#include <ns3/ethernet-trailer.h>
#include <ns3/mac48-address.h>
#include <ns3/queue-size.h>

#include <algorithm>
#include <cmath>

namespace lbcluster::sim {

namespace {

constexpr const char* line_rate = "1Gbps";
constexpr std::size_t frame_bytes_max = 1600;

ns3::Mac48Address to_ns3(const MacAddress& mac) {
    ns3::Mac48Address out;
    out.CopyFrom(mac.bytes.data());
    return out;
}

bool is_announcement(ByteView frame) {
    if (const auto arp = net::parse_arp(frame)) return arp->sender == arp->target;
    const auto na = net::parse_neighbor_advertisement(frame);
    return na && !na->solicited;
}

bool is_resolution(ByteView frame) {
    return type_of(frame) == type_arp || net::parse_neighbor_advertisement(frame) || parse_solicitation(frame);
}

bool about(const Rule& rule, const std::string& from, const std::string& to) {
    return (rule.from.empty() || rule.from == from) && (rule.to.empty() || rule.to == to);
}

}  // namespace

// ---- a port ----

Port::Port(Network& network, std::string owner, const MacAddress& mac, const ns3::Ptr<ns3::Node>& node)
    : network_(network), owner_(std::move(owner)), mac_(mac) {
    (void)node;
    frame_.reserve(frame_bytes_max);
}

bool Port::carrier() const { return unplugged_ == 0 && network_.up(); }

void Port::send(ByteView frame) {
    if (!carrier() || frame.size() < ethernet_bytes) return;
    const ByteView payload = frame.subspan(ethernet_bytes);
    device_->SendFrom(ns3::Create<ns3::Packet>(payload.data(), static_cast<std::uint32_t>(payload.size())),
                      to_ns3(mac_at(frame, 6)), to_ns3(mac_at(frame, 0)), type_of(frame));
}

bool Port::receive(ns3::Ptr<const ns3::Packet> packet, std::uint16_t type, const ns3::Address& from,
                   const ns3::Address& to) {
    if (!carrier() || !on_frame_) return true;
    frame_.resize(ethernet_bytes + packet->GetSize());
    to.CopyTo(frame_.data());
    from.CopyTo(frame_.data() + 6);
    frame_[12] = static_cast<std::uint8_t>(type >> 8U);
    frame_[13] = static_cast<std::uint8_t>(type & 0xffU);
    packet->CopyData(frame_.data() + ethernet_bytes, packet->GetSize());
    const Bytes frame = frame_;  // who handles it may send, and get an answer into the same buffer
    on_frame_(frame);
    return true;
}

void Port::inject(ByteView frame) {
    if (on_frame_) on_frame_(frame);
}

void Port::unplug() {
    if (++unplugged_ == 1 && network_.up()) carrier_changed();
}

void Port::plug() {
    if (unplugged_ > 0 && --unplugged_ == 0 && network_.up()) carrier_changed();
}

// ---- the network ----

Network::Network(std::string name, Duration delay, std::size_t stations, std::uint64_t seed)
    : name_(std::move(name)), delay_(delay), random_(seed, "network " + name_) {
    if (stations <= 2) {
        cable_ = make_channel();
        return;
    }
    delay_ /= 2;  // to the switch, and on
    switch_node_ = ns3::CreateObject<ns3::Node>();
    bridge_ = ns3::CreateObject<ns3::BridgeNetDevice>();
    switch_node_->AddDevice(bridge_);
}

ns3::Ptr<ns3::CsmaChannel> Network::make_channel() {
    auto channel = ns3::CreateObject<ns3::CsmaChannel>();
    channel->SetAttribute("DataRate", ns3::DataRateValue(ns3::DataRate(line_rate)));
    channel->SetAttribute("Delay", ns3::TimeValue(ns3::NanoSeconds(delay_.count())));
    return channel;
}

ns3::Ptr<ns3::CsmaNetDevice> Network::make_device(const ns3::Ptr<ns3::CsmaChannel>& channel,
                                                  const ns3::Ptr<ns3::Node>& node, const MacAddress& mac) {
    auto device = ns3::CreateObject<ns3::CsmaNetDevice>();
    device->SetAddress(to_ns3(mac));
    node->AddDevice(device);
    // As Linux does by default (txqueuelen); ns-3's own hundred are too few for the announcements of a hundred
    // addresses.
    auto queue = ns3::CreateObject<ns3::DropTailQueue<ns3::Packet>>();
    queue->SetMaxSize(ns3::QueueSize("1000p"));
    device->SetQueue(queue);
    device->Attach(channel);
    device->AssignStreams(static_cast<std::int64_t>(random_.below(1U << 30U)));
    return device;
}

Port& Network::attach(const std::string& owner, const ns3::Ptr<ns3::Node>& node) {
    // Locally administered, readable in a trace: the network's first letter, then the number of the port.
    const auto number = static_cast<std::uint8_t>(ports_.size() + 1);
    const MacAddress mac{{0x02, 0, static_cast<std::uint8_t>(name_.size()), static_cast<std::uint8_t>(name_.front()),
                          static_cast<std::uint8_t>(name_.back()), number}};
    auto port = std::make_unique<Port>(*this, owner, mac, node);
    const auto channel = cable_ ? cable_ : make_channel();
    port->device_ = make_device(channel, node, mac);
    if (bridge_) {
        MacAddress switch_mac = mac;
        switch_mac.bytes[1] = 1;
        bridge_->AddBridgePort(make_device(channel, switch_node_, switch_mac));
    }
    Port* self = port.get();
    port->device_->SetReceiveErrorModel(ns3::Create<Gate>(this, self));
    // The device calls both; only the other one says to whom a frame was sent.
    port->device_->SetReceiveCallback(
        ns3::NetDevice::ReceiveCallback([](ns3::Ptr<ns3::NetDevice>, ns3::Ptr<const ns3::Packet>, std::uint16_t,
                                           const ns3::Address&) { return true; }));
    port->device_->SetPromiscReceiveCallback(ns3::NetDevice::PromiscReceiveCallback(
        [self](ns3::Ptr<ns3::NetDevice>, ns3::Ptr<const ns3::Packet> packet, std::uint16_t type,
               const ns3::Address& from, const ns3::Address& to, ns3::NetDevice::PacketType kind) {
            if (kind == ns3::NetDevice::PACKET_OTHERHOST) return false;
            return self->receive(packet, type, from, to);
        }));
    by_mac_[mac] = self;
    ports_.push_back(std::move(port));
    return *self;
}

// ---- rules ----

Rule& Network::add(Rule rule) {
    rules_.push_back(std::make_unique<Rule>(std::move(rule)));
    return *rules_.back();
}

void Network::remove(const Rule& rule) {
    std::erase_if(rules_, [&](const auto& one) { return one.get() == &rule; });
}

void Network::switch_down() {
    if (++down_ > 1) return;
    for (const auto& port : ports_) port->carrier_changed();
}

void Network::switch_up() {
    if (down_ == 0 || --down_ > 0) return;
    for (const auto& port : ports_) port->carrier_changed();
}

bool Network::clean(const std::string& from, const std::string& to) const {
    const auto plugged = [&](const std::string& owner) {
        return std::any_of(ports_.begin(), ports_.end(),
                           [&](const auto& port) { return port->owner() == owner && port->carrier(); });
    };
    return plugged(from) && plugged(to) &&
           std::none_of(rules_.begin(), rules_.end(), [&](const auto& rule) { return about(*rule, from, to); });
}

bool Network::severed(const std::string& from, const std::string& to) const {
    const auto plugged = [&](const std::string& owner) {
        return std::any_of(ports_.begin(), ports_.end(),
                           [&](const auto& port) { return port->owner() == owner && port->carrier(); });
    };
    return !plugged(from) || !plugged(to) || std::any_of(rules_.begin(), rules_.end(), [&](const auto& rule) {
        return rule->kind == RuleKind::cut && about(*rule, from, to);
    });
}

struct Network::Verdict {
    bool dropped = false;
    Duration wait{0};
    int copies = 1;
    bool changed = false;
    Bytes frame;
};

void Network::apply(Rule& rule, Port& port, const Bytes& frame, Verdict& verdict) {
    switch (rule.kind) {
        case RuleKind::cut:
            verdict.dropped = true;
            return;
        case RuleKind::loss:
            verdict.dropped = random_.chance(rule.probability);
            return;
        case RuleKind::burst_loss: {
            // Gilbert's model in time: bursts and pauses of exponential length, `probability` of the time lost.
            auto& [burst, until] = rule.bursts[port.owner()];
            while (until <= world_now()) {
                const double bad = static_cast<double>(rule.delay.count());
                const double good = bad * (1 - rule.probability) / std::max(rule.probability, 1e-6);
                burst = until != Instant{} && !burst;
                if (until == Instant{}) until = world_now();
                until +=
                    Duration{static_cast<std::int64_t>(-std::log(1 - random_.unit()) * (burst ? bad : good)) + 1000};
            }
            verdict.dropped = burst;
            return;
        }
        case RuleKind::delay:
            verdict.wait += rule.delay;
            return;
        case RuleKind::jitter: {
            Instant& last = last_jittered_[{rule.from, port.owner()}];
            last = std::max(last, world_now() + random_.upto(rule.delay));
            verdict.wait += last - world_now();
            return;
        }
        case RuleKind::duplicate:
            if (random_.chance(rule.probability)) ++verdict.copies;
            return;
        case RuleKind::reorder:
            if (random_.chance(rule.probability)) verdict.wait += random_.upto(rule.delay);
            return;
        case RuleKind::corrupt: {
            if (!random_.chance(rule.probability)) return;
            // ARP has no other checksum than Ethernet's, which the card checks. What has one of its own arrives.
            if (type_of(frame) == type_arp) {
                verdict.dropped = true;
                return;
            }
            verdict.changed = true;
            // Past the Ethernet header: a frame for another machine would only be lost.
            const std::uint64_t flips = 1 + random_.below(3);
            for (std::uint64_t i = 0; i < flips; ++i) {
                const std::uint64_t bit = random_.below((frame.size() - ethernet_bytes) * 8);
                verdict.frame[ethernet_bytes + bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
            }
            return;
        }
        case RuleKind::filter_announcements:
            verdict.dropped = is_announcement(frame) && random_.chance(rule.probability);
            return;
        case RuleKind::filter_arp:
            verdict.dropped = is_resolution(frame);
            return;
    }
}

Network::Fate Network::judge(Port& port, const ns3::Ptr<ns3::Packet>& packet) {
    if (passing_ || rules_.empty()) return Fate::deliver;
    Bytes frame(packet->GetSize());
    packet->CopyData(frame.data(), packet->GetSize());
    if (frame.size() < ethernet_bytes + 4) return Fate::deliver;
    frame.resize(frame.size() - 4);  // the frame check sequence
    const auto sender = by_mac_.find(mac_at(frame, 6));
    const std::string& from = sender == by_mac_.end() ? port.owner() : sender->second->owner();
    const MacAddress to = mac_at(frame, 0);
    if (to != port.mac() && (to.bytes[0] & 1U) == 0) return Fate::deliver;  // not for it

    Verdict verdict;
    verdict.frame = frame;
    for (const auto& rule : rules_) {
        if (about(*rule, from, port.owner())) apply(*rule, port, frame, verdict);
        if (verdict.dropped) return Fate::taken;
    }
    if (verdict.wait == Duration{0} && verdict.copies == 1 && !verdict.changed) return Fate::deliver;
    for (int copy = 0; copy < verdict.copies; ++copy) {
        deliver_later(port, verdict.frame, verdict.wait + copy * 1us);
    }
    return Fate::taken;
}

void Network::deliver_later(Port& port, Bytes frame, Duration wait) {
    after(wait, [this, &port, frame = std::move(frame)] {
        const ByteView payload = ByteView(frame).subspan(ethernet_bytes);
        auto packet = ns3::Create<ns3::Packet>(payload.data(), static_cast<std::uint32_t>(payload.size()));
        ns3::EthernetHeader header(false);
        header.SetDestination(to_ns3(mac_at(frame, 0)));
        header.SetSource(to_ns3(mac_at(frame, 6)));
        header.SetLengthType(type_of(frame));
        packet->AddHeader(header);
        ns3::EthernetTrailer trailer;
        trailer.EnableFcs(false);
        packet->AddTrailer(trailer);
        passing_ = true;
        port.device()->Receive(packet, nullptr);
        passing_ = false;
    });
}

bool Gate::DoCorrupt(ns3::Ptr<ns3::Packet> packet) { return network_->judge(*port_, packet) == Network::Fate::taken; }

}  // namespace lbcluster::sim
