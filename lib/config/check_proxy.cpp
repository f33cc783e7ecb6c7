// The rules for what only layer 7 has. One function a theme; each names both places of a clash.
#include <re2/re2.h>

#include <algorithm>
#include <set>

#include "lbcluster/config/services.hpp"
#include "lib/config/check_parts.hpp"
#include "lib/config/reflect.hpp"

namespace lbcluster::config {
namespace {

bool is_http(const VirtualService& service) { return is_layer7(service) && service.mode() == MODE_HTTP; }
bool redirects(const VirtualService& service) { return is_layer7(service) && service.tls().redirect_http(); }

// Printable ASCII without blanks.
bool is_word(const std::string& text) {
    return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}
bool is_line(const std::string& text) {
    return std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}
bool is_alnum(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool is_header_name(const std::string& text) {  // RFC 9110, 5.6.2: a token; "'" would need quoting in HAProxy
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return is_alnum(c) || std::string("!$&*+-.^_`|~").find(c) != std::string::npos;
    });
}

bool is_host_pattern(const std::string& text) {
    const std::string rest = text.starts_with("*.") ? text.substr(2) : text;
    return !rest.empty() && is_alnum(rest.front()) && std::all_of(rest.begin(), rest.end(), [](char c) {
        return is_alnum(c) || c == '-' || c == '.' || c == '_';
    });
}

class ProxyCheck {
  public:
    ProxyCheck(const VirtualService& service, std::string path, const Reporter& report)
        : service_(service), path_(std::move(path)), report_(report) {}

    void run() const {
        layers();
        if (!is_layer7(service_)) return;
        times();
        servers();
        tls();
        proxy_protocol();
        persistence();
        for (int i = 0; i < service_.headers_size(); ++i) header(service_.headers(i), indexed("headers", i));
        for (int i = 0; i < service_.rewrite_size(); ++i) rewrite(service_.rewrite(i), indexed("rewrite", i));
        for (int i = 0; i < service_.routes_size(); ++i) route(service_.routes(i), indexed("routes", i));
    }

  private:
    void error(const std::string& key, const std::string& message, const std::string& hint) const {
        report_.error(path_ + "." + key, message, hint);
    }

    void layers() const {
        const bool layer7 = is_layer7(service_);
        const bool http = is_http(service_);
        if (service_.has_max_connections() && !layer7) {
            error("max_connections", "only layer 7 (method: proxy) has it", "real servers have one on layer 4");
        }
        if (service_.has_forwarded_for() && !http) {
            error("forwarded_for", "only layer 7 with mode: http adds headers", "remove it, or set the mode");
        }
        const std::pair<const char*, bool> given[] = {{"tls", service_.has_tls()},
                                                      {"proxy_protocol", service_.has_proxy_protocol()},
                                                      {"source", service_.has_source()},
                                                      {"transparent", service_.has_transparent()},
                                                      {"manual", service_.has_manual()}};
        for (const auto& [key, is_given] : given) {
            if (is_given && !layer7) error(key, "only layer 7 (method: proxy) has it", "remove it, or set the method");
        }
        const std::pair<const char*, bool> of_http[] = {{"headers", service_.headers_size() > 0},
                                                        {"rewrite", service_.rewrite_size() > 0},
                                                        {"routes", service_.routes_size() > 0},
                                                        {"compression", service_.has_compression()}};
        for (const auto& [key, is_given] : of_http) {
            if (is_given && !http) error(key, "only layer 7 with mode: http has it", "remove it, or set the mode");
        }
    }

    // HAProxy counts milliseconds in 31 bits.
    void times() const {
        const Persistence& p = service_.persistence();
        const std::pair<std::string, Duration> times[] = {
            {"timeouts.client", duration_of(service_.timeouts().client())},
            {"timeouts.server", duration_of(service_.timeouts().server())},
            {"persistence.source_ip.timeout", duration_of(p.source_ip().timeout())},
            {"persistence.cookie.timeout", duration_of(p.cookie().timeout())},
            {"persistence.rdp_cookie.timeout", duration_of(p.rdp_cookie().timeout())},
            {"persistence.ssl_id.timeout", duration_of(p.ssl_id().timeout())}};
        for (const auto& [key, time] : times) {
            if (time > std::chrono::hours(596)) error(key, "is more than 596h, the longest on layer 7", "");
        }
    }

    void servers() const {
        if (!is_http(service_) && (service_.scheduler() == SCHEDULER_URI || service_.scheduler() == SCHEDULER_HEADER)) {
            const bool uri = service_.scheduler() == SCHEDULER_URI;
            error("scheduler", std::string(uri ? "uri" : "header") + " needs mode: http", "set it, or use source");
        }
        if (service_.transparent() && service_.has_source()) {
            error("transparent", "contradicts source: servers are asked from one address, or from the client's",
                  "remove one of them");
        }
        const auto source = IpAddress::parse(service_.source());
        for (int i = 0; i < service_.real_servers_size(); ++i) {
            const RealServer& server = service_.real_servers(i);
            if (server.min_connections() != 0) {
                error(indexed("real_servers", i) + ".min_connections", "only layer 4 has it",
                      "remove it: on layer 7 a server is asked again as soon as it has less than max_connections");
            }
            const auto address = IpAddress::parse(server.address());
            if (service_.has_source() && source && address && source->is_v4() != address->is_v4()) {
                error("source", "is not of the IP family of " + indexed("real_servers", i) + ", " + server.address(),
                      "use an address of the servers' family");
            }
            const auto own = IpAddress::parse(service_.address());
            if (service_.transparent() && own && address && own->is_v4() != address->is_v4()) {
                error("transparent",
                      indexed("real_servers", i) + ", " + server.address() +
                          ", is not of the IP family of the clients, who come to " + service_.address(),
                      "a server can be asked from an address of its own family only: make one service a family");
            }
        }
    }

    void tls() const {
        if (!service_.has_tls()) return;
        const Tls& tls = service_.tls();
        const bool terminates = tls.certificates_size() > 0;
        if (!terminates && !tls.reencrypt()) {
            error("tls", "says nothing", "give certificates, or reencrypt: true for TLS to the servers alone");
        }
        const std::pair<const char*, bool> ending[] = {
            {"redirect_http", tls.redirect_http()}, {"min_version", tls.has_min_version()}, {"http2", tls.has_http2()}};
        for (const auto& [key, given] : ending) {
            if (given && !terminates) error(std::string("tls.") + key, "needs certificates", "give them, or remove it");
        }
        if (tls.has_http2() && !is_http(service_)) error("tls.http2", "needs mode: http", "set it, or remove it");
        if (tls.has_server_ca() && !tls.reencrypt()) error("tls.server_ca", "needs reencrypt: true", "");
        if (tls.has_server_name() && !tls.reencrypt()) error("tls.server_name", "needs reencrypt: true", "");
        if (IpAddress::parse(tls.server_name())) {
            error("tls.server_name", "is an address", "servers are asked for a name; without one it is not verified");
        }
        std::set<std::string> seen;
        for (int i = 0; i < tls.certificates_size(); ++i) {
            if (!seen.insert(tls.certificates(i)).second)
                error("tls." + indexed("certificates", i), "is in the list already", "remove one of them");
        }
    }

    void proxy_protocol() const {
        if (!service_.has_proxy_protocol()) return;
        if (!service_.proxy_protocol().accept() && !service_.proxy_protocol().has_send()) {
            error("proxy_protocol", "says nothing", "accept: true, or send: v1 or v2");
        }
    }

    void persistence() const {
        const Persistence& p = service_.persistence();
        if (p.cookie().existing() && p.cookie().name().empty()) {
            error("persistence.cookie", "has no name of the application's cookie",
                  "name: JSESSIONID, or as it is called");
        }
        if (p.cookie().has_timeout() && !p.cookie().existing()) {
            error("persistence.cookie.timeout", "only an existing cookie is remembered", "remove it");
        }
        if (p.has_rdp_cookie() && is_http(service_)) {
            error("persistence.rdp_cookie", "needs mode: tcp", "in mode http use cookie");
        }
        const bool terminates = service_.tls().certificates_size() > 0;
        if ((p.has_ssl_id() || p.has_rdp_cookie()) && terminates) {
            error(p.has_ssl_id() ? "persistence.ssl_id" : "persistence.rdp_cookie", "needs TLS to end at the servers",
                  "remove tls.certificates, or use source_ip");
        }
    }

    void header(const HeaderRule& rule, const std::string& key) const {
        if (!is_header_name(rule.name())) {
            error(key + ".name", "is no name of a header", "letters, digits and '-'");
        }
        std::string lower = rule.name();
        std::transform(lower.begin(), lower.end(), lower.begin(),
                       [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
        if (lower == "content-length" || lower == "transfer-encoding") {
            error(key + ".name", rule.name() + " tells where a message ends", "it cannot be changed");
        }
        const bool removes = rule.action() == HEADER_ACTION_DELETE;
        if (removes && rule.has_value()) error(key + ".value", "has no use with action: delete", "remove it");
        if (!removes && rule.value().empty()) error(key, "has no value", "give one, or action: delete");
        if (!is_line(rule.value())) error(key + ".value", "has a line break or a control character in it", "");
        variables(rule, key + ".value");
    }

    void variables(const HeaderRule& rule, const std::string& key) const {
        static const std::set<std::string> always{"client", "client_port", "address", "port"};
        static const std::set<std::string> of_requests{"host", "path", "scheme"};
        const std::string& value = rule.value();
        for (std::size_t at = value.find("${"); at != std::string::npos; at = value.find("${", at + 2)) {
            const std::size_t close = value.find('}', at);
            const std::string name = close == std::string::npos ? "" : value.substr(at + 2, close - at - 2);
            if (always.contains(name)) continue;
            const bool request = rule.in() != HEADER_SIDE_RESPONSE;
            if (of_requests.contains(name) && request) continue;
            if (of_requests.contains(name)) {
                error(key, "${" + name + "} is of requests only", "use ${client}, ${address} ... in responses");
            } else {
                error(key,
                      "'" + (close == std::string::npos ? value.substr(at) : value.substr(at, close - at + 1)) +
                          "' stands for nothing",
                      "there are ${client} ${client_port} ${address} ${port}, in requests ${host} ${path} ${scheme}");
            }
        }
    }

    void rewrite(const RewriteRule& rule, const std::string& key) const {
        const RE2 expression(rule.path(), RE2::Quiet);
        if (!is_line(rule.path())) error(key + ".path", "has a line break or a control character in it", "");
        if (rule.has_to() && (!is_word(rule.to()) || (rule.to()[0] != '/' && rule.to()[0] != '\\'))) {
            error(key + ".to", "is no path", "it begins with / or a group, and has no spaces; write %20 for one");
        }
        if (rule.to().find_first_of("?#") != std::string::npos) {
            error(key + ".to", "has a query in it", "the path alone is rewritten; the query stays");
        }
        for (std::size_t at = rule.to().find('\\'); at != std::string::npos; at = rule.to().find('\\', at + 2)) {
            const char digit = at + 1 < rule.to().size() ? rule.to()[at + 1] : ' ';
            if (digit < '1' || digit > '9') {
                error(key + ".to", "has a \\ that no group follows", "\\1 to \\9 are the groups of 'path'");
            } else if (expression.ok() && digit - '0' > expression.NumberOfCapturingGroups()) {
                error(key + ".to", std::string("there is no group ") + digit + " in 'path'", "groups are in ( )");
            }
        }
    }

    void route(const Route& route, const std::string& key) const {
        for (int i = 0; i < route.host_size(); ++i) {
            if (is_host_pattern(route.host(i))) continue;
            error(key + "." + indexed("host", i), "is no name of a host", "www.example.org, or *.example.org");
        }
        for (int i = 0; i < route.path_size(); ++i) {
            const std::string& path = route.path(i);
            if (path.starts_with('/') && is_word(path) && path.find_first_of("?#") == std::string::npos) continue;
            error(key + "." + indexed("path", i), "is no path", "it begins with /, and has no query and no spaces");
        }
    }

    const VirtualService& service_;
    std::string path_;
    const Reporter& report_;
};

std::string place_of(const ClusterConfig& cluster, int i) {
    return indexed("virtual_services", i) + " (" + cluster.virtual_services(i).label() + ")";
}

bool listens_on(const VirtualService& service, unsigned port) {
    if (service.protocol() == PROTOCOL_UDP) return false;
    return std::any_of(service.ports().begin(), service.ports().end(), [&](const std::string& text) {
        const auto range = parse_port_range(text);
        return range && range->first <= port && port <= range->last;
    });
}

void check_redirects(const ClusterConfig& cluster, const Reporter& report) {
    std::map<IpAddress, std::vector<int>> taken;  // port 80, by itself or by a redirect; in the order of the file
    for (int i = 0; i < cluster.virtual_services_size(); ++i) {
        const VirtualService& service = cluster.virtual_services(i);
        const auto address = IpAddress::parse(service.address());
        if (!is_on(service) || !address || (!redirects(service) && !listens_on(service, 80))) continue;
        taken[*address].push_back(i);
    }
    for (const auto& [address, services] : taken) {
        for (const int i : services) {
            if (!redirects(cluster.virtual_services(i))) continue;
            const auto other = std::find_if(services.begin(), services.end(), [&](int j) {
                return listens_on(cluster.virtual_services(j), 80) || j < i;
            });
            if (other == services.end()) continue;
            const bool listens = listens_on(cluster.virtual_services(*other), 80);
            report.error(indexed("virtual_services", i) + ".tls.redirect_http",
                         address.to_string() + " port 80 belongs to " + place_of(cluster, *other) +
                             (listens ? " already" : " for its redirect_http already"),
                         "remove it, or use another address");
        }
    }
}

bool differ(const VirtualService& a, const VirtualService& b) {  // in their IP family
    const auto first = IpAddress::parse(a.address());
    const auto second = IpAddress::parse(b.address());
    return first && second && first->is_v4() != second->is_v4();
}

void check_routes(const ClusterConfig& cluster, const Reporter& report) {
    std::map<std::string, const VirtualService*> services;
    for (const VirtualService& one : cluster.virtual_services()) services.emplace(one.label(), &one);
    for (int i = 0; i < cluster.virtual_services_size(); ++i) {
        const VirtualService& service = cluster.virtual_services(i);
        for (int r = 0; r < service.routes_size(); ++r) {
            const std::string path = indexed("virtual_services", i) + "." + indexed("routes", r) + ".service";
            const std::string& label = service.routes(r).service();
            if (label.empty()) continue;
            const auto target = services.find(label);
            if (target == services.end()) {
                report.error(path, "there is no virtual service '" + label + "'", "");
            } else if (label == service.label()) {
                report.error(path, "is the service itself", "what no route fits is its own anyway");
            } else if (!is_http(*target->second)) {
                report.error(path, "'" + label + "' is not of layer 7 with mode: http", "");
            } else if (target->second->ports_size() > 1) {
                report.error(path, "'" + label + "' has several ports, so its servers' is not known",
                             "make one service a port");
            } else if (target->second->transparent() && differ(*target->second, service)) {
                report.error(path, "'" + label + "' is transparent, and of another IP family",
                             "its servers cannot be asked from an address of this service's clients");
            } else if (!is_on(*target->second) && is_on(service)) {
                report.error(path, "'" + label + "' is disabled", "enable it, or remove the route");
            }
        }
    }
}

void check_sources(const ClusterConfig& cluster, const Reporter& report) {
    std::set<IpAddress> own;
    for (const FloatingIp& ip : all_floating_ips(cluster)) {
        if (const auto prefix = IpPrefix::parse(ip.address())) own.insert(prefix->address);
    }
    for (int i = 0; i < cluster.virtual_services_size(); ++i) {
        const VirtualService& service = cluster.virtual_services(i);
        if (!is_on(service) || !is_layer7(service)) continue;
        const auto source = IpAddress::parse(service.source());
        if (service.has_source() && source && !own.contains(*source)) {
            report.error(indexed("virtual_services", i) + ".source",
                         source->to_string() + " is neither in floating_ips nor a virtual service's",
                         "the node that serves must have it: list it in floating_ips");
        }
        if (!service.transparent()) continue;
        for (const RealServer& server : service.real_servers()) {
            const auto address = IpAddress::parse(server.address());
            if (!address || !own.contains(*address)) continue;
            report.error(indexed("virtual_services", i) + ".transparent",
                         "real server '" + server.label() + "', " + server.address() + ", is an address of the pair",
                         "who answers on the same node cannot be asked from the client's address; proxy_protocol tells "
                         "it who the client is");
        }
    }
}

// What HAProxy listens on at every address of the node.
void check_own_ports(const ClusterConfig& cluster, const Reporter& report) {
    const Layer7& layer7 = cluster.layer7();
    const bool page = std::any_of(cluster.virtual_services().begin(), cluster.virtual_services().end(),
                                  [](const VirtualService& one) { return is_on(one) && one.fallback().page(); });
    struct Own {
        const char* key;
        unsigned port;
        bool used;
        bool v6;
    };
    const unsigned statistics = layer7.statistics().has_port() ? layer7.statistics().port() : 7777;
    const Own all[] = {{"layer7.peers_port", layer7.has_peers_port() ? layer7.peers_port() : 7778, true, false},
                       {"layer7.page_port", layer7.has_page_port() ? layer7.page_port() : 9081, page, false},
                       {"layer7.statistics.port", statistics, layer7.has_statistics(), true}};
    for (const Own& one : all) {
        for (const Own& other : all) {
            if (&other >= &one || !one.used || !other.used || one.port != other.port) continue;
            report.error(one.key, std::to_string(one.port) + " is " + other.key + " as well", "each has its own");
        }
    }
    for (int i = 0; i < cluster.virtual_services_size(); ++i) {
        const VirtualService& service = cluster.virtual_services(i);
        const auto address = IpAddress::parse(service.address());
        if (!is_on(service) || !is_layer7(service) || !address) continue;
        for (const Own& one : all) {
            // The tables' port is on the link's address alone, which no service has.
            if (!one.used || &one == &all[0] || (!one.v6 && !address->is_v4()) || !listens_on(service, one.port))
                continue;
            report.error(indexed("virtual_services", i) + ".ports",
                         "port " + std::to_string(one.port) + " is " + one.key + " on every address of the node",
                         std::string("use another one, or set ") + one.key);
        }
    }
}

}  // namespace

void check_proxy(const VirtualService& service, const std::string& path, const Reporter& report) {
    ProxyCheck(service, path, report).run();
}

void check_proxies(const ClusterConfig& cluster, const Reporter& report) {
    check_redirects(cluster, report);
    check_routes(cluster, report);
    check_sources(cluster, report);
    check_own_ports(cluster, report);
    const Statistics& statistics = cluster.layer7().statistics();
    if (!is_line(statistics.password())) {
        report.error("layer7.statistics.password", "has a line break or a control character in it", "");
    }
}

}  // namespace lbcluster::config
