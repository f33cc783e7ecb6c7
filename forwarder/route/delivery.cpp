#include "forwarder/route/delivery.hpp"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>

#include "forwarder/core/types.hpp"

namespace lbcluster::forward::route {

namespace {

using Socket = std::unique_ptr<nl_sock, void (*)(nl_sock*)>;
using Message = std::unique_ptr<nl_msg, void (*)(nl_msg*)>;

// Number of the table, and place of the rule: before the main table's.
constexpr std::uint32_t table_number = 0x4c00;
// Who added it, as `ip rule` and `ip route` show it.
constexpr std::uint8_t protocol_ours = 0x4c;
constexpr timeval answer_within{5, 0};
constexpr int dump_tries = 10;

std::uint8_t family_of(bool v6) { return v6 ? AF_INET6 : AF_INET; }

Error route_error(const std::string& what, bool v6, int error) {
    return Error{"cannot " + what + (v6 ? " (IPv6): " : " (IPv4): ") + nl_geterror(error),
                 error == -NLE_PERM ? "forwarderd needs CAP_NET_ADMIN" : "", EIO};
}

Result<Socket> open() {
    Socket socket(nl_socket_alloc(), nl_socket_free);
    if (!socket) return Error{"no memory for a netlink socket", "", ENOMEM};
    if (const int error = nl_connect(socket.get(), NETLINK_ROUTE); error < 0) {
        return Error{std::string("cannot open a netlink socket: ") + nl_geterror(error), "", EIO};
    }
    const int fd = nl_socket_get_fd(socket.get());
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answer_within, sizeof answer_within);
    // The kernel then tells only of the table that is asked for.
    ::setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
    return socket;
}

Message rule_message(int type, int flags, bool v6) {
    Message message(nlmsg_alloc_simple(type, flags), nlmsg_free);
    fib_rule_hdr header{};
    header.family = family_of(v6);
    if (type != RTM_GETRULE) header.action = FR_ACT_TO_TBL;
    nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO);
    if (type == RTM_GETRULE) return message;
    nla_put_u32(message.get(), FRA_PRIORITY, table_number);
    nla_put_u32(message.get(), FRA_FWMARK, transparent_mark);
    nla_put_u32(message.get(), FRA_TABLE, table_number);
    nla_put_u8(message.get(), FRA_PROTOCOL, protocol_ours);
    return message;
}

Message route_message(int type, int flags, bool v6) {
    Message message(nlmsg_alloc_simple(type, flags), nlmsg_free);
    rtmsg header{};
    header.rtm_family = family_of(v6);
    if (type != RTM_GETROUTE) {
        header.rtm_type = RTN_LOCAL;
        header.rtm_protocol = protocol_ours;
        header.rtm_scope = RT_SCOPE_HOST;
    }
    nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO);
    nla_put_u32(message.get(), RTA_TABLE, table_number);
    if (type != RTM_GETROUTE) nla_put_u32(message.get(), RTA_OIF, ::if_nametoindex("lo"));
    return message;
}

using Look = std::function<void(nlmsghdr*)>;

int on_message(nl_msg* message, void* look) {
    (*static_cast<Look*>(look))(nlmsg_hdr(message));
    return NL_OK;
}

// 0, or libnl's error.
int dump(nl_sock* socket, nl_msg* message, Look look) {
    nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, on_message, &look);
    for (int i = 0;; ++i) {
        nlmsg_hdr(message)->nlmsg_seq = NL_AUTO_SEQ;
        if (const int error = nl_send_auto(socket, message); error < 0) return error;
        const int error = nl_recvmsgs_default(socket);
        // Others change rules and routes meanwhile.
        if (error == -NLE_DUMP_INTR && i < dump_tries) continue;
        return error;
    }
}

std::uint32_t number_in(nlattr* attribute) { return attribute == nullptr ? 0 : nla_get_u32(attribute); }

// 0, or libnl's error.
int tell(nl_sock* socket, Message message) { return nl_send_sync(socket, message.release()); }

}  // namespace

Result<bool> delivers(bool v6) {
    auto socket = open();
    if (!socket) return socket.error();
    bool rule = false;
    bool route = false;
    const Message rules = rule_message(RTM_GETRULE, NLM_F_DUMP, v6);
    const int no_rules = dump(socket->get(), rules.get(), [&](nlmsghdr* header) {
        std::array<nlattr*, FRA_MAX + 1> all{};
        if (nlmsg_parse(header, sizeof(fib_rule_hdr), all.data(), FRA_MAX, nullptr) < 0) return;
        rule = rule || (number_in(all[FRA_FWMARK]) == transparent_mark && number_in(all[FRA_TABLE]) == table_number);
    });
    if (no_rules < 0) return route_error("read the routing rules", v6, no_rules);
    const Message routes = route_message(RTM_GETROUTE, NLM_F_DUMP, v6);
    const int no_routes = dump(socket->get(), routes.get(), [&](nlmsghdr* header) {
        std::array<nlattr*, RTA_MAX + 1> all{};
        if (nlmsg_parse(header, sizeof(rtmsg), all.data(), RTA_MAX, nullptr) < 0) return;
        const auto* const what = static_cast<const rtmsg*>(nlmsg_data(header));
        route = route ||
                (number_in(all[RTA_TABLE]) == table_number && what->rtm_type == RTN_LOCAL && what->rtm_dst_len == 0);
    });
    // Of a table without routes the kernel knows nothing.
    if (no_routes < 0 && no_routes != -NLE_OBJ_NOTFOUND) return route_error("read the routes", v6, no_routes);
    return rule && route;
}

Result<void> set_delivery(bool v6, bool wanted) {
    auto socket = open();
    if (!socket) return socket.error();
    if (wanted) {
        const int no_route = tell(socket->get(), route_message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, v6));
        if (no_route < 0) return route_error("add the route of transparent connections", v6, no_route);
        const int no_rule = tell(socket->get(), rule_message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, v6));
        if (no_rule < 0 && no_rule != -NLE_EXIST)
            return route_error("add the rule of transparent connections", v6, no_rule);
        return {};
    }
    const int rule = tell(socket->get(), rule_message(RTM_DELRULE, 0, v6));
    if (rule < 0 && rule != -NLE_OBJ_NOTFOUND)
        return route_error("remove the rule of transparent connections", v6, rule);
    const int route = tell(socket->get(), route_message(RTM_DELROUTE, 0, v6));
    if (route < 0 && route != -NLE_OBJ_NOTFOUND)
        return route_error("remove the route of transparent connections", v6, route);
    return {};
}

}  // namespace lbcluster::forward::route
