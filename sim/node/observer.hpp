// What a simulated node lets others see: for the timeline and the invariants. Nothing that is done here may change
// anything.
#pragma once

#include <vector>

#include "heartbeat/core/session.hpp"
#include "heartbeat/core/types.hpp"
#include "heartbeat/wire/envelope.hpp"

namespace lbcluster::sim {

class Node;
struct FaultPlan;

class Observer {
  public:
    virtual ~Observer() = default;
    // The daemon began or ended; it runs now or not.
    virtual void on_process(Node& node) { (void)node; }
    // The core's activity or claim is another one since the last turn.
    virtual void on_activity(Node& node, heartbeat::Activity before) { (void)node, (void)before; }
    virtual void on_note(Node& node, const heartbeat::Note& note) { (void)node, (void)note; }
    virtual void on_answer(Node& node, const heartbeat::Answer& answer) { (void)node, (void)answer; }
    // A datagram was looked at. `noise`: a fault made it; `message` is what was decoded, if anything was.
    struct Datagram {
        std::uint32_t link = 0;
        bool noise = false;
        heartbeat::Drop drop = heartbeat::Drop::none;
        heartbeat::Verdict verdict = heartbeat::Verdict::accepted;
        const heartbeat::Heartbeat* message = nullptr;
    };
    virtual void on_datagram(Node& node, const Datagram& datagram) { (void)node, (void)datagram; }
    virtual void on_sent(Node& node, const heartbeat::SendHeartbeat& sent) { (void)node, (void)sent; }
    // An address probe was answered, or a ping.
    virtual void on_probe_answer(Node& node, bool echo) { (void)node, (void)echo; }
    virtual void on_ping_reply(Node& node) { (void)node; }
    // Every address is to be announced.
    virtual void on_announce(Node& node) { (void)node; }
    // Floating IPs in a kernel, a neighbour cache, a carrier, power, or what passes on a network changed.
    virtual void on_change() {}
    // A fault of the scenario begins or ends (a blinking one each time).
    virtual void on_fault(const FaultPlan& fault, bool begins) { (void)fault, (void)begins; }
    // After each turn of a daemon's loop.
    virtual void on_turn(Node& node) { (void)node; }
};

// Passes everything on to those who look.
class Observers : public Observer {
  public:
    void add(Observer& observer) { all_.push_back(&observer); }
    void on_process(Node& node) override { tell(&Observer::on_process, node); }
    void on_activity(Node& node, heartbeat::Activity before) override { tell(&Observer::on_activity, node, before); }
    void on_note(Node& node, const heartbeat::Note& note) override { tell(&Observer::on_note, node, note); }
    void on_answer(Node& node, const heartbeat::Answer& answer) override { tell(&Observer::on_answer, node, answer); }
    void on_datagram(Node& node, const Datagram& datagram) override { tell(&Observer::on_datagram, node, datagram); }
    void on_sent(Node& node, const heartbeat::SendHeartbeat& sent) override { tell(&Observer::on_sent, node, sent); }
    void on_probe_answer(Node& node, bool echo) override { tell(&Observer::on_probe_answer, node, echo); }
    void on_ping_reply(Node& node) override { tell(&Observer::on_ping_reply, node); }
    void on_announce(Node& node) override { tell(&Observer::on_announce, node); }
    void on_change() override { tell(&Observer::on_change); }
    void on_fault(const FaultPlan& fault, bool begins) override { tell(&Observer::on_fault, fault, begins); }
    void on_turn(Node& node) override { tell(&Observer::on_turn, node); }

  private:
    template <class Method, class... Arguments>
    void tell(Method method, Arguments&&... arguments) {
        for (Observer* observer : all_) (observer->*method)(arguments...);
    }
    std::vector<Observer*> all_;
};

}  // namespace lbcluster::sim
