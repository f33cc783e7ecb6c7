// Everything that exists in one simulation: the networks, the pair, routers, clients. Built from a loaded scenario;
// destroyed with everything that ns-3 has scheduled. One at a time in a process.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/node/node.hpp"
#include "sim/scenario/scenario.hpp"

namespace lbcluster::sim {

struct WorldOptions {
    std::uint64_t seed = 1;
    Duration probe_min{0};  // clients ask no more often
    std::string pcap_dir;   // empty: no traces
};

class World {
  public:
    World(const Loaded& scenario, const WorldOptions& options, Observer& observer);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    struct Client {
        Machine* machine = nullptr;
        std::vector<IpAddress> asks;  // floating IPs on its network
        Network* network = nullptr;
    };

    [[nodiscard]] const Loaded& scenario() const { return scenario_; }
    [[nodiscard]] std::uint64_t seed() const { return options_.seed; }
    [[nodiscard]] const std::vector<std::unique_ptr<Node>>& nodes() const { return nodes_; }
    [[nodiscard]] const std::vector<std::unique_ptr<Network>>& networks() const { return networks_; }
    [[nodiscard]] const std::vector<Client>& clients() const { return clients_; }
    [[nodiscard]] const std::vector<Machine*>& routers() const { return routers_; }
    [[nodiscard]] Node* node(const std::string& name);
    [[nodiscard]] Machine* machine(const std::string& name);
    [[nodiscard]] Network* network(const std::string& name);
    [[nodiscard]] SerialLine* serial() { return serial_.get(); }
    // The node that comes before or after it.
    [[nodiscard]] Node* peer(const Node& node);
    // Where the floating IPs of the pair are; the first one that serves.
    [[nodiscard]] Network* lan() { return lan_; }
    Observer& observer() { return observer_; }

    // Who answers a client's packets to an address, by the client's own cache: index of the node, or -1.
    [[nodiscard]] int answered_by(const Client& client, const IpAddress& address) const;
    // The machine whose interface has this MAC on the network.
    [[nodiscard]] int node_with_mac(const Network& network, const MacAddress& mac) const;

    // Switches everything on.
    void start();

  private:
    void build_networks();
    void build_nodes();
    void build_hosts();
    void trace(const std::string& name, const Machine& machine);
    void ask(std::size_t client, std::uint16_t sequence);

    const Loaded& scenario_;
    WorldOptions options_;
    Observer& observer_;
    std::vector<std::unique_ptr<Network>> networks_;
    std::unique_ptr<SerialLine> serial_;
    std::vector<std::unique_ptr<Node>> nodes_;
    std::map<std::string, std::unique_ptr<Machine>> hosts_;
    std::vector<Client> clients_;
    std::vector<Machine*> routers_;
    Network* lan_ = nullptr;
};

}  // namespace lbcluster::sim
