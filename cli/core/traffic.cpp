// What connections that do not come about, and the answers to probes, say about a server.
#include <algorithm>

#include "cli/core/diagnosis.hpp"

namespace lbcluster::cli {
namespace {

constexpr std::uint64_t some = 3;        // fewer may just be starting
constexpr std::uint64_t many_from = 10;  // and more than got through

std::string number(std::uint64_t value) { return std::to_string(value); }

struct Case {
    const ServiceFacts& service;
    const ServerFacts& server;
    std::string vip;
    std::string port;
    std::string arp_fix;

    Case(const ServiceFacts& of, const ServerFacts& at)
        : service(of),
          server(at),
          vip(of.address.to_string()),
          port(number(at.at.port)),
          arp_fix("lbcluster arp-fix " + of.label + " --os linux      # or bsd, macos, solaris, windows: run it on " +
                  at.label) {}

    [[nodiscard]] Finding finding(const char* id, Severity severity, std::string text, std::string action) const {
        return {id, severity, service.label, server.label, std::move(text), std::move(action)};
    }
};

// How many wait, and whether that is a fault: none got through, or far more wait than did.
struct Waiting {
    bool stuck = false;
    Severity severity = Severity::warning;
    std::string text;
};

Waiting waiting_of(const ServerFacts& server) {
    const Counts& counts = server.seen.counts;
    const std::uint64_t waiting = counts.of(ConnectionState::syn_recv);
    const std::uint64_t through = counts.got_through();
    Waiting out;
    if (waiting == 0 || (through > 0 && (waiting < many_from || waiting <= through))) return out;
    out.stuck = true;
    out.severity = waiting >= some ? Severity::alarm : Severity::warning;
    if (through != 0) {
        out.text = number(waiting) + " connections to " + server.label + " stay in SYN_RECV, " + number(through) +
                   " got through";
    } else if (waiting == 1) {
        out.text = "the only connection to " + server.label + " did not get beyond SYN_RECV";
    } else {
        out.text = "none of the " + number(waiting) + " connections to " + server.label + " got beyond SYN_RECV";
    }
    return out;
}

Finding direct(const Case& one, const Waiting& waiting) {
    const std::string& label = one.server.label;
    const std::string listening = "ss -tln 'sport = :" + one.port + "'";
    if (one.server.vip == Answer::refused) {
        return one.finding(
            "not-listening-on-vip", Severity::alarm,
            label + " takes packets for " + one.vip + ", but refuses connections to " + one.vip + " port " + one.port +
                ": its application listens on its own address only",
            "make the application listen on " + one.vip + " too, or on every address; on " + label + ": " + listening);
    }
    if (one.server.vip == Answer::silent) {
        return one.finding("arp-problem", Severity::alarm,
                           "the ARP problem is not solved on " + label +
                               ": it answers on its own address, but not for " + one.vip +
                               (waiting.stuck ? "; " + waiting.text : "") +
                               ". The address is missing there, or a firewall drops what comes for it",
                           one.arp_fix + "\nthen, on " + label + ": ip address show to " + one.vip +
                               "      # must show it, except with the redirect methods");
    }
    if (one.server.vip == Answer::accepted) {
        return one.finding("answers-lost", waiting.severity,
                           waiting.text + ", though " + label + " accepts connections for " + one.vip +
                               ": what it answers probably does not reach the clients",
                           "on " + label + ": ip route get CLIENT from " + one.vip +
                               "      # must lead to the clients; a firewall on the way must let " + one.vip + " out");
    }
    return one.finding(
        "arp-problem", waiting.severity,
        waiting.text + ": with direct routing this mostly means that the ARP problem is not solved on " + label + " (" +
            one.vip + " is missing there); else its application does not listen on " + one.vip + " port " + one.port +
            ", or its answers do not reach the clients",
        "on " + label + ": ip address show to " + one.vip + "; " + listening + "      # decides it\n" + one.arp_fix);
}

// A client that the server reaches without a router gets the answer past this node, whatever the gateway is.
bool all_beside(const ServerFacts& server, const std::vector<IpPrefix>& networks) {
    const auto& waiting = server.seen.waiting;
    return !waiting.empty() && std::all_of(waiting.begin(), waiting.end(), [&](const IpAddress& client) {
        return std::any_of(networks.begin(), networks.end(), [&](const IpPrefix& network) {
            return network.contains(client) && network.contains(server.at.address);
        });
    });
}

Finding masqueraded(const Case& one, const Waiting& waiting, const std::vector<IpPrefix>& networks) {
    const std::string& label = one.server.label;
    const std::string cure =
        "lbcluster arp-fix " + one.service.label + " --os linux      # shows the gateway that " + label + " must have";
    if (waiting.stuck && all_beside(one.server, networks)) {
        return one.finding("client-beside-server", waiting.severity,
                           waiting.text + ": the clients that wait (" + one.server.seen.waiting.front().to_string() +
                               " …) are in " + label + "'s own network, so it answers them past this node",
                           "lbcluster service set " + one.service.label + " method=snat\nor keep nat, and take " +
                               label + "'s route to its own network away, so that it answers through this node");
    }
    if (one.server.gateway == Answer::silent) {
        return one.finding("wrong-gateway", Severity::alarm,
                           label +
                               " answers this node, but what it sends to other networks does not come back through "
                               "it: its default gateway is another one" +
                               (waiting.stuck ? "; " + waiting.text : ""),
                           cure + "\non " + label + ": ip route get CLIENT      # must say 'via' that address");
    }
    return one.finding(
        "wrong-gateway", waiting.severity,
        waiting.text + ": with NAT this mostly means that " + label +
            "'s default gateway is not this cluster, so its answers go past it",
        "on " + label + ": ip route get CLIENT      # must say 'via' a floating IP of this cluster\n" + cure);
}

Finding tunnelled(const Case& one, const Waiting& waiting) {
    const std::string& label = one.server.label;
    const bool v4 = one.server.at.address.is_v4();
    return one.finding("tunnel-not-accepted", waiting.severity,
                       waiting.text + ": " + label + " probably does not unpack the tunnel, has no " + one.vip +
                           ", or drops what comes out of the tunnel (rp_filter)",
                       one.arp_fix + "\non " + label + ": ip -s link show " + (v4 ? "tunl0" : "ip6tnl0") +
                           "; ip address show to " + one.vip +
                           (v4 ? "; sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.tunl0.rp_filter" : "") +
                           "      # up and counting; there; 0");
}

Finding source_rewritten(const Case& one, const Waiting& waiting) {
    return one.finding(
        "answers-lost", waiting.severity,
        waiting.text + ": " + one.server.label + " does not answer this node, or this node does not rewrite the source",
        "sysctl net.ipv4.vs.conntrack      # must be 1\nnft list table inet lbcluster      # must have "
        "a masquerade rule for " +
            one.vip + "\nlbcluster check " + one.service.label + " " + one.server.label);
}

std::optional<Finding> unreachable(const Case& one) {
    const std::string& label = one.server.label;
    const std::string at = one.server.at.to_string();
    const std::string check = "lbcluster check " + one.service.label + " " + label;
    const std::string why = one.server.health == "down" && !one.server.reason.empty()
                                ? "; its check says: " + one.server.reason
                                : std::string();
    switch (one.server.reach) {
        case Answer::refused:
            return one.finding("port-closed", Severity::warning,
                               label + " refuses connections to " + at + ": nothing listens there" + why,
                               "on " + label + ": ss -tln 'sport = :" + one.port +
                                   "'      # start the application, or correct the port\n" + check);
        case Answer::silent:
            return one.finding(
                "server-silent", Severity::warning,
                label + " does not answer on " + at + ": a firewall drops it, or the machine is down" + why,
                "ping -c 3 " + one.server.at.address.to_string() + "\n" + check);
        case Answer::unreachable:
            return one.finding("server-unreachable", Severity::warning,
                               label + " cannot be reached at " + at + ": no route, or nobody has the address" + why,
                               "ip route get " + one.server.at.address.to_string() + "; ip neigh show " +
                                   one.server.at.address.to_string() + "\n" + check);
        default:
            return std::nullopt;
    }
}

}  // namespace

std::optional<Finding> judge_traffic(const ServiceFacts& service, const ServerFacts& server,
                                     const std::vector<IpPrefix>& networks) {
    const Case one(service, server);
    // With direct routing an application may well listen on the virtual address alone.
    const bool serves = service.method == Forwarding::dr && server.vip == Answer::accepted;
    if (auto found = unreachable(one); found && !serves) return found;
    const Waiting waiting = waiting_of(server);
    switch (service.method) {
        case Forwarding::dr:
            if (waiting.stuck || server.vip == Answer::silent || server.vip == Answer::refused)
                return direct(one, waiting);
            break;
        case Forwarding::nat:
            if (waiting.stuck || server.gateway == Answer::silent) return masqueraded(one, waiting, networks);
            break;
        case Forwarding::snat:
            if (waiting.stuck) return source_rewritten(one, waiting);
            break;
        case Forwarding::tun:
            if (waiting.stuck) return tunnelled(one, waiting);
            break;
    }
    return std::nullopt;
}

}  // namespace lbcluster::cli
