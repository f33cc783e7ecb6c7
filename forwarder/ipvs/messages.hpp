// The messages of the generic netlink family IPVS (<linux/ip_vs.h>, net/netfilter/ipvs/ip_vs_ctl.c): built and parsed
// with libnl; no socket. A message that cannot be parsed is none: the kernel is not a stranger, but releases differ.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "forwarder/core/diff.hpp"
#include "forwarder/core/types.hpp"

namespace lbcluster::forward::ipvs {

// What stands in front of every message.
struct Envelope {
    std::uint16_t family = 0;
    std::uint32_t sequence = 0;
    bool acknowledge = true;
};

using Bytes = std::vector<char>;  // one message after the other

void append_step(Bytes& out, const Envelope& envelope, const Step& step);
void append_dump_services(Bytes& out, const Envelope& envelope);
void append_dump_destinations(Bytes& out, const Envelope& envelope, const ServiceKey& service);
void append_dump_daemons(Bytes& out, const Envelope& envelope);
void append_daemon(Bytes& out, const Envelope& envelope, const Sync& sync, bool start);
void append_set_timeouts(Bytes& out, const Envelope& envelope, const Timeouts& timeouts);
void append_get_timeouts(Bytes& out, const Envelope& envelope);
void append_get_info(Bytes& out, const Envelope& envelope);

struct ServiceEntry {
    ServiceKey key;
    ServiceSettings settings;
    Counters counters;
};
struct DestinationEntry {
    Destination destination;
    Counters counters;
};

std::optional<ServiceEntry> parse_service(nlmsghdr* message);
std::optional<DestinationEntry> parse_destination(nlmsghdr* message);
std::optional<Sync> parse_daemon(nlmsghdr* message);
std::optional<Timeouts> parse_timeouts(nlmsghdr* message);
// 1.2.1
std::optional<std::string> parse_version(nlmsghdr* message);

}  // namespace lbcluster::forward::ipvs
