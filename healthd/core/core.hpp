// The health core: when which server is asked what, and what the answers mean. Time and outcomes in, actions out; the
// shell (healthd/daemon.hpp) probes, keeps one timer for next_deadline() and calls step() when it is due.
//
//   target: waiting --due--> round --all it depends on has ended, or the deadline--> waiting
//                 \--no place--> queued --place--/            (agents: the same with one question)
//
// Invariants: one round of a target at a time, ended by its timeout at the latest; never more than `probes_max` probes
// under way; every StartProbe is answered by exactly one of on_outcome(), on_stopped() or a StopProbe of ours; a
// verdict changes only as judge.hpp says. Each job has exactly one time on the agenda, or none while it is queued.
//
// Rounds begin within [0.9, 1] x interval of the one before: `interval` is the longest time between two, so that
// detection_time() is a promise. The first one comes within a second (spread by a hash of target and node), the second
// moves the target to its phase in the interval, then random jitter keeps targets apart. See schedule.hpp.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "healthd/core/guard.hpp"
#include "healthd/core/judge.hpp"
#include "healthd/core/schedule.hpp"
#include "healthd/core/target.hpp"

namespace lbcluster::health {

// ---- actions ----

struct StartProbe {
    Id id;
    std::uint32_t leaf;
};
// `timed_out`: the shell tells what had been reached by on_stopped(). Else nobody waits for it any more.
struct StopProbe {
    Id id;
    std::uint32_t leaf;
    bool timed_out;
};
struct AskAgent {
    Id id;
};
struct StopAgent {
    Id id;
};
// What verdict() or weight() shows has changed.
struct Changed {
    Id id;
    std::optional<Health> before;  // the verdict is another one
};
// The job is gone, its probes were stopped; another one may get its id.
struct Forget {
    Id id;
};
using Action = std::variant<StartProbe, StopProbe, AskAgent, StopAgent, Changed, Forget>;
using Actions = std::vector<Action>;

// ---- values ----

// What an agent says: a line with a percentage, a word, or both. Every line is the whole truth: one without a word
// takes an earlier drain or down back, one without a percentage means all of the weight.
struct AgentReading {
    enum class Wish : std::uint8_t { none, drain, down };
    bool understood = false;
    unsigned percent = 100;  // 0..100
    Wish wish = Wish::none;
    std::string text;  // what it said, or why it said nothing; one printable line
};

struct Weight {
    unsigned percent = 100;
    AgentReading::Wish wish = AgentReading::Wish::none;
    std::string text;
    std::optional<Instant> answered;
};

struct Verdict {
    Health health = Health::unknown;
    std::optional<Instant> since;    // of this health
    std::optional<Instant> checked;  // a round ended, whatever it found
    std::string reason;
    Duration took{};
    bool overdue = false;  // no round that counts has ended for longer than detection_time() and a second
};

// What outlives the process; see remember().
struct Remembered {
    Verdict verdict;  // of a target
    Weight weight;    // of an agent
};
using Memory = std::unordered_map<std::uint64_t, Remembered>;  // by the hash of the question (target) or key (agent)

struct Plan {
    std::vector<Target> targets;
    std::vector<Agent> agents;
};
struct Ids {  // in the order of the plan; equal jobs have equal ids
    std::vector<Id> targets;
    std::vector<Id> agents;
};

struct Options {
    std::string node;            // name of this node: both nodes of a pair ask at other times
    std::uint64_t seed = 0;      // of the jitter
    std::size_t probes_max = 1;  // under way at once
};

struct Counters {
    std::uint64_t probes = 0;  // started
    std::uint64_t rounds = 0;  // ended
    std::uint64_t failures = 0;
    std::uint64_t timeouts = 0;  // of probes
    std::uint64_t unusable = 0;  // rounds that said nothing, by our own fault
    std::uint64_t excused = 0;   // failures that did not count
    std::uint64_t queued = 0;    // rounds that had to wait for a place
    std::uint64_t late = 0;      // times that we came too late
    std::uint64_t agent_reads = 0;
    std::uint64_t agent_silences = 0;
};

struct Totals {
    std::size_t up = 0;
    std::size_t down = 0;
    std::size_t standby = 0;
    std::size_t unknown = 0;
    std::size_t overdue = 0;
};

// ---- the state of one job; the core's own ----

struct TargetState {
    Target target;
    Judge judge;
    Verdict verdict;
    std::vector<LeafState> leaves;
    std::size_t next_leaf = 0;  // first one of this round that has not begun
    std::size_t running = 0;
    bool timed_out = false;  // this round
    bool wasted = false;     // the round before said nothing
    bool lenient = false;    // a failure was excused by our own lateness, since the last success
    Instant counted{};       // when a round that counts last ended; else the beginning
};
struct AgentState {
    Agent agent;
    Weight weight;
    Instant since{};  // when it was added
};
enum class JobStage : std::uint8_t { waiting, queued, round };
struct Job {
    std::string key;
    std::variant<TargetState, AgentState> what;
    JobStage stage = JobStage::waiting;
    bool in_queue = false;
    bool phased = false;       // it has come to its phase in the interval
    double phase = 0;          // 0..1, of the interval
    Instant start{};           // of the round
    Instant planned{};         // of the next one
    bool on_spread = false;    // `planned` is counted there
    bool put_off = false;      // after a stall, once
    bool wanted = true;        // by the plan that is being configured
    std::uint64_t serial = 0;  // of this job; ids are used again
    std::uint64_t hash = 0;    // of the question (target) or key (agent)
};

class Core {
  public:
    explicit Core(Options options, Memory memory = {});

    // Targets and agents whose key is unchanged keep everything; one that is asked the same at another pace keeps its
    // verdict. New ones begin within a second.
    Ids configure(Instant now, Plan plan, Actions& out);
    void set_options(Options options) { options_ = std::move(options); }

    void on_outcome(Instant now, Id id, std::uint32_t leaf, Outcome outcome, Actions& out);
    void on_stopped(Instant now, Id id, std::uint32_t leaf, const std::string& reached, Actions& out);
    void on_reading(Instant now, Id id, AgentReading reading, Actions& out);
    // Nothing: heartbeatd does not tell.
    void on_environment(Instant now, const std::optional<Environment>& environment, Actions& out);
    // Does what is due; of very much a part, and next_deadline() is still in the past.
    void step(Instant now, Actions& out);
    [[nodiscard]] Instant next_deadline() const { return agenda_.next(); }

    [[nodiscard]] const Target& target(Id id) const { return target_of(id).target; }
    [[nodiscard]] const Verdict& verdict(Id id) const { return target_of(id).verdict; }
    [[nodiscard]] const Agent& agent(Id id) const { return agent_of(id).agent; }
    [[nodiscard]] const Weight& weight(Id id) const { return agent_of(id).weight; }
    // Why failures do not count now; empty: they do.
    [[nodiscard]] std::string holding(Instant now) const { return guard_.holding(now); }
    // Marks those that wait for a place for too long; looks at the queue only.
    void find_overdue(Instant now, Actions& out);

    [[nodiscard]] const Counters& counters() const { return counters_; }
    // Why the newest failure that did not count did not.
    [[nodiscard]] const std::string& last_excuse() const { return last_excuse_; }
    [[nodiscard]] const Totals& totals() const { return totals_; }
    [[nodiscard]] std::size_t under_way() const { return under_way_; }
    [[nodiscard]] std::size_t waiting() const { return queue_.size(); }
    // All verdicts and weights, to be given to the next Core.
    void remember(const std::function<void(std::uint64_t hash, const Remembered&)>& visit) const;

  private:
    using Stage = JobStage;
    struct Queued {
        Id id;
        std::uint64_t serial;
        Instant since;
    };

    [[nodiscard]] const TargetState& target_of(Id id) const { return std::get<TargetState>(jobs_[id]->what); }
    [[nodiscard]] const AgentState& agent_of(Id id) const { return std::get<AgentState>(jobs_[id]->what); }
    [[nodiscard]] std::optional<Id> known(const std::string& key);
    Id add(Instant now, std::string key, std::variant<TargetState, AgentState> what, Actions& out);
    void remove(Id id, Actions& out);
    void enqueue(Instant now, Id id, bool first);

    void plan(Id id, Instant at);
    void plan_spread(Id id, Instant from, Duration width);
    void plan_first(Instant now, Id id);
    void plan_next(Instant now, Id id, bool soon);
    void take_off(Job& job);

    void begin(Instant now, Id id, Actions& out);
    void start_leaves(Instant now, Id id, Actions& out);
    void feed(Instant now, Actions& out);
    void due(Instant now, Id id, Actions& out);
    void time_out(Instant now, Id id, Actions& out);
    void leaf_ended(Instant now, Id id, std::uint32_t leaf, Outcome outcome, Actions& out);
    void settle(Instant now, Id id, Actions& out);
    void finish(Instant now, Id id, Finding finding, Actions& out);
    void judge(Instant now, Id id, Finding finding, const std::string& reason, Actions& out);
    bool set_overdue(Instant now, TargetState& state);
    void agent_silent(Instant now, Id id, const std::string& why, Actions& out);
    void notice(Instant now);
    std::size_t& total_of(Health health);

    Options options_;
    Memory memory_;
    Agenda agenda_;
    Spread spread_;
    Guard guard_;
    std::vector<std::unique_ptr<Job>> jobs_;  // by id
    std::vector<Id> free_;
    std::unordered_map<std::string_view, Id> by_key_;
    std::deque<Queued> queue_;
    std::size_t under_way_ = 0;
    std::uint64_t serial_ = 0;
    Counters counters_;
    std::string last_excuse_;
    Totals totals_;
};

}  // namespace lbcluster::health
