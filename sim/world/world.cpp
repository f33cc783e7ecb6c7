#include "sim/world/world.hpp"

#include <ns3/rng-seed-manager.h>
#include <ns3/trace-helper.h>

#include <algorithm>

namespace lbcluster::sim {

namespace {

constexpr std::uint16_t client_echo_id = 0x6c62;

// The devices' own back-off is the only thing that draws from ns-3's generator.
void seed_ns3(std::uint64_t seed) {
    ns3::RngSeedManager::SetSeed(static_cast<std::uint32_t>(1 + seed % 4294967086ULL));
    ns3::RngSeedManager::SetRun(1 + (seed >> 32U));
}

Node::Costs costs_of(const Model& model) {
    Node::Costs costs;
    costs.daemon.wakeup = to_duration(model.wakeup());
    costs.daemon.store = to_duration(model.store());
    costs.daemon.addresses.add_v4 = to_duration(model.add_v4());
    costs.daemon.addresses.add_v6 = to_duration(model.add_v6());
    costs.start = to_duration(model.start());
    costs.boot = to_duration(model.boot());
    costs.lease_late = to_duration(model.lease_late());
    return costs;
}

}  // namespace

World::World(const Loaded& scenario, const WorldOptions& options, Observer& observer)
    : scenario_(scenario), options_(options), observer_(observer) {
    seed_ns3(options_.seed);
    build_networks();
    build_nodes();
    build_hosts();
    if (options_.pcap_dir.empty()) return;
    for (const auto& node : nodes_) trace(node->name(), node->machine());
    for (const auto& [name, host] : hosts_) trace(name, *host);
}

World::~World() {
    // Timers cancel themselves while the simulator still exists.
    nodes_.clear();
    hosts_.clear();
    serial_.reset();
    networks_.clear();
    ns3::Simulator::Destroy();
}

void World::build_networks() {
    for (const NetworkPlan& plan : scenario_.networks) {
        networks_.push_back(std::make_unique<Network>(plan.name, plan.delay, plan.stations.size(), options_.seed));
        if (plan.serves && lan_ == nullptr) lan_ = networks_.back().get();
    }
    if (lan_ == nullptr && !networks_.empty()) lan_ = networks_.front().get();
    if (!scenario_.serial || scenario_.nodes.size() < 2) return;
    serial_ = std::make_unique<SerialLine>(
        scenario_.baud,
        std::array<std::string, 2>{scenario_.nodes[0].setup.settings.node, scenario_.nodes[1].setup.settings.node},
        options_.seed);
}

void World::build_nodes() {
    const Node::Costs costs = costs_of(scenario_.scenario.model());
    for (std::size_t i = 0; i < scenario_.nodes.size(); ++i) {
        nodes_.push_back(std::make_unique<Node>(scenario_.nodes[i].setup, costs, observer_, options_.seed));
        Node& node = *nodes_.back();
        node.machine().hooks = {[this] { observer_.on_change(); }, [this] { observer_.on_change(); }};
        node.use_serial(serial_.get(), i);
        for (std::size_t n = 0; n < networks_.size(); ++n) {
            for (const Station& station : scenario_.networks[n].stations) {
                if (station.machine != node.name()) continue;
                node.machine().plug_in(*networks_[n], station.interface, station.addresses);
            }
        }
    }
}

void World::build_hosts() {
    for (const HostPlan& plan : scenario_.hosts) {
        auto& host = hosts_[plan.name];
        host = std::make_unique<Machine>(plan.name, options_.seed);
        host->hooks = {[this] { observer_.on_change(); }, [this] { observer_.on_change(); }};
        Network* network = nullptr;
        for (std::size_t n = 0; n < networks_.size(); ++n) {
            for (const Station& station : scenario_.networks[n].stations) {
                if (station.machine != plan.name) continue;
                network = networks_[n].get();
                host->plug_in(*network, station.interface, station.addresses);
            }
        }
        if (plan.kind == HOST_KIND_ROUTER) routers_.push_back(host.get());
        if (plan.kind != HOST_KIND_CLIENT || network == nullptr) continue;
        Client client{host.get(), {}, network};
        for (const heartbeat::FloatingIp& ip : nodes_.front()->setup().settings.floating_ips) {
            const auto interface = nodes_.front()->machine().interface(ip.interface);
            if (!interface || &nodes_.front()->machine().interfaces()[*interface].port->network() != network) continue;
            client.asks.push_back(ip.address.address);
        }
        clients_.push_back(std::move(client));
    }
}

void World::trace(const std::string& name, const Machine& machine) {
    ns3::PcapHelper helper;
    for (const Machine::Interface& interface : machine.interfaces()) {
        auto file = helper.CreateFile(options_.pcap_dir + "/" + name + "-" + interface.name + ".pcap", std::ios::out,
                                      ns3::PcapHelper::DLT_EN10MB);
        helper.HookDefaultSink<ns3::CsmaNetDevice>(interface.port->device(), "PromiscSniffer", file);
    }
}

void World::start() {
    for (const auto& [name, host] : hosts_) host->power_on();
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
        after(scenario_.nodes[i].boot, [node = nodes_[i].get()] { node->power_on(true); });
    }
    for (std::size_t i = 0; i < clients_.size(); ++i) {
        after(Duration{0}, [this, i] { ask(i, 0); });
    }
}

void World::ask(std::size_t client, std::uint16_t sequence) {
    const Client& one = clients_[client];
    for (const IpAddress& address : one.asks) one.machine->send_echo(address, client_echo_id, sequence, {});
    Duration pause = 100ms;
    for (const HostPlan& plan : scenario_.hosts) {
        if (plan.name == one.machine->name()) pause = plan.probe;
    }
    after(std::max(pause, options_.probe_min),
          [this, client, sequence] { ask(client, static_cast<std::uint16_t>(sequence + 1)); });
}

// ---- looking ----

Node* World::node(const std::string& name) {
    for (const auto& node : nodes_) {
        if (node->name() == name) return node.get();
    }
    return nullptr;
}

Machine* World::machine(const std::string& name) {
    if (Node* found = node(name)) return &found->machine();
    const auto host = hosts_.find(name);
    return host == hosts_.end() ? nullptr : host->second.get();
}

Network* World::network(const std::string& name) {
    for (const auto& network : networks_) {
        if (network->name() == name) return network.get();
    }
    return nullptr;
}

Node* World::peer(const Node& node) {
    for (const auto& one : nodes_) {
        if (one.get() != &node) return one.get();
    }
    return nullptr;
}

int World::node_with_mac(const Network& network, const MacAddress& mac) const {
    for (const auto& port : network.ports()) {
        if (port->mac() != mac) continue;
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            if (nodes_[i]->name() == port->owner()) return static_cast<int>(i);
        }
    }
    return -1;
}

int World::answered_by(const Client& client, const IpAddress& address) const {
    const auto reaches = [&](const Node& node) {
        return node.machine().answers(address) && !client.network->severed(client.machine->name(), node.name()) &&
               !client.network->severed(node.name(), client.machine->name());
    };
    if (const auto mac = client.machine->neighbor(address)) {
        const int index = node_with_mac(*client.network, *mac);
        return index >= 0 && reaches(*nodes_[static_cast<std::size_t>(index)]) ? index : -1;
    }
    // No entry: the next packet asks, and whoever answers is it.
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
        if (reaches(*nodes_[i])) return static_cast<int>(i);
    }
    return -1;
}

}  // namespace lbcluster::sim
