#include "cli/core/diagnosis.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace lbcluster::cli {
namespace {

using Findings = std::vector<Finding>;

std::string join_servers(const ServiceFacts& service) {
    std::string out;
    for (const ServerFacts& server : service.servers) out += (out.empty() ? "" : ", ") + server.label;
    return out;
}

void judge_daemons(const Facts& facts, Findings& out) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 3> consequences{{
        {"heartbeatd", "nobody takes the floating IPs, or gives them up"},
        {"healthd", "servers that fail or come back are not noticed"},
        {"forwarderd", "changes of servers and configuration do not reach the kernel, or HAProxy"},
    }};
    for (const DaemonFacts& daemon : facts.daemons) {
        if (daemon.trouble.empty()) continue;
        const auto* const found = std::find_if(consequences.begin(), consequences.end(),
                                               [&](const auto& one) { return one.first == daemon.name; });
        std::string text = daemon.trouble;
        if (found != consequences.end()) text += ": " + std::string(found->second);
        out.push_back({"daemon-down", Severity::alarm, "", "", text,
                       "systemctl start " + daemon.name + "\njournalctl -u " + daemon.name + " -n 50"});
    }
}

void judge_node(const Facts& facts, Findings& out) {
    if (facts.layer4 && !facts.no_ipvs.empty()) {
        out.push_back({"no-ipvs", Severity::alarm, "", "",
                       "this kernel has no IPVS, so no service of layer 4 is served here: " + facts.no_ipvs,
                       "modprobe ip_vs\nif there is no such module: install a kernel that has it (Debian: "
                       "linux-image-amd64)"});
    }
    judge_daemons(facts, out);
    for (const AlarmFacts& alarm : facts.alarms) {
        if (alarm.id == "no-ipvs") continue;  // that is the finding above
        if (facts.config_told && alarm.id.ends_with("config-invalid")) continue;
        out.push_back({alarm.id, Severity::alarm, "", "", alarm.text, alarm.action});
    }
    for (const SysctlFacts& sysctl : facts.sysctls) {
        if (sysctl.value == sysctl.wanted) continue;
        out.push_back({"sysctl", Severity::alarm, "", "",
                       sysctl.name + " is " + (sysctl.value.empty() ? "not readable" : sysctl.value) + ", not " +
                           sysctl.wanted + ": " + sysctl.reason,
                       "sysctl -w " + sysctl.name + "=" + sysctl.wanted + "      # forwarderd does that by itself"});
    }
}

void judge_holding(const Facts& facts, const ServiceFacts& service, Findings& out) {
    const std::string vip = service.address.to_string();
    const auto add = [&](const char* id, Severity severity, std::string text, std::string action) {
        out.push_back({id, severity, service.label, "", std::move(text), std::move(action)});
    };
    if (!service.floating) {
        add("no-floating-ip", Severity::alarm, "the floating IP " + vip + " is switched off, so no client reaches it",
            "lbcluster floating-ip delete " + vip + "      # then it exists by itself, because of the service");
    } else if (!service.floating_error.empty()) {
        add("floating-ip-failed", Severity::alarm, "heartbeatd cannot hold " + vip + ": " + service.floating_error,
            "lbcluster status");
    } else if (facts.active && !service.held) {
        add("vip-not-held", Severity::alarm, "this node is active, but " + vip + " is on none of its interfaces",
            "lbcluster events      # why\nip address show to " + vip);
    } else if (!facts.active && service.held && !facts.activity.empty()) {
        add("vip-held-by-passive", Severity::alarm,
            "this node is " + facts.activity + ", but " + vip + " is on " + service.held->interface +
                ": somebody has put it there by hand",
            "ip address delete " + vip + " dev " + service.held->interface);
    }
    if (!service.held) return;
    if (service.held->duplicate) {
        add("vip-duplicate", Severity::alarm,
            "the kernel found " + vip + " on another machine and does not use it (duplicate address)",
            "take it away from the other machine; then: ip address delete " + vip + " dev " + service.held->interface);
    }
    if (service.address.is_v6() && !service.held->deprecated && service.method != Forwarding::dr) {
        add("vip-is-source", Severity::warning,
            vip +
                " is not deprecated (preferred_lft 0), so this node may use it as the source of what it sends to the "
                "servers itself, and those with the same address throw it away",
            "ip address change " + vip + " dev " + service.held->interface + " preferred_lft 0");
    }
}

void judge_answers(const Facts& facts, const ServiceFacts& service, Findings& out) {
    const std::string vip = service.address.to_string();
    const char* const by = service.address.is_v4() ? "ARP" : "neighbour discovery";
    std::vector<ForeignAnswer> strangers;
    for (const ForeignAnswer& answer : service.answers) {
        if (answer.server.empty()) {
            strangers.push_back(answer);
            continue;
        }
        out.push_back({"vip-answered-by-server", Severity::alarm, service.label, answer.server,
                       answer.server + " (" + answer.mac.to_string() + ") answers " + by + " for " + vip +
                           ": clients reach it past the balancer. The ARP problem is not solved there",
                       "on " + answer.server + ": ip address show to " + vip +
                           "      # on another interface than lo? take it away there\nlbcluster arp-fix " +
                           service.label + " --os linux      # or bsd, macos, solaris, windows: run it on " +
                           answer.server});
    }
    // A passive node hears its peer.
    const std::size_t rightful = facts.active ? 0 : 1;
    if (strangers.size() <= rightful) return;
    std::string macs;
    for (const ForeignAnswer& answer : strangers) macs += (macs.empty() ? "" : ", ") + answer.mac.to_string();
    out.push_back({"vip-answered-by-others", Severity::alarm, service.label, "",
                   (facts.active ? "another machine answers " : "more than one machine answers ") + std::string(by) +
                       " for " + vip + " (" + macs + "), so some clients go there",
                   "find it by its MAC address in the switch, and take " + vip +
                       " away from it; lbcluster status shows whether it is the peer"});
}

void judge_state(const ServiceFacts& service, Findings& out) {
    const auto add = [&](const char* id, Severity severity, std::string text, std::string action) {
        out.push_back({id, severity, service.label, "", std::move(text), std::move(action)});
    };
    const auto& servers = service.servers;
    const bool offline = std::all_of(servers.begin(), servers.end(), [](const auto& one) { return one.offline; });
    if (servers.empty()) {
        add("no-servers", Severity::warning, "no real server is configured, so nobody serves",
            "lbcluster server add " + service.label + " LABEL address=ADDRESS");
    } else if (service.state == "failed") {
        add("not-programmed", Severity::alarm, "the kernel does not have it as it should be: " + service.error,
            "journalctl -u forwarderd -n 50");
    } else if (service.state == "empty" || service.state == "fallback") {
        const std::string who = offline ? "every server is offline by the operator's wish"
                                        : "none of its servers (" + join_servers(service) + ") can serve";
        add(offline ? "all-offline" : "service-down", offline ? Severity::info : Severity::alarm,
            who + (service.state == "fallback" ? "; the fallback answers" : "; nobody answers the clients"),
            offline ? "lbcluster server online " + service.label + " LABEL"
                    : "lbcluster check " + service.label + "      # what each of them says");
    }
}

void judge_server(const Facts& facts, const ServiceFacts& service, const ServerFacts& server, Findings& out) {
    const auto add = [&](const char* id, Severity severity, std::string text, std::string action) {
        out.push_back({id, severity, service.label, server.label, std::move(text), std::move(action)});
    };
    if (server.offline) return;  // that is no fault
    const std::string check = "lbcluster check " + service.label + " " + server.label;
    if (service.method == Forwarding::dr && !server.on_link) {
        add("not-on-link", Severity::alarm,
            server.at.address.to_string() +
                " is in no network of this node, but direct routing reaches a server by "
                "its MAC address only",
            "lbcluster service set " + service.label +
                " method=tun      # or snat; or give this node an interface in the server's network");
    }
    if (auto found = judge_traffic(service, server, facts.networks)) {
        out.push_back(std::move(*found));
    } else if (server.health == "down") {
        add("server-down", Severity::warning, server.label + " is down: " + server.reason, check);
    }
    if (server.health == "unknown") {
        add("not-judged", Severity::warning,
            server.label + " was never judged, so it gets no traffic: " + server.reason, check);
    } else if (server.overdue) {
        add("verdict-old", Severity::warning, "the verdict on " + server.label + " is old: no check has ended in time",
            check + "\njournalctl -u healthd -n 50");
    }
}

}  // namespace

std::string_view word_of(Severity severity) {
    return severity == Severity::info ? "info" : severity == Severity::warning ? "warning" : "alarm";
}

std::string_view word_of(Forwarding method) {
    static constexpr std::array<std::string_view, 4> words{"dr", "nat", "snat", "tun"};
    return words[static_cast<std::size_t>(method)];
}

std::vector<Finding> judge(const Facts& facts) {
    Findings out;
    judge_node(facts, out);
    for (const ServiceFacts& service : facts.services) {
        judge_holding(facts, service, out);
        judge_answers(facts, service, out);
        judge_state(service, out);
        for (const ServerFacts& server : service.servers) judge_server(facts, service, server, out);
    }
    return out;
}

}  // namespace lbcluster::cli
