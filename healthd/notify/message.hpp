// One notification, and how it looks for programs (JSON) and for people (text, mail). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lbcluster::health {

struct RoleNews {
    std::string activity;  // active | passive | standby
    std::string before;    // empty: not told before
    std::string reason;
    std::uint64_t since_ms = 0;
};
struct ServiceNews {
    std::string label;
    std::string address;
    std::string color;   // green | yellow | red | blue
    std::string before;  // empty: not told before
    std::size_t up = 0;
    std::size_t servers = 0;
};
struct ServerNews {
    std::string service;
    std::string server;
    std::string address;
    std::uint32_t port = 0;  // that is checked; 0: none
    std::string health;      // up | down | standby | unknown
    std::string before;      // empty: not told before
    std::string reason;
    std::uint64_t since_ms = 0;
};

struct Message {
    static constexpr std::size_t entries_max = 200;  // of services, and of servers

    bool whole = false;  // all that is to know, not only what changed
    std::string node;
    std::uint64_t time_ms = 0;
    std::optional<RoleNews> role;
    std::vector<ServiceNews> services;
    std::vector<ServerNews> servers;  // of a whole message: those that are not up
    std::size_t services_left_out = 0;
    std::size_t servers_left_out = 0;

    [[nodiscard]] bool empty() const { return !role && services.empty() && servers.empty(); }
};

// One line: "lb1 is active (was passive); web is red; 100 servers down".
std::string summary_of(const Message& message);
// Lines for people, each ended by \n.
std::string text_of(const Message& message);
// One JSON object; docs/configuration.md names its keys.
std::string json_of(const Message& message);
// A whole mail with its headers, lines ended by \r\n (RFC 5322). `unique` makes its Message-ID.
std::string mail_of(const Message& message, const std::string& from, const std::vector<std::string>& to,
                    const std::string& unique);

}  // namespace lbcluster::health
