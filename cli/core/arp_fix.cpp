#include "cli/core/arp_fix.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "cli/core/arp_fix_parts.hpp"

namespace lbcluster::cli {
namespace {

constexpr std::size_t comment_columns = 110;
constexpr std::array<std::string_view, 5> system_words{"linux", "bsd", "macos", "solaris", "windows"};
constexpr std::array<std::string_view, 8> method_words{"sysctl", "iptables", "nftables",   "firewalld",
                                                       "tunnel", "loopback", "powershell", "netsh"};

// The best one first. A tunnel is for TUN, and nothing else is.
std::vector<FixMethod> methods_of(System system, Forwarding forwarding) {
    if (forwarding == Forwarding::tun)
        return system == System::linux_ ? std::vector{FixMethod::tunnel} : std::vector<FixMethod>{};
    switch (system) {
        case System::linux_:
            return {FixMethod::sysctl, FixMethod::iptables, FixMethod::nftables, FixMethod::firewalld};
        case System::windows:
            return {FixMethod::powershell, FixMethod::netsh};
        default:
            return {FixMethod::loopback};
    }
}

std::string gateway_command(System system, const IpAddress& gateway) {
    const std::string to = gateway.to_string();
    const bool v4 = gateway.is_v4();
    switch (system) {
        case System::linux_:
            return std::string("ip ") + (v4 ? "" : "-6 ") + "route replace default via " + to;
        case System::bsd:
        case System::macos:
            return std::string("route change ") + (v4 ? "" : "-inet6 ") + "default " + to;
        case System::solaris:
            return std::string("route -p add ") + (v4 ? "" : "-inet6 ") + "default " + to;
        case System::windows:
            return std::string("netsh interface ") + (v4 ? "ipv4" : "ipv6") + " add route " +
                   (v4 ? "0.0.0.0/0" : "::/0") + " \"net\" " + to;
    }
    return "";
}

Fix gateway_fix(const Fixable& service, System system) {
    Fix fix;
    for (const KnownServer& server : service.servers) {
        const std::string who = server.label + " (" + server.address.to_string() + ")";
        const auto network = std::find_if(service.networks.begin(), service.networks.end(),
                                          [&](const IpPrefix& one) { return one.contains(server.address); });
        if (network == service.networks.end()) {
            fix.notes.push_back(who +
                                " is in no network of this node, so the cluster cannot be its gateway: use snat.");
            continue;
        }
        const auto gateway = std::find_if(service.gateways.begin(), service.gateways.end(),
                                          [&](const IpAddress& one) { return network->contains(one); });
        if (gateway == service.gateways.end()) {
            fix.notes.push_back(who + " needs a floating IP in its network " + network->to_string() +
                                " as its default gateway, and there is none: lbcluster floating-ip add ADDRESS");
        } else {
            fix.notes.push_back("The default gateway of " + who + " must be the floating IP " + gateway->to_string() +
                                ": " + gateway_command(system, *gateway) +
                                " (and in its network settings, so that it lasts)");
        }
    }
    if (service.servers.empty())
        fix.notes.emplace_back("The default gateway of each server must be a floating IP in its own network.");
    fix.notes.emplace_back(
        "A client in a server's own network is answered past the balancer, so it cannot use this service: for such "
        "clients use snat.");
    return fix;
}

// As a comment of lines that fit on a terminal.
std::string commented(const std::string& text, const std::string& mark, const std::string& end) {
    std::string out;
    std::string line = mark;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t space = std::min(text.find(' ', at), text.size());
        if (line.size() > mark.size() && line.size() + space - at > comment_columns) {
            out += line + end;
            line = mark + "  ";
        }
        line += text.substr(at, space - at) + (space == text.size() ? "" : " ");
        at = space + 1;
    }
    return out + line + end;
}

}  // namespace

std::string_view word_of(System system) { return system_words[static_cast<std::size_t>(system)]; }
std::string_view word_of(FixMethod method) { return method_words[static_cast<std::size_t>(method)]; }

std::optional<System> parse_system(std::string_view word) {
    const auto* const found = std::find(system_words.begin(), system_words.end(), word);
    if (found == system_words.end()) return std::nullopt;
    return static_cast<System>(found - system_words.begin());
}

std::optional<FixMethod> parse_fix_method(std::string_view word) {
    const auto* const found = std::find(method_words.begin(), method_words.end(), word);
    if (found == method_words.end()) return std::nullopt;
    return static_cast<FixMethod>(found - method_words.begin());
}

std::string alone(const IpAddress& address) { return address.to_string() + (address.is_v4() ? "/32" : "/128"); }

std::string traffic_text(const Fixable& service) {
    std::string out = service.tcp ? (service.udp ? "tcp/udp" : "tcp") : "udp";
    for (std::size_t i = 0; i < service.ports.size(); ++i) {
        const PortSpan& span = service.ports[i];
        out += i == 0 ? " " : ", ";
        if (span.first <= 1 && span.last == 65535) out += "all ports";
        else out += std::to_string(span.first) + (span.first == span.last ? "" : "-" + std::to_string(span.last));
    }
    return out;
}

std::string opening(const Fixable& service, const Fix& fix, const std::string& mark, bool undo) {
    const std::string end = mark == "rem " ? "\r\n" : "\n";
    std::string out = mark + (undo ? "Takes back what made" : "Makes") + " this machine a real server of '" +
                      service.label + "': " + service.address.to_string() + ", " + traffic_text(service) + ", method " +
                      fix.method + "." + end;
    out += mark + "Run it as " + (mark == "rem " || fix.file_name.ends_with(".ps1") ? "administrator" : "root") +
           " on each server; running it again does no harm." + end;
    if (!undo) {
        out += mark + "The application must listen on " + service.address.to_string() +
               " and on the server's own address (or on every address)." + end;
    }
    for (const std::string& note : fix.notes) out += commented(note, mark, end);
    return out;
}

Result<Fix> make_fix(const Fixable& service, System system, std::optional<FixMethod> method, bool undo) {
    const Forwarding forwarding = service.method.value_or(Forwarding::snat);
    if (forwarding == Forwarding::snat || forwarding == Forwarding::nat) {
        if (method) {
            return Error{"a service of method " + std::string(service.method ? word_of(forwarding) : "proxy") +
                             " needs no address on its servers, so there is no --method to choose",
                         "leave --method away"};
        }
        if (forwarding == Forwarding::nat) return gateway_fix(service, system);
        Fix fix;
        fix.notes.emplace_back("Nothing needs to be done on the servers of '" + service.label +
                               "': they see this cluster as the client, and answer it.");
        return fix;
    }
    const std::vector<FixMethod> methods = methods_of(system, forwarding);
    if (methods.empty()) {
        return Error{"a tunnel to a server with " + std::string(word_of(system)) + " is not described here",
                     "use direct routing where it is in the same network, else snat"};
    }
    const FixMethod chosen = method.value_or(methods.front());
    if (std::find(methods.begin(), methods.end(), chosen) == methods.end()) {
        std::string list;
        for (const FixMethod one : methods) list += (list.empty() ? "" : ", ") + std::string(word_of(one));
        return Error{"method '" + std::string(word_of(chosen)) + "' is not for a service of method " +
                         std::string(word_of(forwarding)) + " on " + std::string(word_of(system)),
                     "there: " + list};
    }
    switch (system) {
        case System::linux_:
            return linux_fix(service, chosen, undo);
        case System::bsd:
            return bsd_fix(service, undo);
        case System::macos:
            return macos_fix(service, undo);
        case System::solaris:
            return solaris_fix(service, undo);
        case System::windows:
            return windows_fix(service, chosen, undo);
    }
    return Error{"no such system", ""};
}

}  // namespace lbcluster::cli
