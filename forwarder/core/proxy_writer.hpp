// Writing the lines of HAProxy's configuration. Private to the text's own sources. Pure.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "forwarder/core/proxy_text.hpp"

namespace lbcluster::forward {

inline constexpr const char* proxy_peers_name = "lbcluster:peers";

class ProxyWriter {
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
    // As it stands.
    void raw(const std::string& text, std::string owner) {
        text_.lines.push_back({text, std::move(owner), std::nullopt});
    }
    ProxyText finish();

  private:
    ProxyText text_;
    std::string owner_;
};

std::string proxy_hex(std::uint64_t number);
// [addresses] in brackets are read with or without a port.
std::string proxy_place_of(const IpAddress& address, std::uint16_t port);

// Frontend, backend and what else belongs to one service.
void render_proxy_service(const ProxySpec& spec, const ProxyPlace& place, const ProxyServiceSpec& service,
                          ProxyWriter& out);

}  // namespace lbcluster::forward
