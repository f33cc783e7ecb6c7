// Floating IPs in the kernel, and their announcements, on a thread of its own: address work can block in the kernel
// and must never delay a heartbeat.
//
// Level-triggered: the daemon says what shall be so (set_target), the worker compares with the kernel and makes it so,
// in chunks of some milliseconds, so that a release overtakes an acquisition. Nothing is shared: commands are posted to
// the worker's io_context, reports to the daemon's. Commands return at once.
//
// The lease. Addresses carry a lifetime in the kernel, which is renewed only until the moment of the last permit (each
// heartbeat that goes out permits a little). An address whose lifetime may have ended is not put back: it is
// `lapsed` until a target with a new epoch. An address that cannot be in the kernel for another reason (no such
// interface, removed by hand) keeps its claim as long as permits come.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "heartbeat/core/restraint.hpp"
#include "heartbeat/net/announce_schedule.hpp"
#include "lbcluster/base/address.hpp"
#include "lbcluster/base/result.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/net/netlink.hpp"

namespace lbcluster::heartbeat {

struct KernelAddress {
    IpPrefix prefix;
    std::string interface;
    auto operator<=>(const KernelAddress&) const = default;
};

struct AddressTarget {
    std::uint64_t epoch = 0;  // a new number is a new claim: nothing of before is lapsed any more
    bool wanted = false;      // false: none of ours in the kernel
    bool announce = false;    // each address as soon as it is there
    std::vector<KernelAddress> addresses;
    // Adoption after a crash: these were in the kernel at the start. With a new epoch, one that is not there any more
    // counts as lapsed.
    std::vector<KernelAddress> adopted;
    seconds lease{0};  // 0: for ever
    Instant permit_until{};
};

struct MissingAddress {
    KernelAddress address;
    std::string reason;
    bool conflict = false;  // belongs to the interface itself; never touched
    auto operator<=>(const MissingAddress&) const = default;
};

struct KernelReport {
    std::uint64_t epoch = 0;
    bool wanted = false;
    bool complete = false;  // read back from the kernel: all is as wanted, or in `missing` or `lapsed`
    std::vector<KernelAddress> held;
    std::vector<MissingAddress> missing;
    std::vector<KernelAddress> lapsed;
    std::vector<KernelAddress> removed_by_others;  // since the last report
    Duration took{};                               // from set_target to the first `complete`
};

struct WorkerOptions {
    AnnounceSchedule::Settings announce;
    std::vector<IpAddress> ping_nodes;  // routers whose ARP cache is renewed from each address
};

// Before the worker starts: which of `configured` are in the kernel and ours (adoption)? Blocks shortly.
Result<std::vector<KernelAddress>> scan_own_addresses(net::Netlink& netlink,
                                                      const std::vector<KernelAddress>& configured);

class AddressKeeper;

class AddressWorker {
  public:
    // `on_report` runs on `daemon_io`, which must outlive the worker. Started in the caller's network namespace.
    static Result<std::unique_ptr<AddressWorker>> start(boost::asio::io_context& daemon_io, WorkerOptions options,
                                                        std::function<void(const KernelReport&)> on_report);
    // Ends the thread. What is in the kernel stays, until its lease ends.
    ~AddressWorker();
    AddressWorker(const AddressWorker&) = delete;
    AddressWorker& operator=(const AddressWorker&) = delete;

    void set_target(AddressTarget target);
    void permit(Instant until);
    // Silence is at once; the rest after the work that is under way.
    void restrain(Restraint restraint);
    // All addresses held, first round and repeats; `paced`: from the first repeat on, within the rate.
    void announce(bool paced = false);
    void set_options(WorkerOptions options);
    // Compare with the kernel and report now.
    void resync();

    // Of the kernel's events about what the worker does itself (net::Monitor::ignore()); 0: unknown.
    [[nodiscard]] std::uint32_t netlink_port() const;
    // For scheduling priority and locked stacks: the thread, and the one that sends the announcements.
    [[nodiscard]] std::vector<std::thread::native_handle_type> native_handles();

  private:
    AddressWorker();

    std::unique_ptr<boost::asio::io_context> io_;
    std::unique_ptr<AddressKeeper> keeper_;
    // Reports that are under way when the worker is destroyed are dropped. Used on the daemon's thread only.
    std::shared_ptr<std::function<void(const KernelReport&)>> on_report_;
    std::thread thread_;
};

}  // namespace lbcluster::heartbeat
