// What an operator sees: alarms (level-triggered, each with what to do) and the NodeStatus of the bus.
#include <algorithm>

#include "heartbeat/core/core.hpp"

namespace lbcluster::heartbeat {

namespace {

const char* word_of(Activity activity) {
    switch (activity) {
        case ACTIVITY_STARTING:
            return "starting";
        case ACTIVITY_PASSIVE:
            return "passive";
        case ACTIVITY_ACTIVE:
            return "active";
        case ACTIVITY_STANDBY:
            return "standby";
        default:
            return "";
    }
}

std::string hex16(std::uint64_t value) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string text(16, '0');
    for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = digits[value & 0xf];
    return text;
}

}  // namespace

void Core::alarm(Actions& out, const std::string& id, const std::string& text, const std::string& action,
                 Severity severity) {
    constexpr std::size_t alarms_max = 256;
    auto found = alarms_.find(id);
    if (found == alarms_.end()) {
        if (alarms_.size() >= alarms_max) return;
        found = alarms_.emplace(id, AlarmState{now_, text, action, severity, now_}).first;
        // Advice stands in `status`; it is no event.
        if (severity != Severity::info) note(out, "alarm", severity, id + ": " + text);
    }
    found->second.text = text;
    found->second.action = action;
    found->second.last_seen = now_;
}

void Core::update_alarms(Actions& out) {
    const bool active = activity_ == ACTIVITY_ACTIVE;
    if (settings_.has_peer()) {
        const bool dead = peer_found_dead_ || peer_dead();
        if (dead && active) {
            alarm(out, "peer-dead", "the peer is dead: this node serves alone", "bring the peer back");
        }
        if (dead && !active && probes_.answered()) {
            alarm(out, "peer-serves",
                  "no heartbeat of the peer, but its kernel answers for the floating IPs: not taking over",
                  "repair the heartbeat links (UDP port, firewall, cable), or start heartbeatd on the peer");
        } else if (dead && !active && !claim_refusal_.empty() && due(silence_since() + 2 * deadtime() + 1s)) {
            alarm(out, "no-takeover", "the peer is dead and this node does not take over: " + claim_refusal_,
                  "repair what keeps it, or `lbcluster activate --force`");
        }
        if (dead && activity_ == ACTIVITY_STANDBY) {
            alarm(out, "nobody-serves", "the peer is dead and this node is in standby by the operator",
                  "`lbcluster unstandby` here, or bring the peer back");
        }
        if (peer_alive() && activity_ == ACTIVITY_STANDBY && peer().activity() == ACTIVITY_STANDBY) {
            alarm(out, "nobody-serves", "both nodes are in standby by the operator",
                  "`lbcluster unstandby` on one node");
        }
        if (peer_alive() && session_.peer_heard_me_at() && !peer_hears_me(2 * deadtime())) {
            alarm(out, "peer-does-not-hear", peer_name() + " is heard but does not hear this node",
                  "look at the firewall and cabling from here to the peer");
        }
        if (in_conflict_) {
            alarm(out, "both-active", peer_name() + " is active too, with the lower claim; it should let go at once",
                  "if this lasts, stop heartbeatd on one node");
        }
        if (!pings_.configured() && settings_.address_probe == AddressProbe::off) {
            alarm(out, "no-split-brain-protection",
                  "nothing protects against split brain: no ping node, no address probe",
                  "set heartbeat.ping_nodes, or address_probe: arp");
        }
        if (settings_.links.size() == 1) {
            alarm(out, "single-link", "there is only one heartbeat link", "add a second one over another path (advice)",
                  Severity::info);
        }
        for (std::uint32_t i = 0; i < settings_.links.size() && heard() && !dead; ++i) {
            const auto at = session_.last_heard(i);
            if (!(at && within(*at, deadtime())) && due(started_ + settings_.initdead)) {
                alarm(out, "link-down/" + settings_.links[i].name,
                      "heartbeat link " + settings_.links[i].name + " is down",
                      "look at its interface, cable and firewall", Severity::warning);
            }
        }
        if (peer_alive() && peer().config_digest() != settings_.config_digest) {
            alarm(out, "config-differs", "the configurations of the two nodes differ; this decides nothing by itself",
                  "make cluster.yaml the same on both", Severity::warning);
        }
        if (peer_alive() && peer().version() > protocol_version) {
            alarm(out, "peer-newer", peer_name() + " runs a newer version", "finish the upgrade", Severity::warning);
        }
        if (raised_.contains("same-name")) {
            alarm(out, "same-name", "another node of this cluster calls itself " + settings_.node + "; it is ignored",
                  "give each node its own name in node.yaml");
        }
        if (claiming_without_witness_ && active) {
            alarm(out, "without-witness", "this node took over although no ping node ever answered",
                  "check heartbeat.ping_nodes");
        }
    }
    raised_.clear();
    if (pings_.configured() && !pings_.reached() && pings_.known(now_, deadtime())) {
        alarm(out, "ping-nodes-lost", "no ping node answers", "check this node's network and heartbeat.ping_nodes");
    }
    if (interfaces_known_) {
        for (const std::string& name : tracked_interfaces()) {
            const auto found = interfaces_.find(name);
            if (found == interfaces_.end()) {
                alarm(out, "interface/" + name, "interface " + name + " does not exist on this node",
                      "create it, or correct `interfaces` in node.yaml");
            } else if (!found->second.carrier) {
                alarm(out, "interface/" + name, "interface " + name + " has no carrier", "check cable and switch port");
            }
        }
    }
    if (active && addresses_.epoch == epoch_) {
        for (const auto& [address, why] : addresses_.failed) {
            alarm(out, "address/" + address.to_string(), "floating IP " + address.to_string() + " is not up: " + why,
                  "see the reason");
        }
    }
    for (auto& [address, times] : removals_) {
        if (times.size() == 3 && times.back() - times.front() <= 1min && within(times.back(), 1min)) {
            alarm(out, "removed/" + address.to_string(), "another program keeps removing " + address.to_string(),
                  "systemd-networkd: KeepConfiguration=static; NetworkManager: set the interface unmanaged");
        }
    }
    std::erase_if(strangers_, [&](const auto& entry) { return due(entry.second.second + 1min); });
    for (const auto& [address, stranger] : strangers_) {
        alarm(out, "address-conflict/" + address.to_string(),
              stranger.first.to_string() + " uses " + address.to_string() + ", which is ours",
              "find that machine and give it another address");
    }
    // As long as the peer was not heard it may be the one that answers.
    const bool peer_known = !settings_.has_peer() || heard() || due(started_ + settings_.initdead);
    for (const auto& [address, mac] : conflicts_.refused()) {
        if (!peer_known) break;
        alarm(out, "address-conflict/" + address.to_string(),
              mac.to_string() + " uses " + address.to_string() + ", so it is not taken",
              "give that machine another address, or delete the floating IP; `lbcluster activate --force` takes it all "
              "the same");
    }
    if (term_failed_at_) {
        alarm(out, "term-not-stored", "the term could not be written to disk",
              "check space and permissions of the state folder");
    }
    if (voluntary_moves_.size() >= 3 && flip_limit_reached()) {
        alarm(out, "flip-limit", "three moves in ten minutes: no more by itself", "find out what keeps changing",
              Severity::warning);
    }
    // What ended a moment ago may be back in a moment: an alarm is over when it has been quiet for a while.
    const Duration quiet = std::max<Duration>(2 * deadtime(), 1s);
    for (auto entry = alarms_.begin(); entry != alarms_.end();) {
        const bool over = entry->second.last_seen != now_ && due(entry->second.last_seen + quiet);
        if (over && entry->second.severity != Severity::info) {
            note(out, "alarm-end", Severity::info, entry->first + ": " + entry->second.text);
        }
        if (over) entry = alarms_.erase(entry);
        else ++entry;
    }
}

void Core::fill_status(Instant now, const std::function<std::uint64_t(Instant)>& realtime_ms,
                       bus::NodeStatus& status) const {
    status.set_name(settings_.node);
    status.set_role(settings_.primary ? "primary" : "secondary");
    status.set_activity(word_of(activity_));
    status.set_since_ms(realtime_ms(activity_since_));
    const bool by_peer = heard() && peer().activity() == ACTIVITY_ACTIVE && !claim_;
    status.set_term(claim_ ? claim_->term : (by_peer ? peer().claim().term() : highest_term_));
    status.set_reason(activity_reason_);
    const auto show = [](const FitnessValue& f, bus::FitnessStatus& to) {
        to.set_standby(f.standby);
        to.set_carrier(f.carrier);
        to.set_reached(f.reached);
        to.set_forwarder(f.forwarder);
        to.set_known(f.known);
    };
    show(last_fitness_, *status.mutable_fitness());

    const bool alive = heard() && !peer_found_dead_ && now < silence_since() + deadtime();
    bus::PeerStatus& p = *status.mutable_peer();
    p.set_state(!settings_.has_peer() ? "none" : (!heard() ? "unknown" : (alive ? "alive" : "dead")));
    p.set_heard(heard());
    if (heard()) {
        p.set_name(peer().sender());
        p.set_role(peer().primary() ? "primary" : "secondary");
        p.set_activity(word_of(peer().activity()));
        p.set_last_heard_ms(
            static_cast<std::uint64_t>(std::chrono::duration_cast<milliseconds>(now - session_.last_heard()).count()));
        show(peer_fitness(), *p.mutable_fitness());
        p.set_config_revision(peer().config_revision());
        p.set_config_digest(hex16(peer().config_digest()));
    }
    bool any_up = false;
    for (std::uint32_t i = 0; i < settings_.links.size(); ++i) {
        bus::LinkStatus& link = *status.add_links();
        link.set_name(settings_.links[i].name);
        link.set_kind(settings_.links[i].kind == LinkKind::udp ? "udp" : "serial");
        const auto at = session_.last_heard(i);
        const bool up = at && now < *at + deadtime();
        const auto acked = session_.acked_sent_at(i);
        const bool acknowledged = acked && now < *acked + 2 * deadtime();
        link.set_state(!up ? "down" : (acknowledged ? "up" : "one-way"));
        link.set_rtt_us(static_cast<std::uint64_t>(std::chrono::duration_cast<microseconds>(session_.rtt(i)).count()));
        link.set_received(session_.received(i));
        link.set_sent(session_.sent(i));
        any_up = any_up || up;
    }
    status.set_link(!settings_.has_peer() ? "none" : (any_up ? "up" : "down"));
    for (std::size_t i = 0; i < settings_.ping_nodes.size(); ++i) {
        bus::PingNodeStatus& ping = *status.add_ping_nodes();
        ping.set_address(settings_.ping_nodes[i].to_string());
        ping.set_reachable(pings_.reachable(i, now, deadtime()));
    }
    const std::set<IpAddress> held(addresses_.held.begin(), addresses_.held.end());
    const auto refused = conflicts_.refused();
    const std::map<IpAddress, std::string> failed(addresses_.failed.begin(), addresses_.failed.end());
    for (const FloatingIp& ip : settings_.floating_ips) {
        bus::FloatingIpStatus& shown = *status.add_floating_ips();
        shown.set_address(ip.address.address.to_string());
        shown.set_interface(ip.interface);
        shown.set_label(ip.label);
        shown.set_held(held.contains(ip.address.address));
        if (const auto why = failed.find(ip.address.address); why != failed.end()) shown.set_error(why->second);
        if (const auto stranger = refused.find(ip.address.address); stranger != refused.end()) {
            shown.set_error("used by " + stranger->second.to_string());
        }
    }
    for (const std::string& name : tracked_interfaces()) {
        bus::InterfaceStatus& shown = *status.add_interfaces();
        const auto found = interfaces_.find(name);
        shown.set_name(name);
        shown.set_present(found != interfaces_.end());
        shown.set_carrier(found != interfaces_.end() && found->second.carrier);
    }
    for (const auto& [id, state] : alarms_) {
        bus::Alarm& shown = *status.add_alarms();
        shown.set_id(id);
        shown.set_since_ms(realtime_ms(state.since));
        shown.set_text(state.text);
        shown.set_action(state.action);
    }
    const auto us = [](Duration d) {
        return static_cast<std::uint64_t>(std::chrono::duration_cast<microseconds>(d).count());
    };
    bus::Timers& timers = *status.mutable_timers();
    timers.set_keepalive_us(us(settings_.keepalive));
    timers.set_warntime_us(us(settings_.warntime));
    timers.set_deadtime_us(us(deadtime()));
    timers.set_initdead_us(us(settings_.initdead));
    timers.set_vip_lease_ms(us(settings_.vip_lease) / 1000);
    (*status.mutable_counters())["late_loops"] = late_loops_;
}

}  // namespace lbcluster::heartbeat
