// What happened in a simulation, for people: events with their time, who, and why; who was active and whose kernel
// answered when. Bounded; the newest are kept.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "sim/world/world.hpp"

namespace lbcluster::sim {

struct TimelineEvent {
    Duration at{0};
    std::string who;       // node, host, or "fault"
    std::string kind;      // of the note, or fault-begins, fault-ends, kernel, violation ...
    std::string severity;  // info, warning, alarm
    std::string text;
    std::map<std::string, std::string> inputs;
};

// From then on, until the next one.
struct Span {
    Duration from{0};
    std::string value;
};

class Recorder : public Observer {
  public:
    explicit Recorder(bool keep_events) : keep_events_(keep_events) {}
    void watch(World& world) { world_ = &world; }

    void add(std::string who, std::string kind, std::string severity, std::string text,
             std::map<std::string, std::string> inputs = {});
    [[nodiscard]] const std::vector<TimelineEvent>& events() const { return events_; }
    // By node: what its daemon says (starting, passive, active, standby, down, stopped), and whether its kernel answers
    // (serves, silent).
    [[nodiscard]] const std::map<std::string, std::vector<Span>>& activities() const { return activities_; }
    [[nodiscard]] const std::map<std::string, std::vector<Span>>& kernels() const { return kernels_; }

    void on_process(Node& node) override;
    void on_activity(Node& node, heartbeat::Activity before) override;
    void on_note(Node& node, const heartbeat::Note& note) override;
    void on_answer(Node& node, const heartbeat::Answer& answer) override;
    void on_change() override;
    void on_fault(const FaultPlan& fault, bool begins) override;

  private:
    void put(std::vector<Span>& spans, const std::string& value);
    void look(Node& node);

    World* world_ = nullptr;
    bool keep_events_;
    std::vector<TimelineEvent> events_;
    std::map<std::string, std::vector<Span>> activities_;
    std::map<std::string, std::vector<Span>> kernels_;
};

// "crash lb1", "loss 20% on lan from lb1": for timelines and violations.
std::string describe(const Fault& fault);

}  // namespace lbcluster::sim
