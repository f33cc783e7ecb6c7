// The second half of Daemon: having the kernel put right, and publishing.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>
#include <utility>

#include "forwarder/daemon.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/log.hpp"

namespace lbcluster::forward {

namespace {

// Counts that are older than this are read anew for whoever asks.
constexpr Duration counters_age_max = 500ms;
constexpr int sysctls_shown_max = 500;  // a machine may have many interfaces, and a frame has an end

const char* word_of(Method method) {
    switch (method) {
        case Method::nat:
            return "nat";
        case Method::snat:
            return "snat";
        case Method::tun:
            return "tun";
        case Method::dr:
            break;
    }
    return "dr";
}

const Destination* find_destination(const Table& table, const ServiceKey& key, const DestinationKey& server) {
    const auto service = table.find(key);
    if (service == table.end()) return nullptr;
    const auto& list = service->second.destinations;
    const auto found =
        std::lower_bound(list.begin(), list.end(), server,
                         [](const Destination& one, const DestinationKey& key) { return one.key < key; });
    return found == list.end() || found->key != server ? nullptr : &*found;
}

}  // namespace

// ---- the kernel ----

// What has changed goes to the kernel at once.
void Daemon::take_up_changes() {
    if (proxy_core_.catch_up(realtime_ms_now()) && configured_) {
        ++counts_["changes_of_health"];
        haproxy_->want(proxy_core_.states());
        publish_proxy();
    }
    const auto changed = core_.catch_up(realtime_ms_now());
    if (changed.empty() || !configured_) return;
    if (!reconciler_->update(core_.desired().table, changed)) return reconcile();
    counts_["changes_of_health"] += changed.size();
    const std::set<ServiceKey> keys(changed.begin(), changed.end());
    for (std::size_t i = 0; i < core_.keys().size(); ++i) {
        if (keys.contains(core_.keys()[i])) publish_service(i);
    }
    reconcile_within(pace_.read_back_delay);
}

void Daemon::reconcile() {
    if (!configured_) return reconcile_within(pace_.reconcile_period);
    configure();  // interfaces come and go
    const Instant began = boottime_now();
    const Outcome& outcome = reconciler_->reconcile(core_.desired());
    const auto took = std::chrono::duration_cast<milliseconds>(boottime_now() - began);
    counters_read_ = began;
    ++counts_["reconciles"];
    counts_["steps"] += outcome.steps;
    counts_["failures"] += outcome.failures;
    counts_["drifts"] += outcome.drifts;
    if (outcome.steps > 0)
        spdlog::info("kernel put right steps={} failures={} ms={}", outcome.steps, outcome.failures, took.count());
    log_outcome(outcome);
    publish();
    reconcile_at_.reset();
    reconcile_within(pace_.reconcile_period);
}

void Daemon::log_outcome(const Outcome& outcome) {
    if (outcome.drifts > 0) {
        drift_ms_ = realtime_ms_now();
        drift_ =
            outcome.drift.front() + (outcome.drifts > 1 ? " and " + std::to_string(outcome.drifts - 1) + " more" : "");
        for (const std::string& line : outcome.drift) spdlog::warn("drift, put right: {}", line);
        note_drift(outcome.drifts - 1);
    }
    std::string error = outcome.ipvs_error;
    if (error.empty()) {
        for (const std::string& text : faults(outcome)) error += (error.empty() ? "" : " | ") + text;
    }
    constexpr std::size_t error_bytes_max = 2000;
    error.resize(std::min(error.size(), error_bytes_max));
    if (error == last_error_) return;
    if (error.empty()) {
        spdlog::info("all of layer 4 is in the kernel as wanted");
        events_->note(setup_.node, "forward-works", "info", "all of layer 4 is in the kernel as wanted again");
    } else {
        spdlog::error("{}", error);
        if (last_error_.empty())
            events_->note(setup_.node, "forward-failed", "alarm", "layer 4 is not as wanted: " + error);
    }
    last_error_ = error;
}

// The sooner one counts.
void Daemon::reconcile_within(std::chrono::milliseconds delay) {
    const Instant at = boottime_now() + delay;
    if (reconcile_at_ && *reconcile_at_ <= at) return;
    reconcile_at_ = at;
    reconcile_timer_.expires_after(delay);
    reconcile_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error || ended_) return;
        reconcile_at_.reset();
        reconcile();
    });
}

// ---- publishing ----

// Counts change all the time: they are filled into snapshots.
void Daemon::refresh(bus::Item& item) {
    if (!item.has_forward() && !item.has_forward_service()) return;
    const Instant now = boottime_now();
    if (now - counters_read_ > counters_age_max) {
        counters_read_ = now;
        reconciler_->refresh_counters();
    }
    if (item.has_forward()) return fill_counters(*item.mutable_forward());
    const auto& services = core_.spec().services;
    const auto found = std::find_if(services.begin(), services.end(), [&](const ServiceSpec& one) {
        return one.label == item.forward_service().service();
    });
    if (found == services.end()) return;
    fill_counters(static_cast<std::size_t>(found - services.begin()), *item.mutable_forward_service());
}

void Daemon::fill_counters(bus::ForwardStatus& out) const {
    std::uint64_t active = 0;
    std::uint64_t inactive = 0;
    std::uint64_t per_second = 0;
    for (const auto& [key, counters] : reconciler_->counters()) {
        active += counters.total.active;
        inactive += counters.total.inactive;
        per_second += counters.total.per_second;
    }
    out.set_connections_active(active);
    out.set_connections_inactive(inactive);
    out.set_connections_per_second(per_second);
}

void Daemon::fill_counters(std::size_t service, bus::ForwardService& out) const {
    const ServiceKey& key = core_.keys()[service];
    const ServiceSpec& spec = core_.spec().services[service];
    const auto fill = [](const Counters& counters, auto& to) {
        to.set_connections_active(counters.active);
        to.set_connections_inactive(counters.inactive);
        to.set_connections_per_second(counters.per_second);
        to.set_connections_total(counters.total);
        to.set_bytes_in(counters.bytes_in);
        to.set_bytes_out(counters.bytes_out);
    };
    const auto found = reconciler_->counters().find(key);
    if (found == reconciler_->counters().end()) return;
    fill(found->second.total, out);
    for (std::size_t i = 0; i < spec.servers.size() && i < static_cast<std::size_t>(out.servers_size()); ++i) {
        const auto server = found->second.servers.find(destination_key(spec, key, spec.servers[i]));
        if (server == found->second.servers.end()) continue;
        bus::ForwardServer& to = *out.mutable_servers(static_cast<int>(i));
        fill(server->second, to);
        to.set_connections_persistent(server->second.persistent);
    }
}

void Daemon::publish() {
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < core_.spec().services.size(); ++i) {
        publish_service(i);
        keys.push_back(service_prefix + core_.spec().services[i].label);
    }
    for (const std::string& gone : published_) {
        const bool stays = std::find(keys.begin(), keys.end(), gone) != keys.end() ||
                           std::find(published_proxy_.begin(), published_proxy_.end(), gone) != published_proxy_.end();
        if (!stays) bus_->erase(gone);
    }
    published_ = std::move(keys);
    publish_status();
}

void Daemon::publish_service(std::size_t service) {
    const ServiceSpec& spec = core_.spec().services[service];
    const ServicePlan& plan = core_.plans()[service];
    const ServiceKey& key = core_.keys()[service];
    bus::Item item;
    item.set_key(service_prefix + spec.label);
    bus::ForwardService& out = *item.mutable_forward_service();
    out.set_service(spec.label);
    out.set_method(word_of(spec.method));
    out.set_mark(key.mark);
    out.set_fallback(fallback_text(spec.fallback));
    const auto error = reconciler_->outcome().errors.find(key);
    const bool failed = error != reconciler_->outcome().errors.end();
    if (failed) out.set_error(error->second);
    out.set_state(failed ? "failed" : plan.serves ? "served" : plan.fallback ? "fallback" : "empty");
    for (std::size_t i = 0; i < spec.servers.size(); ++i) {
        bus::ForwardServer& server = *out.add_servers();
        server.set_server(spec.servers[i].label);
        const Destination* const there =
            find_destination(reconciler_->actual(), key, destination_key(spec, key, spec.servers[i]));
        const bool missing = plan.servers[i] != Placing::gone && there == nullptr;
        server.set_state(missing ? "failed" : std::string(word_of(plan.servers[i])));
        server.set_weight(there == nullptr ? 0 : there->weight);
    }
    fill_counters(service, out);
    bus_->set(std::move(item));
}

void Daemon::publish_status() {
    bus::Item item;
    item.set_key("forward");
    bus::ForwardStatus& out = *item.mutable_forward();
    const Outcome& outcome = reconciler_->outcome();
    out.set_ipvs(!outcome.ipvs_version.empty());
    out.set_ipvs_version(outcome.ipvs_version);
    out.set_error(last_error_);
    for (const ServiceKey& key : core_.keys()) {
        if (reconciler_->actual().contains(key) && outcome.ipvs_error.empty()) out.set_services(out.services() + 1);
        if (outcome.errors.contains(key)) out.set_failed(out.failed() + 1);
    }
    for (const SysctlState& one : outcome.sysctls) {
        if (out.sysctls_size() >= sysctls_shown_max) break;
        bus::SysctlStatus& shown = *out.add_sysctls();
        shown.set_name(one.wanted.name);
        shown.set_value(one.value);
        shown.set_wanted(one.wanted.value);
        shown.set_before(one.before);
        shown.set_reason(one.wanted.reason);
        shown.set_error(one.error);
    }
    out.mutable_sync()->set_role(std::string(forward::word_of(outcome.sync.role)));
    out.mutable_sync()->set_interface(outcome.sync.interface);
    out.mutable_sync()->set_id(outcome.sync.id);
    out.mutable_sync()->set_error(outcome.sync_error);
    out.set_drift_ms(drift_ms_);
    out.set_drift(drift_);
    out.set_version(LBCLUSTER_VERSION);
    out.set_health(healthd_ && !healthd_->stale());
    for (const auto& [name, count] : counts_) (*out.mutable_counters())[name] = count;
    (*out.mutable_counters())["log_lines_dropped"] = log_lines_dropped();
    add_alarms(out);
    fill_proxy(out);
    fill_counters(out);
    bus_->set(std::move(item));
}

void Daemon::add_alarms(bus::ForwardStatus& out) {
    const Outcome& outcome = reconciler_->outcome();
    const auto alarm = [&](bool on, const char* id, const std::string& text, const char* action) {
        if (!on) {
            alarms_since_ms_.erase(id);
            return;
        }
        bus::Alarm& made = *out.add_alarms();
        made.set_id(id);
        made.set_since_ms(alarms_since_ms_.try_emplace(id, realtime_ms_now()).first->second);
        made.set_text(text);
        made.set_action(action);
    };
    const std::string services = std::to_string(core_.keys().size()) + " services of layer 4";
    alarm(!outcome.ipvs_error.empty(), "no-ipvs", services + " are served to nobody: " + outcome.ipvs_error,
          "load ip_vs (modprobe ip_vs), or boot a kernel that has it: Debian's linux-image-amd64");
    alarm(outcome.ipvs_error.empty() && !outcome.errors.empty(), "forward-failed",
          std::to_string(outcome.errors.size()) + " of " + services +
              " are not as wanted: " + (outcome.errors.empty() ? "" : outcome.errors.begin()->second),
          "`lbcluster status` names them; it is tried again every 10 s");
    const auto unset = std::count_if(outcome.sysctls.begin(), outcome.sysctls.end(),
                                     [](const SysctlState& one) { return !one.error.empty(); });
    alarm(unset > 0 && outcome.ipvs_error.empty(), "sysctls-not-set",
          std::to_string(unset) + " sysctls are not as layer 4 needs them", "`lbcluster status --json` names them");
    const std::string untransparent = !outcome.delivery_error.empty() ? outcome.delivery_error : outcome.rules_error;
    alarm(!core_.desired().rules.transparent.empty() && !untransparent.empty(), "transparent-failed",
          "servers of transparent services are not heard: " + untransparent,
          "does this kernel have policy routing and nftables' socket expression (nft_socket)? It is tried every 10 s");
    alarm(!outcome.sync_error.empty(), "sync-failed", "the peer does not learn of connections: " + outcome.sync_error,
          "connections of layer 4 will not survive a failover until it does");
    alarm(!outcome.owned_error.empty(), "owned-not-stored",
          "what is ours in the kernel is not written down: " + outcome.owned_error,
          "make room in the run folder; until then a restart may leave old services behind");
    const std::size_t proxied = proxy_core_.spec().services.size();
    const bool on = !haproxy_->error().empty();
    const std::string text = proxied > 0 ? std::to_string(proxied) + " services of layer 7 are served to nobody: "
                                         : "the fallback page of layer 4 is served to nobody: ";
    alarm(on && !haproxy_->installed() && !haproxy_->running(), "no-haproxy", text + haproxy_->error(),
          "apt-get install haproxy; it is taken up by itself");
    alarm(on && haproxy_->installed() && !haproxy_->running(), "proxy-failed", text + haproxy_->error(),
          "it is tried again; RUN_DIR/haproxy.log has more");
    alarm(on && haproxy_->running(), "proxy-not-as-wanted", haproxy_->error(),
          "the services go on as they were; change the configuration, or see RUN_DIR/haproxy.log");
    alarm(!events_->error().empty(), "forward-events-not-stored", "the history is not kept: " + events_->error(),
          "make room on the disk of the state folder");
    alarm(!config_error_.empty(), "forward-config-invalid",
          "forwarderd: the configuration files are not valid; an earlier configuration is in force",
          "`lbcluster config check` names each fault");
}

// ---- history ----

// Something that fights with us does so for hours: a line a minute.
void Daemon::note_drift(std::size_t more) {
    constexpr std::uint64_t pause_ms = 60000;
    if (drift_noted_ms_ != 0 && drift_ms_ - drift_noted_ms_ < pause_ms) {
        drifts_untold_ += 1 + more;
        return;
    }
    drift_noted_ms_ = drift_ms_;
    const std::uint64_t before = std::exchange(drifts_untold_, 0);
    events_->note(setup_.node, "drift", "warning",
                  drift_ + "; put right" + (before > 0 ? "; " + std::to_string(before) + " others before" : ""));
}

void Daemon::publish_config() {
    bus::Item item;
    item.set_key("config");
    bus::ConfigStatus& config = *item.mutable_config();
    config.set_daemon("forwarderd");
    config.set_revision(setup_.revision);
    config.set_digest(setup_.digest);
    config.set_error(config_error_);
    config.set_applied_ms(config_applied_ms_);
    bus_->set(std::move(item));
}

}  // namespace lbcluster::forward
