// The configuration of HAProxy as text. Pure. For HAProxy 2.6 to 3.x.
//
// Two forms of it. The structure does not depend on health, administrative state or weight (but for `static`), nor on
// the servers' addresses within their family and what is in certificates: if it is the same, nothing has to be loaded,
// as the rest can be changed while HAProxy runs. What is loaded is the structure with that rest in it as it is at that
// moment, so that the first request after a reload is served as the last one before. The structure's hash stands in
// `global` as the description, so that a running HAProxy tells which one it has; that of the certificates in a
// variable.
//
// A service LABEL is `frontend LABEL` and `backend LABEL`, with `frontend LABEL:http` for who is sent to https; a
// server is named as its label; labels have no ':', so names of our own have one.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "forwarder/core/proxy.hpp"

namespace lbcluster::forward {

// After a service's label in the name of its frontend: HAProxy 3.3 and later want it to differ from the backend's. No
// label has a colon.
inline constexpr const char* proxy_frontend_suffix = ":in";

// What of this machine stands in the text.
struct ProxyPlace {
    std::string run_dir;
    std::string user;  // that HAProxy becomes; empty: it stays who it is
    std::string group;
    std::uint32_t connections_max = 10000;
    bool operator==(const ProxyPlace&) const = default;
};

struct ProxyLine {
    std::string text;
    std::string owner;                      // "service 'web'", for people; empty: none of the configuration
    std::optional<ProxyServerName> server;  // a server's line
    std::optional<std::string> structure;   // what of it is the structure's; none: all
};

class ProxyText {
  public:
    std::vector<ProxyLine> lines;
    std::string hash;                 // of the structure, hex
    std::string certificates;         // hash of those that can be renewed while HAProxy runs; empty: there are none
    std::set<std::string> renewable;  // their names

    // Of all that is checked before it is loaded.
    [[nodiscard]] std::string version() const { return hash + " " + certificates; }

    // The form that is loaded.
    [[nodiscard]] std::string loaded(const ProxyStates& states) const;
    // What HAProxy said about the file (`haproxy -c`, or its log) in terms of our configuration; one line, bounded.
    [[nodiscard]] std::string explain(const std::string& said) const;

  private:
    [[nodiscard]] std::string explain_line(const std::string& line) const;
};

ProxyText render_proxy(const ProxySpec& spec, const ProxyPlace& place);

std::string proxy_socket_path(const std::string& run_dir);
std::string proxy_page_path(const std::string& run_dir);
// Certificates that HAProxy reads, and for each service the list of its own (a list may be longer than a line).
std::string proxy_certificates_path(const std::string& run_dir);
std::string proxy_certificate_list(const std::string& service);
// By name in that folder: what is in it.
std::map<std::string, std::string> proxy_certificate_files(const ProxySpec& spec);
// The variable with ProxyText::certificates in a running HAProxy.
inline constexpr const char* proxy_certificates_variable = "proc.lbcluster_certificates";
// One word of a configuration line, whatever is in it.
std::string proxy_word(const std::string& text);
// As `show info` has it.
std::string proxy_description(const std::string& hash);

}  // namespace lbcluster::forward
