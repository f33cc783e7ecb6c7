#include "heartbeat/net/announce_schedule.hpp"

#include <algorithm>
#include <array>

namespace lbcluster::heartbeat {
namespace {

constexpr std::array<Duration, 5> rounds{0ms, 100ms, 500ms, 2s, 7s};

// Gratuitous ARP in both forms, and a request to a ping node; IPv6 needs one advertisement.
std::size_t packets(const IpAddress& ip) { return ip.is_v4() ? 3 : 1; }

}  // namespace

std::size_t AnnounceSchedule::burst() const { return std::max<std::size_t>(settings_.packets_per_second / 8, 3); }

void AnnounceSchedule::refill(Instant now) {
    const auto most = static_cast<double>(burst());
    if (!started_) {
        started_ = true;
        tokens_ = most;
    } else if (now > refilled_) {
        const double passed = std::chrono::duration<double>(now - refilled_).count();
        tokens_ = std::min(most, tokens_ + passed * static_cast<double>(settings_.packets_per_second));
    }
    refilled_ = std::max(refilled_, now);
}

void AnnounceSchedule::start(Instant now, const IpAddress& ip, bool paced) {
    const auto known = entries_.find(ip);
    if (paced && known != entries_.end() && known->second.due <= now) return;
    stop(ip);
    entries_[ip] = Entry{now, paced ? 1U : 0U, now};
    (paced ? repeats_ : first_).emplace(now, ip);
}

void AnnounceSchedule::stop(const IpAddress& ip) {
    const auto it = entries_.find(ip);
    if (it == entries_.end()) return;
    first_.erase({it->second.due, ip});
    repeats_.erase({it->second.due, ip});
    entries_.erase(it);
}

void AnnounceSchedule::clear() {
    entries_.clear();
    first_.clear();
    repeats_.clear();
}

void AnnounceSchedule::advance(Instant now, const IpAddress& ip, Entry& entry) {
    do {
        ++entry.round;
        entry.due = entry.round < rounds.size() ? entry.start + rounds.at(entry.round) : now + settings_.refresh;
    } while (entry.due <= now && entry.round < rounds.size());
    repeats_.emplace(entry.due, ip);
}

std::vector<AnnounceSchedule::Due> AnnounceSchedule::take(Instant now, std::size_t addresses_max) {
    refill(now);
    std::vector<Due> out;
    while (out.size() < addresses_max && !first_.empty() && first_.begin()->first <= now) {
        const IpAddress ip = first_.begin()->second;
        first_.erase(first_.begin());
        const bool ask = ip.is_v4() && tokens_ >= 1;
        if (ask) tokens_ -= 1;
        out.push_back({ip, ask});
        advance(now, ip, entries_.at(ip));
    }
    while (out.size() < addresses_max && !repeats_.empty() && repeats_.begin()->first <= now) {
        const IpAddress ip = repeats_.begin()->second;
        const auto cost = static_cast<double>(packets(ip));
        if (tokens_ < cost) break;
        tokens_ -= cost;
        repeats_.erase(repeats_.begin());
        out.push_back({ip, ip.is_v4()});
        advance(now, ip, entries_.at(ip));
    }
    return out;
}

Instant AnnounceSchedule::next() const {
    Instant out = Instant::max();
    if (!first_.empty()) out = first_.begin()->first;
    if (!repeats_.empty()) {
        const double lacking = static_cast<double>(packets(repeats_.begin()->second)) - tokens_;
        Instant paid = refilled_;
        if (lacking > 0)
            paid += std::chrono::ceil<microseconds>(
                std::chrono::duration<double>(lacking / static_cast<double>(settings_.packets_per_second)));
        out = std::min(out, std::max(repeats_.begin()->first, paid));
    }
    return out;
}

}  // namespace lbcluster::heartbeat
