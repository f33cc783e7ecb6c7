#include "healthd/core/schedule.hpp"

#include <algorithm>

namespace lbcluster::health {

void Agenda::put(std::size_t place, Entry entry) {
    heap_[place] = entry;
    place_[entry.id] = static_cast<std::uint32_t>(place);
}

void Agenda::up(std::size_t place, Entry entry) {
    while (place > 0) {
        const std::size_t parent = (place - 1) / 2;
        if (heap_[parent].at <= entry.at) break;
        put(place, heap_[parent]);
        place = parent;
    }
    put(place, entry);
}

void Agenda::down(std::size_t place, Entry entry) {
    for (;;) {
        std::size_t child = 2 * place + 1;
        if (child >= heap_.size()) break;
        if (child + 1 < heap_.size() && heap_[child + 1].at < heap_[child].at) ++child;
        if (entry.at <= heap_[child].at) break;
        put(place, heap_[child]);
        place = child;
    }
    put(place, entry);
}

void Agenda::set(Id id, Instant at) {
    if (id >= place_.size()) place_.resize(id + 1, nowhere);
    const Entry entry{at, id};
    if (place_[id] == nowhere) {
        heap_.push_back(entry);
        return up(heap_.size() - 1, entry);
    }
    const std::size_t place = place_[id];
    if (at < heap_[place].at) up(place, entry);
    else down(place, entry);
}

void Agenda::erase(Id id) {
    if (id >= place_.size() || place_[id] == nowhere) return;
    const std::size_t place = place_[id];
    place_[id] = nowhere;
    const Entry last = heap_.back();
    heap_.pop_back();
    if (last.id == id) return;
    if (place > 0 && last.at < heap_[(place - 1) / 2].at) up(place, last);
    else down(place, last);
}

std::size_t Spread::bin_of(Instant at) { return static_cast<std::size_t>(at.time_since_epoch() / 1ms) % bins; }

unsigned Spread::load_around(Instant at) const {
    constexpr std::size_t reach = 2;
    const std::size_t middle = bin_of(at) + bins;
    unsigned load = 0;
    for (std::size_t bin = middle - reach; bin <= middle + reach; ++bin) load += load_[bin % bins];
    return load;
}

Instant Spread::choose(Instant from, Duration width) {
    Instant best = from;
    unsigned best_load = UINT32_MAX;
    for (int i = 0; i < tries && best_load > 0; ++i) {
        const auto range = static_cast<std::uint64_t>(std::max<Duration>(width, Duration{0}).count()) + 1;
        const Instant at = from + Duration{static_cast<Duration::rep>(random_() % range)};
        const unsigned load = load_around(at);
        if (load >= best_load) continue;
        best = at;
        best_load = load;
    }
    std::uint16_t& load = load_[bin_of(best)];
    if (load < UINT16_MAX) ++load;
    return best;
}

void Spread::take_back(Instant chosen) {
    std::uint16_t& load = load_[bin_of(chosen)];
    if (load > 0) --load;
}

std::uint64_t hash_of(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    // FNV's high bits barely depend on the last bytes: mixed as in splitmix64.
    hash = (hash ^ (hash >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    hash = (hash ^ (hash >> 27U)) * 0x94d049bb133111ebULL;
    return hash ^ (hash >> 31U);
}

double phase_of(std::string_view text) {
    return static_cast<double>(hash_of(text) >> 11U) / static_cast<double>(1ULL << 53U);
}

}  // namespace lbcluster::health
