// The network: ns-3's CSMA channels and learning bridges as switches, a port for each interface, and what goes wrong
// on the way. Frames are whole Ethernet frames as bytes; nothing here understands them beyond their addresses.
//
// What goes wrong is a list of rules. They are applied where a frame arrives at the receiver's device (an ns-3
// ErrorModel), by who sent it, so that each receiver has a fate of its own and pcap files show what really arrived.
// A rule that does not drop but changes or delays a frame takes it out and gives it to the device again, later.
#pragma once

#include <ns3/bridge-net-device.h>
#include <ns3/csma-channel.h>
#include <ns3/csma-net-device.h>
#include <ns3/error-model.h>
#include <ns3/node.h>
#include <ns3/packet.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/world/clock.hpp"
#include "sim/world/frames.hpp"
#include "sim/world/random.hpp"

namespace lbcluster::sim {

enum class RuleKind {
    cut,
    loss,
    burst_loss,
    delay,
    jitter,
    duplicate,
    reorder,
    corrupt,
    filter_announcements,
    filter_arp
};

// What happens to frames from one machine to another one; an empty name is everybody.
struct Rule {
    RuleKind kind = RuleKind::cut;
    std::string from;
    std::string to;
    double probability = 1;
    Duration delay{0};
    // Burst loss: in a burst until then, or out of one.
    std::map<std::string, std::pair<bool, Instant>> bursts;  // by receiver
};

class Network;

// Where one interface is plugged in.
class Port {
  public:
    using OnFrame = std::function<void(ByteView)>;
    Port(Network& network, std::string owner, const MacAddress& mac, const ns3::Ptr<ns3::Node>& node);

    [[nodiscard]] const MacAddress& mac() const { return mac_; }
    [[nodiscard]] const std::string& owner() const { return owner_; }
    [[nodiscard]] Network& network() const { return network_; }
    [[nodiscard]] bool carrier() const;
    [[nodiscard]] const ns3::Ptr<ns3::CsmaNetDevice>& device() const { return device_; }

    void send(ByteView frame);
    void on_frame(OnFrame on_frame) { on_frame_ = std::move(on_frame); }
    void on_carrier(std::function<void()> changed) { on_carrier_ = std::move(changed); }
    // Nested: two faults may pull the same cable.
    void unplug();
    void plug();
    void carrier_changed() const {
        if (on_carrier_) on_carrier_();
    }
    // As if it had just come in, whatever the rules say.
    void inject(ByteView frame);

  private:
    friend class Network;
    bool receive(ns3::Ptr<const ns3::Packet> packet, std::uint16_t type, const ns3::Address& from,
                 const ns3::Address& to);

    Network& network_;
    std::string owner_;
    MacAddress mac_;
    ns3::Ptr<ns3::CsmaNetDevice> device_;
    OnFrame on_frame_;
    std::function<void()> on_carrier_;
    int unplugged_ = 0;
    Bytes frame_;
};

class Network {
  public:
    // `stations`: with two there is a cable (one channel), with more a switch with a port for each.
    Network(std::string name, Duration delay, std::size_t stations, std::uint64_t seed);

    [[nodiscard]] const std::string& name() const { return name_; }
    Port& attach(const std::string& owner, const ns3::Ptr<ns3::Node>& node);
    [[nodiscard]] const std::vector<std::unique_ptr<Port>>& ports() const { return ports_; }

    Rule& add(Rule rule);
    void remove(const Rule& rule);
    [[nodiscard]] bool up() const { return down_ == 0; }
    void switch_down();
    void switch_up();
    // Nothing is wrong between these two (in this direction), whatever may be wrong elsewhere.
    [[nodiscard]] bool clean(const std::string& from, const std::string& to) const;
    // Nothing at all passes.
    [[nodiscard]] bool severed(const std::string& from, const std::string& to) const;
    [[nodiscard]] bool has_rules() const { return !rules_.empty(); }

    enum class Fate { deliver, taken };
    // Decides about a frame that arrives at `port`. `taken`: dropped, or given to it later.
    Fate judge(Port& port, const ns3::Ptr<ns3::Packet>& packet);

  private:
    struct Verdict;
    void apply(Rule& rule, Port& port, const Bytes& frame, Verdict& verdict);
    void deliver_later(Port& port, Bytes frame, Duration wait);
    ns3::Ptr<ns3::CsmaNetDevice> make_device(const ns3::Ptr<ns3::CsmaChannel>& channel, const ns3::Ptr<ns3::Node>& node,
                                             const MacAddress& mac);
    ns3::Ptr<ns3::CsmaChannel> make_channel();

    std::string name_;
    Duration delay_;
    Random random_;
    ns3::Ptr<ns3::CsmaChannel> cable_;
    ns3::Ptr<ns3::Node> switch_node_;
    ns3::Ptr<ns3::BridgeNetDevice> bridge_;
    std::vector<std::unique_ptr<Port>> ports_;
    std::map<MacAddress, Port*> by_mac_;
    std::vector<std::unique_ptr<Rule>> rules_;
    std::map<std::pair<std::string, std::string>, Instant> last_jittered_;  // keeps the order
    int down_ = 0;
    bool passing_ = false;  // a frame that was judged before
};

// A switch that an ErrorModel asks: true takes the frame away from the device.
class Gate : public ns3::ErrorModel {
  public:
    Gate(Network* network, Port* port) : network_(network), port_(port) {}

  private:
    bool DoCorrupt(ns3::Ptr<ns3::Packet> packet) override;
    void DoReset() override {}

    Network* network_;
    Port* port_;
};

}  // namespace lbcluster::sim
