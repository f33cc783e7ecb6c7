// Configuration on running nodes (RE-5): a good revision is applied, a bad one changes nothing and is told.
#include "tests/lab/pair_test.hpp"

namespace lbcluster::lab {
namespace {

class Config : public PairTest {
  protected:
    std::string file(const std::string& node) { return pair().config_dir(node) + "/cluster.yaml"; }
    PairSpec with_second_address() {
        PairSpec spec = pair().spec();
        spec.floating_ips.emplace_back("10.77.0.201");
        return spec;
    }
};

TEST_F(Config, AHandEditOnTheActiveIsApplied) {
    begin({});
    if (HasFatalFailure()) return;
    write_file(file("lb1"), cluster_yaml(with_second_address()));
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.77.0.201"); }, 5s)) << pair().cli("lb1", {"status"}).out;
    write_file(file("lb1"), cluster_yaml(pair().spec()));
    EXPECT_TRUE(wait_until([&] { return !lab_.holds("lb1", "10.77.0.201"); }, 5s));
    expect_nobody_noticed();
}

TEST_F(Config, SighupReloads) {
    begin({});
    if (HasFatalFailure()) return;
    write_file(file("lb1"), cluster_yaml(with_second_address()));
    pair().daemon("lb1").signal(SIGHUP);
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.77.0.201"); }, 5s));
    EXPECT_EQ(pair().daemon("lb1").starts(), 1U);
    expect_nobody_noticed();
}

TEST_F(Config, ABadRevisionChangesNothingAndIsTold) {
    begin({});
    if (HasFatalFailure()) return;
    write_file(file("lb1"), "heartbeat:\n  keepaliv: 100ms\nfloating_ips: []\n");
    pair().daemon("lb1").signal(SIGHUP);
    EXPECT_TRUE(wait_until([&] { return !pair().status("lb1")["config"]["error"].text().empty(); }, 5s));
    const std::string error = pair().status("lb1")["config"]["error"].text();
    EXPECT_NE(error.find("keepalive"), std::string::npos) << error;
    EXPECT_TRUE(lab_.holds("lb1", vip));
    const Outcome outcome = pair().cli("lb1", {"config", "check"});
    EXPECT_EQ(outcome.exit_code, 3);
    EXPECT_NE((outcome.out + outcome.err).find("cluster.yaml:2:3"), std::string::npos) << outcome.out << outcome.err;
    write_file(file("lb1"), cluster_yaml(pair().spec()));
    pair().daemon("lb1").signal(SIGHUP);
    EXPECT_TRUE(wait_until([&] { return pair().status("lb1")["config"]["error"].text().empty(); }, 5s));
    expect_nobody_noticed();
}

TEST_F(Config, ApplyHistoryDiffAndRollback) {
    begin({});
    if (HasFatalFailure()) return;
    const std::string draft = "/run/draft.yaml";
    write_file(draft, "# kept as it is\n" + cluster_yaml(with_second_address()));
    const double before = pair().status("lb1")["config"]["revision"].number();
    const Outcome applied = pair().cli("lb1", {"config", "apply", draft});
    ASSERT_EQ(applied.exit_code, 0) << applied.out << applied.err;
    EXPECT_TRUE(lab_.holds("lb1", "10.77.0.201")) << "apply waits until the daemons have it";
    EXPECT_EQ(read_file(file("lb1")), read_file(draft));
    EXPECT_GT(pair().status("lb1")["config"]["revision"].number(), before);
    EXPECT_EQ(pair().cli("lb1", {"config", "history"}).exit_code, 0);
    const Outcome diff = pair().cli("lb1", {"config", "diff", std::to_string(static_cast<int>(before))});
    EXPECT_NE(diff.out.find("10.77.0.201"), std::string::npos) << diff.out << diff.err;
    const Outcome back = pair().cli("lb1", {"config", "rollback", std::to_string(static_cast<int>(before))});
    EXPECT_EQ(back.exit_code, 0) << back.out << back.err;
    EXPECT_TRUE(wait_until([&] { return !lab_.holds("lb1", "10.77.0.201"); }, 5s));
    expect_nobody_noticed();
}

TEST_F(Config, ChangesAreRefusedOnThePassive) {
    begin({});
    if (HasFatalFailure()) return;
    const std::string draft = "/run/draft.yaml";
    write_file(draft, cluster_yaml(with_second_address()));
    const Outcome outcome = pair().cli("lb2", {"config", "apply", draft});
    EXPECT_EQ(outcome.exit_code, 5) << outcome.out << outcome.err;
    EXPECT_NE(outcome.err.find("lb1"), std::string::npos) << outcome.err;
    EXPECT_EQ(read_file(file("lb2")), cluster_yaml(pair().spec()));
}

TEST_F(Config, FloatingIpsAreAddedAndDeletedByTheCli) {
    begin({});
    if (HasFatalFailure()) return;
    const Outcome added = pair().cli("lb1", {"floating-ip", "add", "10.77.0.202"});
    EXPECT_EQ(added.exit_code, 0) << added.out << added.err;
    EXPECT_TRUE(wait_until([&] { return lab_.holds("lb1", "10.77.0.202"); }, 5s));
    EXPECT_NE(pair().cli("lb1", {"floating-ip", "list"}).out.find("10.77.0.202"), std::string::npos);
    EXPECT_EQ(pair().cli("lb1", {"floating-ip", "delete", "10.77.0.202"}).exit_code, 0);
    EXPECT_TRUE(wait_until([&] { return !lab_.holds("lb1", "10.77.0.202"); }, 5s));
    EXPECT_EQ(pair().cli("lb1", {"floating-ip", "add", "10.77.0.11"}).exit_code, 3) << "an interface's own address";
    expect_nobody_noticed();
}

TEST_F(Config, WithoutDaemonTheCliSaysSo) {
    make({});
    const Outcome outcome = pair().cli("lb1", {"status"});
    EXPECT_EQ(outcome.exit_code, 4) << outcome.out << outcome.err;
    EXPECT_EQ(pair().cli("lb1", {"nonsense"}).exit_code, 2);
}

}  // namespace
}  // namespace lbcluster::lab
