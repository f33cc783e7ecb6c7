// The rules for virtual services, their servers and checks. One function a theme; each names both places of a clash.
#include <algorithm>
#include <optional>
#include <set>

#include "lbcluster/config/services.hpp"
#include "lib/config/check_parts.hpp"
#include "lib/config/reflect.hpp"

namespace lbcluster::config {
namespace {

template <class Enum>
std::string text_of(Enum value) {
    return enum_text(*google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value));
}

bool speaks_tcp(Protocol protocol) { return protocol != PROTOCOL_UDP; }
bool speaks_udp(Protocol protocol) { return protocol == PROTOCOL_UDP || protocol == PROTOCOL_TCP_UDP; }
bool overlap(const PortRange& a, const PortRange& b) { return a.first <= b.last && b.first <= a.last; }

std::vector<PortRange> ranges_of(const VirtualService& service) {
    std::vector<PortRange> ranges;
    for (const std::string& text : service.ports()) {
        if (const auto range = parse_port_range(text)) ranges.push_back(*range);
    }
    return ranges;
}

bool is_single_port(const VirtualService& service) {
    const auto ranges = ranges_of(service);
    return ranges.size() == 1 && ranges[0].first == ranges[0].last;
}

class ServiceCheck {
  public:
    ServiceCheck(const VirtualService& service, std::string path, const Reporter& report)
        : service_(service), path_(std::move(path)), report_(report) {}

    void run() const {
        ports();
        layer();
        persistence();
        servers();
        fallback();
        check_of_servers();
    }

  private:
    void error(const std::string& key, const std::string& message, const std::string& hint) const {
        report_.error(path_ + "." + key, message, hint);
    }

    void ports() const {
        std::vector<PortRange> seen;
        for (int i = 0; i < service_.ports_size(); ++i) {
            const auto range = parse_port_range(service_.ports(i));
            if (!range) continue;
            if (std::any_of(seen.begin(), seen.end(), [&](const PortRange& other) { return overlap(*range, other); })) {
                error(indexed("ports", i), service_.ports(i) + " is in the list already", "remove one of them");
            }
            seen.push_back(*range);
            if (is_layer7(service_) && range->first != range->last) {
                error(indexed("ports", i), "a layer-7 service listens on single ports, not on ranges",
                      "list the ports, or use a layer-4 method");
            }
        }
    }

    void layer() const {
        const bool layer7 = is_layer7(service_);
        if (layer7 && service_.protocol() != PROTOCOL_TCP && service_.has_protocol()) {
            error("protocol", "layer 7 serves TCP only, not " + text_of(service_.protocol()),
                  "use a layer-4 method for UDP");
        }
        if (service_.has_scheduler() && is_layer7_scheduler(service_.scheduler()) != layer7) {
            error("scheduler",
                  text_of(service_.scheduler()) + " is a scheduler of layer " + (layer7 ? "4" : "7") + ", and " +
                      text_of(method()) + " is layer " + (layer7 ? "7" : "4"),
                  layer7 ? "use leastconn, roundrobin, static, first, source, uri or header"
                         : "use wlc, wrr, rr, lc, sed, nq, sh, dh, lblc, lblcr, mh, fo or ovf");
        }
        if (layer7 && service_.has_on_down()) error("on_down", "only layer 4 has it", "remove it");
        if (service_.one_packet() && (layer7 || !speaks_udp(protocol()))) {
            error("one_packet", "only UDP on layer 4 has it", "remove it");
        }
        if (layer7) return;
        if (service_.has_mode()) error("mode", "only layer 7 (method: proxy) has a mode", "remove it");
        if (service_.has_timeouts()) error("timeouts", "only layer 7 (method: proxy) has timeouts", "remove them");
    }

    void persistence() const {
        const Persistence& p = service_.persistence();
        const int kinds = p.has_source_ip() + p.has_cookie() + p.has_rdp_cookie() + p.has_ssl_id();
        if (!service_.has_persistence() || p.none()) return;
        if (kinds != 1) {
            error("persistence", kinds == 0 ? "says nothing" : "is of more than one kind",
                  "write none, or one of source_ip, cookie, rdp_cookie, ssl_id");
            return;
        }
        const char* kind = p.has_cookie()       ? "cookie"
                           : p.has_rdp_cookie() ? "rdp_cookie"
                           : p.has_ssl_id()     ? "ssl_id"
                                                : "source_ip";
        if (!is_layer7(service_) && !p.has_source_ip()) {
            error(std::string("persistence.") + kind, "layer 4 sees addresses only", "use source_ip, or method: proxy");
        }
        if (p.has_cookie() && is_layer7(service_) && service_.mode() != MODE_HTTP) {
            error("persistence.cookie", "cookies need mode: http", "set it, or use source_ip");
        }
        if (p.has_ssl_id() && is_layer7(service_) && service_.mode() == MODE_HTTP) {
            error("persistence.ssl_id", "needs mode: tcp", "in mode http use cookie");
        }
        const auto address = IpAddress::parse(service_.address());
        if (p.source_ip().has_mask() && address && address->is_v4() && p.source_ip().mask() > 32) {
            error("persistence.source_ip.mask", "a prefix length of IPv4 is at most 32", "");
        }
    }

    void servers() const {
        std::map<std::string, int> labels;
        std::map<std::string, int> places;
        for (int i = 0; i < service_.real_servers_size(); ++i) {
            const RealServer& server = service_.real_servers(i);
            const std::string key = indexed("real_servers", i);
            const auto [same_label, new_label] = labels.emplace(server.label(), i);
            if (!new_label && server.has_label()) {
                error(key + ".label",
                      "'" + server.label() + "' is the label of " + indexed("real_servers", same_label->second) +
                          " already",
                      "each real server of a service has its own");
            }
            if (server.has_drain_until() && server.state() != SERVER_STATE_DRAIN) {
                error(key + ".drain_until", "only a server with state: drain has it",
                      "remove it; 'lbcluster server online' and 'halt' do that");
            }
            const auto address = IpAddress::parse(server.address());
            if (!address) continue;
            server_address(server, *address, key);
            if (server.max_connections() != 0 && server.min_connections() > server.max_connections()) {
                error(key + ".min_connections", "is more than max_connections", "");
            }
            if (!is_on(server)) continue;
            const std::string place = address->to_string() + " port " + std::to_string(port_of(service_, server));
            const auto [same_place, new_place] = places.emplace(place, i);
            if (!new_place) {
                error(key + ".address",
                      "the same server as " + indexed("real_servers", same_place->second) + " of this service",
                      "remove one of them, or set enabled: false");
            }
        }
    }

    void server_address(const RealServer& server, const IpAddress& address, const std::string& key) const {
        // Loopback stays possible: a layer-7 back end on this machine.
        const char* why = address.is_loopback() && is_layer7(service_) ? nullptr : unusable(address);
        if (why != nullptr) error(key + ".address", address.to_string() + " is " + why, "");
        const auto vip = IpAddress::parse(service_.address());
        if (vip && *vip == address) {
            error(key + ".address", "is the service's own address", "a real server has an address of its own");
        }
        const Method m = method();
        if (vip && vip->is_v4() != address.is_v4() && m != METHOD_PROXY && m != METHOD_TUN) {
            error(key + ".address", text_of(m) + " cannot mix IPv4 and IPv6", "use tun or proxy");
        }
        if (!server.has_port()) return;
        if (m == METHOD_DR || m == METHOD_TUN) {
            if (!is_single_port(service_) || server.port() != first_port_of(service_)) {
                error(key + ".port", text_of(m) + " cannot translate ports", "remove it, or use nat, snat or proxy");
            }
        } else if (!is_single_port(service_)) {
            error(key + ".port", "a service with several ports keeps them", "remove it, or make one service a port");
        }
    }

    void fallback() const {
        const Fallback& f = service_.fallback();
        if (!service_.has_fallback()) return;
        const int kinds = f.page() + f.has_server() + f.has_service() + f.has_address();
        if (kinds != 1) {
            error("fallback", kinds == 0 ? "says nothing" : "is of more than one kind",
                  "write page, {server: LABEL}, {service: LABEL} or {address, port}");
            return;
        }
        if (f.page() && !is_layer7(service_) && speaks_udp(protocol())) {
            error("fallback", "the page is served over TCP only", "use {address, port} for UDP");
        }
        if (f.page() && !is_layer7(service_)) page_ports();
        if (f.has_server()) fallback_server(f.server());
        if (f.has_port() && !f.has_service() && !f.has_address())
            error("fallback.port", "has no use here", "remove it");
        if (f.has_method() && !f.has_address()) error("fallback.method", "has no use here", "remove it");
        if (!f.has_address()) return;
        const auto address = IpAddress::parse(f.address());
        const char* why = address ? unusable(*address) : nullptr;
        if (why != nullptr && !address->is_loopback()) {
            error("fallback.address", address->to_string() + " is " + why, "");
        }
        const Method m = f.has_method() ? f.method() : method();
        const auto vip = IpAddress::parse(service_.address());
        if (vip && address && vip->is_v4() != address->is_v4() && m != METHOD_PROXY && m != METHOD_TUN) {
            error("fallback.address", text_of(m) + " cannot mix IPv4 and IPv6",
                  "use an address of the service's family");
        }
        if (is_layer7(service_) != (m == METHOD_PROXY)) {
            error("fallback.method", "a fallback is of the same layer as its service", "remove it");
        } else if ((m == METHOD_DR || m == METHOD_TUN) && f.port() != 0 &&
                   (!is_single_port(service_) || f.port() != first_port_of(service_))) {
            error("fallback.port", text_of(m) + " keeps the port of the service", "remove it, or use nat or snat");
        }
    }

    void page_ports() const {
        constexpr unsigned ports_max = 1000;
        unsigned count = 0;
        for (const PortRange& range : ranges_of(service_)) count += range.last - range.first + 1U;
        if (count > ports_max)
            error("fallback", "the page listens on each port, and these are " + std::to_string(count),
                  "use {address} for more than 1000 ports");
    }

    void fallback_server(const std::string& label) const {
        const auto& list = service_.real_servers();
        const auto found =
            std::find_if(list.begin(), list.end(), [&](const RealServer& s) { return s.label() == label; });
        if (found == list.end()) {
            error("fallback.server", "this service has no real server '" + label + "'", "name one of real_servers");
        } else if (!is_on(*found)) {
            error("fallback.server", "'" + label + "' is disabled", "enable it, or name another one");
        }
    }

    void check_of_servers() const {
        if (service_.has_check()) one_check(service_.check(), "check", true);
        const Check& check = service_.check();
        if (is_on(service_) && protocol() == PROTOCOL_UDP && check.type() == CHECK_TYPE_CONNECT &&
            check.port().empty() && check.all().empty() && check.any().empty() && !check.has_at_least()) {
            report_.warning(path_ + ".check", "connect asks for TCP, and this service is UDP",
                            "use negotiate (dns, sip, radius, udp) or ping, or name the TCP port");
        }
    }

    void one_check(const Check& check, const std::string& key, bool outer) const {
        const int groups = !check.all().empty() + !check.any().empty() + check.has_at_least();
        if (groups > 0) {
            group(check, key, groups);
        } else {
            simple_check(check, key);
        }
        if (!outer) {
            const auto& r = *check.GetReflection();
            for (const char* name : {"interval", "timeout", "fall", "rise", "feedback"}) {
                if (r.HasField(check, Check::descriptor()->FindFieldByName(name))) {
                    error(key + "." + name, "belongs to the outer check", "move it there");
                }
            }
        } else if (timeout_of(check) > interval_of(check)) {
            error(key + ".timeout",
                  "is longer than the interval" +
                      (check.has_interval() ? "" : ", which is " + format_duration(interval_of(check)) + " by default"),
                  "a probe must end before the next one begins");
        }
    }

    void group(const Check& check, const std::string& key, int groups) const {
        if (groups > 1) error(key, "has more than one of all, any and at_least", "nest them: all: [{any: [...]}, ...]");
        if (check.has_type() || check.has_protocol()) {
            error(key, "is a group of checks and has a type or protocol as well", "put that into one of the group");
        }
        // What is not of the group as a whole says something to one of its members only.
        static const std::set<std::string> own{"type", "protocol", "interval", "timeout", "fall",
                                               "rise", "feedback", "all",      "any",     "at_least"};
        for (int i = 0; i < Check::descriptor()->field_count(); ++i) {
            const auto* field = Check::descriptor()->field(i);
            if (own.contains(field->name()) || !is_given(check, *field)) continue;
            error(key + "." + field->name(), "a group of checks does not use it", "put it into one of the group");
        }
        const auto each = [&](const auto& list, const char* name) {
            for (int i = 0; i < list.size(); ++i) one_check(list[i], key + "." + indexed(name, i), false);
        };
        each(check.all(), "all");
        each(check.any(), "any");
        each(check.at_least().of(), "at_least.of");
        if (static_cast<int>(check.at_least().count()) > check.at_least().of_size()) {
            error(key + ".at_least.count", "is more than there are checks", "");
        }
    }

    void simple_check(const Check& check, const std::string& key) const {
        const CheckType type = check.has_type() ? check.type() : CHECK_TYPE_CONNECT;
        const bool negotiate = type == CHECK_TYPE_NEGOTIATE;
        if (negotiate && !check.has_protocol()) {
            error(key, "negotiate needs a protocol", "protocol: http, https, smtp, ... see docs/configuration.md");
        }
        if (!negotiate && check.has_protocol()) {
            error(key + ".protocol", "only negotiate speaks a protocol", "set type: negotiate");
        }
        if (type == CHECK_TYPE_EXTERNAL && !check.has_command()) error(key, "external needs a command", "");
        if (type != CHECK_TYPE_EXTERNAL && check.has_command()) {
            error(key + ".command", "only type: external runs a command", "");
        }
        if (type != CHECK_TYPE_EXTERNAL && check.has_run_as()) {
            error(key + ".run_as", "only type: external runs a command", "remove it");
        }
        const bool portless = type == CHECK_TYPE_PING || type == CHECK_TYPE_ALWAYS_UP || type == CHECK_TYPE_ALWAYS_DOWN;
        if (portless && !check.port().empty()) {
            error(key + ".port", text_of(type) + " has no port", "remove it, or change the type");
        }
        unused_keys(check, key, negotiate ? check.protocol() : CHECK_PROTOCOL_UNSPECIFIED);
        single_lines(check, key);
        if (check.protocol() == CHECK_PROTOCOL_RADIUS && !check.has_secret()) {
            error(key, "radius needs the shared secret", "secret: ...");
        }
        if (check.protocol() == CHECK_PROTOCOL_UDP && check.send().empty()) {
            error(key, "udp needs something to send", "send: ...");
        }
        login_check(check, key);
        if (check.protocol() == CHECK_PROTOCOL_HTTP || check.protocol() == CHECK_PROTOCOL_HTTPS) http_check(check, key);
        const bool needs_port = type == CHECK_TYPE_CONNECT || negotiate;
        const bool without = std::any_of(service_.real_servers().begin(), service_.real_servers().end(),
                                         [&](const RealServer& s) { return port_of(service_, s) == 0; });
        if (needs_port && check.port().empty() && without) {
            error(key, "has no port, and the service's are all", "give 'port'");
        }
    }

    // A login that proves nothing (RFC 4513, 5.1.2), and who cannot switch to TLS.
    void login_check(const Check& check, const std::string& key) const {
        const auto protocol = check.protocol();
        if (protocol == CHECK_PROTOCOL_LDAP && !check.user().empty() && check.password().empty()) {
            error(key, "a user without a password proves nothing to ldap", "password: ..., or no user");
        }
        static const std::set<CheckProtocol> switching{
            CHECK_PROTOCOL_SMTP, CHECK_PROTOCOL_POP3, CHECK_PROTOCOL_IMAP,  CHECK_PROTOCOL_FTP,
            CHECK_PROTOCOL_NNTP, CHECK_PROTOCOL_LDAP, CHECK_PROTOCOL_MYSQL, CHECK_PROTOCOL_POSTGRESQL};
        if (check.tls().starttls() && !switching.contains(protocol)) {
            error(key + ".tls.starttls", text_of(protocol) + " does not switch", "remove it: TLS from the first byte");
        }
    }

    // What cannot be put into a request, or found in its answer.
    void http_check(const Check& check, const std::string& key) const {
        const auto has_below = [](const std::string& text, char first_good) {
            return std::any_of(text.begin(), text.end(), [&](unsigned char c) { return c < first_good || c == 0x7f; });
        };
        if (check.method() == HTTP_METHOD_HEAD && (check.has_expect_text() || check.has_expect_regex())) {
            error(key + ".method", "the answer to head has no body to look for expect_text or expect_regex in",
                  "use method: get, or expect_status alone");
        }
        if (has_below(check.request(), '!')) {
            error(key + ".request", "has a space or a control character in it", "write %20 for a space");
        }
        if (has_below(check.host(), ' ')) error(key + ".host", "has a control character in it", "");
        for (const auto& [name, value] : check.headers()) {
            if (has_below(value, ' ')) error(key + ".headers." + name, "has a control character in it", "");
        }
    }

    // What goes into a line of a protocol must not end that line.
    void single_lines(const Check& check, const std::string& key) const {
        const bool http = check.protocol() == CHECK_PROTOCOL_HTTP || check.protocol() == CHECK_PROTOCOL_HTTPS;
        for (const auto& [name, value] :
             {std::pair{"request", http ? std::string() : check.request()}, std::pair{"user", check.user()},
              std::pair{"password", check.password()}, std::pair{"database", check.database()}}) {
            const bool bad =
                std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
            if (bad) error(key + "." + name, "has a line break or a control character in it", "write it in one line");
        }
    }

    static bool is_given(const Check& check, const google::protobuf::FieldDescriptor& field) {
        const auto& r = *check.GetReflection();
        return field.is_repeated() ? r.FieldSize(check, &field) > 0 : r.HasField(check, &field);
    }

    // A key that the chosen kind of check would not look at is a mistake.
    void unused_keys(const Check& check, const std::string& key, CheckProtocol protocol) const {
        using P = CheckProtocol;
        static const std::set<P> http{CHECK_PROTOCOL_HTTP, CHECK_PROTOCOL_HTTPS};
        static const std::set<P> coded{CHECK_PROTOCOL_HTTP, CHECK_PROTOCOL_HTTPS, CHECK_PROTOCOL_SIP};
        static const std::set<P> raw{CHECK_PROTOCOL_TCP, CHECK_PROTOCOL_UDP};
        static const std::set<P> login{CHECK_PROTOCOL_LDAP,       CHECK_PROTOCOL_IMAP,  CHECK_PROTOCOL_POP3,
                                       CHECK_PROTOCOL_FTP,        CHECK_PROTOCOL_MYSQL, CHECK_PROTOCOL_SMTP,
                                       CHECK_PROTOCOL_POSTGRESQL, CHECK_PROTOCOL_REDIS, CHECK_PROTOCOL_RADIUS};
        static const std::set<P> asks{CHECK_PROTOCOL_HTTP, CHECK_PROTOCOL_HTTPS, CHECK_PROTOCOL_DNS,
                                      CHECK_PROTOCOL_LDAP, CHECK_PROTOCOL_SIP,   CHECK_PROTOCOL_GRPC};
        static const std::set<P> answers{CHECK_PROTOCOL_HTTP, CHECK_PROTOCOL_HTTPS, CHECK_PROTOCOL_DNS,
                                         CHECK_PROTOCOL_TCP,  CHECK_PROTOCOL_UDP,   CHECK_PROTOCOL_SIP,
                                         CHECK_PROTOCOL_SMTP, CHECK_PROTOCOL_POP3,  CHECK_PROTOCOL_IMAP,
                                         CHECK_PROTOCOL_FTP,  CHECK_PROTOCOL_NNTP,  CHECK_PROTOCOL_REDIS};
        static const std::set<P> tls{CHECK_PROTOCOL_HTTPS, CHECK_PROTOCOL_SMTP, CHECK_PROTOCOL_POP3,
                                     CHECK_PROTOCOL_IMAP,  CHECK_PROTOCOL_FTP,  CHECK_PROTOCOL_LDAP,
                                     CHECK_PROTOCOL_NNTP,  CHECK_PROTOCOL_TLS,  CHECK_PROTOCOL_MYSQL,
                                     CHECK_PROTOCOL_REDIS, CHECK_PROTOCOL_SIP,  CHECK_PROTOCOL_POSTGRESQL,
                                     CHECK_PROTOCOL_TCP,   CHECK_PROTOCOL_GRPC};
        static const std::set<P> databases{CHECK_PROTOCOL_MYSQL, CHECK_PROTOCOL_POSTGRESQL};
        struct Rule {
            const char* name;
            const std::set<P>* users;
        };
        static const std::set<P> radius{CHECK_PROTOCOL_RADIUS};
        static const std::vector<Rule> rules{
            {"request", &asks},   {"method", &http},         {"host", &http},
            {"headers", &http},   {"expect_status", &coded}, {"standby_status", &http},
            {"tls", &tls},        {"expect_text", &answers}, {"expect_regex", &answers},
            {"send", &raw},       {"expect", &raw},          {"user", &login},
            {"password", &login}, {"database", &databases},  {"secret", &radius},
        };
        for (const Rule& rule : rules) {
            const auto* field = Check::descriptor()->FindFieldByName(rule.name);
            if (!is_given(check, *field) || rule.users->contains(protocol)) continue;
            const std::string what = protocol == CHECK_PROTOCOL_UNSPECIFIED ? "this kind of check" : text_of(protocol);
            error(key + "." + rule.name, what + " does not use it", "remove it, or change type and protocol");
        }
    }

    [[nodiscard]] Method method() const { return service_.has_method() ? service_.method() : METHOD_DR; }
    [[nodiscard]] Protocol protocol() const { return service_.has_protocol() ? service_.protocol() : PROTOCOL_TCP; }

    static Duration interval_of(const Check& check) {
        return check.has_interval() ? duration_of(check.interval()) : Duration{4s};
    }

    const VirtualService& service_;
    std::string path_;
    const Reporter& report_;
};

// Two services on one address, port and protocol.
void check_clashes(const ClusterConfig& cluster, const Reporter& report) {
    struct Place {
        PortRange range;
        Protocol protocol;
        int service;
    };
    std::map<IpAddress, std::vector<Place>> taken;
    for (int i = 0; i < cluster.virtual_services_size(); ++i) {
        const VirtualService& service = cluster.virtual_services(i);
        const auto address = IpAddress::parse(service.address());
        if (!is_on(service) || !address) continue;
        const Protocol protocol = service.has_protocol() ? service.protocol() : PROTOCOL_TCP;
        auto& places = taken[*address];
        for (int p = 0; p < service.ports_size(); ++p) {
            const auto range = parse_port_range(service.ports(p));
            if (!range) continue;
            const auto other = std::find_if(places.begin(), places.end(), [&](const Place& place) {
                const bool same = (speaks_tcp(protocol) && speaks_tcp(place.protocol)) ||
                                  (speaks_udp(protocol) && speaks_udp(place.protocol));
                return place.service != i && same && overlap(*range, place.range);
            });
            if (other != places.end()) {
                const std::string& label = cluster.virtual_services(other->service).label();
                report.error(indexed("virtual_services", i) + "." + indexed("ports", p),
                             address->to_string() + " port " + service.ports(p) + " belongs to " +
                                 indexed("virtual_services", other->service) + " (" + label + ") already",
                             "use another address or port, or set enabled: false on one of them");
            }
            places.push_back({*range, protocol, i});
        }
    }
}

// L7-8: the masquerading rules of a layer-4 SNAT service would catch the connections that layer 7 makes.
void check_snat_beside_proxy(const ClusterConfig& cluster, const Reporter& report) {
    std::map<std::pair<IpAddress, unsigned>, std::string> proxied;
    const auto each = [&](Method method, const auto& visit) {
        for (int i = 0; i < cluster.virtual_services_size(); ++i) {
            const VirtualService& service = cluster.virtual_services(i);
            if (!is_on(service) || service.method() != method) continue;
            for (int s = 0; s < service.real_servers_size(); ++s) {
                const RealServer& server = service.real_servers(s);
                const auto address = IpAddress::parse(server.address());
                if (!is_on(server) || !address) continue;
                const std::string place = indexed("virtual_services", i) + "." + indexed("real_servers", s);
                std::set<unsigned> ports;
                if (server.has_port()) {
                    ports.insert(server.port());
                } else {
                    for (const PortRange& range : ranges_of(service)) {
                        if (range.first == range.last) ports.insert(range.first);
                    }
                }
                for (const unsigned port : ports) visit(std::pair{*address, port}, place, service);
            }
        }
    };
    each(METHOD_PROXY, [&](const auto& where, const std::string& place, const VirtualService& service) {
        proxied.emplace(where, place + " (" + service.label() + ")");
    });
    each(METHOD_SNAT, [&](const auto& where, const std::string& place, const VirtualService&) {
        const auto found = proxied.find(where);
        if (found == proxied.end()) return;
        report.error(place + ".address",
                     where.first.to_string() + " port " + std::to_string(where.second) +
                         " is behind layer 7 as well: " + found->second,
                     "a layer-4 SNAT service and a layer-7 service cannot share a real server's port");
    });
}

// Who falls back on one another in a circle passes connections on for ever.
void check_fallback_circles(const ClusterConfig& cluster, const Reporter& report) {
    std::map<std::string, std::string> next;
    for (const VirtualService& service : cluster.virtual_services()) {
        if (is_on(service) && service.fallback().has_service()) next[service.label()] = service.fallback().service();
    }
    for (int i = 0; i < cluster.virtual_services_size(); ++i) {
        const VirtualService& service = cluster.virtual_services(i);
        std::set<std::string> passed;
        auto at = next.find(service.label());
        while (at != next.end() && at->second != service.label() && passed.insert(at->first).second)
            at = next.find(at->second);
        if (at == next.end() || at->second != service.label() || at->first == service.label()) continue;
        report.error(indexed("virtual_services", i) + ".fallback.service",
                     "leads back to this service by way of '" + at->first + "'", "let one of them end the circle");
    }
}

void check_address(const VirtualService& service, const std::string& path, const NodeFile* node,
                   const std::optional<Facts>& facts, const OwnAddresses& own, const std::set<IpAddress>& by_hand,
                   const Reporter& report) {
    const auto address = IpAddress::parse(service.address());
    if (!address) return;
    const char* why = unusable(*address);
    if (why != nullptr) {
        report.error(path + ".address", address->to_string() + " is " + why, "a virtual IP is an address in a LAN");
        return;
    }
    const auto owner = own.find(*address);
    if (owner != own.end()) {
        report.error(path + ".address", address->to_string() + " is " + owner->second,
                     "a virtual IP must belong to neither node alone; choose a free address");
        return;
    }
    if (!facts || node == nullptr || !is_on(service) || by_hand.contains(*address)) return;
    FloatingIp ip;
    ip.set_address(service.address());
    const auto interface = resolve_interface(ip, node->config, *facts);
    if (!interface) {
        report.warning(path + ".address", interface.error().message,
                       "it waits for one; or list it in floating_ips with an interface");
    }
}

}  // namespace

void check_services(const NodeFile* node, const ClusterFile& cluster, const std::optional<Facts>& facts,
                    const OwnAddresses& own, const Reporter& report) {
    std::set<IpAddress> by_hand;
    for (const FloatingIp& ip : cluster.config.floating_ips()) {
        if (const auto prefix = IpPrefix::parse(ip.address())) by_hand.insert(prefix->address);
    }
    std::map<std::string, int> labels;
    for (int i = 0; i < cluster.config.virtual_services_size(); ++i) {
        const VirtualService& service = cluster.config.virtual_services(i);
        const std::string path = indexed("virtual_services", i);
        const auto [first, is_new] = labels.emplace(service.label(), i);
        if (!is_new && service.has_label()) {
            report.error(
                path + ".label",
                "'" + service.label() + "' is the label of " + indexed("virtual_services", first->second) + " already",
                "each virtual service has its own");
        }
        check_address(service, path, node, facts, own, by_hand, report);
        ServiceCheck(service, path, report).run();
        check_proxy(service, path, report);
    }
    for (int i = 0; i < cluster.config.virtual_services_size(); ++i) {
        const Fallback& fallback = cluster.config.virtual_services(i).fallback();
        if (!fallback.has_service()) continue;
        const std::string path = indexed("virtual_services", i) + ".fallback.service";
        const auto target = labels.find(fallback.service());
        if (target == labels.end()) {
            report.error(path, "there is no virtual service '" + fallback.service() + "'", "");
        } else if (target->second == i) {
            report.error(path, "is the service itself", "");
        } else if (!is_layer7(cluster.config.virtual_services(target->second))) {
            report.error(path, "'" + fallback.service() + "' is not a layer-7 service",
                         "a fallback service is one with method: proxy");
        } else if (!is_layer7(cluster.config.virtual_services(i))) {
            const auto own = IpAddress::parse(cluster.config.virtual_services(i).address());
            const auto other = IpAddress::parse(cluster.config.virtual_services(target->second).address());
            if (own && other && own->is_v4() != other->is_v4()) {
                report.error(path, "'" + fallback.service() + "' is of the other IP family", "layer 4 cannot mix them");
            }
        }
    }
    check_fallback_circles(cluster.config, report);
    check_clashes(cluster.config, report);
    check_snat_beside_proxy(cluster.config, report);
    check_proxies(cluster.config, report);
}

}  // namespace lbcluster::config
