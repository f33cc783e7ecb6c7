#include "sim/invariants/invariants.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "sim/faults/faults.hpp"
#include "sim/invariants/conduct.hpp"

namespace lbcluster::sim {

namespace hb = heartbeat;

namespace {

constexpr std::size_t events_before = 40;
constexpr std::size_t violations_max = 20;
constexpr Duration loop_time = 10ms;  // wakeups, round trips and the like, all together

const std::array<const char*, 11> names{
    "",       "one answers", "somebody serves", "no needless move", "no flapping", "nothing left behind", "agreement",
    "caches", "reasons",     "noise",           "differences"};

// Lasts, and is not over when it has happened.
bool lasts(const FaultPlan& plan) {
    switch (plan.fault.fault()) {
        case FAULT_KIND_BOOT:
        case FAULT_KIND_START:
        case FAULT_KIND_REMOVE_ADDRESS:
        case FAULT_KIND_RELOAD:
        case FAULT_KIND_ACTIVATE:
        case FAULT_KIND_STANDBY:
        case FAULT_KIND_UNSTANDBY:
        case FAULT_KIND_RESTART:
            return false;
        default:
            return true;
    }
}

// Configuration, version and disk: what must never change roles.
bool is_difference(FaultKind kind) {
    return kind == FAULT_KIND_DISK_FULL || kind == FAULT_KIND_RELOAD || kind == FAULT_KIND_RESTART;
}

}  // namespace

Invariants::Invariants(World& world, const ServiceWatch& service, Recorder& recorder, bool stop_at_violation)
    : world_(world), service_(service), recorder_(recorder), stop_at_violation_(stop_at_violation) {
    for (const auto& node : world.nodes()) seen_[node.get()].inactive_since = beginning;
}

const hb::Settings& Invariants::settings() const { return world_.nodes().front()->setup().settings; }

Duration Invariants::longest(Duration hb::Settings::* which) const {
    Duration most{0};
    for (const auto& node : world_.nodes()) most = std::max(most, node->setup().settings.*which);
    return most;
}

Duration Invariants::address_time() const {
    const Model& model = world_.scenario().scenario.model();
    // A change that was under way before comes first.
    Duration sum = loop_time + slowest_;
    for (const hb::FloatingIp& ip : settings().floating_ips) {
        sum += slowest_ + to_duration(ip.address.address.is_v4() ? model.add_v4() : model.add_v6());
    }
    return sum;
}

bool Invariants::waived(unsigned invariant) const {
    const auto& list = world_.scenario().scenario.waive();
    return std::find(list.begin(), list.end(), invariant) != list.end();
}

void Invariants::fail(unsigned invariant, const std::string& what) {
    if (waived(invariant) || violations_.size() >= violations_max) return;
    Violation violation{world_.seed(), elapsed(), invariant, names.at(invariant), what, {}};
    const auto& events = recorder_.events();
    const std::size_t begin = events.size() > events_before ? events.size() - events_before : 0;
    violation.before.assign(events.begin() + static_cast<std::ptrdiff_t>(begin), events.end());
    violations_.push_back(std::move(violation));
    recorder_.add("invariant", "violation", "alarm",
                  std::to_string(invariant) + " (" + names.at(invariant) + "): " + what);
    if (stop_at_violation_) ns3::Simulator::Stop();
}

// ---- what happens ----

void Invariants::disturbed() {
    disturbed_at_ = world_now();
    look_at_service();
    look_at_agreement();
    caches_.cancel();
    judge_caches_later();
}

void Invariants::on_fault(const FaultPlan& fault, bool begins) {
    if (lasts(fault)) faults_ += begins ? 1 : -1;
    const FaultKind kind = fault.fault.fault();
    if (!is_forged_traffic(kind)) ++role_relevant_;
    // Without ping nodes and without the address probe nothing tells a daemon that is just restarting from a dead one.
    const bool blind = settings().ping_nodes.empty() && settings().address_probe == hb::AddressProbe::off;
    const bool difference = is_difference(kind) && !(blind && kind == FAULT_KIND_RESTART);
    if (!difference && !is_forged_traffic(kind)) only_differences_ = false;
    constexpr std::uint32_t half = 50;  // invariant 7 allows for that
    const bool announcements =
        kind == FAULT_KIND_FILTER_ANNOUNCEMENTS && (!fault.fault.has_percent() || fault.fault.percent() > half);
    if (kind == FAULT_KIND_FILTER_ARP || announcements) filtered_at_ = world_now();
    if (kind == FAULT_KIND_FAIL_TO_ADD) {
        if (begins) refusing_.insert(fault.fault.node());
        else if (const auto one = refusing_.find(fault.fault.node()); one != refusing_.end()) refusing_.erase(one);
    }
    if (kind == FAULT_KIND_DISK_FULL) disk_was_full_ = true;
    if (kind == FAULT_KIND_SLOW_ADDRESSES) slowest_ = std::max(slowest_, to_duration(fault.fault.delay()));
    disturbed();
}

void Invariants::on_process(Node& node) {
    Seen& seen = seen_[&node];
    if (node.daemon() == nullptr) {
        seen.heard = seen.heard_higher = seen.heard_active = seen.answered = std::nullopt;
        seen.active_since.reset();
        if (!seen.inactive_since) seen.inactive_since = world_now();
        look_at_leftovers(node);
        // Killed before the disk had its new term: it may come back with the same one.
        if (world_now() - seen.claimed < 5ms && seen.term > 0) --seen.term;
    }
    seen.stood_still = world_now();
    disturbed();
}

void Invariants::on_activity(Node& node, hb::Activity before) {
    Seen& seen = seen_[&node];
    const bool active = node.daemon()->core().activity() == hb::ACTIVITY_ACTIVE;
    if (active) {
        seen.active_since = world_now();
        seen.inactive_since.reset();
        seen.leftovers.cancel();
        // 6: terms never go down on a node while its storage is intact.
        const auto& claim = node.daemon()->core().claim();
        if (claim && claim->term <= seen.term && !disk_was_full_) {
            fail(6, node.name() + " claims with term " + std::to_string(claim->term) + " after it had " +
                        std::to_string(seen.term));
        }
        if (claim) seen.term = claim->term;
        seen.claimed = world_now();
        // What it had heard was higher than the claim that it had then. If this one beats it, whether it may be is a
        // matter of 3; that nobody lets go for the old one is right.
        if (seen.heard_higher && claim && hb::beats(*claim, seen.higher_claim)) {
            seen.heard_higher.reset();
            judge_both();
        }
    } else if (before == hb::ACTIVITY_ACTIVE) {
        seen.active_since.reset();
        seen.inactive_since = world_now();
        look_at_leftovers(node);
    }
    // 8: every transition has a recorded reason.
    if (!std::exchange(seen.reason, false)) fail(8, node.name() + " changed its activity and recorded no reason");
    changed_at_ = world_now();
    look_at_agreement();
    judge_caches_later();
}

void Invariants::on_note(Node& node, const hb::Note& note) {
    Seen& seen = seen_[&node];
    if (note.kind.starts_with("became-")) {
        seen.reason = !note.text.empty() && !note.inputs.empty();
        if (note.kind == "became-active") judge_claim(node, note.text);
        const auto& nodes = world_.nodes();
        const bool asked_for = std::all_of(nodes.begin(), nodes.end(),
                                           [](const auto& one) { return one->setup().settings.auto_failback; });
        if (note.kind == "became-active" && asked_for && note.text.ends_with("(failback)")) ++failbacks_;
        if (note.kind == "became-passive") judge_yield(node, note.text);
    }
}

void Invariants::on_datagram(Node& node, const Datagram& datagram) {
    const bool accepted = datagram.message != nullptr &&
                          (datagram.verdict == hb::Verdict::accepted || datagram.verdict == hb::Verdict::accepted_late);
    // 9: what a fault made changes nothing but counters.
    if (datagram.noise && accepted) fail(9, node.name() + " accepted a datagram that was replayed or forged");
    if (datagram.noise || !accepted || datagram.verdict != hb::Verdict::accepted) return;
    Seen& seen = seen_[&node];
    seen.heard = world_now();
    if (datagram.message->activity() != hb::ACTIVITY_ACTIVE) {
        // It was active for a moment and is no more: what had waited in a stopped node's socket is read at once.
        if (seen.heard_higher && datagram.message->sequence() > seen.higher_sequence) {
            seen.heard_higher.reset();
            judge_both();
        }
        return;
    }
    seen.heard_active = world_now();
    const auto& claim = node.daemon()->core().claim();
    const hb::Claim& theirs = datagram.message->claim();
    const hb::ClaimValue other{theirs.term(), theirs.primary(), theirs.node()};
    if (!seen.heard_higher && both_since_ && claim && hb::beats(other, *claim)) {
        seen.heard_higher = world_now();
        seen.higher_sequence = datagram.message->sequence();
        seen.higher_claim = other;
        judge_both();
    }
}

void Invariants::on_probe_answer(Node& node, bool echo) {
    Seen& seen = seen_[&node];
    (void)echo;
    seen.answered = world_now();
}

void Invariants::on_turn(Node& /*node*/) {}

void Invariants::on_change() {
    look_at_both();
    look_at_service();
    count_moves();
    for (const auto& node : world_.nodes()) look_at_leftovers(*node);
}

// ---- 1: one answers ----

// A path for heartbeats on which nothing is wrong. A kernel that does not know where the peer is asks once a second
// (RFC 4861 RETRANS_TIMER; Linux does the same for ARP), whatever wants to be sent: until then nothing passes.
bool Invariants::path_clean(const Node& from, const Node& to) const {
    for (const hb::LinkSetup& link : from.setup().links) {
        if (link.kind == hb::LinkKind::serial) {
            const bool forth = from.name() == world_.nodes().front()->name();
            if (world_.serial() != nullptr && world_.serial()->clean(forth ? 0 : 1)) return true;
            continue;
        }
        const auto interface = from.machine().interface(link.interface);
        if (!interface) continue;
        const Network& network = from.machine().interfaces()[*interface].port->network();
        if (network.clean(from.name(), to.name()) && from.machine().neighbor(link.peer)) return true;
    }
    return false;
}

void Invariants::look_at_both() {
    const auto serving = service_.serving();
    if (serving.size() < 2) {
        if (both_since_) judge_caches_later();  // asked meanwhile, either may have answered
        both_since_.reset();
        path_since_.reset();
        both_.cancel();
        for (auto& [node, seen] : seen_) seen.heard_higher.reset();
        return;
    }
    if (!both_since_) both_since_ = world_now();
    judge_both();
}

// While both answer: by when must it be over? Looked at whenever something changes, as each change may shorten it.
//  - a node heard the other one active by the higher claim: that, and its address time
//  - nothing was wrong on a path in both directions: since then 3 keepalives and a round trip, and the address time
//  - only ARP passes: the secondary releases at the first echo, which is asked every 250 ms or keepalive from
//    warntime on. The exemption: a node that stands still, or that reaches nothing, does not count.
void Invariants::judge_both() {
    if (!both_since_ || world_.nodes().size() < 2) return;
    Node& a = *world_.nodes()[0];
    Node& b = *world_.nodes()[1];
    const auto runs = [](const Node& node) { return node.daemon() != nullptr && node.daemon()->runs(); };
    std::optional<Instant> end;
    std::string why;
    const auto until = [&](Instant at, const std::string& reason) {
        if (end && *end <= at) return;
        end = at;
        why = reason;
    };
    const Duration release = address_time() + loop_time;
    for (const auto* node : {&a, &b}) {
        const Seen& seen = seen_[node];
        if (!runs(*node)) continue;
        if (!seen.heard_higher) continue;
        // Stopped after it had heard it and before its kernel let go: its time begins when it goes on.
        until(std::max(*seen.heard_higher, seen.stood_still.value_or(Instant{})) + release,
              node->name() + " heard the higher claim");
    }
    if (!(runs(a) && runs(b) && path_clean(a, b) && path_clean(b, a))) {
        path_since_.reset();
    } else {
        if (!path_since_) path_since_ = world_now();
        // A hand-over lasts its round trips; a session must first be made anew (a round trip, or a keepalive).
        until(std::max({*both_since_, disturbed_at_, *path_since_}) + 4 * keepalive() + release,
              "heartbeats pass in both directions");
    }
    if (!end) {
        both_.cancel();
        return;
    }
    both_.set(std::max<Duration>(*end - world_now(), Duration{0}) + 1us, [this, why] {
        if (both_since_) fail(1, "two kernels answer for " + ms(world_now() - *both_since_) + ", although " + why);
    });
}

// ---- 2: somebody serves ----

// Up, connected, asked to serve: nothing that the rules would hold against it.
bool Invariants::could_serve(const Node& node) const {
    if (node.daemon() == nullptr || !node.daemon()->runs() || !node.machine().works()) return false;
    if (refusing_.contains(node.name())) return false;
    if (node.daemon()->core().activity() == hb::ACTIVITY_STANDBY) return false;
    const Network* lan = world_.lan();
    if (lan == nullptr) return false;
    for (const Machine* router : world_.routers()) {
        const bool reached =
            router->works() && lan->clean(node.name(), router->name()) && lan->clean(router->name(), node.name());
        if (!reached) return false;
    }
    return std::any_of(lan->ports().begin(), lan->ports().end(),
                       [&](const auto& port) { return port->owner() == node.name() && port->carrier(); });
}

void Invariants::look_at_service() {
    if (!service_.serving().empty() || settings().floating_ips.empty()) {
        nobody_since_.reset();
        nobody_.cancel();
        return;
    }
    if (!nobody_since_) nobody_since_ = world_now();
    if (faults_ > 0 && world_.nodes().size() > 1) {
        // Which faults let the rules forbid serving is too fine for here: judged when they are over. Scenarios with a
        // single crash say their gap themselves.
        const bool any = std::any_of(world_.nodes().begin(), world_.nodes().end(),
                                     [&](const auto& node) { return could_serve(*node); });
        if (!any) return nobody_.cancel();
    }
    // The longest that the rules may take from the last disturbance on: a lone boot, the lease of a dead daemon, a
    // peer's kernel that answers, all after another.
    const Duration lease = vip_lease() + 4 * keepalive() + deadtime() + 200ms + 200ms;
    const Duration bound = std::max(longest(&hb::Settings::initdead) + 2 * deadtime(), lease) + 2 * deadtime() +
                           4 * keepalive() + address_time() + 150ms;
    const Instant since = std::max(*nobody_since_, disturbed_at_);
    nobody_.set(std::max<Duration>(since + bound - world_now(), Duration{0}), [this] { judge_service(); });
}

void Invariants::judge_service() {
    if (!nobody_since_) return;
    for (const auto& node : world_.nodes()) {
        if (!could_serve(*node)) continue;
        fail(2, "nobody answers for " + ms(world_now() - *nobody_since_) + ", although " + node->name() +
                    " is up and fit and nothing has changed for " + ms(world_now() - disturbed_at_));
        return;
    }
}

// ---- 3: no needless move; 4: no flapping; 10: differences ----

void Invariants::judge_claim(Node& node, const std::string& text) {
    // Only what it took from a silent peer; hand-overs and the like are wanted.
    const bool claimed = text.starts_with("nothing heard of") || text.starts_with("the peer was never heard");
    Node* peer = world_.peer(node);
    if (!claimed || peer == nullptr || text.find("forced by the operator") != std::string::npos) return;
    Seen& seen = seen_[&node];
    // By its own clock, which may run fast.
    if (seen.heard && world_now() - *seen.heard < deadtime() * 98 / 100) {
        fail(3, node.name() + " took the addresses " + ms(world_now() - *seen.heard) +
                    " after it had heard the peer, which is less than deadtime");
    }
    if (settings().address_probe == hb::AddressProbe::off || !peer->serves()) return;
    // An answer of before warntime says nothing about this silence.
    const bool of_this_silence = seen.answered && (!seen.heard || *seen.answered >= *seen.heard + settings().warntime);
    if (of_this_silence && world_now() - *seen.answered < 3 * keepalive()) {
        fail(3, node.name() + " took the addresses " + ms(world_now() - *seen.answered) +
                    " after the peer's kernel had answered for them");
    }
}

// Of two claims the one with the higher term wins, whatever the core's own comparison says.
void Invariants::judge_yield(Node& node, const std::string& text) {
    const std::string words = "is active with the higher claim (term ";
    const std::size_t at = text.find(words);
    const Seen& seen = seen_[&node];
    if (at == std::string::npos || !seen.active_since || disk_was_full_) return;
    const std::uint64_t term = std::strtoull(text.c_str() + at + words.size(), nullptr, 10);
    if (term >= seen.term) return;
    fail(6, node.name() + " with term " + std::to_string(seen.term) + " gives way to term " + std::to_string(term));
}

void Invariants::count_moves() {
    const std::size_t moves = service_.moves().size();
    if (moves == moves_judged_) return;
    moves_judged_ = moves;
    if (moves > role_relevant_ + 1) {
        fail(4, std::to_string(moves) + " moves after " + std::to_string(role_relevant_) + " faults");
    }
    // A reload may turn automatic failback on: that move is the configuration's wish, not its trouble.
    if (role_relevant_ > 0 && only_differences_ && moves > failbacks_) {
        fail(10, "the addresses moved, although only disk or configuration were in trouble");
    }
}

// ---- 5: nothing left behind ----

void Invariants::look_at_leftovers(Node& node) {
    Seen& seen = seen_[&node];
    if (settings().vip_lease == Duration{0}) return;
    const bool holds = node.machine().works() && node.machine().floating_count() > 0;
    if (!holds || !seen.inactive_since) {
        seen.leftovers.cancel();
        return;
    }
    if (seen.leftovers.pending()) return;
    // From when the node was last active, or took part in a hand-over that failed; the kernel's own lateness on top.
    const Duration late = to_duration(world_.scenario().scenario.model().lease_late());
    const Duration bound = std::chrono::ceil<seconds>(vip_lease()) + late + deadtime() + address_time();
    seen.leftovers.set(bound, [this, &node] {
        const bool still = node.machine().works() && node.machine().floating_count() > 0;
        if (still && seen_[&node].inactive_since) {
            fail(5, node.name() + " is not active and its kernel has held floating IPs for longer than their lease");
        }
    });
}

// ---- 6: agreement ----

bool Invariants::healthy() const {
    if (faults_ > 0 || world_.nodes().size() < 2) return false;
    return std::all_of(world_.nodes().begin(), world_.nodes().end(),
                       [](const auto& node) { return node->daemon() != nullptr && node->daemon()->runs(); });
}

void Invariants::look_at_agreement() {
    if (!healthy()) return agreement_.cancel();
    // From the last disturbance: the kernels find each other (asked once a second), sessions, fitness (known after
    // deadtime), a planned move, a resignation's rest.
    const Duration bound = 1s + 4 * deadtime() + 10 * keepalive() + address_time() + 200ms;
    // A hand-over (failback, fitness) may be under way long after: looked at when it is over.
    const Instant settled = std::max(disturbed_at_ + bound, changed_at_ + 2 * deadtime());
    agreement_.set(std::max<Duration>(settled - world_now(), Duration{0}), [this] { judge_agreement(); });
}

void Invariants::judge_agreement() {
    if (!healthy()) return;
    std::vector<const Node*> active;
    bool standby = true;
    for (const auto& node : world_.nodes()) {
        const hb::Activity activity = node->daemon()->core().activity();
        if (activity == hb::ACTIVITY_ACTIVE) active.push_back(node.get());
        standby = standby && activity == hb::ACTIVITY_STANDBY;
    }
    if (standby) return;
    if (active.size() != 1) {
        fail(6, std::string(active.empty() ? "nobody" : "both") + " active on a network that has been healthy for " +
                    ms(world_now() - disturbed_at_));
        return;
    }
    const auto& claim = active.front()->daemon()->core().claim();
    for (const auto& node : world_.nodes()) {
        if (node.get() == active.front()) continue;
        const bus::NodeStatus status = node->daemon()->status();
        if (status.term() != claim->term) {
            fail(6, node->name() + " believes in term " + std::to_string(status.term()) + ", but " +
                        active.front()->name() + " is active with " + std::to_string(claim->term));
        }
    }
}

// ---- 7: caches ----

// Announcements that vanish unseen are repeated once a refresh.
void Invariants::judge_caches_later() {
    Instant at = world_now() + 10s;
    if (filtered_at_) at = std::max(at, *filtered_at_ + world_.nodes().front()->setup().announce_refresh + 10s);
    caches_.set(at - world_now(), [this] { judge_caches(); });
}

void Invariants::judge_caches() {
    const auto serving = service_.serving();
    if (serving.size() != 1) return;
    const auto& nodes = world_.nodes();
    const auto server =
        std::find_if(nodes.begin(), nodes.end(), [&](const auto& node) { return node->name() == serving.front(); });
    const auto look = [&](const Machine& machine, const Network& network, const IpAddress& address) {
        // Where the configurations differ, it may be one that this node shall not have.
        if (server == nodes.end() || !(*server)->machine().holds(address)) return;
        const auto mac = machine.neighbor(address);
        if (!mac || !network.clean(machine.name(), serving.front()) ||
            !network.clean(serving.front(), machine.name())) {
            return;
        }
        const int index = world_.node_with_mac(network, *mac);
        if (index >= 0 && world_.nodes()[static_cast<std::size_t>(index)]->name() == serving.front()) return;
        fail(7, machine.name() + "'s cache sends " + address.to_string() + " to " + mac->to_string() + " 10 s after " +
                    serving.front() + " became the only one that answers");
    };
    for (const World::Client& client : world_.clients()) {
        for (const IpAddress& address : client.asks) look(*client.machine, *client.network, address);
    }
    for (const Machine* router : world_.routers()) {
        for (const hb::FloatingIp& ip : settings().floating_ips) {
            if (world_.lan() != nullptr && router->works()) look(*router, *world_.lan(), ip.address.address);
        }
    }
}

void Invariants::finish() { both_.cancel(); }

}  // namespace lbcluster::sim
