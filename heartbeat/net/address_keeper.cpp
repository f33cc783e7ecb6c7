#include "heartbeat/net/address_keeper.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstdio>
#include <utility>

#include "lbcluster/base/clock.hpp"

namespace lbcluster::heartbeat {
namespace {

// One chunk keeps the kernel busy for one to five milliseconds: an IPv4 address takes it about 20 us, an IPv6 one up to
// 300 us (see renew_every_v6).
constexpr Duration told_within = 100ms;
constexpr std::size_t chunk_weight = 64;
std::size_t weight(const IpAddress& ip) { return ip.is_v4() ? 1 : 4; }
constexpr std::size_t announce_addresses = 64;
// A little sooner than the half second that the lease counts on.
constexpr Duration renew_every = 400ms;
// What the renewal of IPv6 addresses may take of a core before it is done less often.
constexpr double renew_share = 0.05;
// The kernel's address timer may fire a little early (ADDRCONF_TIMER_FUZZ), so the lease counts as over before.
constexpr Duration lease_guard = 50ms;
constexpr Duration tick = 20ms;  // while the permit is missing
// An acquisition asks this often at most whether a lease has ended; lease_guard is longer.
constexpr Duration lapse_pace = 5ms;
constexpr Duration compare_every = 10s;
constexpr Duration retry_after = 200ms;
constexpr Duration neighbors_every = 5s;

bool kernel_keeps_marks() {
    utsname name{};
    int major = 0;
    int minor = 0;
    if (::uname(&name) != 0 || std::sscanf(name.release, "%d.%d", &major, &minor) != 2) return false;
    return std::pair(major, minor) >= std::pair(5, 18);
}

}  // namespace

bool is_marked_ours(const net::Address& address) {
    static const bool marks = kernel_keeps_marks();
    return marks ? address.ours() : address.valid.has_value();
}

Result<std::unique_ptr<AddressKeeper>> AddressKeeper::create(boost::asio::io_context& io, WorkerOptions options,
                                                             Report report) {
    auto netlink = net::Netlink::open();
    if (!netlink) return netlink.error();
    auto sender = AnnounceSender::start();
    if (!sender) return sender.error();
    std::unique_ptr<AddressKeeper> keeper(new AddressKeeper(io, std::move(options), std::move(report),
                                                            std::move(netlink).value(), std::move(sender).value()));
    AddressKeeper* self = keeper.get();
    auto monitor = net::Monitor::open(io, {},
                                      {[self](const net::Link& link, bool removed) { self->on_link(link, removed); },
                                       [self](const net::Address& a, bool removed) { self->on_address(a, removed); },
                                       [self] {
                                           self->compare_due_ = true;
                                           self->schedule();
                                       }});
    if (!monitor) return monitor.error();
    keeper->monitor_ = std::move(monitor).value();
    if (keeper->port() != 0) keeper->monitor_->ignore(keeper->port());  // only others' doings are news
    return keeper;
}

AddressKeeper::AddressKeeper(boost::asio::io_context& io, WorkerOptions options, Report report, net::Netlink netlink,
                             std::unique_ptr<AnnounceSender> sender)
    : io_(io),
      timer_(io),
      options_(std::move(options)),
      report_(std::move(report)),
      netlink_(std::move(netlink)),
      sender_(std::move(sender)),
      schedule_(options_.announce) {}

// ---- commands ----

void AddressKeeper::set_target(AddressTarget target) {
    const Instant now = boottime_now();
    const bool new_epoch = !have_target_ || target.epoch != target_.epoch || target.wanted != target_.wanted;
    have_target_ = true;
    target_ = std::move(target);
    target_at_ = now;
    took_.reset();
    verified_ = false;

    Entries old = std::move(entries_);
    entries_.clear();
    by_ip_.clear();
    for (const auto& address : target_.addresses) {
        const auto known = old.find(address);
        const auto it = entries_.emplace(address, known != old.end() ? known->second : Entry{}).first;
        by_ip_.emplace(address.prefix.address, it);
        if (known == old.end() || new_epoch) {
            it->second.lapsed = false;
            it->second.was_held = false;
            it->second.claimed_at = now;
            it->second.renewed_at = Instant{};
            it->second.retry_at = Instant{};
            it->second.problem.clear();
        }
        if (known != old.end()) old.erase(known);
    }
    // What is no longer configured leaves the kernel, also where the kernel keeps no mark.
    for (const auto& [address, entry] : old) {
        schedule_.stop(address.prefix.address);
        if (entry.in_kernel) strays_.push_back({entry.ifindex, address.interface, address.prefix, 0s});
    }
    if (!target_.wanted) {
        schedule_.clear();
        sender_->clear();
    }
    compare_due_ = true;
    renew_at_ = lapse_checked_ = Instant{};
    // The first comparison shows what can be adopted; without one nothing can.
    const bool compared = compare();
    if (new_epoch && target_.wanted) {
        for (auto& [address, entry] : entries_) {
            if (!compared) entry.in_kernel = false;
            if (entry.in_kernel) entry.was_held = true;
            if (entry.in_kernel && target_.announce) schedule_.start(now, address.prefix.address);
        }
        for (const KernelAddress& address : target_.adopted) {
            const auto it = entries_.find(address);
            if (it == entries_.end() || it->second.in_kernel || it->second.conflict) continue;
            it->second.lapsed = true;
            report_due_ = true;
        }
    }
    step();
}

// A heartbeat permits ten times a second and more, so it wakes this thread only where it waits for that.
void AddressKeeper::permit(Instant until) {
    permit_until_ = until.time_since_epoch().count();
    if (permit_wanted_.exchange(false)) boost::asio::post(io_, [this] { schedule(); });
}

bool AddressKeeper::permitted(Instant now) const {
    return target_.lease.count() == 0 || now <= target_.permit_until || now.time_since_epoch().count() <= permit_until_;
}

void AddressKeeper::restrain(Restraint restraint) {
    restraint_ = restraint;
    schedule();
}

void AddressKeeper::announce_all(bool paced) {
    for (const auto& [name, link] : links_) announce_interface(name, paced);
    schedule();
}

void AddressKeeper::announce_interface(const std::string& name, bool paced) {
    const Instant now = boottime_now();
    for (const auto& [address, entry] : entries_)
        if (address.interface == name && target_.wanted && entry.in_kernel && !entry.conflict && !entry.lapsed)
            schedule_.start(now, address.prefix.address, paced);
}

// What is under way goes on: other pace is no reason to announce anything again.
void AddressKeeper::set_options(WorkerOptions options) {
    options_ = std::move(options);
    schedule_.set_settings(options_.announce);
    schedule();
}

void AddressKeeper::resync() {
    compare_due_ = true;
    verified_ = false;
    report_due_ = true;
    schedule();
}

// ---- kernel events ----

void AddressKeeper::on_link(const net::Link& link, bool removed) {
    const auto known = links_.find(link.name);
    const bool same = known != links_.end() && known->second.index == link.index && !removed;
    if (!same) {
        compare_due_ = true;  // new, gone or renamed: the dump tells the whole truth
    } else if (known->second.mac != link.mac || (link.carrier && !known->second.carrier)) {
        // Another MAC, or another place in the network: what others learnt is wrong.
        known->second = link;
        announce_interface(link.name);
    } else {
        known->second = link;
    }
    schedule();
}

void AddressKeeper::on_address(const net::Address& address, bool removed) {
    const auto name = names_.find(address.ifindex);
    if (name == names_.end()) return;  // the link's own event comes, too
    const auto it = entries_.find(KernelAddress{address.prefix, name->second});
    if (it == entries_.end()) {
        if (is_marked_ours(address) || by_ip_.contains(address.prefix.address)) compare_due_ = true;
    } else if (removed) {
        if (!target_.wanted || !it->second.in_kernel) return;  // our own doing
        suspects_.insert(it->first);
        compare_due_ = true;
    } else if (address.duplicate() || !target_.wanted || !it->second.in_kernel) {
        compare_due_ = true;
    }
    if (compare_due_) schedule();
}

// ---- the loop ----

void AddressKeeper::schedule() {
    if (std::exchange(step_posted_, true)) return;
    boost::asio::post(io_, [this] {
        step_posted_ = false;
        step();
    });
}

void AddressKeeper::step() {
    if (!have_target_) return;
    const Instant now = boottime_now();
    if (work(now)) return schedule();
    if (std::exchange(report_due_, false)) report_now(verified_ && !pending());
    arm(now);
}

// One chunk. True: there may be more to do at once.
bool AddressKeeper::work(Instant now) {
    if (now - compared_at_ >= compare_every) compare_due_ = true;
    if (compare_due_ && now >= compare_retry_at_ && !compare()) compare_retry_at_ = now + retry_after;
    if (now - lapse_checked_ >= lapse_pace) lapse_and_claim(now);
    // The kernel cannot be read now: what was there is kept alive or leaves, nothing else is touched.
    if (compare_due_) return target_.wanted ? renew_chunk(now) : remove_chunk();
    if (remove_chunk()) return true;
    if (target_.wanted) {
        // An acquisition may take long, and what is there must not lapse meanwhile: renewing goes first.
        if (renew_chunk(now)) return true;
        if (add_chunk(now)) return announce_chunk(now), true;
        if (announce_chunk(now)) return true;
    }
    if (verified_ || pending()) return false;
    if (!compare()) return false;
    // The comparison may have found work; then it is verified after that.
    if (pending() || !strays_.empty()) return true;
    // Complete means told, too: in a hand-over the old active removes its addresses upon it.
    if (target_.wanted && target_.announce && !took_) sender_->flush_first(told_within);
    verified_ = true;
    report_due_ = true;
    if (!took_) took_ = boottime_now() - target_at_;
    return false;
}

void AddressKeeper::arm(Instant now) {
    Duration wait = compare_every - (now - compared_at_);
    if (target_.wanted && !entries_.empty() && target_.lease.count() > 0) {
        // An address that cannot be in the kernel now keeps its claim as long as permits come: looked after as often.
        wait = std::min(wait, renew_every);
        if (renew_at_ != Instant::max()) wait = std::min(wait, renew_at_ - now);
        if (!permitted(now)) {
            wait = std::min(wait, tick);
            permit_wanted_ = true;
            if (permitted(now)) return schedule();  // it came in between
        }
    }
    for (const auto& [address, entry] : entries_)
        if (entry.retry_at > now) wait = std::min(wait, entry.retry_at - now);
    if (compare_due_ || pending()) wait = std::min<Duration>(wait, retry_after);
    if (const Instant next = schedule_.next(); next != Instant::max() && !restraint_.announce_nothing)
        wait = std::min(wait, next - now);
    timer_.expires_after(std::max<Duration>(wait, 1ms));
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error) schedule();
    });
}

// ---- comparing with the kernel ----

bool AddressKeeper::compare() {
    // Events of before the dump must not be taken for news after it.
    monitor_->drain();
    const auto links = netlink_.links();
    const auto addresses = netlink_.addresses();
    if (!links || !addresses) {
        compare_due_ = true;  // tried again by the timer
        return false;
    }
    compare_due_ = false;
    compared_at_ = boottime_now();
    learn_links(*links);
    match(*addresses);
    return true;
}

void AddressKeeper::learn_links(const std::vector<net::Link>& links) {
    const std::map<std::string, net::Link> old = std::move(links_);
    links_.clear();
    names_.clear();
    for (const auto& link : links) {
        const auto before = old.find(link.name);
        links_[link.name] = link;
        names_[link.index] = link.name;
        if (before != old.end() && before->second.index == link.index && before->second.mac != link.mac)
            announce_interface(link.name);
    }
}

void AddressKeeper::match(const std::vector<net::Address>& addresses) {
    const Instant now = boottime_now();
    std::set<KernelAddress> seen;
    std::set<KernelAddress> conflicts;
    interface_addresses_.clear();
    if (!have_target_) return;
    std::set<std::pair<int, IpPrefix>> strays;
    for (const auto& stray : strays_) strays.emplace(stray.ifindex, stray.prefix);
    for (const auto& address : addresses) {
        const auto name = names_.find(address.ifindex);
        if (name == names_.end()) continue;
        const auto it = entries_.find(KernelAddress{address.prefix, name->second});
        const bool known = it != entries_.end() && it->second.in_kernel && it->second.ifindex == address.ifindex;
        const bool ours = is_marked_ours(address) || known;
        if (!ours) {
            interface_addresses_.push_back(address);
            // The same address with another prefix length or on another interface is somebody's, too.
            if (const auto same = by_ip_.find(address.prefix.address); same != by_ip_.end())
                conflicts.insert(same->second->first);
        } else if (it == entries_.end() || address.duplicate()) {
            if ((address.ours() || it != entries_.end()) && strays.emplace(address.ifindex, address.prefix).second)
                strays_.push_back({address.ifindex, name->second, address.prefix, 0s});
        } else {
            seen.insert(it->first);
            it->second.ifindex = address.ifindex;
            it->second.in_kernel = true;
            renew_at_ = std::min(renew_at_, it->second.renewed_at);
        }
    }
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
        Entry& entry = it->second;
        const bool conflict = conflicts.contains(it->first) && !seen.contains(it->first);
        if (conflict != entry.conflict) {
            entry.conflict = conflict;
            set_problem(entry, conflict ? "the address belongs to this machine without lbcluster" : "");
            verified_ = false;
        }
        if (!seen.contains(it->first)) miss(it, now);
        // Gone and back before we looked: our own renewal has put it back.
        if (seen.contains(it->first) && suspects_.contains(it->first) && !lease_over(entry, now)) {
            removed_by_others_.insert(it->first);
            report_due_ = true;
        }
        if (!links_.contains(it->first.interface)) set_problem(entry, "no interface " + it->first.interface);
    }
    suspects_.clear();
}

// An address that is not in the kernel: is that news, and whose doing?
void AddressKeeper::miss(Entries::iterator it, Instant now) {
    Entry& entry = it->second;
    if (!std::exchange(entry.in_kernel, false)) return;
    schedule_.stop(it->first.prefix.address);
    verified_ = false;
    report_due_ = true;
    if (!target_.wanted || entry.conflict) return;
    // At once, but not in a circle with something that removes it again each time.
    entry.retry_at = now - entry.renewed_at > 100ms ? Instant{} : now + 20ms;
    if (lease_over(entry, now)) {
        entry.lapsed = true;
        return;
    }
    const auto link = links_.find(it->first.interface);
    if (link != links_.end() && link->second.index == entry.ifindex) removed_by_others_.insert(it->first);
}

// ---- changing the kernel ----

bool AddressKeeper::remove_chunk() {
    const Instant now = boottime_now();
    if (!strays_.empty() && strays_retry_at_ <= now) {
        const std::size_t count = std::min(chunk_weight / 4, strays_.size());
        const auto first = strays_.end() - static_cast<std::ptrdiff_t>(count);
        const auto results = netlink_.remove(std::vector<net::AddressChange>(first, strays_.end()));
        if (std::all_of(results.begin(), results.end(), [](const auto& result) { return result.ok(); }))
            strays_.erase(first, strays_.end());
        else strays_retry_at_ = now + retry_after;
        verified_ = false;  // the comparison finds what is still there
        return true;
    }
    if (target_.wanted) return false;
    Chunk chunk;
    // From the end: removing an IPv4 address that others are secondary to takes those along.
    std::size_t load = 0;
    for (auto it = entries_.end(); it != entries_.begin() && load < chunk_weight;) {
        --it;
        if (!it->second.in_kernel || it->second.conflict || it->second.retry_at > now) continue;
        chunk.push_back(it);
        load += weight(it->first.prefix.address);
    }
    if (chunk.empty()) return false;
    const auto results = apply(chunk, false);
    for (std::size_t i = 0; i < chunk.size(); ++i) {
        Entry& entry = chunk[i]->second;
        entry.in_kernel = !results[i].ok();
        entry.retry_at = results[i].ok() ? Instant{} : now + retry_after;
        set_problem(entry, results[i].ok() ? "" : results[i].error().message);
    }
    verified_ = false;
    return true;
}

bool AddressKeeper::add_chunk(Instant now) {
    if (!permitted(now)) return false;
    Chunk chunk;
    std::size_t load = 0;
    for (auto it = entries_.begin(); it != entries_.end() && load < chunk_weight; ++it) {
        Entry& entry = it->second;
        if (entry.in_kernel || entry.conflict || entry.lapsed || entry.retry_at > now) continue;
        if (restraint_.put_nothing_back && entry.was_held) continue;
        const auto link = links_.find(it->first.interface);
        if (link == links_.end()) continue;
        entry.ifindex = link->second.index;
        chunk.push_back(it);
        load += weight(it->first.prefix.address);
    }
    if (chunk.empty()) return false;
    const auto results = apply(chunk, true);
    now = boottime_now();
    for (std::size_t i = 0; i < chunk.size(); ++i) {
        Entry& entry = chunk[i]->second;
        if (entry.lapsed) continue;
        if (!results[i].ok()) {
            set_problem(entry, results[i].error().message);
            entry.retry_at = now + retry_after;
            continue;
        }
        entry.in_kernel = true;
        set_problem(entry, "");
        // Put back: announced again, as others may have forgotten it.
        if (target_.announce || entry.was_held) schedule_.start(now, chunk[i]->first.prefix.address);
        entry.was_held = true;
    }
    verified_ = false;
    return true;
}

bool AddressKeeper::renew_chunk(Instant now) {
    if (renew_at_ > now || !permitted(now)) return false;
    Chunk chunk;
    std::size_t load = 0;
    Instant next = Instant::max();
    for (auto it = entries_.begin(); it != entries_.end() && load < chunk_weight; ++it) {
        const Entry& entry = it->second;
        if (!entry.in_kernel || entry.conflict || entry.lapsed) continue;
        const bool never = entry.renewed_at == Instant{};
        if (!never && target_.lease.count() == 0) continue;
        const Instant due = std::max(never ? now : entry.renewed_at + period(it->first.prefix.address), entry.retry_at);
        if (due > now) {
            next = std::min(next, due);
            continue;
        }
        chunk.push_back(it);
        load += weight(it->first.prefix.address);
    }
    // A full chunk: the rest is looked at next time.
    renew_at_ = load < chunk_weight ? next : now;
    if (chunk.empty()) return false;
    const auto results = apply(chunk, true);
    for (std::size_t i = 0; i < chunk.size(); ++i) {
        Entry& entry = chunk[i]->second;
        if (!results[i].ok()) {
            set_problem(entry, results[i].error().message);
            entry.retry_at = now + 50ms;
            compare_due_ = true;
        }
        renew_at_ =
            std::min(renew_at_, std::max(entry.renewed_at + period(chunk[i]->first.prefix.address), entry.retry_at));
    }
    if (!chunk.front()->first.prefix.address.is_v4()) learn_cost(boottime_now() - now, chunk.size());
    return true;
}

// The kernel goes through all multicast groups of an interface with each RTM_NEWADDR of IPv6 (ipv6_mc_up()), and each
// address has its group (RFC 4291, 2.7.1): a thousand addresses cost 200 us each, a hundred of them 20. Where that
// would take more than a few percent of a core they are renewed less often, but three times in a lease. Not spread over
// that time: all of a dead node's addresses are to go together, as its peer asks for them in turn.
void AddressKeeper::learn_cost(Duration took, std::size_t addresses) {
    const Duration each = took / static_cast<int>(addresses);
    cost_v6_ = cost_v6_ == Duration{} ? each : (cost_v6_ * 7 + each) / 8;
    const auto count = std::count_if(entries_.begin(), entries_.end(),
                                     [](const auto& item) { return !item.first.prefix.address.is_v4(); });
    const auto affordable = std::chrono::duration_cast<Duration>(
        std::chrono::duration<double, std::nano>(static_cast<double>((cost_v6_ * count).count()) / renew_share));
    renew_every_v6_ =
        std::clamp<Duration>(affordable, renew_every, std::max<Duration>(renew_every, Duration(target_.lease) / 3));
}

Duration AddressKeeper::period(const IpAddress& ip) const { return ip.is_v4() ? renew_every : renew_every_v6_; }

// One system call. Leases are checked immediately before it, so that a process that was stopped puts nothing back.
std::vector<Result<void>> AddressKeeper::apply(const Chunk& chunk, bool add) {
    std::vector<net::AddressChange> changes;
    std::vector<std::size_t> sent;
    changes.reserve(chunk.size());
    for (std::size_t i = 0; i < chunk.size(); ++i) {
        const auto& [address, entry] = *chunk[i];
        changes.push_back({entry.ifindex, address.interface, address.prefix, target_.lease});
        sent.push_back(i);
    }
    if (!add) return netlink_.remove(changes);

    const Instant now = boottime_now();
    std::vector<Result<void>> results(chunk.size(), Result<void>(Error{"not permitted any more", "", 0}));
    if (!permitted(now)) return results;
    std::erase_if(sent, [&](std::size_t i) {
        Entry& entry = chunk[i]->second;
        if (!lease_over(entry, now)) return false;
        entry.lapsed = true;
        report_due_ = true;
        results[i] = Error{"its lease ended", "", 0};
        return true;
    });
    std::vector<net::AddressChange> safe;
    safe.reserve(sent.size());
    for (const std::size_t i : sent) safe.push_back(std::move(changes[i]));
    auto answers = netlink_.add(safe);
    for (std::size_t k = 0; k < sent.size(); ++k) {
        Entry& entry = chunk[sent[k]]->second;
        if (answers[k].ok()) entry.claimed_at = entry.renewed_at = now;
        results[sent[k]] = std::move(answers[k]);
    }
    renew_at_ = std::min(renew_at_, now + renew_every);
    return results;
}

bool AddressKeeper::lease_over(const Entry& entry, Instant now) const {
    return target_.lease.count() > 0 && now + lease_guard >= entry.claimed_at + target_.lease;
}

void AddressKeeper::lapse_and_claim(Instant now) {
    lapse_checked_ = now;
    if (!target_.wanted || target_.lease.count() == 0) return;
    const bool claiming = !restraint_.put_nothing_back && permitted(now);
    for (auto& [address, entry] : entries_) {
        if (entry.lapsed || entry.conflict) continue;
        if (lease_over(entry, now)) {
            entry.lapsed = true;
            report_due_ = true;
            schedule_.stop(address.prefix.address);
        } else if (!entry.in_kernel && claiming) {
            entry.claimed_at = now;
        }
    }
}

void AddressKeeper::set_problem(Entry& entry, const std::string& problem) {
    if (entry.problem == problem) return;
    entry.problem = problem;
    report_due_ = true;
}

// ---- announcing ----

bool AddressKeeper::announce_chunk(Instant now) {
    if (restraint_.announce_nothing) return false;
    const auto due = schedule_.take(now, announce_addresses);
    if (due.empty()) return false;
    if (!options_.ping_nodes.empty() && (neighbors_at_ == Instant{} || now - neighbors_at_ >= neighbors_every)) {
        neighbors_at_ = now;
        neighbors_.clear();
        if (const auto known = netlink_.neighbors(); known.ok())
            for (const auto& neighbor : *known) neighbors_[{neighbor.ifindex, neighbor.ip}] = neighbor.mac;
    }
    std::vector<net::OutgoingFrame> first;
    std::vector<net::OutgoingFrame> then;
    for (const auto& one : due) append_frames(one, first, then);
    sender_->send(std::move(first), std::move(then));
    return true;
}

// The first frame is what most neighbours need: it goes before the second one of any other address.
void AddressKeeper::append_frames(const AnnounceSchedule::Due& due, std::vector<net::OutgoingFrame>& first,
                                  std::vector<net::OutgoingFrame>& then) {
    const auto it = by_ip_.find(due.ip);
    if (it == by_ip_.end() || !it->second->second.in_kernel) return;
    const auto link = links_.find(it->second->first.interface);
    if (link == links_.end() || !link->second.ethernet) return;
    const auto& [index, mac] = std::pair(link->second.index, link->second.mac);
    if (due.ip.is_v6()) {
        first.push_back({index, net::unsolicited_na(mac, due.ip)});
        return;
    }
    first.push_back({index, net::gratuitous_arp(mac, due.ip, net::ArpForm::request)});
    then.push_back({index, net::gratuitous_arp(mac, due.ip, net::ArpForm::reply)});
    if (due.ask_neighbor) append_neighbor_request(due.ip, link->second, then);
}

// One ping node per announcement, in turn.
void AddressKeeper::append_neighbor_request(const IpAddress& ip, const net::Link& link,
                                            std::vector<net::OutgoingFrame>& out) {
    for (std::size_t i = 0; i < options_.ping_nodes.size(); ++i) {
        const IpAddress& node = options_.ping_nodes[next_ping_node_++ % options_.ping_nodes.size()];
        if (!node.is_v4()) continue;
        const auto known = neighbors_.find({link.index, node});
        const bool near = std::any_of(
            interface_addresses_.begin(), interface_addresses_.end(),
            [&](const net::Address& own) { return own.ifindex == link.index && own.prefix.contains(node); });
        if (known == neighbors_.end() && !near) continue;
        const MacAddress to = known != neighbors_.end() ? known->second : net::mac_broadcast;
        out.push_back({link.index, net::arp_request(link.mac, to, ip, node)});
        return;
    }
}

// ---- reports ----

// Is there anything that should still be tried before the result is final?
bool AddressKeeper::pending() const {
    return !strays_.empty() || std::any_of(entries_.begin(), entries_.end(), [this](const auto& item) {
        const Entry& entry = item.second;
        if (entry.conflict) return false;
        if (!target_.wanted) return entry.in_kernel;
        return !entry.in_kernel && !entry.lapsed && entry.problem.empty();
    });
}

void AddressKeeper::report_now(bool complete) {
    KernelReport report;
    report.epoch = target_.epoch;
    report.wanted = target_.wanted;
    report.complete = complete;
    report.took = took_.value_or(Duration{});
    for (const auto& [address, entry] : entries_) {
        if (entry.in_kernel && !entry.conflict) report.held.push_back(address);
        if (entry.lapsed && target_.wanted) report.lapsed.push_back(address);
        if (target_.wanted && !entry.in_kernel && !entry.lapsed)
            report.missing.push_back({address, entry.problem, entry.conflict});
    }
    report.removed_by_others.assign(removed_by_others_.begin(), removed_by_others_.end());
    removed_by_others_.clear();
    report_(std::move(report));
}

}  // namespace lbcluster::heartbeat
