#include "sim/swarm/mix.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "sim/scenario/scenario.hpp"
#include "sim/world/random.hpp"

namespace lbcluster::sim {

namespace {

constexpr std::array<const char*, 2> nodes{"lb1", "lb2"};

Timers timers_of(const std::string& yaml, Duration keepalive, Duration deadtime, Duration initdead) {
    return {yaml, keepalive, deadtime, initdead};
}

std::string cluster_yaml(const Mix& mix, const std::string& extra) {
    std::string text = "heartbeat:\n" + mix.timers.yaml;
    if (mix.ping_nodes > 0) {
        text += "  ping_nodes: [10.77.0.1";
        text += mix.ping_nodes > 1 ? ", 10.77.0.2]\n" : "]\n";
    }
    if (!mix.address_probe.empty()) text += "  address_probe: " + mix.address_probe + "\n";
    if (!mix.isolation.empty()) text += "  isolation: " + mix.isolation + "\n";
    if (mix.failback_delay > Duration{0}) {
        text += "  auto_failback: true\n  failback_delay: " + format_duration(mix.failback_delay) + "\n";
    }
    if (!mix.vip_lease.empty()) text += "  vip_lease: " + mix.vip_lease + "\n";
    text += extra + "floating_ips:\n";
    for (const std::string& ip : mix.floating_ips) text += "  - {address: '" + ip + "', interface: lan}\n";
    return text;
}

std::string node_yaml(const Mix& mix, std::size_t index) {
    const std::string own = std::to_string(11 + index);
    const std::string peer = std::to_string(12 - index);
    std::string text = std::string("node: ") + nodes[index] + "\nrole: " + mix.roles[index] +
                       "\ninterfaces: {lan: eth0, hb: eth1, hb2: eth2}\nlinks:\n";
    for (const std::string& link : mix.links) {
        if (link == "serial") {
            text += "  - {serial: /dev/ttyS0}\n";
            continue;
        }
        const int number = link == "lan" ? 0 : link == "hb" ? 1 : 2;
        const std::string third = std::to_string(77 + number);
        const std::string base = mix.v6_links ? "fd" + third + "::" : "10." + third + ".0.";
        text += "  - {interface: eth" + std::to_string(number) + ", local: '" + base + own + "', peer: '" + base +
                peer + "'}\n";
    }
    return text;
}

// Draws faults one after the other. Times are even over the phase, or close to the one before.
class Drawer {
  public:
    Drawer(Mix& mix, Random& random) : mix_(mix), random_(random) {}

    void draw() {
        draw_pair();
        const bool slow = mix_.timers.deadtime > 3s;
        from_ = random_.chance(0.25) ? Duration{0} : (slow ? 4s : 1500ms);
        mix_.heal = from_ + (slow ? 20s + random_.upto(40s) : 4s + random_.upto(9s));
        choose_kinds();
        if (random_.chance(0.35)) story();
        std::uint64_t count = random_.below(4);
        if (random_.chance(0.6)) count += 2 + random_.below(5);
        if (random_.chance(0.15)) count += random_.below(20);
        while (count-- > 0) fault();
        heal();
        std::stable_sort(mix_.faults.begin(), mix_.faults.end(),
                         [](const Fault& a, const Fault& b) { return to_duration(a.at()) < to_duration(b.at()); });
    }

  private:
    template <class T>
    const T& one_of(const std::vector<T>& list) {
        return list[random_.below(list.size())];
    }
    std::string node() { return nodes[random_.below(2)]; }
    // Evenly in orders of magnitude: short ones are as likely as long ones.
    Duration span(Duration least, Duration most) {
        if (most <= least) return least;
        const double ratio = static_cast<double>(most.count()) / static_cast<double>(least.count());
        const double length = static_cast<double>(least.count()) * std::pow(ratio, random_.unit());
        return std::chrono::duration_cast<milliseconds>(Duration{static_cast<std::int64_t>(length)}) + 1ms;
    }
    Duration most() const { return std::max<Duration>(5 * mix_.timers.deadtime, 5s); }
    Duration lasting() { return span(mix_.timers.keepalive / 2, most()); }

    void draw_pair() {
        const double profile = random_.unit();
        if (profile < 0.12) {
            mix_.timers = timers_of("  profile: fast\n  initdead: 1s\n", 10ms, 50ms, 1s);
        } else if (profile < 0.18) {
            mix_.timers = timers_of("  keepalive: 10ms\n  deadtime: 30ms\n  initdead: 1s\n", 10ms, 30ms, 1s);
        } else if (profile < 0.26) {
            mix_.timers = timers_of("  profile: vm\n", 500ms, 6s, 30s);
        } else if (profile < 0.6) {
            mix_.timers = timers_of("  profile: lan\n  initdead: 2s\n", 100ms, 1s, 2s);
        }
        static const std::vector<std::vector<std::string>> links{
            {"lan", "hb"},     {"lan", "hb"},           {"lan", "hb"}, {"lan", "hb"},       {"lan"}, {"lan"}, {"hb"},
            {"lan", "serial"}, {"lan", "hb", "serial"}, {"hb", "hb2"}, {"lan", "hb", "hb2"}};
        mix_.links = one_of(links);
        // A serial line is too slow for these timers; the configuration's check says so.
        if (mix_.timers.keepalive < 50ms) std::erase(mix_.links, "serial");
        mix_.v6_links = random_.chance(0.15);
        mix_.ping_nodes = random_.chance(0.22) ? 0 : random_.chance(0.25) ? 2 : 1;
        if (random_.chance(0.4)) mix_.floating_ips = {"10.77.0.200"};
        else if (random_.chance(0.15)) mix_.floating_ips = {"fd77::200"};
        else if (random_.chance(0.1)) mix_.floating_ips = {"10.77.0.200", "10.77.0.201", "10.77.0.202", "fd77::200"};
        if (random_.chance(0.25)) mix_.address_probe = random_.chance(0.5) ? "arp+echo" : "off";
        if (random_.chance(0.25)) mix_.isolation = random_.chance(0.5) ? "strict" : "hold";
        if (random_.chance(0.15)) mix_.failback_delay = span(1s, 3s);
        if (random_.chance(0.08)) mix_.vip_lease = random_.chance(0.3) ? "0s" : "10s";
        if (random_.chance(0.15)) mix_.roles[0] = "secondary";
        if (random_.chance(0.06)) mix_.roles[0] = mix_.roles[1] = "primary";
        if (random_.chance(0.5)) mix_.boot[random_.below(2)] = span(1ms, random_.chance(0.7) ? 50ms : 4s);
        mix_.machine_boot = span(200ms, 2s);
        const bool own = mix_.timers.yaml.find("deadtime:") != std::string::npos;
        if (!own && mix_.timers.deadtime < 3s && random_.chance(0.08)) {
            mix_.longer_deadtime = true;
            mix_.timers.deadtime = mix_.timers.deadtime * 3 / 2;
        }
    }

    // Each seed has its own few kinds, so that some meet often that otherwise would rarely.
    void choose_kinds() {
        static const std::vector<FaultKind> all{
            FAULT_KIND_CRASH,       FAULT_KIND_CRASH,       FAULT_KIND_REBOOT,
            FAULT_KIND_PAUSE,       FAULT_KIND_KILL,        FAULT_KIND_KILL,
            FAULT_KIND_STOP,        FAULT_KIND_STOP,        FAULT_KIND_TERMINATE,
            FAULT_KIND_STARVE,      FAULT_KIND_CLOCK_DRIFT, FAULT_KIND_SLOW_ADDRESSES,
            FAULT_KIND_FAIL_TO_ADD, FAULT_KIND_DISK_FULL,   FAULT_KIND_REMOVE_ADDRESS,
            FAULT_KIND_RELOAD,      FAULT_KIND_ACTIVATE,    FAULT_KIND_ACTIVATE,
            FAULT_KIND_STANDBY,     FAULT_KIND_UNSTANDBY,   FAULT_KIND_RESTART,
            FAULT_KIND_CABLE,       FAULT_KIND_CABLE,       FAULT_KIND_SWITCH_DOWN,
            FAULT_KIND_CUT,         FAULT_KIND_CUT,         FAULT_KIND_CUT,
            FAULT_KIND_LOSS,        FAULT_KIND_LOSS,        FAULT_KIND_BURST_LOSS,
            FAULT_KIND_DELAY,       FAULT_KIND_JITTER,      FAULT_KIND_DUPLICATE,
            FAULT_KIND_REORDER,     FAULT_KIND_CORRUPT,     FAULT_KIND_FILTER_ANNOUNCEMENTS,
            FAULT_KIND_FILTER_ARP,  FAULT_KIND_HOST_DOWN,   FAULT_KIND_HOST_DOWN,
            FAULT_KIND_REPLAY,      FAULT_KIND_REFLECT,     FAULT_KIND_FORGE,
            FAULT_KIND_FLIP,        FAULT_KIND_MISDIRECT};
        const double share = 0.05 + random_.unit() * 0.4;
        for (const FaultKind kind : all) {
            if (random_.chance(share)) kinds_.push_back(kind);
        }
        if (kinds_.empty()) kinds_.push_back(one_of(all));
    }

    Duration moment() {
        const bool close = !mix_.faults.empty() && random_.chance(0.4);
        Duration at = close ? last_ + span(1ms, 3 * mix_.timers.deadtime) : from_ + random_.upto(mix_.heal - from_);
        at = std::min(at, mix_.heal - 20ms);
        last_ = at;
        return std::chrono::duration_cast<milliseconds>(at);
    }

    Fault& add(FaultKind kind, Duration at) {
        Fault& fault = mix_.faults.emplace_back();
        fault.set_fault(kind);
        *fault.mutable_at() = from_duration(at);
        return fault;
    }
    // Over by the time everything is healed.
    void last(Fault& fault, Duration wanted) {
        const Duration left = mix_.heal - to_duration(fault.at());
        *fault.mutable_for_() = from_duration(std::max<Duration>(std::min(wanted, left), 1ms));
    }
    void blink(Fault& fault) {
        if (!random_.chance(0.2)) return;
        *fault.mutable_on() = from_duration(span(std::max<Duration>(mix_.timers.keepalive, 20ms), most() / 3));
        *fault.mutable_off() = from_duration(span(std::max<Duration>(mix_.timers.keepalive, 20ms), most() / 3));
        last(fault, most() + random_.upto(mix_.heal));
    }
    // With deadtimes of a few keepalives of 10 ms nothing is promised about loss.
    [[nodiscard]] std::uint64_t loss_max() const { return mix_.timers.keepalive < 50ms ? 5 : 100; }
    std::string network() {
        std::vector<std::string> all{"lan"};
        for (const std::string& link : mix_.links) {
            if (link != "lan") all.push_back(link);
        }
        return one_of(all);
    }
    std::string cable() {
        std::string name = network();
        return name == "serial" ? "lan" : name;
    }
    void direction(Fault& fault) {
        if (random_.chance(0.75)) fault.set_network(network());
        const double which = random_.unit();
        if (which < 0.35) return;
        const std::string one = node();
        const std::string other = one == nodes[0] ? nodes[1] : nodes[0];
        if (which < 0.55) return fault.set_from(one);
        if (which < 0.75) return fault.set_to(one);
        fault.set_from(one);
        if (which < 0.9 || mix_.ping_nodes == 0) return fault.set_to(other);
        fault.set_to("gw");
    }

    void fault() {
        const FaultKind kind = one_of(kinds_);
        if (kind == FAULT_KIND_HOST_DOWN && mix_.ping_nodes == 0) return;
        Fault& f = add(kind, moment());
        switch (kind) {
            case FAULT_KIND_CRASH:
            case FAULT_KIND_KILL:
            case FAULT_KIND_STOP:
            case FAULT_KIND_TERMINATE:
            case FAULT_KIND_PAUSE:
            case FAULT_KIND_FAIL_TO_ADD:
            case FAULT_KIND_DISK_FULL:
                f.set_node(node());
                return last(f, lasting());
            case FAULT_KIND_REBOOT:
                f.set_node(node());
                return last(f, 2 * mix_.timers.deadtime + span(500ms, 3s));
            case FAULT_KIND_STARVE:
                f.set_node(node());
                *f.mutable_delay() = from_duration(span(mix_.timers.keepalive / 2, 3 * mix_.timers.deadtime));
                return last(f, span(mix_.timers.deadtime, most()));
            case FAULT_KIND_CLOCK_DRIFT:
                f.set_node(node());
                f.set_percent(std::round((random_.unit() * 2 - 1) * 100) / 100);
                return last(f, mix_.heal);
            case FAULT_KIND_SLOW_ADDRESSES:
                f.set_node(node());
                *f.mutable_delay() = from_duration(span(1ms, 200ms));
                return last(f, mix_.heal);
            case FAULT_KIND_RELOAD:
                return reload(f);
            case FAULT_KIND_ACTIVATE:
            case FAULT_KIND_STANDBY:
                if (random_.chance(0.2)) f.set_force(true);
                return f.set_node(node());
            case FAULT_KIND_REMOVE_ADDRESS:
            case FAULT_KIND_UNSTANDBY:
            case FAULT_KIND_RESTART:
                return f.set_node(node());
            case FAULT_KIND_CABLE:
                f.set_node(node());
                f.set_network(cable());
                last(f, lasting());
                return blink(f);
            case FAULT_KIND_SWITCH_DOWN:
                f.set_network(cable());
                last(f, lasting());
                return blink(f);
            case FAULT_KIND_HOST_DOWN:
                f.set_host(mix_.ping_nodes > 1 && random_.chance(0.5) ? "gw2" : "gw");
                last(f, lasting());
                return blink(f);
            case FAULT_KIND_REPLAY:
            case FAULT_KIND_REFLECT:
            case FAULT_KIND_FORGE:
            case FAULT_KIND_FLIP:
            case FAULT_KIND_MISDIRECT:
                f.set_node(node());
                f.set_rate(static_cast<std::uint32_t>(10 + random_.below(200)));
                return last(f, lasting());
            default:
                return disturb(f);
        }
    }

    void disturb(Fault& f) {
        direction(f);
        last(f, lasting());
        switch (f.fault()) {
            case FAULT_KIND_LOSS: {
                const std::uint64_t percent = random_.chance(0.8) ? 1 + random_.below(30) : 30 + random_.below(65);
                return f.set_percent(static_cast<double>(std::min(percent, loss_max())));
            }
            case FAULT_KIND_BURST_LOSS:
                f.set_percent(static_cast<double>(std::min(1 + random_.below(30), loss_max())));
                *f.mutable_delay() = from_duration(span(1ms, mix_.timers.deadtime / 4));
                return;
            case FAULT_KIND_DELAY:
            case FAULT_KIND_JITTER:
                *f.mutable_delay() = from_duration(span(100us, 2 * mix_.timers.keepalive));
                return;
            case FAULT_KIND_REORDER:
                *f.mutable_delay() = from_duration(span(100us, 2 * mix_.timers.keepalive));
                [[fallthrough]];
            case FAULT_KIND_DUPLICATE:
            case FAULT_KIND_CORRUPT:
                return f.set_percent(static_cast<double>(1 + random_.below(50)));
            case FAULT_KIND_FILTER_ANNOUNCEMENTS:
                return f.set_percent(random_.chance(0.5) ? 50 : 100);
            case FAULT_KIND_CUT:
                return blink(f);
            default:
                return;
        }
    }

    // One node has other settings than its peer for a while; or both have new ones.
    void reload(Fault& f) {
        if (random_.chance(0.7)) f.set_node(node());
        std::string extra = "  announce_rate: " + std::to_string(400 + random_.below(400)) + "\n";
        Mix changed = mix_;
        if (random_.chance(0.3) && changed.floating_ips.size() > 1) changed.floating_ips.pop_back();
        f.set_cluster(cluster_yaml(changed, extra));
        reloaded_ = true;
    }

    // Schedules that broke simpler rules.
    void story() {
        const Duration at = moment();
        const std::string one = node();
        switch (random_.below(7)) {
            case 0:  // switch and ping node reboot together
                if (mix_.ping_nodes > 0) {
                    Fault& gw = add(FAULT_KIND_HOST_DOWN, at);
                    gw.set_host("gw");
                    last(gw, lasting());
                }
                add(FAULT_KIND_SWITCH_DOWN, at + random_.upto(50ms)).set_network("lan");
                return last(mix_.faults.back(), lasting());
            case 1:  // one node reaches nothing and nobody
            case 2: {
                const Duration length = lasting();
                for (const bool sends : {true, false}) {
                    Fault& cut = add(FAULT_KIND_CUT, at);
                    if (sends) cut.set_from(one);
                    else cut.set_to(one);
                    last(cut, length);
                }
                return;
            }
            case 3: {  // a dual, and only one direction heals
                const Duration length = span(2 * mix_.timers.deadtime, most());
                for (const bool first : {true, false}) {
                    Fault& cut = add(FAULT_KIND_CUT, at);
                    cut.set_from(first ? nodes[0] : nodes[1]);
                    cut.set_to(first ? nodes[1] : nodes[0]);
                    last(cut, first ? length : length + span(mix_.timers.deadtime, most()));
                }
                return;
            }
            case 4: {  // every heartbeat path, and loss on the LAN
                if (std::find(mix_.links.begin(), mix_.links.end(), "lan") == mix_.links.end()) unseen_dual(at);
                for (const std::string& link : mix_.links) {
                    Fault& cut = add(link == "lan" ? FAULT_KIND_LOSS : FAULT_KIND_CUT, at);
                    cut.set_network(link);
                    if (link == "lan")
                        cut.set_percent(static_cast<double>(std::min(10 + random_.below(20), loss_max())));
                    last(cut, most());
                }
                return;
            }
            case 5: {  // the active's machine is back within deadtime, or its daemon a little later
                Fault& f = add(random_.chance(0.5) ? FAULT_KIND_CRASH : FAULT_KIND_KILL, at);
                f.set_node(one);
                return last(f, span(mix_.timers.keepalive, 4 * mix_.timers.deadtime));
            }
            default: {  // both stand still, one after the other
                for (const char* name : nodes) {
                    Fault& f = add(random_.chance(0.5) ? FAULT_KIND_STOP : FAULT_KIND_PAUSE,
                                   std::min(at + random_.upto(mix_.timers.deadtime), mix_.heal - 1ms));
                    f.set_node(name);
                    last(f, lasting());
                }
                return;
            }
        }
    }

    // Where the LAN carries no heartbeats: the two do not see each other there for so long that the passive one claims
    // as well. Afterwards only ARP tells that both serve, and for longer than the rules allow it to last
    // (look_at_kernels()).
    void unseen_dual(Duration at) {
        const Duration apart = 4 * mix_.timers.deadtime;
        for (const bool first : {true, false}) {
            Fault& cut = add(FAULT_KIND_CUT, at);
            cut.set_network("lan");
            cut.set_from(first ? nodes[0] : nodes[1]);
            cut.set_to(first ? nodes[1] : nodes[0]);
            *cut.mutable_for_() = from_duration(apart);
        }
        for (const std::string& link : mix_.links) {
            Fault& cut = add(FAULT_KIND_CUT, at);
            cut.set_network(link);
            *cut.mutable_for_() = from_duration(apart + 3 * mix_.timers.deadtime + 15s);
        }
        mix_.heal = std::max(mix_.heal, at + apart + 3 * mix_.timers.deadtime + 15s);
    }

    // What does not end by itself.
    void heal() {
        const auto was = [&](std::initializer_list<FaultKind> kinds) {
            return std::any_of(mix_.faults.begin(), mix_.faults.end(), [&](const Fault& fault) {
                return std::find(kinds.begin(), kinds.end(), fault.fault()) != kinds.end();
            });
        };
        const bool standby = was({FAULT_KIND_STANDBY});
        const bool gone = was({FAULT_KIND_CRASH, FAULT_KIND_KILL, FAULT_KIND_TERMINATE, FAULT_KIND_REBOOT});
        if (reloaded_) add(FAULT_KIND_RELOAD, mix_.heal).set_cluster(cluster_yaml(mix_, ""));
        const Duration later = mix_.heal + 2 * mix_.timers.deadtime + 1s;
        for (const char* name : nodes) {
            // An orderly stop may have been under way when the daemon was to be started again.
            if (gone) add(FAULT_KIND_BOOT, later).set_node(name);
            if (gone) add(FAULT_KIND_START, later + mix_.machine_boot + 100ms).set_node(name);
            if (standby) add(FAULT_KIND_UNSTANDBY, later + mix_.machine_boot + 500ms).set_node(name);
        }
        const Duration last_change = gone || standby ? later + mix_.machine_boot + 500ms : mix_.heal;
        mix_.duration = last_change + time_to_agree(mix_);
    }

    Mix& mix_;
    Random& random_;
    std::vector<FaultKind> kinds_;
    Duration from_{0};
    Duration last_{0};
    bool reloaded_ = false;
};

}  // namespace

Timers Timers::lan() { return timers_of("  profile: lan\n", 100ms, 1s, 5s); }

Duration time_to_agree(const Mix& mix) {
    const Timers& t = mix.timers;
    return std::max<Duration>(11s, t.initdead + 5 * t.deadtime + 4 * t.keepalive + 3s) + t.deadtime;
}

Mix draw_mix(std::uint64_t seed) {
    Mix mix;
    mix.seed = seed;
    Random random(seed, "mix");
    Drawer(mix, random).draw();
    return mix;
}

Scenario compose(const Mix& mix) {
    Scenario scenario;
    scenario.set_title("Swarm, seed " + std::to_string(mix.seed));
    *scenario.mutable_duration() = from_duration(std::chrono::ceil<milliseconds>(mix.duration));
    scenario.set_seed(mix.seed);
    scenario.set_cluster(cluster_yaml(mix, ""));
    for (std::size_t i = 0; i < 2; ++i) {
        NodeEntry& node = *scenario.add_nodes();
        node.set_node(node_yaml(mix, i));
        if (i == 1 && mix.longer_deadtime) {
            node.set_cluster(cluster_yaml(mix, "  deadtime: " + format_duration(mix.timers.deadtime) + "\n"));
        }
        if (mix.boot[i] > Duration{0}) *node.mutable_boot() = from_duration(mix.boot[i]);
        (*node.mutable_addresses())["eth0"] = "10.77.0." + std::to_string(11 + i) + "/24";
    }
    *scenario.mutable_model()->mutable_boot() = from_duration(mix.machine_boot);
    *scenario.mutable_model()->mutable_probe() = from_duration(500ms);
    for (const Fault& fault : mix.faults) *scenario.add_faults() = fault;
    return scenario;
}

}  // namespace lbcluster::sim
