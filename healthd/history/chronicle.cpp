#include "healthd/history/chronicle.hpp"

#include <algorithm>
#include <utility>

namespace lbcluster::health {

// ---- what is known ----

void Chronicle::Subject::change(Instant at, std::uint64_t at_ms, const std::string& to) {
    if (now == to) return;
    now = to;
    if (changes++ == 0) first_change = at;
    changed = at;
    changed_ms = at_ms;
}

void Chronicle::Subject::tell(Instant at) {
    const bool restless = told_at && first_change - *told_at < pause_max;
    pause = restless ? std::clamp<Duration>(2 * pause, 1s, pause_max) : Duration{};
    told_at = at;
    forget();
}

void Chronicle::count(Service& service, const Server& server, bool add) {
    const auto apply = [add](std::size_t& number) { add ? ++number : --number; };
    apply(service.servers);
    if (!server.online) return;
    apply(service.online);
    if (server.health == "up") apply(service.up);
    else if (server.health == "standby") apply(service.standby);
    else if (server.health == "unknown") apply(service.unknown);
}

// Undecided, it stays what it was: nothing is known of some, or none is to serve by the operator's wish.
void Chronicle::judge(Instant now, std::uint64_t now_ms, Service& service) {
    if (service.up > 0) service.change(now, now_ms, "served");
    else if (service.online > 0 && service.unknown == 0) service.change(now, now_ms, "lost");
}

std::size_t Chronicle::unknown() const {
    return static_cast<std::size_t>(std::count_if(servers_.begin(), servers_.end(),
                                                  [](const auto& entry) { return entry.second.health == "unknown"; }));
}

void Chronicle::configure(Instant now, std::uint64_t now_ms, const std::string& node,
                          const std::vector<Member>& members) {
    node_ = node;
    const auto servers_before = std::exchange(servers_, {});
    const auto services_before = std::exchange(services_, {});
    for (const Member& member : members) {
        Key key{member.service, member.server};
        const auto known = servers_before.find(key);
        Server server = known == servers_before.end() ? Server{} : known->second;
        server.online = member.online;
        Service& service = services_[member.service];
        if (service.servers == 0) {
            const auto known_service = services_before.find(member.service);
            if (known_service != services_before.end()) {
                static_cast<Subject&>(service) = static_cast<const Subject&>(known_service->second);
            }
        }
        count(service, server, true);
        servers_.emplace(std::move(key), std::move(server));
    }
    for (auto& [label, service] : services_) judge(now, now_ms, service);
    std::erase_if(changed_, [&](const Key& key) { return !servers_.contains(key); });
}

void Chronicle::begin() {
    begun_ = true;
    for (auto& [key, server] : servers_) server.forget();
    for (auto& [label, service] : services_) service.forget();
    changed_.clear();
    looked_ = !servers_.empty() && unknown() == 0;
}

void Chronicle::on_server(Instant now, std::uint64_t now_ms, const bus::ServerHealth& health) {
    const auto found = servers_.find({health.service(), health.server()});
    if (found == servers_.end()) return;
    auto& [key, server] = *found;
    server.address = health.address();
    server.port = health.port();
    if (server.health == health.health()) return;
    Service& service = services_.at(key.first);
    count(service, server, false);
    server.health = health.health();
    count(service, server, true);
    judge(now, now_ms, service);
    if (server.health == "unknown") return;
    server.reason = health.reason();
    if (server.health == "down") server.fault = server.reason;
    server.change(now, now_ms, server.health);
    if (server.changes > 0) changed_.insert(key);
}

void Chronicle::on_holding(Instant now, std::uint64_t now_ms, const std::string& reason) {
    if (!reason.empty()) hold_reason_ = reason;
    holding_.change(now, now_ms, reason.empty() ? "free" : "held");
}

void Chronicle::on_excused(Instant now, std::uint64_t now_ms, std::uint64_t total, const std::string& why) {
    if (total == excused_total_) return;
    excused_total_ = total;
    excuse_ = why;
    excused_.change(now, now_ms, std::to_string(total));
}

void Chronicle::on_alarms(Instant now, std::uint64_t now_ms, const std::map<std::string, std::string>& alarms) {
    for (const auto& [id, text] : alarms) {
        Alarm& alarm = alarms_[id];
        alarm.text = text;
        alarm.change(now, now_ms, "on");
    }
    for (auto& [id, alarm] : alarms_) {
        if (!alarms.contains(id)) alarm.change(now, now_ms, "off");
    }
}

// ---- what is told ----

std::vector<bus::Event> Chronicle::take(Instant now, std::uint64_t now_ms, bool ending) {
    if (counted_) lines_ = std::min(lines_burst, lines_ + std::chrono::duration<double>(now - *counted_) / line_pace);
    counted_ = now;
    Events out;
    if (lines_ < 1 && !ending) return out;
    tell_servers(now, ending, out);
    tell_services(now, ending, out);
    tell_holding(now, out);
    tell_alarms(now, out);
    if (!ending) tell_first_look(now, now_ms, out);
    lines_ -= static_cast<double>(out.size());
    std::stable_sort(out.begin(), out.end(),
                     [](const bus::Event& a, const bus::Event& b) { return a.time_ms() < b.time_ms(); });
    return out;
}

std::size_t Chronicle::room(const Events& out) const {
    const double left = lines_ - static_cast<double>(out.size());
    return std::min(lines_max, left < 1 ? std::size_t{1} : static_cast<std::size_t>(left));
}

void Chronicle::tell_servers(Instant now, bool ending, Events& out) {
    std::vector<News> news;
    for (auto key = changed_.begin(); key != changed_.end();) {
        const auto found = servers_.find(*key);
        Server& server = found->second;
        if (server.changes > 0 && !server.ready(now) && !ending) {
            ++key;
            continue;
        }
        if (server.told.empty() && server.now != "down") {
            server.forget();  // as it should be
        } else if (server.changes > 0) {
            news.push_back({&found->first, &server, server.told, server.changes, now - server.first_change});
            server.tell(now);
        }
        key = changed_.erase(key);
    }
    if (news.size() <= room(out)) {
        for (const News& one : news) out.push_back(line_of(one));
        return;
    }
    std::map<std::string, std::vector<News>> groups;
    const auto group = [&](bool by_service) {
        groups.clear();
        for (const News& one : news) {
            const std::string kind = one.server->now + (one.again() ? " again" : "");
            groups[by_service ? one.key->first + "/" + kind : kind].push_back(one);
        }
    };
    group(true);
    const bool by_service = groups.size() <= room(out);
    if (!by_service) group(false);
    for (const auto& [name, members] : groups) {
        out.push_back(members.size() == 1 ? line_of(members.front()) : line_of(members, by_service));
    }
}

void Chronicle::tell_services(Instant now, bool ending, Events& out) {
    std::vector<std::pair<std::map<std::string, Service>::iterator, unsigned>> news;  // with the number of changes
    for (auto entry = services_.begin(); entry != services_.end(); ++entry) {
        Service& service = entry->second;
        if (service.changes == 0) continue;
        if (service.now == (service.told.empty() ? "served" : service.told)) {
            service.forget();
            continue;
        }
        const bool settled = service.now == "served" || now - service.changed >= settle || ending;
        if (!settled || (!service.ready(now) && !ending)) continue;
        news.emplace_back(entry, service.changes);
        service.tell(now);
    }
    if (news.size() <= room(out)) {
        for (const auto& [entry, changes] : news) out.push_back(line_of(entry->first, entry->second, changes));
        return;
    }
    for (const bool lost : {true, false}) {
        std::string names;
        std::size_t number = 0;
        std::uint64_t time_ms = 0;
        for (const auto& [entry, changes] : news) {
            if ((entry->second.now == "lost") != lost) continue;
            time_ms = std::max(time_ms, entry->second.changed_ms);
            if (number++ < 3) names += (names.empty() ? "" : ", ") + entry->first;
        }
        if (number == 0) continue;
        if (number > 3) names += " and " + std::to_string(number - 3) + " more";
        bus::Event& event = out.emplace_back(
            event_of(lost ? "service-down" : "service-up", lost ? "alarm" : "info", time_ms,
                     std::to_string(number) + " of " + std::to_string(services_.size()) +
                         (lost ? " services have no server left: " : " services have a server again: ") + names));
        (*event.mutable_inputs())["services"] = std::to_string(number);
    }
}

void Chronicle::tell_holding(Instant now, Events& out) {
    const std::uint64_t untold = excused_total_ - excused_told_;
    const auto failures = [](std::uint64_t number) {
        return std::to_string(number) + (number == 1 ? " failed check" : " failed checks");
    };
    if (holding_.now == (holding_.told.empty() ? "free" : holding_.told)) holding_.forget();
    if (holding_.ready(now)) {
        const bool held = holding_.now == "held";
        std::string text = "failures do not count against servers: " + hold_reason_;
        if (!held) {
            text = "failures count against servers again";
            if (untold > 0) text += "; " + failures(untold) + " did not";
            excused_told_ = excused_total_;
            excused_.forget();
        }
        out.push_back(event_of(held ? "held" : "held-end", held ? "warning" : "info", holding_.changed_ms, text));
        holding_.tell(now);
    }
    if (holding_.now == "held" || !excused_.ready(now)) return;
    out.push_back(
        event_of("held", "info", excused_.changed_ms, failures(untold) + " did not count against servers: " + excuse_));
    excused_told_ = excused_total_;
    excused_.tell(now);
}

void Chronicle::tell_alarms(Instant now, Events& out) {
    for (auto& [id, alarm] : alarms_) {
        if (alarm.now == (alarm.told.empty() ? "off" : alarm.told)) alarm.forget();
        if (!alarm.ready(now)) continue;
        const bool on = alarm.now == "on";
        out.push_back(
            event_of(on ? "alarm" : "alarm-end", on ? "alarm" : "info", alarm.changed_ms, id + ": " + alarm.text));
        alarm.tell(now);
    }
}

void Chronicle::tell_first_look(Instant now, std::uint64_t now_ms, Events& out) {
    if (!begun_ || looked_ || servers_.empty()) return;
    if (!first_look_from_) first_look_from_ = now;
    std::map<std::string, std::size_t> number;
    for (const auto& [key, server] : servers_) ++number[server.health];
    if (number["unknown"] > 0 && now < *first_look_from_ + first_look_max) return;
    looked_ = true;
    std::string text = "first look since the start: " + std::to_string(number["up"]) + " of " +
                       std::to_string(servers_.size()) + " servers up";
    const auto add = [&](const char* health, const char* words) {
        if (number[health] > 0) text += ", " + std::to_string(number[health]) + words;
    };
    add("down", " down");
    add("standby", " on standby");
    add("unknown", " not known yet");
    out.push_back(event_of("first-look", "info", now_ms, text));
}

// ---- in which words ----

namespace {

constexpr std::size_t names_shown_max = 3;
constexpr std::size_t names_bytes_max = 2000;  // of all names, for scripts

// "went down" of what was up, "is down" of what has no story yet.
std::string did(const std::string& health, bool again, bool first) {
    if (first) return health == "down" ? "is down" : health == "up" ? "is up" : "is on standby";
    if (again) {
        return health == "down" ? "came back and went down again"
               : health == "up" ? "failed and came back"
                                : "left standby and went back";
    }
    return health == "down" ? "went down" : health == "up" ? "came up" : "went on standby";
}

std::string kind_of(const std::string& health) { return "server-" + health; }

std::string because(const std::string& reason) { return reason.empty() ? "" : ": " + reason; }

}  // namespace

bus::Event Chronicle::event_of(const char* kind, const char* severity, std::uint64_t time_ms, std::string text) const {
    bus::Event event;
    event.set_time_ms(time_ms);
    event.set_node(node_);
    event.set_kind(kind);
    event.set_severity(severity);
    event.set_text(std::move(text));
    return event;
}

bus::Event Chronicle::line_of(const News& news) const {
    const Server& server = *news.server;
    const std::string& reason = news.again() ? server.fault : server.reason;
    std::string text = "server " + news.key->second + " of " + news.key->first + " (" + server.address +
                       (server.port == 0 ? "" : " port " + std::to_string(server.port)) + ") " +
                       did(server.now, news.again(), news.before.empty());
    if (news.changes > 2) {
        text += " (" + std::to_string(news.changes) + " changes in " +
                format_duration(std::chrono::ceil<seconds>(news.within)) + ")";
    }
    if (!server.online) text += ", in drain or halt by the operator's wish";
    const bool bad = server.now == "down" && server.online;
    bus::Event event =
        event_of(kind_of(server.now).c_str(), bad ? "warning" : "info", server.changed_ms, text + because(reason));
    auto& inputs = *event.mutable_inputs();
    inputs["service"] = news.key->first;
    inputs["server"] = news.key->second;
    inputs["address"] = server.address;
    inputs["port"] = std::to_string(server.port);
    inputs["health"] = server.now;
    inputs["before"] = news.before;
    inputs["reason"] = reason;
    inputs["changes"] = std::to_string(news.changes);
    return event;
}

bus::Event Chronicle::line_of(const std::vector<News>& many, bool one_service) const {
    const News& first = *std::min_element(many.begin(), many.end(), [](const News& a, const News& b) {
        return a.server->changed_ms < b.server->changed_ms;
    });
    const std::string& health = first.server->now;
    const std::string& service = first.key->first;
    std::set<std::string> services;
    std::string names;
    std::string some;
    std::uint64_t time_ms = 0;
    bool bad = false;
    std::size_t shown = 0;
    for (const News& one : many) {
        services.insert(one.key->first);
        const std::string name = (one_service ? "" : one.key->first + "/") + one.key->second;
        if (shown++ < names_shown_max) some += (some.empty() ? "" : ", ") + name;
        if (names.size() + name.size() < names_bytes_max) names += (names.empty() ? "" : ",") + name;
        time_ms = std::max(time_ms, one.server->changed_ms);
        bad = bad || (health == "down" && one.server->online);
    }
    if (many.size() > names_shown_max) some += " and " + std::to_string(many.size() - names_shown_max) + " more";
    const std::size_t all = one_service ? services_.at(service).servers : servers_.size();
    std::string text = std::to_string(many.size()) + " of " + std::to_string(all) + " servers" +
                       (one_service ? " of " + service : "") + " " + did(health, first.again(), false) + ": " + some;
    if (!one_service) text += ", of " + std::to_string(services.size()) + " services";
    const std::string& reason = first.again() ? first.server->fault : first.server->reason;
    if (!reason.empty()) text += "; the first" + because(reason);
    bus::Event event = event_of(kind_of(health).c_str(), bad ? "warning" : "info", time_ms, std::move(text));
    auto& inputs = *event.mutable_inputs();
    if (one_service) inputs["service"] = service;
    inputs["servers"] = std::to_string(many.size());
    inputs["of"] = std::to_string(all);
    inputs["names"] = names;
    inputs["health"] = health;
    return event;
}

bus::Event Chronicle::line_of(const std::string& label, const Service& service, unsigned changes) const {
    const bool lost = service.now == "lost";
    std::string text = label + (lost ? " has no server left: " : " has a server again: ") + std::to_string(service.up) +
                       " of " + std::to_string(service.online) + " up";
    if (service.standby > 0) text += ", " + std::to_string(service.standby) + " on standby";
    if (changes > 2) text += " (after " + std::to_string(changes) + " changes)";
    bus::Event event =
        event_of(lost ? "service-down" : "service-up", lost ? "alarm" : "info", service.changed_ms, text);
    auto& inputs = *event.mutable_inputs();
    inputs["service"] = label;
    inputs["up"] = std::to_string(service.up);
    inputs["standby"] = std::to_string(service.standby);
    inputs["servers"] = std::to_string(service.online);
    return event;
}

}  // namespace lbcluster::health
