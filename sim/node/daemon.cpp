#include "sim/node/daemon.hpp"

#include <algorithm>
#include <utility>

#include "sim/node/node.hpp"

namespace lbcluster::sim {

namespace hb = heartbeat;

namespace {

// Of a socket's receive buffer (212992 bytes, about 1 KiB of bookkeeping a datagram): the oldest stay.
constexpr std::size_t datagrams_max = 160;
constexpr std::size_t frames_max = 1000;
constexpr std::uint64_t pair_secret = 0x6c62636c75737465ULL;

}  // namespace

Daemon::Daemon(const Outside& outside, hb::Setup setup, const Costs& costs, Random& random)
    : machine_(outside.machine),
      node_(outside.node),
      observer_(outside.observer),
      serial_(outside.serial),
      serial_end_(outside.serial_end),
      setup_(std::move(setup)),
      costs_(costs),
      tag_(setup_.settings.node, setup_.settings.cluster_id, pair_secret),
      keeper_(machine_, announce_settings(), setup_.settings.ping_nodes,
              [this](const hb::AddressReport& report) { on_report(report); }),
      echo_id_(static_cast<std::uint16_t>(random.next())),
      ping_id_(static_cast<std::uint16_t>(random.next())) {
    keeper_.set_costs(costs_.addresses);
    const Instant now = machine_.now();
    core_ = std::make_unique<hb::Core>(
        now, setup_.settings,
        hb::Core::Start{random.next() | 1U, random.next(), node_.stored_term(), node_.stored_standby()});
    open_sockets();
    tell_interfaces();
    core_->on_forwarder(now, true);
    const auto& ips = setup_.settings.floating_ips;
    core_->on_leftovers(now, std::any_of(ips.begin(), ips.end(),
                                         [&](const hb::FloatingIp& ip) { return machine_.holds(ip.address.address); }));
    request_turn();
}

Daemon::~Daemon() {
    machine_.sockets = {};
    if (serial_ != nullptr) serial_->listen(serial_end_, nullptr);
}

// ---- sockets ----

void Daemon::open_sockets() {
    Machine::Sockets& sockets = machine_.sockets;
    sockets.udp_port = setup_.port;
    sockets.udp = [this](std::size_t, const IpAddress& from, const IpAddress& to, ByteView payload) {
        on_udp(from, to, payload);
    };
    sockets.raw = [this](std::size_t interface, ByteView frame) { on_raw(interface, frame); };
    sockets.echo_reply = [this](const net::Echo& echo) { on_echo_reply(echo); };
    sockets.interfaces_changed = [this] {
        interfaces_dirty_ = true;
        keeper_.on_interfaces();
        request_turn();
    };
    sockets.address_gone = [this](const IpPrefix& prefix) { keeper_.on_removed(prefix); };
    if (serial_ == nullptr) return;
    for (std::uint32_t i = 0; i < setup_.links.size(); ++i) {
        if (setup_.links[i].kind != hb::LinkKind::serial) continue;
        serial_->listen(serial_end_, [this, i](ByteView payload) { receive(i, payload, false); });
    }
}

void Daemon::on_udp(const IpAddress& from, const IpAddress& to, ByteView payload) {
    for (std::uint32_t i = 0; i < setup_.links.size(); ++i) {
        const hb::LinkSetup& link = setup_.links[i];
        if (link.kind == hb::LinkKind::udp && link.local == to && link.peer == from) return receive(i, payload, false);
    }
}

void Daemon::inject(std::uint32_t link, ByteView datagram) { receive(link, datagram, true); }

void Daemon::receive(std::uint32_t link, ByteView payload, bool noise) {
    const auto same_link = std::count_if(datagrams_.begin(), datagrams_.end(),
                                         [&](const Waiting& waiting) { return waiting.link == link; });
    if (static_cast<std::size_t>(same_link) >= datagrams_max) return;
    datagrams_.push_back({link, noise, Bytes(payload.begin(), payload.end())});
    if (!noise) node_.record_received(link, payload);
    request_turn();
}

void Daemon::on_raw(std::size_t interface, ByteView frame) {
    if (frames_.size() >= frames_max) return;
    frames_.emplace_back(interface, Bytes(frame.begin(), frame.end()));
    request_turn();
}

void Daemon::on_echo_reply(const net::Echo& echo) {
    if (echo.id != ping_id_) return;
    const auto open = open_pings_.find(echo.sequence);
    if (open == open_pings_.end() || setup_.settings.ping_nodes[open->second] != echo.source) return;
    ping_replies_.push_back(open->second);
    open_pings_.erase(open);
    request_turn();
}

void Daemon::on_report(const hb::AddressReport& report) {
    reports_.push_back(report);
    request_turn();
}

// ---- the loop ----

void Daemon::starve(Duration every) {
    starved_ = every;
    if (starved_ > Duration{0} || stopped_) return;
    soon_.cancel();  // what was put off is due now
    request_turn();
}

void Daemon::request_turn() {
    if (stopped_ || turning_ || soon_.pending()) return;
    Duration wait = costs_.wakeup;
    if (starved_ > Duration{0}) wait = std::max(wait, machine_.until(last_turn_ + starved_));
    soon_.set(wait, [this] { turn(); });
}

void Daemon::turn() {
    if (stopped_ || !machine_.works()) return;
    turning_ = true;
    soon_.cancel();
    last_turn_ = machine_.now();
    drain();
    tell_interfaces();
    core_->step(machine_.now(), actions_);
    if (core_->restraint() != restraint_) {
        restraint_ = core_->restraint();
        keeper_.restrain(restraint_);
    }
    carry_out();
    turning_ = false;
    if (core_->activity() != activity_) observer_.on_activity(node_, std::exchange(activity_, core_->activity()));
    observer_.on_turn(node_);
    arm();
}

void Daemon::arm() {
    Duration wait = machine_.until(core_->next_deadline());
    if (starved_ > Duration{0}) wait = std::max(wait, machine_.until(last_turn_ + starved_));
    deadline_.set(wait, [this] { turn(); });
}

void Daemon::drain() {
    for (auto waiting = std::exchange(datagrams_, {}); const Waiting& one : waiting) on_datagram(one);
    const Instant now = machine_.now();
    for (auto replies = std::exchange(ping_replies_, {}); const std::size_t index : replies) {
        if (index >= setup_.settings.ping_nodes.size()) continue;
        core_->on_ping_reply(now, index);
        observer_.on_ping_reply(node_);
    }
    for (auto frames = std::exchange(frames_, {}); const auto& [interface, frame] : frames) on_frame(interface, frame);
    for (auto reports = std::exchange(reports_, {}); const hb::AddressReport& report : reports) {
        core_->on_addresses(now, report, actions_);
    }
    for (auto posted = std::exchange(posted_, {}); auto& what : posted) what();
}

void Daemon::on_datagram(const Waiting& waiting) {
    Observer::Datagram seen{waiting.link, waiting.noise, {}, {}, nullptr};
    const hb::DecodeResult decoded = hb::decode(waiting.data, setup_.settings.node, tag_, received_);
    seen.drop = decoded.drop;
    // An authentic one with our name: our own echo, or another node that is called like us. The core can tell.
    if (decoded.ok() || decoded.drop == hb::Drop::own_name) {
        seen.message = &received_;
        seen.verdict = core_->on_heartbeat(machine_.now(), waiting.link, received_, actions_);
    }
    observer_.on_datagram(node_, seen);
}

void Daemon::tell_interfaces() {
    if (!std::exchange(interfaces_dirty_, false)) return;
    std::vector<hb::InterfaceFact> facts;
    for (const Machine::Interface& interface : machine_.interfaces()) {
        facts.push_back({interface.name, interface.port->carrier(), interface.port->mac()});
    }
    core_->on_interfaces(machine_.now(), facts, actions_);
}

// ---- what is done to it ----

void Daemon::command(hb::CommandKind kind, bool force) {
    posted_.emplace_back(
        [this, kind, force] { core_->on_command(machine_.now(), {kind, next_command_++, force}, actions_); });
    request_turn();
}

void Daemon::terminate() {
    posted_.emplace_back([this] { core_->on_stop(machine_.now()); });
    request_turn();
}

void Daemon::stop() {
    stopped_ = true;
    keeper_.stop();
    soon_.cancel();
    deadline_.cancel();
}

void Daemon::go_on() {
    stopped_ = false;
    keeper_.go_on();
    request_turn();
}

void Daemon::set_costs(const Costs& costs) {
    costs_ = costs;
    keeper_.set_costs(costs.addresses);
}

void Daemon::reload(const hb::Setup& next) {
    posted_.emplace_back([this, next] {
        if (setup_.needs_restart(next)) {
            act(hb::Note{"restart", hb::Severity::info, "links, node or key changed: starting anew", {}});
            act(hb::Restart{});
            return;
        }
        setup_ = next;
        open_pings_.clear();
        keeper_.set_options(announce_settings(), setup_.settings.ping_nodes);
        core_->on_settings(machine_.now(), setup_.settings, actions_);
        act(hb::Note{"config-applied", hb::Severity::info, "another configuration is in force", {}});
        carry_out();
        if (wanted_) keeper_.set_target(target(), permit_);
    });
    request_turn();
}

bus::NodeStatus Daemon::status() const {
    bus::NodeStatus out;
    const Instant now = machine_.now();
    core_->fill_status(
        now,
        [](Instant at) {
            return static_cast<std::uint64_t>(std::chrono::duration_cast<milliseconds>(at.time_since_epoch()).count());
        },
        out);
    return out;
}

}  // namespace lbcluster::sim
