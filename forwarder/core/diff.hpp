// From what the kernel has to what is wanted, in an order in which no traffic is without its healthy servers meanwhile.
// Pure.
//
//   before   new services, changed settings, new destinations, weights that rise from 0
//   (here the firewall rules change, all at once)
//   after    what is left to change in destinations, those that go, services that go
//
// So whoever asks for an address and port that was served and will be finds, at each step, at least the servers that
// were there or those that will be. Steps are idempotent in effect: whatever was left undone is found again by the next
// comparison.
#pragma once

#include <set>
#include <span>
#include <vector>

#include "forwarder/core/types.hpp"

namespace lbcluster::forward {

struct Step {
    enum class Kind : std::uint8_t {
        add_service,
        set_service,
        add_destination,
        set_destination,
        delete_destination,
        delete_service,
    };
    Kind kind = Kind::add_service;
    ServiceKey service;
    ServiceSettings settings;  // add_service, set_service
    Destination destination;   // *_destination
    bool operator==(const Step&) const = default;
    // "add destination 10.0.0.1 port 80 (direct, weight 100) to tcp 10.0.0.9 80"
    [[nodiscard]] std::string to_string() const;
};

struct Steps {
    std::vector<Step> before;
    std::vector<Step> after;
    [[nodiscard]] bool empty() const { return before.empty() && after.empty(); }
    [[nodiscard]] std::size_t size() const { return before.size() + after.size(); }
};

// Of services that are not in `desired`, only those in `ours` go.
Steps diff(const Table& actual, const Table& desired, const std::set<ServiceKey>& ours);
// Of one service that is in both.
void diff_service(const ServiceKey& key, const Service& actual, const Service& desired, Steps& out);
// As the kernel does it; for keeping a picture of the kernel up to date.
void apply(const Step& step, Table& table);

}  // namespace lbcluster::forward
