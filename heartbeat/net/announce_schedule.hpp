// When which floating IP is announced. Pure: time in, list out.
//
// An address that starts is announced at once (first round, never held back), then again after 100 ms, 500 ms, 2 s
// and 7 s, then once per `refresh` for ever, as a switch or router may lose what it learnt. All but the first round
// share a token bucket counted in packets. Rounds that came due while an address waited for tokens become one.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "lbcluster/base/address.hpp"
#include "lbcluster/base/time.hpp"

namespace lbcluster::heartbeat {

class AnnounceSchedule {
  public:
    struct Settings {
        std::size_t packets_per_second = 800;
        Duration refresh = 60s;
    };
    struct Due {
        IpAddress ip;
        // Also ask a ping node by ARP from this address, which renews the router's cache. Left out in a big first
        // round, which must be short.
        bool ask_neighbor = false;
    };

    explicit AnnounceSchedule(Settings settings) : settings_(settings) {}

    void set_settings(Settings settings) { settings_ = settings; }
    // Announce at once and repeat; restarts the rounds if it was known. `paced`: it begins with the first repeat, which
    // waits for tokens; one that is due and waits already keeps its place.
    void start(Instant now, const IpAddress& ip, bool paced = false);
    void stop(const IpAddress& ip);
    void clear();
    [[nodiscard]] bool empty() const { return entries_.empty(); }

    // At most `addresses_max` that are due and paid for.
    std::vector<Due> take(Instant now, std::size_t addresses_max);
    // When take() has something to give, Instant::max() if never.
    [[nodiscard]] Instant next() const;

  private:
    struct Entry {
        Instant start;
        std::size_t round = 0;
        Instant due;
    };
    [[nodiscard]] std::size_t burst() const;
    void refill(Instant now);
    void advance(Instant now, const IpAddress& ip, Entry& entry);

    Settings settings_;
    std::map<IpAddress, Entry> entries_;
    std::set<std::pair<Instant, IpAddress>> first_;    // never waits for tokens
    std::set<std::pair<Instant, IpAddress>> repeats_;  // in order of due
    bool started_ = false;
    Instant refilled_{};
    double tokens_ = 0;
};

}  // namespace lbcluster::heartbeat
