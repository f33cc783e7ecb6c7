#include "replicator/core/views.hpp"

namespace lbcluster::replicator {

namespace {

bool is_verdict(const std::string& health) { return health == "up" || health == "down" || health == "standby"; }

}  // namespace

void Views::set_own(Instant now, const std::string& server, const std::string& health) {
    views_[server].own = health;
    judge(now, server);
}

void Views::set_peer(Instant now, const std::string& server, const std::string& health) {
    views_[server].peer = health;
    judge(now, server);
}

void Views::forget_peer() {
    for (auto& [server, view] : views_) {
        view.peer.clear();
        view.since.reset();
    }
    std::erase_if(views_, [](const auto& one) { return one.second.own.empty(); });
}

void Views::judge(Instant now, const std::string& server) {
    const auto found = views_.find(server);
    View& view = found->second;
    if (view.own.empty() && view.peer.empty()) {
        views_.erase(found);
        return;
    }
    const bool differ = is_verdict(view.own) && is_verdict(view.peer) && view.own != view.peer;
    if (!differ) view.since.reset();
    else if (!view.since) view.since = now;
}

std::vector<Difference> Views::differing(Instant now, Duration patience) const {
    std::vector<Difference> out;
    for (const auto& [server, view] : views_) {
        if (view.since && now - *view.since >= patience) out.push_back({server, view.own, view.peer});
    }
    return out;
}

}  // namespace lbcluster::replicator
