#include "sim/node/keeper.hpp"

#include <algorithm>
#include <utility>

namespace lbcluster::sim {

namespace {
// As in heartbeat/net/address_keeper.cpp.
constexpr Duration renew_every = 400ms;
constexpr Duration lease_guard = 50ms;
constexpr Duration retry_after = 200ms;
constexpr std::size_t announce_addresses = 64;
}  // namespace

Keeper::Keeper(Machine& machine, heartbeat::AnnounceSchedule::Settings announce, std::vector<IpAddress> ping_nodes,
               Report report)
    : machine_(machine), schedule_(announce), ping_nodes_(std::move(ping_nodes)), report_(std::move(report)) {}

void Keeper::set_options(heartbeat::AnnounceSchedule::Settings announce, std::vector<IpAddress> ping_nodes) {
    schedule_.set_settings(announce);
    ping_nodes_ = std::move(ping_nodes);
}

// ---- commands ----

void Keeper::set_target(Target target, Instant permit) {
    const Instant now = machine_.now();
    const bool first = !have_target_;
    const bool new_epoch = first || target.epoch != target_.epoch || target.wanted != target_.wanted;
    have_target_ = true;
    target_ = std::move(target);
    permit_ = std::max(permit_, permit);
    verified_ = false;
    std::map<IpAddress, Entry> old = std::exchange(entries_, {});
    for (const heartbeat::FloatingIp& ip : target_.addresses) {
        const auto known = old.find(ip.address.address);
        Entry entry = known == old.end() ? Entry{} : known->second;
        entry.ip = ip;
        const auto interface = machine_.interface(ip.interface);
        entry.there = interface.has_value();
        entry.interface = interface.value_or(0);
        if (known == old.end() || new_epoch) {
            entry.lapsed = entry.was_held = false;
            entry.claimed_at = now;
            entry.renewed_at = entry.retry_at = Instant{};
            entry.problem.clear();
        }
        entry.in_kernel = machine_.holds(ip.address.address);
        entries_.emplace(ip.address.address, std::move(entry));
        if (known != old.end()) old.erase(known);
    }
    for (const auto& [address, entry] : old) {
        schedule_.stop(address);
        if (machine_.holds(address)) strays_.push_back(entry.ip.address);
    }
    // Of a life that had more of them: heartbeatd knows its own in the kernel.
    for (const IpPrefix& left : first ? machine_.floating() : std::vector<IpPrefix>{}) {
        if (!entries_.contains(left.address)) strays_.push_back(left);
    }
    if (!target_.wanted) schedule_.clear();
    if (new_epoch && target_.wanted) {
        for (auto& [address, entry] : entries_) {
            if (!entry.in_kernel) continue;
            entry.was_held = true;
            if (target_.announce) schedule_.start(now, address);
        }
    }
    wake(Duration{0});
}

void Keeper::permit(Instant until) {
    // After a pause the renewals have waited for this.
    const bool missing = !permitted(machine_.now());
    permit_ = std::max(permit_, until);
    if (missing || !verified_) wake(Duration{0});
}

void Keeper::restrain(heartbeat::Restraint restraint) {
    restraint_ = restraint;
    wake(Duration{0});
}

void Keeper::announce_all(bool paced) {
    for (const auto& [address, entry] : entries_) {
        if (target_.wanted && entry.in_kernel && !entry.lapsed) schedule_.start(machine_.now(), address, paced);
    }
    wake(Duration{0});
}

void Keeper::announce_interface(std::size_t interface) {
    for (const auto& [address, entry] : entries_) {
        if (entry.interface == interface && target_.wanted && entry.in_kernel && !entry.lapsed) {
            schedule_.start(machine_.now(), address);
        }
    }
}

void Keeper::stop() {
    stopped_ = true;
    timer_.cancel();
}

void Keeper::go_on() {
    stopped_ = false;
    wake(Duration{0});
}

void Keeper::on_removed(const IpPrefix& prefix) {
    const auto found = entries_.find(prefix.address);
    if (found == entries_.end() || !target_.wanted || !found->second.in_kernel) return;  // our own doing
    wake(Duration{0});
}

void Keeper::on_interfaces() {
    for (std::size_t i = 0; i < machine_.interfaces().size(); ++i) {
        const bool carrier = machine_.interfaces()[i].port->carrier();
        const bool before = carrier_.contains(i) ? carrier_[i] : true;
        carrier_[i] = carrier;
        if (carrier && !before) announce_interface(i);
    }
    wake(Duration{0});
}

// ---- the loop ----

void Keeper::wake(Duration in) {
    if (stopped_ || !have_target_) return;
    timer_.set(in, [this] { step(); });
}

void Keeper::step() {
    if (stopped_ || !machine_.works()) return;
    if (busy_) return;  // goes on when that is done
    const Instant now = machine_.now();
    if (work(now)) return;
    if (std::exchange(report_due_, false)) tell(verified_ && !pending());
    const Instant at = next(now);
    if (at != Instant::max()) wake(machine_.until(at));
}

// True: it goes on by itself.
bool Keeper::work(Instant now) {
    if (compare()) report_due_ = true;
    check_leases(now);
    if (remove_one()) return true;
    if (target_.wanted) {
        renew(now);
        if (add_one(now)) return true;
        announce(now);
    }
    if (!verified_ && !pending()) {
        verified_ = true;
        report_due_ = true;
    }
    return false;
}

// Is all in the kernel that we think is? True: something went.
bool Keeper::compare() {
    bool news = false;
    const Instant now = machine_.now();
    for (auto& [address, entry] : entries_) {
        const bool held = machine_.holds(address);
        if (held || !entry.in_kernel) {
            entry.in_kernel = held;
            continue;
        }
        entry.in_kernel = false;
        schedule_.stop(address);
        verified_ = false;
        news = true;
        if (!target_.wanted) continue;
        if (lease_over(entry, now)) entry.lapsed = true;
        else removed_by_others_.insert(address);
    }
    return news;
}

void Keeper::check_leases(Instant now) {
    if (!target_.wanted || target_.lease.count() == 0) return;
    for (auto& [address, entry] : entries_) {
        if (entry.lapsed) continue;
        if (lease_over(entry, now)) {
            entry.lapsed = true;
            report_due_ = true;
            schedule_.stop(address);
        } else if (!entry.in_kernel && !restraint_.put_nothing_back && now <= permit_) {
            entry.claimed_at = now;
        }
    }
}

bool Keeper::lease_over(const Entry& entry, Instant now) const {
    return target_.lease.count() > 0 && now + lease_guard >= entry.claimed_at + target_.lease;
}

Duration Keeper::cost(const Entry& entry) const {
    return (entry.ip.address.address.is_v4() ? costs_.add_v4 : costs_.add_v6) + costs_.slow;
}

bool Keeper::remove_one() {
    std::optional<IpPrefix> victim;
    Duration takes{0};
    if (!strays_.empty()) {
        victim = strays_.back();
        strays_.pop_back();
        takes = costs_.add_v4 + costs_.slow;
    } else if (!target_.wanted) {
        for (const auto& [address, entry] : entries_) {
            if (!entry.in_kernel) continue;
            victim = entry.ip.address;
            takes = cost(entry);
        }
    }
    if (!victim) return false;
    busy_ = true;
    verified_ = false;
    work_.set(takes, [this, victim = *victim] {
        busy_ = false;
        if (!machine_.works()) return;
        if (const auto found = entries_.find(victim.address); found != entries_.end()) found->second.in_kernel = false;
        machine_.remove_address(victim);
        wake(Duration{0});
    });
    return true;
}

bool Keeper::add_one(Instant now) {
    if (!permitted(now)) return false;
    for (auto& [address, entry] : entries_) {
        if (entry.in_kernel || entry.lapsed || entry.retry_at > now || !entry.there) continue;
        if (restraint_.put_nothing_back && entry.was_held) continue;
        busy_ = true;
        verified_ = false;
        work_.set(cost(entry), [this, address = address, epoch = target_.epoch] {
            busy_ = false;
            wake(Duration{0});
            const auto found = entries_.find(address);
            if (found == entries_.end() || stopped_ || !machine_.works()) return;
            Entry& added = found->second;
            const Instant then = machine_.now();
            if (!target_.wanted || target_.epoch != epoch || !permitted(then) || lease_over(added, then)) return;
            const auto lease = target_.lease.count() > 0 ? std::optional<Duration>(target_.lease) : std::nullopt;
            if (!machine_.add_address(added.interface, added.ip.address, lease)) {
                added.problem = "the kernel refused it";
                added.retry_at = then + retry_after;
                report_due_ = true;
                return;
            }
            added.in_kernel = true;
            added.problem.clear();
            added.claimed_at = added.renewed_at = then;
            if (target_.announce || added.was_held) schedule_.start(then, address);
            added.was_held = true;
            announce(then);
        });
        return true;
    }
    return false;
}

void Keeper::renew(Instant now) {
    if (!permitted(now)) return;
    for (auto& [address, entry] : entries_) {
        if (!entry.in_kernel || entry.lapsed || entry.retry_at > now) continue;
        const bool never = entry.renewed_at == Instant{};
        if (!never && (target_.lease.count() == 0 || now - entry.renewed_at < renew_every)) continue;
        const auto lease = target_.lease.count() > 0 ? std::optional<Duration>(target_.lease) : std::nullopt;
        if (machine_.add_address(entry.interface, entry.ip.address, lease)) entry.claimed_at = entry.renewed_at = now;
    }
}

Instant Keeper::next(Instant now) const {
    Instant at = Instant::max();
    if (!target_.wanted) return at;
    const bool lease = target_.lease.count() > 0;
    for (const auto& [address, entry] : entries_) {
        if (entry.lapsed) continue;
        if (lease && entry.in_kernel && permitted(now)) {
            at = std::min(at, std::max(entry.renewed_at + renew_every, entry.retry_at));
        }
        if (lease && (entry.in_kernel || entry.was_held)) {
            at = std::min(at, entry.claimed_at + target_.lease - lease_guard);
        }
        if (!entry.in_kernel && !entry.problem.empty()) at = std::min(at, entry.retry_at);
    }
    if (!restraint_.announce_nothing) at = std::min(at, schedule_.next());
    return at == Instant::max() ? at : std::max(at, now + 1us);
}

// ---- announcing ----

void Keeper::announce(Instant now) {
    if (restraint_.announce_nothing) return;
    for (const auto& due : schedule_.take(now, announce_addresses)) send_announcement(due);
}

void Keeper::send_announcement(const heartbeat::AnnounceSchedule::Due& due) {
    const auto found = entries_.find(due.ip);
    if (found == entries_.end() || !found->second.in_kernel) return;
    const std::size_t interface = found->second.interface;
    const MacAddress& mac = machine_.interfaces()[interface].port->mac();
    if (due.ip.is_v6()) {
        machine_.send_frame(interface, net::unsolicited_na(mac, due.ip));
        return;
    }
    machine_.send_frame(interface, net::gratuitous_arp(mac, due.ip, net::ArpForm::request));
    machine_.send_frame(interface, net::gratuitous_arp(mac, due.ip, net::ArpForm::reply));
    if (due.ask_neighbor) ask_neighbor(due.ip, interface);
}

void Keeper::ask_neighbor(const IpAddress& ip, std::size_t interface) {
    const auto& here = machine_.interfaces()[interface];
    for (std::size_t i = 0; i < ping_nodes_.size(); ++i) {
        const IpAddress& node = ping_nodes_[next_ping_node_++ % ping_nodes_.size()];
        if (!node.is_v4()) continue;
        const bool near = std::any_of(here.addresses.begin(), here.addresses.end(),
                                      [&](const IpPrefix& own) { return own.contains(node); });
        if (!near) continue;
        const MacAddress to = machine_.neighbor(node).value_or(net::mac_broadcast);
        machine_.send_frame(interface, net::arp_request(here.port->mac(), to, ip, node));
        return;
    }
}

// ---- reports ----

bool Keeper::pending() const {
    return !strays_.empty() || std::any_of(entries_.begin(), entries_.end(), [this](const auto& item) {
        const Entry& entry = item.second;
        if (!target_.wanted) return entry.in_kernel;
        return !entry.in_kernel && !entry.lapsed && entry.problem.empty() && entry.there;
    });
}

void Keeper::tell(bool complete) {
    heartbeat::AddressReport report;
    report.epoch = target_.epoch;
    report.complete = complete;
    for (const auto& [address, entry] : entries_) {
        if (entry.in_kernel) report.held.push_back(address);
        if (entry.lapsed && target_.wanted) report.lapsed = true;
        if (target_.wanted && !entry.in_kernel && !entry.lapsed) {
            report.failed.emplace_back(address, entry.there ? entry.problem : "no interface " + entry.ip.interface);
        }
    }
    report.removed_by_others.assign(removed_by_others_.begin(), removed_by_others_.end());
    removed_by_others_.clear();
    report_(report);
}

}  // namespace lbcluster::sim
