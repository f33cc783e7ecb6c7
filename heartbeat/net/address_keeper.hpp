// The inside of AddressWorker: everything that runs on its thread. See address_worker.hpp for the rules.
//
// One step() does one chunk of work, most urgent first (compare with the kernel, remove, add, renew leases, announce),
// and posts itself again while there is more, so that commands and kernel events come in between.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "heartbeat/net/address_worker.hpp"
#include "heartbeat/net/announce_sender.hpp"
#include "lbcluster/net/frame_socket.hpp"
#include "lbcluster/net/monitor.hpp"
#include "lbcluster/net/netlink.hpp"

namespace lbcluster::heartbeat {

// By our mark; on kernels older than 5.18, which keep no mark, by having a lifetime at all.
bool is_marked_ours(const net::Address& address);

class AddressKeeper {
  public:
    using Report = std::function<void(KernelReport)>;
    static Result<std::unique_ptr<AddressKeeper>> create(boost::asio::io_context& io, WorkerOptions options,
                                                         Report report);

    void set_target(AddressTarget target);
    void permit(Instant until);  // from any thread
    void restrain(Restraint restraint);
    void announce_all(bool paced = false);
    void set_options(WorkerOptions options);
    void resync();

    [[nodiscard]] std::uint32_t port() const { return netlink_.port(); }
    [[nodiscard]] AnnounceSender& sender() { return *sender_; }  // for its scheduling priority

  private:
    struct Entry {
        int ifindex = 0;         // where it was seen or added
        bool in_kernel = false;  // to the best of our knowledge
        bool conflict = false;
        bool lapsed = false;
        bool was_held = false;  // in this epoch
        Instant claimed_at{};   // from when on the lease counts
        Instant renewed_at{};   // last lifetime given to the kernel
        Instant retry_at{};
        std::string problem;
    };
    using Entries = std::map<KernelAddress, Entry>;
    using Chunk = std::vector<Entries::iterator>;

    AddressKeeper(boost::asio::io_context& io, WorkerOptions options, Report report, net::Netlink netlink,
                  std::unique_ptr<AnnounceSender> sender);

    void on_link(const net::Link& link, bool removed);
    void on_address(const net::Address& address, bool removed);

    void schedule();
    void step();
    bool work(Instant now);
    void arm(Instant now);

    bool compare();
    void learn_links(const std::vector<net::Link>& links);
    void match(const std::vector<net::Address>& addresses);
    void miss(Entries::iterator it, Instant now);

    bool remove_chunk();
    bool add_chunk(Instant now);
    bool renew_chunk(Instant now);
    std::vector<Result<void>> apply(const Chunk& chunk, bool add);
    void lapse_and_claim(Instant now);
    [[nodiscard]] bool lease_over(const Entry& entry, Instant now) const;
    [[nodiscard]] bool permitted(Instant now) const;
    [[nodiscard]] Duration period(const IpAddress& ip) const;
    void learn_cost(Duration took, std::size_t addresses);
    void set_problem(Entry& entry, const std::string& problem);

    void announce_interface(const std::string& name, bool paced = false);
    bool announce_chunk(Instant now);
    void append_frames(const AnnounceSchedule::Due& due, std::vector<net::OutgoingFrame>& first,
                       std::vector<net::OutgoingFrame>& then);
    void append_neighbor_request(const IpAddress& ip, const net::Link& link, std::vector<net::OutgoingFrame>& out);

    [[nodiscard]] bool pending() const;
    void report_now(bool complete);

    boost::asio::io_context& io_;
    boost::asio::steady_timer timer_;
    WorkerOptions options_;
    Report report_;
    net::Netlink netlink_;
    std::unique_ptr<AnnounceSender> sender_;
    std::unique_ptr<net::Monitor> monitor_;

    bool have_target_ = false;
    AddressTarget target_;
    Instant target_at_{};
    std::optional<Duration> took_;
    Restraint restraint_;
    std::atomic<Instant::rep> permit_until_{0};
    std::atomic<bool> permit_wanted_{false};
    Instant lapse_checked_{};
    Instant renew_at_{};  // nothing is to be renewed before
    Duration renew_every_v6_{400ms};
    Duration cost_v6_{};  // of one renewal, measured

    Entries entries_;
    std::map<IpAddress, Entries::iterator> by_ip_;
    std::map<std::string, net::Link> links_;
    std::map<int, std::string> names_;
    std::vector<net::Address> interface_addresses_;  // not ours: tells which ping node is on which interface
    std::vector<net::AddressChange> strays_;         // ours in the kernel, but not in the target
    Instant strays_retry_at_{};
    std::set<KernelAddress> suspects_;  // the kernel told of a removal
    std::set<KernelAddress> removed_by_others_;

    AnnounceSchedule schedule_;
    std::map<std::pair<int, IpAddress>, MacAddress> neighbors_;
    Instant neighbors_at_{};
    std::size_t next_ping_node_ = 0;

    bool step_posted_ = false;
    bool compare_due_ = true;
    Instant compare_retry_at_{};  // after one that failed
    bool verified_ = false;
    bool report_due_ = false;
    Instant compared_at_{};
};

}  // namespace lbcluster::heartbeat
