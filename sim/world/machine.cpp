#include "sim/world/machine.hpp"

#include <algorithm>

namespace lbcluster::sim {

namespace {

constexpr std::size_t ring_frames = 256;        // receive ring of a network card
constexpr std::size_t unresolved_packets = 16;  // that wait for a neighbour
constexpr unsigned requests_max = 3;            // mcast_solicit, ucast_solicit
constexpr Duration request_pause = 1s;          // retrans_time_ms
constexpr Duration reachable_base = 30s;        // base_reachable_time_ms: 15..45 s
constexpr Duration lock_time = 1s;              // locktime
constexpr Duration delay_first_probe = 5s;      // delay_first_probe_time

}  // namespace

Machine::Machine(std::string name, std::uint64_t seed)
    : name_(std::move(name)), random_(seed, "machine " + name_), node_(ns3::CreateObject<ns3::Node>()) {}

void Machine::plug_in(Network& network, const std::string& interface, std::vector<IpPrefix> addresses) {
    Port& port = network.attach(name_, node_);
    const std::size_t index = interfaces_.size();
    port.on_frame([this, index](ByteView frame) { on_frame(index, frame); });
    port.on_carrier([this] {
        if (works() && sockets.interfaces_changed) sockets.interfaces_changed();
        tell_addresses();
    });
    for (const IpPrefix& prefix : addresses) own_.insert(prefix.address);
    interfaces_.push_back({interface, &port, std::move(addresses)});
}

// ---- power and time ----

void Machine::power_on() {
    powered_ = true;
    tell_addresses();
}

void Machine::power_off() {
    powered_ = false;
    paused_ = false;
    floating_.clear();
    neighbors_.clear();
    ring_.clear();
    sockets = {};
    tell_addresses();
}

void Machine::pause() {
    paused_ = true;
    tell_addresses();
}

void Machine::resume() {
    paused_ = false;
    // Timers that should have fired meanwhile fire first: before the frames in the ring are looked at.
    std::vector<IpAddress> over;
    for (const auto& [address, held] : floating_) {
        if (held.until && *held.until <= now()) over.push_back(address);
    }
    for (const IpAddress& address : over) end_lease(address);
    tell_addresses();
    for (auto ring = std::exchange(ring_, {}); auto& [interface, frame] : ring) handle(interface, frame);
    if (sockets.interfaces_changed) sockets.interfaces_changed();
}

Duration Machine::scaled(Duration world) const {
    if (drift_ == 0) return world;
    return world + Duration{static_cast<std::int64_t>(static_cast<double>(world.count()) * drift_)};
}

Duration Machine::until(Instant at) const {
    const Duration local = std::max<Duration>(at - now(), Duration{0});
    if (drift_ == 0) return local;
    return Duration{static_cast<std::int64_t>(static_cast<double>(local.count()) / (1 + drift_)) + 1};
}

void Machine::set_drift(double drift) {
    clock_base_ = now();
    drift_since_ = world_now();
    drift_ = drift;
}

// ---- interfaces ----

std::optional<std::size_t> Machine::interface(const std::string& name) const {
    for (std::size_t i = 0; i < interfaces_.size(); ++i) {
        if (interfaces_[i].name == name) return i;
    }
    return std::nullopt;
}

bool Machine::owns(const IpAddress& address) const { return own_.contains(address); }

// ---- floating IPs ----

std::vector<IpPrefix> Machine::floating() const {
    std::vector<IpPrefix> out;
    for (const auto& [address, held] : floating_) out.push_back(held.prefix);
    return out;
}

bool Machine::add_address(std::size_t interface, const IpPrefix& prefix, std::optional<Duration> lifetime) {
    const auto found = floating_.find(prefix.address);
    if (found == floating_.end() && refuse_addresses_) return false;
    Held& held = floating_[prefix.address];
    held.interface = interface;
    held.prefix = prefix;
    held.until.reset();
    if (!held.end) held.end = std::make_unique<Timer>();
    held.end->cancel();
    if (lifetime) {
        held.until = now() + *lifetime + random_.upto(lease_late_);
        held.end->set(until(*held.until), [this, address = prefix.address] {
            if (!paused_) end_lease(address);
        });
    }
    if (found == floating_.end()) tell_addresses();
    return true;
}

void Machine::end_lease(const IpAddress& address) {
    const auto found = floating_.find(address);
    if (found == floating_.end()) return;
    remove_address(found->second.prefix);
}

void Machine::remove_address(const IpPrefix& prefix) {
    if (floating_.erase(prefix.address) == 0) return;
    if (sockets.address_gone) sockets.address_gone(prefix);
    tell_addresses();
}

bool Machine::answers(const IpAddress& address) const {
    const auto found = floating_.find(address);
    return works() && found != floating_.end() && interfaces_[found->second.interface].port->carrier();
}

// ---- neighbours ----

std::optional<MacAddress> Machine::neighbor(const IpAddress& address) const {
    for (std::size_t i = 0; i < interfaces_.size(); ++i) {
        const auto found = neighbors_.find({i, address});
        if (found != neighbors_.end() && found->second.known) return found->second.mac;
    }
    return std::nullopt;
}

void Machine::learn(std::size_t interface, const IpAddress& ip, const MacAddress& mac, const News& news) {
    auto found = neighbors_.find({interface, ip});
    if (found == neighbors_.end()) {
        if (!news.create) return;
        found = neighbors_.emplace(NeighborKey{interface, ip}, Neighbor{}).first;
        found->second.timer = std::make_unique<Timer>();
    }
    Neighbor& neighbor = found->second;
    const bool changed = !neighbor.known || neighbor.mac != mac;
    // Of several answers in a second the first one counts, unless one is an announcement (arp_process(), LOCKTIME).
    if (changed && neighbor.known && !news.overrides && now() - neighbor.changed < lock_time) return;
    if (changed) neighbor.changed = now();
    neighbor.mac = mac;
    neighbor.known = true;
    if (news.confirms || changed) {
        neighbor.asked = 0;
        neighbor.probing = false;
        neighbor.timer->cancel();
        neighbor.confirmed =
            news.confirms ? now() : now() - reachable_base;  // changed unasked: to be verified when used
    }
    for (auto waiting = std::exchange(neighbor.waiting, {}); auto& send : waiting) send(mac);
    if (changed && hooks.cache_changed) hooks.cache_changed();
}

// heartbeatd's sockets say so when they are answered (MSG_CONFIRM).
void Machine::confirm(std::size_t interface, const IpAddress& ip) {
    const auto found = neighbors_.find({interface, ip});
    if (found == neighbors_.end() || !found->second.known) return;
    found->second.asked = 0;
    found->second.probing = false;
    found->second.timer->cancel();
    found->second.confirmed = now();
}

void Machine::resolve(std::size_t interface, const IpAddress& ip, std::function<void(const MacAddress&)> then) {
    const NeighborKey key{interface, ip};
    auto found = neighbors_.find(key);
    if (found == neighbors_.end()) {
        found = neighbors_.emplace(key, Neighbor{}).first;
        found->second.timer = std::make_unique<Timer>();
    }
    Neighbor& neighbor = found->second;
    if (neighbor.known) {
        const Duration reachable = reachable_base / 2 + random_.upto(reachable_base);
        if (!neighbor.timer->pending() && now() - neighbor.confirmed > reachable) ask_later(key, delay_first_probe);
        then(neighbor.mac);
        return;
    }
    if (neighbor.waiting.size() >= unresolved_packets) neighbor.waiting.pop_front();
    neighbor.waiting.push_back(std::move(then));
    if (!neighbor.timer->pending()) ask(key);
}

void Machine::ask_later(const NeighborKey& key, Duration wait) {
    neighbors_[key].timer->set(wait, [this, key] { ask(key); });
}

void Machine::ask(const NeighborKey& key) {
    const auto& [index, ip] = key;
    Neighbor& neighbor = neighbors_[key];
    if (!works()) return;
    if (neighbor.asked >= requests_max) {
        // The entry fails; the next packet starts anew.
        const bool was_known = neighbor.known;
        neighbors_.erase(key);
        if (was_known && hooks.cache_changed) hooks.cache_changed();
        return;
    }
    ++neighbor.asked;
    const Interface& interface = interfaces_[index];
    const auto way = way_to(ip);
    if (!way) return;
    const MacAddress& mac = interface.port->mac();
    if (ip.is_v4()) {
        send_frame(index, net::arp_request(mac, neighbor.known ? neighbor.mac : net::mac_broadcast, way->source, ip));
    } else {
        send_frame(index, net::neighbor_solicitation(mac, way->source, ip));
    }
    ask_later(key, request_pause);
}

// ---- frames in ----

void Machine::on_frame(std::size_t interface, ByteView frame) {
    if (!powered_) return;
    if (paused_) {
        if (ring_.size() < ring_frames) ring_.emplace_back(interface, Bytes(frame.begin(), frame.end()));
        return;
    }
    handle(interface, frame);
}

void Machine::handle(std::size_t interface, ByteView frame) {
    if (type_of(frame) == type_arp) {
        const auto arp = net::parse_arp(frame);
        if (!arp) return;
        if (sockets.raw) sockets.raw(interface, frame);
        on_arp(interface, *arp);
        return;
    }
    if (const auto ip = parse_ip(frame)) on_ip(interface, *ip, frame);
}

// As the kernel's arp_process(): answers for what is local, learns from who asks us, follows what is gratuitous.
void Machine::on_arp(std::size_t interface, const net::ArpPacket& arp) {
    const MacAddress& mac = interfaces_[interface].port->mac();
    const bool asked = arp.form == net::ArpForm::request && local(arp.target);
    if (asked && arp.sender != arp.target) {
        send_frame(interface, arp_reply(mac, arp.target, arp.sender_mac, arp.sender));
    }
    if (arp.sender.is_unspecified() || local(arp.sender)) return;
    const bool answer = arp.form == net::ArpForm::reply && arp.target_mac == mac && arp.sender != arp.target;
    learn(interface, arp.sender, arp.sender_mac, {asked, answer, arp.sender == arp.target});
}

void Machine::on_solicitation(std::size_t interface, const Solicitation& asked, const MacAddress& from) {
    if (!local(asked.target)) return;
    const MacAddress& mac = interfaces_[interface].port->mac();
    send_frame(interface, neighbor_answer(mac, asked.target, asked.mac.value_or(from), asked.source));
    if (!asked.source.is_unspecified() && asked.mac) learn(interface, asked.source, *asked.mac, {true, false, true});
}

void Machine::on_ip(std::size_t interface, const IpPacket& packet, ByteView frame) {
    if (packet.protocol == protocol_icmpv6) {
        if (const auto asked = parse_solicitation(frame)) return on_solicitation(interface, *asked, mac_at(frame, 6));
        if (const auto answer = net::parse_neighbor_advertisement(frame)) {
            if (sockets.raw) sockets.raw(interface, frame);
            if (local(answer->target)) return;
            // RFC 4861 7.2.5: without the override flag a known entry is not changed.
            const auto known = neighbor(answer->target);
            if (answer->override || !known) {
                learn(interface, answer->target, answer->mac, {false, answer->solicited, true});
            }
            return;
        }
    }
    if (!local(packet.destination)) return;
    if (const auto echo = parse_echo(packet)) {
        if (echo->reply) {
            if (sockets.raw) sockets.raw(interface, frame);
            if (!sockets.echo_reply) return;
            confirm(interface, packet.source);
            sockets.echo_reply(echo->echo);
            return;
        }
        net::Echo answer = echo->echo;
        std::swap(answer.source, answer.destination);
        const MacAddress mac = interfaces_[interface].port->mac();
        resolve(interface, answer.destination, [this, interface, mac, answer](const MacAddress& to) {
            send_frame(interface, echo_frame(mac, to, answer, true));
        });
        return;
    }
    const auto udp = parse_udp(packet);
    if (udp && sockets.udp && udp->port == sockets.udp_port) {
        confirm(interface, packet.source);
        sockets.udp(interface, packet.source, packet.destination, udp->payload);
    }
}

// ---- frames out ----

void Machine::send_frame(std::size_t interface, ByteView frame) {
    if (works()) interfaces_[interface].port->send(frame);
}

std::optional<Machine::Way> Machine::way_to(const IpAddress& destination) const {
    for (std::size_t i = 0; i < interfaces_.size(); ++i) {
        for (const IpPrefix& prefix : interfaces_[i].addresses) {
            if (prefix.contains(destination)) return Way{i, prefix.address};
        }
    }
    return std::nullopt;
}

void Machine::send_udp(const IpAddress& source, const IpAddress& destination, std::uint16_t port, ByteView payload) {
    const auto way = way_to(destination);
    if (!way || !works()) return;
    resolve(way->interface, destination,
            [this, index = way->interface, source, destination, port,
             data = Bytes(payload.begin(), payload.end())](const MacAddress& to) {
                send_frame(index, udp_frame(interfaces_[index].port->mac(), to, source, destination, port, data));
            });
}

void Machine::send_echo(const IpAddress& destination, std::uint16_t id, std::uint16_t sequence, ByteView payload) {
    const auto way = way_to(destination);
    if (!way || !works()) return;
    const net::Echo echo{way->source, destination, id, sequence, Bytes(payload.begin(), payload.end())};
    resolve(way->interface, destination, [this, index = way->interface, echo](const MacAddress& to) {
        send_frame(index, echo_frame(interfaces_[index].port->mac(), to, echo, false));
    });
}

}  // namespace lbcluster::sim
