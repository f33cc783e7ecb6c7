// lbcluster floating-ip ...: the addresses that move between the nodes. Each change renders cluster.yaml anew from the
// messages; comments do not survive that, and the command says where they still stand.
#include <CLI/App.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "change.hpp"
#include "commands.hpp"
#include "context.hpp"
#include "lbcluster/base/address.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::cli {
namespace {

struct FloatingIpOptions : ChangeOptions {
    std::string address;
    std::optional<std::string> interface;
    std::optional<std::string> label;
    std::optional<std::string> note;
};

int find(const config::ClusterConfig& cluster, const IpAddress& address) {
    for (int i = 0; i < cluster.floating_ips_size(); ++i) {
        const auto prefix = IpPrefix::parse(cluster.floating_ips(i).address());
        if (prefix && prefix->address == address) return i;
    }
    return -1;
}

std::optional<IpPrefix> parse_address(Context& context, const std::string& text) {
    const auto prefix = IpPrefix::parse(text);
    if (prefix) return *prefix;
    fail(context, exit_usage, prefix.error());
    return std::nullopt;
}

void list_floating_ips(Context& context) {
    const auto facts = machine_facts(context);
    const auto loaded = load_to_show(context);
    if (!loaded) return;
    const config::ClusterConfig& cluster = loaded->effective_cluster;
    const auto items = bus::fetch(context.paths.socket_of("heartbeatd"), "node", std::chrono::seconds(1));
    Json result = Json::array();
    std::string text;
    const auto all = config::all_floating_ips(cluster);
    for (std::size_t i = 0; i < all.size(); ++i) {
        const config::FloatingIp& one = all[i];
        // Those defined by hand come first; the others exist because a virtual service has the address.
        const bool by_hand = i < static_cast<std::size_t>(cluster.floating_ips_size());
        const auto interface = config::resolve_interface(one, loaded->effective_node, facts.value_or(config::Facts{}));
        Json held;  // null: heartbeatd does not answer
        const auto address = IpPrefix::parse(one.address());
        if (items.ok() && !items.value().empty() && address) {
            held = false;
            for (const auto& status : items.value()[0].node().floating_ips()) {
                const auto known = IpPrefix::parse(status.address());
                if (known && known->address == address->address && status.held()) held = true;
            }
        }
        result.push_back({{"address", one.address()},
                          {"interface", interface ? Json(*interface) : Json()},
                          {"enabled", one.enabled()},
                          {"held", held},
                          {"by_hand", by_hand},
                          {"label", one.label()},
                          {"note", one.note()}});
        const std::string state = !one.enabled() ? "disabled" : held.is_null() ? "unknown" : held ? "here" : "not here";
        text += one.address() + "  " + (interface ? *interface : "?") + "  " + state;
        if (!by_hand) text += "  of virtual service";
        if (!one.label().empty()) text += "  " + one.label();
        if (!one.note().empty()) text += "  " + harmless(one.note());
        text += "\n";
    }
    if (context.json) return print_json({{"floating_ips", result}});
    print(text.empty() ? "There are no floating IPs.\n" : text);
}

void add(Context& context, const FloatingIpOptions& options) {
    const auto address = parse_address(context, options.address);
    if (!address) return;
    const auto loaded = load_for_change(context);
    if (!loaded) return;
    config::ClusterConfig cluster = loaded->cluster.config;
    if (find(cluster, address->address) >= 0) {
        fail(context, exit_refused,
             {address->address.to_string() + " is a floating IP already", "'lbcluster floating-ip list' shows them"});
        return;
    }
    config::FloatingIp& added = *cluster.add_floating_ips();
    added.set_address(options.address);
    if (options.interface) added.set_interface(*options.interface);
    if (options.label) added.set_label(*options.label);
    if (options.note) added.set_note(*options.note);
    commit(context, *loaded, cluster, options, "floating-ip add " + options.address);
}

void fail_not_by_hand(Context& context, const config::ClusterConfig& cluster, const IpAddress& address) {
    for (const config::VirtualService& service : cluster.virtual_services()) {
        const auto virtual_ip = IpAddress::parse(service.address());
        if (!virtual_ip || *virtual_ip != address) continue;
        fail(context, exit_refused,
             {address.to_string() + " belongs to virtual service " + service.label() + ": it goes with it",
              "'lbcluster service set " + service.label() + " address=...' or enabled=false takes it away"});
        return;
    }
    fail(context, exit_failed,
         {address.to_string() + " is not a floating IP", "'lbcluster floating-ip list' shows them"});
}

void remove(Context& context, const FloatingIpOptions& options) {
    const auto address = parse_address(context, options.address);
    if (!address) return;
    const auto loaded = load_for_change(context);
    if (!loaded) return;
    config::ClusterConfig cluster = loaded->cluster.config;
    const int index = find(cluster, address->address);
    if (index < 0) return fail_not_by_hand(context, cluster, address->address);
    cluster.mutable_floating_ips()->DeleteSubrange(index, 1);
    commit(context, *loaded, cluster, options, "floating-ip delete " + options.address);
}

}  // namespace

void register_floating_ip(CLI::App& app, Context& context) {
    auto options = std::make_shared<FloatingIpOptions>();
    auto* floating_ip = app.add_subcommand("floating-ip", "The addresses that move between the nodes");
    floating_ip->require_subcommand(1);

    auto* list_verb = floating_ip->add_subcommand("list", "All of them, and whether this node holds them");
    list_verb->callback([&context] { list_floating_ips(context); });

    auto* add_verb = floating_ip->add_subcommand("add", "Add one");
    add_verb->add_option("ADDRESS", options->address, "IPv4 or IPv6 address")->required();
    add_verb->add_option("--interface", options->interface, "Interface, or a name of node.yaml's interfaces");
    add_verb->add_option("--label", options->label, "Name, for people");
    add_verb->add_option("--note", options->note, "Remark, for people");
    add_change_options(add_verb, *options);
    add_verb->callback([&context, options] { add(context, *options); });

    auto* delete_verb = floating_ip->add_subcommand("delete", "Delete one");
    delete_verb->add_option("ADDRESS", options->address, "The address")->required();
    add_change_options(delete_verb, *options);
    delete_verb->callback([&context, options] { remove(context, *options); });
}

}  // namespace lbcluster::cli
