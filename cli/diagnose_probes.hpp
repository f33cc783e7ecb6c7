// What `lbcluster diagnose` asks the network, each question many times at once. Blocks until the answers are there, at
// most a second or two. Nothing here changes anybody's ARP cache or opens a connection that an application sees longer
// than a moment.
//
//   addresses    ARP probe (RFC 5227) or neighbour solicitation of duplicate address detection (RFC 4862): whose MAC
//                addresses answer for an address; our own do not
//   segments     a TCP segment with SYN (RFC 9293), made by hand and sent to a MAC address, so that the destination may
//                be an address that this node has itself; what answers from there is ended by a reset
//   connections  an ordinary connection
//
// The first two need CAP_NET_RAW: EPERM without.
#pragma once

#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "cli/core/connections.hpp"
#include "cli/core/diagnosis.hpp"
#include "lbcluster/base/address.hpp"
#include "lbcluster/base/result.hpp"

namespace lbcluster::cli {

struct AddressQuestion {
    int ifindex = 0;
    MacAddress from;
    IpAddress address;
};
using AddressAnswers = std::map<std::pair<int, IpAddress>, std::set<MacAddress>>;  // by interface and address
Result<AddressAnswers> ask_addresses(std::span<const AddressQuestion> questions);

struct SegmentQuestion {
    int ifindex = 0;
    MacAddress from_mac;
    MacAddress to_mac;  // the answer must come from there, too
    IpAddress from;
    Endpoint to;
    IpAddress neighbor;  // of to_mac: who is told first where `from` is
    bool tell = true;    // false: `from` is found by other ways, or must not be told
};
// accepted, refused or silent; one for each question.
Result<std::vector<Answer>> ask_segments(std::span<const SegmentQuestion> questions);

// One for each endpoint.
std::vector<Answer> ask_connections(std::span<const Endpoint> endpoints);

}  // namespace lbcluster::cli
