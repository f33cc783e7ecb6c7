// OP-8: the checker must be able to find something. Faults are planted in the modelled kernels behind the daemons'
// backs, where no daemon could see or prevent them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "sim/faults/faults.hpp"
#include "sim/invariants/invariants.hpp"
#include "sim/run/run.hpp"

namespace lbcluster::sim {

namespace hb = heartbeat;

namespace {

// A quiet pair for 40 s; `plant` happens after 10 s.
std::vector<unsigned> violated_after(const std::function<void(World&)>& plant, const std::string& more = "") {
    const Loaded scenario = load_scenario_text("title: t\nduration: 40s\n" + more, "planted.yaml");
    EXPECT_TRUE(scenario.ok()) << config::format(scenario.problems);
    Observers observers;
    Recorder recorder(true);
    ServiceWatch service;
    World world(scenario, {1, 1s, ""}, observers);
    Invariants invariants(world, service, recorder, false);
    recorder.watch(world);
    service.watch(world);
    observers.add(recorder);
    observers.add(service);
    observers.add(invariants);
    Faults faults(world, scenario.faults);
    world.start();
    faults.start();
    after(10s, [&] { plant(world); });
    ns3::Simulator::Stop(ns3::NanoSeconds(Duration(40s).count()));
    ns3::Simulator::Run();
    std::vector<unsigned> out;
    for (const Violation& violation : invariants.violations()) {
        EXPECT_GT(violation.at, 10s);
        EXPECT_FALSE(violation.before.empty());
        out.push_back(violation.invariant);
    }
    return out;
}

// A heartbeat that is seen by the judge alone: lb2 active with this claim, as if lb1 had read it.
void let_lb1_hear(World& world, std::uint64_t term, std::uint64_t sequence) {
    hb::Heartbeat message;
    message.set_activity(hb::ACTIVITY_ACTIVE);
    message.set_sequence(sequence);
    message.mutable_claim()->set_term(term);
    message.mutable_claim()->set_node("lb2");
    world.observer().on_datagram(*world.nodes()[0], {0, false, {}, hb::Verdict::accepted, &message});
}

IpPrefix first_ip(World& world) { return world.nodes()[0]->setup().settings.floating_ips.front().address; }

// For ever: as a careless tool would add it.
void hold(World& world, std::size_t node) {
    for (const auto& ip : world.nodes()[node]->setup().settings.floating_ips) {
        const auto interface = world.nodes()[node]->machine().interface(ip.interface);
        world.nodes()[node]->machine().add_address(*interface, ip.address, std::nullopt);
    }
}

using ::testing::Contains;
using ::testing::IsEmpty;

TEST(InvariantTest, AQuietPairBreaksNone) {
    EXPECT_THAT(violated_after([](World&) {}), IsEmpty());
}

TEST(InvariantTest, TwoKernelsThatAnswerAreFound) {
    const auto found = violated_after([](World& world) { hold(world, 1); });
    EXPECT_THAT(found, Contains(1U));
}

// Both answer, as nothing passes between them. lb1 has just heard a claim so much higher than its own; before it has
// let go (its kernel is slow), it claims anew.
std::vector<unsigned> claims_anew_after(std::uint64_t higher) {
    return violated_after(
        [higher](World& world) {
            Node& lb1 = *world.nodes()[0];
            let_lb1_hear(world, lb1.daemon()->core().claim()->term + higher, 1'000'000);
            lb1.daemon()->command(hb::CommandKind::standby, true);
            after(1ms, [&lb1] { lb1.daemon()->command(hb::CommandKind::activate, true); });
        },
        "cluster: |\n  heartbeat: {profile: fast}\n  floating_ips:\n"
        "    - {address: 10.77.0.200, interface: lan}\n    - {address: 10.77.0.201, interface: lan}\n"
        "faults:\n  - {at: 9s, fault: cut}\n"
        "  - {at: 9500ms, fault: slow_addresses, for: 1s, node: lb1, delay: 50ms}\n");
}

TEST(InvariantTest, WhoHeardAHigherClaimAndKeepsTheAddressesIsFound) {
    EXPECT_THAT(claims_anew_after(1000), Contains(1U));
}

// Seed 90040403: the new claim is above what it had heard.
TEST(InvariantTest, WhoClaimsAnewAboveWhatItHeardMayKeepThem) {
    EXPECT_THAT(claims_anew_after(1), ::testing::Not(Contains(1U)));
}

TEST(InvariantTest, AnAddressThatIsLeftBehindIsFound) {
    const auto found = violated_after([](World& world) { hold(world, 1); });
    EXPECT_THAT(found, Contains(5U));
}

TEST(InvariantTest, AServiceThatNobodyServesIsFound) {
    // Both kernels refuse, and both daemons do not see that it is gone: the wire to their workers is cut.
    const auto found = violated_after([](World& world) {
        for (const auto& node : world.nodes()) {
            node->machine().refuse_addresses(true);
            for (const auto& ip : node->setup().settings.floating_ips) node->machine().remove_address(ip.address);
        }
    });
    EXPECT_THAT(found, Contains(2U));
}

TEST(InvariantTest, ACacheThatLooksToTheWrongMachineIsFound) {
    const auto found = violated_after(
        [](World& world) {
            // A lie on the wire that nobody corrects: said to the client alone, after all announcements.
            Node& liar = *world.nodes()[1];
            const IpAddress ip = first_ip(world).address;
            const auto& client = world.clients().front();
            const auto tell = [&world, &liar, ip, &client] {
                const MacAddress mac = liar.machine().interfaces()[0].port->mac();
                const MacAddress to = client.machine->interfaces()[0].port->mac();
                liar.machine().send_frame(0,
                                          arp_reply(mac, ip, to, client.machine->interfaces()[0].addresses[0].address));
                (void)world;
            };
            for (int i = 0; i < 100; ++i) after(i * 250ms, tell);
            after(100ms, [&world] { world.observer().on_fault(world.scenario().faults.at(0), true); });
        },
        "faults: [{at: 1s, fault: boot, node: lb1}]\n");
    EXPECT_THAT(found, Contains(7U));
}

// Seed 90060590: a move that automatic failback asks for is none of these (found-failback-by-reload.yaml); this is one.
TEST(InvariantTest, AMoveForWhichThereIsNoReasonButAReloadIsFound) {
    const auto found =
        violated_after([](World& world) { world.nodes()[1]->daemon()->command(hb::CommandKind::activate, false); },
                       "faults:\n  - {at: 9s, fault: reload, cluster: \"floating_ips: [{address: 10.77.0.200, "
                       "interface: lan}]\\n\"}\n");
    EXPECT_THAT(found, Contains(10U));
}

TEST(InvariantTest, NoiseThatIsAcceptedIsFound) {
    const auto found = violated_after([](World& world) {
        // An authentic, fresh datagram that is marked as noise: as if a forgery had been taken for good.
        Node& lb1 = *world.nodes()[0];
        Node& lb2 = *world.nodes()[1];
        lb1.keep_records(true);
        after(1s, [&lb1, &lb2] {
            // What was sent just now and has not arrived yet: it comes in by the wrong door first.
            const auto count = lb1.sent().size();
            static Timer wait;
            static std::function<void()> look;
            look = [&lb1, &lb2, count] {
                if (lb1.sent().size() == count) return wait.set(10us, look);
                const auto& newest = lb1.sent().back();
                lb2.daemon()->inject(newest.link, newest.datagram);
            };
            look();
        });
    });
    EXPECT_THAT(found, Contains(9U));
}

TEST(InvariantTest, AWaivedOneIsNotReported) {
    const auto found = violated_after([](World& world) { hold(world, 1); }, "waive: [1, 5]\n");
    EXPECT_THAT(found, ::testing::Not(Contains(1U)));
    EXPECT_THAT(found, ::testing::Not(Contains(5U)));
}

}  // namespace
}  // namespace lbcluster::sim
