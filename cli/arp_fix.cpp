// lbcluster arp-fix SERVICE --os OS: a script, ready to run on a real server, that makes it take packets for the
// virtual address; or what else a server of this service needs (L4-9). Needs no daemon; changes nothing here.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <memory>
#include <string>

#include "change.hpp"
#include "cli/core/arp_fix.hpp"
#include "commands.hpp"
#include "context.hpp"
#include "layer4_view.hpp"
#include "lbcluster/config/services.hpp"
#include "service_view.hpp"

namespace lbcluster::cli {
namespace {

struct ArpFixOptions {
    std::string service;
    std::string os;
    std::string method;
    bool undo = false;
};

Fixable fixable_of(const Context& context, const config::ClusterConfig& cluster,
                   const config::VirtualService& service) {
    const KnownService known = known_service(service, 0);
    Fixable out;
    out.label = known.label;
    out.address = known.address;
    out.tcp = known.tcp;
    out.udp = known.udp;
    out.ports = known.ports;
    out.servers = known.servers;
    if (!config::is_layer7(service)) out.method = forwarding_of(service);
    for (const config::FloatingIp& one : config::all_floating_ips(cluster)) {
        const auto address = IpPrefix::parse(one.address());
        if (address && one.enabled()) out.gateways.push_back(address->address);
    }
    out.networks = own_networks(context);
    for (const IpPrefix& network : out.networks) {
        if (network.contains(out.address)) out.network_bits = std::max(out.network_bits, network.length);
    }
    return out;
}

void show(Context& context, const ArpFixOptions& options, const Fix& fix) {
    if (context.json) {
        Json notes = Json::array();
        for (const std::string& note : fix.notes) notes.push_back(note);
        return print_json({{"service", options.service},
                           {"os", options.os},
                           {"method", fix.method},
                           {"undo", options.undo},
                           {"file", fix.file_name},
                           {"script", fix.script},
                           {"notes", notes}});
    }
    if (!fix.script.empty()) return print(fix.script);  // the notes are in it
    for (const std::string& note : fix.notes) print(note + "\n");
}

void run(Context& context, const ArpFixOptions& options) {
    const auto loaded = load_to_show(context);
    if (!loaded) return;
    const config::ClusterConfig& cluster = loaded->effective_cluster;
    const int index = find_service(cluster, options.service);
    if (index < 0) return fail_no_service(context, cluster, options.service);
    const auto system = parse_system(options.os);  // one of them: the parser has seen to it
    const auto fix = make_fix(fixable_of(context, cluster, cluster.virtual_services(index)),
                              system.value_or(System::linux_), parse_fix_method(options.method), options.undo);
    if (!fix) {
        fail(context, exit_usage, fix.error());
        return;
    }
    show(context, options, *fix);
}

}  // namespace

void register_arp_fix(CLI::App& app, Context& context) {
    auto options = std::make_shared<ArpFixOptions>();
    auto* command = app.add_subcommand("arp-fix", "A script for real servers: what they need to serve the service");
    command->add_option("SERVICE", options->service, "Label of the virtual service")->required();
    command->add_option("--os", options->os, "The server's system: linux, bsd, macos, solaris or windows")
        ->required()
        ->check(CLI::IsMember({"linux", "bsd", "macos", "solaris", "windows"}));
    command
        ->add_option("--method", options->method,
                     "linux: sysctl (default), iptables, nftables, firewalld; for tun: tunnel. bsd, macos, solaris: "
                     "loopback. windows: powershell (default), netsh")
        ->check(CLI::IsMember(
            {"sysctl", "iptables", "nftables", "firewalld", "tunnel", "loopback", "powershell", "netsh"}));
    command->add_flag("--undo", options->undo, "The script that takes it back");
    command->footer(
        "Run it on each server:  lbcluster arp-fix SERVICE --os linux | ssh root@SERVER sh\n"
        "It can be run again, and lasts over a restart. For nat it says which gateway the servers must have;\n"
        "for snat and layer 7 there is nothing to do.");
    command->callback([&context, options] { run(context, *options); });
}

}  // namespace lbcluster::cli
