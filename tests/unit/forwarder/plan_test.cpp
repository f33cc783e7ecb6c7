// From services and what is known of their servers to IPVS, firewall rules and sysctls (L4-1 to L4-7, HC-5, HC-6,
// HC-7).
#include "forwarder/core/plan.hpp"

#include <gtest/gtest.h>

#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward {
namespace {

using namespace test;

const std::string vip = "10.0.0.100";

ServicePlan plan(const ServiceSpec& spec, const std::vector<Verdict>& verdicts, std::uint64_t now_ms = 0) {
    return plan_service(spec, plan_keys({spec}).front(), verdicts, now_ms);
}
std::string planned(const ServiceSpec& spec, const std::vector<Verdict>& verdicts, std::uint64_t now_ms = 0) {
    return text_of(plan(spec, verdicts, now_ms).service);
}

TEST(Plan, MethodsAndPorts) {  // L4-1, L4-2
    const std::vector<Verdict> good{up()};
    EXPECT_EQ(planned(service("a", vip, {{80, 80}}, {"10.0.0.1"}, Method::dr), good), "10.0.0.1:80 w100 direct");
    EXPECT_EQ(planned(service("a", vip, {{80, 80}}, {"10.0.0.1"}, Method::tun), good), "10.0.0.1:80 w100 tunnel");
    EXPECT_EQ(planned(service("a", vip, {{80, 80}}, {"10.0.0.1"}, Method::nat), good), "10.0.0.1:80 w100 masquerade");
    EXPECT_EQ(planned(service("a", vip, {{80, 80}}, {"10.0.0.1"}, Method::snat), good), "10.0.0.1:80 w100 masquerade");
    // Several ports are a firewall mark, and each keeps its own.
    EXPECT_EQ(planned(service("a", vip, {{80, 80}, {443, 443}}, {"10.0.0.1"}, Method::nat), good),
              "10.0.0.1:0 w100 masquerade");
    ServiceSpec translated = service("a", vip, {{80, 80}}, {"10.0.0.1"}, Method::nat);
    translated.servers[0].port = 8080;
    EXPECT_EQ(planned(translated, good), "10.0.0.1:8080 w100 masquerade");
    translated.traffic.udp = true;  // both protocols on one port are a mark, and the port is still translated
    EXPECT_EQ(planned(translated, good), "10.0.0.1:8080 w100 masquerade");
}

TEST(Plan, OnePortAndProtocolIsAnAddressEverythingElseAMark) {
    ServiceSpec one = service("a", vip, {{80, 80}}, {});
    EXPECT_EQ(plan_keys({one})[0].to_string(), "tcp 10.0.0.100 80");
    one.traffic.tcp = false;
    one.traffic.udp = true;
    EXPECT_EQ(plan_keys({one})[0].to_string(), "udp 10.0.0.100 80");
    one.traffic.tcp = true;
    EXPECT_NE(plan_keys({one})[0].mark, 0U);
    EXPECT_NE(plan_keys({service("a", vip, {{80, 81}}, {})})[0].mark, 0U);
    EXPECT_NE(plan_keys({service("a", vip, {{1, 65535}}, {})})[0].mark, 0U);
    EXPECT_TRUE(plan_keys({service("a", "fd00::1", {{80, 81}}, {})})[0].v6);
}

TEST(Plan, MarksAreTheSameOnBothNodesAndNeverTwice) {  // HA-8: connection sync names the mark
    std::vector<ServiceSpec> services;
    for (int i = 0; i < 4000; ++i) services.push_back(service("s" + std::to_string(i), vip, {{80, 81}}, {}));
    const auto keys = plan_keys(services);
    std::set<std::uint32_t> marks;
    for (const ServiceKey& key : keys) {
        EXPECT_EQ(key.mark >> 24U, 0x4cU);
        EXPECT_TRUE(marks.insert(key.mark).second);
    }
    // Other ports, other servers, another place in the list: the same mark. The number is a promise between releases.
    const auto alone = plan_keys({service("web", vip, {{80, 81}}, {"10.0.0.1"})});
    const auto later = plan_keys({services[7], service("web", vip, {{443, 445}}, {})});
    EXPECT_EQ(alone[0], later[1]);
    EXPECT_EQ(alone[0].mark, 0x4c000000U + static_cast<std::uint32_t>(stable_hash("web 10.0.0.100") % 0x1000000));
    EXPECT_EQ(stable_hash("web"), 0x5ea0e11948721ef1U);
}

TEST(Plan, Settings) {  // L4-3, L4-5
    ServiceSpec spec = service("a", vip, {{80, 80}}, {});
    EXPECT_EQ(plan(spec, {}).service.settings, (ServiceSettings{"wlc", 0, 0, 32}));
    spec.persistence = Persistence{600s, 24};
    EXPECT_EQ(plan(spec, {}).service.settings, (ServiceSettings{"wlc", flag_persistent, 600, 24}));
    spec.persistence.reset();
    spec.scheduler = "mh";
    EXPECT_EQ(plan(spec, {}).service.settings.flags, flag_hash_fallback);
    spec.one_packet = true;
    EXPECT_EQ(plan(spec, {}).service.settings.flags, flag_hash_fallback | flag_one_packet);
    spec.traffic.address = ip("fd00::1");
    EXPECT_EQ(plan(spec, {}).service.settings.mask_bits, 128U);
}

struct PlacedRow {
    const char* name;
    State state;
    Verdict verdict;
    const char* removing;   // on_down: remove
    const char* quiescing;  // on_down: quiesce
};
class Placed : public testing::TestWithParam<PlacedRow> {};

TEST_P(Placed, AsTheTableSays) {  // HC-5, HC-6, HC-7, L4-4
    ServiceSpec spec = service("a", vip, {{80, 80}}, {"10.0.0.1"});
    spec.servers[0].state = GetParam().state;
    spec.servers[0].weight = 50;
    EXPECT_EQ(planned(spec, {GetParam().verdict}), GetParam().removing);
    spec.quiesce = true;
    EXPECT_EQ(planned(spec, {GetParam().verdict}), GetParam().quiescing);
}

const char* const at_50 = "10.0.0.1:80 w50 direct";
const char* const at_0 = "10.0.0.1:80 w0 direct";
INSTANTIATE_TEST_SUITE_P(
    HC5, Placed,
    testing::Values(
        PlacedRow{"Up", State::online, up(), at_50, at_50}, PlacedRow{"Down", State::online, down(), "", at_0},
        PlacedRow{"Standby", State::online, {Health::standby}, "", at_0},
        PlacedRow{"Unknown", State::online, {}, "", ""}, PlacedRow{"Drain", State::drain, up(), at_0, at_0},
        PlacedRow{"DrainUnknown", State::drain, {}, "", ""}, PlacedRow{"DrainDown", State::drain, down(), "", at_0},
        PlacedRow{"Halt", State::halt, up(), "", ""}, PlacedRow{"HaltDown", State::halt, down(), "", ""},
        PlacedRow{"AgentDrains", State::online, {Health::up, 100, Wish::drain}, at_0, at_0},
        PlacedRow{"AgentDown", State::online, {Health::up, 100, Wish::down}, "", at_0},
        PlacedRow{"HalfWeight", State::online, {Health::up, 50}, "10.0.0.1:80 w25 direct", "10.0.0.1:80 w25 direct"},
        PlacedRow{
            "NeverQuiteNothing", State::online, {Health::up, 1}, "10.0.0.1:80 w1 direct", "10.0.0.1:80 w1 direct"},
        PlacedRow{"AgentSaysNothingMore", State::online, {Health::up, 0}, at_0, at_0}),
    [](const auto& info) { return info.param.name; });

TEST(Plan, QuiesceIsNotForASchedulerThatGoesOnChoosing) {
    ServiceSpec spec = service("a", vip, {{80, 80}}, {"10.0.0.1"});
    spec.quiesce = true;
    spec.scheduler = "dh";
    EXPECT_EQ(planned(spec, {down()}), "");
}

TEST(Plan, ADrainEndsAtItsDeadline) {  // HC-5
    ServiceSpec spec = service("a", vip, {{80, 80}}, {"10.0.0.1"});
    spec.servers[0].state = State::drain;
    spec.servers[0].drain_until_ms = 1000;
    EXPECT_EQ(planned(spec, {up()}, 999), at_0);
    EXPECT_EQ(planned(spec, {up()}, 1000), "");
}

TEST(Plan, LimitsOfConnections) {  // L4-4
    ServiceSpec spec = service("a", vip, {{80, 80}}, {"10.0.0.1"});
    spec.servers[0].min_connections = 10;
    spec.servers[0].max_connections = 20;
    const Destination made = plan(spec, {up()}).service.destinations.at(0);
    EXPECT_EQ(made.lower, 10U);
    EXPECT_EQ(made.upper, 20U);
}

// L4-6
class FallbackPlan : public testing::Test {
  protected:
    ServiceSpec spec_ = service("a", vip, {{80, 80}}, {"10.0.0.1", "10.0.0.2"});
    FallbackSpec& fallback_ = spec_.fallback;
};

TEST_F(FallbackPlan, OnlyWhenNobodyCanServe) {
    fallback_.kind = FallbackSpec::Kind::page;
    const auto one_up = plan(spec_, {down(), up()});
    EXPECT_EQ(text_of(one_up.service), "10.0.0.2:80 w100 direct");
    EXPECT_TRUE(one_up.serves);
    EXPECT_FALSE(one_up.fallback);
    const auto none = plan(spec_, {down(), down()});
    EXPECT_EQ(text_of(none.service), "127.0.0.1:80 w100 direct");
    EXPECT_FALSE(none.serves);
    EXPECT_TRUE(none.fallback);
    // Taken offline by the operator counts as well, and connections of a drain go on beside it.
    spec_.servers[0].state = State::drain;
    spec_.servers[1].state = State::halt;
    EXPECT_EQ(planned(spec_, {up(), up()}), "10.0.0.1:80 w0 direct, 127.0.0.1:80 w100 direct");
    spec_.fallback = {};
    EXPECT_FALSE(plan(spec_, {down(), down()}).fallback);
}

TEST_F(FallbackPlan, ThePageIsOnThisNode) {
    fallback_.kind = FallbackSpec::Kind::page;
    spec_.traffic.ports = {{80, 80}, {443, 443}};
    EXPECT_EQ(planned(spec_, {down(), down()}), "127.0.0.1:0 w100 direct");
    spec_.traffic.address = ip("fd00::1");
    EXPECT_EQ(planned(spec_, {down(), down()}), "::1:0 w100 direct");
}

TEST_F(FallbackPlan, ASeparateServer) {
    fallback_.kind = FallbackSpec::Kind::address;
    fallback_.address = ip("10.0.0.9");
    fallback_.method = Method::dr;
    EXPECT_EQ(planned(spec_, {down(), down()}), "10.0.0.9:80 w100 direct");
    fallback_.port = 80;
    EXPECT_EQ(planned(spec_, {down(), down()}), "10.0.0.9:80 w100 direct");
    fallback_.method = Method::nat;
    fallback_.port = 8080;
    EXPECT_EQ(planned(spec_, {down(), down()}), "10.0.0.9:8080 w100 masquerade");
    fallback_.port = 0;  // a layer-7 service: the port that the client asked for
    EXPECT_EQ(planned(spec_, {down(), down()}), "10.0.0.9:80 w100 masquerade");
    spec_.traffic.ports = {{80, 81}};
    EXPECT_EQ(planned(spec_, {down(), down()}), "10.0.0.9:0 w100 masquerade");
}

TEST_F(FallbackPlan, OneOfTheRealServersServesThoughItIsDown) {
    fallback_.kind = FallbackSpec::Kind::server;
    fallback_.server = "s2";
    EXPECT_EQ(planned(spec_, {down(), down()}), "10.0.0.2:80 w100 direct");
    spec_.quiesce = true;
    EXPECT_EQ(planned(spec_, {down(), down()}), "10.0.0.1:80 w0 direct, 10.0.0.2:80 w100 direct");
    // What the operator took offline stays so.
    spec_.servers[1].state = State::halt;
    EXPECT_EQ(planned(spec_, {down(), down()}), "10.0.0.1:80 w0 direct");
    EXPECT_FALSE(plan(spec_, {down(), down()}).fallback);
}

TEST(Rules, MarksAndMasquerades) {  // L4-1
    Spec spec;
    spec.services = {service("one", vip, {{80, 80}}, {"10.0.0.1"}),
                     service("many", "10.0.0.101", {{80, 81}}, {"10.0.0.1"}, Method::nat),
                     service("snat", "10.0.0.102", {{80, 80}}, {"10.0.0.1"}, Method::snat),
                     service("fallback", "10.0.0.103", {{80, 80}}, {"10.0.0.1"})};
    spec.services[3].fallback = {FallbackSpec::Kind::address, "", ip("10.0.0.9"), 0, Method::snat};
    const auto keys = plan_keys(spec.services);
    const Rules rules = plan_rules(spec, keys);
    ASSERT_EQ(rules.marks.size(), 1U);
    EXPECT_EQ(rules.marks[0].mark, keys[1].mark);
    ASSERT_EQ(rules.masquerades.size(), 2U);
    EXPECT_EQ(rules.masquerades[0].traffic.address, ip("10.0.0.102"));
    EXPECT_FALSE(rules.masquerades[0].to);
    EXPECT_EQ(rules.masquerades[1].to, ip("10.0.0.9"));
    EXPECT_TRUE(rules.inside.empty());
    spec.node.auto_nat = {"wan"};  // L4-7
    EXPECT_EQ(plan_rules(spec, keys).inside, std::set{ip("10.0.0.1")});
    spec.services.clear();
    spec.node.auto_nat.clear();
    EXPECT_TRUE(plan_rules(spec, {}).empty());
}

std::string sysctls_of(const Spec& spec) {
    std::string out;
    for (const Sysctl& one : plan_sysctls(spec)) {
        EXPECT_FALSE(one.reason.empty()) << one.name;
        out += one.name + "=" + one.value + "\n";
    }
    return out;
}

TEST(Sysctls, OnlyWhatIsNeeded) {
    Spec spec;
    EXPECT_EQ(sysctls_of(spec), "");
    spec.node.interfaces = {"eth0", "eth0.7"};
    spec.node.listens_to_routers = {"eth0"};
    spec.services = {service("a", vip, {{80, 80}}, {})};
    const std::string always =
        "net.ipv4.vs.expire_nodest_conn=1\nnet.ipv4.vs.expire_quiescent_template=1\nnet.ipv4.vs.conn_reuse_mode=1\n";
    EXPECT_EQ(sysctls_of(spec), always);
    const std::string forwards =
        "net.ipv4.ip_forward=1\nnet.ipv4.conf.all.send_redirects=0\nnet.ipv4.conf.default.send_redirects=0\n"
        "net.ipv4.conf.eth0.send_redirects=0\nnet.ipv4.conf.eth0/7.send_redirects=0\n";
    spec.services[0].method = Method::nat;
    EXPECT_EQ(sysctls_of(spec), always + forwards);
    spec.services[0].method = Method::snat;
    EXPECT_EQ(sysctls_of(spec), always + "net.ipv4.vs.conntrack=1\n" + forwards);
    // A node that forwards IPv6 would stop listening to its routers.
    spec.services[0] = service("a", "fd00::1", {{80, 80}}, {}, Method::nat);
    EXPECT_EQ(sysctls_of(spec), always + "net.ipv6.conf.eth0.accept_ra=2\nnet.ipv6.conf.all.forwarding=1\n");
}

TEST(Keys, AreReadAsTheyAreWritten) {
    for (const char* text : {"tcp 10.0.0.1 80", "udp fd00::1 53", "mark4 1275068417", "mark6 1275068418"}) {
        const auto key = ServiceKey::parse(text);
        ASSERT_TRUE(key) << text;
        EXPECT_EQ(key->to_string(), text);
    }
    for (const char* text :
         {"", "tcp", "tcp 10.0.0.1", "tcp 10.0.0.1 70000", "sctp 10.0.0.1 80", "mark4 0", "mark4 1x"}) {
        EXPECT_FALSE(ServiceKey::parse(text)) << text;
    }
}

}  // namespace
}  // namespace lbcluster::forward
