// Is this node cut off itself? `reached` while at least one ping node answered within the last deadtime.
// Echoes go out every min(1 s, deadtime / 3), and every keepalive while the peer is late or an echo is
// unanswered. A ping node tells "you are cut off", never "the other one is dead". Pure.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "heartbeat/core/types.hpp"

namespace lbcluster::heartbeat {

class PingWatch {
  public:
    void start(Instant now, std::size_t nodes);
    void resize(std::size_t nodes);  // configuration changed
    void on_reply(Instant now, std::size_t index);
    void on_sent(Instant now);

    // Brings reached() up to date; true if it changed.
    bool update(Instant now, Duration deadtime);

    [[nodiscard]] bool configured() const { return !nodes_.empty(); }
    [[nodiscard]] bool reached() const { return nodes_.empty() || reached_; }
    [[nodiscard]] bool reachable(std::size_t index, Instant now, Duration deadtime) const;
    // An answer came, or there was time enough for one.
    [[nodiscard]] bool known(Instant now, Duration deadtime) const;
    [[nodiscard]] bool ever_reached() const { return last_reply_.has_value(); }
    [[nodiscard]] std::optional<Instant> last_reply() const { return last_reply_; }
    [[nodiscard]] std::optional<Instant> last_reply(std::size_t index) const {
        return index < nodes_.size() ? nodes_[index] : std::nullopt;
    }
    // The pause between two echoes while all is well.
    [[nodiscard]] static Duration calm(Duration deadtime) { return std::min<Duration>(1s, deadtime / 3); }
    // Since when reached() is as it is.
    [[nodiscard]] Instant changed_at() const { return changed_at_; }
    // When reached() came back after it was lost once. Empty: it was never lost.
    [[nodiscard]] std::optional<Instant> came_back_at() const { return came_back_at_; }
    // When reached() turns false if nothing answers any more. Empty: it is false.
    [[nodiscard]] std::optional<Instant> lost_at(Duration deadtime) const;
    [[nodiscard]] Instant next_send(Duration keepalive, Duration deadtime, bool peer_late) const;

  private:
    std::vector<std::optional<Instant>> nodes_;  // last answer of each
    std::optional<Instant> last_reply_;
    std::optional<Instant> last_sent_;
    std::optional<Instant> came_back_at_;
    Instant started_{};
    Instant changed_at_{};
    bool reached_ = false;
};

}  // namespace lbcluster::heartbeat
