#include "route_messages.hpp"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <array>
#include <cstring>

namespace lbcluster::net {
namespace {

constexpr int attribute_proto = 11;  // IFA_PROTO, newer than Debian 12's headers promise
constexpr std::uint32_t forever = 0xffffffff;

template <std::size_t N>
using Attributes = std::array<nlattr*, N>;

template <std::size_t N>
bool parse(nlmsghdr* message, std::size_t header_bytes, Attributes<N>& out) {
    out.fill(nullptr);
    if (nlmsg_valid_hdr(message, static_cast<int>(header_bytes)) == 0) return false;
    return nlmsg_parse(message, static_cast<int>(header_bytes), out.data(), static_cast<int>(N) - 1, nullptr) == 0;
}

std::optional<IpAddress> get_ip(const nlattr* attribute, int family) {
    if (attribute == nullptr) return std::nullopt;
    if (family == AF_INET && nla_len(attribute) == 4) {
        std::array<std::uint8_t, 4> bytes{};
        std::memcpy(bytes.data(), nla_data(attribute), bytes.size());
        return IpAddress::v4(bytes);
    }
    if (family == AF_INET6 && nla_len(attribute) == 16) {
        std::array<std::uint8_t, 16> bytes{};
        std::memcpy(bytes.data(), nla_data(attribute), bytes.size());
        return IpAddress::v6(bytes);
    }
    return std::nullopt;
}

MacAddress get_mac(const nlattr* attribute) {
    MacAddress mac;
    if (attribute != nullptr && nla_len(attribute) == static_cast<int>(mac.bytes.size()))
        std::memcpy(mac.bytes.data(), nla_data(attribute), mac.bytes.size());
    return mac;
}

}  // namespace

std::optional<Link> parse_link(nlmsghdr* message) {
    Attributes<IFLA_MAX + 1> attributes{};
    if (!parse(message, sizeof(ifinfomsg), attributes)) return std::nullopt;
    const auto* info = static_cast<const ifinfomsg*>(nlmsg_data(message));
    // Bridge ports are also told with family AF_BRIDGE; that is about the port, not about the interface.
    if (info->ifi_family != AF_UNSPEC || attributes[IFLA_IFNAME] == nullptr) return std::nullopt;
    Link link;
    link.index = info->ifi_index;
    const auto* name = static_cast<const char*>(nla_data(attributes[IFLA_IFNAME]));
    link.name.assign(name, strnlen(name, static_cast<std::size_t>(nla_len(attributes[IFLA_IFNAME]))));
    link.up = (info->ifi_flags & IFF_UP) != 0;
    link.carrier = (info->ifi_flags & IFF_LOWER_UP) != 0;
    link.ethernet = info->ifi_type == ARPHRD_ETHER;
    link.mac = get_mac(attributes[IFLA_ADDRESS]);
    return link;
}

std::optional<Address> parse_address(nlmsghdr* message) {
    Attributes<attribute_proto + 1> attributes{};
    if (!parse(message, sizeof(ifaddrmsg), attributes)) return std::nullopt;
    const auto* info = static_cast<const ifaddrmsg*>(nlmsg_data(message));
    // IFA_LOCAL is the interface's address, IFA_ADDRESS the peer's on point-to-point links; IPv6 mostly has one.
    auto ip = get_ip(attributes[IFA_LOCAL], info->ifa_family);
    if (!ip) ip = get_ip(attributes[IFA_ADDRESS], info->ifa_family);
    if (!ip) return std::nullopt;
    Address address;
    address.ifindex = static_cast<int>(info->ifa_index);
    address.prefix = IpPrefix{*ip, info->ifa_prefixlen};
    address.flags = info->ifa_flags;
    if (attributes[IFA_FLAGS] != nullptr && nla_len(attributes[IFA_FLAGS]) >= 4)
        address.flags = nla_get_u32(attributes[IFA_FLAGS]);
    if (const nlattr* cache = attributes[IFA_CACHEINFO];
        cache != nullptr && nla_len(cache) >= static_cast<int>(sizeof(ifa_cacheinfo))) {
        ifa_cacheinfo lifetimes{};
        std::memcpy(&lifetimes, nla_data(cache), sizeof(lifetimes));
        if (lifetimes.ifa_valid != forever) address.valid = seconds(lifetimes.ifa_valid);
    }
    if (attributes[attribute_proto] != nullptr && nla_len(attributes[attribute_proto]) >= 1)
        address.protocol = nla_get_u8(attributes[attribute_proto]);
    return address;
}

std::optional<Neighbor> parse_neighbor(nlmsghdr* message) {
    Attributes<NDA_MAX + 1> attributes{};
    if (!parse(message, sizeof(ndmsg), attributes)) return std::nullopt;
    const auto* info = static_cast<const ndmsg*>(nlmsg_data(message));
    constexpr int usable = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT;
    if ((info->ndm_state & usable) == 0) return std::nullopt;
    const auto ip = get_ip(attributes[NDA_DST], info->ndm_family);
    const MacAddress mac = get_mac(attributes[NDA_LLADDR]);
    if (!ip || mac.is_zero()) return std::nullopt;
    return Neighbor{info->ndm_ifindex, *ip, mac};
}

}  // namespace lbcluster::net
