// The kernel is made what it shall be, and stays so: order, failures, drift, restarts, what is not ours (issue 5, L4-1,
// L4-6, L7-4, HA-8).
#include "forwarder/reconciler.hpp"

#include <gmock/gmock.h>

#include "forwarder/nft/ruleset.hpp"
#include "tests/unit/forwarder/model_kernel.hpp"
#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;

class ReconcilerTest : public testing::Test {
  protected:
    ReconcilerTest() {
        spec_.services = {service("web", "10.0.0.100", {{80, 80}}, {"10.0.0.1", "10.0.0.2"}),
                          service("many", "10.0.0.101", {{80, 81}}, {"10.0.0.1"}, Method::snat)};
        start();
        configure();
        for (const char* label : {"s1", "s2"}) {
            core_.on_health("web", label, ip(label[1] == '1' ? "10.0.0.1" : "10.0.0.2"), up());
        }
        core_.on_health("many", "s1", ip("10.0.0.1"), up());
        core_.catch_up(0);
    }
    void start() {
        reconciler_ = std::make_unique<Reconciler>(kernel_, parse_owned(owned_), [this](const std::string& text) {
            owned_ = text;
            return write_error_.empty() ? Result<void>() : Result<void>(Error{write_error_, "", 0});
        });
    }
    void configure() { core_.configure(spec_, 0); }
    const Outcome& reconcile() {
        kernel_.done.clear();
        return reconciler_->reconcile(core_.desired());
    }
    std::string table(std::size_t service) { return text_of(kernel_.table[core_.keys()[service]]); }

    ModelKernel kernel_;
    Spec spec_;
    Core core_;
    std::string owned_;
    std::string write_error_;
    std::unique_ptr<Reconciler> reconciler_;
};

TEST_F(ReconcilerTest, MakesItAndLeavesItAlone) {
    const Outcome& first = reconcile();
    EXPECT_EQ(first.failures, 0U);
    EXPECT_EQ(kernel_.table, core_.desired().table);
    EXPECT_EQ(kernel_.rules_text, nft::render(core_.desired().rules));
    EXPECT_EQ(kernel_.sysctls["net.ipv4.vs.conntrack"], "1");
    EXPECT_EQ(reconcile().steps, 0U);
    EXPECT_EQ(kernel_.rules_set, 1U);
    EXPECT_EQ(reconciler_->outcome().drifts, 0U);
}

TEST_F(ReconcilerTest, ARestartChangesNothingThatWasRight) {
    reconcile();
    const Owned owned = parse_owned(owned_);
    start();
    core_.adopt(reconciler_->look(core_.desired().table), 0);
    EXPECT_EQ(reconcile().steps, 0U);
    EXPECT_TRUE(kernel_.done.empty());
    EXPECT_EQ(kernel_.rules_set, 1U);
    EXPECT_EQ(parse_owned(owned_), owned);
}

TEST_F(ReconcilerTest, DriftIsPutRightAndReported) {
    reconcile();
    kernel_.table.erase(core_.keys()[0]);
    kernel_.rules_text = "other";
    kernel_.sysctls["net.ipv4.ip_forward"] = "0";
    const Outcome& outcome = reconcile();
    EXPECT_EQ(outcome.drifts, 3U);
    EXPECT_THAT(outcome.drift,
                testing::UnorderedElementsAre(HasSubstr("remove service tcp 10.0.0.100 80"),
                                              HasSubstr("nftables table"), HasSubstr("ip_forward to 0")));
    EXPECT_EQ(kernel_.table, core_.desired().table);
    EXPECT_EQ(kernel_.rules_text, nft::render(core_.desired().rules));
    EXPECT_EQ(kernel_.sysctls["net.ipv4.ip_forward"], "1");
    EXPECT_EQ(reconcile().drifts, 0U);
}

TEST_F(ReconcilerTest, AChangeOfOursIsNoDrift) {
    reconcile();
    spec_.services[0].servers.pop_back();
    configure();
    EXPECT_EQ(reconcile().drifts, 0U);
    EXPECT_EQ(table(0), "10.0.0.1:80 w100 direct");
}

TEST_F(ReconcilerTest, WhatIsNotOursStays) {
    const ServiceKey foreign = ServiceKey::of_address(protocol_tcp, ip("192.0.2.1"), 80);
    kernel_.table[foreign].destinations = {{{ip("192.0.2.2"), 80}, Forward::masquerade, 1, 0, 0}};
    // At a configured address and port it is ours.
    kernel_.table[core_.keys()[0]].settings.scheduler = "rr";
    kernel_.table[core_.keys()[0]].destinations = {{{ip("10.0.0.77"), 80}, Forward::masquerade, 1, 0, 0}};
    reconcile();
    EXPECT_EQ(table(0), "10.0.0.1:80 w100 direct, 10.0.0.2:80 w100 direct");
    spec_.services.clear();
    configure();
    reconcile();
    EXPECT_EQ(kernel_.table.size(), 1U);
    EXPECT_TRUE(kernel_.table.contains(foreign));
    EXPECT_EQ(kernel_.rules_text, "");  // the table goes with the last service that needs it
}

TEST_F(ReconcilerTest, AServiceOfAFormerLifeGoes) {
    reconcile();
    start();
    spec_.services.erase(spec_.services.begin());
    configure();
    reconcile();
    EXPECT_EQ(kernel_.table.size(), 1U);
    EXPECT_EQ(parse_owned(owned_).services.size(), 1U);
}

TEST_F(ReconcilerTest, ItIsWrittenDownBeforeItIsMade) {
    bool written = false;
    kernel_.after_step = [&] { written = parse_owned(owned_).services.contains(kernel_.done.front().service); };
    kernel_.refuse = [&](const Step&) {
        EXPECT_EQ(parse_owned(owned_).services.size(), 2U);
        return 0;
    };
    reconcile();
    EXPECT_TRUE(written);
}

TEST_F(ReconcilerTest, SysctlsAreWhatTheyWereWhenNobodyNeedsThem) {
    reconcile();
    EXPECT_EQ(kernel_.sysctls["net.ipv4.ip_forward"], "1");
    spec_.services[1].method = Method::dr;
    configure();
    reconcile();
    EXPECT_EQ(kernel_.sysctls["net.ipv4.ip_forward"], "0");
    EXPECT_EQ(kernel_.sysctls["net.ipv4.vs.conntrack"], "0");
    EXPECT_EQ(kernel_.sysctls["net.ipv4.vs.expire_nodest_conn"], "1");
    // What was so before is not ours to take back.
    kernel_.sysctls["net.ipv4.ip_forward"] = "1";
    spec_.services[1].method = Method::nat;
    configure();
    reconcile();
    spec_.services[1].method = Method::dr;
    configure();
    reconcile();
    EXPECT_EQ(kernel_.sysctls["net.ipv4.ip_forward"], "1");
}

TEST_F(ReconcilerTest, ASysctlThatCannotBeSetIsTold) {
    kernel_.read_only = true;
    const Outcome& outcome = reconcile();
    std::size_t errors = 0;
    for (const SysctlState& one : outcome.sysctls) errors += one.error.empty() ? 0 : 1;
    EXPECT_GT(errors, 0U);
    EXPECT_EQ(kernel_.table, core_.desired().table);  // and the rest is done
}

TEST_F(ReconcilerTest, AKernelWithoutIpvsIsTold) {
    kernel_.has_ipvs = false;
    const Outcome& outcome = reconcile();
    EXPECT_THAT(outcome.ipvs_error, HasSubstr("no IPVS"));
    EXPECT_EQ(outcome.errors.size(), 2U);
    kernel_.has_ipvs = true;
    reconcile();
    EXPECT_EQ(kernel_.table, core_.desired().table);
    EXPECT_TRUE(reconciler_->outcome().errors.empty());
    EXPECT_EQ(reconciler_->outcome().drifts, 0U);
}

TEST_F(ReconcilerTest, WithoutServicesNobodyAsksForIpvs) {
    kernel_.has_ipvs = false;
    spec_.services.clear();
    configure();
    EXPECT_EQ(reconcile().ipvs_error, "");
}

TEST_F(ReconcilerTest, OneServiceThatFailsHoldsUpNoOther) {
    kernel_.refuse = [&](const Step& step) { return step.service == core_.keys()[0] ? ENOENT : 0; };
    const Outcome& outcome = reconcile();
    ASSERT_EQ(outcome.errors.size(), 1U);
    EXPECT_EQ(outcome.errors.begin()->first, core_.keys()[0]);
    EXPECT_EQ(table(1), "10.0.0.1:0 w100 masquerade");
    kernel_.refuse = nullptr;
    reconcile();
    EXPECT_EQ(kernel_.table, core_.desired().table);
}

TEST_F(ReconcilerTest, WhereNothingCouldBeAddedTheLastOneStays) {
    reconcile();
    spec_.services[0].servers = {server("s7", "10.0.0.7")};
    configure();
    core_.on_health("web", "s7", ip("10.0.0.7"), up());
    core_.catch_up(0);
    kernel_.refuse = [](const Step& step) { return step.kind == Step::Kind::add_destination ? ENOMEM : 0; };
    reconcile();
    EXPECT_EQ(table(0), "10.0.0.1:80 w100 direct, 10.0.0.2:80 w100 direct");
    kernel_.refuse = nullptr;
    reconcile();
    EXPECT_EQ(table(0), "10.0.0.7:80 w100 direct");
}

TEST_F(ReconcilerTest, WithoutFirewallRulesAMarkedServiceIsNotServed) {
    kernel_.has_nft = false;
    const Outcome& outcome = reconcile();
    ASSERT_EQ(outcome.errors.size(), 1U);
    EXPECT_EQ(outcome.errors.begin()->first, core_.keys()[1]);
    EXPECT_EQ(table(0), "10.0.0.1:80 w100 direct, 10.0.0.2:80 w100 direct");
}

TEST_F(ReconcilerTest, AnOldServiceStaysAsLongAsItsRulesDo) {
    reconcile();
    const ServiceKey old = core_.keys()[1];
    spec_.services[1].traffic.ports = {{80, 80}};  // an address now
    configure();
    kernel_.refuse_rules = true;
    reconcile();
    EXPECT_TRUE(kernel_.table.contains(old));
    kernel_.refuse_rules = false;
    reconcile();
    EXPECT_FALSE(kernel_.table.contains(old));
}

TEST_F(ReconcilerTest, AChangeOfHealthIsOneStep) {
    reconcile();
    kernel_.done.clear();
    const std::size_t reads = kernel_.reads;
    core_.on_health("web", "s2", ip("10.0.0.2"), down());
    const auto changed = core_.catch_up(0);
    EXPECT_TRUE(reconciler_->update(core_.desired().table, changed));
    ASSERT_EQ(kernel_.done.size(), 1U);
    EXPECT_EQ(kernel_.done[0].to_string(), "remove destination 10.0.0.2 port 80 of tcp 10.0.0.100 80");
    EXPECT_EQ(kernel_.reads, reads);
    EXPECT_EQ(reconcile().drifts, 0U);
}

TEST_F(ReconcilerTest, AQuickChangeThatFailsAsksForAFullOne) {
    reconcile();
    kernel_.table.erase(core_.keys()[0]);
    core_.on_health("web", "s2", ip("10.0.0.2"), down());
    core_.catch_up(0);
    core_.on_health("web", "s2", ip("10.0.0.2"), up());
    core_.on_health("web", "s1", ip("10.0.0.1"), {Health::up, 50});
    EXPECT_FALSE(reconciler_->update(core_.desired().table, core_.catch_up(0)));
    reconcile();
    EXPECT_EQ(table(0), "10.0.0.1:80 w50 direct, 10.0.0.2:80 w100 direct");
}

TEST_F(ReconcilerTest, ConnectionSyncSwitchesWithTheRole) {  // HA-8
    spec_.node.sync_interface = "eth1";
    spec_.node.sync_id = 9;
    configure();
    kernel_.running = {{SyncRole::backup, "eth1", 9}};
    reconcile();  // nothing is known of the role: what runs stays
    EXPECT_THAT(kernel_.running, ElementsAre(Sync{SyncRole::backup, "eth1", 9}));
    core_.on_activity(Activity::active);
    reconcile();
    EXPECT_THAT(kernel_.running, ElementsAre(Sync{SyncRole::master, "eth1", 9}));
    EXPECT_EQ(reconciler_->outcome().sync, (Sync{SyncRole::master, "eth1", 9}));
    core_.on_activity(Activity::passive);
    reconcile();
    EXPECT_THAT(kernel_.running, ElementsAre(Sync{SyncRole::backup, "eth1", 9}));
    spec_.node.sync_interface = "eth2";
    configure();
    reconcile();
    EXPECT_THAT(kernel_.running, ElementsAre(Sync{SyncRole::backup, "eth2", 9}));
    EXPECT_EQ(reconcile().steps, 0U);
    kernel_.running.clear();
    EXPECT_EQ(reconcile().drifts, 1U);
    EXPECT_EQ(kernel_.running.size(), 1U);
    spec_.node.sync_interface = "none0";
    configure();
    EXPECT_THAT(reconcile().sync_error, HasSubstr("no such interface"));
    spec_.node.sync_interface = "";  // no peer any more
    configure();
    reconcile();
    EXPECT_TRUE(kernel_.running.empty());
}

TEST_F(ReconcilerTest, SomebodyElsesSyncStaysWithoutAPeer) {
    kernel_.running = {{SyncRole::master, "eth5", 1}};
    reconcile();
    EXPECT_EQ(kernel_.running.size(), 1U);
}

TEST_F(ReconcilerTest, AnswersToClientsOfTransparentServicesComeHere) {  // L7-4
    spec_.node.transparent = {{ip("10.0.0.9"), 80}};
    configure();
    reconcile();
    EXPECT_EQ(kernel_.delivered, std::set<bool>{false});
    EXPECT_THAT(kernel_.rules_text, HasSubstr("@transparent4 socket transparent 1"));
    EXPECT_EQ(reconcile().steps, 0U);
    // A restart changes nothing, and knows what is ours.
    start();
    core_.adopt(reconciler_->look(core_.desired().table), 0);
    EXPECT_EQ(reconcile().steps, 0U);
    kernel_.delivered.clear();
    EXPECT_THAT(reconcile().drift, ElementsAre(HasSubstr("transparent IPv4 connections")));
    EXPECT_EQ(kernel_.delivered, std::set<bool>{false});
    kernel_.refuse_delivery = true;
    spec_.node.transparent = {{ip("fd00::9"), 80}};
    configure();
    EXPECT_THAT(reconcile().delivery_error, HasSubstr("cannot add the route"));
    kernel_.refuse_delivery = false;
    EXPECT_EQ(reconcile().delivery_error, "");
    EXPECT_EQ(kernel_.delivered, std::set<bool>{true});
    // Without IPVS, and after a crash of the one that made it.
    kernel_.has_ipvs = false;
    start();
    spec_.node.transparent.clear();
    configure();
    reconcile();
    EXPECT_TRUE(kernel_.delivered.empty());
    EXPECT_TRUE(parse_owned(owned_).deliveries.empty());
}

TEST_F(ReconcilerTest, SomebodyElsesRoutesStay) {
    kernel_.delivered = {false, true};
    EXPECT_EQ(reconcile().failures, 0U);
    EXPECT_EQ(kernel_.delivered.size(), 2U);
}

TEST_F(ReconcilerTest, TimeoutsOnlyAsGiven) {
    reconcile();
    EXPECT_EQ(kernel_.current_timeouts, (Timeouts{900s, 120s, 300s}));
    spec_.node.timeouts = {seconds{1800}, 0s, 0s};
    configure();
    reconcile();
    EXPECT_EQ(kernel_.current_timeouts, (Timeouts{1800s, 120s, 300s}));
    EXPECT_EQ(reconcile().steps, 0U);
}

TEST_F(ReconcilerTest, WhatCannotBeWrittenDownIsTold) {
    write_error_ = "disk full";
    EXPECT_EQ(reconcile().owned_error, "disk full");
    EXPECT_EQ(kernel_.table, core_.desired().table);
}

TEST(OwnedFile, IsReadAsItIsWritten) {
    Owned owned;
    owned.services = {ServiceKey::of_mark(0x4c000001, true),
                      ServiceKey::of_address(protocol_udp, *IpAddress::parse("fd00::1"), 53)};
    owned.sysctls["net.ipv4.conf.eth0/7.send_redirects"] = {"1", "0"};
    owned.syncs = {SyncRole::backup};
    owned.deliveries = {false, true};
    owned.rules_text = 18446744073709551615U;
    owned.rules_listing = 2;
    EXPECT_EQ(parse_owned(render_owned(owned)), owned);
    EXPECT_EQ(parse_owned("something else\nS tcp 10.0.0.1 80\n"), Owned{});
    EXPECT_EQ(parse_owned("forwarderd-owned 1\nS\nS x\nC a\nC a b\nQ 1\nT 5\n\n"), Owned{});
    EXPECT_EQ(read_owned("/nonexistent/file"), Owned{});
}

}  // namespace
}  // namespace lbcluster::forward
