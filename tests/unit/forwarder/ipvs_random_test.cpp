// Random histories of configuration, health, drift and restarts on the kernel's own IPVS and nftables: after each turn
// the kernel is as planned (issue 5). Skipped on a kernel without; tests/ipvs/bed.sh has one. random_test.cpp is the
// same against a model, with an eye on the steps in between. Everything is in network namespaces of the test.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "forwarder/linux_kernel.hpp"
#include "forwarder/nft/ruleset.hpp"
#include "forwarder/reconciler.hpp"
#include "tests/unit/forwarder/random_world.hpp"

namespace lbcluster::forward {
namespace {

using namespace test;

// How the kernel shows our rules when they are all it was ever told: a table in a namespace where nothing else is.
class Reference {
  public:
    Reference() {
        const int home = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        EXPECT_EQ(::unshare(CLONE_NEWNET), 0);
        EXPECT_TRUE(table_.read());  // its socket belongs to where it was opened
        EXPECT_EQ(::setns(home, CLONE_NEWNET), 0);
        ::close(home);
    }
    std::string shown(const std::string& text) {
        if (text != text_) {
            const auto done = table_.replace(text);
            EXPECT_TRUE(done) << done.error().message;
            text_ = text;
        }
        return table_.read().value();
    }

  private:
    nft::Table table_;
    std::string text_;
};

class RealHistory {
  public:
    RealHistory(std::uint64_t seed, Reference& reference) : world_(seed), seed_(seed), reference_(reference) {
        Step foreign;
        foreign.service = ServiceKey::of_address(protocol_tcp, ip("192.0.2.1"), 80);
        foreign.settings.scheduler = "rr";
        EXPECT_TRUE(kernel_.ipvs());
        EXPECT_TRUE(kernel_.carry_out(std::vector{foreign})[0]);
        foreign_ = kernel_.read({})->table;
        EXPECT_EQ(foreign_.size(), 1U);
        restart();
    }
    ~RealHistory() {
        world_.spec.services.clear();
        world_.spec.node = {};
        core_->configure(world_.spec, 0);
        reconciler_->reconcile(core_->desired());
        expect_as_planned();
    }
    RealHistory(const RealHistory&) = delete;
    RealHistory& operator=(const RealHistory&) = delete;

    void run() {
        for (int i = 0; i < 10 && !testing::Test::HasFailure(); ++i) one_turn();
    }

  private:
    void one_turn() {
        const std::size_t what = world_.below(10);
        if (what < 4) {
            world_.change_a_service();
            core_->configure(world_.spec, 0);
            full();
        } else if (what < 8) {
            quick();
        } else if (what == 8) {
            drift();
            full();
        } else {
            restart();
        }
    }
    void full() {
        const Outcome& outcome = reconciler_->reconcile(core_->desired());
        EXPECT_EQ(outcome.failures, 0U) << told(outcome);
        expect_as_planned();
        EXPECT_EQ(outcome.sync_error, "");
        if (core_->desired().sync && core_->desired().sync->role != SyncRole::none) {
            EXPECT_EQ(outcome.sync, *core_->desired().sync) << "seed " << seed_;
        }
    }
    void quick() {
        for (const ServiceSpec& service : world_.spec.services) {
            for (const ServerSpec& one : service.servers) {
                if (world_.chance(40)) core_->on_health(service.label, one.label, one.address, world_.verdict());
            }
        }
        core_->on_activity(static_cast<Activity>(world_.below(3)));
        const auto changed = core_->catch_up(0);
        EXPECT_TRUE(changed.empty() || reconciler_->update(core_->desired().table, changed)) << "seed " << seed_;
        expect_as_planned();
    }
    // Somebody else changes what is ours.
    void drift() {
        const Table& ours = core_->desired().table;
        if (!ours.empty()) {
            auto victim = ours.begin();
            std::advance(victim, world_.below(ours.size()));
            Step step;
            step.service = victim->first;
            step.kind = Step::Kind::delete_service;
            if (world_.chance(50)) {
                step.kind = Step::Kind::set_service;
                step.settings = victim->second.settings;
                step.settings.scheduler = "lc";
            } else if (world_.chance(50) && !victim->second.destinations.empty()) {
                step.kind = Step::Kind::delete_destination;
                step.destination = victim->second.destinations.front();
            }
            EXPECT_TRUE(kernel_.carry_out(std::vector{step})[0]);
        }
        if (world_.chance(30)) {
            EXPECT_TRUE(kernel_.set_rules(""));
        }
        if (world_.chance(30)) {
            EXPECT_TRUE(kernel_.set_sysctl("net.ipv4.vs.expire_nodest_conn", "0"));
        }
    }
    // A new life, without healthd: it changes nothing, whatever it has forgotten.
    void restart() {
        const bool right = core_ != nullptr;
        core_ = std::make_unique<Core>();
        reconciler_ = std::make_unique<Reconciler>(kernel_, parse_owned(owned_), [this](const std::string& text) {
            owned_ = text;
            return Result<void>();
        });
        core_->configure(world_.spec, 0);
        core_->adopt(reconciler_->look(core_->desired().table), 0);
        const Outcome& outcome = reconciler_->reconcile(core_->desired());
        if (right) {
            EXPECT_EQ(outcome.steps, 0U) << told(outcome);
        }
        expect_as_planned();
    }
    void expect_as_planned() {
        Table wanted = core_->desired().table;
        std::set<ServiceKey> keys;
        for (const auto& [key, service] : wanted) keys.insert(key);
        wanted.insert(foreign_.begin(), foreign_.end());
        const auto reading = kernel_.read(keys);
        ASSERT_TRUE(reading) << reading.error().message;
        EXPECT_TRUE(reading->table == wanted) << "seed " << seed_ << "\n"
                                              << in_words(reading->table) << "wanted\n"
                                              << in_words(wanted);
        const auto rules = kernel_.rules();
        ASSERT_TRUE(rules) << rules.error().message;
        EXPECT_EQ(*rules, reference_.shown(nft::render(core_->desired().rules))) << "seed " << seed_;
        for (const Sysctl& one : core_->desired().sysctls) {
            const auto value = kernel_.sysctl(one.name);
            EXPECT_TRUE(value && *value == one.value) << "seed " << seed_ << " " << one.name;
        }
    }
    std::string told(const Outcome& outcome) const {
        std::string out = "seed " + std::to_string(seed_) + " " + outcome.rules_error + outcome.sync_error;
        for (const auto& [key, error] : outcome.errors) out += "\n" + key.to_string() + ": " + error;
        return out;
    }

    World world_;
    std::uint64_t seed_;
    Reference& reference_;
    LinuxKernel kernel_;
    Table foreign_;
    std::string owned_;
    std::unique_ptr<Core> core_;
    std::unique_ptr<Reconciler> reconciler_;
};

TEST(IpvsRandomHistories, TheKernelEqualsThePlan) {
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "needs root";
    if (const auto version = LinuxKernel().ipvs(); !version) GTEST_SKIP() << version.error().message;
    ASSERT_EQ(std::system("ip link set lo up && ip link add eth1 type veth peer name eth8 && ip link set eth8 up && "
                          "ip addr add 10.9.9.1/24 dev eth1 && ip link set eth1 up"),
              0);
    Reference reference;
    const char* one = std::getenv("LBCLUSTER_SEED");
    const bool all = std::getenv("LBCLUSTER_FULL") != nullptr;
    const std::uint64_t first = one == nullptr ? 1 : std::strtoull(one, nullptr, 10);
    const std::uint64_t count = one != nullptr ? 1 : all ? 1000 : 100;
    for (std::uint64_t seed = first; seed < first + count && !HasFailure(); ++seed) RealHistory(seed, reference).run();
}

}  // namespace
}  // namespace lbcluster::forward
