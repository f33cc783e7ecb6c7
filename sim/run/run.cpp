#include "sim/run/run.hpp"

#include <algorithm>

#include "sim/faults/faults.hpp"
#include "sim/invariants/conduct.hpp"
#include "sim/run/expectations.hpp"

namespace lbcluster::sim {

namespace {

class Counter : public Observer {
  public:
    void on_sent(Node& /*node*/, const heartbeat::SendHeartbeat& /*sent*/) override { ++heartbeats; }
    std::uint64_t heartbeats = 0;
};

}  // namespace

RunResult run_simulation(const Loaded& scenario, const RunOptions& options) {
    RunResult result;
    result.seed = options.seed.value_or(scenario.scenario.seed());
    result.duration = to_duration(scenario.scenario.duration());

    Observers observers;
    Recorder recorder(options.events);
    ServiceWatch service;
    Counter counter;
    World world(scenario, {result.seed, options.probe_min, options.pcap_dir}, observers);
    Invariants invariants(world, service, recorder, options.stop_at_violation);
    Conduct conduct(world, service, invariants);
    Expectations expectations(world, service, recorder);
    recorder.watch(world);
    service.watch(world);
    observers.add(recorder);
    observers.add(service);
    observers.add(counter);
    if (options.invariants) {
        observers.add(invariants);
        observers.add(conduct);
    }
    if (options.observer != nullptr) observers.add(*options.observer);

    Faults faults(world, scenario.faults);
    world.start();
    faults.start();
    expectations.start();
    ns3::Simulator::Stop(ns3::NanoSeconds(result.duration.count()));
    ns3::Simulator::Run();

    service.finish();
    if (options.invariants) invariants.finish();
    result.failures = expectations.finish();
    result.violations = invariants.violations();
    result.events = recorder.events();
    result.activities = recorder.activities();
    result.kernels = recorder.kernels();
    result.gaps = service.gaps();
    result.both = service.both();
    result.moves = service.moves();
    result.longest_gap = service.longest_gap(Duration{0}, result.duration);
    result.longest_both = service.longest_both(Duration{0}, result.duration);
    result.heartbeats = counter.heartbeats;
    result.steps = ns3::Simulator::GetEventCount();
    return result;
}

}  // namespace lbcluster::sim
