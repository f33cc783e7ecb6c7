#include "lbcluster/net/netlink.hpp"

#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "route_messages.hpp"

namespace lbcluster::net {
namespace {

constexpr int attribute_proto = 11;  // IFA_PROTO, kernel 5.18
constexpr std::uint32_t forever = 0xffffffff;
// Requests in one system call. Their failures must fit into the receive buffer before we read.
constexpr std::size_t window = 64;
constexpr std::size_t receive_bytes = 65536;
// A dump that others' changes interrupted is read again; each takes about a millisecond per thousand addresses.
constexpr int dump_tries = 50;
constexpr auto answer_within = 1s;

Error system_error(const std::string& what, int code) {
    return Error{what + ": " + std::strerror(code), code == EPERM ? "heartbeatd needs CAP_NET_ADMIN" : "", code};
}

// CLOCK_MONOTONIC: only to bound the time of one call.
std::chrono::nanoseconds monotonic() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return seconds(now.tv_sec) + nanoseconds(now.tv_nsec);
}

template <class T>
void append(std::vector<char>& out, const T& value) {
    const std::size_t at = out.size();
    out.resize(at + NLMSG_ALIGN(sizeof(T)));
    std::memcpy(out.data() + at, &value, sizeof(T));
}

void append_attribute(std::vector<char>& out, std::uint16_t type, const void* data, std::size_t bytes) {
    const nlattr header{static_cast<std::uint16_t>(sizeof(nlattr) + bytes), type};
    append(out, header);
    const std::size_t at = out.size();
    out.resize(at + NLA_ALIGN(bytes));
    std::memcpy(out.data() + at, data, bytes);
}

void append_change(std::vector<char>& out, const AddressChange& change, bool add, bool acknowledge,
                   std::uint32_t sequence) {
    const std::size_t start = out.size();
    nlmsghdr header{};
    header.nlmsg_type = add ? RTM_NEWADDR : RTM_DELADDR;
    header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | (acknowledge ? NLM_F_ACK : 0) |
                                                    (add ? NLM_F_CREATE | NLM_F_REPLACE : 0));
    header.nlmsg_seq = sequence;
    append(out, header);

    const bool v4 = change.prefix.address.is_v4();
    ifaddrmsg info{};
    info.ifa_family = v4 ? AF_INET : AF_INET6;
    info.ifa_prefixlen = change.prefix.length;
    info.ifa_scope = RT_SCOPE_UNIVERSE;
    info.ifa_index = static_cast<unsigned>(change.ifindex);
    append(out, info);

    const auto ip = change.prefix.address.bytes();
    append_attribute(out, IFA_LOCAL, ip.data(), ip.size());
    append_attribute(out, IFA_ADDRESS, ip.data(), ip.size());
    if (add) {
        const std::uint32_t flags = IFA_F_NOPREFIXROUTE | (v4 ? 0U : static_cast<unsigned>(IFA_F_NODAD));
        append_attribute(out, IFA_FLAGS, &flags, sizeof(flags));
        ifa_cacheinfo lifetimes{};
        lifetimes.ifa_valid = change.lease.count() > 0 ? static_cast<std::uint32_t>(change.lease.count()) : forever;
        // IPv6: deprecated (RFC 4862, section 5.5.4), so that the kernel takes another address, where there is one, as
        // the source of its own connections (RFC 6724, rule 3). Answers are not touched by that. IPv4 knows no such
        // rule.
        lifetimes.ifa_prefered = v4 ? lifetimes.ifa_valid : 0;
        append_attribute(out, IFA_CACHEINFO, &lifetimes, sizeof(lifetimes));
        append_attribute(out, attribute_proto, &address_protocol_ours, sizeof(address_protocol_ours));
    }
    const auto length = static_cast<std::uint32_t>(out.size() - start);
    std::memcpy(out.data() + start, &length, sizeof(length));  // nlmsg_len is the first field
}

Result<void> change_result(const AddressChange& change, bool add, int code) {
    if (code == 0 || (add && code == EEXIST)) return {};
    // The address or its interface is gone: what was asked for is so.
    if (!add && (code == EADDRNOTAVAIL || code == ENODEV)) return {};
    return system_error(std::string(add ? "cannot add " : "cannot remove ") + change.prefix.to_string() +
                            (add ? " to " : " from ") + change.interface,
                        code);
}

// The kernel's code of an NLMSG_ERROR or NLMSG_DONE message; 0 is success.
int error_code(nlmsghdr* message) {
    int code = 0;
    if (nlmsg_datalen(message) < static_cast<int>(sizeof(code))) return message->nlmsg_type == NLMSG_DONE ? 0 : EBADMSG;
    std::memcpy(&code, nlmsg_data(message), sizeof(code));
    return -code;
}

// One datagram of the kernel into `buffer`; bytes, or an errno as a negative number.
int receive(int fd, std::vector<char>& buffer) {
    sockaddr_nl from{};
    iovec part{buffer.data(), buffer.size()};
    msghdr header{};
    header.msg_name = &from;
    header.msg_namelen = sizeof(from);
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    const ssize_t bytes = ::recvmsg(fd, &header, 0);
    if (bytes < 0) return errno == EAGAIN ? -ETIMEDOUT : -errno;
    if ((header.msg_flags & MSG_TRUNC) != 0) return -EMSGSIZE;
    return from.nl_pid == 0 ? static_cast<int>(bytes) : 0;
}

}  // namespace

bool Address::duplicate() const { return (flags & IFA_F_DADFAILED) != 0; }
bool Address::tentative() const { return (flags & IFA_F_TENTATIVE) != 0; }

Result<Netlink> Netlink::open() {
    const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return system_error("cannot open a netlink socket", errno);
    Netlink netlink(fd);
    netlink.buffer_.resize(receive_bytes);
    const timeval timeout{1, 0};
    const int on = 1;
    const int bytes = 1 << 20;
    sockaddr_nl local{};
    local.nl_family = AF_NETLINK;
    if (::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0 ||
        ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0 ||
        ::setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)) != 0 ||
        ::bind(fd, reinterpret_cast<const sockaddr*>(&local), sizeof(local)) != 0)
        return system_error("cannot set up a netlink socket", errno);
    // Best effort: without the right to force it the default of 208 KiB still holds a window of answers.
    if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0)
        (void)::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    return netlink;
}

std::uint32_t Netlink::port() const {
    sockaddr_nl own{};
    socklen_t bytes = sizeof(own);
    return ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&own), &bytes) == 0 ? own.nl_pid : 0;
}

// True: complete. False: something changed meanwhile (NLM_F_DUMP_INTR), the dump may have gaps.
template <class Handler>
Result<bool> Netlink::dump_once(std::uint16_t type, Handler handler) {
    const std::uint32_t sequence = ++sequence_;
    std::vector<char> request;
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.nlmsg_seq = sequence;
    append(request, header);
    request.resize(request.size() + NLMSG_ALIGN(sizeof(ifinfomsg)));  // all zero: every family, every interface
    if (type == RTM_GETLINK) {
        const std::uint32_t mask = RTEXT_FILTER_SKIP_STATS;
        append_attribute(request, IFLA_EXT_MASK, &mask, sizeof(mask));
    }
    const auto length = static_cast<std::uint32_t>(request.size());
    std::memcpy(request.data(), &length, sizeof(length));
    if (::send(fd_.get(), request.data(), request.size(), 0) < 0) return system_error("cannot ask netlink", errno);

    bool complete = true;
    const auto give_up = monotonic() + answer_within;
    while (monotonic() < give_up) {
        int left = receive(fd_.get(), buffer_);
        if (left < 0) return system_error("cannot read netlink's answer", -left);
        for (auto* message = reinterpret_cast<nlmsghdr*>(buffer_.data()); nlmsg_ok(message, left) != 0;
             message = nlmsg_next(message, &left)) {
            if (message->nlmsg_seq != sequence) continue;  // left over from a request that ran out of time
            if ((message->nlmsg_flags & NLM_F_DUMP_INTR) != 0) complete = false;
            if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) {
                const int code = error_code(message);
                if (code != 0) return system_error("netlink dump failed", code);
                return complete;
            }
            handler(message);
        }
    }
    return system_error("netlink dump", ETIMEDOUT);
}

template <class Handler>
Result<void> Netlink::dump(std::uint16_t type, Handler handler) {
    for (int i = 0; i < dump_tries; ++i) {
        const auto complete = dump_once(type, handler);
        if (!complete) return complete.error();
        if (*complete) return {};
        handler(nullptr);  // start again
    }
    return system_error("netlink dump changed while it was read", EAGAIN);
}

Result<std::vector<Link>> Netlink::links() {
    std::vector<Link> out;
    const auto result = dump(RTM_GETLINK, [&](nlmsghdr* message) {
        if (message == nullptr) return out.clear();
        if (message->nlmsg_type != RTM_NEWLINK) return;
        if (auto link = parse_link(message)) out.push_back(std::move(*link));
    });
    if (!result) return result.error();
    return out;
}

Result<std::vector<Address>> Netlink::addresses() {
    std::vector<Address> out;
    const auto result = dump(RTM_GETADDR, [&](nlmsghdr* message) {
        if (message == nullptr) return out.clear();
        if (message->nlmsg_type != RTM_NEWADDR) return;
        if (const auto address = parse_address(message)) out.push_back(*address);
    });
    if (!result) return result.error();
    return out;
}

Result<std::vector<Neighbor>> Netlink::neighbors() {
    std::vector<Neighbor> out;
    const auto result = dump(RTM_GETNEIGH, [&](nlmsghdr* message) {
        if (message == nullptr) return out.clear();
        if (message->nlmsg_type != RTM_NEWNEIGH) return;
        if (const auto neighbor = parse_neighbor(message)) out.push_back(*neighbor);
    });
    if (!result) return result.error();
    return out;
}

std::vector<Result<void>> Netlink::add(std::span<const AddressChange> changes) { return change(changes, true); }
std::vector<Result<void>> Netlink::remove(std::span<const AddressChange> changes) { return change(changes, false); }

std::vector<Result<void>> Netlink::change(std::span<const AddressChange> changes, bool add) {
    std::vector<Result<void>> results(changes.size());
    for (std::size_t at = 0; at < changes.size(); at += window) {
        const std::size_t count = std::min(window, changes.size() - at);
        const auto part = std::span(results).subspan(at, count);
        if (const auto sent = send_changes(changes.subspan(at, count), add, part); !sent) {
            for (std::size_t i = at; i < changes.size(); ++i) results[i] = sent.error();
            break;
        }
    }
    return results;
}

Result<void> Netlink::send_changes(std::span<const AddressChange> changes, bool add, std::span<Result<void>> results) {
    std::vector<char> request;
    request.reserve(changes.size() * 112);
    const std::uint32_t first = sequence_ + 1;
    for (const auto& change : changes) {
        append_change(request, change, add, &change == &changes.back(), ++sequence_);
    }
    if (::send(fd_.get(), request.data(), request.size(), 0) < 0) return system_error("cannot ask netlink", errno);

    // The kernel works in order, and tells of a failure also where no acknowledgement was asked for: the answer to the
    // last one is the last answer. If it cannot tell, receive() fails with ENOBUFS.
    bool answered = false;
    const auto give_up = monotonic() + answer_within;
    while (!answered) {
        int left = monotonic() < give_up ? receive(fd_.get(), buffer_) : -ETIMEDOUT;
        if (left < 0) return system_error("cannot read netlink's answer", -left);
        for (auto* message = reinterpret_cast<nlmsghdr*>(buffer_.data()); nlmsg_ok(message, left) != 0;
             message = nlmsg_next(message, &left)) {
            const std::uint32_t index = message->nlmsg_seq - first;
            if (message->nlmsg_type != NLMSG_ERROR || index >= changes.size()) continue;
            results[index] = change_result(changes[index], add, error_code(message));
            answered = answered || index + 1 == changes.size();
        }
    }
    return {};
}

}  // namespace lbcluster::net
