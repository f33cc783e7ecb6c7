// What a running HAProxy says of itself (`show info`, `show stat`), and the way from there to what is wanted: commands
// of its runtime socket. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "forwarder/core/proxy.hpp"

namespace lbcluster::forward {

struct ProxyInfo {
    std::string version;
    std::string description;
    std::uint32_t pid = 0;  // of the worker
};

struct ProxyRow {
    bool ready = false;  // of a server: takes connections
    std::uint32_t weight = 0;
    std::uint64_t sessions = 0;  // now
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

// Workers of before a reload that still have connections, from the master's `show proc`.
std::vector<std::uint32_t> parse_old_workers(const std::string& text);
// From a worker's `show sess`: what ends the sessions of servers that end theirs. An old worker knows no other way.
std::vector<std::string> session_commands(const std::string& sessions, const ProxyStates& wanted);

}  // namespace lbcluster::forward
