#include "sim/invariants/conduct.hpp"

#include <algorithm>
#include <utility>

#include "sim/faults/faults.hpp"
#include "sim/invariants/invariants.hpp"

namespace lbcluster::sim {

namespace hb = heartbeat;

namespace {

constexpr Duration resolution = 1s;  // a kernel asks for a neighbour that it does not know once a second

// Sets or clears `since` as `holds` says.
void follow(std::optional<Instant>& since, bool holds) {
    if (!holds) since.reset();
    else if (!since) since = world_now();
}

}  // namespace

Conduct::Conduct(World& world, const ServiceWatch& service, Invariants& invariants)
    : world_(world), service_(service), invariants_(invariants) {}

const hb::Settings& Conduct::settings() const { return world_.nodes().front()->setup().settings; }

Duration Conduct::deadtime() const { return invariants_.deadtime(); }
Duration Conduct::keepalive() const { return invariants_.keepalive(); }

bool Conduct::runs(const Node& node) const { return node.daemon() != nullptr && node.daemon()->runs(); }

void Conduct::on_process(Node& node) {
    Seen& seen = seen_[&node];
    seen.changed = world_now();
    if (node.daemon() == nullptr) {
        seen.found_addresses = false;
        seen.owes_resignation.reset();
        seen.life = nullptr;
    } else if (seen.life != node.daemon()) {
        seen.reaches = false;
        seen.heard = {};
        seen.life = node.daemon();
        seen.started = world_now();
        seen.found_addresses = node.serves();
    }
    paths_whole_.reset();
    look();
}

void Conduct::on_fault(const FaultPlan& fault, bool /*begins*/) {
    const FaultKind kind = fault.fault.fault();
    if (kind >= FAULT_KIND_DELAY && kind <= FAULT_KIND_REORDER) order_kept_ = false;
    if (kind == FAULT_KIND_REMOVE_ADDRESS || kind == FAULT_KIND_RELOAD || kind == FAULT_KIND_STRANGER) {
        address_trouble_ = world_now();
    }
}

void Conduct::look() {
    if (world_.nodes().size() < 2) return;
    Node& a = *world_.nodes()[0];
    Node& b = *world_.nodes()[1];
    follow(paths_whole_, runs(a) && runs(b) && invariants_.path_clean(a, b) && invariants_.path_clean(b, a));
    for (Node* node : {&a, &b}) {
        look_at_routers(*node, seen_[node]);
        look_at_cut_off(*node, seen_[node]);
    }
    look_at_kernels();
}

// ---- 3: claims ----

void Conduct::on_note(Node& node, const hb::Note& note) {
    if (note.kind == "ping-nodes-reached") seen_[&node].reaches = true;
    if (note.kind == "ping-nodes-lost") seen_[&node].reaches = false;
    if (note.kind == "became-active") {
        judge_claim(node, note.text);
        if (note.text.starts_with("planned hand-over from")) judge_planned(node);
    }
    if (note.kind == "conflict-end") seen_[&node].conflict_ended = true;
    if (note.kind == "handover" && note.text.ends_with("(fitness)")) judge_fitness(node);
    const bool resigns = note.text.find("went away together") != std::string::npos ||
                         note.text.starts_with("neither the peer nor") ||
                         note.text.find("the lease of its addresses ended") != std::string::npos;
    if (note.kind == "became-passive" && resigns) seen_[&node].owes_resignation = world_now();
}

void Conduct::judge_claim(Node& node, const std::string& text) {
    const bool never = text.starts_with("the peer was never heard");
    if (!never && !text.starts_with("nothing heard of")) return;
    if (text.find("forced by the operator") != std::string::npos) return;
    // A session needs the kernels to find each other, and a greeting with its answer.
    const Duration session = resolution + deadtime() + 3 * keepalive();
    if (paths_whole_ && world_now() - *paths_whole_ > session) {
        invariants_.fail(3, node.name() + " took the addresses, although heartbeats could pass for " +
                                ms(world_now() - *paths_whole_));
    }
    const Seen& seen = seen_[&node];
    const bool lost = seen.routers_gone && world_now() - *seen.routers_gone > deadtime();
    if (!never && lost && seen.peer_reached) {
        invariants_.fail(3, node.name() + " took the addresses, but reaches no ping node for " +
                                ms(world_now() - *seen.routers_gone) + ", and its peer did");
    }
    const Duration up = world_now() - seen.started;
    if (never && up < node.setup().settings.initdead * 97 / 100) {
        invariants_.fail(3, node.name() + " took the addresses " + ms(up) + " after its start, which is less than " +
                                "initdead, and had not heard its peer");
    }
}

// ---- 3: adoption ----

void Conduct::on_activity(Node& node, hb::Activity before) {
    Seen& seen = seen_[&node];
    const hb::Activity now = node.daemon()->core().activity();
    if (now == hb::ACTIVITY_ACTIVE || before == hb::ACTIVITY_ACTIVE) seen.was_active = world_now();
    seen.hears_rival.reset();
    const bool adopts = seen.found_addresses && settings().address_probe != hb::AddressProbe::off;
    seen.found_addresses = false;
    const Node* peer = world_.peer(node);
    if (before != hb::ACTIVITY_STARTING || now != hb::ACTIVITY_PASSIVE || !adopts || peer == nullptr) return look();
    const bool rival = peer->daemon() != nullptr && peer->daemon()->core().activity() == hb::ACTIVITY_ACTIVE;
    const auto& last = seen_[peer].was_active;
    const bool lately = last && world_now() - *last < deadtime() + resolution;
    if (!rival && !lately && world_now() - address_trouble_ > 1s) {
        invariants_.fail(3, node.name() +
                                " found its addresses in the kernel after a restart and did not adopt them, " +
                                "although nobody else is active");
    }
    look();
}

// ---- 2: planned hand-overs have the addresses; a resignation is said ----

void Conduct::judge_planned(const Node& node) {
    if (world_now() - address_trouble_ < 1s) return;
    for (const hb::FloatingIp& ip : node.setup().settings.floating_ips) {
        if (node.machine().holds(ip.address.address)) continue;
        invariants_.fail(2, node.name() + " is active by a planned hand-over, but its kernel has no " +
                                ip.address.address.to_string());
        return;
    }
}

void Conduct::on_sent(Node& node, const hb::SendHeartbeat& sent) {
    Seen& seen = seen_[&node];
    if (sent.message.handover().phase() == hb::HANDOVER_DONE && node.machine().floating_count() > 0) {
        invariants_.fail(1, node.name() + " says that its addresses are gone, and its kernel holds them");
    }
    if (!seen.owes_resignation) return;
    const bool due = world_now() - *seen.owes_resignation < 2 * keepalive();
    if (due && sent.message.activity() == hb::ACTIVITY_PASSIVE && !sent.message.resigning()) {
        invariants_.fail(2, node.name() + " gave the addresses up and does not tell its peer");
    }
    seen.owes_resignation.reset();
}

// ---- 7: the end of a conflict ----

void Conduct::on_turn(Node& node) {
    Seen& seen = seen_[&node];
    if (seen.conflict_ended && !seen.announced) {
        invariants_.fail(7, node.name() + " has won a conflict and announces nothing at its end");
    }
    seen.conflict_ended = seen.announced = false;
}

// ---- 4: fitness ----

void Conduct::look_at_routers(Node& node, Seen& seen) {
    const Network* lan = world_.lan();
    if (lan == nullptr) return;
    bool sure = true;
    bool gone = !world_.routers().empty();
    for (const Machine* router : world_.routers()) {
        sure = sure && router->works() && lan->clean(node.name(), router->name()) &&
               lan->clean(router->name(), node.name());
        gone = gone && (!router->works() || lan->severed(node.name(), router->name()) ||
                        lan->severed(router->name(), node.name()));
    }
    const bool plugged = std::any_of(lan->ports().begin(), lan->ports().end(),
                                     [&](const auto& port) { return port->owner() == node.name() && port->carrier(); });
    sure = sure && plugged;
    if (sure && seen.routers_unsure) seen.routers_sure = world_now();
    follow(seen.routers_unsure, !sure);
    follow(seen.routers_gone, gone);
}

void Conduct::judge_fitness(const Node& node) {
    const Seen& seen = seen_[&node];
    // Only where it is plain: all was well for long, then something began, and that is not long enough ago.
    if (!seen.routers_unsure || seen.changed > seen.routers_sure) return;
    const Duration well = *seen.routers_unsure - seen.routers_sure;
    const Duration ill = world_now() - *seen.routers_unsure;
    if (well < deadtime() + 2 * resolution || ill >= 2 * deadtime()) return;
    invariants_.fail(4, node.name() + " hands over for fitness " + ms(ill) +
                            " after something began to be wrong, which is less than 2 x deadtime");
}

// ---- 1: a node that is cut off lets go ----

// No heartbeat gets there at all.
bool Conduct::cut(const Node& from, const Node& to) const {
    const auto& links = from.setup().links;
    return std::all_of(links.begin(), links.end(), [&](const hb::LinkSetup& link) {
        if (link.kind == hb::LinkKind::serial) {
            return world_.serial() != nullptr &&
                   world_.serial()->severed(&from == world_.nodes().front().get() ? 0 : 1);
        }
        const auto interface = from.machine().interface(link.interface);
        return interface && from.machine().interfaces()[*interface].port->network().severed(from.name(), to.name());
    });
}

void Conduct::look_at_cut_off(Node& node, Seen& seen) {
    const Node* peer = world_.peer(node);
    const bool before = seen.routers_gone && seen.peer_gone;
    // Each direction by itself: one that mends as the other one breaks is no silence that a node could measure.
    // One that is starved sends all the same.
    const bool off = peer->daemon() == nullptr || peer->daemon()->stopped() || !peer->machine().works();
    follow(seen.peer_deaf, off || cut(node, *peer));
    follow(seen.peer_mute, off || cut(*peer, node));
    const auto was_gone = std::exchange(seen.peer_gone, seen.peer_deaf ? seen.peer_deaf : seen.peer_mute);
    if (seen.peer_deaf && seen.peer_mute) seen.peer_gone = std::min(*seen.peer_deaf, *seen.peer_mute);
    if (was_gone && seen.peer_gone != was_gone) {
        seen.peer_back = world_now();
        seen.cut_off.cancel();
    }
    const bool alone = seen.routers_gone && seen.peer_gone && runs(node) && node.serves() &&
                       !settings().ping_nodes.empty() && settings().isolation != hb::Isolation::hold;
    if (!alone) return seen.cut_off.cancel();
    if (before && seen.cut_off.pending()) return;
    // `auto` releases only if both went at once; and whatever stood still has its own rules.
    const Instant since = std::max(*seen.routers_gone, *seen.peer_gone);
    const Duration apart = since - std::min(*seen.routers_gone, *seen.peer_gone);
    // What was whole again for a moment only may not have been noticed: its neighbour cache may still have to learn.
    const bool noticed = seen.reaches && seen.heard > seen.peer_back + 5 * keepalive() / 2;
    const bool together = noticed && seen.routers_unsure && apart < deadtime() / 2 &&
                          *seen.routers_gone - *seen.routers_unsure < deadtime() / 2;
    if (settings().isolation != hb::Isolation::strict && !together) return;
    seen.cut_off.set(since + deadtime() + deadtime() / 10 + 2 * keepalive() + invariants_.address_time() - world_now(),
                     [this, &node] { judge_cut_off(node); });
}

void Conduct::judge_cut_off(Node& node) {
    const Seen& seen = seen_[&node];
    if (!seen.routers_gone || !seen.peer_gone || !runs(node) || !node.serves()) return;
    const Instant since = std::max(*seen.routers_gone, *seen.peer_gone);
    const Duration patience = deadtime() + deadtime() / 5 + 3 * keepalive();
    if (seen.changed > since - patience || (seen.was_active && *seen.was_active > since - patience)) return;
    invariants_.fail(1, node.name() + " still answers " + ms(world_now() - since) +
                            " after it was cut off from its peer and every ping node");
}

// ---- 1: two that answer, and one of them is heard ----

void Conduct::on_datagram(Node& node, const Datagram& datagram) {
    if (datagram.noise || datagram.message == nullptr) return;
    if (datagram.verdict == hb::Verdict::replayed && order_kept_) {
        invariants_.fail(9, node.name() + " refused as played back what its peer had just sent");
    }
    if (datagram.verdict != hb::Verdict::accepted) return;
    Seen& seen = seen_[&node];
    seen.heard = world_now();
    seen.peer_reached = datagram.message->fitness().reached();
    const bool both = datagram.message->activity() == hb::ACTIVITY_ACTIVE &&
                      node.daemon()->core().activity() == hb::ACTIVITY_ACTIVE && service_.serving().size() > 1;
    if (!both) return seen.hears_rival.reset();
    const bool broken =
        seen.hears_rival && (world_now() - seen.heard_rival > deadtime() / 2 || seen.changed > *seen.hears_rival);
    if (!seen.hears_rival || broken) seen.hears_rival = world_now();
    seen.heard_rival = world_now();
    // The lower claim is let go at once; the higher one, not heard for 2 x deadtime, after one more.
    const Duration bound = 4 * deadtime() + 6 * keepalive() + invariants_.address_time();
    if (world_now() - *seen.hears_rival <= bound) return;
    invariants_.fail(1, "two kernels answer, and " + node.name() + " has heard the other one say so for " +
                            ms(world_now() - *seen.hears_rival));
}

// ---- 1: two that answer, and each could see the other one's kernel ----

void Conduct::look_at_kernels() {
    Node& a = *world_.nodes()[0];
    Node& b = *world_.nodes()[1];
    const Network* lan = world_.lan();
    const bool visible = lan != nullptr && settings().address_probe != hb::AddressProbe::off &&
                         service_.serving().size() > 1 && runs(a) && runs(b) && lan->clean(a.name(), b.name()) &&
                         lan->clean(b.name(), a.name());
    const bool before = kernels_visible_.has_value();
    follow(kernels_visible_, visible);
    if (!visible) return visible_.cancel();
    if (before) return;
    // Not heard for 2 x deadtime, an echo, and the patience of the one who yields last.
    const Duration bound = 3 * deadtime() + invariants_.vip_lease() + 2 * resolution + 4 * keepalive() + 500ms;
    visible_.set(bound, [this, bound] {
        invariants_.fail(1, "two kernels answer, and each could see the other one on the LAN for " + ms(bound));
    });
}

}  // namespace lbcluster::sim
