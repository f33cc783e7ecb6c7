// The second half of Daemon: carrying out what the core decided; address probes and pings.
#include <algorithm>
#include <array>
#include <utility>

#include "sim/node/daemon.hpp"
#include "sim/node/node.hpp"

namespace lbcluster::sim {

namespace hb = heartbeat;

namespace {
constexpr std::size_t open_pings_max = 64;
constexpr Duration answer_within = 1s;    // as heartbeat/net/address_probe.cpp
constexpr Duration restart_after = 30ms;  // the answer goes out first
constexpr std::array<std::uint8_t, 16> nonce{'l', 'b', 'c', 'l', 'u', 's', 't', 'e',
                                             'r', '-', 's', 'i', 'm', 'u', 'l', 'a'};
}  // namespace

void Daemon::carry_out() {
    for (int round = 0; !actions_.empty() && round < 8; ++round) {
        hb::Actions now = std::exchange(actions_, {});
        for (const hb::Action& action : now) std::visit([this](const auto& a) { act(a); }, action);
        now.clear();
        if (actions_.empty()) actions_ = std::move(now);  // keeps its memory
    }
}

void Daemon::act(const hb::SendHeartbeat& send) {
    std::array<std::uint8_t, hb::datagram_bytes_max> buffer;
    const auto size = hb::encode(send.message, setup_.settings.node, tag_, buffer);
    if (!size) return;
    const ByteView datagram{buffer.data(), *size};
    observer_.on_sent(node_, send);
    node_.record_sent(send.link, datagram);
    const hb::LinkSetup& link = setup_.links[send.link];
    if (link.kind == hb::LinkKind::serial) {
        if (serial_ != nullptr) serial_->send(serial_end_, datagram);
    } else {
        machine_.send_udp(link.local, link.peer, setup_.port, datagram);
    }
}

hb::AnnounceSchedule::Settings Daemon::announce_settings() const {
    return {setup_.announce_rate, setup_.announce_refresh};
}

Keeper::Target Daemon::target() const {
    Keeper::Target out;
    out.epoch = wanted_->epoch;
    out.wanted = wanted_->wanted;
    out.announce = wanted_->announce;
    const auto& held_back = wanted_->held_back;  // sorted
    for (const hb::FloatingIp& ip : setup_.settings.floating_ips) {
        if (std::binary_search(held_back.begin(), held_back.end(), ip.address.address)) continue;
        out.addresses.push_back(ip);
    }
    out.lease = std::chrono::ceil<seconds>(setup_.settings.vip_lease);
    return out;
}

void Daemon::act(const hb::SetAddresses& set) {
    wanted_ = set;
    permit_ = std::max(permit_, machine_.now() + setup_.settings.keepalive * 3 / 2 + 100ms);
    keeper_.set_target(target(), permit_);
}

void Daemon::act(const hb::PermitLease& permit) {
    permit_ = permit.until;
    keeper_.permit(permit.until);
}

void Daemon::act(const hb::Announce& announce) {
    observer_.on_announce(node_);
    keeper_.announce_all(announce.paced);
}

void Daemon::act(const hb::SendPing& ping) {
    const std::uint16_t sequence = ++sequence_;
    if (open_pings_.size() >= open_pings_max) open_pings_.clear();
    open_pings_[sequence] = ping.index;
    machine_.send_echo(setup_.settings.ping_nodes[ping.index], ping_id_, sequence, nonce);
}

void Daemon::act(const hb::StoreTerm& store) {
    store_.set(costs_.store, [this, term = store.term] {
        const bool ok = !disk_full_;
        if (ok) node_.store_term(term);
        posted_.emplace_back([this, ok] { core_->on_term_stored(machine_.now(), ok, actions_); });
        request_turn();
    });
}

void Daemon::act(const hb::StoreStandby& store) {
    if (!disk_full_) node_.store_standby(store.standby);
}

void Daemon::act(const hb::Note& note) { observer_.on_note(node_, note); }
void Daemon::act(const hb::Answer& answer) { observer_.on_answer(node_, answer); }

void Daemon::act(const hb::Restart& /*restart*/) {
    end_.set(restart_after, [this] { node_.process_ended(true); });
}

void Daemon::act(const hb::Stop& /*stop*/) {
    end_.set(Duration{0}, [this] { node_.process_ended(false); });
}

// ---- address probes, as heartbeat/net/address_probe.cpp ----

void Daemon::act(const hb::SendProbe& probe) {
    for (const IpAddress& ip : probe.addresses) {
        const auto& ips = setup_.settings.floating_ips;
        const auto found =
            std::find_if(ips.begin(), ips.end(), [&](const hb::FloatingIp& one) { return one.address.address == ip; });
        if (found == ips.end()) continue;
        const auto interface = machine_.interface(found->interface);
        if (!interface) continue;
        probed_[ip].at = machine_.now();
        const MacAddress& mac = machine_.interfaces()[*interface].port->mac();
        machine_.send_frame(*interface, ip.is_v4() ? net::arp_request(mac, net::mac_broadcast, IpAddress{}, ip)
                                                   : net::neighbor_solicitation(mac, IpAddress::v6({}), ip));
        if (probe.echo) append_echo(ip, *interface);
    }
}

void Daemon::append_echo(const IpAddress& ip, std::size_t interface) {
    Probed& probed = probed_[ip];
    if (!probed.last_mac) return;
    const auto& here = machine_.interfaces()[interface];
    const IpPrefix* source = nullptr;
    for (const IpPrefix& own : here.addresses) {
        if (own.address.is_v4() != ip.is_v4() || own.address.is_link_local()) continue;
        if (source == nullptr || (own.contains(ip) && !source->contains(ip))) source = &own;
    }
    if (source == nullptr) return;
    const MacAddress& mac = here.port->mac();
    machine_.send_frame(interface, ip.is_v4() ? net::arp_request(mac, *probed.last_mac, source->address, ip)
                                              : net::neighbor_solicitation(mac, source->address, ip));
    probed.echo_sequence = ++sequence_;
    machine_.send_frame(interface, net::echo_request_frame(mac, *probed.last_mac,
                                                           {source->address, ip, echo_id_, probed.echo_sequence,
                                                            net::Bytes(nonce.begin(), nonce.end())}));
}

void Daemon::on_frame(std::size_t interface, ByteView frame) {
    const Instant now = machine_.now();
    const auto own = [&](const MacAddress& mac) {
        return std::any_of(machine_.interfaces().begin(), machine_.interfaces().end(),
                           [&](const Machine::Interface& i) { return i.port->mac() == mac; });
    };
    const auto watched = [&](const IpAddress& ip) {
        const auto& ips = setup_.settings.floating_ips;
        return std::any_of(ips.begin(), ips.end(), [&](const hb::FloatingIp& one) {
            return one.address.address == ip && one.interface == machine_.interfaces()[interface].name;
        });
    };
    const auto heard = [&](const IpAddress& ip, const MacAddress& mac, bool answer) {
        if (!watched(ip)) return;
        if (!answer) return core_->on_foreign_use(now, ip, mac, actions_);
        probed_[ip].last_mac = mac;
        core_->on_probe_answer(now, ip, mac, false, actions_);
        observer_.on_probe_answer(node_, false);
    };
    const auto asked = [&](const IpAddress& ip) {
        const auto probed = probed_.find(ip);
        return probed != probed_.end() && now - probed->second.at <= answer_within;
    };
    if (const auto arp = net::parse_arp(frame)) {
        if (own(arp->sender_mac) || own(arp->frame_source)) return;
        heard(arp->sender, arp->sender_mac,
              arp->form == net::ArpForm::reply && own(arp->target_mac) && asked(arp->sender));
    } else if (const auto na = net::parse_neighbor_advertisement(frame)) {
        if (own(na->mac) || own(na->frame_source)) return;
        heard(na->target, na->mac, asked(na->target));
    } else if (const auto reply = net::parse_echo_reply(frame)) {
        if (own(reply->frame_source) || reply->echo.id != echo_id_ || !watched(reply->echo.source)) return;
        core_->on_probe_answer(now, reply->echo.source, reply->frame_source, true, actions_);
        observer_.on_probe_answer(node_, true);
    }
}

}  // namespace lbcluster::sim
