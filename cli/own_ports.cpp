#include "own_ports.hpp"

#include <utility>

#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"
#include "lbcluster/config/settings.hpp"

namespace lbcluster::cli {
namespace {

const IpAddress every_v4;
const IpAddress every_v6 = IpAddress::v6({});

class Wanted {
  public:
    Wanted(const config::NodeConfig& node, const config::ClusterConfig& cluster, const std::string& run_dir,
           const Running& running)
        : node_(node), cluster_(cluster), run_dir_(run_dir), running_(running) {}

    std::vector<OwnPorts> run() {
        heartbeats();
        for (const config::VirtualService& service : cluster_.virtual_services()) {
            if (config::is_on(service)) clients_of(service);
        }
        if (!proxy_) return std::move(out_);
        config::Layer7 layer7 = cluster_.layer7();
        config::with_defaults(layer7);  // those of the schema, also where nothing of it was written
        if (page_) haproxy({every_v4}, one(layer7.page_port()), "the fallback page", "layer7.page_port");
        if (layer7.has_statistics()) {
            haproxy({every_v4, every_v6}, one(layer7.statistics().port()), "the statistics page",
                    "layer7.statistics.port");
        }
        if (!links_.empty()) {
            haproxy({links_.front()}, one(layer7.peers_port()), "the peer's persistence tables", "layer7.peers_port");
        }
        return std::move(out_);
    }

  private:
    static config::PortRange one(std::uint32_t port) {
        return {static_cast<std::uint16_t>(port), static_cast<std::uint16_t>(port)};
    }

    void haproxy(std::vector<IpAddress> addresses, config::PortRange ports, std::string purpose, std::string key) {
        out_.push_back({false, std::move(addresses), ports.first, ports.last, std::move(purpose), "haproxy",
                        run_dir_ + "/haproxy.cfg", running_.haproxy, std::move(key)});
    }

    void heartbeats() {
        for (const config::Link& link : node_.links()) {
            const auto local = IpAddress::parse(link.local());
            if (local && IpAddress::parse(link.peer())) links_.push_back(*local);
        }
        const config::PortRange port = one(config::heartbeat_settings(cluster_.heartbeat()).port);
        if (links_.empty()) return;
        out_.push_back({true, links_, port.first, port.last, "heartbeats", "heartbeatd", "", running_.heartbeatd,
                        "heartbeat.port"});
    }

    void clients_of(const config::VirtualService& service) {
        const auto address = IpAddress::parse(service.address());
        const bool layer7 = config::is_layer7(service);
        const bool page = service.fallback().page();
        if (!address || (!layer7 && !page)) return;  // the kernel takes what comes for layer 4
        proxy_ = true;
        page_ = page_ || page;
        const std::string purpose = (layer7 ? "clients of '" : "the fallback page of '") + service.label() + "'";
        const std::string key = "the ports of the service";
        for (const std::string& text : service.ports()) {
            if (const auto range = config::parse_port_range(text)) haproxy({*address}, *range, purpose, key);
        }
        if (layer7 && service.tls().redirect_http()) haproxy({*address}, {80, 80}, purpose, "tls.redirect_http");
    }

    const config::NodeConfig& node_;
    const config::ClusterConfig& cluster_;
    const std::string& run_dir_;
    const Running& running_;
    std::vector<IpAddress> links_;
    std::vector<OwnPorts> out_;
    bool proxy_ = false;  // HAProxy has something to do
    bool page_ = false;
};

}  // namespace

std::vector<OwnPorts> own_ports(const config::NodeConfig& node, const config::ClusterConfig& cluster,
                                const std::string& run_dir, const Running& running) {
    return Wanted(node, cluster, run_dir, running).run();
}

}  // namespace lbcluster::cli
