// Writing the lines of HAProxy's configuration. Private to the text's own sources. Pure.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "forwarder/core/proxy_text.hpp"

namespace lbcluster::forward {

inline constexpr const char* proxy_peers_name = "lbcluster:peers";

std::string proxy_hex(std::uint64_t number);
// [addresses] in brackets are read with or without a port.
std::string proxy_place_of(const IpAddress& address, std::uint16_t port);

class ProxyWriter {
  public:
    void section(const std::string& head, std::string owner) {
        owner_ = std::move(owner);
        text_.lines.push_back({head, owner_, std::nullopt, std::nullopt});
    }
    void line(const std::string& text) { line(text, owner_); }
    void line(const std::string& text, const std::string& owner) {
        text_.lines.push_back({"    " + text, owner, std::nullopt, std::nullopt});
    }
    // That stays where it is.
    void server(ProxyServerName name, const std::string& place_and_options) {
        const std::string owner = "server '" + name.second + "' of " + owner_;
        const std::string text = "    server " + name.second + " " + place_and_options;
        text_.lines.push_back({text, owner, std::move(name), std::nullopt});
    }
    // `at` can be changed while HAProxy runs, but for its family, and whether it has a port.
    void server(ProxyServerName name, const DestinationKey& at, const std::string& options) {
        const std::string head = "    server " + name.second + " ";
        const std::string kind = std::string(at.address.is_v6() ? "ipv6" : "ipv4") + (at.port == 0 ? "" : ":");
        const std::string owner = "server '" + name.second + "' of " + owner_;
        text_.lines.push_back(
            {head + proxy_place_of(at.address, at.port) + options, owner, std::move(name), head + kind + options});
    }
    // Those that HAProxy has are told by a variable.
    void certificates(const std::set<std::string>& names, const std::string& hash) {
        text_.renewable = names;
        text_.certificates = hash;
        text_.lines.push_back({std::string("    set-var ") + proxy_certificates_variable + " str(" + hash + ")", owner_,
                               std::nullopt, ""});
    }
    // As it stands.
    void raw(const std::string& text, std::string owner) {
        text_.lines.push_back({text, std::move(owner), std::nullopt, std::nullopt});
    }
    ProxyText finish();

  private:
    ProxyText text_;
    std::string owner_;
};

// Frontend, backend and what else belongs to one service.
void render_proxy_service(const ProxySpec& spec, const ProxyPlace& place, const ProxyServiceSpec& service,
                          ProxyWriter& out);

}  // namespace lbcluster::forward
