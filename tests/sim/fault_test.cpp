// OP-8: each kind of fault does what its name says. For every kind one run with it and one without, and something that
// differs: a test that fails if the fault were ignored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/run/run.hpp"

namespace lbcluster::sim {
namespace {

using Datagram = Observer::Datagram;

// What can be counted from outside, from 5 s on (the fault's time).
struct Counts : Observer {
    std::uint64_t received = 0, noise = 0, refused = 0, replayed = 0, late = 0, pings = 0, probes = 0, stopped = 0;
    std::uint64_t foreign = 0;
    Duration longest_rest{0};
    std::map<const Node*, Duration> heard_at;
    std::vector<std::string> notes;
    std::vector<unsigned> answers;

    void on_datagram(Node& node, const Datagram& datagram) override {
        if (elapsed() < 5s) return;
        ++received;
        noise += datagram.noise ? 1 : 0;
        refused += datagram.drop != heartbeat::Drop::none ? 1 : 0;
        replayed += datagram.verdict == heartbeat::Verdict::replayed ? 1 : 0;
        late += datagram.verdict == heartbeat::Verdict::accepted_late ? 1 : 0;
        Duration& at = heard_at[&node];
        if (at > Duration{0}) longest_rest = std::max(longest_rest, elapsed() - at);
        at = elapsed();
    }
    void on_ping_reply(Node& /*node*/) override { pings += elapsed() < 5s ? 0 : 1; }
    void on_probe_answer(Node& /*node*/, bool /*echo*/) override { probes += elapsed() < 5s ? 0 : 1; }
    void on_note(Node& node, const heartbeat::Note& note) override {
        if (elapsed() >= 5s) notes.push_back(node.name() + " " + note.kind + " " + note.text);
    }
    void on_answer(Node& /*node*/, const heartbeat::Answer& answer) override { answers.push_back(answer.exit_code); }
    [[nodiscard]] bool noted(const std::string& text) const {
        return std::any_of(notes.begin(), notes.end(),
                           [&](const std::string& note) { return note.find(text) != std::string::npos; });
    }
};

struct Trial {
    RunResult result;
    Counts counts;
    [[nodiscard]] std::string last(const std::string& node) const { return result.activities.at(node).back().value; }
    [[nodiscard]] bool was(const std::string& node, const std::string& activity, Duration from = 5s) const {
        for (const Span& span : result.activities.at(node)) {
            if (span.from >= from && span.value == activity) return true;
        }
        return false;
    }
};

// 15 s with these faults.
Trial with(const std::string& faults, const std::string& more = "") {
    const Loaded scenario =
        load_scenario_text("title: t\nduration: 15s\n" + more + "faults:\n" + faults, "fault_test.yaml");
    EXPECT_TRUE(scenario.ok()) << config::format(scenario.problems);
    Trial run;
    RunOptions options;
    options.observer = &run.counts;
    options.invariants = false;
    if (scenario.ok()) run.result = run_simulation(scenario, options);
    return run;
}
const Trial& without() {
    static const Trial run = with("  []\n");
    return run;
}

TEST(FaultTest, WithoutAnyNothingHappens) {
    EXPECT_EQ(without().result.moves.size(), 0U);
    EXPECT_EQ(without().last("lb1"), "active");
    EXPECT_EQ(without().counts.refused + without().counts.replayed, 0U);
}

TEST(FaultTest, CrashAndBoot) {
    const Trial run = with("  - {at: 5s, fault: crash, node: lb1}\n  - {at: 8s, fault: boot, node: lb1}\n");
    EXPECT_TRUE(run.was("lb1", "down"));
    EXPECT_EQ(run.last("lb1"), "passive");
    EXPECT_EQ(run.last("lb2"), "active");
    EXPECT_TRUE(with("  - {at: 5s, fault: crash, node: lb1, for: 2s}\n").was("lb1", "starting"));
}
TEST(FaultTest, Reboot) {
    const Trial run = with("  - {at: 5s, fault: reboot, node: lb1, for: 4s}\n");
    EXPECT_TRUE(run.was("lb1", "down"));
    EXPECT_EQ(run.result.longest_gap, 0s) << "it hands over first";
    EXPECT_EQ(run.last("lb1"), "passive");
}
TEST(FaultTest, Pause) {
    const Trial run = with("  - {at: 5s, fault: pause, node: lb1, for: 2700ms}\n");
    EXPECT_TRUE(run.was("lb1", "stopped"));
    EXPECT_GE(run.result.longest_gap, 900ms);
    EXPECT_EQ(run.last("lb2"), "active");
}
TEST(FaultTest, KillAndStart) {
    EXPECT_EQ(with("  - {at: 5s, fault: kill, node: lb1}\n").last("lb1"), "no daemon");
    EXPECT_EQ(with("  - {at: 5s, fault: kill, node: lb1, for: 1s}\n").last("lb1"), "active");
    EXPECT_EQ(with("  - {at: 5s, fault: kill, node: lb1}\n  - {at: 12s, fault: start, node: lb1}\n").last("lb1"),
              "passive");
}
TEST(FaultTest, Stop) {
    const Trial run = with("  - {at: 5s, fault: stop, node: lb1, for: 6s}\n");
    EXPECT_TRUE(run.was("lb1", "stopped"));
    EXPECT_EQ(run.last("lb1"), "passive");
    EXPECT_EQ(run.last("lb2"), "active");
}
TEST(FaultTest, Terminate) {
    const Trial run = with("  - {at: 5s, fault: terminate, node: lb1, for: 3s}\n");
    EXPECT_TRUE(run.was("lb1", "no daemon"));
    EXPECT_EQ(run.last("lb1"), "passive");
    EXPECT_EQ(run.result.longest_gap, 0s);
}
TEST(FaultTest, Starve) {
    const Trial run = with("  - {at: 5s, fault: starve, node: lb1, delay: 600ms, for: 5s}\n");
    EXPECT_LT(run.counts.longest_rest, 700ms);
    EXPECT_GT(run.counts.longest_rest, 400ms);
    EXPECT_LT(without().counts.longest_rest, 200ms);
}
TEST(FaultTest, ClockDrift) {
    const Trial run = with("  - {at: 5s, fault: clock_drift, node: lb1, percent: 50}\n");
    EXPECT_GT(run.result.heartbeats, without().result.heartbeats * 11 / 10);
}
TEST(FaultTest, SlowAddresses) {
    const Trial run = with(
        "  - {at: 4s, fault: slow_addresses, node: lb2, delay: 300ms}\n"
        "  - {at: 5s, fault: crash, node: lb1}\n");
    EXPECT_GT(run.result.longest_gap, 1250ms);
}
TEST(FaultTest, FailToAdd) {
    const Trial run = with("  - {at: 4s, fault: fail_to_add, node: lb2}\n  - {at: 5s, fault: activate, node: lb2}\n");
    EXPECT_EQ(run.last("lb1"), "active");
    EXPECT_EQ(run.result.moves.size(), 0U);
}
TEST(FaultTest, DiskFull) {
    const Trial run = with("  - {at: 0s, fault: disk_full, node: lb1}\n");
    EXPECT_TRUE(run.counts.noted("term") || !run.result.events.empty());
    EXPECT_NE(run.result.events.size(), without().result.events.size() + 1) << "an alarm tells";
}
TEST(FaultTest, RemoveAddress) {
    const Trial run = with("  - {at: 5s, fault: remove_address, node: lb1}\n");
    EXPECT_TRUE(run.counts.noted("address-removed"));
    EXPECT_GT(run.result.gaps.size(), 0U);
    EXPECT_LT(run.result.longest_gap, 100ms) << "put back";
}
TEST(FaultTest, Reload) {
    const Trial run = with(
        "  - at: 5s\n    fault: reload\n    cluster: |\n      heartbeat: {deadtime: 2s}\n"
        "      floating_ips: [{address: 10.77.0.201, interface: lan}]\n"
        "  - {at: 8s, fault: crash, node: lb1}\n");
    EXPECT_TRUE(run.counts.noted("config-applied"));
    EXPECT_EQ(run.last("lb2"), "active");
}
TEST(FaultTest, Commands) {
    EXPECT_EQ(with("  - {at: 5s, fault: activate, node: lb2}\n").last("lb2"), "active");
    EXPECT_EQ(with("  - {at: 5s, fault: standby, node: lb1}\n").last("lb1"), "standby");
    EXPECT_EQ(with("  - {at: 5s, fault: standby, node: lb1}\n  - {at: 8s, fault: unstandby, node: lb1}\n").last("lb1"),
              "passive");
    const Trial restart = with("  - {at: 5s, fault: restart, node: lb1}\n");
    EXPECT_TRUE(restart.was("lb1", "starting"));
    EXPECT_TRUE(restart.was("lb2", "starting")) << "both";
}
TEST(FaultTest, CableAndSwitch) {
    EXPECT_TRUE(with("  - {at: 5s, fault: cable, node: lb1, network: lan}\n").counts.noted("lb1 carrier-lost"));
    const Trial down = with("  - {at: 5s, fault: switch_down, network: lan, for: 3s}\n");
    EXPECT_TRUE(down.counts.noted("lb1 carrier-lost"));
    EXPECT_TRUE(down.counts.noted("lb2 carrier-lost"));
    EXPECT_GE(down.result.longest_gap, 3s);
}
TEST(FaultTest, Cut) {
    const Trial all = with("  - {at: 5s, fault: cut, network: hb}\n");
    EXPECT_NEAR(static_cast<double>(all.counts.received), static_cast<double>(without().counts.received) / 2, 20);
    const Trial one = with("  - {at: 5s, fault: cut, network: hb, from: lb1, to: lb2}\n");
    EXPECT_NEAR(static_cast<double>(one.counts.received), static_cast<double>(without().counts.received) * 3 / 4, 20);
}
TEST(FaultTest, LossInBothForms) {
    const double usual = static_cast<double>(without().counts.received);
    EXPECT_NEAR(static_cast<double>(with("  - {at: 5s, fault: loss, percent: 40}\n").counts.received) / usual, 0.6,
                0.15);
    EXPECT_NEAR(
        static_cast<double>(with("  - {at: 5s, fault: burst_loss, percent: 40, delay: 50ms}\n").counts.received) /
            usual,
        0.6, 0.25);
}
TEST(FaultTest, DelayJitterReorderDuplicate) {
    // Of each pair of heartbeats the one through the switch comes second, until the cable is the slower path.
    EXPECT_GT(without().counts.late, 100U);
    EXPECT_LT(with("  - {at: 4s, fault: delay, network: hb, delay: 20ms}\n").counts.late, 10U);
    EXPECT_GT(with("  - {at: 5s, fault: jitter, delay: 400ms}\n").counts.longest_rest,
              without().counts.longest_rest + 100ms);
    const std::string one_path =
        "  - {at: 4s, fault: cut, network: lan, from: lb1, to: lb2}\n"
        "  - {at: 4s, fault: cut, network: lan, from: lb2, to: lb1}\n";
    EXPECT_EQ(with(one_path).counts.late, 0U);
    EXPECT_GT(with(one_path + "  - {at: 5s, fault: reorder, network: hb, percent: 50, delay: 250ms}\n").counts.late,
              10U);
    EXPECT_GT(with("  - {at: 5s, fault: duplicate, percent: 50}\n").counts.replayed, 20U);
}
TEST(FaultTest, Corrupt) {
    const Trial run = with("  - {at: 5s, fault: corrupt, percent: 30}\n");
    EXPECT_LT(run.counts.received, without().counts.received * 9 / 10) << "checksums drop them";
    EXPECT_EQ(run.result.moves.size(), 0U);
}
TEST(FaultTest, Filters) {
    const std::string crash = "  - {at: 6s, fault: crash, node: lb1}\n";
    const Trial deaf = with("  - {at: 5s, fault: filter_announcements, network: lan}\n" + crash);
    EXPECT_GT(deaf.result.longest_gap, with(crash).result.longest_gap + 2s) << "caches keep the old machine";
    const std::string kill = "  - {at: 6s, fault: kill, node: lb1}\n";
    EXPECT_GT(with(kill).counts.probes, 0U);
    EXPECT_EQ(with("  - {at: 5s, fault: filter_arp, network: lan}\n" + kill).counts.probes, 0U);
}
TEST(FaultTest, HostDownAndBlinking) {
    const Trial down = with("  - {at: 5s, fault: host_down, host: gw}\n");
    EXPECT_EQ(down.counts.pings, 0U);
    EXPECT_GT(without().counts.pings, 10U);
    const Trial blinking = with("  - {at: 5s, fault: host_down, host: gw, on: 1500ms, off: 1500ms, for: 9s}\n");
    EXPECT_GT(blinking.counts.pings, 0U);
    EXPECT_TRUE(blinking.counts.noted("ping-nodes-lost"));
    EXPECT_TRUE(blinking.counts.noted("ping-nodes-reached"));
}
TEST(FaultTest, Stranger) {
    const Trial run = with("  - {at: 5s, fault: stranger, host: thief, for: 5s}\n",
                           "hosts: [{name: thief, kind: stranger, addresses: [10.77.0.66]}]\n");
    EXPECT_TRUE(run.counts.noted("lb1 alarm"));
}
TEST(FaultTest, SerialLineCarriesHeartbeatsAndCanBeCut) {
    const std::string pair = R"(nodes:
  - node: |
      {node: lb1, role: primary, interfaces: {lan: eth0}, links: [{serial: /dev/ttyS0, baud: 115200}]}
    addresses: {eth0: 10.77.0.11/24}
  - node: |
      {node: lb2, role: secondary, interfaces: {lan: eth0}, links: [{serial: /dev/ttyS0, baud: 115200}]}
    addresses: {eth0: 10.77.0.12/24}
)";
    EXPECT_GT(with("  []\n", pair).counts.received, 150U);
    EXPECT_EQ(with("  - {at: 4500ms, fault: cut, network: serial}\n", pair).counts.received, 0U);
}
// Noise arrives, and every bit of it is refused.
TEST(FaultTest, ForgedTraffic) {
    for (const std::string kind : {"replay", "reflect", "forge", "flip", "misdirect"}) {
        const Trial run = with("  - {at: 5s, fault: " + kind + ", node: lb2, rate: 50, for: 8s}\n");
        EXPECT_GT(run.counts.noise, 300U) << kind;
        EXPECT_GE(run.counts.refused + run.counts.replayed, run.counts.noise * 9 / 10) << kind;
        EXPECT_EQ(run.result.moves.size(), 0U) << kind;
    }
}

}  // namespace
}  // namespace lbcluster::sim
