// Who holds the ports on which this node's daemons listen. Pure: the tables of /proc/net as text, who has which socket,
// and what should be there.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lbcluster/base/address.hpp"

namespace lbcluster::cli {

struct HeldSocket {
    bool udp = false;
    IpAddress address;
    std::uint16_t port = 0;
    std::uint64_t inode = 0;
};
// From /proc/net/tcp, tcp6, udp or udp6; of TCP those that listen. Lines that make no sense are left out.
std::vector<HeldSocket> held_sockets(std::string_view table, bool udp);

struct Holder {
    int pid = 0;  // 0: /proc shows no process that has it
    std::string name;
    std::string command;  // its words, a blank between them
};
using Holders = std::multimap<std::uint64_t, Holder>;  // by inode

// What one of our daemons listens on, for one purpose.
struct OwnPorts {
    bool udp = false;
    std::vector<IpAddress> addresses;  // unspecified: all of its family
    std::uint16_t first = 0;
    std::uint16_t last = 0;
    std::string purpose;   // heartbeats
    std::string daemon;    // the program
    std::string argument;  // that its command line has; another HAProxy is not ours
    bool runs = false;     // it says so
    std::string key;       // of the configuration, for another port
};

struct TakenPorts {
    OwnPorts own;
    std::set<std::pair<IpAddress, std::uint16_t>> places;  // of `own`
    Holder holder;
    bool shared = false;  // our daemon listens there as well
};

// Whether `socket` is there where `own` should be.
bool is_at(const HeldSocket& socket, const OwnPorts& own);
// Those that others hold, one for each holder. A socket without a process is not held against a daemon that runs.
std::vector<TakenPorts> taken_ports(const std::vector<OwnPorts>& own, const std::vector<HeldSocket>& sockets,
                                    const Holders& holders);

}  // namespace lbcluster::cli
