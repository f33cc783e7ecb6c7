// Firewall rules as text, and in the kernel's nftables (L4-1, L4-7, L7-4). What touches the kernel is in a namespace of
// its own.
#include "forwarder/nft/ruleset.hpp"

#include <gmock/gmock.h>
#include <sched.h>

#include <cstdlib>

#include "forwarder/nft/table.hpp"
#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward::nft {
namespace {

using namespace forward::test;
using testing::HasSubstr;
using testing::Not;

Traffic traffic(const std::string& address, bool tcp, bool udp, std::vector<Ports> ports) {
    Traffic out;
    out.address = ip(address);
    out.tcp = tcp;
    out.udp = udp;
    out.ports = std::move(ports);
    return out;
}

Rules full_rules() {
    Rules rules;
    rules.marks.push_back({traffic("10.0.0.100", true, true, {{53, 53}, {9163, 9164}}), 0x4c000001});
    rules.marks.push_back({traffic("10.0.0.101", false, true, {{1, 65535}}), 0x4c000002});
    rules.marks.push_back({traffic("fd00::1", true, false, {{80, 80}, {443, 443}}), 0x4c000003});
    rules.masquerades.push_back({traffic("10.0.0.102", true, false, {{80, 80}, {8000, 8010}}), std::nullopt});
    rules.masquerades.push_back({traffic("fd00::2", true, true, {{1, 65535}}), ip("fd00::9")});
    rules.transparent = {{ip("10.0.0.5"), 80}, {ip("10.0.0.5"), 443}, {ip("fd00::5"), 80}};
    rules.auto_nat = {"eth0", "eth1"};
    rules.inside = {ip("10.0.0.1"), ip("fd00::5")};
    rules.virtual_addresses = {ip("10.0.0.100"), ip("10.0.0.102"), ip("fd00::1")};
    return rules;
}

TEST(Ruleset, NoRulesNoTable) { EXPECT_EQ(render({}), ""); }

TEST(Ruleset, MarksAreOneLookUp) {
    Rules rules;
    rules.marks = full_rules().marks;
    const std::string text = render(rules);
    EXPECT_THAT(text, HasSubstr("10.0.0.100 . tcp . 53 : 0x4c000001"));
    EXPECT_THAT(text, HasSubstr("10.0.0.100 . udp . 9163-9164 : 0x4c000001"));
    EXPECT_THAT(text, HasSubstr("10.0.0.101 . udp . 1-65535 : 0x4c000002"));
    EXPECT_THAT(text, Not(HasSubstr("10.0.0.101 . tcp")));
    EXPECT_THAT(text, HasSubstr("fd00::1 . tcp . 443 : 0x4c000003"));
    // Connection tracking of all traffic is not to come without need.
    EXPECT_THAT(text, Not(HasSubstr("type nat")));
}

TEST(Ruleset, MasqueradeLooksAtWhatTheClientAskedFor) {
    const std::string text = render(full_rules());
    EXPECT_THAT(text, HasSubstr("ct original ip daddr 10.0.0.102 meta l4proto tcp ct original proto-dst 8000-8010 "
                                "ip daddr != 10.0.0.102 masquerade"));
    EXPECT_THAT(text, HasSubstr("ct original ip6 daddr fd00::2 meta l4proto udp ip6 daddr fd00::9 masquerade"));
    EXPECT_THAT(text, HasSubstr("oifname { \"eth0\", \"eth1\" } ip saddr @inside4 ct original ip daddr != @virtual4"));
}

TEST(Ruleset, AnswersOfTransparentServersAreMarked) {  // L7-4
    Rules rules;
    rules.transparent = full_rules().transparent;
    const std::string text = render(rules);
    EXPECT_THAT(text, HasSubstr("10.0.0.5 . 443,\n"));
    EXPECT_THAT(text, HasSubstr("ip saddr . tcp sport @transparent4 socket transparent 1 meta mark set 0x4d000000\n"));
    EXPECT_THAT(text, HasSubstr("ip6 saddr . tcp sport @transparent6 socket transparent 1"));
    EXPECT_THAT(text, Not(HasSubstr("chain output")));
}

class TableTest : public testing::Test {
  protected:
    void SetUp() override {
        if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "needs root";
        if (!table_.read()) GTEST_SKIP() << "this kernel has no nftables";
    }
    static int run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()); }

    Table table_;
};

TEST_F(TableTest, IsReplacedReadBackAndRemoved) {
    EXPECT_EQ(*table_.read(), "");
    const auto done = table_.replace(render(full_rules()));
    ASSERT_TRUE(done) << done.error().message;
    const std::string listed = *table_.read();
    EXPECT_THAT(listed, HasSubstr("10.0.0.100 . tcp . 9163-9164 : 0x4c000001"));
    EXPECT_EQ(*table_.read(), listed);
    // Set again, it looks the same: the listing is how drift is seen.
    ASSERT_TRUE(table_.replace(render(full_rules())));
    EXPECT_EQ(*table_.read(), listed);
    Rules fewer;
    fewer.marks = full_rules().marks;
    ASSERT_TRUE(table_.replace(render(fewer)));
    EXPECT_THAT(*table_.read(), Not(HasSubstr("postrouting")));
    ASSERT_TRUE(table_.replace(""));
    EXPECT_EQ(*table_.read(), "");
    EXPECT_TRUE(table_.replace(""));  // it is not there already
}

TEST_F(TableTest, OthersTablesStay) {
    if (run("nft add table inet other") != 0) GTEST_SKIP() << "needs the program nft";
    ASSERT_TRUE(table_.replace(render(full_rules())));
    ASSERT_TRUE(table_.replace(""));
    EXPECT_EQ(run("nft list table inet other"), 0);
}

TEST_F(TableTest, NothingIsChangedByATextThatIsWrong) {
    ASSERT_TRUE(table_.replace(render(full_rules())));
    const std::string before = *table_.read();
    const auto refused =
        table_.replace("table inet lbcluster\ndelete table inet lbcluster\ntable inet lbcluster {\n nonsense\n}\n");
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("syntax error"));
    EXPECT_EQ(*table_.read(), before);
}

// The kernel takes the look-ups as they are meant: packets to the ports of the service get its mark, and no others.
TEST_F(TableTest, TheKernelMarks) {
    ASSERT_EQ(run("ip link set lo up && ip addr add 10.0.0.7/32 dev lo && ip route add local 10.0.0.0/24 dev lo"), 0);
    Rules rules;
    rules.marks.push_back({traffic("10.0.0.100", false, true, {{50, 50}, {53, 60}}), 0x4c000001});
    ASSERT_TRUE(table_.replace(render(rules)));
    if (run("nft 'table inet probe { counter marked {}; counter plain {}; "
            "chain out { type filter hook output priority 10; udp dport 40-70 meta mark 0x4c000001 counter name "
            "marked; "
            "udp dport 40-70 meta mark 0 counter name plain; }; }'") != 0) {
        GTEST_SKIP() << "needs the program nft";
    }
    const auto send = [](const char* address, int port) {
        return run("bash -c 'exec 3<>/dev/udp/" + std::string(address) + "/" + std::to_string(port) + "; echo x >&3'");
    };
    for (const int port : {50, 53, 57, 60}) EXPECT_EQ(send("10.0.0.100", port), 0);
    for (const int port : {49, 51, 52, 61}) EXPECT_EQ(send("10.0.0.100", port), 0);
    const auto packets = [](const char* counter) {
        const std::string command =
            std::string("nft list counter inet probe ") + counter + " | grep -o 'packets [0-9]*'";
        FILE* pipe = ::popen(command.c_str(), "r");
        int count = -1;
        if (std::fscanf(pipe, "packets %d", &count) != 1) count = -1;
        ::pclose(pipe);
        return count;
    };
    EXPECT_EQ(packets("marked"), 4);
    EXPECT_EQ(packets("plain"), 4);
}

}  // namespace
}  // namespace lbcluster::forward::nft
