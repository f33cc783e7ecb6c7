// Facts and watches of the core; heartbeats are made in heartbeats.cpp, transitions in election.cpp, hand-overs in
// handover.cpp.
#include "heartbeat/core/core.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace lbcluster::heartbeat {

namespace {

constexpr std::size_t actions_max = 4096;  // of one step; a guard against loops, never reached in practice
constexpr auto announcing = 7s;  // from the first round of an announcement to the last (net/announce_schedule)

std::set<std::string> interfaces_of(const std::vector<FloatingIp>& floating_ips) {
    std::set<std::string> names;
    for (const FloatingIp& ip : floating_ips) names.insert(ip.interface);
    return names;
}

// FNV-1a, 64 bit: only compared with the peer's for display.
std::uint64_t digest_of(const std::vector<IpAddress>& addresses) {
    std::set<IpAddress> sorted(addresses.begin(), addresses.end());
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const IpAddress& address : sorted) {
        for (const std::uint8_t byte : address.bytes()) hash = (hash ^ byte) * 0x100000001b3ULL;
    }
    return hash;
}

}  // namespace

bool beats(const ClaimValue& a, const ClaimValue& b) {
    if (a.term != b.term) return a.term > b.term;
    if (a.primary != b.primary) return a.primary;
    return a.node < b.node;
}

Core::Core(Instant now, Settings settings, const Start& start)
    : settings_(std::move(settings)),
      session_(settings_.node, settings_.cluster_id, start.boot_id, settings_.links.size()),
      random_(start.seed),
      now_(now),
      started_(now),
      deadline_(now),
      activity_since_(now),
      reserved_term_(start.stored_term),
      standby_wish_(start.standby),
      fitness_changed_at_(now),
      next_heartbeat_(now),
      greeted_at_(now - 1h) {
    pings_.start(now, settings_.ping_nodes.size());
    saw_term(start.stored_term);
    take_floating_ips();
}

void Core::take_floating_ips() {
    tracked_ = interfaces_of(settings_.floating_ips);
    std::vector<IpAddress> all;
    for (const FloatingIp& ip : settings_.floating_ips) all.push_back(ip.address.address);
    all_digest_ = digest_of(all);
    conflicts_.set_addresses(settings_.floating_ips);
    if (settings_.address_probe == AddressProbe::off) conflicts_.trust_all(true);
}

// ---- time ----

void Core::begin(Instant now) {
    now_ = std::max(now, now_);
    if (!wanted_at_ || now_ <= *wanted_at_) return;
    const Duration late = now_ - *wanted_at_;
    wanted_at_.reset();
    if (late <= settings_.keepalive) return;
    last_late_ = now_;
    ++late_loops_;
    send_now_ = true;
    // Only who holds the addresses can have lost them meanwhile; who does not has only heard late.
    if (late > deadtime() && activity_ == ACTIVITY_ACTIVE) cautious_until_ = now_ + deadtime();
}

bool Core::due(Instant when) {
    if (when <= now_) return true;
    deadline_ = std::min(deadline_, when);
    return false;
}

Duration Core::deadtime() const {
    Duration longest = std::max(settings_.deadtime, deadtime_floor_);
    if (heard()) {
        const Duration peers = microseconds{peer().deadtime_us()};
        longest = std::max(longest, std::clamp<Duration>(peers, 10ms, 10min));
    }
    return longest;
}

Duration Core::peer_keepalive() const {
    if (!heard()) return settings_.keepalive;
    return std::clamp<Duration>(microseconds{peer().keepalive_us()}, 5ms, 10s);
}

// ---- the peer ----

Instant Core::silence_since() const {
    const Instant base = heard() ? session_.last_heard() : started_;
    return last_late_ ? std::max(base, *last_late_) : base;
}

Instant Core::own_silence_since() const {
    const Instant acked = session_.acked_sent_at().value_or(started_);
    return std::max(acked, activity_since_);
}

bool Core::peer_dead() {
    if (!settings_.has_peer()) return false;
    if (!heard() && !due(started_ + settings_.initdead)) return false;
    return due(silence_since() + deadtime());
}

bool Core::peer_alive() { return heard() && !peer_found_dead_ && !peer_dead(); }

Restraint Core::restraint() const {
    // The release of an offer that was taken is told after this: silence lasts until addresses are wanted again.
    return {.put_nothing_back = cautious_until_.has_value(), .announce_nothing = cautious_until_ || offer_ || !wanted_};
}

bool Core::peer_late() {
    if (!settings_.has_peer()) return false;
    return due((heard() ? session_.last_heard() : started_) + settings_.warntime);
}

bool Core::peer_active() { return peer_alive() && peer().activity() == ACTIVITY_ACTIVE && peer().claim().term() != 0; }

bool Core::peer_gone_for_active() {
    const Instant since = last_late_ ? std::max(own_silence_since(), *last_late_) : own_silence_since();
    return due(since + deadtime());
}

ClaimValue Core::peer_claim() const { return {peer().claim().term(), peer().claim().primary(), peer().claim().node()}; }

bool Core::is_peer_mac(const MacAddress& mac) const {
    return std::any_of(peer().macs().begin(), peer().macs().end(), [&](const std::string& bytes) {
        return bytes.size() == mac.bytes.size() &&
               std::equal(mac.bytes.begin(), mac.bytes.end(), bytes.begin(),
                          [](std::uint8_t a, char b) { return a == static_cast<std::uint8_t>(b); });
    });
}

std::string Core::peer_name() const { return heard() ? peer().sender() : std::string("the peer"); }

bool Core::peer_hears_me(Duration window) {
    const auto at = session_.peer_heard_me_at();
    return at && within(*at, window);
}

bool Core::peer_is_deaf() {
    const Duration window = 2 * deadtime();
    return heard_since_ && due(*heard_since_ + window) && !peer_hears_me(window);
}

bool Core::i_yield() const {
    if (!heard() || peer().primary() != settings_.primary) return !settings_.primary;
    return settings_.node > peer().sender();
}

// ---- facts ----

Verdict Core::on_heartbeat(Instant now, std::uint32_t link, const Heartbeat& message, Actions& out) {
    begin(now);
    const bool was_heard = heard();
    const bool after_silence = !was_heard || now_ >= session_.last_heard() + settings_.warntime;
    // Not heard in this session: silent since it began.
    const Instant link_heard =
        was_heard && link < settings_.links.size() ? session_.last_heard(link).value_or(session_since_) : now_;
    // The same of the other direction: until when the peer is known to have heard this node there.
    const Instant link_acked =
        was_heard && link < settings_.links.size() ? session_.acked_sent_at(link).value_or(session_since_) : now_;
    const auto [verdict, restarted] = session_.receive(now_, link, message);
    if (verdict == Verdict::same_name) raised_.insert("same-name");
    if (verdict != Verdict::accepted && verdict != Verdict::accepted_late) return verdict;
    deadtime_floor_ = Duration{0};
    if (tracked_.contains(settings_.links[link].interface)) {
        note_gap(link_heard, 3 * peer_keepalive());
        if (session_.acked_sent_at(link) > link_acked)
            note_gap(link_acked, 3 * (settings_.keepalive + peer_keepalive()));
    }
    if (restarted) session_since_ = now_;
    if (after_silence || restarted || !heard_since_) heard_since_ = now_;
    if (std::exchange(peer_found_dead_, false)) peer_back_ = true;
    if (verdict == Verdict::accepted_late) return verdict;
    saw_term(peer().highest_term());
    saw_term(peer().claim().term());
    if (restarted) {
        // Its earlier claim, offers and silences are void.
        deaf_lower_since_.reset();
        peer_unreached_since_.reset();
        idle_since_.reset();
        offer_failures_ = 0;
        offer_again_at_.reset();
        // A restart that was asked for before this session is the one that has just happened.
        restart_seen_ = peer().restart_number();
        send_now_ = true;
        conflicts_.forgive([this](const MacAddress& mac) { return is_peer_mac(mac); });
        note(out, "peer-session", Severity::info,
             "first heartbeat of " + peer().sender() + (was_heard ? " after it was started anew" : " in this life"));
    }
    if (!peer().fitness().known() || peer().fitness().reached()) peer_unreached_since_.reset();
    else if (!peer_unreached_since_) peer_unreached_since_ = now_;
    witnesses_gone_ = pings_.configured() && settings_.isolation != Isolation::strict && !pings_.reached() &&
                      now_ >= pings_.changed_at() + deadtime() && peer_unreached_since_ &&
                      now_ >= *peer_unreached_since_ + deadtime();
    const bool isolated = pings_.configured() && peer().resigning() && !peer().fitness().reached();
    if (isolated && !std::exchange(peer_isolated_, isolated)) note_isolation(false);
    peer_isolated_ = isolated;
    if (peer().activity() == ACTIVITY_ACTIVE) waits_until_.reset();
    if (activity_ != ACTIVITY_ACTIVE) probes_.reset();
    const std::uint64_t restart = peer().restart_number();
    if (restart != 0 && restart != restart_seen_) {
        restart_seen_ = restart;
        restart_me_at_ = now_ + settings_.keepalive / 2;
    }
    return verdict;
}

void Core::on_ping_reply(Instant now, std::size_t index) {
    begin(now);
    note_gap(pings_.last_reply(index).value_or(started_), 2 * PingWatch::calm(deadtime()));
    pings_.on_reply(now_, index);
}

void Core::on_probe_answer(Instant now, const IpAddress& address, const MacAddress& mac, bool echo, Actions& out) {
    begin(now);
    for (const auto& [name, interface] : interfaces_) {
        if (interface.mac == mac) return;
    }
    const bool stranger = !settings_.has_peer() || (heard() && !is_peer_mac(mac));
    if (stranger) {
        on_foreign_use(now, address, mac, out);
        return;
    }
    if (!heard()) conflicts_.on_use(now_, address, mac);  // the peer, or a stranger: not ours to take
    // A fabric may answer ARP for a dead host: after a while only the host's own echo counts.
    const Duration lease = std::max<Duration>(settings_.vip_lease, 3s);
    const Instant base = heard() ? session_.last_heard() : started_;
    if (settings_.address_probe == AddressProbe::arp_echo && !echo && now_ > base + 3 * lease) return;
    probes_.on_answer(now_, echo);
}

void Core::on_foreign_use(Instant now, const IpAddress& address, const MacAddress& mac, Actions& out) {
    begin(now);
    constexpr std::size_t strangers_max = 64;
    if (heard() && is_peer_mac(mac)) return;  // the peer's business is settled by claims
    if (conflicts_.on_use(now_, address, mac)) return;
    auto found = strangers_.find(address);
    if (found == strangers_.end()) {
        if (strangers_.size() >= strangers_max) return;
        found = strangers_.emplace(address, std::pair{mac, now_ - 1h}).first;
    }
    // RFC 5227 2.4 (b): defend, but not more often than every DEFEND_INTERVAL (10 s).
    if (activity_ == ACTIVITY_ACTIVE && now_ >= found->second.second + 10s) announce(out);
    if (now_ >= found->second.second + 10s) found->second.second = now_;
    found->second.first = mac;
}

void Core::on_interfaces(Instant now, const std::vector<InterfaceFact>& interfaces, Actions& out) {
    begin(now);
    const bool had_all = interfaces_known_ && all_carriers();
    const bool had_any = interfaces_known_ && any_carrier();
    const bool first = !interfaces_known_;
    std::map<std::string, InterfaceFact> old = std::exchange(interfaces_, {});
    for (const InterfaceFact& interface : interfaces) interfaces_[interface.name] = interface;
    interfaces_known_ = true;
    if (first) return;
    if (had_any && !any_carrier()) carrier_lost_at_ = now_;
    if (!had_any && any_carrier()) carrier_back_at_ = now_;
    if (had_all != all_carriers()) {
        probes_.restart_count();
        send_now_ = true;
        std::string names;
        for (const std::string& name : tracked_interfaces()) {
            const auto found = interfaces_.find(name);
            if (found == interfaces_.end()) names += " " + name + " (missing)";
            else if (!found->second.carrier) names += " " + name;
        }
        if (had_all) note(out, "carrier-lost", Severity::warning, "no carrier:" + names);
        else note(out, "carrier-back", Severity::info, "carrier on every interface with floating IPs");
    }
    // A changed MAC address makes every cache wrong.
    for (const std::string& name : tracked_interfaces()) {
        const auto before = old.find(name);
        const auto after = interfaces_.find(name);
        if (activity_ == ACTIVITY_ACTIVE && before != old.end() && after != interfaces_.end() &&
            (before->second.mac != after->second.mac || (!before->second.carrier && after->second.carrier))) {
            announce(out);
            break;
        }
    }
}

void Core::on_leftovers(Instant now, bool any) {
    begin(now);
    leftovers_ = any;
    if (any) conflicts_.trust_all(true);
}

void Core::on_addresses(Instant now, const AddressReport& report, Actions& out) {
    begin(now);
    if (report.epoch != epoch_) return;
    const bool first_complete = report.complete && !(addresses_.epoch == epoch_ && addresses_.complete);
    addresses_ = report;
    const std::uint64_t held = digest_of(addresses_.held);
    if (wanted_ && held != held_digest_) announced_at_ = now_;  // the worker announces each as soon as it is there
    held_digest_ = held;
    if (!wanted_ && first_complete && last_word_) {
        send_now_ = true;
        // "Done" may be said from now on, however long the kernel took.
        if (last_word_->phase() == HANDOVER_DONE) last_word_until_ = now_ + last_word_time();
    }
    if (report.lapsed && wanted_) lapsed_ = true;
    // One event, however many went at once; none for what the alarm says already.
    std::size_t removed = 0;
    std::string first_removed;
    for (const IpAddress& address : report.removed_by_others) {
        auto& times = removals_[address];
        const bool often = times.size() == 3 && now_ < times.front() + 1min;
        times.push_back(now_);
        while (times.size() > 3) times.pop_front();
        if (often) continue;
        if (removed++ == 0) first_removed = address.to_string();
    }
    if (removed > 0) {
        note(out, "address-removed", Severity::warning,
             first_removed + (removed > 1 ? " and " + std::to_string(removed - 1) + " more were" : " was") +
                 " removed by another program and put back");
    }
    if (takeover_ && wanted_ && activity_ != ACTIVITY_ACTIVE && report.complete) {
        if (report.failed.empty()) {
            takeover_->added = true;
        } else {
            const auto& [address, why] = report.failed.front();
            refuse(takeover_->number, "cannot add " + address.to_string() + ": " + why);
            forget_takeover(out, "an address could not be added: " + why);
        }
    }
}

bool Core::addresses_settled() const {
    if (addresses_.epoch != epoch_ || conflicts_.asking()) return false;
    std::set<IpAddress> held(addresses_.held.begin(), addresses_.held.end());
    if (!wanted_) return held.empty();
    const std::set<IpAddress> held_back(held_back_.begin(), held_back_.end());
    std::set<IpAddress> failed;
    for (const auto& [address, why] : addresses_.failed) failed.insert(address);
    for (const FloatingIp& ip : settings_.floating_ips) {
        const IpAddress& address = ip.address.address;
        if (held.erase(address) == 0 && !held_back.contains(address) && !failed.contains(address)) return false;
    }
    return held.empty();
}

void Core::on_forwarder(Instant now, bool able) {
    begin(now);
    forwarder_ = able;
}

void Core::on_term_stored(Instant now, bool ok, Actions& /*out*/) {
    begin(now);
    term_storing_ = false;
    term_told_ = true;
    term_failed_at_.reset();
    if (ok) return;
    term_failed_at_ = now_;
    reserved_term_ = 0;  // try again; a take-over does not wait for it
}

void Core::on_command(Instant now, const Command& command, Actions& out) {
    begin(now);
    constexpr std::size_t commands_max = 16;
    if (commands_.size() >= commands_max) {
        answer(out, command.id, 5, "too many commands are waiting", "try again in a moment");
        return;
    }
    commands_.push_back({command, now_});
}

void Core::on_stop(Instant now) {
    begin(now);
    if (!stopping_) stop_since_ = now_;
    stopping_ = true;
}

void Core::on_settings(Instant now, Settings settings, Actions& out) {
    begin(now);
    LBC_ASSERT(settings.node == settings_.node && settings.links.size() == settings_.links.size());
    if (settings_.has_peer()) deadtime_floor_ = std::max(deadtime_floor_, deadtime());
    const bool addresses_changed = settings.floating_ips != settings_.floating_ips;
    const bool pings_changed = settings.ping_nodes != settings_.ping_nodes;
    settings_ = std::move(settings);
    take_floating_ips();
    if (pings_changed) pings_.resize(settings_.ping_nodes.size());
    if (takeover_ && addresses_changed && activity_ != ACTIVITY_ACTIVE) {
        refuse(takeover_->number, "the configuration changed meanwhile");
        forget_takeover(out, "the configuration changed");
    }
    // The same epoch is no new claim: what stays is neither touched nor announced again, only what is new is. Not
    // wanted: an address that left the list goes, too.
    if (addresses_changed && activity_ != ACTIVITY_STARTING) {
        set_addresses(out, activity_ == ACTIVITY_ACTIVE);
    }
    send_now_ = true;
}

// ---- fitness ----

bool Core::all_carriers() const {
    const auto& names = tracked_;
    return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
        const auto found = interfaces_.find(name);
        return found != interfaces_.end() && found->second.carrier;
    });
}

bool Core::any_carrier() const {
    const auto& names = tracked_;
    return names.empty() || std::any_of(names.begin(), names.end(), [&](const std::string& name) {
               const auto found = interfaces_.find(name);
               return found != interfaces_.end() && found->second.carrier;
           });
}

Core::FitnessValue Core::own_fitness() {
    FitnessValue f;
    const bool patience_over = due(started_ + deadtime());
    f.standby = standby_wish_ || stopping_;
    f.carrier = interfaces_known_ && all_carriers();
    f.reached = pings_.reached();
    f.forwarder = forwarder_.value_or(false);
    f.known = patience_over || (interfaces_known_ && pings_.known(now_, deadtime()) && forwarder_);
    return f;
}

Core::FitnessValue Core::peer_fitness() const {
    const Fitness& f = peer().fitness();
    return {f.standby(), f.carrier(), f.reached(), f.forwarder(), f.known()};
}

int Core::compare(const FitnessValue& a, const FitnessValue& b) {
    const auto rank = [](const FitnessValue& f) { return std::array{!f.standby, f.carrier, f.reached, f.forwarder}; };
    const auto ra = rank(a);
    const auto rb = rank(b);
    if (ra == rb) return 0;
    return ra > rb ? 1 : -1;
}

// ---- step ----

void Core::step(Instant now, Actions& out) {
    begin(now);
    const std::size_t facts = out.size();  // what facts asked for before
    deadline_ = now_ + 1h;
    update_watches(out);
    ask_witnesses(out);
    check_conflicts(out);
    read_peer_handover(out);
    run_commands(out);
    decide(out);
    settle_conflict(out);
    announce_after_gap(out);
    run_commands(out);  // those that were waiting for what has just been decided
    run_offer(out);
    run_takeover(out);
    run_stop(out);
    run_restart(out);
    update_fitness();  // a command may have changed it: the heartbeat of this step says so
    reserve_terms(out);
    update_alarms(out);
    send_heartbeats(out);
    if (stopped_) out.emplace_back(Stop{});
    if (deadline_ <= now_) deadline_ = now_ + 1us;
    wanted_at_ = deadline_;
    LBC_ASSERT(out.size() - facts < actions_max);
}

void Core::update_watches(Actions& out) {
    if (cautious_until_ && due(*cautious_until_)) {
        cautious_until_.reset();
        // The peer may have served for a moment and let go again: the caches lead to it.
        if (activity_ == ACTIVITY_ACTIVE) announce(out);
    }
    if (pings_.update(now_, deadtime())) {
        send_now_ = true;
        if (pings_.reached()) {
            claimed_unwitnessed_ = false;
            note(out, "ping-nodes-reached", Severity::info, "a ping node answers");
            // Nothing of what was announced meanwhile may have arrived.
            if (activity_ == ACTIVITY_ACTIVE) announce(out, true);
        } else {
            probes_.restart_count();
            note(out, "ping-nodes-lost", Severity::warning, "no ping node answered for " + format_duration(deadtime()));
        }
    }
    if (const auto lost_at = pings_.lost_at(deadtime())) due(*lost_at);

    const bool late = settings_.has_peer() && peer_late();
    if (late && !peer_was_late_) probes_.reset();
    peer_was_late_ = late;
    if (heard() && !peer_found_dead_ && peer_dead()) {
        peer_found_dead_ = true;
        note(out, "peer-dead", Severity::warning,
             "nothing heard of " + peer_name() + " on any link for " + format_duration(deadtime()));
    } else if (peer_back_) {
        note(out, "peer-alive", Severity::info, "heartbeats of " + peer_name() + " are back");
        // It may have served meanwhile and let go before we could see it: put the caches right.
        if (activity_ == ACTIVITY_ACTIVE) announce(out);
    }
    peer_back_ = false;
    announce_while_alone(out);

    update_fitness();
    const FitnessValue& fitness = last_fitness_;
    const bool busy = activity_ == ACTIVITY_ACTIVE || takeover_ || offer_ ||
                      (heard() && (peer().activity() == ACTIVITY_ACTIVE || peer().resigning() ||
                                   peer().handover().phase() == HANDOVER_ACCEPT));
    const bool idle = peer_alive() && fitness.known && peer_fitness().known && !busy;
    if (!idle) idle_since_.reset();
    else if (!idle_since_) idle_since_ = now_;
}

// A peer that is not heard may have served, and have let go because it hears this node: nothing else tells the caches
// then. With very many addresses more seldom, as each one is a few packets.
void Core::announce_while_alone(Actions& out) {
    const bool alone = activity_ == ACTIVITY_ACTIVE && settings_.has_peer() && !peer_alive() && !cautious_until_;
    if (!alone) {
        announced_alone_at_.reset();
        return;
    }
    if (!announced_alone_at_) announced_alone_at_ = now_;
    const Duration period = std::max<Duration>(5s, 20ms * settings_.floating_ips.size());
    if (!due(*announced_alone_at_ + period)) return;
    announced_alone_at_ = now_;
    announce(out, true);
    due(now_ + period);
}

void Core::note_gap(Instant since, Duration usual) {
    // Three rounds are over in half a second: a shorter gap leaves enough of them.
    if (now_ - since < std::max<Duration>(usual, 500ms) || since > announced_at_ + announcing) return;
    announcements_lost_ = true;
}

// All rounds may have been lost, and the next one is a refresh away. That the ping nodes count as reached says little:
// a deadtime may be longer than all rounds, and one ping node of two is enough for it. Where gap follows gap it goes on
// for as long as they do: with very many addresses more seldom.
void Core::announce_after_gap(Actions& out) {
    if (activity_ != ACTIVITY_ACTIVE) announcements_lost_ = false;
    if (!announcements_lost_) return;
    if (!due(announced_at_ + std::max<Duration>(1s, 20ms * settings_.floating_ips.size()))) return;
    announcements_lost_ = false;
    announce(out, true);
}

void Core::update_fitness() {
    const FitnessValue fitness = own_fitness();
    if (compare(fitness, last_fitness_) != 0 || fitness.known != last_fitness_.known) {
        fitness_changed_at_ = now_;
        offer_failures_ = 0;
        offer_again_at_.reset();
        send_now_ = true;
    }
    last_fitness_ = fitness;
}

void Core::ask_witnesses(Actions& out) {
    const bool late = settings_.has_peer() && peer_late();
    if (pings_.configured() && due(pings_.next_send(settings_.keepalive, deadtime(), late))) {
        for (std::size_t i = 0; i < settings_.ping_nodes.size(); ++i) out.emplace_back(SendPing{i});
        pings_.on_sent(now_);
        due(pings_.next_send(settings_.keepalive, deadtime(), late));
    }

    if (!settings_.has_peer() || settings_.address_probe == AddressProbe::off || !any_carrier()) return;
    const bool active = activity_ == ACTIVITY_ACTIVE;
    const bool waiting = activity_ == ACTIVITY_STARTING || activity_ == ACTIVITY_PASSIVE;
    const bool unheard = active && (late || (peer_active() && !peer_hears_me(2 * deadtime())));
    if (active && !unheard) probes_.reset();
    if (!(waiting && late) && !unheard) return;
    // Passive: three a keepalive, to judge quickly. Active: only to notice that both serve.
    const Duration pace = active ? std::max<Duration>(settings_.keepalive, 250ms) : settings_.keepalive / 3;
    if (const auto last = probes_.last_request(); last && !due(*last + pace)) return;

    const bool witness = !pings_.configured() || witnesses_gone_ || claiming_without_witness_ ||
                         (pings_.last_reply() && probes_.last_request() &&
                          *pings_.last_reply() + settings_.keepalive >= *probes_.last_request());
    probes_.on_request(now_, witness);
    // One address of each interface and family, in turn: with a thousand addresses a sample is enough.
    std::map<std::pair<std::string, bool>, std::vector<IpAddress>> groups;
    for (const FloatingIp& ip : settings_.floating_ips) {
        const auto interface = interfaces_.find(ip.interface);
        if (interface == interfaces_.end() || !interface->second.carrier) continue;
        groups[{ip.interface, ip.address.address.is_v4()}].push_back(ip.address.address);
    }
    SendProbe probe;
    probe.echo = active || settings_.address_probe == AddressProbe::arp_echo;
    for (const auto& [key, addresses] : groups) {
        probe.addresses.push_back(addresses[probe_rotation_ % addresses.size()]);
    }
    ++probe_rotation_;
    if (!probe.addresses.empty()) out.emplace_back(std::move(probe));
    due(now_ + pace);
}

// Before the pair takes an address for the first time. Also while passive: the verdict is there when it is needed.
void Core::check_conflicts(Actions& out) {
    if (peer_active()) {
        pair_served_ = true;
        if (peer().held_digest() == all_digest_) conflicts_.trust_all(true);
    }
    if (!leftovers_) return;
    std::optional<Instant> next;
    SendProbe probe;
    probe.addresses = conflicts_.ask(
        now_,
        [this](const std::string& name) {
            const auto found = interfaces_.find(name);
            return found != interfaces_.end() && found->second.carrier;
        },
        next);
    if (!probe.addresses.empty()) out.emplace_back(std::move(probe));
    if (next) due(*next);
    if (activity_ == ACTIVITY_ACTIVE && wanted_ && conflicts_.held_back() != held_back_) set_addresses(out, true);
}

// ---- small ----

void Core::note(Actions& out, std::string kind, Severity severity, std::string text) {
    out.emplace_back(Note{std::move(kind), severity, std::move(text), inputs()});
}

void Core::answer(Actions& out, std::uint64_t id, unsigned exit_code, std::string message, std::string hint) {
    out.emplace_back(Answer{id, exit_code, std::move(message), std::move(hint)});
}

std::map<std::string, std::string> Core::inputs() {
    const auto yes = [](bool b) { return b ? std::string("yes") : std::string("no"); };
    std::map<std::string, std::string> in;
    in["activity"] = Activity_Name(activity_);
    if (claim_) in["term"] = std::to_string(claim_->term);
    in["carrier"] = yes(all_carriers());
    if (pings_.configured()) in["reached"] = yes(pings_.reached());
    if (last_late_) in["late_ago"] = format_duration(std::chrono::duration_cast<milliseconds>(now_ - *last_late_));
    if (!settings_.has_peer()) return in;
    in["peer_heard"] = yes(heard());
    if (heard()) {
        in["peer_silence"] = format_duration(std::chrono::duration_cast<milliseconds>(now_ - session_.last_heard()));
        in["peer_activity"] = Activity_Name(peer().activity());
        if (peer().claim().term() != 0) in["peer_term"] = std::to_string(peer().claim().term());
        in["peer_reached"] = yes(peer().fitness().reached());
        in["peer_carrier"] = yes(peer().fitness().carrier());
    }
    in["probe_answered"] = yes(probes_.answered());
    in["probe_silent_requests"] = std::to_string(probes_.silent_requests());
    return in;
}

}  // namespace lbcluster::heartbeat
