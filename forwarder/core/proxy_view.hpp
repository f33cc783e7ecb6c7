// What a running HAProxy says of itself (`show info`, `show stat`), and the way from there to what is wanted: commands
// of its runtime socket. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "forwarder/core/proxy.hpp"

namespace lbcluster::forward {

struct ProxyInfo {
    std::string version;
    std::string description;
    std::uint32_t pid = 0;     // of the worker
    std::string certificates;  // ProxyText::certificates
};

struct ProxyRow {
    bool ready = false;  // of a server: takes connections
    std::uint32_t weight = 0;
    std::optional<DestinationKey> at;  // of a server
    std::uint64_t sessions = 0;        // now
    std::uint64_t total = 0;
    std::uint64_t per_second = 0;
    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
    std::uint64_t errors = 0;
};

struct ProxyView {
    std::map<ProxyServerName, ProxyRow> servers;
    std::map<std::string, ProxyRow> frontends;
    std::map<std::string, ProxyRow> backends;

    [[nodiscard]] ProxyStates states() const;
};

ProxyInfo parse_proxy_info(const std::string& text);
// What cannot be read is left out.
ProxyView parse_proxy_view(const std::string& csv);

// In an order in which no service is without its ready servers meanwhile. Servers that HAProxy does not know are left
// out: the text that has them is not loaded yet.
std::vector<std::string> proxy_commands(const ProxyView& actual, const ProxyStates& wanted);

// True: it moves a server to another address.
bool is_move(const std::string& command);

// How a running HAProxy gets other bytes for a certificate that it has; until `commit` they have no effect.
struct CertificateRenewal {
    std::string set;     // answered by "Transaction ..."
    std::string commit;  // answered by "... Success!"
    std::string abort;
    bool operator==(const CertificateRenewal&) const = default;
};
// `certificates`: name -> PEM. nullopt: one of them is too long for a command, so it has to be loaded.
std::optional<std::vector<CertificateRenewal>> certificate_renewals(
    const std::string& folder, const std::map<std::string, std::string>& certificates);

// Workers of before a reload that still have connections, from the master's `show proc`.
std::vector<std::uint32_t> parse_old_workers(const std::string& text);
// From a worker's `show sess`: what ends the sessions of servers that end theirs. An old worker knows no other way.
std::vector<std::string> session_commands(const std::string& sessions, const ProxyStates& wanted);

}  // namespace lbcluster::forward
