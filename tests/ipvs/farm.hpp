// A farm of real servers for tests of layer 4, on top of the lab's network (lab.hpp): servers prepared for a forwarding
// method as an operator would prepare them, and a client behind a router.
//
//   server network, eth2, 10.80.0.0/24 and fd80::/64: lb1 .11, lb2 .12, rs1 .21, rs2 .22 (floating gateways from .200)
//   outside, behind the lab's gw, 10.79.0.0/24 and fd79::/64: gw .1, remote .100
//
// DR, TUN and SNAT reach a server on the LAN, NAT on the server network: there what it answers goes through the
// balancer, its default gateway, even to a client on the LAN. A server can be prepared for several methods at once.
// Nothing is done on lb1 and lb2 but their addresses: that is the balancer's work, or the test's.
//
// What runs on the servers: name_service.hpp tells who answered and whom it saw, tests/lab/tcp.hpp has long
// connections, tests/lab/backend.hpp servers that misbehave.
#pragma once

#include <string>

#include "tests/lab/lab.hpp"

namespace lbcluster::lab {

enum class Method { dr, nat, snat, tun };
enum class Family { v4, v6 };

Family family_of(const std::string& address);

class Farm {
  public:
    explicit Farm(Lab& lab);

    // Makes the server ready to be reached through the virtual address by the method; says by which of its addresses
    // the balancer shall know it. The gateway of NAT is lb1 unless another is named.
    [[nodiscard]] std::string prepare(const std::string& server, Method method, const std::string& virtual_address,
                                      const std::string& gateway = "") const;

    // The balancer gets or loses a floating IP, as heartbeatd would do it, but without announcing it.
    void hold(const std::string& balancer, const std::string& address) const;
    void release(const std::string& balancer, const std::string& address) const;

    // A client that is not on the LAN.
    [[nodiscard]] const Namespace& remote() const { return remote_; }

    // The host's own address. Those of `remote` are outside.
    [[nodiscard]] static std::string lan_address(const std::string& host, Family family);
    [[nodiscard]] static std::string server_address(const std::string& host, Family family);

    void set(const std::string& host, const std::string& sysctl, const std::string& value) const;  // "net/ipv4/..."

  private:
    void answer_no_arp(const std::string& server) const;
    void route_through(const std::string& server, const std::string& gateway) const;

    Lab& lab_;
    Namespace remote_;
};

}  // namespace lbcluster::lab
