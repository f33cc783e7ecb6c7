#include "forwarder/core/core.hpp"

#include <algorithm>

namespace lbcluster::forward {

void Core::configure(Spec spec, std::uint64_t now_ms) {
    // What is known, by name, and by place for those that have a new name.
    std::map<std::pair<std::string, std::string>, std::pair<IpAddress, Verdict>> by_name;
    std::map<DestinationKey, Verdict> by_place;
    for (std::size_t i = 0; i < spec_.services.size(); ++i) {
        const ServiceSpec& service = spec_.services[i];
        for (std::size_t s = 0; s < service.servers.size(); ++s) {
            const ServerSpec& server = service.servers[s];
            const Verdict& verdict = verdicts_[i][s];
            if (verdict.health == Health::unknown) continue;
            by_name[{service.label, server.label}] = {server.address, verdict};
            by_place[destination_key(service, keys_[i], server)] = verdict;
        }
    }
    spec_ = std::move(spec);
    keys_ = plan_keys(spec_.services);
    plans_.assign(spec_.services.size(), {});
    verdicts_.clear();
    by_label_.clear();
    dirty_.clear();
    deadlines_ms_.clear();
    desired_.table.clear();
    for (std::size_t i = 0; i < spec_.services.size(); ++i) {
        const ServiceSpec& service = spec_.services[i];
        verdicts_.emplace_back(service.servers.size());
        for (std::size_t s = 0; s < service.servers.size(); ++s) {
            const ServerSpec& server = service.servers[s];
            by_label_[{service.label, server.label}] = {i, s};
            if (server.state == State::drain && server.drain_until_ms) deadlines_ms_.insert(*server.drain_until_ms);
            const auto named = by_name.find({service.label, server.label});
            if (named != by_name.end() && named->second.first == server.address) {
                verdicts_[i][s] = named->second.second;
                continue;
            }
            const auto placed = by_place.find(destination_key(service, keys_[i], server));
            if (placed != by_place.end()) verdicts_[i][s] = placed->second;
        }
        replan(i, now_ms);
    }
    desired_.rules = plan_rules(spec_, keys_);
    desired_.sysctls = plan_sysctls(spec_);
    desired_.timeouts = spec_.node.timeouts;
    now_ms_ = now_ms;
    plan_sync();
}

void Core::adopt(const Table& actual, std::uint64_t now_ms) {
    for (std::size_t i = 0; i < spec_.services.size(); ++i) {
        const auto found = actual.find(keys_[i]);
        if (found == actual.end()) continue;
        const ServiceSpec& service = spec_.services[i];
        for (std::size_t s = 0; s < service.servers.size(); ++s) {
            Verdict& verdict = verdicts_[i][s];
            const ServerSpec& server = service.servers[s];
            const DestinationKey key = destination_key(service, keys_[i], server);
            const auto& there = found->second.destinations;
            const auto one = std::lower_bound(there.begin(), there.end(), key,
                                              [](const Destination& d, const DestinationKey& k) { return d.key < k; });
            if (verdict.health != Health::unknown || one == there.end() || one->key != key) continue;
            verdict.health = Health::up;
            if (server.weight > 0 && server.state == State::online) {
                verdict.percent = std::min<std::uint32_t>(100, (one->weight * 100 + server.weight / 2) / server.weight);
            }
        }
        replan(i, now_ms);
    }
}

void Core::on_health(const std::string& service, const std::string& server, const IpAddress& address,
                     const Verdict& verdict) {
    const auto found = by_label_.find({service, server});
    if (found == by_label_.end() || verdict.health == Health::unknown) return;
    const auto [i, s] = found->second;
    if (spec_.services[i].servers[s].address != address || verdicts_[i][s] == verdict) return;
    verdicts_[i][s] = verdict;
    dirty_.insert(i);
}

void Core::on_activity(Activity activity) {
    if (activity == Activity::unknown) return;
    activity_ = activity;
    plan_sync();
}

std::vector<ServiceKey> Core::catch_up(std::uint64_t now_ms) {
    if (const auto due = next_deadline_ms(); due && *due <= now_ms) {
        for (std::size_t i = 0; i < spec_.services.size(); ++i) {
            const auto& servers = spec_.services[i].servers;
            const bool over = std::any_of(servers.begin(), servers.end(), [&](const ServerSpec& server) {
                return effective_state(server, now_ms) != effective_state(server, now_ms_);
            });
            if (over) dirty_.insert(i);
        }
    }
    now_ms_ = now_ms;
    std::vector<ServiceKey> changed;
    for (const std::size_t i : dirty_) {
        if (replan(i, now_ms)) changed.push_back(keys_[i]);
    }
    dirty_.clear();
    return changed;
}

std::optional<std::uint64_t> Core::next_deadline_ms() const {
    const auto next = deadlines_ms_.upper_bound(now_ms_);
    return next == deadlines_ms_.end() ? std::nullopt : std::optional(*next);
}

bool Core::replan(std::size_t service, std::uint64_t now_ms) {
    plans_[service] = plan_service(spec_.services[service], keys_[service], verdicts_[service], now_ms);
    Service& wanted = desired_.table[keys_[service]];
    if (wanted == plans_[service].service) return false;
    wanted = plans_[service].service;
    return true;
}

void Core::plan_sync() {
    desired_.sync_error.clear();
    const NodeSpec& node = spec_.node;
    if (node.sync_interface.empty() || spec_.services.empty()) {
        desired_.sync = Sync{};
    } else if (mixes_families(spec_)) {
        desired_.sync = Sync{};
        desired_.sync_error =
            "a service reaches servers of the other IP family by tunnel; the kernel cannot sync connections then";
    } else if (activity_ == Activity::unknown) {
        desired_.sync.reset();
    } else {
        const SyncRole role = activity_ == Activity::active ? SyncRole::master : SyncRole::backup;
        desired_.sync = Sync{role, node.sync_interface, node.sync_id};
    }
}

}  // namespace lbcluster::forward
