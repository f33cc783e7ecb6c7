#include "sim/run/service_watch.hpp"

#include <algorithm>

namespace lbcluster::sim {

void ServiceWatch::watch(World& world) {
    world_ = &world;
    for (const World::Client& client : world.clients()) views_.emplace_back(client.asks.size());
}

void ServiceWatch::on_change() {
    const Duration now = elapsed();
    for (std::size_t c = 0; c < views_.size(); ++c) {
        const World::Client& client = world_->clients()[c];
        for (std::size_t a = 0; a < views_[c].size(); ++a) {
            View& view = views_[c][a];
            const int by = world_->answered_by(client, client.asks[a]);
            if (by < 0 && view.answered_by >= 0) view.lost_at = now;
            if (by >= 0 && view.answered_by < 0 && view.ever && now > view.lost_at) {
                gaps_.push_back({client.machine->name(), client.asks[a], {view.lost_at, now}});
            }
            view.ever = view.ever || by >= 0;
            view.answered_by = by;
        }
    }
    const auto names = serving();
    const bool both = names.size() > 1;
    if (both && !both_now_) both_since_ = now;
    if (!both && both_now_) both_.push_back({both_since_, now});
    both_now_ = both;
    if (names.size() != 1 || names.front() == holder_) return;
    if (!holder_.empty()) moves_.push_back({now, names.front()});
    holder_ = names.front();
}

void ServiceWatch::finish() {
    const Duration now = elapsed();
    for (std::size_t c = 0; c < views_.size(); ++c) {
        for (std::size_t a = 0; a < views_[c].size(); ++a) {
            const View& view = views_[c][a];
            const World::Client& client = world_->clients()[c];
            if (view.ever && view.answered_by < 0) {
                gaps_.push_back({client.machine->name(), client.asks[a], {view.lost_at, now}});
            }
        }
    }
    if (both_now_) both_.push_back({both_since_, now});
}

Duration ServiceWatch::longest_gap(Duration from, Duration to) const {
    Duration longest{0};
    for (const Gap& gap : gaps_) {
        longest = std::max(longest, std::min(gap.when.to, to) - std::max(gap.when.from, from));
    }
    return longest;
}

Duration ServiceWatch::longest_both(Duration from, Duration to) const {
    Duration longest{0};
    for (const Stretch& one : both_) longest = std::max(longest, std::min(one.to, to) - std::max(one.from, from));
    return longest;
}

std::size_t ServiceWatch::moves(Duration from, Duration to) const {
    return static_cast<std::size_t>(std::count_if(moves_.begin(), moves_.end(),
                                                  [&](const Move& move) { return move.at >= from && move.at <= to; }));
}

std::vector<std::string> ServiceWatch::serving() const {
    std::vector<std::string> out;
    for (const auto& node : world_->nodes()) {
        if (node->serves()) out.push_back(node->name());
    }
    return out;
}

bool ServiceWatch::serves_all(const std::string& name) const {
    const Node* node = world_->node(name);
    const auto& ips = node->setup().settings.floating_ips;
    return !ips.empty() && std::all_of(ips.begin(), ips.end(),
                                       [&](const auto& ip) { return node->machine().answers(ip.address.address); });
}

bool ServiceWatch::all_clients_reach(const std::string& name) const {
    for (std::size_t c = 0; c < views_.size(); ++c) {
        const World::Client& client = world_->clients()[c];
        for (const IpAddress& address : client.asks) {
            const int by = world_->answered_by(client, address);
            if (by < 0 || world_->nodes()[static_cast<std::size_t>(by)]->name() != name) return false;
        }
    }
    return true;
}

}  // namespace lbcluster::sim
