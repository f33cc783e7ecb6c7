// From the checked configuration and this machine's interfaces to what core and links need. No files, no sockets.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "heartbeat/core/types.hpp"
#include "lbcluster/config/load.hpp"
#include "lbcluster/net/netlink.hpp"

namespace lbcluster::heartbeat {

// One heartbeat path as the shell opens it; same order as Settings::links.
struct LinkSetup {
    LinkKind kind = LinkKind::udp;
    std::string name;
    std::string interface;  // UDP: real name; not `bound`: the one that has `local` now, may be empty
    bool bound = false;     // the configuration names it: nothing may come or go by another one
    IpAddress local;
    IpAddress peer;
    std::string device;  // serial
    unsigned baud = 115200;

    // As configured, wherever `local` is just now.
    [[nodiscard]] bool same_path(const LinkSetup& other) const;
};

struct Setup {
    Settings settings;
    std::vector<LinkSetup> links;
    std::uint16_t port = 6694;
    std::uint32_t announce_rate = 800;
    Duration announce_refresh = 60s;
    std::string log_level = "info";
    std::string digest;  // hex
    // Floating IPs that wait for an interface with their network: an address of a virtual service may.
    std::vector<std::string> without_interface;
    std::size_t services = 0;  // enabled

    // What only a new start of the process can change.
    [[nodiscard]] bool needs_restart(const Setup& next) const;
};

// Interfaces with their own addresses: floating IPs that a heartbeatd put there are left out.
config::Facts facts_of(const std::vector<net::Link>& links, const std::vector<net::Address>& addresses);

// `loaded` must be ok(), or have momentary errors only. `cluster_id`: 16 bytes, empty without a key.
Setup make_setup(const config::LoadResult& loaded, const config::Facts& facts, const std::string& cluster_id);

}  // namespace lbcluster::heartbeat
