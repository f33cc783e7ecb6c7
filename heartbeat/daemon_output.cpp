// The second half of Daemon: carrying out what the core decided, and publishing.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <csignal>

#include "heartbeat/daemon.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/log.hpp"
#include "lbcluster/base/notify.hpp"
#include "lbcluster/bus/event_file.hpp"

namespace lbcluster::heartbeat {

namespace {
constexpr std::size_t events_kept = 1000;
constexpr auto publish_pace = 20ms;

const char* word(Severity severity) {
    switch (severity) {
        case Severity::info:
            return "info";
        case Severity::warning:
            return "warning";
        case Severity::alarm:
            return "alarm";
    }
    return "info";
}
// A frame of the bus takes 256 KiB: four thousand addresses without reasons, but not with them.
void make_fit(bus::NodeStatus& status) {
    constexpr int alarms_max = 100;
    constexpr std::size_t bytes_max = 240 * 1024;
    auto& alarms = *status.mutable_alarms();
    int of_addresses = 0;
    const auto left_out = std::remove_if(alarms.begin(), alarms.end(), [&](const bus::Alarm& alarm) {
        return (alarm.id().starts_with("address/") || alarm.id().starts_with("no-interface/")) &&
               ++of_addresses > alarms_max;
    });
    if (left_out != alarms.end()) {
        alarms.erase(left_out, alarms.end());
        bus::Alarm& alarm = *status.add_alarms();
        alarm.set_id("more-addresses");
        alarm.set_text(std::to_string(of_addresses - alarms_max) + " more floating IPs have an alarm");
        alarm.set_action("see to those that are shown, and to the state of each address");
    }
    if (status.ByteSizeLong() <= bytes_max) return;
    for (auto& ip : *status.mutable_floating_ips()) ip.clear_error();
    if (status.ByteSizeLong() <= bytes_max) return;
    for (auto& ip : *status.mutable_floating_ips()) ip.clear_label();
}
}  // namespace

void Daemon::carry_out() {
    // Acting may append (an answer that fails, a note): until all is done.
    for (int round = 0; !actions_.empty() && round < 8; ++round) {
        Actions now = std::exchange(actions_, {});
        for (const Action& action : now) std::visit([this](const auto& a) { act(a); }, action);
        now.clear();
        if (actions_.empty()) actions_ = std::move(now);  // keeps its memory
    }
}

void Daemon::act(const SendHeartbeat& send) {
    std::array<std::uint8_t, datagram_bytes_max> buffer{};
    Heartbeat message = send.message;
    const auto size = codec_->encode(message, buffer);
    if (!size) {
        ++counters_["not_sent"];
        return;
    }
    links_[send.link]->send({buffer.data(), *size});
    ++counters_["sent"];
}

void Daemon::act(const SetAddresses& set) {
    wanted_ = set;
    permit_ = std::max(permit_, boottime_now() + setup_.settings.keepalive * 3 / 2 + 100ms);
    worker_->set_target(target());
}

void Daemon::act(const PermitLease& permit) {
    permit_ = permit.until;
    worker_->permit(permit.until);
}

void Daemon::act(const Announce& announce) { worker_->announce(announce.paced); }
void Daemon::act(const SendPing& ping) { pinger_->ping(ping.index); }
void Daemon::act(const SendProbe& probe) { prober_->probe(probe.addresses, probe.echo); }

void Daemon::act(const StoreTerm& store) {
    files_->write_term(store.term, [this](const Result<void>& result) {
        if (!result) spdlog::error("{}", result.error().message);
        core_->on_term_stored(boottime_now(), result.ok(), actions_);
        request_turn();
    });
}

void Daemon::act(const StoreStandby& store) {
    files_->write_standby(store.standby, [this, standby = store.standby](const Result<void>& result) {
        if (result) return clear_alarm("standby-not-stored");
        spdlog::error("{}", result.error().message);
        raise_alarm("standby-not-stored",
                    std::string(standby ? "standby" : "the end of standby") +
                        " holds until the next start only: " + result.error().message,
                    result.error().hint + ", then give the command again");
    });
}

void Daemon::raise_alarm(const std::string& id, const std::string& text, const std::string& action) {
    auto found = std::find_if(alarms_.begin(), alarms_.end(), [&](const bus::Alarm& a) { return a.id() == id; });
    if (found == alarms_.end()) {
        found = alarms_.emplace(alarms_.end());
        found->set_id(id);
        found->set_since_ms(realtime_ms_now());
    }
    found->set_text(text);
    found->set_action(action);
    publish_soon();
}

void Daemon::clear_alarm(const std::string& id) {
    if (std::erase_if(alarms_, [&](const bus::Alarm& alarm) { return alarm.id() == id; }) > 0) publish_soon();
}

void Daemon::act(const Note& event) {
    bus::Event out;
    out.set_time_ms(realtime_ms_now());
    out.set_node(setup_.settings.node);
    out.set_kind(event.kind);
    out.set_severity(word(event.severity));
    out.set_text(event.text);
    for (const auto& [name, value] : event.inputs) (*out.mutable_inputs())[name] = value;
    const auto level = event.severity == Severity::info ? spdlog::level::info : spdlog::level::warn;
    spdlog::log(level, "event={} {}", event.kind, event.text);
    if (history_known_) keep(std::move(out));
    else if (early_events_.size() < events_kept) early_events_.push_back(std::move(out));
}

void Daemon::keep(bus::Event event) {
    event.set_sequence(++event_sequence_);
    files_->append_event(event, [this](const Result<void>& result) {
        if (result) {
            events_not_stored_ = 0;
            return clear_alarm("events-not-stored");
        }
        raise_alarm("events-not-stored",
                    std::to_string(++events_not_stored_) + " events are not in the history: " + result.error().message,
                    result.error().hint);
    });
    put_on_bus(event);
    publish_soon();
}

void Daemon::put_on_bus(const bus::Event& event) {
    const auto key = [](std::uint64_t sequence) { return "event/" + std::to_string(sequence); };
    bus::Item item;
    item.set_key(key(event.sequence()));
    *item.mutable_event() = event;
    bus_->set(std::move(item));
    events_on_bus_.push_back(event.sequence());
    if (events_on_bus_.size() > events_kept) {
        bus_->erase(key(events_on_bus_.front()));
        events_on_bus_.pop_front();
    }
}

// The newest events of earlier lives, so that the history does not begin with each start.
void Daemon::load_history() {
    files_->run([this] {
        std::vector<bus::Event> events;
        if (auto kept = bus::read_event_history(paths_.state_dir + "/events.jsonl")) events = std::move(kept->events);
        boost::asio::post(io_, [this, events = std::move(events)] {
            if (!ended_) take_history(events);
        });
    });
}

void Daemon::take_history(const std::vector<bus::Event>& events) {
    for (const bus::Event& event : events) {
        if (event.sequence() <= event_sequence_) continue;  // numbers only grow; a damaged line is passed over
        event_sequence_ = event.sequence();
        put_on_bus(event);
    }
    history_known_ = true;
    for (bus::Event& event : std::exchange(early_events_, {})) keep(std::move(event));
}

void Daemon::note(const std::string& kind, Severity severity, const std::string& text) {
    act(Note{kind, severity, text, {}});
}

void Daemon::act(const Answer& answer) {
    const auto found = calls_.find(answer.id);
    if (found == calls_.end()) return;
    const bus::Server::Respond respond = std::move(found->second);
    calls_.erase(found);
    bus::Reply reply;
    reply.set_exit_code(answer.exit_code);
    reply.set_message(answer.message);
    reply.set_hint(answer.hint);
    publish();  // who asks next sees it
    respond(std::move(reply));
}

void Daemon::act(const Restart& /*restart*/) { end(Ending::restart, 30ms); }
void Daemon::act(const Stop& /*stop*/) { end(Ending::stopped, 20ms); }

void hold_signals(bool on) {
    sigset_t signals;
    ::sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2}) ::sigaddset(&signals, signal);
    ::pthread_sigmask(on ? SIG_BLOCK : SIG_UNBLOCK, &signals, nullptr);
}

// `after`: time for the bus to deliver a last answer.
void Daemon::end(Ending ending, Duration after) {
    if (ending != Ending::stopped && stopping_) return;
    ending_ = ending;
    end_timer_.expires_after(after);
    end_timer_.async_wait([this, ending](const boost::system::error_code& error) {
        if (error || (ending != Ending::stopped && stopping_)) return;
        if (ending == Ending::stopped) return finish_end_soon();
        // A process that waits for a disk can neither end nor start anew. Until the disk has answered heartbeats go on.
        files_->run([this] {
            boost::asio::post(io_, [this] {
                if (!stopping_ && !ended_) finish_end_soon();
            });
        });
    });
}

// From here on signals wait for the next life; those that were taken before are handled first.
void Daemon::finish_end_soon() {
    hold_signals(true);
    end_timer_.expires_after(1ms);
    end_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error) finish_end();
    });
}

void Daemon::finish_end() {
    if (ending_ != Ending::stopped && stopping_) return hold_signals(false);
    ended_ = true;
    spdlog::info("{}", ending_ == Ending::restart ? "starting anew"
                       : ending_ == Ending::left  ? "ended; the addresses stay for the next one"
                                                  : "ended");
    if (forwarder_) forwarder_->close();
    bus_->close();
    io_.stop();
}

// ---- publishing ----

void Daemon::publish_soon() {
    if (std::exchange(publish_pending_, true)) return;
    publish_timer_.expires_after(publish_pace);
    publish_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error && !ended_) publish();
    });
}

void Daemon::publish() {
    publish_pending_ = false;
    const Instant now = boottime_now();
    const std::uint64_t realtime = realtime_ms_now();
    bus::Item item;
    item.set_key("node");
    bus::NodeStatus& status = *item.mutable_node();
    const auto realtime_of = [&](Instant at) {
        const auto ago = std::chrono::duration_cast<milliseconds>(now - at).count();
        return realtime - static_cast<std::uint64_t>(std::max<std::int64_t>(ago, 0));
    };
    core_->fill_status(now, realtime_of, status);
    status.set_version(LBCLUSTER_VERSION);
    for (int i = 0; i < status.links_size(); ++i) {
        const Link& link = *links_[static_cast<std::size_t>(i)];
        bus::LinkStatus& shown = *status.mutable_links(i);
        shown.set_error(link.error().empty() ? link.note() : link.error());
    }
    for (const bus::Alarm& alarm : alarms_) *status.add_alarms() = alarm;
    const auto since_applied = [&](const std::string& id, const std::string& text, const std::string& action) {
        bus::Alarm& alarm = *status.add_alarms();
        alarm.set_id(id);
        alarm.set_since_ms(config_applied_ms_);
        alarm.set_text(text);
        alarm.set_action(action);
    };
    for (const std::string& address : setup_.without_interface) {
        since_applied("no-interface/" + address,
                      address + " is in no network of this node's interfaces, so it is nowhere",
                      "put an address of its network on an interface, or list it in floating_ips with an interface");
    }
    // Nobody shall believe that what the configuration accepts is served.
    if (setup_.services > 0 && forwarder_ && !forwarder_->heard()) {
        const std::string services = std::to_string(setup_.services) + " virtual services";
        since_applied("services-not-served",
                      forwarder_->known() ? "forwarderd is gone: " + services +
                                                " go on as they were, and no change of health or configuration "
                                                "reaches them"
                                          : services +
                                                " are forwarded by nobody: forwarderd does not run, so only "
                                                "their addresses move",
                      "start forwarderd; its log says why it ended");
    }
    if (!config_error_.empty()) {
        bus::Alarm& alarm = *status.add_alarms();
        alarm.set_id("config-invalid");
        alarm.set_since_ms(config_error_since_ms_);
        alarm.set_text("the configuration files are not valid; an earlier configuration is in force");
        alarm.set_action("`lbcluster config check` names each fault");
    }
    for (const auto& [name, count] : counters_) (*status.mutable_counters())[name] = count;
    (*status.mutable_counters())["log_lines_dropped"] = log_lines_dropped();
    std::uint64_t strangers = 0;
    std::uint64_t send_errors = 0;
    for (const auto& link : links_) {
        strangers += link->counters().strangers;
        send_errors += link->counters().send_errors + link->counters().send_busy;
    }
    (*status.mutable_counters())["dropped_stranger"] = strangers;
    (*status.mutable_counters())["send_errors"] = send_errors;
    make_fit(status);
    bus_->set(std::move(item));
}

void Daemon::publish_config() {
    if (config_error_.empty()) config_error_since_ms_ = 0;
    else if (config_error_since_ms_ == 0) config_error_since_ms_ = realtime_ms_now();
    bus::Item item;
    item.set_key("config");
    bus::ConfigStatus& config = *item.mutable_config();
    config.set_daemon("heartbeatd");
    config.set_revision(setup_.settings.config_revision);
    config.set_digest(setup_.digest);
    config.set_error(config_error_);
    config.set_applied_ms(config_applied_ms_);
    bus_->set(std::move(item));
}

// Once a second: the published ages, and the supervisor's watchdog, which is to bark when this loop hangs.
void Daemon::tick() {
    publish();
    if (watched_) notify_supervisor_at_once("WATCHDOG=1");
    tick_timer_.expires_after(1s);
    tick_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error && !ended_) tick();
    });
}

}  // namespace lbcluster::heartbeat
