// Makes the kernel what it shall be, and knows what it is. It decides nothing about servers: that is the core's. Blocks
// while the kernel works; one thread.
//
// Level-triggered: each reconcile() reads the kernel back and sets right what differs, whoever made it differ. What is
// ours but was changed by somebody else since we last looked is drift, and reported. update() is the short way for a
// change of health: only the services that changed, from what is known of the kernel; if that fails, reconcile().
//
// A step that fails is tried again with the next reconcile(). Where new servers could not be added, old ones do not go
// if that would leave a service empty.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "forwarder/core/core.hpp"
#include "forwarder/kernel.hpp"
#include "forwarder/owned_file.hpp"

namespace lbcluster::forward {

struct SysctlState {
    Sysctl wanted;
    std::string value;   // empty: it could not be read
    std::string before;  // of our change; empty: it was right already
    std::string error;
};

struct Outcome {
    std::string ipvs_version;
    std::string ipvs_error;                    // not empty: layer 4 is not served
    std::map<ServiceKey, std::string> errors;  // services that are not as wanted
    std::string rules_error;
    std::string delivery_error;  // of transparent connections
    std::string timeouts_error;
    std::string owned_error;
    std::vector<SysctlState> sysctls;  // and those that could not be made what they were
    Sync sync;                         // as it runs
    std::string sync_error;
    std::vector<std::string> drift;  // of this time; at most drift_lines_max
    std::size_t drifts = 0;
    std::size_t steps = 0;     // carried out
    std::size_t failures = 0;  // of them
};

// In a line: what, why, and what to do.
std::string text_of(const Error& error);
// What is not as wanted, and why; a line each.
std::vector<std::string> faults(const Outcome& outcome);

inline constexpr std::size_t drift_lines_max = 10;

class Reconciler {
  public:
    // `write`: puts the text of the owned file in its place.
    using Write = std::function<Result<void>(const std::string& text)>;
    Reconciler(Kernel& kernel, Owned owned, Write write);

    // Reads the kernel; for the core to begin with what is there.
    const Table& look(const Table& wanted);
    const Outcome& reconcile(const Desired& desired);
    // False: do a reconcile().
    bool update(const Table& desired, std::span<const ServiceKey> changed);
    // The counts as they are now; errors leave the old ones.
    void refresh_counters();

    [[nodiscard]] const Outcome& outcome() const { return outcome_; }
    // Ours, as last read, with what was done since.
    [[nodiscard]] const Table& actual() const { return reading_.table; }
    [[nodiscard]] const std::map<ServiceKey, ServiceCounters>& counters() const { return reading_.counters; }
    [[nodiscard]] const Owned& owned() const { return owned_; }

  private:
    bool open_ipvs(const Desired& desired);
    bool read(const Table& wanted);
    void find_drift(const Table& before);
    void note_drift(const std::string& text);
    void set_sysctls(const std::vector<Sysctl>& wanted);
    void set_sysctl(const Sysctl& wanted);
    void restore_sysctls(const std::vector<Sysctl>& wanted);
    void set_tables(const Desired& desired);
    std::vector<Step> without_emptying(std::vector<Step> steps, const Table& desired) const;
    void carry_out(std::span<const Step> steps);
    bool set_rules(const Rules& rules);
    void set_deliveries(const Rules& rules);
    Result<void> set_delivery(bool v6, bool wanted);
    void stop_syncs(const Desired& desired);
    void stop_sync(const Sync& sync);
    void start_sync(const Desired& desired);
    void set_timeouts(const Timeouts& wanted);
    void remember();

    Kernel& kernel_;
    Owned owned_;
    Owned written_;
    Write write_;
    Reading reading_;
    bool known_ = false;  // reading_ is what the kernel has
    Outcome outcome_;
};

}  // namespace lbcluster::forward
