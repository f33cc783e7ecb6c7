// What goes into the heartbeat core and what comes out of it. Plain values; no clock, socket, thread, file
// or log anywhere in core/. All `Instant`s are points on one monotonic clock that the shell chooses
// (CLOCK_BOOTTIME in heartbeatd, simulated time in the simulator).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "lbcluster/base/address.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/heartbeat.pb.h"

namespace lbcluster::heartbeat {

inline constexpr std::uint32_t protocol_version = 1;

enum class Isolation { auto_, strict, hold };
enum class AddressProbe { arp, arp_echo, off };
enum class LinkKind { udp, serial };

struct LinkSettings {
    std::string name;  // for people: "eth0 10.77.0.11-10.77.0.12", "/dev/ttyS0"
    LinkKind kind = LinkKind::udp;
    std::string interface;  // whose carrier tells about this path; empty for a serial line
};

struct FloatingIp {
    IpPrefix address;
    std::string interface;  // the real one on this node
    std::string label;
    auto operator<=>(const FloatingIp&) const = default;
};

// The effective configuration; every field is filled. Rules between the timers were checked by the loader.
struct Settings {
    std::string node;
    bool primary = true;
    std::string cluster_id;           // 16 bytes, empty without a peer
    std::vector<LinkSettings> links;  // empty: no peer
    Duration keepalive{100ms};
    Duration warntime{300ms};
    Duration deadtime{1s};
    Duration initdead{5s};
    bool auto_failback = false;
    Duration failback_delay{60s};
    Isolation isolation = Isolation::auto_;
    AddressProbe address_probe = AddressProbe::arp;
    Duration vip_lease{3s};  // 0: off
    std::vector<IpAddress> ping_nodes;
    std::vector<FloatingIp> floating_ips;
    std::uint64_t config_revision = 0;
    std::uint64_t config_digest = 0;

    [[nodiscard]] bool has_peer() const { return !links.empty(); }
};

// The right by which a node holds the addresses; see heartbeat.proto.
struct ClaimValue {
    std::uint64_t term = 0;
    bool primary = false;
    std::string node;
};
// True if `a` beats `b`: higher term, then primary, then the lower name.
bool beats(const ClaimValue& a, const ClaimValue& b);

struct InterfaceFact {
    std::string name;
    bool carrier = false;
    MacAddress mac;
};

// What the worker says about the floating IPs in the kernel (verified by reading them back).
struct AddressReport {
    std::uint64_t epoch = 0;      // of the SetAddresses it answers
    bool complete = false;        // every address is as wanted (or in `failed`)
    bool lapsed = false;          // a lease ended while we were not looking; nothing was put back
    std::vector<IpAddress> held;  // in the kernel now
    std::vector<std::pair<IpAddress, std::string>> failed;  // could not be added, and why
    bool others_here = false;  // some of `failed` because this machine has them without us: it answers for them
    std::vector<IpAddress> removed_by_others;
};

enum class CommandKind { activate, standby, unstandby, restart };
struct Command {
    CommandKind kind = CommandKind::activate;
    std::uint64_t id = 0;  // given back in Answer
    bool force = false;
};

// ---- actions ----

struct SendHeartbeat {
    std::uint32_t link = 0;
    Heartbeat message;
};
// The floating IPs shall be in the kernel, or not. Level: the newest one counts.
struct SetAddresses {
    std::uint64_t epoch = 0;
    bool wanted = false;
    bool announce = false;             // announce each address as soon as it is there
    std::vector<IpAddress> held_back;  // all the same not these: a stranger may use them (conflict_check.hpp)
    bool adopted = false;  // they were in the kernel at the start: what has gone since is lapsed, not put back
};
// Leases may be renewed until then: a heartbeat went out.
struct PermitLease {
    Instant until;
};
// All floating IPs. The first round goes out at once, unless it is `paced` like the repeats.
struct Announce {
    bool paced = false;
};
struct SendPing {
    std::size_t index = 0;  // into Settings::ping_nodes
};
struct SendProbe {
    std::vector<IpAddress> addresses;
    bool echo = false;
};
struct StoreTerm {
    std::uint64_t term = 0;  // terms up to this one may be used
};
struct StoreStandby {
    bool standby = false;
};
enum class Severity { info, warning, alarm };
struct Note {
    std::string kind;
    Severity severity = Severity::info;
    std::string text;
    std::map<std::string, std::string> inputs;
};
struct Answer {
    std::uint64_t id = 0;
    unsigned exit_code = 0;  // as the CLI's
    std::string message;
    std::string hint;
};
struct Restart {};  // start this program anew; the addresses stay in the kernel and are adopted
struct Stop {};     // orderly end: everything is released

using Action = std::variant<SendHeartbeat, SetAddresses, PermitLease, Announce, SendPing, SendProbe, StoreTerm,
                            StoreStandby, Note, Answer, Restart, Stop>;
using Actions = std::vector<Action>;

}  // namespace lbcluster::heartbeat
