#include "diagnose_facts.hpp"

#include <unistd.h>

#include <linux/if_addr.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <map>
#include <utility>

#include "diagnose_probes.hpp"
#include "layer4_view.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/services.hpp"
#include "lbcluster/net/netlink.hpp"

namespace lbcluster::cli {
namespace {

struct Machine {
    std::map<int, net::Link> links;
    std::vector<net::Address> addresses;
};

struct Daemons {
    std::map<std::string, std::string> floating_errors;  // by address
    std::map<std::pair<std::string, std::string>, bus::ServerHealth> health;
    ForwardServices services;
    std::optional<bus::ForwardStatus> forward;
};

bool one_address(const IpPrefix& prefix) { return prefix.length == (prefix.address.is_v4() ? 32 : 128); }

// ---- daemons ----

std::string trouble_of(const std::string& daemon, const Error& error) {
    if (error.code == ENOENT || error.code == ECONNREFUSED) return daemon + " does not run";
    if (error.code == ETIMEDOUT) return daemon + " runs, but does not answer";
    return daemon + " cannot be asked: " + error.message;
}

class Gatherer {
  public:
    Gatherer(const Context& context, const config::LoadResult& loaded, const std::optional<std::string>& only,
             Gathered& out)
        : context_(context), cluster_(loaded.effective_cluster), only_(only), out_(out) {}

    void run() {
        facts().whole_node = !only_;
        for (const config::VirtualService& service : cluster_.virtual_services()) {
            if (!is_layer4(service)) continue;
            facts().layer4 = true;
            if (!only_ || service.label() == *only_) configured_.push_back(&service);
        }
        for (const config::VirtualService* service : configured_) facts().services.push_back(plain_facts(*service));
        ask_heartbeatd();
        ask_healthd();
        ask_forwarderd();
        for (const bus::Item& item : ask("replicatord", "replication", is_paired())) {
            add_alarms(item.replication().alarms());
        }
        look_at_machine();
        look_at_sysctls();
        add_known();
        count_connections();
        probe();
    }

  private:
    Facts& facts() { return out_.facts; }
    [[nodiscard]] bool is_paired() const { return ::access(context_.paths.peer_file().c_str(), F_OK) == 0; }
    void skip(std::string what) { out_.not_examined.push_back(std::move(what)); }

    std::vector<bus::Item> ask(const std::string& daemon, const std::string& prefix, bool needed) {
        auto fetched = bus::fetch(context_.paths.socket_of(daemon), prefix, answer_time);
        if (fetched.ok()) return std::move(fetched).value();
        const Error& error = fetched.error();
        if (error.code == EACCES || error.code == EPERM) {
            skip("what " + daemon + " says: you may not ask it (run it as root)");
        } else if (needed) {
            facts().daemons.push_back({daemon, trouble_of(daemon, error)});
        }
        return {};
    }

    void add_alarms(const google::protobuf::RepeatedPtrField<bus::Alarm>& alarms) {
        if (only_) return;
        for (const bus::Alarm& alarm : alarms) facts().alarms.push_back({alarm.id(), alarm.text(), alarm.action()});
    }

    void ask_heartbeatd() {
        const auto items = ask("heartbeatd", "node", true);
        if (items.empty()) return;
        const bus::NodeStatus& node = items[0].node();
        facts().activity = node.activity();
        facts().active = node.activity() == "active";
        add_alarms(node.alarms());
        for (const auto& one : node.floating_ips()) {
            const auto address = IpPrefix::parse(one.address());
            if (address && !one.error().empty()) told_.floating_errors[address->address.to_string()] = one.error();
        }
    }

    void ask_healthd() {
        const bool needed = cluster_.virtual_services_size() > 0;
        for (const bus::Item& item : ask("healthd", "health", needed)) add_alarms(item.health().alarms());
        if (std::any_of(facts().daemons.begin(), facts().daemons.end(),
                        [](const DaemonFacts& one) { return one.name == "healthd"; }))
            return;
        for (const bus::Item& item : ask("healthd", "server/", false))
            told_.health[{item.server().service(), item.server().server()}] = item.server();
    }

    void ask_forwarderd() {
        for (const bus::Item& item : ask("forwarderd", "forward", cluster_.virtual_services_size() > 0)) {
            if (item.has_forward()) told_.forward = item.forward();
        }
        if (!told_.forward) return;
        add_alarms(told_.forward->alarms());
        if (auto services = forward_services(context_)) told_.services = std::move(services).value();
    }

    // ---- this machine ----

    void look_at_machine() {
        auto netlink = net::Netlink::open();
        if (!netlink) return skip("addresses of this node: " + netlink.error().message);
        const auto links = netlink->links();
        auto addresses = netlink->addresses();
        if (!links || !addresses) return skip("addresses of this node: they cannot be read");
        for (const net::Link& link : *links) machine_.links[link.index] = link;
        machine_.addresses = std::move(addresses).value();
        for (const net::Address& one : machine_.addresses) {
            if (!one_address(one.prefix) && !one.prefix.address.is_loopback()) facts().networks.push_back(one.prefix);
        }
        bool holds = false;
        for (ServiceFacts& service : facts().services) {
            for (const net::Address& one : machine_.addresses) {
                if (one.prefix.address != service.address) continue;
                service.held =
                    HeldAddress{machine_.links[one.ifindex].name, (one.flags & IFA_F_DEPRECATED) != 0, one.duplicate()};
                holds = true;
            }
            for (ServerFacts& server : service.servers) server.on_link = network_of(server.at.address) != nullptr;
        }
        if (facts().activity.empty()) facts().active = holds;
    }

    // The longest network of an interface of this node that has the address.
    [[nodiscard]] const net::Address* network_of(const IpAddress& address) const {
        const net::Address* found = nullptr;
        for (const net::Address& one : machine_.addresses) {
            if (one_address(one.prefix) || !one.prefix.contains(address)) continue;
            if (found == nullptr || one.prefix.length > found->prefix.length) found = &one;
        }
        return found;
    }

    static std::string read_sysctl(std::string name) {
        std::replace(name.begin(), name.end(), '.', '/');
        std::string value;
        std::ifstream file("/proc/sys/" + name);
        std::getline(file, value);
        return value;
    }

    // Those that forwarderd wants; without it, those that no traffic comes through without.
    void look_at_sysctls() {
        if (!facts().layer4 || only_) return;
        std::map<std::string, std::pair<std::string, std::string>> wanted;
        if (told_.forward) {
            for (const bus::SysctlStatus& one : told_.forward->sysctls())
                wanted[one.name()] = {one.wanted(), one.reason()};
        } else {
            for (const ServiceFacts& service : facts().services) {
                if (service.method == Forwarding::snat)
                    wanted["net.ipv4.vs.conntrack"] = {"1", "connection tracking rewrites the source for snat"};
                if (service.method == Forwarding::dr || service.method == Forwarding::tun) continue;
                wanted[service.address.is_v4() ? "net.ipv4.ip_forward" : "net.ipv6.conf.all.forwarding"] = {
                    "1", "what the servers answer passes this node"};
            }
        }
        for (const auto& [name, what] : wanted)
            facts().sysctls.push_back({name, read_sysctl(name), what.first, what.second});
    }

    // ---- what is known of services and servers ----

    void add_known() {
        const auto floating = config::all_floating_ips(cluster_);
        for (ServiceFacts& service : facts().services) {
            const std::string vip = service.address.to_string();
            service.floating = std::any_of(floating.begin(), floating.end(), [&](const config::FloatingIp& one) {
                const auto address = IpPrefix::parse(one.address());
                return address && address->address == service.address && one.enabled();
            });
            if (const auto found = told_.floating_errors.find(vip); found != told_.floating_errors.end())
                service.floating_error = found->second;
            if (const auto found = told_.services.find(service.label); found != told_.services.end()) {
                service.state = found->second.state();
                service.error = found->second.error();
            }
            for (ServerFacts& server : service.servers) {
                const auto found = told_.health.find({service.label, server.label});
                if (found == told_.health.end()) continue;
                server.health = found->second.health();
                server.reason = found->second.reason();
                server.overdue = found->second.overdue();
            }
        }
    }

    void count_connections() {
        if (!facts().layer4) return;
        std::vector<KnownService> known;
        for (const config::VirtualService* service : configured_) {
            const auto found = told_.services.find(service->label());
            known.push_back(known_service(*service, found == told_.services.end() ? 0 : found->second.mark()));
        }
        Tally tally(std::move(known), 0);
        if (const auto read = read_connections(tally); !read) {
            if (read.error().code == ENOENT) facts().no_ipvs = "there is no /proc/net/ip_vs_conn_sync";
            else skip("connections: " + read.error().message);
            return;
        }
        for (std::size_t i = 0; i < facts().services.size(); ++i) {
            auto& servers = facts().services[i].servers;
            for (std::size_t n = 0; n < servers.size(); ++n) servers[n].seen = tally.services()[i].servers[n];
        }
    }

    // ---- probes ----

    [[nodiscard]] const net::Link* ethernet_of(const net::Address* network) const {
        if (network == nullptr) return nullptr;
        const auto found = machine_.links.find(network->ifindex);
        return found != machine_.links.end() && found->second.ethernet && found->second.up ? &found->second : nullptr;
    }

    // The address of this node itself in the network of `to`.
    [[nodiscard]] std::optional<IpAddress> own_address(const net::Address& network, const IpAddress& to) const {
        for (const net::Address& one : machine_.addresses) {
            const bool floating = one_address(one.prefix) || one.ours() || (one.flags & IFA_F_DEPRECATED) != 0;
            if (one.ifindex == network.ifindex && !floating && one.prefix.contains(to) && one.prefix.address != to)
                return one.prefix.address;
        }
        return std::nullopt;
    }

    void probe() {
        probe_connections();
        const auto answers = probe_addresses();
        if (!answers)
            return skip("who answers for the virtual addresses: " + answers.error().message + " (run it as root)");
        take_answers(*answers);
        probe_segments(*answers);
    }

    // Of the servers that are asked; `ask` says whether.
    template <class Ask>
    void each_server(const Ask& ask) {
        for (ServiceFacts& service : facts().services) {
            if (!service.tcp) continue;
            for (ServerFacts& server : service.servers) {
                if (!server.offline && server.at.port != 0) ask(service, server);
            }
        }
    }

    void probe_connections() {
        std::vector<Endpoint> endpoints;
        std::vector<ServerFacts*> asked;
        each_server([&](ServiceFacts&, ServerFacts& server) {
            endpoints.push_back(server.at);
            asked.push_back(&server);
        });
        const std::vector<Answer> answers = ask_connections(endpoints);
        for (std::size_t i = 0; i < asked.size(); ++i) asked[i]->reach = answers[i];
    }

    Result<AddressAnswers> probe_addresses() {
        std::vector<AddressQuestion> questions;
        const auto add = [&](const IpAddress& address) {
            const net::Address* network = network_of(address);
            if (const net::Link* link = ethernet_of(network)) questions.push_back({link->index, link->mac, address});
        };
        for (const ServiceFacts& service : facts().services) {
            add(service.address);
            for (const ServerFacts& server : service.servers) add(server.at.address);
        }
        return ask_addresses(questions);
    }

    [[nodiscard]] const std::set<MacAddress>* answers_for(const AddressAnswers& answers,
                                                          const IpAddress& address) const {
        const net::Link* link = ethernet_of(network_of(address));
        if (link == nullptr) return nullptr;
        const auto found = answers.find({link->index, address});
        return found == answers.end() ? nullptr : &found->second;
    }

    void take_answers(const AddressAnswers& answers) {
        for (ServiceFacts& service : facts().services) {
            const auto* macs = answers_for(answers, service.address);
            if (macs == nullptr) continue;
            for (const MacAddress& mac : *macs) {
                ForeignAnswer answer{mac, ""};
                for (const ServerFacts& server : service.servers) {
                    const auto* own = answers_for(answers, server.at.address);
                    if (own != nullptr && own->contains(mac)) answer.server = server.label;
                }
                service.answers.push_back(std::move(answer));
            }
        }
    }

    void probe_segments(const AddressAnswers& answers) {
        std::vector<SegmentQuestion> questions;
        std::vector<Answer*> results;
        each_server([&](ServiceFacts& service, ServerFacts& server) {
            const net::Address* network = network_of(server.at.address);
            const net::Link* link = ethernet_of(network);
            const auto* macs = answers_for(answers, server.at.address);
            if (link == nullptr || macs == nullptr) return;
            SegmentQuestion question{link->index, link->mac, *macs->begin(), {}, server.at, server.at.address, true};
            const auto own = own_address(*network, server.at.address);
            if (service.method == Forwarding::dr && own && service.address.is_v4() == own->is_v4()) {
                question.from = *own;
                question.to.address = service.address;
                results.push_back(&server.vip);
            } else if (service.method == Forwarding::nat && service.held && server.reach == Answer::accepted &&
                       !network->prefix.contains(service.address)) {
                // The server has to find the way to a virtual address by its gateway, as to a client.
                question.from = service.address;
                question.tell = false;
                results.push_back(&server.gateway);
            } else {
                return;
            }
            questions.push_back(question);
        });
        const auto told = ask_segments(questions);
        if (!told) return skip("whether servers take packets for the virtual addresses: " + told.error().message);
        for (std::size_t i = 0; i < results.size(); ++i) *results[i] = (*told)[i];
    }

    const Context& context_;
    const config::ClusterConfig& cluster_;
    const std::optional<std::string>& only_;
    std::vector<const config::VirtualService*> configured_;
    Daemons told_;
    Machine machine_;
    Gathered& out_;
};

}  // namespace

void gather(const Context& context, const config::LoadResult& loaded, const std::optional<std::string>& only,
            Gathered& out) {
    Gatherer(context, loaded, only, out).run();
}

}  // namespace lbcluster::cli
