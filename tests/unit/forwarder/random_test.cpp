// A thousand random histories of configuration, health, drift and restarts against a model of the kernel: afterwards
// the kernel is as planned, and at no step in between was traffic without the servers that stayed (issue 5: 'The kernel
// equals the plan').
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <tuple>

#include "forwarder/nft/ruleset.hpp"
#include "forwarder/reconciler.hpp"
#include "tests/unit/forwarder/model_kernel.hpp"
#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward {
namespace {

using namespace test;

using Endpoint = std::tuple<IpAddress, bool, std::uint16_t>;  // address, UDP, port
using Places = std::set<DestinationKey>;                      // that take new connections

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

// A small world, so that things meet: three addresses, ports 80 to 85, six servers.
class World {
  public:
    explicit World(std::uint64_t seed) : random_(seed) {}

    std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }
    bool chance(unsigned percent) { return below(100) < percent; }

    void change_a_service() {
        auto& services = spec.services;
        if (services.size() < 4 && (services.empty() || chance(30))) {
            services.push_back(make("v" + std::to_string(next_label_++)));
        } else if (chance(15)) {
            services.erase(services.begin() + static_cast<std::ptrdiff_t>(below(services.size())));
        } else {
            change(services[below(services.size())]);
        }
        keep_apart();
        if (chance(10)) std::shuffle(services.begin(), services.end(), random_);
        if (chance(10)) spec.node.auto_nat = chance(50) ? std::vector<std::string>{"eth0"} : std::vector<std::string>{};
        if (chance(10)) spec.node.sync_interface = chance(50) ? "eth1" : "";
    }
    Verdict verdict() {
        Verdict out;
        out.health = static_cast<Health>(below(4));
        if (chance(30)) out.percent = static_cast<std::uint32_t>(below(3) * 50);
        if (chance(20)) out.wish = static_cast<Wish>(below(3));
        return out;
    }

    Spec spec;

  private:
    ServiceSpec make(const std::string& label) {
        ServiceSpec out = service(label, "10.0.0." + std::to_string(100 + below(3)), {}, {});
        if (chance(30)) out.traffic.address = ip("fd00::1");
        change_ports(out);
        const std::size_t servers = below(4);
        for (std::size_t i = 0; i < servers; ++i) add_server(out);
        return out;
    }
    void change_ports(ServiceSpec& out) {
        out.traffic.ports.clear();
        auto port = static_cast<std::uint16_t>(80 + below(3));
        const std::size_t count = 1 + below(2);
        for (std::size_t i = 0; i < count; ++i) {
            const auto last = static_cast<std::uint16_t>(port + below(2));
            out.traffic.ports.push_back({port, last});
            port = static_cast<std::uint16_t>(last + 2);
        }
        out.traffic.tcp = chance(70);
        out.traffic.udp = !out.traffic.tcp || chance(20);
    }
    void add_server(ServiceSpec& out) {
        const std::string number = std::to_string(1 + below(6));
        const ServerSpec made = server("s" + number, (out.traffic.address.is_v6() ? "fd00::" : "10.0.0.") + number);
        for (const ServerSpec& other : out.servers) {
            if (other.label == made.label) return;
        }
        out.servers.push_back(made);
    }
    void change(ServiceSpec& out) {
        switch (below(10)) {
            case 0:
                return change_ports(out);
            case 1:
                out.method = static_cast<Method>(below(4));
                return;
            case 2:
                out.scheduler = std::vector<std::string>{"wlc", "mh", "dh", "rr"}[below(4)];
                return;
            case 3:
                out.quiesce = !out.quiesce;
                return;
            case 4:
                out.fallback = {};
                out.fallback.kind = static_cast<FallbackSpec::Kind>(below(4));
                out.fallback.server = "s" + std::to_string(1 + below(6));
                out.fallback.address = ip(out.traffic.address.is_v6() ? "fd00::9" : "10.0.0.9");
                out.fallback.method = static_cast<Method>(below(4));
                return;
            case 5:
                if (chance(50)) out.persistence = Persistence{600s, 24};
                else out.persistence.reset();
                return;
            case 6:
                if (!out.servers.empty()) out.servers.erase(out.servers.begin());
                return;
            case 7:
                for (ServerSpec& one : out.servers) one.state = static_cast<State>(below(3));
                return;
            case 8:
                for (ServerSpec& one : out.servers) one.weight = static_cast<std::uint32_t>(below(3) * 50);
                return;
            default:
                return add_server(out);
        }
    }
    // As the configuration's check has it: no endpoint twice.
    void keep_apart() {
        std::set<Endpoint> taken;
        std::erase_if(spec.services, [&](const ServiceSpec& one) {
            std::vector<Endpoint> mine;
            for (const Ports& ports : one.traffic.ports) {
                for (unsigned port = ports.first; port <= ports.last; ++port) {
                    if (one.traffic.tcp) mine.emplace_back(one.traffic.address, false, port);
                    if (one.traffic.udp) mine.emplace_back(one.traffic.address, true, port);
                }
            }
            for (const Endpoint& endpoint : mine) {
                if (taken.contains(endpoint)) return true;
            }
            taken.insert(mine.begin(), mine.end());
            return false;
        });
    }

    std::mt19937_64 random_;
    unsigned next_label_ = 1;
};

std::vector<Endpoint> endpoints() {
    std::vector<Endpoint> out;
    for (const char* address : {"10.0.0.100", "10.0.0.101", "10.0.0.102", "fd00::1"}) {
        for (std::uint16_t port = 80; port < 90; ++port) {
            out.emplace_back(ip(address), false, port);
            out.emplace_back(ip(address), true, port);
        }
    }
    return out;
}

std::string in_words(const Table& table) {
    std::string out;
    for (const auto& [key, service] : table) {
        out += key.to_string() + " " + service.settings.scheduler + ": " + text_of(service) + "\n";
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
