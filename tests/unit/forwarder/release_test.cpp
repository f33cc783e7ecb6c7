// `forwarderd --release`: of what forwarderd has put into the kernel nothing is left, of what others have everything.
#include "forwarder/release.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>

#include "forwarder/reconciler.hpp"
#include "lbcluster/bus/server.hpp"
#include "lbcluster/config/store.hpp"
#include "tests/unit/forwarder/model_kernel.hpp"
#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward {
namespace {

using namespace test;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Release : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = "/tmp/lbcluster-release-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        paths_.run_dir = pattern;
        kernel_.table[foreign_].destinations = {{{ip("192.0.2.2"), 80}, Forward::masquerade, 1, 0, 0}};
        before_.table = kernel_.table;
        before_.sysctls = kernel_.sysctls;
        program();
    }
    void TearDown() override { std::filesystem::remove_all(paths_.run_dir); }
    // As a forwarderd does that has ended since.
    void program() {
        Spec spec;
        spec.services = {service("web", "10.0.0.100", {{80, 80}}, {"10.0.0.1"}),
                         service("many", "10.0.0.101", {{80, 81}}, {"10.0.0.1"}, Method::snat)};
        spec.node.transparent = {{ip("10.0.0.9"), 80}, {ip("fd00::9"), 80}};
        spec.node.sync_interface = "eth1";
        spec.node.sync_id = 9;
        Core core;
        core.configure(spec, 0);
        core.on_health("web", "s1", ip("10.0.0.1"), up());
        core.on_health("many", "s1", ip("10.0.0.1"), up());
        core.on_activity(Activity::active);
        core.catch_up(0);
        Reconciler reconciler(kernel_, {}, [this](const std::string& text) {
            return config::write_atomically(owned_path(paths_.run_dir), text, 0600);
        });
        ASSERT_EQ(reconciler.reconcile(core.desired()).failures, 0U);
        ASSERT_EQ(kernel_.table.size(), 3U);
        ASSERT_EQ(kernel_.running.size(), 1U);
        ASSERT_EQ(kernel_.delivered.size(), 2U);
        ASSERT_EQ(kernel_.sysctls["net.ipv4.ip_forward"], "1");
        ASSERT_NE(kernel_.rules_text, "");
    }
    void expect_as_before() {
        EXPECT_EQ(kernel_.table, before_.table);
        EXPECT_EQ(kernel_.sysctls, before_.sysctls);
        EXPECT_EQ(kernel_.rules_text, "");
        EXPECT_THAT(kernel_.delivered, IsEmpty());
        EXPECT_THAT(kernel_.running, IsEmpty());
        EXPECT_EQ(read_owned(owned_path(paths_.run_dir)), Owned{});
    }
    std::vector<std::string> release() { return forward::release(kernel_, paths_); }

    const ServiceKey foreign_ = ServiceKey::of_address(protocol_tcp, ip("192.0.2.1"), 80);
    config::Paths paths_;
    ModelKernel kernel_;
    struct {
        Table table;
        std::map<std::string, std::string> sysctls;
    } before_;
};

TEST_F(Release, NothingOfOursIsLeftAndAllOfOthers) {
    EXPECT_THAT(release(), IsEmpty());
    expect_as_before();
    const std::size_t steps = kernel_.done.size();
    EXPECT_THAT(release(), IsEmpty()) << "again";
    EXPECT_EQ(kernel_.done.size(), steps);
}

TEST_F(Release, WhatSomebodyElseHasChangedStays) {
    before_.sysctls["net.ipv4.vs.conntrack"] = kernel_.sysctls["net.ipv4.vs.conntrack"] = "2";
    kernel_.sysctls.erase("net.ipv4.conf.eth0.send_redirects");  // with its interface
    before_.sysctls.erase("net.ipv4.conf.eth0.send_redirects");
    EXPECT_THAT(release(), IsEmpty());
    expect_as_before();
}

TEST_F(Release, WhereNothingWasThereIsNothingToDo) {
    std::filesystem::remove(owned_path(paths_.run_dir));
    ModelKernel bare;
    bare.has_ipvs = false;
    bare.has_nft = false;
    EXPECT_THAT(forward::release(bare, paths_), IsEmpty());
}

TEST_F(Release, IpvsThatIsGoneWithItsModuleIsNoFault) {
    kernel_.has_ipvs = false;
    kernel_.table.clear();
    kernel_.running.clear();
    before_.table.clear();
    EXPECT_THAT(release(), IsEmpty());
    expect_as_before();
}

TEST_F(Release, WhatCannotBeDoneIsToldAndTheRestIsDoneAndItCanBeRepeated) {
    kernel_.refuse = [](const Step& step) { return step.kind == Step::Kind::delete_service ? EBUSY : 0; };
    kernel_.refuse_delivery = true;
    kernel_.refuse_stop_sync = true;
    kernel_.read_only = true;
    const auto left = release();
    EXPECT_THAT(left, Contains(HasSubstr("remove service tcp 10.0.0.100 80")));
    EXPECT_THAT(left, Contains(HasSubstr("route")));
    EXPECT_THAT(left, Contains(HasSubstr("cannot stop the connection sync")));
    EXPECT_THAT(left, Contains(HasSubstr("net.ipv4.ip_forward: Read-only file system")));
    EXPECT_EQ(kernel_.rules_text, "");
    EXPECT_EQ(kernel_.sysctls["net.ipv4.ip_forward"], "1");
    kernel_.refuse = nullptr;
    kernel_.refuse_delivery = kernel_.refuse_stop_sync = kernel_.read_only = false;
    EXPECT_THAT(release(), IsEmpty());
    expect_as_before();
}

TEST_F(Release, RulesThatCannotGoAreToldAndTheServicesTheyBringPacketsToStay) {
    kernel_.refuse_rules = true;
    EXPECT_THAT(release(), Contains(HasSubstr("no nftables")));
    EXPECT_NE(kernel_.rules_text, "");
    kernel_.refuse_rules = false;
    EXPECT_THAT(release(), IsEmpty());
    expect_as_before();
}

TEST_F(Release, IsRefusedWhileAForwarderdRuns) {
    boost::asio::io_context io{1};
    bus::Server running(io, {paths_.socket_of("forwarderd"), "forwarderd", "1"});
    ASSERT_TRUE(running.listen());
    EXPECT_THAT(release(), ElementsAre(AllOf(HasSubstr("another forwarderd"), HasSubstr("stop it first"))));
    EXPECT_EQ(kernel_.table.size(), 3U);
    EXPECT_NE(kernel_.rules_text, "");
    EXPECT_TRUE(std::filesystem::exists(paths_.socket_of("forwarderd")));
}

}  // namespace
}  // namespace lbcluster::forward
