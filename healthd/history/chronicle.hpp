// What of the health of servers and services becomes history (OP-4): which changes are told, when, and in how few
// lines. Pure: verdicts and time come in, events go out, without their numbers.
//
//   server      each change between up, down and standby; of the first verdict only down. What is not known any more
//               does not undo what was known
//   service     no server is left: none of those that are to serve is up, for `settle` at least, so that two
//               applications that swap are no outage; and one is back
//   holding     failures began and ceased not to count against servers; how many did not
//   alarms      began and ended
//   first look  how things are, once every server has a verdict, or after first_look_max
//
// The history holds a thousand lines, so there is a limit to everything:
//   again and again   what goes on changing gets its next line after 1 s, 2 s, 4 s ... pause_max; it counts the changes
//   many at once      more than lines_max servers: a line a service; more than lines_max services: a line for them all
//   for long          lines_burst at a time, then one in line_pace; what waits for it is told together
#pragma once

#include <lbcluster/state.pb.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lbcluster/base/time.hpp"

namespace lbcluster::health {

class Chronicle {
  public:
    static constexpr std::size_t lines_max = 10;
    static constexpr double lines_burst = 60;
    static constexpr Duration line_pace = 10s;
    static constexpr Duration settle = 1s;
    static constexpr Duration pause_max = 10min;
    static constexpr Duration first_look_max = 15s;

    struct Member {
        std::string service;
        std::string server;
        bool online = true;  // not in drain or halt
    };
    // The servers that are asked from now on; those that stay keep what was told of them.
    void configure(Instant now, std::uint64_t now_ms, const std::string& node, const std::vector<Member>& members);
    // What is known by now was known before the restart, and is no news.
    void begin();

    void on_server(Instant now, std::uint64_t now_ms, const bus::ServerHealth& health);
    // Why failures do not count; empty: they do.
    void on_holding(Instant now, std::uint64_t now_ms, const std::string& reason);
    // So many failures did not count since the start; why the newest one did not.
    void on_excused(Instant now, std::uint64_t now_ms, std::uint64_t total, const std::string& why);
    // All that there are now, by id.
    void on_alarms(Instant now, std::uint64_t now_ms, const std::map<std::string, std::string>& alarms);

    // The lines that are due, to be asked for about once a second. `ending`: those that would wait, too.
    std::vector<bus::Event> take(Instant now, std::uint64_t now_ms, bool ending = false);

  private:
    using Key = std::pair<std::string, std::string>;  // service, server
    struct Subject {
        std::string told;  // as the history has it; empty: it says nothing of it
        std::string now;
        unsigned changes = 0;  // since it was told
        Instant first_change{};
        Instant changed{};
        std::uint64_t changed_ms = 0;
        std::optional<Instant> told_at;
        Duration pause{};

        void change(Instant at, std::uint64_t at_ms, const std::string& to);
        void tell(Instant at);
        void forget() { told = now, changes = 0; }
        [[nodiscard]] bool ready(Instant at) const { return changes > 0 && (!told_at || at >= *told_at + pause); }
    };
    struct Server : Subject {
        std::string address;
        std::uint32_t port = 0;
        std::string health = "unknown";
        std::string reason;
        std::string fault;  // reason of the last verdict "down"
        bool online = true;
    };
    struct Service : Subject {  // "served" or "lost"
        std::size_t servers = 0;
        // Of these are to serve, and of those:
        std::size_t online = 0;
        std::size_t up = 0;
        std::size_t standby = 0;
        std::size_t unknown = 0;
    };
    struct Alarm : Subject {
        std::string text;
    };
    // One change that is told, with others or alone.
    struct News {
        const Key* key;
        const Server* server;
        std::string before;
        unsigned changes;
        Duration within;
        [[nodiscard]] bool again() const { return before == server->now; }  // there and back
    };
    using Events = std::vector<bus::Event>;

    static void count(Service& service, const Server& server, bool add);
    static void judge(Instant now, std::uint64_t now_ms, Service& service);
    [[nodiscard]] std::size_t unknown() const;
    [[nodiscard]] std::size_t room(const Events& out) const;
    void tell_servers(Instant now, bool ending, Events& out);
    void tell_services(Instant now, bool ending, Events& out);
    void tell_holding(Instant now, Events& out);
    void tell_alarms(Instant now, Events& out);
    void tell_first_look(Instant now, std::uint64_t now_ms, Events& out);
    [[nodiscard]] bus::Event event_of(const char* kind, const char* severity, std::uint64_t time_ms,
                                      std::string text) const;
    [[nodiscard]] bus::Event line_of(const News& news) const;
    [[nodiscard]] bus::Event line_of(const std::vector<News>& many, bool one_service) const;
    [[nodiscard]] bus::Event line_of(const std::string& label, const Service& service, unsigned changes) const;

    std::string node_;
    std::map<Key, Server> servers_;
    std::map<std::string, Service> services_;
    std::set<Key> changed_;  // servers with something to tell
    Subject holding_;        // "held" or "free"
    std::string hold_reason_;
    Subject excused_;
    std::uint64_t excused_total_ = 0;
    std::uint64_t excused_told_ = 0;
    std::string excuse_;
    std::map<std::string, Alarm> alarms_;  // "on" or "off"
    bool begun_ = false;
    bool looked_ = false;  // the first look has been told
    std::optional<Instant> first_look_from_;
    double lines_ = lines_burst;  // that may be told
    std::optional<Instant> counted_;
};

}  // namespace lbcluster::health
