// A service's part of HAProxy's text. What depends on the client's connection is in the frontend, what is done for the
// servers in the backend, where requests that another service sent here get it, too.
#include <algorithm>

#include "forwarder/core/proxy_writer.hpp"

namespace lbcluster::forward {

namespace {

std::string ms(milliseconds time) { return std::to_string(time.count()) + "ms"; }

std::string balance_of(const std::string& word) {
    if (word == "static") return "static-rr";
    if (word == "header") return "hdr(Host)";
    return word;
}

// With these a server that comes or goes moves few clients, and weights can change while HAProxy runs.
bool hashes(const std::string& word) { return word == "source" || word == "uri" || word == "header"; }

// In HAProxy's formats '%' begins something.
std::string literal(const std::string& text) {
    std::string out;
    for (const char c : text) out += c == '%' ? "%%" : std::string(1, c);
    return out;
}

struct Variable {
    const char* name;
    const char* sample;
};
constexpr Variable variables[] = {
    {"client", "%[src]"},
    {"client_port", "%[src_port]"},
    {"address", "%[dst]"},
    {"port", "%[dst_port]"},
    {"host", "%[req.hdr(host)]"},
    {"path", "%[path]"},
    {"scheme", "%[ssl_fc,iif(https,http)]"},
};

std::string format_of(const std::string& value) {
    std::string out;
    std::size_t at = 0;
    for (;;) {
        const std::size_t open = value.find("${", at);
        out += literal(value.substr(at, open == std::string::npos ? open : open - at));
        if (open == std::string::npos) return out;
        const std::size_t close = value.find('}', open);
        if (close == std::string::npos) return out + literal(value.substr(open));
        const std::string name = value.substr(open + 2, close - open - 2);
        for (const Variable& one : variables) {
            if (name == one.name) out += one.sample;
        }
        at = close + 1;
    }
}

// ---- the clients' side ----

std::string bind_options(const ProxyServiceSpec& service) {
    return std::string(" transparent") + (service.accept_proxy ? " accept-proxy" : "");
}

std::string tls_options(const ProxyServiceSpec& service, const ProxyPlace& place) {
    if (service.tls.certificates.empty()) return "";
    const std::string list = proxy_certificates_path(place.run_dir) + "/" + proxy_certificate_list(service.label);
    std::string out = " ssl crt-list " + proxy_word(list) + " ssl-min-ver TLSv" + service.tls.min_version;
    if (service.http) out += std::string(" alpn ") + (service.tls.http2 ? "h2,http/1.1" : "http/1.1");
    return out;
}

void render_routes(const ProxyServiceSpec& service, ProxyWriter& out) {
    unsigned number = 0;
    for (const RouteSpec& route : service.routes) {
        const std::string name = "route" + std::to_string(number++);
        // Lines of one name are alternatives.
        for (const std::string& host : route.hosts) {
            const bool suffix = host.starts_with("*.");
            out.line("acl " + name + ".host hdr(host),host_only -i " +
                     (suffix ? "-m end " + proxy_word(host.substr(1)) : proxy_word(host)));
        }
        for (const std::string& path : route.paths) {
            out.line("acl " + name + ".path path " + proxy_word(path));
            out.line("acl " + name + ".path path_beg " + proxy_word(path.ends_with('/') ? path : path + "/"));
        }
        std::string line = "use_backend " + route.service;
        if (!route.hosts.empty() || !route.paths.empty()) line += " if";
        if (!route.hosts.empty()) line += " " + name + ".host";
        if (!route.paths.empty()) line += " " + name + ".path";
        out.line(line);
    }
}

void render_manual(const std::vector<ManualLine>& lines, ProxyWriter& out) {
    for (const ManualLine& one : lines) out.line(one.text, one.place);
}

void render_frontend(const ProxyPlace& place, const ProxyServiceSpec& service, ProxyWriter& out) {
    out.section("frontend " + service.label + proxy_frontend_suffix, "service '" + service.label + "'");
    out.line(service.http ? "mode http" : "mode tcp");
    const std::string options = bind_options(service) + tls_options(service, place);
    for (const std::uint16_t port : service.ports) {
        out.line("bind " + proxy_place_of(service.address, port) + options);
    }
    if (service.max_connections != 0) out.line("maxconn " + std::to_string(service.max_connections));
    out.line("timeout client " + ms(service.client_timeout));
    // Somebody who never ends his request.
    if (service.http) out.line("timeout http-request " + ms(std::min(service.client_timeout, milliseconds(10000))));
    if (service.forwarded_for && !service.tls.certificates.empty()) {
        out.line("http-request set-header X-Forwarded-Proto https");
    }
    render_manual(service.frontend_lines, out);
    render_routes(service, out);
    out.line("default_backend " + service.label);
}

// Who comes in the clear is told where to go.
void render_redirect(const ProxyServiceSpec& service, ProxyWriter& out) {
    if (!service.tls.redirect_http || service.ports.empty()) return;
    out.section("frontend " + service.label + ":http", "tls.redirect_http of service '" + service.label + "'");
    out.line("mode http");
    out.line("bind " + proxy_place_of(service.address, 80) + bind_options(service));
    out.line("timeout client " + ms(service.client_timeout));
    out.line("timeout http-request " + ms(std::min(service.client_timeout, milliseconds(10000))));
    out.line("http-request deny deny_status 400 unless { req.hdr(host) -m found }");
    const std::uint16_t port = service.ports.front();
    out.line("http-request redirect code 301 location https://%[req.hdr(host),host_only]" +
             (port == 443 ? "" : ":" + std::to_string(port)) + "%[pathq]");
}

// ---- the servers' side ----

std::string table(const std::string& type, milliseconds timeout, const ProxySpec& spec) {
    return "stick-table type " + type + " expire " + ms(timeout) +
           (spec.peers ? std::string(" peers ") + proxy_peers_name : "");
}

void render_source_persistence(const ProxySpec& spec, const ProxyServiceSpec& service, ProxyWriter& out) {
    const bool v6 = service.address.is_v6();
    out.line(table(std::string(v6 ? "ipv6" : "ip") + " size 1m", service.persistence->timeout, spec));
    const std::uint32_t bits = service.persistence->mask_bits;
    const bool whole = bits == (v6 ? 128U : 32U);
    out.line(whole ? "stick on src"
                   : "stick on src,ipmask(" + std::string(v6 ? "32," : "") + std::to_string(bits) + ")");
}

void render_persistence(const ProxySpec& spec, const ProxyServiceSpec& service, ProxyWriter& out) {
    if (!service.cookie.empty()) out.line("cookie " + service.cookie + " insert indirect nocache httponly");
    if (service.persistence) render_source_persistence(spec, service, out);
    switch (service.keep_by) {
        case KeepBy::nothing:
            break;
        case KeepBy::cookie:
            out.line(table("string len 128 size 200k", service.keep_timeout, spec));
            out.line("stick on req.cook(" + service.keep_cookie + ")");
            out.line("stick store-response res.cook(" + service.keep_cookie + ")");
            break;
        case KeepBy::rdp:
            out.line(table("string len 128 size 200k", service.keep_timeout, spec));
            out.line("tcp-request inspect-delay 5s");
            out.line("tcp-request content accept if RDP_COOKIE");
            out.line("stick on req.rdp_cookie(mstshash)");
            break;
        case KeepBy::ssl_id:  // as HAProxy's manual has it: the id's length is at offset 43 of both hellos
            out.line(table("binary len 32 size 200k", service.keep_timeout, spec));
            out.line("acl lbcluster:clienthello req.ssl_hello_type 1");
            out.line("acl lbcluster:serverhello res.ssl_hello_type 2");
            out.line("tcp-request inspect-delay 5s");
            out.line("tcp-request content accept if lbcluster:clienthello");
            // The manual has none for responses. Without it they are looked at before the server has said anything.
            out.line("tcp-response inspect-delay 5s");
            out.line("tcp-response content accept if lbcluster:serverhello");
            out.line("stick on req.payload_lv(43,1) if lbcluster:clienthello");
            out.line("stick store-response res.payload_lv(43,1) if lbcluster:serverhello");
            break;
    }
}

// Before the path is rewritten: ${path} is the client's.
void render_headers(const ProxyServiceSpec& service, ProxyWriter& out) {
    for (const HeaderSpec& header : service.headers) {
        const std::string side = header.response ? "http-response " : "http-request ";
        if (header.action == HeaderSpec::Action::remove) {
            out.line(side + "del-header " + header.name);
        } else {
            const char* action = header.action == HeaderSpec::Action::add ? "add-header " : "set-header ";
            out.line(side + action + header.name + " " + proxy_word(format_of(header.value)));
        }
    }
}

void render_http(const ProxyServiceSpec& service, ProxyWriter& out) {
    if (service.forwarded_for) out.line("option forwardfor");
    render_headers(service, out);
    for (const RewriteSpec& one : service.rewrite) {
        out.line("http-request replace-path " + proxy_word(one.path) + " " + proxy_word(literal(one.to)));
    }
    if (!service.compression) return;
    out.line("compression algo gzip");
    out.line(
        "compression type text/html text/plain text/css text/xml application/json application/javascript "
        "application/xml image/svg+xml");
}

// How a server is spoken to. Our own page is not spoken to so. A fallback elsewhere, which is none of the service's
// servers, does not have this pair as its gateway: its answers to the client's address would not come back here.
std::string server_options(const ProxyPlace& place, const ProxyServiceSpec& service, const IpAddress& address,
                           bool is_server = true) {
    std::string out;
    if (service.source && service.source->is_v6() == address.is_v6())
        out += " source " + proxy_place_of(*service.source, 0);
    if (service.transparent && is_server)
        out += std::string(" source ") + (address.is_v6() ? "ipv6@[::]" : "ipv4@0.0.0.0") + " usesrc clientip";
    if (service.send_proxy == 1) out += " send-proxy";
    if (service.send_proxy == 2) out += " send-proxy-v2";
    const TlsSpec& tls = service.tls;
    if (!tls.reencrypt) return out;
    out += " ssl";
    if (tls.server_ca.empty()) {
        out += " verify none";
    } else {
        out += " verify required ca-file " + proxy_word(proxy_certificates_path(place.run_dir) + "/" + tls.server_ca);
        if (!tls.server_name.empty()) out += " verifyhost " + tls.server_name;
    }
    if (!tls.server_name.empty()) out += " sni str(" + tls.server_name + ")";
    return out;
}

void render_fallback(const ProxySpec& spec, const ProxyPlace& place, const ProxyServiceSpec& service,
                     ProxyWriter& out) {
    const FallbackSpec& fallback = service.fallback;
    const ProxyServerName name{service.label, proxy_fallback_name};
    const std::string backup = " backup non-stick";
    switch (fallback.kind) {
        case FallbackSpec::Kind::none:
            return;
        case FallbackSpec::Kind::page:
            return out.server(name, "ipv4@127.0.0.1:" + std::to_string(spec.page_port) + backup);
        case FallbackSpec::Kind::address:
            return out.server(name, {fallback.address, fallback.port},
                              server_options(place, service, fallback.address, false) + backup);
        case FallbackSpec::Kind::server:
            break;
    }
    for (const ServerSpec& one : service.servers) {
        if (one.label != fallback.server) continue;
        out.server(name, proxy_place_of(service, one), server_options(place, service, one.address) + backup);
    }
}

void render_backend(const ProxySpec& spec, const ProxyPlace& place, const ProxyServiceSpec& service, ProxyWriter& out) {
    out.section("backend " + service.label, "service '" + service.label + "'");
    out.line(service.http ? "mode http" : "mode tcp");
    out.line("balance " + balance_of(service.balance));
    if (hashes(service.balance)) out.line("hash-type consistent");
    out.line("timeout server " + ms(service.server_timeout));
    if (service.connect_timeout != milliseconds(4000)) out.line("timeout connect " + ms(service.connect_timeout));
    if (service.queue_timeout != milliseconds(4000)) out.line("timeout queue " + ms(service.queue_timeout));
    if (service.http) render_http(service, out);
    render_persistence(spec, service, out);
    render_manual(service.backend_lines, out);
    for (const ServerSpec& server : service.servers) {
        std::string line = server_options(place, service, server.address);
        if (!service.cookie.empty()) line += " cookie " + server.label;
        if (server.max_connections != 0) line += " maxconn " + std::to_string(server.max_connections);
        if (has_fixed_weights(service)) line += " weight " + std::to_string(server.weight);
        out.server({service.label, server.label}, proxy_place_of(service, server), line);
    }
    render_fallback(spec, place, service, out);
}

}  // namespace

void render_proxy_service(const ProxySpec& spec, const ProxyPlace& place, const ProxyServiceSpec& service,
                          ProxyWriter& out) {
    render_frontend(place, service, out);
    render_redirect(service, out);
    render_backend(spec, place, service, out);
}

}  // namespace lbcluster::forward
