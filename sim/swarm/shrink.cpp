#include "sim/swarm/shrink.hpp"

#include <algorithm>
#include <sstream>

#include "lbcluster/config/schema.hpp"
#include "sim/run/report.hpp"
#include "sim/scenario/scenario.hpp"

namespace lbcluster::sim {

namespace {

class Shrinker {
  public:
    Shrinker(const Mix& failing, const Outcome& outcome, unsigned runs_max)
        : best_(failing), invariant_(outcome.invariant), name_(outcome.name), left_(runs_max) {
        shorten_to(outcome);
    }

    Mix run() {
        for (std::size_t before = 0; before != best_.faults.size() && left_ > 0;) {
            before = best_.faults.size();
            drop_faults();
        }
        simplify();
        for (int round = 0; round < 3; ++round) halve();
        drop_faults();
        return best_;
    }

  private:
    bool attempt(const Mix& mix) {
        if (left_ == 0) return false;
        --left_;
        const Outcome outcome = run_trial(compose(mix), false);
        if (!outcome.violated || outcome.invariant != invariant_ || outcome.name != name_) return false;
        best_ = mix;
        shorten_to(outcome);
        return true;
    }

    // Nothing after the violation matters.
    void shorten_to(const Outcome& outcome) {
        if (outcome.invariant == 0) return;
        best_.duration = std::max<Duration>(std::chrono::ceil<milliseconds>(outcome.at) + 100ms, 1s);
        std::erase_if(best_.faults, [&](const Fault& fault) { return to_duration(fault.at()) > outcome.at; });
    }

    void drop_faults() {
        for (std::size_t size = std::max<std::size_t>(best_.faults.size() / 2, 1); size > 0; size /= 2) {
            for (std::size_t begin = 0; begin < best_.faults.size();) {
                Mix mix = best_;
                const auto first = mix.faults.begin() + static_cast<std::ptrdiff_t>(begin);
                const auto count = std::min(size, mix.faults.size() - begin);
                mix.faults.erase(first, first + static_cast<std::ptrdiff_t>(count));
                if (!attempt(mix)) begin += size;
            }
        }
    }

    template <class Change>
    void simplify_one(Change change) {
        Mix mix = best_;
        change(mix);
        attempt(mix);
    }

    void simplify() {
        simplify_one([](Mix& mix) { mix.longer_deadtime = false; });
        simplify_one([](Mix& mix) {
            mix.timers = Timers::lan();
            mix.longer_deadtime = false;
        });
        simplify_one([](Mix& mix) { mix.failback_delay = Duration{0}; });
        simplify_one([](Mix& mix) { mix.vip_lease.clear(); });
        simplify_one([](Mix& mix) { mix.address_probe.clear(); });
        simplify_one([](Mix& mix) { mix.isolation.clear(); });
        simplify_one([](Mix& mix) { mix.boot[0] = mix.boot[1] = Duration{0}; });
        simplify_one([](Mix& mix) { mix.machine_boot = 1s; });
        simplify_one([](Mix& mix) { mix.floating_ips = {"10.77.0.200"}; });
        simplify_one([](Mix& mix) { mix.v6_links = false; });
        simplify_one([](Mix& mix) {
            mix.roles[0] = "primary";
            mix.roles[1] = "secondary";
        });
        simplify_one([](Mix& mix) { mix.ping_nodes = std::min(mix.ping_nodes, 1U); });
        simplify_one([](Mix& mix) { mix.links = {"lan", "hb"}; });
        simplify_one([](Mix& mix) { mix.links = {"lan"}; });
    }

    void halve() {
        for (std::size_t i = 0; i < best_.faults.size(); ++i) {
            if (best_.faults[i].has_on()) {
                simplify_one([i](Mix& mix) {
                    mix.faults[i].clear_on();
                    mix.faults[i].clear_off();
                });
            }
            if (i >= best_.faults.size() || !best_.faults[i].has_for_()) continue;
            simplify_one([i](Mix& mix) {
                const Duration half = to_duration(mix.faults[i].for_()) / 2;
                *mix.faults[i].mutable_for_() =
                    from_duration(std::max<Duration>(std::chrono::duration_cast<milliseconds>(half), 1ms));
            });
        }
    }

    Mix best_;
    unsigned invariant_;
    std::string name_;
    unsigned left_;
};

}  // namespace

Mix shrink(const Mix& failing, const Outcome& outcome, unsigned runs_max) {
    return Shrinker(failing, outcome, runs_max).run();
}

std::string scenario_file(const Mix& mix, const Outcome& outcome) {
    Scenario scenario = compose(mix);
    scenario.set_title("Swarm, seed " + std::to_string(mix.seed) + ": " +
                       (outcome.invariant == 0 ? "" : "invariant " + std::to_string(outcome.invariant) + ", ") +
                       outcome.name);
    std::string text = "# Found by lbcluster-sim swarm with seed " + std::to_string(mix.seed) +
                       ", made smaller.\n# At " + clock_text(outcome.at) + ": " + outcome.what + "\n#\n";
    std::istringstream story(outcome.text);
    for (std::string line; std::getline(story, line);) text += line.empty() ? "#\n" : "# " + line + "\n";
    return text + config::to_yaml(scenario);
}

}  // namespace lbcluster::sim
