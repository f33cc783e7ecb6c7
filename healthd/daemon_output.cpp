// The second half of Daemon: carrying out what the core decided, and publishing.
#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>

#include "healthd/daemon.hpp"
#include "healthd/memory_file.hpp"
#include "healthd/talk/feedback.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/base/log.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::health {

namespace {

constexpr std::uint64_t changes_logged_max = 50;  // a second
constexpr Duration remember_at_least = 60s;
// After a change at once, so that whoever kills this process right then changes nobody's mind; a burst at this pace.
constexpr Duration remember_pace = 200ms;

std::string_view word_of(AgentReading::Wish wish) {
    switch (wish) {
        case AgentReading::Wish::drain:
            return "drain";
        case AgentReading::Wish::down:
            return "down";
        case AgentReading::Wish::none:
            break;
    }
    return "";
}

AgentReading reading_of(const FeedbackAnswer& answer) {
    AgentReading out;
    out.text = answer.error;
    if (!answer.error.empty()) return out;
    out.understood = true;
    out.percent = answer.percent.value_or(100);
    out.wish = answer.state == "drain"  ? AgentReading::Wish::drain
               : answer.state == "down" ? AgentReading::Wish::down
                                        : AgentReading::Wish::none;
    out.text = answer.state;
    if (answer.percent) out.text += (out.text.empty() ? "" : " ") + std::to_string(*answer.percent) + "%";
    return out;
}

}  // namespace

// Done when nothing follows from it any more: stopping a probe tells the core what it had reached.
void Daemon::carry_out() {
    while (!actions_.empty()) {
        Actions now = std::exchange(actions_, {});
        for (const Action& action : now) std::visit([this](const auto& a) { act(a); }, action);
        now.clear();
        if (actions_.empty()) {
            actions_ = std::move(now);  // keeps its memory
            break;
        }
    }
    if (remember_soon_ && boottime_now() - remembered_ >= remember_pace) remember();
    arm_timer();
}

Daemon::Job& Daemon::job(Id id) {
    if (id >= jobs_.size()) jobs_.resize(id + 1);
    return jobs_[id];
}

void Daemon::act(const StartProbe& start) {
    const Target& target = core_->target(start.id);
    auto& leaves = job(start.id).leaves;
    if (leaves.empty()) leaves.resize(target.leaves.size());
    std::unique_ptr<Probe>& probe = leaves[start.leaf];
    if (!probe) {
        auto made = factory_->make(target.leaves[start.leaf]);
        if (!made) {
            // Tried again with the next round: what is missing may come.
            core_->on_outcome(boottime_now(), start.id, start.leaf, {Finding::unusable, made.error().message},
                              actions_);
            return;
        }
        probe = std::move(*made);
    }
    probe->start(
        [this, id = start.id, leaf = start.leaf](Outcome outcome) { on_outcome(id, leaf, std::move(outcome)); });
}

void Daemon::act(const StopProbe& stop) {
    auto& leaves = job(stop.id).leaves;
    const bool made = stop.leaf < leaves.size() && leaves[stop.leaf];
    const std::string reached = made ? leaves[stop.leaf]->stop() : "";
    if (stop.timed_out) core_->on_stopped(boottime_now(), stop.id, stop.leaf, reached, actions_);
}

void Daemon::act(const AskAgent& ask) {
    Job& asked = job(ask.id);
    if (!asked.agent) {
        const Agent& agent = core_->agent(ask.id);
        asked.agent = factory_->make_conversation(agent.address, agent.port, [this, id = ask.id] {
            return make_feedback_talk(
                [this, id](const FeedbackAnswer& answer) { job(id).reading = reading_of(answer); });
        });
    }
    asked.reading.reset();
    asked.agent->start([this, id = ask.id](const Outcome& outcome) { on_agent_done(id, outcome); });
}

void Daemon::act(const StopAgent& stop) {
    if (Job& stopped = job(stop.id); stopped.agent) stopped.agent->stop();
}

void Daemon::act(const Changed& changed) {
    Job& one = job(changed.id);
    if (changed.before) {
        remember_soon_ = true;
        one.since_ms = realtime_ms_now();
        log_change(changed.id, *changed.before);
    }
    publish_servers_of(changed.id);
}

void Daemon::act(const Forget& forget) { job(forget.id) = {}; }

// One line for the verdict on a target, with the first server that it is of.
void Daemon::log_change(Id id, Health before) {
    if (++changes_logged_ > changes_logged_max) {
        ++changes_unlogged_;
        return;
    }
    const auto& servers = job(id).servers;
    const Verdict& verdict = core_->verdict(id);
    const ServerSetup none;
    const ServerSetup& server = servers.empty() ? none : servers_[servers.front()].setup;
    const auto level = verdict.health == Health::down ? spdlog::level::warn : spdlog::level::info;
    spdlog::log(level, "server={}/{}{} address={} port={} health={} before={} reason=\"{}\"", server.service,
                server.server, servers.size() > 1 ? " and " + std::to_string(servers.size() - 1) + " more" : "",
                server.address, server.port, health::word_of(verdict.health), health::word_of(before), verdict.reason);
}

// ---- publishing ----

std::uint64_t Daemon::realtime_ms(Instant at) const {
    const auto ago = std::chrono::duration_cast<milliseconds>(boottime_now() - at).count();
    return realtime_ms_now() - static_cast<std::uint64_t>(std::max<std::int64_t>(ago, 0));
}

void Daemon::publish_servers_of(Id id) {
    for (const std::size_t server : job(id).servers) publish(servers_[server]);
}

void Daemon::publish(const Server& server) {
    const Verdict& verdict = core_->verdict(server.target);
    Job& one = job(server.target);
    if (one.since_ms == 0 && verdict.since) one.since_ms = realtime_ms(*verdict.since);  // of an earlier life
    bus::Item item;
    item.set_key(server.key);
    bus::ServerHealth& out = *item.mutable_server();
    out.set_service(server.setup.service);
    out.set_server(server.setup.server);
    out.set_address(server.setup.address);
    out.set_port(server.setup.port);
    out.set_health(std::string(health::word_of(verdict.health)));
    out.set_since_ms(one.since_ms);
    out.set_reason(verdict.reason);
    out.set_overdue(verdict.overdue);
    out.set_detection_ms(static_cast<std::uint64_t>(detection_time(core_->target(server.target)) / 1ms));
    out.set_weight_percent(100);
    if (server.agent) {
        const Weight& weight = core_->weight(*server.agent);
        out.set_weight_percent(weight.percent);
        out.set_feedback(weight.text.empty() ? "not asked yet" : weight.text);
        out.set_feedback_state(std::string(word_of(weight.wish)));
    }
    fill_ages(item);
    notifier_.on_server(out);
    chronicle_.on_server(boottime_now(), realtime_ms_now(), out);
    bus_->set(std::move(item));
}

// What changes with every probe goes along with other changes, and into snapshots.
void Daemon::fill_ages(bus::Item& item) const {
    if (!item.has_server()) return;
    const auto found = server_by_key_.find(item.key());
    if (found == server_by_key_.end()) return;
    const Verdict& verdict = core_->verdict(servers_[found->second].target);
    if (!verdict.checked) return;
    item.mutable_server()->set_checked_ms(realtime_ms(*verdict.checked));
    item.mutable_server()->set_took_us(static_cast<std::uint64_t>(verdict.took / 1us));
}

void Daemon::publish_health() {
    const Instant now = boottime_now();
    const Totals& totals = core_->totals();
    bus::Item item;
    item.set_key("health");
    bus::HealthStatus& out = *item.mutable_health();
    out.set_targets(totals.up + totals.down + totals.standby + totals.unknown);
    out.set_up(totals.up);
    out.set_down(totals.down);
    out.set_standby(totals.standby);
    out.set_unknown(totals.unknown);
    out.set_holding(core_->holding(now));
    if (held_ != out.holding()) {
        if (out.holding().empty()) spdlog::info("failures count again");
        else spdlog::warn("failures do not count against servers: {}", out.holding());
        held_ = out.holding();
    }
    chronicle_.on_holding(now, realtime_ms_now(), held_);
    out.set_version(LBCLUSTER_VERSION);
    const auto alarm = [&](bool on, std::uint64_t& since, const char* id, const std::string& text, const char* action) {
        since = on ? (since == 0 ? realtime_ms_now() : since) : 0;
        if (!on) return;
        bus::Alarm& made = *out.add_alarms();
        made.set_id(id);
        made.set_since_ms(since);
        made.set_text(text);
        made.set_action(action);
    };
    alarm(!config_error_.empty(), config_error_since_ms_, "health-config-invalid",
          "healthd: the configuration files are not valid; an earlier configuration is in force",
          "`lbcluster config check` names each fault");
    alarm(totals.overdue > 0, overdue_since_ms_, "checks-overdue",
          std::to_string(totals.overdue) + " checks give no result that counts: their verdicts are old",
          "`lbcluster service list` shows the reasons; `lbcluster check SERVICE SERVER` probes one now");
    alarm(factory_->sockets_max() < leaves_, limit_since_ms_, "too-few-descriptors",
          "at most " + std::to_string(factory_->sockets_max()) + " of " + std::to_string(leaves_) +
              " probes can run at once: if many servers hang, the others wait",
          "start healthd with a higher limit of open files (LimitNOFILE= of its unit, ulimit -n)");
    const std::string not_stored = "the history is not kept: " + events_->error();
    alarm(!events_->error().empty(), not_stored_since_ms_, "health-events-not-stored", not_stored,
          "check space and permissions of the state folder");
    for (bus::Alarm& made : notifier_.alarms()) *out.add_alarms() = std::move(made);
    std::map<std::string, std::string> alarms;
    for (const bus::Alarm& one : out.alarms()) alarms[one.id()] = one.text();
    alarms.erase("health-config-invalid");  // config-refused has told it
    chronicle_.on_alarms(now, realtime_ms_now(), alarms);
    const Counters& counters = core_->counters();
    auto& shown = *out.mutable_counters();
    shown["probes"] = counters.probes;
    shown["rounds"] = counters.rounds;
    shown["failures"] = counters.failures;
    shown["timeouts"] = counters.timeouts;
    shown["unusable"] = counters.unusable;
    shown["excused"] = counters.excused;
    shown["queued"] = counters.queued;
    shown["late_loops"] = counters.late;
    shown["agent_reads"] = counters.agent_reads;
    shown["agent_silences"] = counters.agent_silences;
    shown["overdue"] = totals.overdue;
    shown["under_way"] = core_->under_way();
    shown["log_lines_dropped"] = log_lines_dropped();
    bus_->set(std::move(item));
}

void Daemon::publish_config() {
    bus::Item item;
    item.set_key("config");
    bus::ConfigStatus& config = *item.mutable_config();
    config.set_daemon("healthd");
    config.set_revision(setup_.revision);
    config.set_digest(setup_.digest);
    config.set_error(config_error_);
    config.set_applied_ms(config_applied_ms_);
    bus_->set(std::move(item));
}

// ---- history ----

void Daemon::write_history(bool ending) {
    const Instant now = boottime_now();
    chronicle_.on_excused(now, realtime_ms_now(), core_->counters().excused, core_->last_excuse());
    for (bus::Event& event : chronicle_.take(now, realtime_ms_now(), ending)) events_->add(std::move(event));
}

// ---- what the next life shall know ----

MemoryList Daemon::memory_list() const {
    MemoryList list;
    core_->remember([&](std::uint64_t hash, const Remembered& kept) { list.emplace_back(hash, kept); });
    return list;
}

// After a change, and now and then to say that it is still true.
void Daemon::remember() {
    const Instant now = boottime_now();
    if (remembering_ || (!remember_soon_ && now - remembered_ < remember_at_least)) return;
    remember_soon_ = false;
    remembering_ = true;
    remembered_ = now;
    auto list = std::make_shared<MemoryList>(memory_list());
    boost::asio::post(files_, [this, now, list] {
        const auto written = config::write_atomically(memory_path(paths_.run_dir), render_memory(now, *list), 0600);
        if (!written) spdlog::warn("{}", written.error().message);
        boost::asio::post(io_, [this] { remembering_ = false; });
    });
}

}  // namespace lbcluster::health
