#include "forwarder/ipvs/messages.hpp"

#include <arpa/inet.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>
#include <netlink/attr.h>
#include <netlink/genl/genl.h>
#include <netlink/msg.h>
#include <sys/socket.h>

#include <array>
#include <bit>
#include <cstring>
#include <memory>

#include "lbcluster/base/assert.hpp"

namespace lbcluster::forward::ipvs {

namespace {

constexpr std::size_t message_bytes_max = 512;
constexpr std::size_t address_bytes = 16;                  // union nf_inet_addr
constexpr std::uint32_t flag_hashed = IP_VS_SVC_F_HASHED;  // the kernel's own

std::uint16_t family_of(bool v6) { return v6 ? AF_INET6 : AF_INET; }

// One message being built; appended to `out` when it goes.
class Message {
  public:
    Message(Bytes& out, const Envelope& envelope, std::uint8_t command, int flags)
        : out_(out), message_(nlmsg_alloc_size(message_bytes_max), nlmsg_free) {
        LBC_ASSERT(message_);
        if (envelope.acknowledge) flags |= NLM_F_ACK;
        void* const header = genlmsg_put(message_.get(), 0, envelope.sequence, envelope.family, 0,
                                         NLM_F_REQUEST | flags, command, IPVS_GENL_VERSION);
        LBC_ASSERT(header != nullptr);
    }
    ~Message() {
        const nlmsghdr* header = nlmsg_hdr(message_.get());
        const char* bytes = reinterpret_cast<const char*>(header);
        out_.insert(out_.end(), bytes, bytes + NLMSG_ALIGN(header->nlmsg_len));
    }
    Message(const Message&) = delete;
    Message& operator=(const Message&) = delete;

    void put(int type, const void* data, std::size_t bytes) {
        const int result = nla_put(message_.get(), type, static_cast<int>(bytes), data);
        LBC_ASSERT(result == 0);
    }
    void put_u16(int type, std::uint16_t value) { put(type, &value, sizeof(value)); }
    void put_u32(int type, std::uint32_t value) { put(type, &value, sizeof(value)); }
    void put_text(int type, const std::string& text) { put(type, text.c_str(), text.size() + 1); }
    void put_address(int type, const IpAddress& address) {
        std::array<std::uint8_t, address_bytes> bytes{};
        std::memcpy(bytes.data(), address.bytes().data(), address.bytes().size());
        put(type, bytes.data(), bytes.size());
    }
    template <class Fill>
    void nest(int type, Fill fill) {
        nlattr* const start = nla_nest_start(message_.get(), type);
        LBC_ASSERT(start != nullptr);
        fill();
        nla_nest_end(message_.get(), start);
    }

  private:
    Bytes& out_;
    std::unique_ptr<nl_msg, void (*)(nl_msg*)> message_;
};

std::uint32_t mask_of(const ServiceKey& key, std::uint32_t bits) {
    if (key.v6) return bits;
    return bits == 0 ? 0 : htonl(~std::uint32_t{0} << (32U - std::min(bits, 32U)));
}

void put_key(Message& message, const ServiceKey& key) {
    message.put_u16(IPVS_SVC_ATTR_AF, family_of(key.v6));
    if (key.mark != 0) {
        message.put_u32(IPVS_SVC_ATTR_FWMARK, key.mark);
        return;
    }
    message.put_u16(IPVS_SVC_ATTR_PROTOCOL, key.protocol);
    message.put_address(IPVS_SVC_ATTR_ADDR, key.address);
    message.put_u16(IPVS_SVC_ATTR_PORT, htons(key.port));
}

void put_settings(Message& message, const ServiceKey& key, const ServiceSettings& settings) {
    message.put_text(IPVS_SVC_ATTR_SCHED_NAME, settings.scheduler);
    const ip_vs_flags flags{settings.flags, ~std::uint32_t{0}};
    message.put(IPVS_SVC_ATTR_FLAGS, &flags, sizeof(flags));
    message.put_u32(IPVS_SVC_ATTR_TIMEOUT, settings.timeout_s);
    message.put_u32(IPVS_SVC_ATTR_NETMASK, mask_of(key, settings.mask_bits));
}

std::uint32_t method_of(Forward forward) {
    switch (forward) {
        case Forward::direct:
            return IP_VS_CONN_F_DROUTE;
        case Forward::tunnel:
            return IP_VS_CONN_F_TUNNEL;
        case Forward::masquerade:
        case Forward::other:
            break;
    }
    return IP_VS_CONN_F_MASQ;
}

Forward forward_of(std::uint32_t flags) {
    switch (flags & IP_VS_CONN_F_FWD_MASK) {
        case IP_VS_CONN_F_MASQ:
            return Forward::masquerade;
        case IP_VS_CONN_F_TUNNEL:
            return Forward::tunnel;
        case IP_VS_CONN_F_DROUTE:
            return Forward::direct;
        default:
            return Forward::other;
    }
}

void put_destination(Message& message, const Destination& destination, bool whole) {
    message.put_u16(IPVS_DEST_ATTR_ADDR_FAMILY, family_of(destination.key.address.is_v6()));
    message.put_address(IPVS_DEST_ATTR_ADDR, destination.key.address);
    message.put_u16(IPVS_DEST_ATTR_PORT, htons(destination.key.port));
    if (!whole) return;
    message.put_u32(IPVS_DEST_ATTR_FWD_METHOD, method_of(destination.forward));
    message.put_u32(IPVS_DEST_ATTR_WEIGHT, destination.weight);
    message.put_u32(IPVS_DEST_ATTR_U_THRESH, destination.upper);
    message.put_u32(IPVS_DEST_ATTR_L_THRESH, destination.lower);
}

// ---- parsing ----

template <int Max>
using Attributes = std::array<nlattr*, static_cast<std::size_t>(Max) + 1>;

// The attributes inside attribute `type` of the message.
template <int Max>
bool parse_nested(nlmsghdr* message, int type, Attributes<Max>& out) {
    Attributes<IPVS_CMD_ATTR_MAX> outer{};
    if (genlmsg_parse(message, 0, outer.data(), IPVS_CMD_ATTR_MAX, nullptr) < 0) return false;
    nlattr* const nested = outer[static_cast<std::size_t>(type)];
    return nested != nullptr && nla_parse_nested(out.data(), Max, nested, nullptr) >= 0;
}

template <class T>
std::optional<T> value_of(const nlattr* attribute) {
    if (attribute == nullptr || nla_len(attribute) < static_cast<int>(sizeof(T))) return std::nullopt;
    T value{};
    std::memcpy(&value, nla_data(attribute), sizeof(T));
    return value;
}

std::optional<IpAddress> address_of(const nlattr* attribute, bool v6) {
    if (attribute == nullptr) return std::nullopt;
    std::array<std::uint8_t, address_bytes> bytes{};
    const auto length = static_cast<std::size_t>(nla_len(attribute));
    if (length < (v6 ? 16U : 4U)) return std::nullopt;
    std::memcpy(bytes.data(), nla_data(attribute), std::min(length, bytes.size()));
    if (v6) return IpAddress::v6(bytes);
    return IpAddress::v4({bytes[0], bytes[1], bytes[2], bytes[3]});
}

std::string text_of(const nlattr* attribute) {
    if (attribute == nullptr) return {};
    const char* text = static_cast<const char*>(nla_data(attribute));
    return std::string(text, ::strnlen(text, static_cast<std::size_t>(nla_len(attribute))));
}

void parse_stats(nlattr* stats64, Counters& out) {
    Attributes<IPVS_STATS_ATTR_MAX> stats{};
    if (stats64 == nullptr || nla_parse_nested(stats.data(), IPVS_STATS_ATTR_MAX, stats64, nullptr) < 0) return;
    out.total = value_of<std::uint64_t>(stats[IPVS_STATS_ATTR_CONNS]).value_or(0);
    out.bytes_in = value_of<std::uint64_t>(stats[IPVS_STATS_ATTR_INBYTES]).value_or(0);
    out.bytes_out = value_of<std::uint64_t>(stats[IPVS_STATS_ATTR_OUTBYTES]).value_or(0);
    out.per_second = value_of<std::uint64_t>(stats[IPVS_STATS_ATTR_CPS]).value_or(0);
}

std::optional<ServiceKey> parse_key(const Attributes<IPVS_SVC_ATTR_MAX>& at) {
    const auto family = value_of<std::uint16_t>(at[IPVS_SVC_ATTR_AF]);
    if (!family) return std::nullopt;
    const bool v6 = *family == AF_INET6;
    if (const auto mark = value_of<std::uint32_t>(at[IPVS_SVC_ATTR_FWMARK])) return ServiceKey::of_mark(*mark, v6);
    const auto protocol = value_of<std::uint16_t>(at[IPVS_SVC_ATTR_PROTOCOL]);
    const auto address = address_of(at[IPVS_SVC_ATTR_ADDR], v6);
    const auto port = value_of<std::uint16_t>(at[IPVS_SVC_ATTR_PORT]);
    if (!protocol || !address || !port) return std::nullopt;
    return ServiceKey::of_address(static_cast<std::uint8_t>(*protocol), *address, ntohs(*port));
}

}  // namespace

// ---- building ----

void append_step(Bytes& out, const Envelope& envelope, const Step& step) {
    using Kind = Step::Kind;
    const std::uint8_t command = step.kind == Kind::add_service       ? IPVS_CMD_NEW_SERVICE
                                 : step.kind == Kind::set_service     ? IPVS_CMD_SET_SERVICE
                                 : step.kind == Kind::delete_service  ? IPVS_CMD_DEL_SERVICE
                                 : step.kind == Kind::add_destination ? IPVS_CMD_NEW_DEST
                                 : step.kind == Kind::set_destination ? IPVS_CMD_SET_DEST
                                                                      : IPVS_CMD_DEL_DEST;
    const bool settings = step.kind == Kind::add_service || step.kind == Kind::set_service;
    const bool destination = !settings && step.kind != Kind::delete_service;
    Message message(out, envelope, command, 0);
    message.nest(IPVS_CMD_ATTR_SERVICE, [&] {
        put_key(message, step.service);
        if (settings) put_settings(message, step.service, step.settings);
    });
    if (!destination) return;
    message.nest(IPVS_CMD_ATTR_DEST,
                 [&] { put_destination(message, step.destination, step.kind != Kind::delete_destination); });
}

void append_dump_services(Bytes& out, const Envelope& envelope) {
    const Message message(out, envelope, IPVS_CMD_GET_SERVICE, NLM_F_DUMP);
}

void append_dump_destinations(Bytes& out, const Envelope& envelope, const ServiceKey& service) {
    Message message(out, envelope, IPVS_CMD_GET_DEST, NLM_F_DUMP);
    message.nest(IPVS_CMD_ATTR_SERVICE, [&] { put_key(message, service); });
}

void append_dump_daemons(Bytes& out, const Envelope& envelope) {
    const Message message(out, envelope, IPVS_CMD_GET_DAEMON, NLM_F_DUMP);
}

void append_daemon(Bytes& out, const Envelope& envelope, const Sync& sync, bool start) {
    Message message(out, envelope, start ? IPVS_CMD_NEW_DAEMON : IPVS_CMD_DEL_DAEMON, 0);
    message.nest(IPVS_CMD_ATTR_DAEMON, [&] {
        message.put_u32(IPVS_DAEMON_ATTR_STATE,
                        sync.role == SyncRole::master ? IP_VS_STATE_MASTER : IP_VS_STATE_BACKUP);
        message.put_text(IPVS_DAEMON_ATTR_MCAST_IFN, sync.interface);
        message.put_u32(IPVS_DAEMON_ATTR_SYNC_ID, sync.id);
    });
}

void append_set_timeouts(Bytes& out, const Envelope& envelope, const Timeouts& timeouts) {
    Message message(out, envelope, IPVS_CMD_SET_CONFIG, 0);
    const auto put = [&](int type, seconds value) {
        if (value > 0s) message.put_u32(type, static_cast<std::uint32_t>(value.count()));
    };
    put(IPVS_CMD_ATTR_TIMEOUT_TCP, timeouts.tcp);
    put(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, timeouts.tcp_fin);
    put(IPVS_CMD_ATTR_TIMEOUT_UDP, timeouts.udp);
}

void append_get_timeouts(Bytes& out, const Envelope& envelope) {
    const Message message(out, envelope, IPVS_CMD_GET_CONFIG, 0);
}

void append_get_info(Bytes& out, const Envelope& envelope) {
    const Message message(out, envelope, IPVS_CMD_GET_INFO, 0);
}

// ---- parsing ----

std::optional<ServiceEntry> parse_service(nlmsghdr* message) {
    Attributes<IPVS_SVC_ATTR_MAX> at{};
    if (!parse_nested<IPVS_SVC_ATTR_MAX>(message, IPVS_CMD_ATTR_SERVICE, at)) return std::nullopt;
    const auto key = parse_key(at);
    if (!key) return std::nullopt;
    ServiceEntry out{*key, {}, {}};
    out.settings.scheduler = text_of(at[IPVS_SVC_ATTR_SCHED_NAME]);
    const auto flags = value_of<ip_vs_flags>(at[IPVS_SVC_ATTR_FLAGS]);
    out.settings.flags = flags ? flags->flags & ~flag_hashed : 0;
    out.settings.timeout_s = value_of<std::uint32_t>(at[IPVS_SVC_ATTR_TIMEOUT]).value_or(0);
    const std::uint32_t mask = value_of<std::uint32_t>(at[IPVS_SVC_ATTR_NETMASK]).value_or(0);
    out.settings.mask_bits = key->v6 ? mask : static_cast<std::uint32_t>(std::popcount(mask));
    parse_stats(at[IPVS_SVC_ATTR_STATS64], out.counters);
    return out;
}

std::optional<DestinationEntry> parse_destination(nlmsghdr* message) {
    Attributes<IPVS_DEST_ATTR_MAX> at{};
    if (!parse_nested<IPVS_DEST_ATTR_MAX>(message, IPVS_CMD_ATTR_DEST, at)) return std::nullopt;
    const auto family = value_of<std::uint16_t>(at[IPVS_DEST_ATTR_ADDR_FAMILY]);
    const auto address = address_of(at[IPVS_DEST_ATTR_ADDR], family.value_or(AF_INET) == AF_INET6);
    const auto port = value_of<std::uint16_t>(at[IPVS_DEST_ATTR_PORT]);
    if (!address || !port) return std::nullopt;
    const auto number = [&](int type) {
        return value_of<std::uint32_t>(at[static_cast<std::size_t>(type)]).value_or(0);
    };
    DestinationEntry out;
    out.destination.key = {*address, ntohs(*port)};
    out.destination.forward = forward_of(number(IPVS_DEST_ATTR_FWD_METHOD));
    out.destination.weight = number(IPVS_DEST_ATTR_WEIGHT);
    out.destination.upper = number(IPVS_DEST_ATTR_U_THRESH);
    out.destination.lower = number(IPVS_DEST_ATTR_L_THRESH);
    out.counters.active = number(IPVS_DEST_ATTR_ACTIVE_CONNS);
    out.counters.inactive = number(IPVS_DEST_ATTR_INACT_CONNS);
    out.counters.persistent = number(IPVS_DEST_ATTR_PERSIST_CONNS);
    parse_stats(at[IPVS_DEST_ATTR_STATS64], out.counters);
    return out;
}

std::optional<Sync> parse_daemon(nlmsghdr* message) {
    Attributes<IPVS_DAEMON_ATTR_MAX> at{};
    if (!parse_nested<IPVS_DAEMON_ATTR_MAX>(message, IPVS_CMD_ATTR_DAEMON, at)) return std::nullopt;
    const auto state = value_of<std::uint32_t>(at[IPVS_DAEMON_ATTR_STATE]);
    if (!state) return std::nullopt;
    Sync out;
    out.role = *state == IP_VS_STATE_MASTER   ? SyncRole::master
               : *state == IP_VS_STATE_BACKUP ? SyncRole::backup
                                              : SyncRole::none;
    out.interface = text_of(at[IPVS_DAEMON_ATTR_MCAST_IFN]);
    out.id = static_cast<std::uint8_t>(value_of<std::uint32_t>(at[IPVS_DAEMON_ATTR_SYNC_ID]).value_or(0));
    return out;
}

std::optional<Timeouts> parse_timeouts(nlmsghdr* message) {
    Attributes<IPVS_CMD_ATTR_MAX> at{};
    if (genlmsg_parse(message, 0, at.data(), IPVS_CMD_ATTR_MAX, nullptr) < 0) return std::nullopt;
    const auto tcp = value_of<std::uint32_t>(at[IPVS_CMD_ATTR_TIMEOUT_TCP]);
    const auto tcp_fin = value_of<std::uint32_t>(at[IPVS_CMD_ATTR_TIMEOUT_TCP_FIN]);
    if (!tcp || !tcp_fin) return std::nullopt;
    return Timeouts{seconds{*tcp}, seconds{*tcp_fin},
                    seconds{value_of<std::uint32_t>(at[IPVS_CMD_ATTR_TIMEOUT_UDP]).value_or(0)}};
}

std::optional<std::string> parse_version(nlmsghdr* message) {
    Attributes<IPVS_INFO_ATTR_MAX> at{};
    if (genlmsg_parse(message, 0, at.data(), IPVS_INFO_ATTR_MAX, nullptr) < 0) return std::nullopt;
    const auto version = value_of<std::uint32_t>(at[IPVS_INFO_ATTR_VERSION]);
    if (!version) return std::nullopt;
    return std::to_string((*version >> 16U) & 0xffU) + "." + std::to_string((*version >> 8U) & 0xffU) + "." +
           std::to_string(*version & 0xffU);
}

}  // namespace lbcluster::forward::ipvs
