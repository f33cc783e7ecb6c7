#include "sim/faults/faults.hpp"

#include <algorithm>

namespace lbcluster::sim {

namespace {

constexpr Duration reboot_default = 20s;

RuleKind rule_of(FaultKind kind) {
    switch (kind) {
        case FAULT_KIND_LOSS:
            return RuleKind::loss;
        case FAULT_KIND_BURST_LOSS:
            return RuleKind::burst_loss;
        case FAULT_KIND_DELAY:
            return RuleKind::delay;
        case FAULT_KIND_JITTER:
            return RuleKind::jitter;
        case FAULT_KIND_DUPLICATE:
            return RuleKind::duplicate;
        case FAULT_KIND_REORDER:
            return RuleKind::reorder;
        case FAULT_KIND_CORRUPT:
            return RuleKind::corrupt;
        case FAULT_KIND_FILTER_ANNOUNCEMENTS:
            return RuleKind::filter_announcements;
        case FAULT_KIND_FILTER_ARP:
            return RuleKind::filter_arp;
        default:
            return RuleKind::cut;
    }
}

}  // namespace

bool is_forged_traffic(FaultKind kind) { return kind >= FAULT_KIND_REPLAY && kind <= FAULT_KIND_MISDIRECT; }
bool is_network_fault(FaultKind kind) { return kind >= FAULT_KIND_CUT && kind <= FAULT_KIND_FILTER_ARP; }

Faults::Faults(World& world, const std::vector<FaultPlan>& plans) : world_(world), random_(world.seed(), "faults") {
    for (const FaultPlan& plan : plans) {
        faults_.push_back(std::make_unique<Running>());
        faults_.back()->plan = &plan;
        if (!is_forged_traffic(plan.fault.fault())) continue;
        for (const auto& node : world.nodes()) node->keep_records(true);
    }
}

void Faults::start() {
    for (const auto& fault : faults_) schedule(*fault);
}

void Faults::schedule(Running& fault) {
    const FaultPlan& plan = *fault.plan;
    if (plan.fault.has_on()) {
        after(plan.at,
              [this, &fault] { blink(fault, fault.plan->end ? beginning + *fault.plan->end : Instant::max()); });
        return;
    }
    after(plan.at, [this, &fault] { begin(fault); });
    if (plan.end) after(*plan.end, [this, &fault] { end(fault); });
}

void Faults::blink(Running& fault, Instant until) {
    if (world_now() >= until) {
        if (fault.on) end(fault);
        return;
    }
    if (fault.on) end(fault);
    else begin(fault);
    Duration wait = to_duration(fault.on ? fault.plan->fault.on() : fault.plan->fault.off());
    if (until != Instant::max()) wait = std::min(wait, until - world_now());
    after(wait, [this, &fault, until] { blink(fault, until); });
}

void Faults::begin(Running& fault) {
    if (fault.on) return;
    fault.on = true;
    ++active_;
    world_.observer().on_fault(*fault.plan, true);
    begin_machine(fault);
    begin_network(fault);
    begin_host(fault);
    if (is_forged_traffic(fault.plan->fault.fault())) forge(fault, ++fault.round);
    world_.observer().on_change();
}

void Faults::end(Running& fault) {
    if (!fault.on) return;
    fault.on = false;
    --active_;
    ++fault.round;
    end_machine(fault);
    end_network(fault);
    end_host(fault);
    world_.observer().on_fault(*fault.plan, false);
    world_.observer().on_change();
}

// ---- machines and daemons ----

void Faults::begin_machine(Running& running) {
    const Fault& fault = running.plan->fault;
    const Duration delay = to_duration(fault.delay());
    if (fault.fault() == FAULT_KIND_RELOAD) {
        for (std::size_t i = 0; i < world_.nodes().size(); ++i) {
            Node& one = *world_.nodes()[i];
            if (!fault.has_node() || fault.node() == one.name()) one.reload(running.plan->reload.at(i));
        }
        return;
    }
    Node* node = world_.node(fault.node());
    if (node == nullptr) return;
    const auto command = [&](heartbeat::CommandKind kind) {
        if (node->daemon() != nullptr) node->daemon()->command(kind, fault.force());
    };
    switch (fault.fault()) {
        case FAULT_KIND_CRASH:
            return node->power_off();
        case FAULT_KIND_REBOOT:
            node->shut_down();
            if (!running.plan->end && !fault.has_on()) after(reboot_default, [this, &running] { end(running); });
            return;
        case FAULT_KIND_PAUSE:
            return node->pause();
        case FAULT_KIND_BOOT:
            return node->power_on(false);
        case FAULT_KIND_KILL:
            return node->kill_daemon();
        case FAULT_KIND_STOP:
            return node->stop_daemon();
        case FAULT_KIND_TERMINATE:
            if (node->daemon() != nullptr) node->daemon()->terminate();
            return;
        case FAULT_KIND_START:
            return node->start_daemon();
        case FAULT_KIND_STARVE:
            return node->starve(delay);
        case FAULT_KIND_CLOCK_DRIFT:
            return node->machine().set_drift(fault.percent() / 100);
        case FAULT_KIND_SLOW_ADDRESSES:
            return node->set_slow(delay);
        case FAULT_KIND_FAIL_TO_ADD:
            return node->machine().refuse_addresses(true);
        case FAULT_KIND_DISK_FULL:
            return node->disk_full(true);
        case FAULT_KIND_REMOVE_ADDRESS:
            for (const auto& ip : node->setup().settings.floating_ips) node->machine().remove_address(ip.address);
            return;
        case FAULT_KIND_ACTIVATE:
            return command(heartbeat::CommandKind::activate);
        case FAULT_KIND_STANDBY:
            return command(heartbeat::CommandKind::standby);
        case FAULT_KIND_UNSTANDBY:
            return command(heartbeat::CommandKind::unstandby);
        case FAULT_KIND_RESTART:
            return command(heartbeat::CommandKind::restart);
        default:
            return;
    }
}

void Faults::end_machine(Running& running) {
    const Fault& fault = running.plan->fault;
    Node* node = world_.node(fault.node());
    if (node == nullptr) return;
    switch (fault.fault()) {
        case FAULT_KIND_CRASH:
        case FAULT_KIND_REBOOT:
            return node->power_on(false);
        case FAULT_KIND_PAUSE:
            return node->resume();
        case FAULT_KIND_KILL:
        case FAULT_KIND_TERMINATE:
            return node->start_daemon();
        case FAULT_KIND_STOP:
            return node->continue_daemon();
        case FAULT_KIND_STARVE:
            return node->starve(Duration{0});
        case FAULT_KIND_CLOCK_DRIFT:
            return node->machine().set_drift(0);
        case FAULT_KIND_SLOW_ADDRESSES:
            return node->set_slow(Duration{0});
        case FAULT_KIND_FAIL_TO_ADD:
            return node->machine().refuse_addresses(false);
        case FAULT_KIND_DISK_FULL:
            return node->disk_full(false);
        default:
            return;
    }
}

// ---- the network ----

std::vector<Network*> Faults::networks_of(const Fault& fault) const {
    std::vector<Network*> out;
    for (const auto& network : world_.networks()) {
        if (!fault.has_network() || fault.network() == network->name()) out.push_back(network.get());
    }
    return out;
}

void Faults::begin_network(Running& running) {
    const Fault& fault = running.plan->fault;
    if (fault.fault() == FAULT_KIND_SWITCH_DOWN) {
        for (Network* network : networks_of(fault)) network->switch_down();
    } else if (fault.fault() == FAULT_KIND_CABLE) {
        for (const auto& port : world_.network(fault.network())->ports()) {
            if (port->owner() == fault.node()) port->unplug();
        }
    } else if (is_network_fault(fault.fault())) {
        Rule rule;
        rule.kind = rule_of(fault.fault());
        rule.from = fault.from();
        rule.to = fault.to();
        rule.probability = fault.has_percent() ? fault.percent() / 100 : 1;
        rule.delay = to_duration(fault.delay());
        for (Network* network : networks_of(fault)) running.rules.emplace_back(network, &network->add(rule));
        const bool serial = world_.serial() != nullptr && (!fault.has_network() || fault.network() == "serial");
        if (serial) running.serial_rule = &world_.serial()->add(rule);
    }
}

void Faults::end_network(Running& running) {
    const Fault& fault = running.plan->fault;
    if (fault.fault() == FAULT_KIND_SWITCH_DOWN) {
        for (Network* network : networks_of(fault)) network->switch_up();
    } else if (fault.fault() == FAULT_KIND_CABLE) {
        for (const auto& port : world_.network(fault.network())->ports()) {
            if (port->owner() == fault.node()) port->plug();
        }
    }
    for (const auto& [network, rule] : running.rules) network->remove(*rule);
    running.rules.clear();
    if (running.serial_rule != nullptr) world_.serial()->remove(*running.serial_rule);
    running.serial_rule = nullptr;
}

// ---- hosts ----

void Faults::begin_host(Running& running) {
    const Fault& fault = running.plan->fault;
    Machine* host = world_.machine(fault.host());
    if (host == nullptr) return;
    if (fault.fault() == FAULT_KIND_HOST_DOWN) host->power_off();
    if (fault.fault() != FAULT_KIND_STRANGER || host->interfaces().empty()) return;
    const auto& ips = world_.nodes().front()->setup().settings.floating_ips;
    if (ips.empty()) return;
    const IpAddress& ip = ips.front().address.address;
    const MacAddress& mac = host->interfaces().front().port->mac();
    host->add_address(0, ips.front().address, std::nullopt);
    host->send_frame(0,
                     ip.is_v4() ? net::gratuitous_arp(mac, ip, net::ArpForm::request) : net::unsolicited_na(mac, ip));
}

void Faults::end_host(Running& running) {
    const Fault& fault = running.plan->fault;
    Machine* host = world_.machine(fault.host());
    if (host == nullptr) return;
    if (fault.fault() == FAULT_KIND_HOST_DOWN) host->power_on();
    if (fault.fault() != FAULT_KIND_STRANGER) return;
    const auto& ips = world_.nodes().front()->setup().settings.floating_ips;
    if (!ips.empty()) host->remove_address(ips.front().address);
}

// ---- forged traffic ----

void Faults::forge(Running& fault, std::uint64_t round) {
    if (fault.round != round) return;
    if (Node* target = world_.node(fault.plan->fault.node())) forge_one(fault.plan->fault, *target);
    const Duration pause = Duration{1s} / std::max(1U, fault.plan->fault.rate());
    after(pause / 2 + random_.upto(pause), [this, &fault, round] { forge(fault, round); });
}

void Faults::forge_one(const Fault& fault, Node& target) {
    Node* peer = world_.peer(target);
    if (peer == nullptr || target.daemon() == nullptr || !target.machine().works()) return;
    // Replayed is what the target has got before; the rest is made from what was said just now.
    const auto& source = fault.fault() == FAULT_KIND_REPLAY    ? target.received()
                         : fault.fault() == FAULT_KIND_REFLECT ? target.sent()
                                                               : peer->sent();
    if (source.empty()) return;
    constexpr std::uint64_t fresh = 20;
    const bool any = fault.fault() == FAULT_KIND_REPLAY || fault.fault() == FAULT_KIND_REFLECT;
    const std::uint64_t back = random_.below(any ? source.size() : std::min<std::uint64_t>(source.size(), fresh));
    Node::Recorded datagram = source[source.size() - 1 - back];
    Bytes& bytes = datagram.datagram;
    switch (fault.fault()) {
        case FAULT_KIND_FORGE: {
            SimulatedTag wrong(peer->name(), target.setup().settings.cluster_id, random_.next());
            heartbeat::Heartbeat message;
            message.set_boot_id(random_.next());
            message.set_sequence(random_.next());
            message.set_activity(heartbeat::ACTIVITY_ACTIVE);
            message.mutable_claim()->set_term(random_.next());
            heartbeat::stamp(message, peer->name(), wrong);
            std::array<std::uint8_t, heartbeat::datagram_bytes_max> buffer{};
            const auto size = heartbeat::encode(message, peer->name(), wrong, buffer);
            if (!size) return;
            // With the right key id: only the tag can tell.
            std::copy_n(bytes.begin() + 4, 4, buffer.begin() + 4);
            bytes.assign(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*size));
            break;
        }
        case FAULT_KIND_FLIP: {
            const std::uint64_t bit = random_.below(bytes.size() * 8);
            bytes[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
            break;
        }
        case FAULT_KIND_MISDIRECT:
            if (random_.chance(0.5)) {
                bytes.resize(random_.below(bytes.size()));
            } else {
                // What the target itself said to its peer is authentic, but for somebody else.
                if (target.sent().empty()) return;
                bytes = target.sent()[random_.below(target.sent().size())].datagram;
            }
            break;
        default:
            break;
    }
    if (datagram.link < target.setup().links.size()) target.daemon()->inject(datagram.link, bytes);
}

}  // namespace lbcluster::sim
