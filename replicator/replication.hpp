// Keeps the configuration of both nodes the same: looks at the files, tells the peer what is in force, pushes, takes
// pushes, and carries the verdicts of healthd across. Which content counts is the core's decision (core/core.hpp); all
// disk work is the keeper's, on the thread of `files`.
//
// Level-triggered: after every look, frame, connection and loss the core is asked again from what is known then. A
// session that ends costs nothing but time: the next one begins with both standings.
//
// One thread, the io_context's; `files` must be joined before this is destroyed.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lbcluster/base/clock.hpp"
#include "lbcluster/state.pb.h"
#include "replicator/core/core.hpp"
#include "replicator/core/peer_clock.hpp"
#include "replicator/core/views.hpp"
#include "replicator/keeper.hpp"
#include "replicator/session.hpp"

namespace lbcluster::replicator {

class Replication : private SessionHost {
  public:
    using Respond = std::function<void(bus::Reply)>;

    struct Events {
        std::function<void()> on_change = [] {};                  // of status(), last_look() or anything else shown
        std::function<void(const Note&)> on_note = [](auto&) {};  // for the history
        std::function<void()> call_peer = [] {};                  // a connection is wanted now
        // What the peer's healthd says; empty health: nothing any more.
        std::function<void(const replica::Verdict&)> on_verdict = [](auto&) {};
        std::function<std::uint64_t()> wall_ms = realtime_ms_now;  // that the peer is told
    };

    Replication(boost::asio::io_context& io, boost::asio::thread_pool& files, const config::Paths& paths,
                Events events);
    ~Replication() override;
    Replication(const Replication&) = delete;
    Replication& operator=(const Replication&) = delete;

    // The files may have changed; `done`: they have been looked at.
    void look(std::function<void()> done = nullptr);
    // False while heartbeatd says that the peer is the active node; `active`: this one is. The peer's own word counts
    // as well, should heartbeatd be silent.
    void set_may_change(bool may_change, bool active = false);
    void set_floating_ips(std::set<IpPrefix> floating) { floating_ = std::move(floating); }
    // A stream to the peer; `first`: the frame that was read of it already.
    void attach(std::unique_ptr<Channel> channel, bool outgoing, std::optional<replica::Frame> first = std::nullopt);
    // Why the peer could not be called; empty: it was.
    void set_call_error(const std::string& error);
    void set_verdict(const replica::Verdict& verdict);
    void forget_verdicts();
    void tick();  // once a second
    void close();

    void sync(Respond respond);
    void resolve(bool mine, Respond respond);
    void copy_of_peer(Respond respond);

    [[nodiscard]] const Look& last_look() const { return look_; }
    [[nodiscard]] bool looked() const { return looks_ > 0; }
    [[nodiscard]] bool connected() const { return best() != nullptr; }
    [[nodiscard]] bool has_outgoing() const;
    // With alarms, without counters of the daemon.
    [[nodiscard]] bus::ReplicationStatus status() const;

  private:
    struct Push {
        std::shared_ptr<Session> session;
        std::uint64_t id = 0;
        Counted content;
        Contents contents;
        Instant started{};
        Instant moved{};  // when a piece went out last
        std::uint64_t pieces_sent = 0;
    };
    struct Incoming {
        std::shared_ptr<Session> session;
        std::uint64_t id = 0;
        Counted offered;
        std::optional<Assembly> assembly;
        bool taking = false;
    };
    struct Waiting {  // somebody called, and waits for the end of it
        Respond respond;
        std::uint64_t id = 0;
        Instant since{};
        bool answered = false;  // the peer has looked again
    };
    struct Alarmed {
        std::uint64_t since_ms = 0;
        std::string text;
        std::string action;
    };

    // sessions
    replica::Hello own_hello() override;
    Result<void> check_hello(const replica::Hello& hello) override;
    void on_up(const std::shared_ptr<Session>& session) override;
    void on_frame(const std::shared_ptr<Session>& session, replica::Frame frame) override;
    void on_down(const std::shared_ptr<Session>& session, const Error& reason) override;
    [[nodiscard]] std::shared_ptr<Session> best() const;
    void send_standing(const std::shared_ptr<Session>& session, std::uint64_t answers = 0);
    void ask_for_look();
    void ask_time();
    void on_time(const replica::Time& time);
    void follow_unconfirmed();
    void take_back_in_time();

    // deciding
    void finish_look(Look look);
    void forget_pair();
    void evaluate();
    [[nodiscard]] State state() const;
    [[nodiscard]] bool may_change() const { return may_change_ && (active_ || !peer_active_ || !connected()); }
    void merge();

    // pushing
    void push();
    void on_packed(const std::shared_ptr<Session>& session, Result<Parcel> parcel);
    void on_want(const std::shared_ptr<Session>& session, const replica::Want& want);
    void on_outcome(const replica::Outcome& outcome);
    void push_on_its_way(Instant now);
    void retry_after(Duration wait);

    // taking
    void on_standing(const replica::Standing& standing);
    void on_offer(const std::shared_ptr<Session>& session, replica::Offer offer);
    void on_piece(const std::shared_ptr<Session>& session, const replica::Piece& piece);
    void assemble(const std::shared_ptr<Session>& session, std::uint64_t id, replica::Offer offer,
                  const Contents& have);
    void take();
    void on_taken(const Taken& taken);

    // calls, verdicts, alarms
    void answer_waiting();
    void on_copy(const replica::Copy& copy);
    void on_verdicts(const replica::Verdicts& verdicts);
    void send_verdicts(const std::shared_ptr<Session>& session);
    void flush_verdicts();
    void alarm(const std::string& id, bool on, const std::string& text, const std::string& action);
    void judge_alarms();

    boost::asio::io_context& io_;
    boost::asio::thread_pool& files_;
    Keeper keeper_;  // of the thread of files_
    Events events_;
    boost::asio::steady_timer retry_timer_;
    boost::asio::steady_timer verdict_timer_;
    std::shared_ptr<bool> open_ = std::make_shared<bool>(true);

    std::vector<std::shared_ptr<Session>> sessions_;
    Look look_;
    std::uint64_t looks_ = 0;
    bool looking_ = false;
    bool look_again_ = false;
    std::vector<std::function<void()>> look_done_;
    bool may_change_ = true;
    bool active_ = false;
    bool peer_active_ = false;
    std::set<IpPrefix> floating_;
    std::string call_error_;

    std::optional<Counted> peer_;
    std::uint64_t peer_revision_ = 0;
    std::string peer_error_;
    std::set<std::string> peer_knows_;
    std::string refused_;  // digest of ours that the peer could not take over
    Error refused_error_;
    std::string taken_not_;  // why the peer's newest is not in force here
    std::string taken_not_digest_;
    std::optional<Push> push_;
    bool packing_ = false;
    bool merging_ = false;
    bool holding_ = false;  // until retry_timer_ rings
    std::optional<Incoming> incoming_;
    std::optional<replica::Unconfirmed> peer_unconfirmed_;
    std::string followed_;  // what of the peer's was written down last
    bool taking_back_ = false;
    Instant take_back_after_{};
    std::optional<std::uint64_t> set_aside_;  // alarmed until the configuration changes
    std::string set_aside_digest_;
    std::string diverged_note_;

    std::vector<Waiting> waiting_;
    std::optional<Waiting> copying_;
    std::uint64_t next_id_ = 1;

    std::optional<PeerClock> peer_clock_;
    std::uint64_t time_id_ = 0;  // of the last question; 0: answered
    Instant time_asked_{};

    Views views_;
    std::map<std::string, replica::Verdict> verdicts_;
    std::map<std::string, replica::Verdict> peer_verdicts_;
    std::set<std::string> verdicts_changed_;

    std::map<std::string, Alarmed> alarms_;
    std::optional<Instant> trouble_since_;
    std::uint64_t synced_ms_ = 0;
    bool was_in_sync_ = false;
    std::uint64_t took_us_ = 0;
    std::map<std::string, std::uint64_t> counters_;
};

}  // namespace lbcluster::replicator
