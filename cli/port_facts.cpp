#include "port_facts.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "capture.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"
#include "lbcluster/config/settings.hpp"

namespace lbcluster::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t table_bytes_max = 4UL * 1024 * 1024;  // who listens comes first
constexpr std::size_t text_bytes_max = 4096;

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
            if (service.enabled()) clients_of(service);
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

std::string text_of(const fs::path& file) {
    const auto text = tail_of(file, text_bytes_max);
    return text ? *text : "";
}

Holder holder_of(const fs::path& process, int pid) {
    Holder out{pid, text_of(process / "comm"), text_of(process / "cmdline")};
    while (!out.name.empty() && out.name.back() == '\n') out.name.pop_back();
    std::replace(out.command.begin(), out.command.end(), '\0', ' ');
    return out;
}

// Processes come and go meanwhile, and those of others may not be looked at.
Holders holders_of(const std::set<std::uint64_t>& inodes) {
    std::set<std::string> wanted;
    for (const std::uint64_t inode : inodes) wanted.insert("socket:[" + std::to_string(inode) + "]");
    Holders out;
    std::error_code none;
    for (const auto& process : fs::directory_iterator("/proc", none)) {
        const std::string name = process.path().filename();
        int pid = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (error != std::errc{} || end != name.data() + name.size()) continue;
        std::set<std::string> found;
        std::error_code denied;
        for (fs::directory_iterator file(process.path() / "fd", denied), last; !denied && file != last;
             file.increment(denied)) {
            std::error_code gone;
            const std::string target = fs::read_symlink(file->path(), gone);
            if (!gone && wanted.contains(target)) found.insert(target);
        }
        for (const std::string& target : found) {
            out.emplace(std::stoull(target.substr(target.find('[') + 1)), holder_of(process.path(), pid));
        }
    }
    return out;
}

}  // namespace

std::vector<OwnPorts> own_ports(const config::NodeConfig& node, const config::ClusterConfig& cluster,
                                const std::string& run_dir, const Running& running) {
    return Wanted(node, cluster, run_dir, running).run();
}

std::vector<TakenPorts> look_at_ports(const std::vector<OwnPorts>& own, std::vector<std::string>& not_examined) {
    std::vector<HeldSocket> sockets;
    for (const char* table : {"udp", "udp6", "tcp", "tcp6"}) {
        const auto text = tail_of(std::string("/proc/net/") + table, table_bytes_max);
        if (!text) continue;  // a kernel without IPv6 has two of them
        for (const HeldSocket& socket : held_sockets(*text, std::string_view(table).starts_with("udp"))) {
            if (std::any_of(own.begin(), own.end(), [&](const OwnPorts& one) { return is_at(socket, one); }))
                sockets.push_back(socket);
        }
    }
    std::set<std::uint64_t> inodes;
    for (const HeldSocket& socket : sockets) inodes.insert(socket.inode);
    const Holders holders = holders_of(inodes);
    if (::geteuid() != 0 &&
        std::erase_if(sockets, [&](const HeldSocket& one) { return !holders.contains(one.inode); }) > 0)
        not_examined.emplace_back("who holds the ports of our daemons: you may not see it (run it as root)");
    return taken_ports(own, sockets, holders);
}

}  // namespace lbcluster::cli
