// Linux: /bin/sh, iproute2 and what the method names. What has to be done again at each start is a script of its own
// in /usr/local/sbin, called by a systemd unit; undoing one service's leaves what another one's script still has.
#include <utility>

#include "cli/core/arp_fix_parts.hpp"

namespace lbcluster::cli {
namespace {

constexpr const char* quiet_arp =
    "# No ARP answer for an address that is not on the asking interface, and none named as the sender.\n"
    "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore\n"
    "echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce\n";
constexpr const char* loud_arp =
    "if ! grep -qs arp_ignore /usr/local/sbin/lbcluster-arp-fix-* /etc/sysctl.conf /etc/sysctl.d/*; then\n"
    "    echo 0 > /proc/sys/net/ipv4/conf/all/arp_ignore\n"
    "    echo 0 > /proc/sys/net/ipv4/conf/all/arp_announce\n"
    "fi\n";

struct Device {
    std::string name;
    std::string module;  // empty: always there
};

Device device_of(const Fixable& service, FixMethod method) {
    if (method != FixMethod::tunnel) return {"lo", ""};
    return service.address.is_v4() ? Device{"tunl0", "ipip"} : Device{"ip6tnl0", "ip6_tunnel"};
}

std::string span_text(const PortSpan& span, char between) {
    return std::to_string(span.first) + (span.first == span.last ? "" : between + std::to_string(span.last));
}

bool all_ports(const Fixable& service) {
    return service.ports.empty() || (service.ports[0].first <= 1 && service.ports[0].last == 65535);
}

std::vector<std::string> protocols(const Fixable& service) {
    std::vector<std::string> out;
    if (service.tcp) out.emplace_back("tcp");
    if (service.udp) out.emplace_back("udp");
    return out;
}

// ---- the address on this machine ----

std::string take_address(const Fixable& service, FixMethod method) {
    const Device device = device_of(service, method);
    std::string out;
    if (!device.module.empty()) {
        out += "modprobe " + device.module + " 2>/dev/null || true  # it may be built in\nip link set " + device.name +
               " up\n";
    }
    if (service.address.is_v4()) {
        out += quiet_arp;
        if (method == FixMethod::tunnel) {
            out +=
                "# What comes out of the tunnel has a source that is not reached through the tunnel.\n"
                "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter\n"
                "echo 0 > /proc/sys/net/ipv4/conf/tunl0/rp_filter\n";
        }
        return out + "ip address replace " + alone(service.address) + " dev " + device.name + "\n";
    }
    // nodad: the address is on other machines too, and shall be.
    return out + "ip -6 address replace " + alone(service.address) + " dev " + device.name + " nodad preferred_lft 0\n";
}

std::string give_address_up(const Fixable& service, FixMethod method) {
    const Device device = device_of(service, method);
    const std::string address = alone(service.address);
    std::string out = "if ! grep -qsF ' " + address +
                      " ' /usr/local/sbin/lbcluster-arp-fix-* &&\n    [ -n \"$(ip -o address show dev " + device.name +
                      " to " + address + ")\" ]; then\n    ip address delete " + address + " dev " + device.name +
                      "\nfi\n";
    if (service.address.is_v4()) out += loud_arp;
    if (method == FixMethod::tunnel) {
        out += "if ! grep -qsF ' " + device.name + " ' /usr/local/sbin/lbcluster-arp-fix-*; then ip link set " +
               device.name + " down; fi\n";
    }
    return out;
}

// ---- redirecting what comes for it ----

// -d ADDRESS and the ports, one line each, after `command`.
std::string redirects(const Fixable& service, const std::string& command) {
    std::string out;
    const std::string to = command + " -d " + alone(service.address) + " -p ";
    const std::string rest = " -m comment --comment lbcluster-" + service.label + " -j REDIRECT\n";
    for (const std::string& protocol : protocols(service)) {
        if (all_ports(service)) {
            out.append(to).append(protocol).append(rest);
            continue;
        }
        for (const PortSpan& span : service.ports)
            out.append(to).append(protocol).append(" --dport ").append(span_text(span, ':')).append(rest);
    }
    return out;
}

std::string iptables_rules(const Fixable& service, bool undo) {
    const std::string table = std::string(service.address.is_v4() ? "iptables" : "ip6tables") + " -w -t nat ";
    const std::string change =
        undo ? "rule() { while " + table + "-C PREROUTING \"$@\" 2>/dev/null; do " + table +
                   "-D PREROUTING \"$@\"; done; }\n"
             : "rule() { " + table + "-C PREROUTING \"$@\" 2>/dev/null || " + table + "-A PREROUTING \"$@\"; }\n";
    return change + redirects(service, "rule");
}

std::string nftables_rules(const Fixable& service, bool undo) {
    const std::string family = service.address.is_v4() ? "ip" : "ip6";
    const std::string table = "table " + family + " lbcluster-" + service.label;
    if (undo) return "if nft list " + table + " >/dev/null 2>&1; then nft delete " + table + "; fi\n";
    std::string ports;
    for (const PortSpan& span : service.ports) ports += (ports.empty() ? "" : ", ") + span_text(span, '-');
    std::string rules;
    for (const std::string& protocol : protocols(service)) {
        rules.append("        ").append(family).append(" daddr ").append(service.address.to_string()).append(" ");
        if (all_ports(service)) rules.append("meta l4proto ").append(protocol);
        else rules.append(protocol).append(" dport { ").append(ports).append(" }");
        rules += " redirect\n";
    }
    // Adding the table first makes deleting it succeed; all of it is one transaction.
    return "nft -f - <<'NFT'\n" + table + "\ndelete " + table + "\n" + table +
           " {\n    chain prerouting {\n        type nat hook prerouting priority -100; policy accept;\n" + rules +
           "    }\n    # Kernels before 4.18 rewrite the answers only if this chain is there.\n    chain postrouting "
           "{\n        type nat hook postrouting priority 100; policy accept;\n    }\n}\nNFT\n";
}

std::string firewalld_rules(const Fixable& service, bool undo) {
    const std::string chain = std::string(service.address.is_v4() ? "ipv4" : "ipv6") + " nat PREROUTING 0 \"$@\"";
    const std::string direct = "firewall-cmd --permanent --direct ";
    const std::string query = direct + "--query-rule " + chain + " >/dev/null";
    return "firewall-cmd --state >/dev/null || { echo 'firewalld does not run here' >&2; exit 1; }\nrule() { if " +
           std::string(undo ? "" : "! ") + query + "; then " + direct + (undo ? "--remove-rule " : "--add-rule ") +
           chain + "; fi; }\n" + redirects(service, "rule") + "firewall-cmd --reload\n";
}

// ---- the script ----

std::string body_of(const Fixable& service, FixMethod method, bool undo) {
    switch (method) {
        case FixMethod::iptables:
            return iptables_rules(service, undo);
        case FixMethod::nftables:
            return nftables_rules(service, undo);
        case FixMethod::firewalld:
            return firewalld_rules(service, undo);
        default:
            return undo ? give_address_up(service, method) : take_address(service, method);
    }
}

bool redirects_traffic(FixMethod method) {
    return method == FixMethod::iptables || method == FixMethod::nftables || method == FixMethod::firewalld;
}

// Running it on a balancer would take the address from the clients.
std::string refusal(const Fixable& service, FixMethod method) {
    const std::string device = device_of(service, method).name;
    const std::string vip = service.address.to_string();
    return "elsewhere=$(ip -o address show to " + vip + " | awk '$2 != \"" + device +
           "\" { print $2 }')\nif [ -n \"$elsewhere\" ]; then\n    echo \"" + vip +
           " is on $elsewhere here. Is this a balancer? On a server, take it away there first.\" >&2\n    exit "
           "1\nfi\n";
}

std::string check_of(const Fixable& service, FixMethod method) {
    if (method == FixMethod::iptables) {
        return std::string(service.address.is_v4() ? "iptables" : "ip6tables") + " -t nat -S PREROUTING | grep -F " +
               service.address.to_string() + "\n";
    }
    if (method == FixMethod::nftables) {
        return std::string("nft list table ") + (service.address.is_v4() ? "ip" : "ip6") + " lbcluster-" +
               service.label + "\n";
    }
    return "ip -o address show to " + service.address.to_string() + "\n";
}

std::string lasting(const Fixable& service, FixMethod method, const std::string& body) {
    const bool firewall = redirects_traffic(method);
    return "mkdir -p /usr/local/sbin\ncat > \"$script\" <<'END'\n#!/bin/sh\nset -eu\n" + body +
           "END\nchmod 755 \"$script\"\n\"$script\"\nif [ -d /run/systemd/system ]; then\n    cat > \"$unit\" "
           "<<END\n[Unit]\nDescription=Real server of " +
           service.label + " (lbcluster)\n" +
           (firewall ? "After=nftables.service netfilter-persistent.service\n" : "") +
           "After=network-pre.target\nBefore=network.target\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart="
           "$script\n\n"
           "[Install]\nWantedBy=multi-user.target\nEND\n    systemctl daemon-reload\n    systemctl enable "
           "\"${unit##*/}\"\nelse\n    echo \"no systemd here: have $script run at each start\"\nfi\n" +
           check_of(service, method);
}

void add_notes(const Fixable& service, FixMethod method, Fix& fix) {
    if (!redirects_traffic(method)) {
        if (method == FixMethod::tunnel) {
            fix.notes.emplace_back(
                "A tunnel takes 20 bytes (IPv6: 40) of each packet: routers on the way must let ICMP 'fragmentation "
                "needed' pass.");
        }
        if (service.address.is_v6()) {
            fix.notes.emplace_back(
                "No sysctl is needed for IPv6: a machine answers neighbour discovery only for addresses of the "
                "interface that is asked.");
        }
        return;
    }
    fix.notes.emplace_back(
        "Redirected connections arrive at the first address of the interface that they came in by, not at " +
        service.address.to_string() + ": several sites told apart by address need the method sysctl.");
    fix.notes.emplace_back("Connections are tracked on this server: its table must be large enough for the load.");
    if (service.address.is_v6())
        fix.notes.emplace_back("Redirecting IPv6 needs kernel 3.7 or newer (before: the method sysctl).");
    if (method == FixMethod::nftables) {
        fix.notes.emplace_back(
            "A table of one family with both chains is understood by every kernel that has nftables' nat: 'inet' would "
            "need 5.2, and before 4.18 answers are rewritten only with the second chain.");
        fix.notes.emplace_back("Before kernel 4.18, nftables' nat and that of iptables exclude each other.");
    }
    if (method == FixMethod::firewalld) {
        fix.notes.emplace_back(
            "The application's port must be open in the zone of the interface too. Direct rules are on their way out "
            "of firewalld; where it has none any more, use the method sysctl.");
    }
}

}  // namespace

Fix linux_fix(const Fixable& service, FixMethod method, bool undo) {
    Fix fix;
    fix.method = word_of(method);
    fix.file_name = "lbcluster-arp-fix-" + service.label + (undo ? "-undo.sh" : ".sh");
    if (undo) {
        if (method == FixMethod::tunnel && service.address.is_v4())
            fix.notes.emplace_back("rp_filter stays 0: set it again if it was something else.");
    } else {
        add_notes(service, method, fix);
    }
    for (const KnownServer& server : service.servers) {
        if (method == FixMethod::tunnel && server.address.is_v4() != service.address.is_v4()) {
            fix.notes.emplace_back(server.label +
                                   " is of the other IP family: its tunnel device is not in this script.");
        }
    }
    const std::string body = body_of(service, method, undo);
    fix.script = "#!/bin/sh\n" + opening(service, fix, "# ", undo) +
                 "set -eu\n[ \"$(id -u)\" = 0 ] || { echo 'run this as root' >&2; exit 1; }\n";
    if (method == FixMethod::firewalld) {
        fix.script += body;
        return fix;
    }
    fix.script += "script=/usr/local/sbin/lbcluster-arp-fix-" + service.label +
                  "\nunit=/etc/systemd/system/lbcluster-arp-fix-" + service.label + ".service\n";
    if (undo) {
        fix.script +=
            "if [ -e \"$unit\" ]; then\n    systemctl disable \"${unit##*/}\"\n    rm -f \"$unit\"\n    "
            "systemctl daemon-reload\nfi\nrm -f \"$script\"\n" +
            body;
        return fix;
    }
    if (!redirects_traffic(method)) fix.script += refusal(service, method);
    fix.script += lasting(service, method, body);
    return fix;
}

}  // namespace lbcluster::cli
