// A health core in virtual time, with servers that are a table: what each answers, and after how long. The rig is the
// shell: it carries out actions and steps from deadline to deadline.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "healthd/core/core.hpp"

namespace lbcluster::health::testing {

inline ProbeSpec spec_of(const std::string& address, std::uint16_t port = 80) {
    ProbeSpec spec;
    spec.check.set_type(config::CHECK_TYPE_CONNECT);
    spec.address = *IpAddress::parse(address);
    spec.port = port;
    return spec;
}

inline Target target_of(const std::string& address, Duration interval = 1s, Duration timeout = 500ms) {
    Target target;
    target.leaves.push_back(spec_of(address));
    target.interval = interval;
    target.timeout = timeout;
    return target;
}

inline std::string address_of(std::size_t n) {
    return "10." + std::to_string(n / 65536 % 256) + "." + std::to_string(n / 256 % 256) + "." +
           std::to_string(n % 256);
}

struct Answer {
    Finding finding = Finding::up;
    Duration after = 1ms;  // of the start of the probe
    std::string reason = "fine";
};

class Rig {
  public:
    explicit Rig(Options options = {"lb1", 1, 1000}, Memory memory = {})
        : core(std::move(options), std::move(memory)) {}

    Ids configure(Plan plan) {
        Ids ids = core.configure(now, std::move(plan), actions_);
        carry_out();
        return ids;
    }
    Ids configure(std::vector<Target> targets) { return configure(Plan{std::move(targets), {}}); }
    void environment(const std::optional<Environment>& environment) {
        core.on_environment(now, environment, actions_);
        carry_out();
    }

    // Virtual time goes on by `d`; answers and deadlines come in their order.
    void run(Duration d) {
        const Instant end = now + d;
        while (true) {
            const Instant answer = pending_.empty() ? Instant::max() : pending_.begin()->first.first;
            const Instant next = std::min(answer, core.next_deadline());
            if (next > end) break;
            now = std::max(now, next);
            if (answer <= core.next_deadline()) deliver();
            else core.step(now, actions_);
            carry_out();
        }
        now = end;
    }
    // The process stands still: answers come, but nobody looks.
    void freeze(Duration d) {
        now += d;
        core.step(now, actions_);
        carry_out();
    }

    [[nodiscard]] Health health(Id id) const { return core.verdict(id).health; }

    Instant now{1000s};
    std::function<Answer(Id, const ProbeSpec&)> server = [](Id, const ProbeSpec&) { return Answer{}; };
    std::function<AgentReading(Id)> agent = [](Id) {
        return AgentReading{true, 100, AgentReading::Wish::none, "100%"};
    };
    bool agents_answer = true;
    Core core;
    struct Start {
        Instant at;
        Id id;
    };
    std::vector<Start> starts;
    std::vector<Instant> agent_reads;
    struct Change {
        Instant at;
        Id id;
        Health before;
        Health after;
    };
    std::vector<Change> changes;
    std::size_t most_under_way = 0;
    std::set<Id> forgotten;

  private:
    struct Pending {
        Id id;
        std::uint32_t leaf;
        Outcome outcome;
        bool agent = false;
    };

    void deliver() {
        const Pending pending = std::move(pending_.begin()->second);
        pending_.erase(pending_.begin());
        if (pending.agent) core.on_reading(now, pending.id, agent(pending.id), actions_);
        else core.on_outcome(now, pending.id, pending.leaf, pending.outcome, actions_);
    }

    void carry_out() {
        while (!actions_.empty()) {
            const Actions actions = std::exchange(actions_, {});
            for (const Action& action : actions) std::visit([this](const auto& a) { act(a); }, action);
        }
        ASSERT_EQ(core.under_way(), pending_.size() + silent_.size());
        most_under_way = std::max(most_under_way, core.under_way());
    }
    void act(const StartProbe& start) {
        starts.push_back({now, start.id});
        const ProbeSpec& spec = core.target(start.id).leaves.at(start.leaf);
        const Answer answer = server(start.id, spec);
        if (answer.after == Duration::max()) silent_.insert({start.id, start.leaf});
        else
            pending_.emplace(std::pair{now + answer.after, ++order_},
                             Pending{start.id, start.leaf, {answer.finding, answer.reason}});
    }
    void act(const StopProbe& stop) {
        silent_.erase({stop.id, stop.leaf});
        std::erase_if(pending_, [&](const auto& p) {
            return p.second.id == stop.id && p.second.leaf == stop.leaf && !p.second.agent;
        });
        if (stop.timed_out) core.on_stopped(now, stop.id, stop.leaf, "greeting", actions_);
    }
    void act(const AskAgent& ask) {
        agent_reads.push_back(now);
        if (agents_answer) pending_.emplace(std::pair{now + 1ms, ++order_}, Pending{ask.id, 0, {}, true});
        else silent_.insert({ask.id, UINT32_MAX});
    }
    void act(const StopAgent& stop) {
        silent_.erase({stop.id, UINT32_MAX});
        std::erase_if(pending_, [&](const auto& p) { return p.second.id == stop.id && p.second.agent; });
    }
    void act(const Changed& changed) {
        if (changed.before) changes.push_back({now, changed.id, *changed.before, core.verdict(changed.id).health});
    }
    void act(const Forget& forget) { forgotten.insert(forget.id); }

    Actions actions_;
    std::map<std::pair<Instant, std::uint64_t>, Pending> pending_;
    std::set<std::pair<Id, std::uint32_t>> silent_;
    std::uint64_t order_ = 0;
};

}  // namespace lbcluster::health::testing
