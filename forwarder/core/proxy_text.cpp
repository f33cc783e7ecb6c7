#include "forwarder/core/proxy_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "forwarder/core/proxy_writer.hpp"

namespace lbcluster::forward {

namespace {

constexpr std::size_t explanation_bytes_max = 1000;

// A client's address may be used by root alone, or, from 2.9 on, by who keeps the capability for it.
void render_user(const ProxySpec& spec, const ProxyPlace& place, ProxyWriter& out) {
    if (place.user.empty() && place.group.empty()) return;
    const bool transparent = std::any_of(spec.services.begin(), spec.services.end(),
                                         [](const ProxyServiceSpec& one) { return one.transparent; });
    if (transparent) out.line(".if version_atleast(2.9)");
    if (transparent) out.line("setcap cap_net_raw");
    if (!place.user.empty()) out.line("user " + proxy_word(place.user));
    if (!place.group.empty()) out.line("group " + proxy_word(place.group));
    if (transparent) out.line(".endif");
}

// Files are read when the text is loaded. What is in a certificate can be renewed later, what is in a list, or in an
// authority, cannot.
void render_certificates(const ProxySpec& spec, ProxyWriter& out) {
    std::set<std::string> renewable;
    for (const ProxyServiceSpec& one : spec.services)
        renewable.insert(one.tls.certificates.begin(), one.tls.certificates.end());
    for (const ProxyServiceSpec& one : spec.services) renewable.erase(one.tls.server_ca);
    std::string all;
    for (const auto& [name, bytes] : proxy_certificate_files(spec)) {
        const std::string line = name + " " + proxy_hex(stable_hash(bytes));
        if (renewable.contains(name)) all += line + "\n";
        else out.line("# " + line);
    }
    if (!all.empty()) out.certificates(renewable, proxy_hex(stable_hash(all)));
}

void render_global(const ProxySpec& spec, const ProxyPlace& place, ProxyWriter& out) {
    out.section("global", "");
    out.line("description");  // loaded() puts the hash there
    out.line("maxconn " + std::to_string(place.connections_max));
    // Fewer connections than wished are better than none.
    out.line("no strict-limits");
    // One that still ends its connections after this many reloads has had its time.
    out.line("mworker-max-reloads 50");
    out.line("stats socket " + proxy_word(proxy_socket_path(place.run_dir)) +
             " mode 600 level admin expose-fd listeners");
    render_user(spec, place, out);
    if (spec.peers) out.line("localpeer " + spec.peers->local.to_string());
    if (!spec.certificates.empty()) {
        out.line("tune.ssl.default-dh-param 2048");
        // A list of certificates names them as they are here. Nothing beside them is looked for.
        out.line("crt-base " + proxy_word(proxy_certificates_path(place.run_dir)));
        out.line("ssl-load-extra-files none");
        render_certificates(spec, out);
    }
    out.section("defaults", "");
    out.line("timeout connect 4s");
    out.line("timeout queue 4s");
    out.line("timeout client 43s");
    out.line("timeout server 45s");
    // A connection that a server refuses goes to another one, before healthd has said anything.
    out.line("retries 3");
    out.line("option redispatch 1");
    if (!spec.peers) return;
    // Named by their addresses, as both nodes know those. The address may come later than HAProxy.
    out.section(std::string("peers ") + proxy_peers_name, "the persistence tables between the nodes");
    out.line("bind " + proxy_place_of(spec.peers->local, spec.peers_port) + " transparent");
    out.line("server " + spec.peers->local.to_string());
    out.line("server " + spec.peers->peer.to_string() + " " + proxy_place_of(spec.peers->peer, spec.peers_port));
}

void render_page(const ProxySpec& spec, const ProxyPlace& place, ProxyWriter& out) {
    const bool wanted = std::any_of(spec.services.begin(), spec.services.end(), [](const ProxyServiceSpec& one) {
        return one.fallback.kind == FallbackSpec::Kind::page;
    });
    if (!wanted && spec.page_places.empty()) return;
    out.section("frontend lbcluster:page", "the fallback page");
    out.line("mode http");
    out.line("bind ipv4@*:" + std::to_string(spec.page_port));
    for (const PagePlace& one : spec.page_places) {
        for (const Ports& ports : one.ports) {
            const std::string last = ports.last == ports.first ? "" : "-" + std::to_string(ports.last);
            out.line("bind " + proxy_place_of(one.address, ports.first) + last + " transparent",
                     "the fallback page of service '" + one.label + "'");
        }
    }
    out.line("timeout http-request 10s");
    out.line("# " + proxy_hex(stable_hash(spec.page)));  // it is read when the text is loaded
    out.line("http-request return status 503 content-type \"text/html; charset=utf-8\" file " +
             proxy_word(proxy_page_path(place.run_dir)));
}

void render_statistics(const ProxySpec& spec, ProxyWriter& out) {
    if (!spec.statistics) return;
    const std::string port = std::to_string(spec.statistics->port);
    out.section("frontend lbcluster:statistics", "layer7.statistics");
    out.line("mode http");
    out.line("bind ipv4@*:" + port);
    out.line("bind ipv6@[::]:" + port + " v6only");
    out.line("timeout http-request 10s");
    out.line("stats enable");
    out.line("stats uri /");
    out.line("stats auth " + proxy_word(spec.statistics->user + ":" + spec.statistics->password));
}

// Whole sections of somebody's own, at the end; they are known by file and line.
void render_additions(const ProxySpec& spec, ProxyWriter& out) {
    for (const ManualLine& one : spec.additions) out.raw(one.text, one.place);
}

}  // namespace

std::string proxy_hex(std::uint64_t number) {
    std::array<char, 16> out{};
    return {out.data(), std::to_chars(out.data(), out.data() + out.size(), number, 16).ptr};
}

std::string proxy_place_of(const IpAddress& address, std::uint16_t port) {
    std::string out = address.is_v6() ? "ipv6@[" + address.to_string() + "]" : "ipv4@" + address.to_string();
    if (port != 0) out += ":" + std::to_string(port);
    return out;
}

ProxyText ProxyWriter::finish() {
    std::string structure;
    for (const ProxyLine& one : text_.lines) structure += one.structure.value_or(one.text) + "\n";
    text_.hash = proxy_hex(stable_hash(structure));
    return std::move(text_);
}

std::string proxy_socket_path(const std::string& run_dir) { return run_dir + "/haproxy.sock"; }
std::string proxy_page_path(const std::string& run_dir) { return run_dir + "/haproxy-page.html"; }
std::string proxy_certificates_path(const std::string& run_dir) { return run_dir + "/haproxy-certs"; }
std::string proxy_certificate_list(const std::string& service) { return service + ":list"; }
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
    ProxyWriter out;
    render_global(spec, place, out);
    render_page(spec, place, out);
    render_statistics(spec, out);
    for (const ProxyServiceSpec& service : spec.services) render_proxy_service(spec, place, service, out);
    render_additions(spec, out);
    return out.finish();
}

std::map<std::string, std::string> proxy_certificate_files(const ProxySpec& spec) {
    std::map<std::string, std::string> out = spec.certificates;
    for (const ProxyServiceSpec& service : spec.services) {
        if (service.tls.certificates.empty()) continue;
        std::string& list = out[proxy_certificate_list(service.label)];
        for (const std::string& name : service.tls.certificates) list += name + "\n";
    }
    return out;
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
