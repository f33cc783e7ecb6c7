// What a real server needs so that it serves a layer-4 service: a script, ready to run there, or a text that says what
// to do, or that there is nothing to do (L4-9). Pure.
//
// DR and TUN: the server takes packets for the virtual address, but answers no ARP for it. Either it has the address on
// its loopback interface (every system; on Linux two sysctls keep it quiet), or its firewall redirects what comes for
// it. NAT: what it answers passes the cluster, its gateway. SNAT and layer 7: nothing.
//
// Scripts can be run again without harm, last over a restart, and say what went wrong. The script of a service that
// shares its virtual address with another one leaves what the other one needs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/core/connections.hpp"
#include "cli/core/diagnosis.hpp"
#include "lbcluster/base/address.hpp"
#include "lbcluster/base/result.hpp"

namespace lbcluster::cli {

enum class System : std::uint8_t { linux_, bsd, macos, solaris, windows };
enum class FixMethod : std::uint8_t { sysctl, iptables, nftables, firewalld, tunnel, loopback, powershell, netsh };

std::string_view word_of(System system);
std::string_view word_of(FixMethod method);
std::optional<System> parse_system(std::string_view word);
std::optional<FixMethod> parse_fix_method(std::string_view word);

struct Fixable {
    std::string label;  // of the service: letters, digits, '-', '_', '.'
    IpAddress address;
    bool tcp = true;
    bool udp = false;
    std::vector<PortSpan> ports;
    std::optional<Forwarding> method;  // none: layer 7
    std::vector<KnownServer> servers;
    std::uint8_t network_bits = 0;    // IPv6: of the network that the address is in; 0: not known
    std::vector<IpPrefix> networks;   // of this node
    std::vector<IpAddress> gateways;  // floating IPs that can be a server's gateway, by hand first
};

struct Fix {
    std::string method;     // word; empty: there is nothing to do, or it is the gateway that counts
    std::string script;     // ready to run on the server; empty: nothing to run
    std::string file_name;  // that the script may be kept under
    std::vector<std::string> notes;
};

// An error says which methods there are. No method: the one that fits best.
Result<Fix> make_fix(const Fixable& service, System system, std::optional<FixMethod> method, bool undo);

}  // namespace lbcluster::cli
