#include "bench/trial.hpp"

#include <algorithm>
#include <csignal>
#include <random>
#include <set>
#include <thread>

#include "bench/page.hpp"
#include "tests/lab/measure.hpp"

namespace lbcluster::bench {

namespace {

using namespace std::chrono_literals;
using lab::Nanoseconds;

double in_ms(Nanoseconds time) { return static_cast<double>(time.count()) / 1e6; }

double gap_of(const lab::ProbeReport& report) { return report.lost == 0 ? 0 : in_ms(report.longest_gap); }

void note_announcements(Sample& sample, const lab::SentPackets& sent, std::optional<std::int64_t> claimed_ns) {
    const auto seen = sent.announcements();
    if (seen.empty()) return;
    std::set<std::string> told;
    std::int64_t complete = 0;
    const std::int64_t first = seen.front().time_ns;
    for (const auto& one : seen) {
        if (told.insert(one.address).second) complete = one.time_ns;
        if (one.time_ns < first + 1'000'000'000) ++sample.in_first_second;
    }
    sample.first_to_last_ms = static_cast<double>(complete - first) / 1e6;
    if (claimed_ns) sample.claim_to_last_ms = static_cast<double>(complete - *claimed_ns) / 1e6;
}

}  // namespace

Trial::Trial(lab::Lab& lab, const Setup& setup, std::size_t addresses)
    : lab_(lab), setup_(setup), addresses_(floating_addresses(addresses)), contender_(make(lab, setup, addresses)) {
    start_all();
}

Trial::~Trial() {
    for (const char* node : {"lb1", "lb2"}) {
        contender_->forget(node);
        lab_.kill_processes(node);
    }
    contender_.reset();
    for (const char* node : {"lb1", "lb2"}) {
        lab_.heal(node);
        lab_.reset_addresses(node);
    }
}

// heartbeat runs scripts for each address.
Nanoseconds Trial::patience() const {
    return 30s + (setup_.product == Product::heartbeat ? addresses_.size() * 1000ms : 0s);
}

void Trial::start_all() {
    contender_->start("lb1");
    if (!lab::wait_until([&] { return lab_.holds("lb1", first_address); }, patience(), 20ms))
        lab::fail(setup_.name + " does not serve:\n" + contender_->log("lb1"));
    contender_->start("lb2");
}

void Trial::kill(const std::string& node) {
    contender_->forget(node);
    lab_.kill_processes(node);
}

void Trial::restart() {
    for (const char* node : {"lb1", "lb2"}) kill(node);
    for (const char* node : {"lb1", "lb2"}) {
        lab_.heal(node);
        lab_.reset_addresses(node);
        contender_->clean(node);
        contender_->service().set_powered(node, true);
    }
    start_all();
}

// Empty: not one node alone.
std::string Trial::who_serves() {
    std::string found;
    for (const std::string node : {"lb1", "lb2"}) {
        const auto held = lab_.addresses(node);
        const auto count = std::count_if(addresses_.begin(), addresses_.end(),
                                         [&](const std::string& address) { return held.contains(address); });
        if (count == 0) continue;
        if (!found.empty() || static_cast<std::size_t>(count) != addresses_.size()) return "";
        found = node;
    }
    return found;
}

std::string Trial::settle() {
    std::string active;
    const auto one_serves = [&] {
        active = who_serves();
        return !active.empty() && contender_->settled(active);
    };
    if (!lab::wait_until(one_serves, patience(), 50ms)) {
        const std::string what = setup_.name + " did not come to rest: not one node serves and the other waits";
        if (setup_.product == Product::ours) lab::fail(what + "\n" + contender_->log("lb1") + contender_->log("lb2"));
        say("  " + what + "; started anew\n");
        restart();
        if (!lab::wait_until(one_serves, patience(), 50ms)) lab::fail(what + ", twice");
    }
    // Longer than the timers; then at any moment between two heartbeats.
    static std::mt19937 random(1);
    const bool slow = setup_.product == Product::heartbeat || setup_.timers.empty() || setup_.timers == "profile: lan";
    std::this_thread::sleep_for((slow ? 1500ms : 700ms) + std::chrono::milliseconds(random() % (slow ? 1000 : 200)));
    return active;
}

void Trial::strike_down(const std::string& node, Fault fault) {
    const bool service = fault == Fault::killed_service || fault == Fault::frozen_service || fault == Fault::gone;
    switch (fault) {
        case Fault::gone:
            lab_.cut_off(node, true);
            break;
        case Fault::cable:
            lab_.cable(node, "eth0", false);
            break;
        case Fault::planned:
            contender_->hand_over(node);
            break;
        case Fault::frozen_kernel:
        case Fault::frozen_service:
            signal_all(node, SIGSTOP);
            break;
        case Fault::killed_kernel:
        case Fault::killed_service:
            break;
    }
    if (service) contender_->service().set_powered(node, false);
    if (fault == Fault::killed_kernel || fault == Fault::killed_service || fault == Fault::gone) kill(node);
    if (fault == Fault::gone)
        for (const char* interface : {"eth0", "eth1"}) lab_.cable(node, interface, false);
}

void Trial::repair(const std::string& node, Fault fault) {
    if (fault == Fault::planned) return;
    if (fault == Fault::cable) return lab_.cable(node, "eth0", true);
    if (fault == Fault::frozen_kernel || fault == Fault::frozen_service) {
        signal_all(node, SIGCONT);
    } else {
        lab_.reset_addresses(node);
        contender_->clean(node);
        if (fault == Fault::gone) {
            for (const char* interface : {"eth0", "eth1"}) lab_.cable(node, interface, true);
            lab_.cut_off(node, false);
        }
        contender_->start(node);
    }
    contender_->service().set_powered(node, true);
}

std::optional<Sample> Trial::strike(Fault fault) {
    const std::string active = settle();
    const std::string next = other(active);
    lab::Prober first(lab_.host("client"), contender_->service(), first_address);
    lab::Prober last(lab_.host("client"), contender_->service(), addresses_.back());
    if (!first.wait_answers(active, 5s) || !last.wait_answers(active, 5s))
        lab::fail(setup_.name + ": " + active + " does not answer");
    const lab::SentPackets announced(lab_.host(next), "eth0");
    lab::Witness witness;
    first.mark();
    last.mark();
    strike_down(active, fault);
    const bool taken = first.wait_answers(next, patience()) && last.wait_answers(next, patience());
    std::optional<Sample> sample;
    if (taken) {
        std::this_thread::sleep_for(300ms);
        const auto report = first.report();
        const auto report_last = last.report(0ms);
        sample = Sample{gap_of(report), gap_of(report_last),
                        in_ms(std::max({report.own_lateness, report_last.own_lateness, witness.latest()}))};
        std::this_thread::sleep_for(addresses_.size() > 1 ? 1s : 0s);
        note_announcements(*sample, announced, contender_->claimed_ns(next));
    }
    repair(active, fault);
    return sample;
}

}  // namespace lbcluster::bench
