// The lab's network: hosts in network namespaces on two switches.
//
//   LAN, eth0, 10.77.0.0/24 and fd77::/64: gw .1, lb1 .11, lb2 .12, rs1 .21, rs2 .22, client .100, obs .250;
//        floating IPs from .200 (fd77::200). Last part of the IPv6 address: the same digits.
//   heartbeat network, eth1, 10.78.0.0/24: lb1 .11, lb2 .12, relay .50 (which is on the LAN too)
//
// The bridges live in a namespace of their own, `switch`, with one port per cable: lb1.eth0, lb1.eth1, ...
// Duplicate address detection is off, so that addresses are usable at once. Faults are verbs of this class;
// they act on the cable (bridge port) or on what a host receives (nftables, ingress), never on the daemons.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

class Lab {
  public:
    Lab();
    ~Lab();
    Lab(const Lab&) = delete;
    Lab& operator=(const Lab&) = delete;

    [[nodiscard]] const Namespace& host(const std::string& name) const;  // `switch` as well
    static const std::vector<std::string>& host_names();

    // Every process of the host ends at once. What the lab supervises there must have been told before.
    void kill_processes(const std::string& host);

    // Cable out of or into the bridge port: the host's interface loses or gets carrier.
    void cable(const std::string& host, const std::string& interface, bool plugged);

    // Everything from and to the host is dropped by the switches, on all cables at one moment: cable() needs
    // milliseconds for each, and a daemon that is still alive would hand over meanwhile.
    void cut_off(const std::string& host, bool cut);

    // What arrives at the host's interface and matches the nftables expression (empty: everything) is dropped, with
    // the given probability. `heal` ends all of that for the host.
    void drop(const std::string& host, const std::string& interface, const std::string& match, unsigned percent = 100);
    void heal(const std::string& host);

    // The interface disappears, as a card pulled out does, and comes back without the addresses that were added to it.
    void remove_interface(const std::string& host, const std::string& interface);
    void restore_interface(const std::string& host, const std::string& interface);
    // Own addresses only: everything that was added is gone, as after a reboot.
    void reset_addresses(const std::string& host);

    // The kernel's view: every address of the host, without prefix length.
    [[nodiscard]] std::set<std::string> addresses(const std::string& host) const;
    [[nodiscard]] bool holds(const std::string& host, const std::string& address) const;
    [[nodiscard]] static std::string mac(const std::string& host, const std::string& interface);

    void ip(const std::string& host, const std::string& batch) const;  // lines for `ip -batch`

  private:
    std::map<std::string, std::unique_ptr<Namespace>> hosts_;
    std::map<std::string, std::set<std::string>> drop_tables_;
    int switch_socket_ = -1;
};

// Heartbeats only, for drop().
inline const char* const heartbeats = "udp dport 6694";

}  // namespace lbcluster::lab
