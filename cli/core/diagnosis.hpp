// What is wrong with this node and its layer-4 services, and the commands that cure it. Pure: facts in, findings out.
//
// Facts are what the shell saw: the daemons' states, the kernel's connections, answers to its own probes. A probe that
// was not made leaves its fact empty, and the finding is then a probable cause with the test that decides it. One fault
// gives one finding: a server that cannot be reached at all is not told to have the ARP problem as well.
//
// The probes that decide (docs/diagnose.md says how they are made):
//   reach     a connection from this node to the server's own address and port
//   vip       DR: a first TCP segment for the virtual address, put into the server's hands by its MAC address
//   gateway   NAT: one from the virtual address: does the answer come back through this node?
//   answers   whose MAC addresses answer ARP or neighbour discovery for the virtual address
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/core/connections.hpp"
#include "lbcluster/base/address.hpp"

namespace lbcluster::cli {

enum class Severity : std::uint8_t { info, warning, alarm };  // info: nothing is wrong
std::string_view word_of(Severity severity);

struct Finding {
    std::string id;  // stable word
    Severity severity = Severity::warning;
    std::string service;  // label; empty: of the node
    std::string server;   // label; empty: of the service
    std::string text;
    std::string action;  // commands, and what to look at; a line each
};

// What became of a TCP segment that asks for a connection.
enum class Answer : std::uint8_t { untried, accepted, refused, silent, unreachable };

enum class Forwarding : std::uint8_t { dr, nat, snat, tun };
std::string_view word_of(Forwarding method);

struct ServerFacts {
    std::string label;
    Endpoint at;
    bool offline = false;  // by the operator's wish: drain or halt
    std::string health;    // up | down | standby | unknown; empty: healthd does not tell
    std::string reason;
    bool overdue = false;
    ServerCounts seen;
    Answer reach = Answer::untried;
    Answer vip = Answer::untried;      // DR
    Answer gateway = Answer::untried;  // NAT; accepted: answers come back through this node
    bool on_link = true;               // in a network of this node
};

struct HeldAddress {
    std::string interface;
    bool deprecated = false;  // never the source of what this node sends itself
    bool duplicate = false;   // IPv6: another machine has it
};

struct ForeignAnswer {
    MacAddress mac;
    std::string server;  // label of the real server with this MAC; empty: somebody else
};

struct ServiceFacts {
    std::string label;
    IpAddress address;
    bool tcp = true;
    std::uint16_t port = 0;  // that was probed; 0: none
    Forwarding method = Forwarding::dr;
    bool floating = true;        // it has a floating IP that is switched on
    std::string floating_error;  // heartbeatd cannot hold it
    std::optional<HeldAddress> held;
    std::vector<ForeignAnswer> answers;
    std::string state;  // served | fallback | empty | failed; empty: forwarderd does not tell
    std::string error;
    std::vector<ServerFacts> servers;
};

struct DaemonFacts {
    std::string name;
    std::string trouble;  // why it does not answer; empty: it does
};

struct AlarmFacts {
    std::string id;
    std::string text;
    std::string action;
};

struct SysctlFacts {
    std::string name;
    std::string value;
    std::string wanted;
    std::string reason;
};

struct Facts {
    bool layer4 = false;       // an enabled service of layer 4 is configured
    bool whole_node = true;    // not one service alone
    bool config_told = false;  // that the files are not valid: their alarms say the same
    std::string no_ipvs;       // why this kernel has none; empty: it has
    bool active = false;       // heartbeatd says so, or it does not say and this node holds the addresses
    std::string activity;      // heartbeatd's word; empty: it does not answer
    std::vector<DaemonFacts> daemons;
    std::vector<AlarmFacts> alarms;
    std::vector<SysctlFacts> sysctls;
    std::vector<IpPrefix> networks;  // of this node
    std::vector<ServiceFacts> services;
};

// In the order of looking: node, services as configured, their servers.
std::vector<Finding> judge(const Facts& facts);

// Only what the connections and the probes of this server tell, for `lbcluster connections` as well.
std::optional<Finding> judge_traffic(const ServiceFacts& service, const ServerFacts& server,
                                     const std::vector<IpPrefix>& networks);

}  // namespace lbcluster::cli
