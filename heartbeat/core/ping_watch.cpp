#include "heartbeat/core/ping_watch.hpp"

#include <algorithm>

namespace lbcluster::heartbeat {

void PingWatch::start(Instant now, std::size_t nodes) {
    nodes_.assign(nodes, std::nullopt);
    started_ = now;
    changed_at_ = now;
}

void PingWatch::resize(std::size_t nodes) { nodes_.assign(nodes, last_reply_); }

void PingWatch::on_reply(Instant now, std::size_t index) {
    if (index >= nodes_.size()) return;
    nodes_[index] = now;
    last_reply_ = now;
}

void PingWatch::on_sent(Instant now) { last_sent_ = now; }

bool PingWatch::update(Instant now, Duration deadtime) {
    if (nodes_.empty()) return false;
    const bool reached = last_reply_ && now < *last_reply_ + deadtime;
    if (reached == reached_) return false;
    // The first answer ever is no comeback, unless there was time enough to expect one before.
    if (reached && known(now - 1ns, deadtime) && now >= started_ + deadtime) came_back_at_ = now;
    reached_ = reached;
    changed_at_ = now;
    return true;
}

bool PingWatch::reachable(std::size_t index, Instant now, Duration deadtime) const {
    return index < nodes_.size() && nodes_[index] && now < *nodes_[index] + deadtime;
}

bool PingWatch::known(Instant now, Duration deadtime) const {
    return nodes_.empty() || last_reply_ || now >= started_ + deadtime;
}

std::optional<Instant> PingWatch::lost_at(Duration deadtime) const {
    if (nodes_.empty() || !reached_) return std::nullopt;
    return *last_reply_ + deadtime;
}

Instant PingWatch::next_send(Duration keepalive, Duration deadtime, bool peer_late) const {
    if (!last_sent_) return started_;
    const bool unanswered = !last_reply_ || *last_reply_ < *last_sent_;
    const Duration pause = calm(deadtime);
    return *last_sent_ + (peer_late || unanswered ? std::min(keepalive, pause) : pause);
}

}  // namespace lbcluster::heartbeat
