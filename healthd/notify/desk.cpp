#include "healthd/notify/desk.hpp"

#include <algorithm>

#include "lbcluster/config/services.hpp"
#include "lbcluster/health/color.hpp"

namespace lbcluster::health {
namespace {

constexpr int gather_times_max = 5;
constexpr unsigned doublings_max = 10;

Duration duration_of(const google::protobuf::Duration& value) {
    return seconds(value.seconds()) + nanoseconds(value.nanos());
}

template <class List, class Entry>
void add_entry(List& list, std::size_t& left_out, Entry entry) {
    if (list.size() < Message::entries_max) {
        list.push_back(std::move(entry));
    } else {
        ++left_out;
    }
}

}  // namespace

NotifySettings notify_settings(const config::ClusterConfig& effective, const std::string& node) {
    NotifySettings settings;
    settings.node = node;
    for (const config::Notification& one : effective.notifications()) {
        if (config::is_on(one)) settings.channels.push_back(one);
    }
    if (settings.channels.empty()) return settings;
    for (const config::VirtualService& service : effective.virtual_services()) {
        if (!config::is_on(service)) continue;
        NotifySettings::Service out{service.label(), service.address(), {}};
        for (const config::RealServer& server : service.real_servers()) {
            if (!config::is_on(server)) continue;
            const bool offline =
                server.state() == config::SERVER_STATE_DRAIN || server.state() == config::SERVER_STATE_HALT;
            out.servers.push_back({server.label(), server.address(), !offline});
        }
        settings.services.push_back(std::move(out));
    }
    return settings;
}

Desk::Channel Desk::make_channel(const config::Notification& config) {
    Channel channel;
    channel.config = config;
    const auto has = [&](config::NotificationTopic topic) {
        return config.on().empty() || std::find(config.on().begin(), config.on().end(), topic) != config.on().end();
    };
    channel.servers = has(config::NOTIFICATION_TOPIC_SERVERS);
    channel.services = has(config::NOTIFICATION_TOPIC_SERVICES);
    channel.roles = has(config::NOTIFICATION_TOPIC_ROLES);
    channel.gather = duration_of(config.gather());
    channel.pause = duration_of(config.pause());
    return channel;
}

void Desk::configure(Instant now, NotifySettings settings) {
    std::vector<Channel> before = std::exchange(channels_, {});
    for (const config::Notification& config : settings.channels) {
        Channel channel = make_channel(config);
        channel.settle_until = now + settle_max;
        const auto old = std::find_if(before.begin(), before.end(),
                                      [&](const Channel& c) { return c.config.label() == config.label(); });
        if (old != before.end()) {
            channel.told = std::move(old->told);
            channel.under_way = std::move(old->under_way);
            channel.whole = old->whole;
            channel.started = old->started;
            channel.settle_until = old->settle_until;
            channel.urgent = old->urgent;
            channel.last_sent = old->last_sent;
            channel.failures = old->failures;
            channel.failing_since_ms = old->failing_since_ms;
            channel.error = old->error;
            if (old->failures > 0) channel.retry_at = now;  // what was wrong may be right now
        }
        channels_.push_back(std::move(channel));
    }

    std::map<Key, Server> servers;
    for (const NotifySettings::Service& service : settings.services) {
        for (const NotifySettings::Server& one : service.servers) {
            Key key{service.label, one.label};
            const auto known = servers_.find(key);
            Server server = known != servers_.end() ? known->second : Server{};
            if (known == servers_.end()) server.unknown_since = now;
            server.address = one.address;
            server.online = one.online;
            servers.emplace(std::move(key), std::move(server));
        }
    }
    servers_ = std::move(servers);
    settings_ = std::move(settings);
    // What is gone is nobody's news, and new if it comes back.
    for (Channel& channel : channels_) {
        std::erase_if(channel.told.servers, [&](const auto& entry) { return !servers_.contains(entry.first); });
        std::erase_if(channel.told.services, [&](const auto& entry) {
            return std::none_of(settings_.services.begin(), settings_.services.end(),
                                [&](const NotifySettings::Service& s) { return s.label == entry.first; });
        });
    }
    count_unknown();
    if (unknown_ > 0 && !recheck_) recheck_ = now + settle_max;
    changed(now);  // the operator's wishes count for the colours
}

void Desk::count_unknown() {
    unknown_ = static_cast<std::size_t>(std::count_if(
        servers_.begin(), servers_.end(), [](const auto& entry) { return entry.second.health == "unknown"; }));
}

void Desk::on_server(Instant now, const bus::ServerHealth& health) {
    if (channels_.empty()) return;
    const auto found = servers_.find({health.service(), health.server()});
    if (found == servers_.end()) return;
    Server& server = found->second;
    server.port = health.port();
    server.reason = health.reason();
    server.since_ms = health.since_ms();
    if (server.health == health.health()) return;
    if (server.health == "unknown") --unknown_;
    server.health = health.health();
    if (server.health == "unknown") {
        ++unknown_;
        server.unknown_since = now;
        if (!recheck_) recheck_ = now + settle_max;
    }
    changed(now);
}

void Desk::on_role(Instant now, const bus::NodeStatus& node) {
    const std::string& activity = node.activity();
    if (activity != "active" && activity != "passive" && activity != "standby") return;  // starting: soon one of them
    role_.reason = node.reason();
    role_.since_ms = node.since_ms();
    if (role_.activity == activity) return;
    const bool told_before = tells() && !role_.activity.empty();
    role_.activity = activity;
    if (told_before && tells()) return;
    for (Channel& channel : channels_) {
        // From here on another node tells, or this one tells it all.
        channel.told.services.clear();
        channel.told.servers.clear();
        channel.whole = true;
        channel.urgent = channel.started;
        if (channel.failures > 0) channel.retry_at = now;
    }
}

void Desk::changed(Instant now) {
    for (Channel& channel : channels_) {
        if (!channel.first_change) channel.first_change = now;
        channel.last_change = now;
    }
}

bool Desk::settled(Instant now, const Server& server) const {
    return server.health != "unknown" || now >= server.unknown_since + settle_max;
}

Instant Desk::due_at(const Channel& channel) const {
    if (channel.under_way) return Instant::max();
    if (channel.retry_at) return *channel.retry_at;
    if (!channel.started) return all_known() ? Instant{} : channel.settle_until;
    if (channel.urgent) return Instant{};
    if (!channel.first_change) return Instant::max();
    Instant at =
        std::min(channel.last_change + channel.gather, *channel.first_change + gather_times_max * channel.gather);
    if (channel.last_sent) at = std::max(at, *channel.last_sent + channel.pause);
    return at;
}

Instant Desk::next_deadline() const {
    if (channels_.empty()) return Instant::max();
    Instant next = recheck_.value_or(Instant::max());
    for (const Channel& channel : channels_) next = std::min(next, due_at(channel));
    return next;
}

std::vector<Desk::Dispatch> Desk::take_due(Instant now, std::uint64_t now_ms) {
    if (recheck_ && now >= *recheck_) {
        recheck_.reset();
        for (const auto& [key, server] : servers_) {
            if (settled(now, server)) continue;
            recheck_ = std::min(recheck_.value_or(Instant::max()), server.unknown_since + settle_max);
        }
        changed(now);
    }
    std::vector<Dispatch> out;
    for (Channel& channel : channels_) {
        if (due_at(channel) > now) continue;
        Told told = channel.told;
        Message message = compose(now, now_ms, channel, told);
        channel.first_change.reset();
        channel.urgent = false;
        channel.retry_at.reset();
        channel.started = true;
        if (message.empty()) {
            // Nothing is left to tell, as after a fault that went away: then nothing is wrong any more, either.
            channel.told = std::move(told);
            channel.whole = false;
            channel.failures = 0;
            channel.error.clear();
            continue;
        }
        channel.under_way = std::move(told);
        out.push_back({channel.config, std::move(message)});
    }
    return out;
}

Message Desk::compose(Instant now, std::uint64_t now_ms, const Channel& channel, Told& told) const {
    Message message;
    message.node = settings_.node;
    message.time_ms = now_ms;
    message.whole = channel.whole && (tells() || !channel.started);
    if (channel.roles && !role_.activity.empty() && (channel.whole || told.role != role_.activity)) {
        message.role = role_;
        message.role->before = told.role == role_.activity ? "" : told.role;
        told.role = role_.activity;
    }
    if (!tells()) return message;
    if (channel.services) add_services(now, channel, told, message);
    if (channel.servers) add_servers(now, channel, told, message);
    return message;
}

void Desk::add_servers(Instant now, const Channel& channel, Told& told, Message& message) const {
    for (const bool good : {false, true}) {  // what is bad comes first, should there be too many
        for (const auto& [key, server] : servers_) {
            if (!server.online || !settled(now, server) || (server.health == "up") != good) continue;
            const auto known = told.servers.find(key);
            const std::string before = known == told.servers.end() ? "" : known->second;
            const bool news = channel.whole ? !good : before != server.health;
            told.servers[key] = server.health;
            if (!news) continue;
            add_entry(message.servers, message.servers_left_out,
                      ServerNews{key.first, key.second, server.address, server.port, server.health, before,
                                 server.reason, server.since_ms});
        }
    }
}

void Desk::add_services(Instant now, const Channel& channel, Told& told, Message& message) const {
    for (const NotifySettings::Service& service : settings_.services) {
        std::vector<ServerView> views;
        std::size_t up = 0;
        bool known = true;
        for (const NotifySettings::Server& one : service.servers) {
            const Server& server = servers_.at({service.label, one.label});
            views.push_back({server.online ? config::SERVER_STATE_ONLINE : config::SERVER_STATE_HALT, server.health});
            up += server.online && server.health == "up" ? 1 : 0;
            known = known && (!server.online || settled(now, server));
        }
        if (!known) continue;
        const std::string color(word_of(color_of(views)));
        std::string& last = told.services[service.label];
        const std::string before = std::exchange(last, color);
        if (!channel.whole && before == color) continue;
        add_entry(message.services, message.services_left_out,
                  ServiceNews{service.label, service.address, color, before == color ? "" : before, up, views.size()});
    }
}

void Desk::on_done(Instant now, std::uint64_t now_ms, const std::string& label, const std::string& error) {
    const auto found =
        std::find_if(channels_.begin(), channels_.end(), [&](const Channel& c) { return c.config.label() == label; });
    if (found == channels_.end() || !found->under_way) return;
    Channel& channel = *found;
    Told delivered = std::move(*channel.under_way);
    channel.under_way.reset();
    channel.last_sent = now;
    channel.error = error;
    if (!error.empty()) {
        if (channel.failures++ == 0) channel.failing_since_ms = now_ms;
        const unsigned doublings = std::min(channel.failures - 1, doublings_max);
        channel.retry_at = channel.urgent ? now : now + std::min<Duration>(retry_min * (1U << doublings), retry_max);
        return;
    }
    channel.failures = 0;
    // A change of role meanwhile has made what was told of servers worthless.
    const bool overtaken = channel.urgent;
    channel.told.role = delivered.role;
    if (overtaken) return;
    channel.told = std::move(delivered);
    channel.whole = false;
}

std::vector<Desk::Trouble> Desk::troubles() const {
    std::vector<Trouble> out;
    for (const Channel& channel : channels_) {
        if (channel.failures == 0) continue;
        out.push_back({channel.config.label(), channel.error, channel.failures, channel.failing_since_ms});
    }
    return out;
}

}  // namespace lbcluster::health
