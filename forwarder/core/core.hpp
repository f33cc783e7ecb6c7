// What layer 4 shall be like, kept up to date as the configuration, the servers' health, the node's activity and the
// time change. Pure: no sockets, clocks, threads, files or logs; times come as arguments.
//
// Fail static: what is known of a server stays until something else is known. `unknown` is nothing new; a healthd that
// is gone says nothing. A server that was renamed, or joins another service, begins with what is known of its address
// and port. After a start, what the kernel has is what was known (adopt()).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "forwarder/core/plan.hpp"
#include "forwarder/core/types.hpp"

namespace lbcluster::forward {

struct Desired {
    Table table;
    Rules rules;
    std::vector<Sysctl> sysctls;
    std::optional<Sync> sync;  // none: as it is
    std::string sync_error;    // why there is none though there is a peer
    Timeouts timeouts;
};

// Does the node serve? As heartbeatd says; unknown before it has.
enum class Activity : std::uint8_t { unknown, active, passive };

class Core {
  public:
    void configure(Spec spec, std::uint64_t now_ms);
    // What the kernel has: believed where nothing is known.
    void adopt(const Table& actual, std::uint64_t now_ms);
    // Of the server at `address`: a verdict on another address than the configured one is none on this server.
    void on_health(const std::string& service, const std::string& server, const IpAddress& address,
                   const Verdict& verdict);
    void on_activity(Activity activity);
    // Takes up verdicts, and deadlines of drains that have come: the services that changed by that.
    std::vector<ServiceKey> catch_up(std::uint64_t now_ms);
    // The next time for catch_up(), milliseconds since 1970; none: nothing to wait for.
    [[nodiscard]] std::optional<std::uint64_t> next_deadline_ms() const;

    [[nodiscard]] const Desired& desired() const { return desired_; }
    [[nodiscard]] const Spec& spec() const { return spec_; }
    // As in spec().services.
    [[nodiscard]] const std::vector<ServiceKey>& keys() const { return keys_; }
    [[nodiscard]] const std::vector<ServicePlan>& plans() const { return plans_; }
    [[nodiscard]] const Verdict& verdict(std::size_t service, std::size_t server) const {
        return verdicts_[service][server];
    }

  private:
    bool replan(std::size_t service, std::uint64_t now_ms);
    void plan_sync();

    Spec spec_;
    std::vector<ServiceKey> keys_;
    std::vector<ServicePlan> plans_;
    std::vector<std::vector<Verdict>> verdicts_;  // as the services and their servers
    std::map<std::pair<std::string, std::string>, std::pair<std::size_t, std::size_t>> by_label_;
    std::set<std::uint64_t> deadlines_ms_;  // of drains
    Activity activity_ = Activity::unknown;
    std::uint64_t now_ms_ = 0;
    std::set<std::size_t> dirty_;  // services with verdicts that are not taken up yet
    Desired desired_;
};

}  // namespace lbcluster::forward
