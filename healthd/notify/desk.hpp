// What is told, to whom and when (OP-10). Pure: time comes in, messages go out.
//
// There is no queue of events. The desk knows how things are and, for each channel (an entry of `notifications`), what
// was told last; a message is the difference at the moment it goes out. So the newest state wins by itself, a burst is
// one message, and what went there and back while nobody could be told is not told at all.
//
//   after a start       one whole message, once everything is known or settle_max has passed
//   role changed        at once; to active: a whole message, as the node before may not have told its last
//   server or service   when `gather` has passed without a further change, at the latest after five times that; not
//                       before `pause` has passed since the last message
//   not delivered       again after 5 s, 10 s ... 5 min, with what is true then; at once when the role changes
//
// Both nodes probe, but only the active one (or one that knows of no heartbeatd) tells of servers and services; each
// tells of its own role. Servers in drain or halt are not told of. "unknown" is told when it has lasted settle_max.
#pragma once

#include <lbcluster/state.pb.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "healthd/notify/message.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/config.pb.h"

namespace lbcluster::health {

// What the configuration says, reduced to what the desk needs.
struct NotifySettings {
    struct Server {
        std::string label;
        std::string address;
        bool online = true;  // not in drain or halt
    };
    struct Service {
        std::string label;
        std::string address;
        std::vector<Server> servers;
    };
    std::string node;
    std::vector<config::Notification> channels;  // enabled, with defaults
    std::vector<Service> services;               // enabled; empty without channels
};
NotifySettings notify_settings(const config::ClusterConfig& effective, const std::string& node);

class Desk {
  public:
    static constexpr Duration settle_max = 15s;
    static constexpr Duration retry_min = 5s;
    static constexpr Duration retry_max = 5min;

    struct Dispatch {
        config::Notification channel;
        Message message;
    };
    struct Trouble {
        std::string channel;
        std::string error;
        unsigned failures = 0;
        std::uint64_t since_ms = 0;
    };

    // Channels that stay (by label) keep what they were told.
    void configure(Instant now, NotifySettings settings);
    // Servers that are not in the settings are passed over.
    void on_server(Instant now, const bus::ServerHealth& health);
    void on_role(Instant now, const bus::NodeStatus& node);

    // Messages that are due. Each channel has one under way at most, until on_done().
    std::vector<Dispatch> take_due(Instant now, std::uint64_t now_ms);
    // `error` empty: delivered. A channel that is not there any more is passed over.
    void on_done(Instant now, std::uint64_t now_ms, const std::string& channel, const std::string& error);
    [[nodiscard]] Instant next_deadline() const;  // Instant::max(): none

    [[nodiscard]] std::vector<Trouble> troubles() const;

  private:
    using Key = std::pair<std::string, std::string>;  // service, server
    struct Server {
        std::string address;
        std::uint32_t port = 0;
        bool online = true;
        std::string health = "unknown";
        std::string reason;
        std::uint64_t since_ms = 0;
        Instant unknown_since{};
    };
    struct Told {
        std::string role;
        std::map<std::string, std::string> services;  // label -> colour
        std::map<Key, std::string> servers;           // -> health
    };
    struct Channel {
        config::Notification config;
        bool servers = false;
        bool services = false;
        bool roles = false;
        Duration gather{};
        Duration pause{};

        Told told;
        std::optional<Told> under_way;  // what holds when it was delivered
        bool whole = true;              // the next message is
        bool started = false;           // the first one has gone out, or was empty
        Instant settle_until{};         // before that
        bool urgent = false;            // the role has changed
        std::optional<Instant> first_change;
        Instant last_change{};
        std::optional<Instant> last_sent;
        std::optional<Instant> retry_at;
        unsigned failures = 0;
        std::uint64_t failing_since_ms = 0;
        std::string error;
    };

    static Channel make_channel(const config::Notification& config);
    [[nodiscard]] bool tells() const { return role_.activity.empty() || role_.activity == "active"; }
    [[nodiscard]] bool all_known() const { return !role_.activity.empty() && unknown_ == 0; }
    [[nodiscard]] bool settled(Instant now, const Server& server) const;
    void changed(Instant now);
    [[nodiscard]] Instant due_at(const Channel& channel) const;
    // The difference, and in `told` what the channel knows when it has it.
    Message compose(Instant now, std::uint64_t now_ms, const Channel& channel, Told& told) const;
    void add_servers(Instant now, const Channel& channel, Told& told, Message& message) const;
    void add_services(Instant now, const Channel& channel, Told& told, Message& message) const;
    void count_unknown();

    NotifySettings settings_;
    std::map<Key, Server> servers_;
    std::size_t unknown_ = 0;  // servers
    RoleNews role_;            // activity empty: not known
    std::vector<Channel> channels_;
    std::optional<Instant> recheck_;  // when the oldest young "unknown" is one
};

}  // namespace lbcluster::health
