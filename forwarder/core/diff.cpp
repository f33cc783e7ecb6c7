#include "forwarder/core/diff.hpp"

#include <algorithm>

namespace lbcluster::forward {

namespace {

bool by_key(const Destination& a, const DestinationKey& key) { return a.key < key; }

}  // namespace

std::string Step::to_string() const {
    const auto server = [&] {
        return destination.key.address.to_string() +
               (destination.key.port == 0 ? "" : " port " + std::to_string(destination.key.port));
    };
    const auto how = [&] {
        return " (" + std::string(word_of(destination.forward)) + ", weight " + std::to_string(destination.weight) +
               ")";
    };
    switch (kind) {
        case Kind::add_service:
            return "add service " + service.to_string() + " (" + settings.scheduler + ")";
        case Kind::set_service:
            return "change service " + service.to_string() + " (" + settings.scheduler + ")";
        case Kind::add_destination:
            return "add destination " + server() + how() + " to " + service.to_string();
        case Kind::set_destination:
            return "change destination " + server() + how() + " of " + service.to_string();
        case Kind::delete_destination:
            return "remove destination " + server() + " of " + service.to_string();
        case Kind::delete_service:
            break;
    }
    return "remove service " + service.to_string();
}

void diff_service(const ServiceKey& key, const Service& actual, const Service& desired, Steps& out) {
    if (actual.settings != desired.settings) {
        out.before.push_back({Step::Kind::set_service, key, desired.settings, {}});
    }
    auto had = actual.destinations.begin();
    auto want = desired.destinations.begin();
    while (had != actual.destinations.end() || want != desired.destinations.end()) {
        if (want == desired.destinations.end() || (had != actual.destinations.end() && had->key < want->key)) {
            out.after.push_back({Step::Kind::delete_destination, key, {}, *had++});
        } else if (had == actual.destinations.end() || want->key < had->key) {
            out.before.push_back({Step::Kind::add_destination, key, {}, *want++});
        } else {
            const bool rises = had->weight == 0 && want->weight > 0;
            if (*had != *want)
                (rises ? out.before : out.after).push_back({Step::Kind::set_destination, key, {}, *want});
            ++had;
            ++want;
        }
    }
}

Steps diff(const Table& actual, const Table& desired, const std::set<ServiceKey>& ours) {
    Steps out;
    for (const auto& [key, service] : desired) {
        const auto had = actual.find(key);
        if (had != actual.end()) {
            diff_service(key, had->second, service, out);
            continue;
        }
        out.before.push_back({Step::Kind::add_service, key, service.settings, {}});
        for (const Destination& one : service.destinations) {
            out.before.push_back({Step::Kind::add_destination, key, {}, one});
        }
    }
    for (const auto& [key, service] : actual) {
        if (ours.contains(key) && !desired.contains(key))
            out.after.push_back({Step::Kind::delete_service, key, {}, {}});
    }
    return out;
}

void apply(const Step& step, Table& table) {
    if (step.kind == Step::Kind::delete_service) {
        table.erase(step.service);
        return;
    }
    if (step.kind == Step::Kind::add_service) {
        table.try_emplace(step.service).first->second.settings = step.settings;
        return;
    }
    const auto found = table.find(step.service);
    if (found == table.end()) return;
    Service& service = found->second;
    if (step.kind == Step::Kind::set_service) {
        service.settings = step.settings;
        return;
    }
    auto& list = service.destinations;
    const auto at = std::lower_bound(list.begin(), list.end(), step.destination.key, by_key);
    const bool there = at != list.end() && at->key == step.destination.key;
    if (step.kind == Step::Kind::delete_destination) {
        if (there) list.erase(at);
    } else if (there) {
        *at = step.destination;
    } else if (step.kind == Step::Kind::add_destination) {
        list.insert(at, step.destination);
    }
}

}  // namespace lbcluster::forward
