// A machine with its kernel: interfaces with addresses of their own, floating IPs with lifetimes, answers to ARP,
// neighbour discovery and pings, and a neighbour cache that learns as Linux does (RFC 826, RFC 4861; gratuitous ARP
// changes an entry that exists). Nodes, routers and clients are all of this kind.
//
// It outlives the daemon: killing that changes nothing here, a floating IP goes when its lifetime ends. Switching off
// clears it. A paused machine does nothing at all, its timers are late afterwards.
//
// Time: its clock may drift; now() and lifetimes are by that clock.
#pragma once

#include <ns3/node.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/world/clock.hpp"
#include "sim/world/frames.hpp"
#include "sim/world/network.hpp"

namespace lbcluster::sim {

class Machine {
  public:
    // Where something changed that others may want to look at.
    struct Hooks {
        std::function<void()> addresses_changed;  // floating IPs of this kernel, or whether it answers at all
        std::function<void()> cache_changed;
    };
    // What a program of this machine has open.
    struct Sockets {
        std::function<void(std::size_t interface, const IpAddress& from, const IpAddress& to, ByteView payload)> udp;
        std::uint16_t udp_port = 0;
        std::function<void(const net::Echo&)> echo_reply;                // ping socket
        std::function<void(std::size_t interface, ByteView frame)> raw;  // ARP, advertisements, echo replies
        std::function<void()> interfaces_changed;                        // netlink
        std::function<void(const IpPrefix&)> address_gone;               // netlink
    };

    Machine(std::string name, std::uint64_t seed);

    [[nodiscard]] const std::string& name() const { return name_; }
    void plug_in(Network& network, const std::string& interface, std::vector<IpPrefix> addresses);
    Hooks hooks;

    // ---- power and time ----
    [[nodiscard]] bool powered() const { return powered_; }
    [[nodiscard]] bool paused() const { return paused_; }
    [[nodiscard]] bool works() const { return powered_ && !paused_; }
    void power_on();
    void power_off();
    void pause();
    void resume();
    void set_drift(double drift);
    [[nodiscard]] Instant now() const { return clock_base_ + scaled(world_now() - drift_since_); }
    // World time until this machine's clock shows `at`.
    [[nodiscard]] Duration until(Instant at) const;

    // ---- interfaces ----
    struct Interface {
        std::string name;
        Port* port = nullptr;
        std::vector<IpPrefix> addresses;
    };
    [[nodiscard]] const std::vector<Interface>& interfaces() const { return interfaces_; }
    [[nodiscard]] std::optional<std::size_t> interface(const std::string& name) const;
    [[nodiscard]] bool owns(const IpAddress& address) const;

    // ---- floating IPs in the kernel ----
    // False: refused. Without a lifetime it stays. Adding again renews the lifetime.
    bool add_address(std::size_t interface, const IpPrefix& prefix, std::optional<Duration> lifetime);
    void remove_address(const IpPrefix& prefix);
    [[nodiscard]] bool holds(const IpAddress& address) const { return floating_.contains(address); }
    [[nodiscard]] std::size_t floating_count() const { return floating_.size(); }
    [[nodiscard]] std::vector<IpPrefix> floating() const;
    // Its kernel answers for the address on a network where somebody could ask.
    [[nodiscard]] bool answers(const IpAddress& address) const;
    void refuse_addresses(bool on) { refuse_addresses_ = on; }
    void set_lease_late(Duration most) { lease_late_ = most; }

    // ---- network ----
    Sockets sockets;  // emptied when the program ends
    void send_frame(std::size_t interface, ByteView frame);
    // Finds the interface, resolves the neighbour, sends. Nothing happens where there is no way.
    void send_udp(const IpAddress& source, const IpAddress& destination, std::uint16_t port, ByteView payload);
    void send_echo(const IpAddress& destination, std::uint16_t id, std::uint16_t sequence, ByteView payload);
    // Where this machine's cache says that `address` is; empty: not known.
    [[nodiscard]] std::optional<MacAddress> neighbor(const IpAddress& address) const;

  private:
    struct Held {
        std::size_t interface = 0;
        IpPrefix prefix;
        std::optional<Instant> until;
        std::unique_ptr<Timer> end;
    };
    struct Neighbor {
        MacAddress mac;
        bool known = false;
        Instant confirmed{};
        Instant changed{};
        unsigned asked = 0;  // requests without an answer
        bool probing = false;
        std::deque<std::function<void(const MacAddress&)>> waiting;
        std::unique_ptr<Timer> timer;
    };
    using NeighborKey = std::pair<std::size_t, IpAddress>;

    [[nodiscard]] Duration scaled(Duration world) const;
    void on_frame(std::size_t interface, ByteView frame);
    void handle(std::size_t interface, ByteView frame);
    void on_arp(std::size_t interface, const net::ArpPacket& arp);
    void on_solicitation(std::size_t interface, const Solicitation& asked, const MacAddress& from);
    void on_ip(std::size_t interface, const IpPacket& packet, ByteView frame);
    [[nodiscard]] bool local(const IpAddress& address) const { return owns(address) || holds(address); }
    // How far the news counts: `create` where there was no entry; `confirms`: an answer to our own question;
    // `overrides` what has only just changed.
    struct News {
        bool create = false;
        bool confirms = false;
        bool overrides = true;
    };
    void learn(std::size_t interface, const IpAddress& ip, const MacAddress& mac, const News& news);
    void confirm(std::size_t interface, const IpAddress& ip);
    void resolve(std::size_t interface, const IpAddress& ip, std::function<void(const MacAddress&)> then);
    void ask(const NeighborKey& key);
    void ask_later(const NeighborKey& key, Duration wait);
    void end_lease(const IpAddress& address);
    void tell_addresses() const {
        if (hooks.addresses_changed) hooks.addresses_changed();
    }
    struct Way {
        std::size_t interface = 0;
        IpAddress source;
    };
    [[nodiscard]] std::optional<Way> way_to(const IpAddress& destination) const;

    std::string name_;
    Random random_;
    ns3::Ptr<ns3::Node> node_;
    std::vector<Interface> interfaces_;
    std::set<IpAddress> own_;
    std::map<IpAddress, Held> floating_;
    std::map<NeighborKey, Neighbor> neighbors_;
    std::deque<std::pair<std::size_t, Bytes>> ring_;  // frames that came in while paused
    bool powered_ = false;
    bool paused_ = false;
    bool refuse_addresses_ = false;
    Duration lease_late_{200ms};
    double drift_ = 0;
    Instant drift_since_ = beginning;
    Instant clock_base_ = beginning;
};

}  // namespace lbcluster::sim
