#include "forwarder/nft/ruleset.hpp"

#include <array>
#include <cstdio>

namespace lbcluster::forward::nft {

namespace {

std::string text_of(const Ports& ports) {
    const std::string first = std::to_string(ports.first);
    return ports.first == ports.last ? first : first + "-" + std::to_string(ports.last);
}

bool is_all(const Ports& ports) { return ports.first <= 1 && ports.last == 65535; }

std::string hex(std::uint32_t mark) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "0x%08x", mark);
    return text.data();
}

std::vector<std::string> protocols(const Traffic& traffic) {
    std::vector<std::string> out;
    if (traffic.tcp) out.emplace_back("tcp");
    if (traffic.udp) out.emplace_back("udp");
    return out;
}

void add_elements(std::string& out, const std::string& kind, const std::string& name, const std::string& type,
                  const std::string& elements) {
    out += "  " + kind + " " + name + " {\n    type " + type + ";\n";
    if (!elements.empty()) out += "    elements = {\n" + elements + "    }\n";
    out += "  }\n";
}

// The map of marks of one family; empty if it has none.
std::string mark_elements(const Rules& rules, bool v6) {
    std::string out;
    for (const MarkRule& rule : rules.marks) {
        if (rule.traffic.address.is_v6() != v6) continue;
        for (const std::string& protocol : protocols(rule.traffic)) {
            for (const Ports& ports : rule.traffic.ports) {
                out += "      " + rule.traffic.address.to_string() + " . " + protocol + " . " + text_of(ports) + " : " +
                       hex(rule.mark) + ",\n";
            }
        }
    }
    return out;
}

std::string addresses(const std::set<IpAddress>& all, bool v6) {
    std::string out;
    for (const IpAddress& one : all) {
        if (one.is_v6() == v6) out += "      " + one.to_string() + ",\n";
    }
    return out;
}

// What the servers of transparent connections say to sockets of this node that have a client's address.
std::string transparent(const Rules& rules, bool v6, std::string& sets) {
    std::string elements;
    for (const auto& [address, port] : rules.transparent) {
        if (address.is_v6() == v6) elements += "      " + address.to_string() + " . " + std::to_string(port) + ",\n";
    }
    if (elements.empty()) return "";
    const std::string name = v6 ? "transparent6" : "transparent4";
    add_elements(sets, "set", name, std::string(v6 ? "ipv6_addr" : "ipv4_addr") + " . inet_service", elements);
    return std::string("    ") + (v6 ? "ip6" : "ip") + " saddr . tcp sport @" + name +
           " socket transparent 1 meta mark set " + hex(transparent_mark) + "\n";
}

// One rule a protocol: with both in one, nftables no longer knows what kind of number a port is.
std::string masquerade(const MasqueradeRule& rule) {
    const std::string family = rule.traffic.address.is_v6() ? "ip6" : "ip";
    const std::string address = rule.traffic.address.to_string();
    const std::string to = rule.to ? family + " daddr " + rule.to->to_string() : family + " daddr != " + address;
    std::string out;
    for (const std::string& protocol : protocols(rule.traffic)) {
        for (const Ports& ports : rule.traffic.ports) {
            out += "    ct original " + family + " daddr " + address + " meta l4proto " + protocol +
                   (is_all(ports) ? "" : " ct original proto-dst " + text_of(ports)) + " " + to + " masquerade\n";
        }
    }
    return out;
}

std::string auto_nat(const Rules& rules) {
    std::string interfaces;
    for (const std::string& interface : rules.auto_nat)
        interfaces += (interfaces.empty() ? "\"" : ", \"") + interface + "\"";
    std::string out;
    for (const bool v6 : {false, true}) {
        if (addresses(rules.inside, v6).empty()) continue;
        const std::string family = v6 ? "ip6" : "ip";
        const std::string digit = v6 ? "6" : "4";
        out += "    oifname { " + interfaces + " } " + family + " saddr @inside" + digit;
        if (!addresses(rules.virtual_addresses, v6).empty()) {
            out += " ct original " + family + " daddr != @virtual" + digit;
        }
        out += " masquerade\n";
    }
    return out;
}

}  // namespace

std::string render(const Rules& rules) {
    if (rules.empty()) return "";
    const std::string name = std::string("table inet ") + table_name;
    // Deleting what may not be there needs it to be there first; all of it is one transaction.
    std::string out = name + "\ndelete " + name + "\n" + name + " {\n";
    std::string marking;
    for (const bool v6 : {false, true}) {
        const std::string elements = mark_elements(rules, v6);
        if (elements.empty()) continue;
        const std::string map = v6 ? "marks6" : "marks4";
        const std::string address = v6 ? "ipv6_addr" : "ipv4_addr";
        add_elements(out, "map", map, address + " . inet_proto . inet_service : mark; flags interval", elements);
        marking += std::string("    meta mark set ") + (v6 ? "ip6" : "ip") + " daddr . meta l4proto . th dport map @" +
                   map + "\n";
    }
    std::string arriving = marking;
    for (const bool v6 : {false, true}) arriving += transparent(rules, v6, out);
    if (!arriving.empty()) {
        out += "  chain prerouting {\n    type filter hook prerouting priority mangle; policy accept;\n" + arriving +
               "  }\n";
    }
    if (!marking.empty()) {
        out += "  chain output {\n    type filter hook output priority mangle; policy accept;\n" + marking + "  }\n";
    }
    std::string leaving;
    for (const MasqueradeRule& rule : rules.masquerades) leaving += masquerade(rule);
    if (!rules.auto_nat.empty()) {
        for (const bool v6 : {false, true}) {
            const std::string digit = v6 ? "6" : "4";
            const std::string type = v6 ? "ipv6_addr" : "ipv4_addr";
            const std::string inside = addresses(rules.inside, v6);
            const std::string virtual_ones = addresses(rules.virtual_addresses, v6);
            if (inside.empty()) continue;
            add_elements(out, "set", "inside" + digit, type, inside);
            if (!virtual_ones.empty()) add_elements(out, "set", "virtual" + digit, type, virtual_ones);
        }
        leaving += auto_nat(rules);
    }
    if (!leaving.empty()) {
        out += "  chain postrouting {\n    type nat hook postrouting priority srcnat; policy accept;\n" + leaving +
               "  }\n";
    }
    return out + "}\n";
}

}  // namespace lbcluster::forward::nft
