#include "sim/node/node.hpp"

#include <algorithm>
#include <utility>

namespace lbcluster::sim {

namespace {
constexpr std::size_t recorded_max = 4096;
}

Node::Node(heartbeat::Setup setup, const Costs& costs, Observer& observer, std::uint64_t seed)
    : setup_(std::move(setup)),
      costs_(costs),
      observer_(observer),
      random_(seed, "node " + setup_.settings.node),
      machine_(setup_.settings.node, seed) {
    machine_.set_lease_late(costs_.lease_late);
}

// ---- the machine ----

void Node::power_on(bool booted) {
    if (machine_.powered()) return;
    off_when_ended_ = false;
    machine_.power_on();
    start_.set(booted ? Duration{0} : costs_.boot, [this] { start_daemon(); });
}

void Node::power_off() {
    start_.cancel();
    kill_daemon();
    start_.cancel();  // the supervisor is gone, too
    machine_.power_off();
    start_missed_ = false;
    observer_.on_process(*this);
}

void Node::pause() {
    machine_.pause();
    observer_.on_process(*this);
}

void Node::resume() {
    if (!machine_.paused()) return;
    machine_.resume();
    if (daemon_ && !stopped_) daemon_->go_on();
    observer_.on_process(*this);
    // The supervisor stood still as well.
    if (std::exchange(start_missed_, false)) start_daemon();
}

// ---- the daemon ----

void Node::start_daemon() {
    if (daemon_) return;
    if (machine_.paused()) start_missed_ = true;
    if (!machine_.works()) return;
    Daemon::Costs costs = costs_.daemon;
    costs.addresses.slow = slow_;
    stopped_ = false;
    daemon_ = std::make_unique<Daemon>(Daemon::Outside{machine_, *this, observer_, serial_, serial_end_}, setup_, costs,
                                       random_);
    daemon_->disk_full(disk_full_);
    daemon_->starve(starved_);
    observer_.on_process(*this);
}

void Node::kill_daemon() {
    if (!daemon_) return;
    daemon_.reset();
    observer_.on_process(*this);
    if (restart_after_ && machine_.powered()) start_.set(*restart_after_ + costs_.start, [this] { start_daemon(); });
}

void Node::process_ended(bool restart) {
    // Called from within the daemon: it goes when that has returned.
    dead_ = std::move(daemon_);
    dead_->stop();
    bury_.set(Duration{0}, [this] { dead_.reset(); });
    machine_.sockets = {};
    observer_.on_process(*this);
    if (off_when_ended_) return power_off();
    if (restart) start_.set(costs_.start, [this] { start_daemon(); });
    else if (restart_after_) start_.set(*restart_after_ + costs_.start, [this] { start_daemon(); });
}

void Node::shut_down() {
    off_when_ended_ = true;
    if (daemon_) daemon_->terminate();
    else power_off();
}

void Node::stop_daemon() {
    if (!daemon_ || stopped_) return;
    stopped_ = true;
    daemon_->stop();
    observer_.on_process(*this);
}

void Node::continue_daemon() {
    if (!daemon_ || !stopped_) return;
    stopped_ = false;
    if (machine_.works()) daemon_->go_on();
    observer_.on_process(*this);
}

void Node::set_slow(Duration each) {
    slow_ = each;
    Daemon::Costs costs = costs_.daemon;
    costs.addresses.slow = slow_;
    if (daemon_) daemon_->set_costs(costs);
}

void Node::starve(Duration every) {
    starved_ = every;
    if (daemon_) daemon_->starve(every);
    observer_.on_process(*this);
}

void Node::disk_full(bool on) {
    disk_full_ = on;
    if (daemon_) daemon_->disk_full(on);
}

void Node::reload(heartbeat::Setup setup) {
    setup_ = std::move(setup);
    if (daemon_) daemon_->reload(setup_);
}

void Node::record(std::deque<Recorded>& records, std::uint32_t link, ByteView datagram) const {
    if (!keep_records_) return;
    if (records.size() >= recorded_max) records.pop_front();
    records.push_back({link, Bytes(datagram.begin(), datagram.end())});
}

bool Node::serves() const {
    const auto& ips = setup_.settings.floating_ips;
    return std::any_of(ips.begin(), ips.end(),
                       [&](const heartbeat::FloatingIp& ip) { return machine_.answers(ip.address.address); });
}

}  // namespace lbcluster::sim
