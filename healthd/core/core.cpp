#include "healthd/core/core.hpp"

#include <algorithm>

#include "lbcluster/base/assert.hpp"

namespace lbcluster::health {

namespace {

// First probes come within this time.
constexpr Duration first_spread = 1s;
// Whoever was due this long ago, after a stall, is spread anew: no herd.
constexpr Duration stall_spread = 500ms;
// In one step: whoever is behind must not keep the answers that have come from being read.
constexpr unsigned due_at_once = 64;
// A silent agent's last word holds for ten of its intervals, at least this long.
constexpr Duration silence_min = 60s;

Duration scaled(Duration d, double by) {
    return Duration{static_cast<Duration::rep>(static_cast<double>(d.count()) * by)};
}

std::string with_count(std::string reason, const std::string& count) {
    if (count.empty()) return reason;
    return reason.empty() ? count : std::move(reason) + "; " + count;
}

std::string bounded(std::string text) {
    if (text.size() > reason_bytes_max) text.resize(reason_bytes_max);
    return text;
}

}  // namespace

Core::Core(Options options, Memory memory)
    : options_(std::move(options)), memory_(std::move(memory)), spread_(options_.seed) {}

// ---- jobs ----

std::optional<Id> Core::known(const std::string& key) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return std::nullopt;
    jobs_[found->second]->wanted = true;
    return found->second;
}

Ids Core::configure(Instant now, Plan plan, Actions& out) {
    notice(now);
    for (const auto& job : jobs_) {
        if (job) job->wanted = false;
    }
    std::vector<std::string> keys;
    keys.reserve(plan.targets.size());
    for (const Target& target : plan.targets) {
        LBC_ASSERT(!target.leaves.empty());
        keys.push_back(key_of(target));
        (void)known(keys.back());
    }
    for (const Agent& agent : plan.agents) (void)known(key_of(agent));

    // What goes leaves its verdict to whoever asks the same at another pace.
    std::unordered_map<std::string, TargetState> heirlooms;
    for (Id id = 0; id < jobs_.size(); ++id) {
        if (!jobs_[id] || jobs_[id]->wanted) continue;
        TargetState* old = std::get_if<TargetState>(&jobs_[id]->what);
        std::string question = old != nullptr ? old->target.question() : "";
        TargetState kept;
        if (old != nullptr) kept.judge = old->judge, kept.verdict = old->verdict;
        remove(id, out);
        if (!question.empty()) heirlooms.emplace(std::move(question), std::move(kept));
    }

    Ids ids;
    for (std::size_t i = 0; i < plan.targets.size(); ++i) {
        if (const auto id = known(keys[i])) {
            ids.targets.push_back(*id);
            continue;
        }
        TargetState state;
        const std::string question = plan.targets[i].question();
        if (const auto heirloom = heirlooms.find(question); heirloom != heirlooms.end()) {
            state = heirloom->second;
        } else if (const auto kept = memory_.find(hash_of(question)); kept != memory_.end()) {
            state.judge = Judge(kept->second.verdict.health);
            state.verdict = kept->second.verdict;
        }
        state.verdict.overdue = false;
        state.target = std::move(plan.targets[i]);
        state.leaves.resize(state.target.leaves.size());
        state.counted = now;
        ids.targets.push_back(add(now, std::move(keys[i]), std::move(state), out));
    }
    for (Agent& agent : plan.agents) {
        std::string key = key_of(agent);
        if (const auto id = known(key)) {
            ids.agents.push_back(*id);
            continue;
        }
        AgentState state{agent, {}, now};
        if (const auto kept = memory_.find(hash_of(key)); kept != memory_.end()) state.weight = kept->second.weight;
        ids.agents.push_back(add(now, std::move(key), std::move(state), out));
    }
    if (!jobs_.empty()) memory_.clear();  // it is of an earlier life; from now on we know better
    feed(now, out);
    return ids;
}

Id Core::add(Instant now, std::string key, std::variant<TargetState, AgentState> what, Actions& out) {
    Id id = static_cast<Id>(jobs_.size());
    if (free_.empty()) {
        jobs_.emplace_back();
    } else {
        id = free_.back();
        free_.pop_back();
    }
    jobs_[id] = std::make_unique<Job>();
    Job& job = *jobs_[id];
    job.key = std::move(key);
    job.what = std::move(what);
    job.serial = ++serial_;
    job.phase = phase_of(job.key + "\n" + options_.node);
    by_key_.emplace(job.key, id);
    job.hash = hash_of(job.key);
    if (const auto* state = std::get_if<TargetState>(&job.what)) {
        job.hash = hash_of(state->target.question());
        ++total_of(state->verdict.health);
    }
    plan_first(now, id);
    out.emplace_back(Changed{id, std::nullopt});
    return id;
}

void Core::remove(Id id, Actions& out) {
    Job& job = *jobs_[id];
    if (auto* state = std::get_if<TargetState>(&job.what)) {
        for (std::uint32_t leaf = 0; leaf < state->leaves.size(); ++leaf) {
            if (state->leaves[leaf].stage == LeafState::Stage::running) out.emplace_back(StopProbe{id, leaf, false});
        }
        under_way_ -= state->running;
        --total_of(state->verdict.health);
        if (state->verdict.overdue) --totals_.overdue;
    } else if (job.stage == Stage::round) {
        out.emplace_back(StopAgent{id});
        --under_way_;
    }
    take_off(job);
    agenda_.erase(id);
    by_key_.erase(job.key);
    jobs_[id].reset();
    free_.push_back(id);
    out.emplace_back(Forget{id});
}

std::size_t& Core::total_of(Health health) {
    switch (health) {
        case Health::up:
            return totals_.up;
        case Health::down:
            return totals_.down;
        case Health::standby:
            return totals_.standby;
        case Health::unknown:
            break;
    }
    return totals_.unknown;
}

void Core::remember(const std::function<void(std::uint64_t hash, const Remembered&)>& visit) const {
    for (const auto& job : jobs_) {
        if (!job) continue;
        Remembered kept;
        if (const auto* state = std::get_if<TargetState>(&job->what)) {
            if (state->verdict.health == Health::unknown) continue;
            kept.verdict = state->verdict;
            visit(job->hash, kept);
        } else if (const auto& agent = std::get<AgentState>(job->what); agent.weight.answered) {
            kept.weight = agent.weight;
            visit(job->hash, kept);
        }
    }
}

// ---- when ----

void Core::take_off(Job& job) {
    if (std::exchange(job.on_spread, false)) spread_.take_back(job.planned);
}

void Core::plan(Id id, Instant at) {
    take_off(*jobs_[id]);
    jobs_[id]->planned = at;
    agenda_.set(id, at);
}

void Core::plan_spread(Id id, Instant from, Duration width) {
    const Instant at = spread_.choose(from, width);
    plan(id, at);
    jobs_[id]->on_spread = true;
}

void Core::plan_first(Instant now, Id id) {
    Job& job = *jobs_[id];
    const auto* state = std::get_if<TargetState>(&job.what);
    const Duration interval = state != nullptr ? state->target.interval : std::get<AgentState>(job.what).agent.interval;
    const Duration within = std::min(interval, first_spread);
    job.phased = interval <= first_spread;
    plan_spread(id, now + scaled(within, job.phase * 0.9), within / 10);
}

void Core::plan_next(Instant now, Id id, bool soon) {
    Job& job = *jobs_[id];
    const auto* state = std::get_if<TargetState>(&job.what);
    const Duration interval = state != nullptr ? state->target.interval : std::get<AgentState>(job.what).agent.interval;
    if (soon && state != nullptr) {
        return plan(id, std::max(now, std::min(job.start + interval, now + recheck_delay(state->target))));
    }
    Duration least = interval / 10 * 9;
    if (!std::exchange(job.phased, true)) least = scaled(least, job.phase);
    const Instant latest = job.start + least + interval / 10;
    const Instant from = std::max(now, job.start + least);
    if (from >= latest) return plan(id, from);
    plan_spread(id, from, latest - from);
}

// ---- rounds ----

void Core::notice(Instant now) { guard_.on_late(agenda_.next(), now); }

void Core::step(Instant now, Actions& out) {
    notice(now);
    if (!agenda_.empty() && now - agenda_.next() >= Guard::stall_min) ++counters_.late;
    for (unsigned n = 0; n < due_at_once && agenda_.next() <= now; ++n) due(now, agenda_.next_id(), out);
    feed(now, out);
}

void Core::due(Instant now, Id id, Actions& out) {
    Job& job = *jobs_[id];
    if (job.stage == Stage::round) return time_out(now, id, out);
    if (now - job.planned > stall_spread && !std::exchange(job.put_off, true)) return plan_first(now, id);
    begin(now, id, out);
}

void Core::enqueue(Instant now, Id id, bool first) {
    Job& job = *jobs_[id];
    if (std::exchange(job.in_queue, true)) return;
    const Queued entry{id, job.serial, now};
    if (first) queue_.push_front(entry);
    else queue_.push_back(entry);
}

void Core::begin(Instant now, Id id, Actions& out) {
    Job& job = *jobs_[id];
    take_off(job);
    if (under_way_ >= options_.probes_max) {
        job.stage = Stage::queued;
        agenda_.erase(id);
        ++counters_.queued;
        return enqueue(now, id, false);
    }
    job.stage = Stage::round;
    job.start = now;
    job.put_off = false;
    if (auto* state = std::get_if<TargetState>(&job.what)) {
        for (LeafState& leaf : state->leaves) leaf.stage = LeafState::Stage::waiting;
        state->next_leaf = 0;
        state->timed_out = false;
        agenda_.set(id, now + state->target.timeout);
        return start_leaves(now, id, out);
    }
    agenda_.set(id, now + std::get<AgentState>(job.what).agent.timeout());
    ++under_way_;
    ++counters_.agent_reads;
    out.emplace_back(AskAgent{id});
}

void Core::start_leaves(Instant now, Id id, Actions& out) {
    auto& state = std::get<TargetState>(jobs_[id]->what);
    for (; state.next_leaf < state.leaves.size(); ++state.next_leaf) {
        // The rest goes on as soon as there is a place.
        if (under_way_ >= options_.probes_max) return enqueue(now, id, true);
        state.leaves[state.next_leaf].stage = LeafState::Stage::running;
        ++state.running;
        ++under_way_;
        ++counters_.probes;
        out.emplace_back(StartProbe{id, static_cast<std::uint32_t>(state.next_leaf)});
    }
}

void Core::feed(Instant now, Actions& out) {
    while (under_way_ < options_.probes_max && !queue_.empty()) {
        const Queued next = queue_.front();
        queue_.pop_front();
        Job* job = jobs_[next.id].get();
        if (job == nullptr || job->serial != next.serial || !std::exchange(job->in_queue, false)) continue;
        if (job->stage == Stage::queued) begin(now, next.id, out);
        else if (job->stage == Stage::round) start_leaves(now, next.id, out);
    }
}

void Core::time_out(Instant now, Id id, Actions& out) {
    Job& job = *jobs_[id];
    agenda_.erase(id);
    job.in_queue = false;
    auto* state = std::get_if<TargetState>(&job.what);
    if (state == nullptr) {
        out.emplace_back(StopAgent{id});
        const Duration timeout = std::get<AgentState>(job.what).agent.timeout();
        return agent_silent(now, id, timeout_reason("", timeout), out);
    }
    state->timed_out = true;
    for (std::uint32_t leaf = 0; leaf < state->leaves.size(); ++leaf) {
        LeafState& one = state->leaves[leaf];
        if (one.stage == LeafState::Stage::running) {
            ++counters_.timeouts;
            out.emplace_back(StopProbe{id, leaf, true});
        } else if (one.stage == LeafState::Stage::waiting) {
            one.stage = LeafState::Stage::ended;
            one.outcome = {Finding::unusable, "too many probes at once: it could not begin in time"};
        }
    }
    settle(now, id, out);
}

void Core::on_outcome(Instant now, Id id, std::uint32_t leaf, Outcome outcome, Actions& out) {
    notice(now);
    leaf_ended(now, id, leaf, std::move(outcome), out);
    feed(now, out);
}

void Core::on_stopped(Instant now, Id id, std::uint32_t leaf, const std::string& reached, Actions& out) {
    if (id >= jobs_.size() || !jobs_[id] || !std::holds_alternative<TargetState>(jobs_[id]->what)) return;
    leaf_ended(now, id, leaf, {Finding::down, timeout_reason(reached, target_of(id).target.timeout)}, out);
    feed(now, out);
}

void Core::leaf_ended(Instant now, Id id, std::uint32_t leaf, Outcome outcome, Actions& out) {
    if (id >= jobs_.size() || !jobs_[id]) return;
    auto* state = std::get_if<TargetState>(&jobs_[id]->what);
    if (state == nullptr || leaf >= state->leaves.size()) return;
    LeafState& one = state->leaves[leaf];
    if (one.stage != LeafState::Stage::running) return;  // it was stopped, and did not know yet
    one.stage = LeafState::Stage::ended;
    one.outcome = std::move(outcome);
    --state->running;
    --under_way_;
    settle(now, id, out);
}

void Core::settle(Instant now, Id id, Actions& out) {
    const auto& state = std::get<TargetState>(jobs_[id]->what);
    if (const auto finding = evaluate(state.target.tree, state.leaves)) finish(now, id, *finding, out);
}

void Core::finish(Instant now, Id id, Finding finding, Actions& out) {
    Job& job = *jobs_[id];
    auto& state = std::get<TargetState>(job.what);
    std::string reason = reason_of(state.target, state.leaves, finding);
    for (std::uint32_t leaf = 0; leaf < state.leaves.size(); ++leaf) {
        LeafState& one = state.leaves[leaf];
        if (one.stage == LeafState::Stage::running) out.emplace_back(StopProbe{id, leaf, false});
        one.stage = LeafState::Stage::ended;
        one.outcome = {};
    }
    under_way_ -= std::exchange(state.running, 0);
    job.stage = Stage::waiting;
    job.in_queue = false;
    state.verdict.checked = now;
    state.verdict.took = now - job.start;
    ++counters_.rounds;
    if (finding == Finding::down) {
        ++counters_.failures;
        const std::string excuse = guard_.excuse(now, job.start, state.target.timeout, state.timed_out);
        const bool used_up = excuse == Guard::lateness && std::exchange(state.lenient, true);
        if (!excuse.empty() && !used_up) {
            ++counters_.excused;
            last_excuse_ = excuse;
            finding = Finding::unusable;
            reason = "not counted (" + excuse + "): " + reason;
        }
    } else if (finding == Finding::unusable) {
        ++counters_.unusable;
        reason = "not counted: " + reason;
    } else {
        state.lenient = false;
    }
    judge(now, id, finding, reason, out);
    // One wasted look is repeated soon; if that says nothing either, the interval will do.
    const bool repeat = finding == Finding::unusable && !state.wasted;
    state.wasted = finding == Finding::unusable;
    plan_next(now, id, state.judge.in_doubt() || repeat);
}

void Core::judge(Instant now, Id id, Finding finding, const std::string& reason, Actions& out) {
    auto& state = std::get<TargetState>(jobs_[id]->what);
    Verdict& verdict = state.verdict;
    const Target& target = state.target;
    std::optional<Health> before;
    std::string text = reason;
    if (finding != Finding::unusable) {
        state.counted = now;
        if (state.judge.on_finding(finding, target.fall, target.rise)) {
            before = verdict.health;
            --total_of(verdict.health);
            verdict.health = state.judge.health();
            ++total_of(verdict.health);
            verdict.since = now;
        }
        text = with_count(std::move(text), state.judge.count(target.fall, target.rise));
    }
    text = bounded(std::move(text));
    const bool overdue_changed = set_overdue(now, state);
    const bool reason_changed = text != verdict.reason;
    verdict.reason = std::move(text);
    if (before || reason_changed || overdue_changed) out.emplace_back(Changed{id, before});
}

bool Core::set_overdue(Instant now, TargetState& state) {
    const bool overdue = now > state.counted + detection_time(state.target) + 1s;
    if (std::exchange(state.verdict.overdue, overdue) == overdue) return false;
    if (overdue) ++totals_.overdue;
    else --totals_.overdue;
    return true;
}

void Core::find_overdue(Instant now, Actions& out) {
    for (const Queued& entry : queue_) {
        if (now < entry.since + 1s) continue;
        Job* job = jobs_[entry.id].get();
        if (job == nullptr || job->serial != entry.serial || job->stage != Stage::queued) continue;
        auto* state = std::get_if<TargetState>(&job->what);
        if (state != nullptr && set_overdue(now, *state)) out.emplace_back(Changed{entry.id, std::nullopt});
    }
}

// ---- agents ----

void Core::on_reading(Instant now, Id id, AgentReading reading, Actions& out) {
    notice(now);
    if (id >= jobs_.size() || !jobs_[id] || jobs_[id]->stage != Stage::round) return;
    auto* state = std::get_if<AgentState>(&jobs_[id]->what);
    if (state == nullptr) return;
    if (!reading.understood) {
        agent_silent(now, id, reading.text, out);
    } else {
        --under_way_;
        jobs_[id]->stage = Stage::waiting;
        Weight next{std::min(reading.percent, 100U), reading.wish, bounded(std::move(reading.text)), now};
        Weight& weight = state->weight;
        const bool changed = weight.percent != next.percent || weight.wish != next.wish || weight.text != next.text;
        weight = std::move(next);
        if (changed) out.emplace_back(Changed{id, std::nullopt});
        plan_next(now, id, false);
    }
    feed(now, out);
}

void Core::agent_silent(Instant now, Id id, const std::string& why, Actions& out) {
    auto& state = std::get<AgentState>(jobs_[id]->what);
    --under_way_;
    ++counters_.agent_silences;
    jobs_[id]->stage = Stage::waiting;
    Weight& weight = state.weight;
    const Duration patience = std::max<Duration>(silence_min, state.agent.interval * 10);
    Weight next = weight;
    if (now - std::max(weight.answered.value_or(state.since), state.since) <= patience) {
        next.text = bounded(why + (weight.answered ? "; its last word counts" : ""));
    } else {
        next.text = bounded(why + "; silent for more than " + format_duration(patience) + ": full weight");
        next.percent = 100;
        next.wish = AgentReading::Wish::none;
    }
    const bool changed = weight.percent != next.percent || weight.wish != next.wish || weight.text != next.text;
    weight = std::move(next);
    if (changed) out.emplace_back(Changed{id, std::nullopt});
    plan_next(now, id, false);
}

// ---- our own faults ----

void Core::on_environment(Instant now, const std::optional<Environment>& environment, Actions& out) {
    notice(now);
    const bool held = !guard_.holding(now).empty();
    if (guard_.on_environment(now, environment)) {
        // It began before heartbeatd could know.
        for (const auto& job : jobs_) {
            if (!job) continue;
            if (auto* state = std::get_if<TargetState>(&job->what)) state->judge.forgive();
        }
    }
    if (held && guard_.holding(now).empty()) {
        // What is known is old: all are asked anew, spread as at the start.
        for (Id id = 0; id < jobs_.size(); ++id) {
            if (jobs_[id] && jobs_[id]->stage == Stage::waiting) plan_first(now, id);
        }
    }
    feed(now, out);
}

}  // namespace lbcluster::health
