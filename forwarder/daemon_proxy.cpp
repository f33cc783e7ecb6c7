// The part of Daemon that is about layer 7: what HAProxy shall do, and publishing what it does.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "forwarder/daemon.hpp"
#include "lbcluster/base/clock.hpp"

namespace lbcluster::forward {

namespace {

template <class To>
void fill(const ProxyRow& row, To& to) {
    to.set_connections_active(row.sessions);
    to.set_connections_per_second(row.per_second);
    to.set_connections_total(row.total);
    to.set_bytes_in(row.bytes_in);
    to.set_bytes_out(row.bytes_out);
    to.set_errors(row.errors);
}

}  // namespace

void Daemon::open_proxy() {
    Haproxy::Events events;
    events.found = [this](const ProxyStates& actual) {
        proxy_core_.adopt(actual, realtime_ms_now());
        proxy_core_.catch_up(realtime_ms_now());
        haproxy_->want(proxy_core_.states());
    };
    events.changed = [this] { publish_proxy(); };
    events.note = [this](const char* kind, const char* severity, const std::string& text) {
        events_->note(setup_.node, kind, severity, text);
    };
    haproxy_ = std::make_unique<Haproxy>(io_, paths_.run_dir, std::move(events));
}

// With every configuration that comes into force.
void Daemon::configure_proxy() {
    ProxySpec spec = make_proxy_spec(setup_.cluster, setup_.node_config, setup_.page, setup_.files);
    proxy_core_.configure(std::move(spec), realtime_ms_now());
    if (healthd_) {
        for (const auto& [key, item] : healthd_->state()) on_health(item);
    }
    proxy_core_.catch_up(realtime_ms_now());
    if (proxy_core_.spec().empty()) return haproxy_->want(std::nullopt, {});
    ProxyPlace place;
    place.run_dir = paths_.run_dir;
    if (has_proxy_user()) place.user = place.group = "haproxy";
    place.connections_max = proxy_connections_max();
    ProxyWanted wanted{render_proxy(proxy_core_.spec(), place), proxy_core_.spec().page,
                       proxy_certificate_files(proxy_core_.spec())};
    haproxy_->want(std::move(wanted), proxy_core_.states());
}

void Daemon::publish_proxy() {
    if (ended_) return;
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < proxy_core_.spec().services.size(); ++i) {
        publish_proxy_service(i);
        keys.push_back(service_prefix + proxy_core_.spec().services[i].label);
    }
    for (const std::string& gone : published_proxy_) {
        const bool stays = std::find(keys.begin(), keys.end(), gone) != keys.end() ||
                           std::find(published_.begin(), published_.end(), gone) != published_.end();
        if (!stays) bus_->erase(gone);
    }
    published_proxy_ = std::move(keys);
    publish_status();
}

void Daemon::publish_proxy_service(std::size_t service) {
    const ProxyServiceSpec& spec = proxy_core_.spec().services[service];
    const ProxyServicePlan& plan = proxy_core_.plans()[service];
    const ProxyView& view = haproxy_->view();
    bus::Item item;
    item.set_key(service_prefix + spec.label);
    bus::ForwardService& out = *item.mutable_forward_service();
    out.set_service(spec.label);
    out.set_method("proxy");
    out.set_fallback(fallback_text(spec.fallback));
    const auto frontend = view.frontends.find(spec.label);
    const bool there = haproxy_->running() && frontend != view.frontends.end();
    const bool failed = !there && !haproxy_->error().empty();
    out.set_error(failed ? haproxy_->error() : "");
    out.set_state(failed ? "failed" : plan.serves ? "served" : plan.fallback ? "fallback" : "empty");
    if (there) fill(frontend->second, out);
    const auto backend = view.backends.find(spec.label);
    if (there && backend != view.backends.end()) out.set_errors(out.errors() + backend->second.errors);
    for (std::size_t i = 0; i < spec.servers.size(); ++i) {
        bus::ForwardServer& server = *out.add_servers();
        server.set_server(spec.servers[i].label);
        const auto row = view.servers.find({spec.label, spec.servers[i].label});
        const bool missing = row == view.servers.end() && plan.servers[i] != Placing::gone && failed;
        server.set_state(missing ? "failed" : std::string(word_of(plan.servers[i])));
        if (row == view.servers.end()) continue;
        fill(row->second, server);
        server.set_weight(row->second.ready ? row->second.weight : 0);
    }
    bus_->set(std::move(item));
}

void Daemon::fill_proxy(bus::ForwardStatus& out) const {
    bus::ProxyStatus& proxy = *out.mutable_proxy();
    proxy.set_services(proxy_core_.spec().services.size());
    proxy.set_running(haproxy_->running());
    proxy.set_pid(haproxy_->running() ? static_cast<std::uint32_t>(haproxy_->pid()) : 0);
    proxy.set_version(haproxy_->info().version);
    proxy.set_error(haproxy_->error());
    std::uint64_t failed = 0;
    for (const ProxyServiceSpec& one : proxy_core_.spec().services) {
        const bool there = haproxy_->running() && haproxy_->view().frontends.contains(one.label);
        if (!there && !haproxy_->error().empty()) ++failed;
    }
    proxy.set_failed(failed);
    for (const auto& [name, count] : haproxy_->counters()) (*out.mutable_counters())[name] = count;
}

}  // namespace lbcluster::forward
