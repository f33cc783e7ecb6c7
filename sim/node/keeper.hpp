// The address worker of a simulated node: what heartbeat/net/address_keeper does with netlink and frame sockets, done
// with the modelled kernel. The rules are the same: level-triggered; renewed every 400 ms and only until the last
// permit; a lease that may have ended is `lapsed` until a new epoch; reports are verified against the kernel.
// Announcements follow heartbeatd's own AnnounceSchedule and go out as its own frames.
//
// It is a thread of its own in heartbeatd, so a starved or hung heartbeat loop does not stop it; SIGSTOP does.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "heartbeat/core/restraint.hpp"
#include "heartbeat/core/types.hpp"
#include "heartbeat/net/announce_schedule.hpp"
#include "sim/world/machine.hpp"

namespace lbcluster::sim {

class Keeper {
  public:
    struct Target {
        std::uint64_t epoch = 0;
        bool wanted = false;
        bool announce = false;
        std::vector<heartbeat::FloatingIp> addresses;
        seconds lease{0};
    };
    struct Costs {
        Duration add_v4{60us};
        Duration add_v6{300us};
        Duration slow{0};  // more, each
    };
    using Report = std::function<void(const heartbeat::AddressReport&)>;

    Keeper(Machine& machine, heartbeat::AnnounceSchedule::Settings announce, std::vector<IpAddress> ping_nodes,
           Report report);

    void set_costs(const Costs& costs) { costs_ = costs; }
    void set_options(heartbeat::AnnounceSchedule::Settings announce, std::vector<IpAddress> ping_nodes);
    void set_target(Target target, Instant permit);
    void permit(Instant until);
    void restrain(heartbeat::Restraint restraint);
    void announce_all(bool paced);
    // SIGSTOP and SIGCONT; or the whole machine stood still.
    void stop();
    void go_on();
    // Netlink events.
    void on_removed(const IpPrefix& prefix);
    void on_interfaces();

  private:
    struct Entry {
        heartbeat::FloatingIp ip;
        std::size_t interface = 0;
        bool there = true;  // the interface exists
        bool in_kernel = false;
        bool lapsed = false;
        bool was_held = false;
        Instant claimed_at{};
        Instant renewed_at{};
        Instant retry_at{};
        std::string problem;
    };

    void wake(Duration in);
    void step();
    bool work(Instant now);
    bool remove_one();
    bool add_one(Instant now);
    void renew(Instant now);
    void check_leases(Instant now);
    [[nodiscard]] bool lease_over(const Entry& entry, Instant now) const;
    [[nodiscard]] bool permitted(Instant now) const { return target_.lease.count() == 0 || now <= permit_; }
    [[nodiscard]] bool compare();
    void announce(Instant now);
    void announce_interface(std::size_t interface);
    void send_announcement(const heartbeat::AnnounceSchedule::Due& due);
    void ask_neighbor(const IpAddress& ip, std::size_t interface);
    [[nodiscard]] bool pending() const;
    void tell(bool complete);
    [[nodiscard]] Duration cost(const Entry& entry) const;
    [[nodiscard]] Instant next(Instant now) const;

    Machine& machine_;
    heartbeat::AnnounceSchedule schedule_;
    std::vector<IpAddress> ping_nodes_;
    Report report_;
    Costs costs_;
    bool have_target_ = false;
    Target target_;
    Instant permit_{};
    heartbeat::Restraint restraint_;
    bool stopped_ = false;
    bool busy_ = false;  // a change of an address is under way
    std::map<IpAddress, Entry> entries_;
    std::vector<IpPrefix> strays_;
    std::set<IpAddress> removed_by_others_;
    std::map<std::size_t, bool> carrier_;
    bool verified_ = false;
    bool report_due_ = false;
    std::size_t next_ping_node_ = 0;
    Timer timer_;
    Timer work_;
};

}  // namespace lbcluster::sim
