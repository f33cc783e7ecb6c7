// A pair of cores in virtual time: two nodes, heartbeat links, a LAN with a ping node, and a model of each
// node's kernel (addresses with lifetimes, ARP answers). Deterministic. The simulator in sim/ does this with a
// real network model; here it is small enough for tests of single rules.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "heartbeat/core/core.hpp"

namespace lbcluster::heartbeat::testing {

struct Node {
    std::string name;
    bool primary = true;
    std::unique_ptr<Core> core;  // none: the daemon is dead
    Settings settings;
    std::uint64_t stored_term = 0;
    bool stored_standby = false;
    // the machine
    bool power = true;
    bool cable = true;            // LAN carrier
    bool frozen = false;          // SIGSTOP of the daemon
    std::optional<Instant> wake;  // next_deadline as asked for
    // the kernel
    std::optional<Instant> held_until;  // lease end; far away if off
    bool wanted = false;
    std::uint64_t epoch = 0;
    Instant permit{};
    Instant refreshed{};
    // what happened
    std::vector<Note> notes;
    std::vector<Answer> answers;
    unsigned announces = 0;
    unsigned moves = 0;       // became-active
    unsigned generation = 0;  // of the core, for events that outlive it
    bool stopped = false;
    bool fail_to_add = false;  // its kernel refuses new addresses
    bool restart_asked = false;
    unsigned restarts = 0;
    MacAddress mac;
    std::vector<std::pair<std::uint32_t, Heartbeat>> queued;  // arrived while frozen
};

class Pair {
  public:
    explicit Pair(std::function<void(Settings&)> tweak = {}, std::uint64_t seed = 1) : random_(seed) {
        for (std::size_t i = 0; i < 2; ++i) {
            Node& n = nodes[i];
            n.name = i == 0 ? "lb1" : "lb2";
            n.primary = i == 0;
            n.mac.bytes = {2, 0, 0, 0, 0, static_cast<std::uint8_t>(i + 1)};
            Settings s;
            s.node = n.name;
            s.primary = n.primary;
            s.cluster_id = std::string(16, 'c');
            s.links = {{"eth0", LinkKind::udp, "eth0"}, {"eth1", LinkKind::udp, "eth1"}};
            s.ping_nodes = {*IpAddress::parse("10.77.0.1")};
            s.floating_ips = {{*IpPrefix::parse("10.77.0.200"), "eth0", ""}};
            s.config_digest = 7;
            if (tweak) tweak(s);
            n.settings = s;
        }
    }

    // ---- the world ----
    Instant now{Duration{1000s}};
    std::array<Node, 2> nodes;
    double loss = 0;  // of everything, everywhere
    Duration delay{100us};
    Duration slow_add{300us};    // of the address work
    bool gateway = true;         // the ping node answers
    Duration store_time{1ms};    // of a disk
    bool deaf_fabric = false;    // ARP between the nodes is filtered
    bool ghost = false;          // the fabric answers ARP for a node that is gone
    bool stranger_uses = false;  // a machine outside the pair answers for the floating IPs
    // Extra filter: may a heartbeat pass from node on link?
    std::function<bool(std::size_t from, std::uint32_t link)> passes = [](std::size_t, std::uint32_t) { return true; };
    std::function<void(Heartbeat&)> tamper;
    std::vector<std::pair<std::uint32_t, Heartbeat>> tape[2];  // everything sent by each node
    bool taping = true;
    std::function<void()> watch;  // after each turn
    Duration both_answered{0};    // time in which both kernels answered on a connected LAN
    Duration nobody_answered{0};
    Duration longest_gap{0};

    void start(std::size_t i) {
        Node& n = nodes[i];
        ++n.generation;
        n.epoch = 0;
        n.wanted = false;
        n.frozen = false;
        n.queued.clear();
        n.core = std::make_unique<Core>(now, n.settings,
                                        Core::Start{random_() | 1, random_(), n.stored_term, n.stored_standby});
        n.stopped = false;
        Actions out;
        interfaces(i);
        n.core->on_forwarder(now, true);
        n.core->on_leftovers(now, holds(i));
        n.wake = now;
    }
    void start_both() {
        start(0);
        start(1);
    }
    void interfaces(std::size_t i) {
        Node& n = nodes[i];
        if (!n.core || n.frozen) return;
        Actions out;
        n.core->on_interfaces(now, {{"eth0", n.cable, n.mac}, {"eth1", true, n.mac}}, out);
        carry_out(i, out);
        n.wake = now;
    }
    void set_cable(std::size_t i, bool plugged) {
        nodes[i].cable = plugged;
        interfaces(i);
    }
    void kill(std::size_t i) {
        nodes[i].core.reset();
        nodes[i].wanted = false;
    }
    void power_off(std::size_t i) {
        kill(i);
        nodes[i].power = false;
        nodes[i].held_until.reset();
    }
    void power_on(std::size_t i) {
        nodes[i].power = true;
        start(i);
    }
    void freeze(std::size_t i) { nodes[i].frozen = true; }
    void thaw(std::size_t i) {
        Node& n = nodes[i];
        n.frozen = false;
        if (!n.core) return;
        // Everything that waits in the sockets is read first; of a long stop only the oldest is left there.
        for (auto& [link, message] : n.queued) deliver(i, link, message);
        n.queued.clear();
        interfaces(i);
        check_lapse(i);
        n.wake = now;
    }
    void command(std::size_t i, CommandKind kind, bool force = false, std::uint64_t id = 1) {
        Actions out;
        nodes[i].core->on_command(now, {kind, id, force}, out);
        carry_out(i, out);
        nodes[i].wake = now;
    }
    void reload(std::size_t i, const std::function<void(Settings&)>& change) {
        Node& n = nodes[i];
        change(n.settings);
        if (!n.core || n.frozen) return;
        Actions out;
        n.core->on_settings(now, n.settings, out);
        carry_out(i, out);
        n.wake = now;
    }
    void stop(std::size_t i) {
        nodes[i].core->on_stop(now);
        nodes[i].wake = now;
    }

    // ---- looking ----
    [[nodiscard]] bool active(std::size_t i) const {
        return nodes[i].core && nodes[i].core->activity() == ACTIVITY_ACTIVE;
    }
    [[nodiscard]] bool passive(std::size_t i) const {
        return nodes[i].core && nodes[i].core->activity() == ACTIVITY_PASSIVE;
    }
    // The kernel answers for the address on the LAN.
    [[nodiscard]] bool answers(std::size_t i) const { return holds(i) && nodes[i].power && nodes[i].cable; }
    [[nodiscard]] bool holds(std::size_t i) const { return nodes[i].held_until && *nodes[i].held_until > now; }
    [[nodiscard]] bool noted(std::size_t i, const std::string& kind) const {
        return std::any_of(nodes[i].notes.begin(), nodes[i].notes.end(), [&](const Note& n) { return n.kind == kind; });
    }
    [[nodiscard]] std::string last_reason(std::size_t i) const {
        bus::NodeStatus status;
        nodes[i].core->fill_status(now, [](Instant) { return 0; }, status);
        return status.reason();
    }
    [[nodiscard]] bool alarmed(std::size_t i, const std::string& id) const {
        bus::NodeStatus status;
        nodes[i].core->fill_status(now, [](Instant) { return 0; }, status);
        return std::any_of(status.alarms().begin(), status.alarms().end(),
                           [&](const bus::Alarm& a) { return a.id().rfind(id, 0) == 0; });
    }
    void forget_gaps() { both_answered = nobody_answered = longest_gap = current_gap_ = Duration{0}; }

    // ---- time ----
    void run(Duration length) {
        run_until([] { return false; }, length);
    }
    // True if the condition came true within `limit`.
    bool run_until(const std::function<bool()>& condition, Duration limit) {
        const Instant end = now + limit;
        while (!condition()) {
            Instant next = end;
            if (!events_.empty()) next = std::min(next, events_.top().at);
            for (const Node& n : nodes) {
                if (n.core && !n.frozen && n.wake) next = std::min(next, std::max(*n.wake, now));
                if (n.wanted && n.core && !n.frozen && now <= n.permit) next = std::min(next, n.refreshed + 250ms);
                if (n.held_until && *n.held_until > now) next = std::min(next, *n.held_until);
            }
            next = std::max(next, now);
            account(next - now);
            now = next;
            if (now >= end) return condition();
            turn();
        }
        return true;
    }

  private:
    struct Event {
        Instant at;
        std::uint64_t order;
        std::function<void()> what;
        bool operator<(const Event& other) const {
            return at != other.at ? at > other.at : order > other.order;  // smallest first
        }
    };

    void account(Duration passed) {
        const bool both = answers(0) && answers(1);
        if (both) both_answered += passed;
        if (!answers(0) && !answers(1)) {
            nobody_answered += passed;
            current_gap_ += passed;
            longest_gap = std::max(longest_gap, current_gap_);
        } else {
            current_gap_ = Duration{0};
        }
    }
    void later(Duration in, std::function<void()> what) { events_.push({now + in, ++order_, std::move(what)}); }
    bool lost() { return loss > 0 && std::uniform_real_distribution<>(0, 1)(random_) < loss; }

    void turn() {
        // All that waits is fed before anything is decided.
        while (!events_.empty() && events_.top().at <= now) {
            auto what = events_.top().what;
            events_.pop();
            what();
        }
        for (std::size_t i = 0; i < 2; ++i) {
            Node& n = nodes[i];
            if (!n.core || n.frozen) continue;
            worker(i);
            if (!n.wake || *n.wake > now) continue;
            Actions out;
            n.core->step(now, out);
            n.wake = n.core->next_deadline();
            carry_out(i, out);
        }
        if (watch) watch();
    }

    void worker(std::size_t i) {
        Node& n = nodes[i];
        if (!n.wanted || now < n.refreshed + 250ms || now > n.permit) return;
        n.refreshed = now;
        if (!holds(i)) {
            check_lapse(i);
            return;
        }
        n.held_until = lease_end(n);
    }
    Instant lease_end(const Node& n) const {
        return n.settings.vip_lease == Duration{0} ? now + 10000h : now + n.settings.vip_lease;
    }
    void check_lapse(std::size_t i) {
        Node& n = nodes[i];
        // What the kernel refuses keeps its claim (address_worker.hpp).
        if (!n.wanted || holds(i) || n.fail_to_add) return;
        n.wanted = false;
        report(i, true);
    }
    void report(std::size_t i, bool lapsed) {
        Node& n = nodes[i];
        AddressReport r;
        r.epoch = n.epoch;
        r.complete = !lapsed;
        r.lapsed = lapsed;
        if (holds(i)) {
            for (const FloatingIp& ip : n.settings.floating_ips) r.held.push_back(ip.address.address);
        }
        if (n.wanted && n.fail_to_add) {
            for (const FloatingIp& ip : n.settings.floating_ips) r.failed.emplace_back(ip.address.address, "no room");
        }
        Actions out;
        n.core->on_addresses(now, r, out);
        carry_out(i, out);
        n.wake = now;
    }

    void carry_out(std::size_t i, const Actions& actions) {
        for (const Action& action : actions) std::visit([&](const auto& a) { act(i, a); }, action);
    }
    void act(std::size_t i, const SendHeartbeat& send) {
        Heartbeat message = send.message;
        if (tamper) tamper(message);
        if (taping) tape[i].emplace_back(send.link, message);
        const std::size_t to = 1 - i;
        const bool lan = send.link == 0;
        if (lan && (!nodes[0].cable || !nodes[1].cable)) return;
        if (!nodes[i].power || !passes(i, send.link) || lost()) return;
        later(delay, [this, to, link = send.link, message = std::move(message)] {
            Node& n = nodes[to];
            if (!n.core || !n.power) return;
            if (n.frozen) {
                if (n.queued.size() < 200) n.queued.emplace_back(link, message);
                return;
            }
            deliver(to, link, message);
        });
    }

  public:
    Verdict deliver(std::size_t to, std::uint32_t link, const Heartbeat& message) {
        Actions out;
        const Verdict v = nodes[to].core->on_heartbeat(now, link, message, out);
        carry_out(to, out);
        nodes[to].wake = now;
        return v;
    }

  private:
    void act(std::size_t i, const SetAddresses& set) { set_addresses(i, set, nodes[i].generation); }
    void set_addresses(std::size_t i, const SetAddresses& set, unsigned generation) {
        later(slow_add, [this, i, set, generation] {
            Node& n = nodes[i];
            if (!n.core || n.generation != generation || set.epoch < n.epoch) return;
            if (n.frozen) {
                later(10ms, [this, i, set, generation] { set_addresses(i, set, generation); });
                return;
            }
            n.epoch = set.epoch;
            n.wanted = set.wanted && (set.held_back.empty() || set.held_back.size() < n.settings.floating_ips.size());
            n.refreshed = now;
            if (!n.wanted) n.held_until.reset();
            else if (!n.fail_to_add) n.held_until = lease_end(n);
            if (set.announce) ++n.announces;
            report(i, false);
        });
    }
    void act(std::size_t i, const PermitLease& permit) { nodes[i].permit = permit.until; }
    void act(std::size_t i, const Announce&) { ++nodes[i].announces; }
    void act(std::size_t i, const SendPing& ping) {
        if (!gateway || !nodes[i].cable || lost() || lost()) return;
        const unsigned generation = nodes[i].generation;
        later(2 * delay, [this, i, ping, generation] {
            Node& n = nodes[i];
            if (!n.core || n.frozen || n.generation != generation) return;
            n.core->on_ping_reply(now, ping.index);
            n.wake = now;
        });
    }
    void act(std::size_t i, const SendProbe& probe) {
        const unsigned generation = nodes[i].generation;
        if (stranger_uses && nodes[i].cable) {
            for (const IpAddress& address : probe.addresses) {
                later(2 * delay, [this, i, address, generation] {
                    Node& n = nodes[i];
                    if (!n.core || n.frozen || n.generation != generation) return;
                    Actions out;
                    n.core->on_probe_answer(now, address, {{2, 0, 0, 0, 0, 99}}, false, out);
                    carry_out(i, out);
                    n.wake = now;
                });
            }
        }
        if (ghost && nodes[i].cable && !answers(1 - i)) {
            for (const IpAddress& address : probe.addresses) {
                later(2 * delay, [this, i, address, generation] {
                    Node& n = nodes[i];
                    if (!n.core || n.frozen || n.generation != generation) return;
                    Actions out;
                    n.core->on_probe_answer(now, address, nodes[1 - i].mac, false, out);
                    carry_out(i, out);
                    n.wake = now;
                });
            }
        }
        if (deaf_fabric || !nodes[0].cable || !nodes[1].cable || lost()) return;
        for (const IpAddress& address : probe.addresses) {
            later(delay, [this, i, address, echo = probe.echo, generation] {
                if (!answers(1 - i) || lost()) return;
                later(delay, [this, i, address, echo, generation] {
                    Node& n = nodes[i];
                    if (!n.core || n.frozen || n.generation != generation) return;
                    Actions out;
                    n.core->on_probe_answer(now, address, nodes[1 - i].mac, false, out);
                    if (echo) n.core->on_probe_answer(now, address, nodes[1 - i].mac, true, out);
                    carry_out(i, out);
                    n.wake = now;
                });
            });
        }
    }
    void act(std::size_t i, const StoreTerm& store) {
        const unsigned generation = nodes[i].generation;
        later(store_time, [this, i, generation, term = store.term] {
            if (!nodes[i].core || nodes[i].generation != generation) return;
            nodes[i].stored_term = term;
            Actions out;
            nodes[i].core->on_term_stored(now, true, out);
            carry_out(i, out);
        });
    }
    void act(std::size_t i, const StoreStandby& store) { nodes[i].stored_standby = store.standby; }
    void act(std::size_t i, const Note& note) {
        nodes[i].notes.push_back(note);
        if (note.kind == "became-active") ++nodes[i].moves;
    }
    void act(std::size_t i, const Answer& answer) { nodes[i].answers.push_back(answer); }
    void act(std::size_t i, const Restart&) {
        nodes[i].restart_asked = true;
        ++nodes[i].restarts;
        later(20ms, [this, i, generation = nodes[i].generation] {
            if (nodes[i].core && nodes[i].generation == generation) start(i);
        });
    }
    void act(std::size_t i, const Stop&) {
        nodes[i].stopped = true;
        later(Duration{0}, [this, i, generation = nodes[i].generation] {
            if (nodes[i].generation == generation) kill(i);
        });
    }

    std::mt19937_64 random_;
    std::priority_queue<Event> events_;
    std::uint64_t order_ = 0;
    Duration current_gap_{0};
};

}  // namespace lbcluster::heartbeat::testing
