#include "heartbeat/core/conflict_check.hpp"

#include <algorithm>
#include <utility>

namespace lbcluster::heartbeat {

void ConflictCheck::set_addresses(const std::vector<FloatingIp>& addresses) {
    const auto before = std::exchange(known_, {});
    for (const FloatingIp& ip : addresses) known_.emplace(ip.address.address, ip.interface);
    std::erase_if(open_, [&](const auto& entry) {
        const auto found = known_.find(entry.first);
        return found == known_.end() || found->second != entry.second.interface;
    });
    for (const auto& [address, interface] : known_) {
        const auto found = before.find(address);
        if (found == before.end() || found->second != interface) open_[address] = Check{.interface = interface};
    }
}

void ConflictCheck::trust_all(bool refused_too) {
    std::erase_if(open_, [&](const auto& entry) { return refused_too || !entry.second.stranger; });
}

void ConflictCheck::forgive(const std::function<bool(const MacAddress&)>& is_peer) {
    for (auto& [address, check] : open_) {
        if (check.stranger && is_peer(*check.stranger)) check = Check{.interface = check.interface};
    }
}

std::vector<IpAddress> ConflictCheck::ask(Instant now, const std::function<bool(const std::string&)>& can_ask,
                                          std::optional<Instant>& next) {
    std::vector<IpAddress> out;
    next.reset();
    const std::size_t room = now >= next_burst_ ? burst : 0;
    for (auto entry = open_.begin(); entry != open_.end();) {
        Check& check = entry->second;
        if (!can_ask(check.interface)) {
            check.asked = false;  // whether it arrived is not known
            check.silences = 0;
            ++entry;
            continue;
        }
        if (now >= check.next) {
            if (check.asked && check.silences + 1 >= requests) {
                entry = open_.erase(entry);
                continue;
            }
            if (out.size() < room) {
                out.push_back(entry->first);
                check.silences += check.asked ? 1U : 0U;
                check.asked = true;
                check.next = now + pace;
            }
        }
        if (!next || check.next < *next) next = check.next;
        ++entry;
    }
    if (!out.empty()) next_burst_ = now + burst_gap;
    if (next) next = std::max(*next, next_burst_);
    return out;
}

bool ConflictCheck::on_use(Instant now, const IpAddress& address, const MacAddress& mac) {
    const auto found = open_.find(address);
    if (found == open_.end()) return false;
    Check& check = found->second;
    check.stranger = mac;
    check.asked = false;
    check.silences = 0;
    check.next = now + refused_pace;
    return true;
}

bool ConflictCheck::asking() const {
    return std::any_of(open_.begin(), open_.end(),
                       [](const auto& entry) { return entry.second.asked && !entry.second.stranger; });
}

std::vector<IpAddress> ConflictCheck::held_back() const {
    std::vector<IpAddress> out;
    out.reserve(open_.size());
    for (const auto& [address, check] : open_) out.push_back(address);
    return out;
}

std::map<IpAddress, MacAddress> ConflictCheck::refused() const {
    std::map<IpAddress, MacAddress> out;
    for (const auto& [address, check] : open_) {
        if (check.stranger) out.emplace(address, *check.stranger);
    }
    return out;
}

}  // namespace lbcluster::heartbeat
