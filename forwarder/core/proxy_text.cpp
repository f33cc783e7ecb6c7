#include "forwarder/core/proxy_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace lbcluster::forward {

namespace {

constexpr std::size_t explanation_bytes_max = 1000;
constexpr const char* peers_name = "lbcluster:peers";
constexpr std::uint16_t peers_port = 7778;

std::string ms(milliseconds time) { return std::to_string(time.count()) + "ms"; }

// [addresses] in brackets are read with or without a port.
std::string place_of(const IpAddress& address, std::uint16_t port) {
    std::string out = address.is_v6() ? "ipv6@[" + address.to_string() + "]" : "ipv4@" + address.to_string();
    if (port != 0) out += ":" + std::to_string(port);
    return out;
}

std::string balance_of(const std::string& word) {
    if (word == "static") return "static-rr";
    if (word == "header") return "hdr(Host)";
    return word;
}

// With these a server that comes or goes moves few clients, and weights can change while HAProxy runs.
bool hashes(const std::string& word) { return word == "source" || word == "uri" || word == "header"; }

std::string hex(std::uint64_t number) {
    std::array<char, 16> out{};
    return {out.data(), std::to_chars(out.data(), out.data() + out.size(), number, 16).ptr};
}

class Writer {
  public:
    void section(const std::string& head, std::string owner) {
        owner_ = std::move(owner);
        text_.lines.push_back({head, owner_, std::nullopt});
    }
    void line(const std::string& text) { line(text, owner_); }
    void line(const std::string& text, const std::string& owner) {
        text_.lines.push_back({"    " + text, owner, std::nullopt});
    }
    void server(const std::string& text, ProxyServerName name) {
        const std::string owner = "server '" + name.second + "' of " + owner_;
        text_.lines.push_back({"    " + text, owner, std::move(name)});
    }
    ProxyText finish() {
        std::string structure;
        for (const ProxyLine& one : text_.lines) structure += one.text + "\n";
        text_.hash = hex(stable_hash(structure));
        return std::move(text_);
    }

  private:
    ProxyText text_;
    std::string owner_;
};

void render_global(const ProxySpec& spec, const ProxyPlace& place, Writer& out) {
    out.section("global", "");
    out.line("description");  // loaded() puts the hash there
    out.line("maxconn " + std::to_string(place.connections_max));
    // Fewer connections than wished are better than none.
    out.line("no strict-limits");
    // One that still ends its connections after this many reloads has had its time.
    out.line("mworker-max-reloads 50");
    out.line("stats socket " + proxy_word(proxy_socket_path(place.run_dir)) +
             " mode 600 level admin expose-fd listeners");
    if (!place.user.empty()) out.line("user " + proxy_word(place.user));
    if (!place.group.empty()) out.line("group " + proxy_word(place.group));
    if (spec.peers) out.line("localpeer " + spec.peers->local.to_string());
    out.section("defaults", "");
    out.line("timeout connect 4s");
    out.line("timeout client 43s");
    out.line("timeout server 45s");
    // A connection that a server refuses goes to another one, before healthd has said anything.
    out.line("retries 3");
    out.line("option redispatch 1");
    if (!spec.peers) return;
    // Named by their addresses, as both nodes know those. The address may come later than HAProxy.
    out.section(std::string("peers ") + peers_name, "the persistence tables between the nodes");
    out.line("bind " + place_of(spec.peers->local, peers_port) + " transparent");
    out.line("server " + spec.peers->local.to_string());
    out.line("server " + spec.peers->peer.to_string() + " " + place_of(spec.peers->peer, peers_port));
}

void render_page(const ProxySpec& spec, const ProxyPlace& place, Writer& out) {
    const bool wanted = std::any_of(spec.services.begin(), spec.services.end(), [](const ProxyServiceSpec& one) {
        return one.fallback.kind == FallbackSpec::Kind::page;
    });
    if (!wanted && spec.page_places.empty()) return;
    out.section("frontend lbcluster:page", "the fallback page");
    out.line("mode http");
    out.line("bind ipv4@*:" + std::to_string(proxy_page_port));
    for (const PagePlace& one : spec.page_places) {
        for (const Ports& ports : one.ports) {
            const std::string last = ports.last == ports.first ? "" : "-" + std::to_string(ports.last);
            out.line("bind " + place_of(one.address, ports.first) + last + " transparent",
                     "the fallback page of service '" + one.label + "'");
        }
    }
    out.line("timeout http-request 10s");
    out.line("# " + hex(stable_hash(spec.page)));  // it is read when the text is loaded
    out.line("http-request return status 503 content-type \"text/html; charset=utf-8\" file " +
             proxy_word(proxy_page_path(place.run_dir)));
}

void render_frontend(const ProxyServiceSpec& service, Writer& out) {
    out.section("frontend " + service.label, "service '" + service.label + "'");
    out.line(service.http ? "mode http" : "mode tcp");
    for (const std::uint16_t port : service.ports) out.line("bind " + place_of(service.address, port) + " transparent");
    if (service.max_connections != 0) out.line("maxconn " + std::to_string(service.max_connections));
    out.line("timeout client " + ms(service.client_timeout));
    // Somebody who never ends his request.
    if (service.http) out.line("timeout http-request " + ms(std::min(service.client_timeout, milliseconds(10000))));
    out.line("default_backend " + service.label);
}

void render_persistence(const ProxySpec& spec, const ProxyServiceSpec& service, Writer& out) {
    if (!service.cookie.empty()) out.line("cookie " + service.cookie + " insert indirect nocache httponly");
    if (!service.persistence) return;
    const bool v6 = service.address.is_v6();
    out.line(std::string("stick-table type ") + (v6 ? "ipv6" : "ip") + " size 1m expire " +
             ms(service.persistence->timeout) + (spec.peers ? std::string(" peers ") + peers_name : ""));
    const std::uint32_t bits = service.persistence->mask_bits;
    const bool whole = bits == (v6 ? 128U : 32U);
    out.line(whole ? "stick on src"
                   : "stick on src,ipmask(" + std::string(v6 ? "32," : "") + std::to_string(bits) + ")");
}

void render_fallback(const ProxyServiceSpec& service, Writer& out) {
    const FallbackSpec& fallback = service.fallback;
    std::string place;
    switch (fallback.kind) {
        case FallbackSpec::Kind::none:
            return;
        case FallbackSpec::Kind::page:
            place = "ipv4@127.0.0.1:" + std::to_string(proxy_page_port);
            break;
        case FallbackSpec::Kind::address:
            place = place_of(fallback.address, fallback.port);
            break;
        case FallbackSpec::Kind::server:
            for (const ServerSpec& one : service.servers) {
                if (one.label == fallback.server) place = place_of(one.address, one.port);
            }
            break;
    }
    if (place.empty()) return;
    out.server("server " + std::string(proxy_fallback_name) + " " + place + " backup non-stick",
               {service.label, proxy_fallback_name});
}

void render_backend(const ProxySpec& spec, const ProxyServiceSpec& service, Writer& out) {
    out.section("backend " + service.label, "service '" + service.label + "'");
    out.line(service.http ? "mode http" : "mode tcp");
    out.line("balance " + balance_of(service.balance));
    if (hashes(service.balance)) out.line("hash-type consistent");
    out.line("timeout server " + ms(service.server_timeout));
    if (service.forwarded_for) out.line("option forwardfor");
    render_persistence(spec, service, out);
    for (const ServerSpec& server : service.servers) {
        std::string line = "server " + server.label + " " + place_of(server.address, server.port);
        if (!service.cookie.empty()) line += " cookie " + server.label;
        if (server.max_connections != 0) line += " maxconn " + std::to_string(server.max_connections);
        if (has_fixed_weights(service)) line += " weight " + std::to_string(server.weight);
        out.server(line, {service.label, server.label});
    }
    render_fallback(service, out);
}

}  // namespace

std::string proxy_socket_path(const std::string& run_dir) { return run_dir + "/haproxy.sock"; }
std::string proxy_page_path(const std::string& run_dir) { return run_dir + "/haproxy-page.html"; }
std::string proxy_description(const std::string& hash) { return "lbcluster " + hash; }

std::string proxy_word(const std::string& text) {
    std::string out = "'";
    for (const char c : text) {
        if (c == '\'') out += "'\\''";
        else if (c != '\n' && c != '\0') out += c;
    }
    return out + "'";
}

ProxyText render_proxy(const ProxySpec& spec, const ProxyPlace& place) {
    Writer out;
    render_global(spec, place, out);
    render_page(spec, place, out);
    for (const ProxyServiceSpec& service : spec.services) {
        render_frontend(service, out);
        render_backend(spec, service, out);
    }
    return out.finish();
}

std::string ProxyText::loaded(const ProxyStates& states) const {
    std::string out;
    for (const ProxyLine& one : lines) {
        out += one.text;
        if (one.text == "    description") out += " " + proxy_description(hash);
        if (one.server) {
            const auto found = states.find(*one.server);
            const bool ready = found != states.end() && found->second.ready;
            if (ready && found->second.weight != 0) out += " weight " + std::to_string(found->second.weight);
            if (!ready) out += " disabled";
        }
        out += "\n";
    }
    return out;
}

std::string ProxyText::explain(const std::string& said) const {
    std::string out;
    std::size_t at = 0;
    while (at < said.size() && out.size() < explanation_bytes_max) {
        const std::size_t end = std::min(said.find('\n', at), said.size());
        const std::string what = explain_line(said.substr(at, end - at));
        at = end + 1;
        if (what.empty()) continue;
        if (!out.empty()) out += " | ";
        out += what;
    }
    if (out.size() > explanation_bytes_max) out.resize(explanation_bytes_max);
    return out;
}

// "[ALERT]    (123) : config : parsing [/run/.../haproxy.cfg:12] : what it does not like"
std::string ProxyText::explain_line(const std::string& line) const {
    if (!line.starts_with("[ALERT]") || line.find("found in configuration") != std::string::npos) return "";
    const std::size_t colon = line.find(" : ");
    std::string what = colon == std::string::npos ? line : line.substr(colon + 3);
    if (what.starts_with("config : ")) what.erase(0, 9);
    const std::size_t open = what.find('[');
    const std::size_t close = what.find(']', open == std::string::npos ? 0 : open);
    if (open == std::string::npos || close == std::string::npos) return what;
    const std::size_t number_at = what.rfind(':', close);
    if (number_at == std::string::npos || number_at < open) return what;
    std::size_t number = 0;
    std::from_chars(what.data() + number_at + 1, what.data() + close, number);
    if (number == 0 || number > lines.size() || lines[number - 1].owner.empty()) return what;
    std::string rest = what.substr(close + 1);
    rest.erase(0, rest.find_first_not_of(" :"));
    return lines[number - 1].owner + ": " + rest;
}

}  // namespace lbcluster::forward
