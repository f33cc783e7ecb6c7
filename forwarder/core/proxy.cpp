#include "forwarder/core/proxy.hpp"

#include <algorithm>

namespace lbcluster::forward {

namespace {

Placing place(const ProxyServiceSpec& spec, const ServerSpec& server, const Verdict& verdict, std::uint64_t now_ms,
              ProxyServerState& state) {
    const State wanted = effective_state(server, now_ms);
    const bool failed =
        verdict.health == Health::down || verdict.health == Health::standby || verdict.wish == Wish::down;
    if (wanted == State::halt || failed) {
        state.ends_sessions = true;
        return Placing::gone;
    }
    if (verdict.health != Health::up) return Placing::gone;
    const std::uint32_t percent = verdict.percent;
    if (wanted == State::drain || verdict.wish == Wish::drain || server.weight == 0 || percent == 0) {
        return Placing::draining;
    }
    state.ready = true;
    if (!has_fixed_weights(spec)) {
        state.weight = std::clamp<std::uint32_t>((server.weight * percent + 50) / 100, 1, 256);
    }
    return Placing::serving;
}

}  // namespace

DestinationKey proxy_place_of(const ProxyServiceSpec& service, const ServerSpec& server) {
    const bool single = server.port == 0 && service.ports.size() == 1;
    return {server.address, single ? service.ports.front() : server.port};
}

ProxyServicePlan plan_proxy_service(const ProxyServiceSpec& spec, const std::vector<Verdict>& verdicts,
                                    std::uint64_t now_ms, ProxyStates& states) {
    ProxyServicePlan out;
    for (std::size_t i = 0; i < spec.servers.size(); ++i) {
        ProxyServerState state;
        out.servers.push_back(place(spec, spec.servers[i], verdicts[i], now_ms, state));
        out.serves = out.serves || state.ready;
        state.at = proxy_place_of(spec, spec.servers[i]);
        states[{spec.label, spec.servers[i].label}] = state;
    }
    if (spec.fallback.kind == FallbackSpec::Kind::none) return out;
    ProxyServerState fallback{true, 0, false, {}};
    if (spec.fallback.kind == FallbackSpec::Kind::address) {
        fallback.at = DestinationKey{spec.fallback.address, spec.fallback.port};
    }
    if (spec.fallback.kind == FallbackSpec::Kind::server) {
        // It answers though it is down, but not against the operator's wish.
        const auto server = std::find_if(spec.servers.begin(), spec.servers.end(),
                                         [&](const ServerSpec& one) { return one.label == spec.fallback.server; });
        if (server != spec.servers.end()) fallback.at = proxy_place_of(spec, *server);
        fallback.ready = server != spec.servers.end() && effective_state(*server, now_ms) == State::online;
        fallback.ends_sessions = !fallback.ready;
    }
    states[{spec.label, proxy_fallback_name}] = fallback;
    out.fallback = !out.serves && fallback.ready;
    return out;
}

void ProxyCore::configure(ProxySpec spec, std::uint64_t now_ms) {
    // What is known, by name, and by address for those that have a new one.
    std::map<ProxyServerName, std::pair<IpAddress, Verdict>> by_name;
    std::map<std::pair<IpAddress, std::uint16_t>, Verdict> by_place;
    for (std::size_t i = 0; i < spec_.services.size(); ++i) {
        const ProxyServiceSpec& service = spec_.services[i];
        for (std::size_t s = 0; s < service.servers.size(); ++s) {
            const ServerSpec& server = service.servers[s];
            if (verdicts_[i][s].health == Health::unknown) continue;
            by_name[{service.label, server.label}] = {server.address, verdicts_[i][s]};
            by_place[{server.address, server.port != 0 ? server.port : service.ports.front()}] = verdicts_[i][s];
        }
    }
    spec_ = std::move(spec);
    plans_.assign(spec_.services.size(), {});
    verdicts_.clear();
    by_name_.clear();
    dirty_.clear();
    deadlines_ms_.clear();
    states_.clear();
    for (std::size_t i = 0; i < spec_.services.size(); ++i) {
        const ProxyServiceSpec& service = spec_.services[i];
        verdicts_.emplace_back(service.servers.size());
        for (std::size_t s = 0; s < service.servers.size(); ++s) {
            const ServerSpec& server = service.servers[s];
            by_name_[{service.label, server.label}] = {i, s};
            if (server.state == State::drain && server.drain_until_ms) deadlines_ms_.insert(*server.drain_until_ms);
            const auto named = by_name.find({service.label, server.label});
            if (named != by_name.end() && named->second.first == server.address) {
                verdicts_[i][s] = named->second.second;
                continue;
            }
            const auto placed = by_place.find({server.address, server.port != 0 ? server.port : service.ports.front()});
            if (placed != by_place.end()) verdicts_[i][s] = placed->second;
        }
        replan(i, now_ms);
    }
    now_ms_ = now_ms;
}

void ProxyCore::adopt(const ProxyStates& actual, std::uint64_t now_ms) {
    for (std::size_t i = 0; i < spec_.services.size(); ++i) {
        const ProxyServiceSpec& service = spec_.services[i];
        for (std::size_t s = 0; s < service.servers.size(); ++s) {
            const ServerSpec& server = service.servers[s];
            Verdict& verdict = verdicts_[i][s];
            const auto found = actual.find({service.label, server.label});
            if (verdict.health != Health::unknown || found == actual.end() || !found->second.ready) continue;
            if (found->second.at && *found->second.at != proxy_place_of(service, server)) continue;  // another server
            verdict.health = Health::up;
            if (server.weight == 0 || has_fixed_weights(service)) continue;
            verdict.percent =
                std::min<std::uint32_t>(100, (found->second.weight * 100 + server.weight / 2) / server.weight);
        }
        replan(i, now_ms);
    }
}

void ProxyCore::on_health(const std::string& service, const std::string& server, const IpAddress& address,
                          const Verdict& verdict) {
    const auto found = by_name_.find({service, server});
    if (found == by_name_.end() || verdict.health == Health::unknown) return;
    const auto [i, s] = found->second;
    if (spec_.services[i].servers[s].address != address || verdicts_[i][s] == verdict) return;
    verdicts_[i][s] = verdict;
    dirty_.insert(i);
}

bool ProxyCore::catch_up(std::uint64_t now_ms) {
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
    if (dirty_.empty()) return false;
    for (const std::size_t i : dirty_) replan(i, now_ms);
    dirty_.clear();
    return true;
}

std::optional<std::uint64_t> ProxyCore::next_deadline_ms() const {
    const auto next = deadlines_ms_.upper_bound(now_ms_);
    return next == deadlines_ms_.end() ? std::nullopt : std::optional(*next);
}

void ProxyCore::replan(std::size_t service, std::uint64_t now_ms) {
    plans_[service] = plan_proxy_service(spec_.services[service], verdicts_[service], now_ms, states_);
}

}  // namespace lbcluster::forward
