// Links, addresses and neighbours of the kernel by rtnetlink (RFC 3549): ask and change. Events are in monitor.hpp.
//
// Each Netlink has a socket of its own and is used by one thread. Calls block until the kernel has answered, at
// most about a second, so they are not for the heartbeat thread after the start. Changes travel many in one system
// call; the kernel works on them in order and tells which ones failed. Everything is idempotent: adding what is there
// replaces its lifetime, removing what is not there succeeds.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lbcluster/base/address.hpp"
#include "lbcluster/base/descriptor.hpp"
#include "lbcluster/base/result.hpp"
#include "lbcluster/base/time.hpp"

namespace lbcluster::net {

// IFA_PROTO of the addresses we add (kernel 5.18 and newer): what is ours can be known after a crash.
inline constexpr std::uint8_t address_protocol_ours = 0x4c;

struct Link {
    int index = 0;
    std::string name;
    bool up = false;       // administratively (IFF_UP)
    bool carrier = false;  // IFF_LOWER_UP
    bool ethernet = false;
    MacAddress mac;
    bool operator==(const Link&) const = default;
};

struct Address {
    int ifindex = 0;
    IpPrefix prefix;
    std::optional<seconds> valid;  // what is left, rounded by the kernel; none: for ever
    std::uint32_t flags = 0;       // IFA_F_*
    std::uint8_t protocol = 0;     // IFA_PROTO, 0 where unknown

    [[nodiscard]] bool ours() const { return protocol == address_protocol_ours; }
    [[nodiscard]] bool duplicate() const;  // IFA_F_DADFAILED
    [[nodiscard]] bool tentative() const;  // IFA_F_TENTATIVE: does not answer yet
};

struct Neighbor {
    int ifindex = 0;
    IpAddress ip;
    MacAddress mac;
};

struct AddressChange {
    int ifindex = 0;
    std::string interface;  // for messages
    IpPrefix prefix;
    seconds lease{0};  // valid_lft; 0: for ever. Ignored by remove().
};

class Netlink {
  public:
    static Result<Netlink> open();

    // Names this socket in the events of what it changes; 0: unknown.
    [[nodiscard]] std::uint32_t port() const;

    Result<std::vector<Link>> links();
    Result<std::vector<Address>> addresses();
    // Only entries with a usable MAC.
    Result<std::vector<Neighbor>> neighbors();

    // One answer per change, in order. Scope global, no prefix route, no broadcast; IPv6 without duplicate
    // detection and never preferred as a source address.
    std::vector<Result<void>> add(std::span<const AddressChange> changes);
    std::vector<Result<void>> remove(std::span<const AddressChange> changes);

  private:
    explicit Netlink(int fd) : fd_(fd) {}
    std::vector<Result<void>> change(std::span<const AddressChange> changes, bool add);
    Result<void> send_changes(std::span<const AddressChange> changes, bool add, std::span<Result<void>> results);
    template <class Handler>
    Result<void> dump(std::uint16_t type, Handler handler);
    template <class Handler>
    Result<bool> dump_once(std::uint16_t type, Handler handler);

    Descriptor fd_;
    std::uint32_t sequence_ = 0;
    std::vector<char> buffer_;
};

}  // namespace lbcluster::net
