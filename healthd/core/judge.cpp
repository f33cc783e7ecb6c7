#include "healthd/core/judge.hpp"

#include "lbcluster/base/assert.hpp"

namespace lbcluster::health {

std::string_view word_of(Health health) {
    switch (health) {
        case Health::up:
            return "up";
        case Health::down:
            return "down";
        case Health::standby:
            return "standby";
        case Health::unknown:
            break;
    }
    return "unknown";
}

Health health_of(std::string_view word) {
    for (const Health health : {Health::up, Health::down, Health::standby}) {
        if (word == word_of(health)) return health;
    }
    return Health::unknown;
}

bool Judge::on_finding(Finding finding, unsigned fall, unsigned rise) {
    LBC_ASSERT(finding != Finding::unusable);
    const Health seen = finding == Finding::up        ? Health::up
                        : finding == Finding::standby ? Health::standby
                                                      : Health::down;
    const bool first = health_ == Health::unknown;
    const bool against = (seen == Health::down) != (health_ == Health::down);
    if (!first && against && ++doubts_ < (seen == Health::down ? fall : rise)) return false;
    doubts_ = 0;
    if (seen == health_) return false;
    health_ = seen;
    alone_ = first;
    return true;
}

void Judge::forgive() {
    if (health_ != Health::down) doubts_ = 0;
}

std::string Judge::count(unsigned fall, unsigned rise) const {
    if (doubts_ > 0) return std::to_string(doubts_) + " of " + std::to_string(health_ == Health::down ? rise : fall);
    if (health_ != Health::down) return "";
    return alone_ ? "first probe" : std::to_string(fall) + " of " + std::to_string(fall);
}

}  // namespace lbcluster::health
