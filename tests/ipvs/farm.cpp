#include "tests/ipvs/farm.hpp"

#include <netinet/in.h>

#include <array>
#include <fstream>

namespace lbcluster::lab {

namespace {

constexpr std::array<std::pair<const char*, unsigned>, 4> on_server_network{
    {{"lb1", 11}, {"lb2", 12}, {"rs1", 21}, {"rs2", 22}}};
constexpr const char* server_table = "80";  // routes of what leaves with an address of the server network

std::string with_number(const std::string& network, unsigned number) { return network + std::to_string(number); }

// With the prefix length that means this address and no network.
std::string alone(const std::string& address) { return address + (family_of(address) == Family::v4 ? "/32" : "/128"); }

unsigned number_of(const std::string& host) {
    for (const auto& [name, number] : on_server_network) {
        if (host == name) return number;
    }
    if (host == "client" || host == "remote") return 100;
    fail("the farm knows no address of " + host);
}

}  // namespace

Family family_of(const std::string& address) {
    return address.find(':') == std::string::npos ? Family::v4 : Family::v6;
}

std::string Farm::lan_address(const std::string& host, Family family) {
    if (host == "remote") return with_number(family == Family::v4 ? "10.79.0." : "fd79::", number_of(host));
    return with_number(family == Family::v4 ? "10.77.0." : "fd77::", number_of(host));
}
std::string Farm::server_address(const std::string& host, Family family) {
    return with_number(family == Family::v4 ? "10.80.0." : "fd80::", number_of(host));
}

Farm::Farm(Lab& lab) : lab_(lab), remote_("remote") {
    std::string cables =
        "link add servers type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set servers up\n";
    for (const auto& [host, number] : on_server_network) {
        const std::string port = std::string(host) + ".eth2";
        cables.append("link add ").append(port).append(" type veth peer name eth2 netns ").append(host);
        cables.append("\nlink set ").append(port).append(" master servers up\n");
    }
    lab.ip("switch", cables);
    for (const auto& [host, number] : on_server_network) {
        lab.ip(host, "link set eth2 up\naddr add " + server_address(host, Family::v4) + "/24 dev eth2\naddr add " +
                         server_address(host, Family::v6) +
                         "/64 dev eth2 nodad\nroute add fd79::/64 via fd77::1 dev eth0\n");
    }
    lab.ip("gw",
           "link add eth1 type veth peer name eth0 netns remote\nlink set eth1 up\naddr add 10.79.0.1/24 dev eth1\n"
           "addr add fd79::1/64 dev eth1 nodad\n");
    must_run(&remote_, {"ip", "-batch", "-"},
             "link set eth0 up\naddr add 10.79.0.100/24 dev eth0\naddr add fd79::100/64 dev eth0 nodad\n"
             "route add default via 10.79.0.1\nroute add default via fd79::1\n");
    lab.ip("client", "route add fd79::/64 via fd77::1 dev eth0\n");
    set("gw", "net/ipv4/ip_forward", "1");
    set("gw", "net/ipv6/conf/all/forwarding", "1");
}

void Farm::set(const std::string& host, const std::string& sysctl, const std::string& value) const {
    lab_.host(host).run([&] {
        std::ofstream file("/proc/sys/" + sysctl);
        if (!(file << value << std::flush)) fail_errno(host + ": " + sysctl + " = " + value);
    });
}

// Deprecated, where it is an IPv6 address: else it would be the source of what the balancer sends itself, and a server
// that has the same address for TUN throws away what comes from it.
void Farm::hold(const std::string& balancer, const std::string& address) const {
    const bool v6 = family_of(address) == Family::v6;
    lab_.ip(balancer, "addr add " + alone(address) + " dev eth0" + (v6 ? " preferred_lft 0" : "") + "\n");
}
void Farm::release(const std::string& balancer, const std::string& address) const {
    lab_.ip(balancer, "addr del " + alone(address) + " dev eth0\n");
}

std::string Farm::prepare(const std::string& server, Method method, const std::string& virtual_address,
                          const std::string& gateway) const {
    const Family family = family_of(virtual_address);
    switch (method) {
        case Method::dr:
            answer_no_arp(server);
            lab_.ip(server, "addr replace " + alone(virtual_address) + " dev lo\n");
            return lan_address(server, family);
        case Method::tun: {
            const std::string device = family == Family::v4 ? "tunl0" : "ip6tnl0";
            must_run(nullptr, {"modprobe", family == Family::v4 ? "ipip" : "ip6_tunnel"});
            answer_no_arp(server);
            lab_.ip(server,
                    "link set " + device + " up\naddr replace " + alone(virtual_address) + " dev " + device + "\n");
            if (family == Family::v4) {
                // The packet inside comes from a client that is not to be reached through the tunnel.
                for (const char* scope : {"all", "tunl0"})
                    set(server, std::string("net/ipv4/conf/") + scope + "/rp_filter", "0");
            }
            return lan_address(server, family);
        }
        case Method::nat:
            route_through(server, gateway.empty() ? server_address("lb1", family) : gateway);
            return server_address(server, family);
        case Method::snat:
            return lan_address(server, family);
    }
    fail("no such method");
}

// The virtual address is the balancer's on the LAN (IPv6: neighbor discovery answers for an interface's own addresses).
void Farm::answer_no_arp(const std::string& server) const {
    set(server, "net/ipv4/conf/all/arp_ignore", "1");
    set(server, "net/ipv4/conf/all/arp_announce", "2");
}

void Farm::route_through(const std::string& server, const std::string& gateway) const {
    const bool v4 = family_of(gateway) == Family::v4;
    const char* flag = v4 ? "-4" : "-6";
    const Namespace& host = lab_.host(server);
    const std::string own = server_address(server, family_of(gateway));
    if (must_run(&host, {"ip", flag, "rule", "list", "from", own}).empty())
        must_run(&host, {"ip", flag, "rule", "add", "from", own, "lookup", server_table});
    lab_.ip(server, std::string("route replace ") + (v4 ? "10.80.0.0/24" : "fd80::/64") + " dev eth2 table " +
                        server_table + "\nroute replace default via " + gateway + " dev eth2 table " + server_table +
                        "\n");
}

}  // namespace lbcluster::lab
