#include "layer4_view.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "change.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/bus/request.hpp"
#include "lbcluster/config/services.hpp"

namespace lbcluster::cli {
namespace {

constexpr std::size_t piece_bytes = 65536;
constexpr const char* table_path = "/proc/net/ip_vs_conn_sync";

}  // namespace

Json finding_json(const Finding& finding) {
    return {{"id", finding.id},           {"severity", word_of(finding.severity)},
            {"service", finding.service}, {"server", finding.server},
            {"text", finding.text},       {"action", finding.action}};
}

bool is_layer4(const config::VirtualService& service) { return service.enabled() && !config::is_layer7(service); }

Forwarding forwarding_of(const config::VirtualService& service) {
    switch (service.method()) {
        case config::METHOD_NAT:
            return Forwarding::nat;
        case config::METHOD_SNAT:
            return Forwarding::snat;
        case config::METHOD_TUN:
            return Forwarding::tun;
        default:
            return Forwarding::dr;
    }
}

KnownService known_service(const config::VirtualService& service, std::uint32_t mark) {
    KnownService out;
    out.label = service.label();
    if (const auto address = IpAddress::parse(service.address())) out.address = *address;
    out.tcp = service.protocol() != config::PROTOCOL_UDP;
    out.udp = service.protocol() == config::PROTOCOL_UDP || service.protocol() == config::PROTOCOL_TCP_UDP;
    for (const std::string& text : service.ports()) {
        if (const auto range = config::parse_port_range(text)) out.ports.push_back({range->first, range->last});
    }
    out.mark = mark;
    for (const config::RealServer* server : config::servers_of(service)) {
        const auto address = IpAddress::parse(server->address());
        if (address) out.servers.push_back({server->label(), *address, static_cast<std::uint16_t>(server->port())});
    }
    return out;
}

ServiceFacts plain_facts(const config::VirtualService& service) {
    const KnownService known = known_service(service, 0);
    ServiceFacts out;
    out.label = known.label;
    out.address = known.address;
    out.tcp = known.tcp;
    out.port = config::first_port_of(service);
    out.method = forwarding_of(service);
    const std::uint64_t now_ms = realtime_ms_now();
    for (const config::RealServer* server : config::servers_of(service)) {
        const auto address = IpAddress::parse(server->address());
        if (!address) continue;
        ServerFacts facts;
        facts.label = server->label();
        facts.at = {*address, config::port_of(service, *server)};
        facts.offline = config::effective_state(*server, now_ms) != config::SERVER_STATE_ONLINE;
        out.servers.push_back(std::move(facts));
    }
    return out;
}

std::vector<IpPrefix> own_networks(const Context& context) {
    std::vector<IpPrefix> out;
    const auto facts = machine_facts(context);
    if (!facts) return out;
    for (const config::LocalInterface& interface : facts->interfaces) {
        for (const IpPrefix& network : interface.addresses) {
            const bool one_address = network.length == (network.address.is_v4() ? 32 : 128);
            if (!one_address && !network.address.is_loopback()) out.push_back(network);
        }
    }
    return out;
}

Result<ForwardServices> forward_services(const Context& context) {
    const auto items = bus::fetch(context.paths.socket_of("forwarderd"), "service/", answer_time);
    if (!items) return items.error();
    ForwardServices out;
    for (const bus::Item& item : *items) out[item.forward_service().service()] = item.forward_service();
    return out;
}

Result<void> read_connections(Tally& tally) {
    const int fd = ::open(table_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        const int code = errno;
        if (code == ENOENT) {
            return Error{
                "this kernel has no IPVS, or has not loaded it: there are no connections of layer 4",
                "forwarderd loads it for the first service of layer 4; 'lbcluster diagnose' says what is wrong", code};
        }
        return Error{std::string("cannot read ") + table_path + ": " + std::strerror(code),
                     code == EACCES || code == EPERM ? "run it as root" : "", code};
    }
    std::vector<char> piece(piece_bytes);
    ssize_t bytes = 0;
    do {
        bytes = ::read(fd, piece.data(), piece.size());
        if (bytes > 0) tally.add({piece.data(), static_cast<std::size_t>(bytes)});
    } while (bytes > 0 || (bytes < 0 && errno == EINTR));
    const int code = errno;
    ::close(fd);
    tally.finish();
    if (bytes < 0) return Error{std::string("cannot read ") + table_path + ": " + std::strerror(code), "", code};
    return {};
}

}  // namespace lbcluster::cli
