#include "forwarder/reconciler.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "forwarder/nft/ruleset.hpp"

namespace lbcluster::forward {

namespace {

bool serves(const Service& service) {
    return std::any_of(service.destinations.begin(), service.destinations.end(),
                       [](const Destination& one) { return one.weight > 0; });
}

std::string text_of(const Sync& sync) {
    return std::string(word_of(sync.role)) + " on " + sync.interface + " with id " + std::to_string(sync.id);
}

}  // namespace

std::string text_of(const Error& error) { return error.message + (error.hint.empty() ? "" : "; " + error.hint); }

std::vector<std::string> faults(const Outcome& outcome) {
    std::vector<std::string> out;
    const auto add = [&](const std::string& text) {
        if (!text.empty()) out.push_back(text);
    };
    add(outcome.ipvs_error);
    if (outcome.ipvs_error.empty()) {
        for (const auto& [key, text] : outcome.errors) add(text);
    }
    for (const std::string* text : {&outcome.rules_error, &outcome.delivery_error, &outcome.sync_error,
                                    &outcome.timeouts_error, &outcome.owned_error}) {
        add(*text);
    }
    for (const SysctlState& one : outcome.sysctls) add(one.error);
    return out;
}

Reconciler::Reconciler(Kernel& kernel, Owned owned, Write write)
    : kernel_(kernel), owned_(std::move(owned)), written_(owned_), write_(std::move(write)) {}

// ---- reading ----

const Table& Reconciler::look(const Table& wanted) {
    if (kernel_.ipvs()) read(wanted);
    known_ = false;  // nobody has compared it yet, so that a difference is no drift
    return reading_.table;
}

bool Reconciler::read(const Table& wanted) {
    std::set<ServiceKey> which = owned_.services;
    for (const auto& [key, service] : wanted) which.insert(key);
    auto reading = kernel_.read(which);
    if (!reading) {
        outcome_.ipvs_error = text_of(reading.error());
        known_ = false;
        return false;
    }
    std::erase_if(reading->table, [&](const auto& entry) { return !which.contains(entry.first); });
    reading_ = std::move(*reading);
    return true;
}

void Reconciler::refresh_counters() {
    if (!known_) return;
    auto reading = kernel_.read(owned_.services);
    if (reading) reading_.counters = std::move(reading->counters);
}

// ---- putting right ----

const Outcome& Reconciler::reconcile(const Desired& desired) {
    outcome_ = {};
    outcome_.sync_error = desired.sync_error;
    const bool ipvs = open_ipvs(desired);
    set_sysctls(desired.sysctls);
    if (ipvs) {
        stop_syncs(desired);
        set_tables(desired);
        start_sync(desired);
        set_timeouts(desired.timeouts);
    } else {
        known_ = false;
        for (const auto& [key, service] : desired.table) outcome_.errors[key] = outcome_.ipvs_error;
        set_rules(desired.rules);
    }
    set_deliveries(desired.rules);
    restore_sysctls(desired.sysctls);
    remember();
    return outcome_;
}

bool Reconciler::open_ipvs(const Desired& desired) {
    // Without a service of layer 4, now or before, nobody needs IPVS, and nobody shall load its module.
    if (desired.table.empty() && owned_.services.empty() && owned_.syncs.empty()) return false;
    auto version = kernel_.ipvs();
    if (!version && version.error().code == ENOENT && desired.table.empty()) {
        // Gone with its module, and all that was in it.
        owned_.services.clear();
        owned_.syncs.clear();
        return false;
    }
    if (!version) {
        outcome_.ipvs_error = text_of(version.error());
        return false;
    }
    outcome_.ipvs_version = std::move(*version);
    return true;
}

void Reconciler::set_tables(const Desired& desired) {
    const bool compared = std::exchange(known_, false);
    const Table before = std::move(reading_.table);
    reading_ = {};
    if (!read(desired.table)) {
        for (const auto& [key, service] : desired.table) outcome_.errors[key] = outcome_.ipvs_error;
        return;
    }
    if (compared) find_drift(before);
    known_ = true;
    // Written down before it is made, so that a crash in between leaves no stranger.
    for (const auto& [key, service] : desired.table) owned_.services.insert(key);
    remember();

    const Steps steps = diff(reading_.table, desired.table, owned_.services);
    carry_out(steps.before);
    const bool marked = set_rules(desired.rules);
    auto after = without_emptying(steps.after, desired.table);
    // Packets that still carry an old mark need the old service.
    if (!marked) std::erase_if(after, [](const Step& step) { return step.kind == Step::Kind::delete_service; });
    carry_out(after);
    std::erase_if(owned_.services,
                  [&](const ServiceKey& key) { return !desired.table.contains(key) && !reading_.table.contains(key); });
    if (marked) return;
    for (const auto& [key, service] : desired.table) {
        if (key.mark != 0) outcome_.errors.emplace(key, "its firewall rules are missing: " + outcome_.rules_error);
    }
}

// What we had left there and what is there now.
void Reconciler::find_drift(const Table& before) {
    const Steps done = diff(before, reading_.table, owned_.services);
    for (const auto* part : {&done.before, &done.after}) {
        for (const Step& step : *part) note_drift("not by us: " + step.to_string());
    }
}

void Reconciler::note_drift(const std::string& text) {
    ++outcome_.drifts;
    if (outcome_.drift.size() < drift_lines_max) outcome_.drift.push_back(text);
}

// Steps that would take a service's last server, because another one could not be added, are left out.
std::vector<Step> Reconciler::without_emptying(std::vector<Step> steps, const Table& desired) const {
    for (const auto& [key, error] : outcome_.errors) {
        const auto wanted = desired.find(key);
        const auto there = reading_.table.find(key);
        if (wanted == desired.end() || there == reading_.table.end() || !serves(wanted->second)) continue;
        Table picture{{key, there->second}};
        for (const Step& step : steps) {
            if (step.service == key) apply(step, picture);
        }
        if (serves(picture[key])) continue;
        std::erase_if(steps, [&key = key](const Step& step) { return step.service == key; });
    }
    return steps;
}

void Reconciler::carry_out(std::span<const Step> steps) {
    if (steps.empty()) return;
    const auto results = kernel_.carry_out(steps);
    outcome_.steps += steps.size();
    for (std::size_t i = 0; i < steps.size(); ++i) {
        if (results[i]) {
            apply(steps[i], reading_.table);
            continue;
        }
        ++outcome_.failures;
        outcome_.errors.emplace(steps[i].service, text_of(results[i].error()));
    }
}

bool Reconciler::update(const Table& desired, std::span<const ServiceKey> changed) {
    if (!known_) return false;
    Steps steps;
    for (const ServiceKey& key : changed) {
        const auto wanted = desired.find(key);
        const auto there = reading_.table.find(key);
        if (wanted == desired.end() || there == reading_.table.end()) return false;
        diff_service(key, there->second, wanted->second, steps);
    }
    const std::size_t failures = outcome_.failures;
    carry_out(steps.before);
    if (outcome_.failures == failures) carry_out(steps.after);
    return outcome_.failures == failures;
}

// ---- rules ----

// True: they are as wanted.
bool Reconciler::set_rules(const Rules& rules) {
    const std::string text = nft::render(rules);
    const std::uint64_t hash = text.empty() ? 0 : stable_hash(text);
    auto listing = kernel_.rules();
    if (!listing) {
        if (text.empty() && owned_.rules_text == 0) return true;  // a kernel without nftables, and no need of it
        outcome_.rules_error = text_of(listing.error());
        return false;
    }
    const bool same = text.empty() ? listing->empty() : stable_hash(*listing) == owned_.rules_listing;
    if (same && hash == owned_.rules_text) return true;
    if (hash == owned_.rules_text && hash != 0) note_drift("not by us: change our nftables table");
    ++outcome_.steps;
    if (!text.empty() || !listing->empty()) {
        if (const auto done = kernel_.set_rules(text); !done) {
            ++outcome_.failures;
            outcome_.rules_error = text_of(done.error());
            return false;
        }
    }
    listing = kernel_.rules();
    owned_.rules_text = hash;
    owned_.rules_listing = listing && !listing->empty() ? stable_hash(*listing) : 0;
    return true;
}

// ---- routes ----

void Reconciler::set_deliveries(const Rules& rules) {
    for (const bool v6 : {false, true}) {
        const auto done = set_delivery(v6, rules.is_transparent(v6));
        if (done) continue;
        ++outcome_.failures;
        outcome_.delivery_error = text_of(done.error());
    }
}

Result<void> Reconciler::set_delivery(bool v6, bool wanted) {
    const bool ours = owned_.deliveries.contains(v6);
    if (!wanted && !ours) return {};
    const auto there = kernel_.delivers(v6);
    if (!there) return there.error();
    if (wanted) {
        if (*there) return {};
        if (ours)
            note_drift(std::string("not by us: remove the route or rule of transparent ") + (v6 ? "IPv6" : "IPv4") +
                       " connections");
        owned_.deliveries.insert(v6);
        remember();
    }
    ++outcome_.steps;
    // Removed even if only one half of it is there.
    auto done = kernel_.set_delivery(v6, wanted);
    if (done && !wanted) owned_.deliveries.erase(v6);
    return done;
}

// ---- sysctls ----

void Reconciler::set_sysctls(const std::vector<Sysctl>& wanted) {
    for (const Sysctl& one : wanted) set_sysctl(one);
}

void Reconciler::set_sysctl(const Sysctl& wanted) {
    SysctlState state{wanted, {}, {}, {}};
    const auto mine = owned_.sysctls.find(wanted.name);
    if (mine != owned_.sysctls.end()) state.before = mine->second.before;
    auto value = kernel_.sysctl(wanted.name);
    if (!value) {
        state.error = text_of(value.error());
    } else if (*value == wanted.value) {
        state.value = *value;
    } else {
        if (mine != owned_.sysctls.end() && mine->second.set == wanted.value) {
            note_drift("not by us: set " + wanted.name + " to " + *value);
        } else {
            owned_.sysctls[wanted.name] = {*value, wanted.value};
            state.before = *value;
            remember();
        }
        ++outcome_.steps;
        const auto done = kernel_.set_sysctl(wanted.name, wanted.value);
        const auto now = kernel_.sysctl(wanted.name);
        state.value = now ? *now : *value;
        if (!done) state.error = text_of(done.error());
        else if (state.value != wanted.value) state.error = "the kernel did not take " + wanted.value;
        if (!state.error.empty()) ++outcome_.failures;
    }
    outcome_.sysctls.push_back(std::move(state));
}

// What nobody needs any more is again what it was, unless somebody else has changed it meanwhile.
void Reconciler::restore_sysctls(const std::vector<Sysctl>& wanted) {
    for (auto it = owned_.sysctls.begin(); it != owned_.sysctls.end();) {
        const auto& [name, memory] = *it;
        if (std::any_of(wanted.begin(), wanted.end(), [&](const Sysctl& one) { return one.name == it->first; })) {
            ++it;
            continue;
        }
        const auto value = kernel_.sysctl(name);
        Result<void> done;
        if (value && *value == memory.set) {
            ++outcome_.steps;
            done = kernel_.set_sysctl(name, memory.before);
            if (!done) ++outcome_.failures;
        } else if (!value && value.error().code != ENOENT) {  // ENOENT: an interface, or a module, that has gone
            done = value.error();
        }
        if (done) {
            it = owned_.sysctls.erase(it);
            continue;
        }
        outcome_.sysctls.push_back({{name, memory.before, "no service needs it any more"},
                                    value ? *value : "",
                                    memory.before,
                                    text_of(done.error())});
        ++it;
    }
}

// ---- the rest ----

// Those of ours that are not wanted, and those in the way.
void Reconciler::stop_syncs(const Desired& desired) {
    if (!desired.sync) return;
    const Sync& wanted = *desired.sync;
    const auto running = kernel_.syncs();
    if (!running) return;  // start_sync() tells
    for (const Sync& one : *running) {
        // The other role goes only when the new one has begun: what happens in between is told.
        const bool in_the_way = one.role == wanted.role && one != wanted;
        if (!in_the_way && (wanted.role != SyncRole::none || !owned_.syncs.contains(one.role))) continue;
        stop_sync(one);
    }
}

void Reconciler::stop_sync(const Sync& sync) {
    ++outcome_.steps;
    const auto done = kernel_.stop_sync(sync);
    if (done) {
        owned_.syncs.erase(sync.role);
        return;
    }
    ++outcome_.failures;
    outcome_.sync_error = text_of(done.error());
}

void Reconciler::start_sync(const Desired& desired) {
    auto running = kernel_.syncs();
    if (!running) {
        outcome_.sync_error = text_of(running.error());
        return;
    }
    const auto role = [&](SyncRole which) {
        return std::find_if(running->begin(), running->end(), [&](const Sync& one) { return one.role == which; });
    };
    if (desired.sync && desired.sync->role != SyncRole::none) {
        const Sync& wanted = *desired.sync;
        if (role(wanted.role) == running->end()) {
            if (owned_.syncs.contains(wanted.role))
                note_drift("not by us: stop the connection sync (" + text_of(wanted) + ")");
            ++outcome_.steps;
            const auto started = kernel_.start_sync(wanted);
            if (started) owned_.syncs.insert(wanted.role);
            else ++outcome_.failures;
            if (!started) outcome_.sync_error = text_of(started.error());
        }
        const SyncRole other = wanted.role == SyncRole::master ? SyncRole::backup : SyncRole::master;
        if (const auto found = role(other); found != running->end() && outcome_.sync_error.empty()) stop_sync(*found);
        running = kernel_.syncs();
    }
    if (running && !running->empty()) outcome_.sync = running->front();
}

void Reconciler::set_timeouts(const Timeouts& wanted) {
    if (wanted == Timeouts{}) return;
    const auto now = kernel_.timeouts();
    const auto same = [](seconds want, seconds have) { return want == 0s || want == have; };
    if (now && same(wanted.tcp, now->tcp) && same(wanted.tcp_fin, now->tcp_fin) && same(wanted.udp, now->udp)) return;
    ++outcome_.steps;
    if (const auto done = kernel_.set_timeouts(wanted); !done) {
        ++outcome_.failures;
        outcome_.timeouts_error = text_of(done.error());
    }
}

void Reconciler::remember() {
    if (owned_ == written_) return;
    if (const auto done = write_(render_owned(owned_)); done) written_ = owned_;
    else outcome_.owned_error = text_of(done.error());
}

}  // namespace lbcluster::forward
