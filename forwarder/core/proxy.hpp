// From the services of layer 7 that are wanted and what is known of their servers to what HAProxy shall do. Pure.
//
// clang-format off
//   server                            in HAProxy
//   up, online                        ready, with its weight x the percentage of its feedback agent (never less than 1)
//   drain, or its agent says so,      maintenance: open connections finish, no new ones, persistent clients included
//   or its weight is 0                (HAProxy's own `drain` would go on letting those in)
//   down, standby, agent says down,   maintenance, and its connections are ended, so that their clients come back to
//   halt                              another server
//   nothing known yet                 maintenance
// clang-format on
//
// Down wins over drain. The fallback is a `backup` server, which HAProxy uses while no other is ready. Fail static, as
// for layer 4: what is known of a server stays until something else is known; unknown is nothing new. After a start,
// what HAProxy has is what was known (adopt()).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "forwarder/core/plan.hpp"

namespace lbcluster::forward {

struct TlsSpec {
    std::vector<std::string> certificates;  // names of files; none: not terminated here
    std::string min_version = "1.2";
    bool http2 = false;
    bool redirect_http = false;
    bool reencrypt = false;
    std::string server_ca;  // name of a file; empty: not verified
    std::string server_name;
    bool operator==(const TlsSpec&) const = default;
};

// The same client to the same server by what the application or the protocol says.
enum class KeepBy { nothing, cookie, rdp, ssl_id };

struct HeaderSpec {
    enum class Action { set, add, remove };
    bool response = false;
    Action action = Action::set;
    std::string name;
    std::string value;  // with ${...}
    bool operator==(const HeaderSpec&) const = default;
};

struct RewriteSpec {
    std::string path;
    std::string to;
    bool operator==(const RewriteSpec&) const = default;
};

struct RouteSpec {
    std::vector<std::string> hosts;
    std::vector<std::string> paths;
    std::string service;
    bool operator==(const RouteSpec&) const = default;
};

// A line of a file of somebody's own. `place`: file and line, for people.
struct ManualLine {
    std::string text;
    std::string place;
    bool operator==(const ManualLine&) const = default;
};

struct ProxyServiceSpec {
    std::string label;
    IpAddress address;
    std::vector<std::uint16_t> ports;
    bool http = false;
    std::string balance = "leastconn";       // our word: leastconn roundrobin static first source uri header
    std::optional<Persistence> persistence;  // by source address
    std::string cookie;                      // by an inserted cookie of this name; empty: not
    KeepBy keep_by = KeepBy::nothing;
    std::string keep_cookie;  // the application's
    milliseconds keep_timeout{1800000};
    milliseconds client_timeout{43000};
    milliseconds server_timeout{45000};
    milliseconds connect_timeout{4000};
    milliseconds queue_timeout{4000};
    bool forwarded_for = false;
    TlsSpec tls;
    bool accept_proxy = false;
    unsigned send_proxy = 0;          // version of the PROXY protocol; 0: none
    std::optional<IpAddress> source;  // servers are asked from it
    bool transparent = false;         // or from the client's address
    std::vector<HeaderSpec> headers;
    std::vector<RewriteSpec> rewrite;
    std::vector<RouteSpec> routes;
    bool compression = false;
    std::vector<ManualLine> frontend_lines;
    std::vector<ManualLine> backend_lines;
    std::uint32_t max_connections = 0;  // 0: no limit of its own
    FallbackSpec fallback;              // its method does not matter
    std::vector<ServerSpec> servers;
    bool operator==(const ProxyServiceSpec&) const = default;
};

// Whom persistence tables are told, and where that is listened for.
struct ProxyPeers {
    IpAddress local;
    IpAddress peer;
    bool operator==(const ProxyPeers&) const = default;
};

// Where layer 4 delivers to this node when none of a service's servers can serve: the page answers there.
struct PagePlace {
    std::string label;
    IpAddress address;
    std::vector<Ports> ports;
    bool operator==(const PagePlace&) const = default;
};

struct StatisticsSpec {
    std::uint16_t port = 7777;
    std::string user;
    std::string password;
    bool operator==(const StatisticsSpec&) const = default;
};

struct ProxySpec {
    std::vector<ProxyServiceSpec> services;  // enabled
    std::optional<ProxyPeers> peers;
    std::string page;  // HTML of the fallback page
    std::vector<PagePlace> page_places;
    std::uint16_t peers_port = 7778;
    std::uint16_t page_port = 9081;
    std::optional<StatisticsSpec> statistics;
    std::map<std::string, std::string> certificates;  // those that are used: name -> PEM
    std::vector<ManualLine> additions;

    [[nodiscard]] bool empty() const { return services.empty() && page_places.empty(); }
    bool operator==(const ProxySpec&) const = default;
};

// By what HAProxy knows a server: its backend, which is the service's label, and its name.
using ProxyServerName = std::pair<std::string, std::string>;

struct ProxyServerState {
    bool ready = false;
    std::uint32_t weight = 0;                         // of one that is ready; 0: it is not ours to set
    bool ends_sessions = false;                       // of one that is not ready
    std::optional<DestinationKey> at = std::nullopt;  // where it is asked; none: as the text says
    bool operator==(const ProxyServerState&) const = default;
};
using ProxyStates = std::map<ProxyServerName, ProxyServerState>;

struct ProxyServicePlan {
    std::vector<Placing> servers;  // as in the spec
    bool serves = false;           // at least one server takes new connections
    bool fallback = false;         // the fallback answers
};

// Of a label no server can have: it names the fallback in HAProxy.
inline constexpr const char* proxy_fallback_name = ":fallback";

// `static` has its weights in the text: HAProxy does not change them while it runs.
inline bool has_fixed_weights(const ProxyServiceSpec& service) { return service.balance == "static"; }

// Where HAProxy asks a server. Of several ports of the service it is the one that the client came to (0). A single one
// is named: who is sent here by another service's route, or by the PROXY protocol, came to another port.
DestinationKey proxy_place_of(const ProxyServiceSpec& service, const ServerSpec& server);

// `states`: gets those of its servers. `verdicts`: one for each server.
ProxyServicePlan plan_proxy_service(const ProxyServiceSpec& spec, const std::vector<Verdict>& verdicts,
                                    std::uint64_t now_ms, ProxyStates& states);

class ProxyCore {
  public:
    void configure(ProxySpec spec, std::uint64_t now_ms);
    // The servers that HAProxy has ready: believed where nothing is known. `weights` as they are there.
    void adopt(const ProxyStates& actual, std::uint64_t now_ms);
    void on_health(const std::string& service, const std::string& server, const IpAddress& address,
                   const Verdict& verdict);
    // Takes up verdicts, and deadlines of drains that have come. True: something is wanted otherwise than before.
    bool catch_up(std::uint64_t now_ms);
    // The next time for catch_up(), milliseconds since 1970; none: nothing to wait for.
    [[nodiscard]] std::optional<std::uint64_t> next_deadline_ms() const;

    [[nodiscard]] const ProxySpec& spec() const { return spec_; }
    [[nodiscard]] const std::vector<ProxyServicePlan>& plans() const { return plans_; }
    [[nodiscard]] const ProxyStates& states() const { return states_; }

  private:
    void replan(std::size_t service, std::uint64_t now_ms);

    ProxySpec spec_;
    std::vector<ProxyServicePlan> plans_;
    std::vector<std::vector<Verdict>> verdicts_;  // as the services and their servers
    std::map<ProxyServerName, std::pair<std::size_t, std::size_t>> by_name_;
    std::set<std::uint64_t> deadlines_ms_;  // of drains
    std::set<std::size_t> dirty_;           // services with verdicts that are not taken up yet
    std::uint64_t now_ms_ = 0;
    ProxyStates states_;
};

}  // namespace lbcluster::forward
