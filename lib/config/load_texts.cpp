// load_texts(): the configuration from texts; no file is touched, nothing is digested.
#include <algorithm>

#include "lbcluster/config/load.hpp"
#include "lbcluster/config/services.hpp"
#include "lib/config/reflect.hpp"

namespace lbcluster::config {
namespace {

// Of the schema's defaults those that this check has no use for go again: the check of services refuses them.
void make_effective(Check& check, bool outer) {
    const bool group = !check.all().empty() || !check.any().empty() || check.has_at_least();
    const bool http = check.protocol() == CHECK_PROTOCOL_HTTP || check.protocol() == CHECK_PROTOCOL_HTTPS;
    if (!http) check.clear_method();
    if (check.type() != CHECK_TYPE_EXTERNAL) check.clear_run_as();
    if (group) check.clear_type();
    if (outer) {
        const Duration timeout = timeout_of(check);  // before mutable_timeout() makes one
        set_duration(*check.mutable_timeout(), timeout);
    } else {
        check.clear_interval();
        check.clear_fall();
        check.clear_rise();
    }
    for (Check& part : *check.mutable_all()) make_effective(part, false);
    for (Check& part : *check.mutable_any()) make_effective(part, false);
    if (!check.has_at_least()) return;
    for (Check& part : *check.mutable_at_least()->mutable_of()) make_effective(part, false);
}

void make_effective(VirtualService& service) {
    const bool http = is_layer7(service) && service.mode() == MODE_HTTP;
    if (is_layer7(service)) {
        service.clear_on_down();
    } else {
        service.clear_mode();
        service.clear_transparent();
    }
    if (!http) service.clear_compression();
    if (service.tls().certificates_size() > 0) {
        if (!service.tls().has_min_version()) service.mutable_tls()->set_min_version(TLS_VERSION_1_2);
        if (http && !service.tls().has_http2()) service.mutable_tls()->set_http2(true);
    }
    if (service.persistence().has_cookie() && !service.persistence().cookie().existing()) {
        service.mutable_persistence()->mutable_cookie()->clear_timeout();
    }
    if (is_layer7(service) || service.protocol() == PROTOCOL_TCP) service.clear_one_packet();
    service.set_scheduler(scheduler_of(service));
    if (service.persistence().has_source_ip() && !service.persistence().source_ip().has_mask()) {
        const auto address = IpAddress::parse(service.address());
        service.mutable_persistence()->mutable_source_ip()->set_mask(address && !address->is_v4() ? 128 : 32);
    }
    make_effective(*service.mutable_check(), true);
}

void make_effective(Notification& notification) {
    const bool https = notification.webhook().url().rfind("https://", 0) == 0;
    if (notification.has_webhook() && !https) notification.mutable_webhook()->clear_verify();
    const bool tls = notification.mail().starttls() || notification.mail().port() == 465;
    if (notification.has_mail() && !tls) notification.mutable_mail()->clear_verify();
}

// Fills in the effective form from what was written.
void make_effective(LoadResult& result) {
    result.effective_node = result.node.config;
    with_defaults(result.effective_node);
    for (Link& link : *result.effective_node.mutable_links()) {
        if (link.has_serial() && !link.has_baud()) link.set_baud(baud_default);
    }
    result.effective_cluster = result.cluster.config;
    with_defaults(result.effective_cluster);
    for (VirtualService& service : *result.effective_cluster.mutable_virtual_services()) make_effective(service);
    for (Notification& one : *result.effective_cluster.mutable_notifications()) make_effective(one);
    result.heartbeat = heartbeat_settings(result.cluster.config.heartbeat());
    // What is derived stands there, too: `show` says what is in force.
    Heartbeat& heartbeat = *result.effective_cluster.mutable_heartbeat();
    set_duration(*heartbeat.mutable_keepalive(), result.heartbeat.keepalive);
    set_duration(*heartbeat.mutable_warntime(), result.heartbeat.warntime);
    set_duration(*heartbeat.mutable_deadtime(), result.heartbeat.deadtime);
    set_duration(*heartbeat.mutable_initdead(), result.heartbeat.initdead);
    set_duration(*heartbeat.mutable_vip_lease(), result.heartbeat.vip_lease);
}

}  // namespace

LoadResult load_texts(const std::optional<std::string>& node_yaml, const std::string& cluster_yaml,
                      const std::string& cluster_name, const std::optional<Facts>& facts) {
    LoadResult result;
    result.cluster.name = cluster_name;
    bool node_read = false;
    if (node_yaml) {
        parse_yaml(*node_yaml, result.node.name, result.node.config, result.node.positions, result.problems);
        node_read = !has_errors(result.problems);
    }
    parse_yaml(cluster_yaml, cluster_name, result.cluster.config, result.cluster.positions, result.problems);
    // With a node.yaml that could not be read, what is checked against it would be wrong as well.
    const Problems more = check(node_read ? &result.node : nullptr, result.cluster, facts);
    result.problems.insert(result.problems.end(), more.begin(), more.end());
    std::stable_sort(result.problems.begin(), result.problems.end(), [](const Problem& a, const Problem& b) {
        if (a.file != b.file) return a.file < b.file;
        return a.line != b.line ? a.line < b.line : a.column < b.column;
    });
    make_effective(result);
    return result;
}

}  // namespace lbcluster::config
