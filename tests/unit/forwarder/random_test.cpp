// A thousand random histories of configuration, health, drift and restarts against a model of the kernel: afterwards
// the kernel is as planned, and at no step in between was traffic without the servers that stayed (issue 5: 'The kernel
// equals the plan').
#include <gtest/gtest.h>

#include <cstdlib>
#include <tuple>

#include "forwarder/nft/ruleset.hpp"
#include "forwarder/reconciler.hpp"
#include "tests/unit/forwarder/model_kernel.hpp"
#include "tests/unit/forwarder/random_world.hpp"

namespace lbcluster::forward {
namespace {

using namespace test;

using Places = std::set<DestinationKey>;  // that take new connections

// Who would get a connection to the endpoint.
Places places(const Endpoint& endpoint, const Table& table, const Rules& rules) {
    const auto& [address, udp, port] = endpoint;
    ServiceKey key = ServiceKey::of_address(udp ? protocol_udp : protocol_tcp, address, port);
    for (const MarkRule& rule : rules.marks) {
        if (rule.traffic.address != address || !(udp ? rule.traffic.udp : rule.traffic.tcp)) continue;
        for (const Ports& ports : rule.traffic.ports) {
            const ServiceKey marked = ServiceKey::of_mark(rule.mark, address.is_v6());
            if (port >= ports.first && port <= ports.last && table.contains(marked)) key = marked;
        }
    }
    Places out;
    const auto found = table.find(key);
    if (found == table.end()) return out;
    for (const Destination& one : found->second.destinations) {
        if (one.weight > 0) out.insert({one.key.address, one.key.port == 0 ? port : one.key.port});
    }
    return out;
}

// One history: the real core and reconciler over the model.
class History {
  public:
    explicit History(std::uint64_t seed) : world_(seed), seed_(seed) {
        kernel_.table[ServiceKey::of_address(protocol_tcp, ip("192.0.2.1"), 80)].settings.scheduler = "rr";
        kernel_.table[ServiceKey::of_mark(5, false)].settings.scheduler = "rr";
        foreign_ = kernel_.table;
        kernel_.after_rules = [this] {
            rules_ = core_->desired().rules;
            look();
        };
        kernel_.after_step = [this] { look(); };
        restart();
    }

    void run() {
        for (int i = 0; i < 15 && !testing::Test::HasFailure(); ++i) one_turn();
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
            full(false);
        } else {
            restart();
        }
    }

    void begin() {
        before_.clear();
        for (const Endpoint& one : endpoints_) before_[one] = places(one, kernel_.table, rules_);
        watched_ = true;
    }
    // At each step: what was there and will be, is.
    void look() {
        if (!watched_) return;
        for (const auto& [endpoint, before] : before_) {
            const Places wanted = places(endpoint, core_->desired().table, core_->desired().rules);
            if (before.empty() || wanted.empty()) continue;
            const Places now = places(endpoint, kernel_.table, rules_);
            std::size_t good = 0;
            for (const DestinationKey& one : now) good += before.contains(one) || wanted.contains(one) ? 1 : 0;
            EXPECT_GT(good, 0U) << trace(endpoint);
            for (const DestinationKey& one : before) {
                EXPECT_TRUE(!wanted.contains(one) || now.contains(one)) << trace(endpoint) << one.address.to_string();
            }
        }
    }
    void full(bool watched = true) {
        begin();
        watched_ = watched;
        const Outcome& outcome = reconciler_->reconcile(core_->desired());
        EXPECT_EQ(outcome.failures, 0U) << "seed " << seed_;
        expect_as_planned();
    }
    void quick() {
        for (const ServiceSpec& service : world_.spec.services) {
            for (const ServerSpec& one : service.servers) {
                if (world_.chance(40)) core_->on_health(service.label, one.label, one.address, world_.verdict());
            }
        }
        core_->on_activity(static_cast<Activity>(world_.below(3)));
        begin();
        const auto changed = core_->catch_up(0);
        EXPECT_TRUE(changed.empty() || reconciler_->update(core_->desired().table, changed)) << "seed " << seed_;
        expect_as_planned();
    }
    // Somebody else changes what is ours.
    void drift() {
        Table& table = kernel_.table;
        if (!table.empty()) {
            auto victim = table.begin();
            std::advance(victim, world_.below(table.size()));
            if (!foreign_.contains(victim->first)) {
                if (world_.chance(40)) table.erase(victim);
                else if (world_.chance(50)) victim->second.destinations.clear();
                else victim->second.settings.scheduler = "lc";
            }
        }
        if (world_.chance(30)) kernel_.rules_text = "something else";
        if (world_.chance(30)) kernel_.sysctls["net.ipv4.vs.expire_nodest_conn"] = "0";
    }
    // A new life, without healthd: it changes nothing, whatever it has forgotten.
    void restart() {
        const Table before = kernel_.table;
        const bool right = core_ && kernel_.table == with_foreign(core_->desired().table);
        core_ = std::make_unique<Core>();
        reconciler_ = std::make_unique<Reconciler>(kernel_, parse_owned(owned_), [this](const std::string& text) {
            owned_ = text;
            return Result<void>();
        });
        core_->configure(world_.spec, 0);
        core_->adopt(reconciler_->look(core_->desired().table), 0);
        watched_ = false;
        reconciler_->reconcile(core_->desired());
        if (right) {
            EXPECT_TRUE(kernel_.table == before) << "seed " << seed_ << "\n"
                                                 << in_words(kernel_.table) << "was\n"
                                                 << in_words(before);
        }
        expect_as_planned();
    }
    Table with_foreign(Table table) const {
        table.insert(foreign_.begin(), foreign_.end());
        return table;
    }
    void expect_as_planned() {
        watched_ = false;
        const Table wanted = with_foreign(core_->desired().table);
        EXPECT_TRUE(kernel_.table == wanted) << "seed " << seed_ << "\n"
                                             << in_words(kernel_.table) << "wanted\n"
                                             << in_words(wanted);
        EXPECT_EQ(kernel_.rules_text, nft::render(core_->desired().rules)) << "seed " << seed_;
        for (const Sysctl& one : core_->desired().sysctls) {
            const auto found = kernel_.sysctls.find(one.name);
            EXPECT_TRUE(found == kernel_.sysctls.end() || found->second == one.value) << one.name;
        }
        std::set<ServiceKey> ours;
        for (const auto& [key, service] : core_->desired().table) ours.insert(key);
        EXPECT_EQ(parse_owned(owned_).services, ours) << "seed " << seed_;
    }
    std::string trace(const Endpoint& endpoint) const {
        return "seed " + std::to_string(seed_) + " " + std::get<0>(endpoint).to_string() + " port " +
               std::to_string(std::get<2>(endpoint)) + " after " +
               (kernel_.done.empty() ? "" : kernel_.done.back().to_string()) + "; ";
    }

    World world_;
    std::uint64_t seed_;
    ModelKernel kernel_;
    Table foreign_;
    Rules rules_;  // in the kernel
    std::string owned_;
    std::unique_ptr<Core> core_;
    std::unique_ptr<Reconciler> reconciler_;
    const std::vector<Endpoint> endpoints_ = endpoints();
    std::map<Endpoint, Places> before_;
    bool watched_ = false;
};

TEST(RandomHistories, TheKernelEqualsThePlanAndNobodyIsLost) {
    const char* one = std::getenv("LBCLUSTER_SEED");
    const bool full = std::getenv("LBCLUSTER_FULL") != nullptr;
    const std::uint64_t first = one == nullptr ? 1 : std::strtoull(one, nullptr, 10);
    const std::uint64_t count = one != nullptr ? 1 : full ? 20000 : 1000;
    for (std::uint64_t seed = first; seed < first + count && !HasFailure(); ++seed) History(seed).run();
}

}  // namespace
}  // namespace lbcluster::forward
