// What the verbs about layer 4 share (connections, diagnose, arp-fix): the configuration as cli/core/ wants it, and the
// kernel's table of connections.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cli/core/connections.hpp"
#include "cli/core/diagnosis.hpp"
#include "context.hpp"
#include "lbcluster/config.pb.h"
#include "lbcluster/state.pb.h"

namespace lbcluster::cli {

// Enabled and of layer 4.
bool is_layer4(const config::VirtualService& service);
Forwarding forwarding_of(const config::VirtualService& service);
// The service as its connections are told by; `mark` 0: not known.
KnownService known_service(const config::VirtualService& service, std::uint32_t mark);
// The service without what has to be looked at.
ServiceFacts plain_facts(const config::VirtualService& service);
// The networks this machine is in: no loopback, no single addresses.
std::vector<IpPrefix> own_networks(const Context& context);

// What forwarderd tells of the services, by label; empty if it does not answer.
using ForwardServices = std::map<std::string, bus::ForwardService>;
Result<ForwardServices> forward_services(const Context& context);

// {id, severity, service, server, text, action}
Json finding_json(const Finding& finding);

// Puts the table of this network namespace into `tally`, piece by piece. ENOENT: this kernel has no IPVS.
Result<void> read_connections(Tally& tally);

}  // namespace lbcluster::cli
