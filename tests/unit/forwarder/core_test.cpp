// What is known of servers outlives what is not known (fail static), and what changes is told (HC-5, HC-7, HA-8).
#include "forwarder/core/core.hpp"

#include <gtest/gtest.h>

#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward {
namespace {

using namespace test;

class CoreTest : public testing::Test {
  protected:
    CoreTest() {
        spec_.services = {service("web", "10.0.0.100", {{80, 80}}, {"10.0.0.1", "10.0.0.2"})};
        core_.configure(spec_, 0);
    }
    std::vector<ServiceKey> health(const std::string& label, const std::string& address, const Verdict& verdict) {
        core_.on_health("web", label, ip(address), verdict);
        return core_.catch_up(now_ms_);
    }
    std::string table() const {
        return core_.desired().table.empty() ? "none" : text_of(core_.desired().table.begin()->second);
    }

    Spec spec_;
    Core core_;
    std::uint64_t now_ms_ = 0;
};

const char* const both = "10.0.0.1:80 w100 direct, 10.0.0.2:80 w100 direct";

TEST_F(CoreTest, TellsWhichServicesChanged) {
    EXPECT_EQ(table(), "");
    EXPECT_EQ(health("s1", "10.0.0.1", up()), std::vector{core_.keys()[0]});
    EXPECT_TRUE(health("s1", "10.0.0.1", up()).empty());
    EXPECT_TRUE(health("s2", "10.0.0.2", down()).empty());  // it was not there before
    EXPECT_EQ(health("s2", "10.0.0.2", up()).size(), 1U);
    EXPECT_EQ(table(), both);
}

TEST_F(CoreTest, UnknownIsNothingNew) {
    health("s1", "10.0.0.1", up());
    EXPECT_TRUE(health("s1", "10.0.0.1", {}).empty());
    EXPECT_EQ(table(), "10.0.0.1:80 w100 direct");
}

TEST_F(CoreTest, AVerdictOnAnotherAddressIsNoneOnThisServer) {
    EXPECT_TRUE(health("s1", "10.0.0.7", up()).empty());
    EXPECT_TRUE(health("s9", "10.0.0.1", up()).empty());
    EXPECT_EQ(table(), "");
}

TEST_F(CoreTest, WhatIsKnownOutlivesAChangeOfTheConfiguration) {
    health("s1", "10.0.0.1", up());
    health("s2", "10.0.0.2", up());
    // A new name, another weight, a third server of which nothing is known.
    spec_.services[0].servers[0].label = "renamed";
    spec_.services[0].servers[1].weight = 50;
    spec_.services[0].servers.push_back(server("s3", "10.0.0.3"));
    core_.configure(spec_, 0);
    EXPECT_EQ(table(), "10.0.0.1:80 w100 direct, 10.0.0.2:80 w50 direct");
    // The same name at another address is another server.
    spec_.services[0].servers[1].address = ip("10.0.0.4");
    core_.configure(spec_, 0);
    EXPECT_EQ(table(), "10.0.0.1:80 w100 direct");
}

TEST_F(CoreTest, WhatTheKernelHasIsWhatWasKnown) {
    Table actual;
    actual[core_.keys()[0]].destinations = {{{ip("10.0.0.1"), 80}, Forward::direct, 50, 0, 0},
                                            {{ip("10.0.0.9"), 80}, Forward::direct, 50, 0, 0}};
    core_.adopt(actual, 0);
    EXPECT_EQ(table(), "10.0.0.1:80 w50 direct");
    EXPECT_EQ(health("s1", "10.0.0.1", up()).size(), 1U);
    EXPECT_EQ(table(), "10.0.0.1:80 w100 direct");
    // What is known by then is not believed from the kernel.
    health("s1", "10.0.0.1", down());
    core_.adopt(actual, 0);
    EXPECT_EQ(table(), "");
}

TEST_F(CoreTest, AQuiescedServerStaysSoOverARestart) {
    spec_.services[0].quiesce = true;
    core_.configure(spec_, 0);
    Table actual;
    actual[core_.keys()[0]].destinations = {{{ip("10.0.0.1"), 80}, Forward::direct, 0, 0, 0}};
    core_.adopt(actual, 0);
    EXPECT_EQ(table(), "10.0.0.1:80 w0 direct");
    EXPECT_FALSE(core_.plans()[0].serves);
}

TEST_F(CoreTest, ADeadlineComes) {
    health("s1", "10.0.0.1", up());
    EXPECT_FALSE(core_.next_deadline_ms());
    spec_.services[0].servers[0].state = State::drain;
    spec_.services[0].servers[0].drain_until_ms = 5000;
    core_.configure(spec_, 0);
    EXPECT_EQ(core_.next_deadline_ms(), 5000U);
    EXPECT_TRUE(core_.catch_up(4999).empty());
    EXPECT_EQ(table(), "10.0.0.1:80 w0 direct");
    EXPECT_EQ(core_.catch_up(5000).size(), 1U);
    EXPECT_EQ(table(), "");
    EXPECT_FALSE(core_.next_deadline_ms());
}

TEST_F(CoreTest, ConnectionSyncFollowsTheActivity) {  // HA-8
    EXPECT_EQ(core_.desired().sync, Sync{});          // no peer
    spec_.node.sync_interface = "eth1";
    spec_.node.sync_id = 7;
    core_.configure(spec_, 0);
    EXPECT_FALSE(core_.desired().sync);  // nothing is known: it stays as it is
    core_.on_activity(Activity::passive);
    EXPECT_EQ(core_.desired().sync, (Sync{SyncRole::backup, "eth1", 7}));
    core_.on_activity(Activity::active);
    EXPECT_EQ(core_.desired().sync, (Sync{SyncRole::master, "eth1", 7}));
    core_.on_activity(Activity::unknown);
    EXPECT_EQ(core_.desired().sync, (Sync{SyncRole::master, "eth1", 7}));
    // The kernel cannot do both.
    spec_.services[0].method = Method::tun;
    spec_.services[0].servers[0].address = ip("fd00::1");
    core_.configure(spec_, 0);
    EXPECT_EQ(core_.desired().sync, Sync{});
    EXPECT_FALSE(core_.desired().sync_error.empty());
}

}  // namespace
}  // namespace lbcluster::forward
