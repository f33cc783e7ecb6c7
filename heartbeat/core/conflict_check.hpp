// Is a floating IP in use by a machine outside the pair? Asked before the pair holds an address for the first time,
// as far as this process knows (RFC 5227 2.1.1: three probes). An address that a stranger answered for is
// refused: it is not added, it is asked for again every 10 s and free after three silences in a row. What the pair
// has held before is trusted and never refused: in a take-over the service comes first. Pure.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "heartbeat/core/types.hpp"

namespace lbcluster::heartbeat {

class ConflictCheck {
  public:
    static constexpr unsigned requests = 3;       // RFC 5227 1.1 PROBE_NUM
    static constexpr Duration pace{100ms};        // between them; its 1 to 2 s would delay a start for too long
    static constexpr Duration refused_pace{10s};  // between the questions for a refused address

    // A thousand questions at once would hold the thread of the heartbeats for 25 ms, and flood the network.
    static constexpr std::size_t burst = 32;
    static constexpr Duration burst_gap{3ms};

    // New ones are to be checked; what left the list is forgotten.
    void set_addresses(const std::vector<FloatingIp>& addresses);
    // The pair holds or held them. `refused_too`: the refused ones as well.
    void trust_all(bool refused_too);
    // A refusal by that machine was a mistake: it is the peer.
    void forgive(const std::function<bool(const MacAddress&)>& is_peer);

    // Addresses to ask for now; `can_ask` tells whether an interface has carrier. `next`: when there is more to do.
    std::vector<IpAddress> ask(Instant now, const std::function<bool(const std::string&)>& can_ask,
                               std::optional<Instant>& next);
    // A machine outside the pair answered or spoke up. True if the address is refused for it.
    bool on_use(Instant now, const IpAddress& address, const MacAddress& mac);

    // A request is out for an address that is not refused.
    [[nodiscard]] bool asking() const;
    // Not to be added: refused, or not checked yet. In order.
    [[nodiscard]] std::vector<IpAddress> held_back() const;
    // Refused, and who uses them.
    [[nodiscard]] std::map<IpAddress, MacAddress> refused() const;

  private:
    struct Check {
        std::string interface;
        bool asked = false;     // a request is out
        unsigned silences = 0;  // in a row
        Instant next{};
        std::optional<MacAddress> stranger;
    };
    std::map<IpAddress, std::string> known_;  // all, with their interfaces
    std::map<IpAddress, Check> open_;         // those that are not trusted
    Instant next_burst_{};
};

}  // namespace lbcluster::heartbeat
