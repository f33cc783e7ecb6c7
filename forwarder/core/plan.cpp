#include "forwarder/core/plan.hpp"

#include <algorithm>

namespace lbcluster::forward {

namespace {

// Ours are 0x4c000000 to 0x4cffffff.
constexpr std::uint32_t mark_base = 0x4c000000;
constexpr std::uint32_t mark_span = 0x01000000;
constexpr std::uint32_t separate_server_weight = 100;

Forward forward_of(Method method) {
    switch (method) {
        case Method::dr:
            return Forward::direct;
        case Method::tun:
            return Forward::tunnel;
        case Method::nat:
        case Method::snat:
            break;
    }
    return Forward::masquerade;
}

bool rewrites(Method method) { return method == Method::nat || method == Method::snat; }

// In a sysctl's name a dot of an interface's name is written as a slash, as sysctl(8) does.
std::string in_sysctl(std::string interface) {
    std::replace(interface.begin(), interface.end(), '.', '/');
    return interface;
}

std::uint32_t scaled(std::uint32_t weight, std::uint32_t percent) {
    if (weight == 0 || percent == 0) return 0;
    return std::max<std::uint32_t>(1, (weight * percent + 50) / 100);
}

IpAddress loopback(bool v6) {
    if (!v6) return IpAddress::v4({127, 0, 0, 1});
    std::array<std::uint8_t, 16> bytes{};
    bytes[15] = 1;
    return IpAddress::v6(bytes);
}

ServiceSettings settings_of(const ServiceSpec& spec, bool v6) {
    ServiceSettings out;
    out.scheduler = spec.scheduler;
    out.mask_bits = v6 ? 128 : 32;
    if (spec.scheduler == "sh" || spec.scheduler == "mh") out.flags |= flag_hash_fallback;
    if (spec.one_packet) out.flags |= flag_one_packet;
    if (spec.persistence) {
        out.flags |= flag_persistent;
        out.timeout_s = static_cast<std::uint32_t>(spec.persistence->timeout.count());
        out.mask_bits = spec.persistence->mask_bits;
    }
    return out;
}

// Whether a server is in IPVS; `weight` then.
Placing place(const ServiceSpec& spec, const ServerSpec& server, const Verdict& verdict, std::uint64_t now_ms,
              std::uint32_t& weight) {
    const State state = effective_state(server, now_ms);
    weight = 0;
    if (state == State::halt) return Placing::gone;
    const bool failed =
        verdict.health == Health::down || verdict.health == Health::standby || verdict.wish == Wish::down;
    if (failed) return spec.quiesce && spec.scheduler != "dh" ? Placing::draining : Placing::gone;
    if (verdict.health != Health::up) return Placing::gone;
    if (state == State::drain || verdict.wish == Wish::drain) return Placing::draining;
    weight = scaled(server.weight, verdict.percent);
    return weight > 0 ? Placing::serving : Placing::draining;
}

std::optional<Destination> fallback_destination(const ServiceSpec& spec, const ServiceKey& key, std::uint64_t now_ms) {
    const FallbackSpec& fallback = spec.fallback;
    Destination out;
    out.weight = separate_server_weight;
    out.key.port = fallback.port != 0 ? fallback.port : key.port;
    switch (fallback.kind) {
        case FallbackSpec::Kind::none:
            return std::nullopt;
        case FallbackSpec::Kind::page:
            out.key = {loopback(key.v6), key.port};
            out.forward = Forward::direct;
            return out;
        case FallbackSpec::Kind::address:
            out.key.address = fallback.address;
            out.forward = forward_of(fallback.method);
            if (!rewrites(fallback.method)) out.key.port = key.port;
            return out;
        case FallbackSpec::Kind::server:
            break;
    }
    const auto server = std::find_if(spec.servers.begin(), spec.servers.end(),
                                     [&](const ServerSpec& one) { return one.label == fallback.server; });
    if (server == spec.servers.end() || effective_state(*server, now_ms) != State::online) return std::nullopt;
    out.key = destination_key(spec, key, *server);
    out.forward = forward_of(spec.method);
    out.weight = std::max<std::uint32_t>(1, server->weight);
    out.upper = server->max_connections;
    out.lower = server->min_connections;
    return out;
}

}  // namespace

std::string_view word_of(Placing placing) {
    switch (placing) {
        case Placing::serving:
            return "served";
        case Placing::draining:
            return "draining";
        case Placing::gone:
            break;
    }
    return "gone";
}

State effective_state(const ServerSpec& server, std::uint64_t now_ms) {
    const bool over = server.state == State::drain && server.drain_until_ms && now_ms >= *server.drain_until_ms;
    return over ? State::halt : server.state;
}

DestinationKey destination_key(const ServiceSpec& spec, const ServiceKey& key, const ServerSpec& server) {
    return {server.address, rewrites(spec.method) && server.port != 0 ? server.port : key.port};
}

ServicePlan plan_service(const ServiceSpec& spec, const ServiceKey& key, const std::vector<Verdict>& verdicts,
                         std::uint64_t now_ms) {
    ServicePlan out;
    out.service.settings = settings_of(spec, key.v6);
    auto& destinations = out.service.destinations;
    destinations.reserve(spec.servers.size() + 1);
    for (std::size_t i = 0; i < spec.servers.size(); ++i) {
        const ServerSpec& server = spec.servers[i];
        std::uint32_t weight = 0;
        out.servers.push_back(place(spec, server, verdicts[i], now_ms, weight));
        if (out.servers.back() == Placing::gone) continue;
        out.serves = out.serves || weight > 0;
        destinations.push_back({destination_key(spec, key, server), forward_of(spec.method), weight,
                                server.max_connections, server.min_connections});
    }
    if (!out.serves) {
        if (const auto fallback = fallback_destination(spec, key, now_ms)) {
            std::erase_if(destinations, [&](const Destination& one) { return one.key == fallback->key; });
            destinations.push_back(*fallback);
            out.fallback = true;
        }
    }
    // Looked at first: they often stand in order in the configuration, and a service may have a thousand.
    const auto by_key = [](const Destination& a, const Destination& b) { return a.key < b.key; };
    if (!std::is_sorted(destinations.begin(), destinations.end(), by_key))
        std::sort(destinations.begin(), destinations.end(), by_key);
    return out;
}

std::vector<ServiceKey> plan_keys(const std::vector<ServiceSpec>& services) {
    std::vector<ServiceKey> keys;
    std::set<std::uint32_t> taken;
    for (const ServiceSpec& spec : services) {
        const Traffic& traffic = spec.traffic;
        const bool one_port = traffic.ports.size() == 1 && traffic.ports[0].first == traffic.ports[0].last;
        if (one_port && traffic.tcp != traffic.udp) {
            keys.push_back(ServiceKey::of_address(traffic.tcp ? protocol_tcp : protocol_udp, traffic.address,
                                                  traffic.ports[0].first));
            continue;
        }
        std::uint64_t hash = stable_hash(spec.label + " " + traffic.address.to_string());
        while (!taken.insert(static_cast<std::uint32_t>(hash % mark_span)).second) ++hash;
        keys.push_back(
            ServiceKey::of_mark(mark_base + static_cast<std::uint32_t>(hash % mark_span), traffic.address.is_v6()));
    }
    return keys;
}

Rules plan_rules(const Spec& spec, const std::vector<ServiceKey>& keys) {
    Rules rules;
    rules.auto_nat = spec.node.auto_nat;
    rules.transparent = spec.node.transparent;
    for (std::size_t i = 0; i < spec.services.size(); ++i) {
        const ServiceSpec& service = spec.services[i];
        if (keys[i].mark != 0) rules.marks.push_back({service.traffic, keys[i].mark});
        const FallbackSpec& fallback = service.fallback;
        if (service.method == Method::snat) {
            rules.masquerades.push_back({service.traffic, std::nullopt});
        } else if (fallback.kind == FallbackSpec::Kind::address && fallback.method == Method::snat) {
            rules.masquerades.push_back({service.traffic, fallback.address});
        }
        if (!rules.auto_nat.empty()) {
            for (const ServerSpec& server : service.servers) rules.inside.insert(server.address);
        }
    }
    if (rules.masquerades.empty() && rules.auto_nat.empty()) return rules;
    for (const ServiceSpec& service : spec.services) rules.virtual_addresses.insert(service.traffic.address);
    return rules;
}

std::vector<Sysctl> plan_sysctls(const Spec& spec) {
    std::vector<Sysctl> out;
    const auto want = [&](std::string name, std::string value, std::string reason) {
        out.push_back({std::move(name), std::move(value), std::move(reason)});
    };
    bool snat = false;
    bool way_back4 = !spec.node.auto_nat.empty();
    bool way_back6 = way_back4;
    for (const ServiceSpec& service : spec.services) {
        const bool by_address = service.fallback.kind == FallbackSpec::Kind::address;
        const bool fallback_snat = by_address && service.fallback.method == Method::snat;
        snat = snat || service.method == Method::snat || fallback_snat;
        if (!rewrites(service.method) && !(by_address && rewrites(service.fallback.method))) continue;
        (service.traffic.address.is_v6() ? way_back6 : way_back4) = true;
    }
    if (!spec.services.empty()) {
        want("net.ipv4.vs.expire_nodest_conn", "1",
             "connections to a server that is down end with their next packet instead of hanging");
        want("net.ipv4.vs.expire_quiescent_template", "1",
             "persistence does not send clients to a server that takes no new connections");
        want("net.ipv4.vs.conn_reuse_mode", "1", "a client's port that is used again is balanced again");
    }
    if (snat) want("net.ipv4.vs.conntrack", "1", "snat: the source is rewritten by connection tracking");
    if (way_back4) {
        want("net.ipv4.ip_forward", "1", "nat, snat, auto_nat: the servers' answers pass this node");
    }
    if (way_back6) {
        for (const std::string& interface : spec.node.listens_to_routers) {
            want("net.ipv6.conf." + in_sysctl(interface) + ".accept_ra", "2",
                 "a node that forwards would no longer learn its routers on " + interface);
        }
        want("net.ipv6.conf.all.forwarding", "1", "nat, snat, auto_nat: the servers' answers pass this node");
    }
    if (way_back4) {
        // Each interface has a say of its own besides `all`; those to come get theirs from `default`.
        std::vector<std::string> names{"all", "default"};
        names.insert(names.end(), spec.node.interfaces.begin(), spec.node.interfaces.end());
        for (const std::string& name : names) {
            want("net.ipv4.conf." + in_sysctl(name) + ".send_redirects", "0",
                 "servers in the clients' network must not be told a way past this node");
        }
    }
    return out;
}

bool mixes_families(const Spec& spec) {
    return std::any_of(spec.services.begin(), spec.services.end(), [](const ServiceSpec& service) {
        const bool v6 = service.traffic.address.is_v6();
        const FallbackSpec& fallback = service.fallback;
        if (fallback.kind == FallbackSpec::Kind::address && fallback.address.is_v6() != v6) return true;
        return std::any_of(service.servers.begin(), service.servers.end(),
                           [v6](const ServerSpec& server) { return server.address.is_v6() != v6; });
    });
}

std::string fallback_text(const FallbackSpec& fallback) {
    switch (fallback.kind) {
        case FallbackSpec::Kind::none:
            return "";
        case FallbackSpec::Kind::page:
            return "page";
        case FallbackSpec::Kind::server:
            return fallback.server;
        case FallbackSpec::Kind::address:
            break;
    }
    return fallback.address.to_string() + (fallback.port == 0 ? "" : " port " + std::to_string(fallback.port));
}

}  // namespace lbcluster::forward
