// RE-2, RE-4: two replications in one process with real files: changes go over, hand edits on the passive node do not,
// what was changed on both sides waits for somebody to choose, and nothing is lost when links fail.
#include "replicator/replication.hpp"

#include <algorithm>
#include <random>

#include "lbcluster/base/clock.hpp"
#include "tests/unit/replicator/pair_of_nodes.hpp"

namespace lbcluster::replicator {
namespace {

using Replicating = PairOfNodes;

TEST_F(Replicating, AChangeGoesOverWithFilesAuthorTimeAndReason) {
    connect();
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    lb1_->put("files/certs/a.pem", std::string(700'000, 'c'));
    lb1_->put("files/fallback.html", "page");
    lb1_->apply(yaml_of("second"));
    ASSERT_TRUE(run_until([&] { return in_sync() && lb2_->get("cluster.yaml") == yaml_of("second"); }));
    EXPECT_EQ(lb2_->get("files/certs/a.pem"), std::string(700'000, 'c'));
    EXPECT_EQ(lb2_->get("files/fallback.html"), "page");
    const config::Revision there = config::history(lb1_->paths).front();
    const config::Revision here = config::history(lb2_->paths).front();
    EXPECT_EQ(here.author() + here.time() + here.reason(), there.author() + there.time() + there.reason());
    EXPECT_EQ(lb2_->get("node.yaml"), "node: lb2\nrole: secondary\n") << "node.yaml stays";

    // The other way round, once lb2 is where changes are made.
    lb2_->apply(yaml_of("third"), "bert");
    ASSERT_TRUE(run_until([&] { return in_sync() && lb1_->get("cluster.yaml") == yaml_of("third"); }));
    EXPECT_EQ(config::history(lb1_->paths).front().author(), "bert");
}

TEST_F(Replicating, AHandEditOnTheActiveNodeGoesOver) {
    connect();
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    lb2_->replication->set_may_change(false);
    lb1_->put("cluster.yaml", yaml_of("by hand"));
    lb1_->replication->look();
    ASSERT_TRUE(run_until([&] { return in_sync() && lb2_->get("cluster.yaml") == yaml_of("by hand"); }));
    EXPECT_EQ(config::history(lb2_->paths).front().author(), config::hand_edit_author);
    lb2_->replication->look();
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    EXPECT_FALSE(lb2_->alarmed("hand-edit-set-aside")) << "it is the active node's";
}

TEST_F(Replicating, AHandEditOnThePassiveNodeIsKeptAlarmedAndNotInForce) {
    connect();
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    lb2_->replication->set_may_change(false);
    look_now(*lb2_);  // one that began before would take the edit for an earlier one
    for (const std::string& edit : {yaml_of("by hand"), std::string("no: [yaml")}) {
        lb2_->put("cluster.yaml", edit);
        lb2_->put("files/stray.html", "x");
        lb2_->replication->look();
        ASSERT_TRUE(run_until([&] { return in_sync() && lb2_->alarmed("hand-edit-set-aside"); }));
        EXPECT_EQ(lb2_->get("cluster.yaml"), yaml_of("first"));
        EXPECT_EQ(lb2_->get("files/stray.html"), "");
        EXPECT_TRUE(lb2_->has_revision(edit));
        EXPECT_FALSE(lb1_->has_revision(edit)) << "never spread";
    }
    EXPECT_TRUE(lb2_->noted("hand-edit-set-aside"));
    // The alarm ends with the next configuration.
    lb1_->apply(yaml_of("second"));
    ASSERT_TRUE(run_until([&] { return in_sync() && !lb2_->alarmed("hand-edit-set-aside"); }));
    EXPECT_FALSE(lb1_->has_revision(yaml_of("by hand")));
}

TEST_F(Replicating, ThePeersWordThatItIsActiveCountsWhenHeartbeatdIsSilent) {
    connect();
    lb1_->replication->set_may_change(true, true);
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    const bus::Reply told = answer([&](auto respond) { lb2_->replication->sync(respond); });
    ASSERT_EQ(told.exit_code(), 0U);
    lb2_->put("cluster.yaml", yaml_of("by hand"));
    lb2_->replication->look();
    ASSERT_TRUE(run_until([&] { return lb2_->alarmed("hand-edit-set-aside"); }));
    EXPECT_EQ(lb2_->get("cluster.yaml"), yaml_of("first"));
}

TEST_F(Replicating, FilesThatWereRemovedOnThePassiveNodeComeBack) {
    connect();
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    lb2_->replication->set_may_change(false);
    std::filesystem::remove(lb2_->paths.cluster_file());
    lb2_->replication->look();
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    EXPECT_EQ(lb2_->get("cluster.yaml"), yaml_of("first"));
}

TEST_F(Replicating, TheWallClocksAreComparedWhileTheNodesAreConnected) {
    EXPECT_FALSE(lb1_->replication->status().has_peer_clock());
    lb2_->ahead_ms = 5'000;
    connect();
    const auto clock = [](const TestNode& node) { return node.replication->status().peer_clock(); };
    const auto known = [&] {
        return lb1_->replication->status().has_peer_clock() && lb2_->replication->status().has_peer_clock();
    };
    ASSERT_TRUE(run_until(known));
    EXPECT_NEAR(static_cast<double>(clock(*lb1_).ahead_ms()), 5'000, static_cast<double>(clock(*lb1_).uncertain_ms()));
    EXPECT_NEAR(static_cast<double>(clock(*lb2_).ahead_ms()), -5'000, static_cast<double>(clock(*lb2_).uncertain_ms()));
    cut();
    ASSERT_TRUE(run_until([&] { return !lb1_->replication->connected() && !lb2_->replication->connected(); }));
    EXPECT_FALSE(lb1_->replication->status().has_peer_clock()) << "not known any more";
    EXPECT_FALSE(lb2_->replication->status().has_peer_clock());
}

TEST_F(Replicating, ChangesOnBothSidesWaitForSomebodyToChoose) {
    lb1_->apply(yaml_of("mine"));
    lb2_->apply(yaml_of("theirs"));
    look_now(*lb1_);
    connect();
    ASSERT_TRUE(run_until([&] { return lb1_->state() == "diverged" && lb2_->state() == "diverged"; }));
    EXPECT_TRUE(lb1_->alarmed("config-diverged"));
    EXPECT_TRUE(lb1_->noted("diverged"));
    EXPECT_EQ(lb1_->get("cluster.yaml"), yaml_of("mine"));
    EXPECT_EQ(lb2_->get("cluster.yaml"), yaml_of("theirs"));
    const bus::Reply refused = answer([&](auto respond) { lb1_->replication->sync(respond); });
    EXPECT_EQ(refused.exit_code(), 5U);

    const bus::Reply chosen = answer([&](auto respond) { lb1_->replication->resolve(true, respond); });
    EXPECT_EQ(chosen.exit_code(), 0U) << chosen.message();
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    EXPECT_EQ(lb2_->get("cluster.yaml"), yaml_of("mine"));
    EXPECT_TRUE(lb2_->has_revision(yaml_of("theirs"))) << "kept";
    EXPECT_FALSE(lb1_->alarmed("config-diverged"));
}

TEST_F(Replicating, ThePeersContentCanBeChosen) {
    lb1_->apply(yaml_of("mine"));
    lb2_->apply(yaml_of("theirs"));
    look_now(*lb1_);
    connect();
    ASSERT_TRUE(run_until([&] { return lb1_->state() == "diverged" && lb2_->state() == "diverged"; }));
    const bus::Reply chosen = answer([&](auto respond) { lb1_->replication->resolve(false, respond); });
    EXPECT_EQ(chosen.exit_code(), 0U) << chosen.message();
    EXPECT_EQ(lb1_->get("cluster.yaml"), yaml_of("theirs"));
    EXPECT_TRUE(lb1_->has_revision(yaml_of("mine")));
    const bus::Reply again = answer([&](auto respond) { lb1_->replication->resolve(false, respond); });
    EXPECT_EQ(again.exit_code(), 5U) << "nothing to choose any more";
}

TEST_F(Replicating, WhatThePeerCannotTakeOverIsNamedOnBothAndTheOldStateGoesOn) {
    connect();
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    // Put in force on lb1 without looking at its interfaces; lb2 has none for that address.
    const std::string vip = yaml_of("vip") + "floating_ips: [{address: 203.0.113.77}]\n";
    lb1_->apply(vip);
    ASSERT_TRUE(run_until([&] { return lb1_->state() == "failed" && lb1_->alarmed("replication-failed"); }));
    EXPECT_NE(lb1_->replication->status().error().find("203.0.113.77"), std::string::npos)
        << lb1_->replication->status().error();
    ASSERT_TRUE(run_until([&] { return lb2_->alarmed("replication-refused-here"); }));
    EXPECT_EQ(lb2_->get("cluster.yaml"), yaml_of("first"));
    const bus::Reply sync = answer([&](auto respond) { lb1_->replication->sync(respond); });
    EXPECT_EQ(sync.exit_code(), 3U) << sync.message();
    // A change that is right goes over at once; the refused one is in both histories.
    lb1_->apply(yaml_of("right"));
    ASSERT_TRUE(run_until([&] { return in_sync() && lb2_->get("cluster.yaml") == yaml_of("right"); }));
    EXPECT_TRUE(lb2_->has_revision(vip));
    EXPECT_FALSE(lb2_->alarmed("replication-refused-here"));
    EXPECT_FALSE(lb1_->alarmed("replication-failed"));
}

TEST_F(Replicating, FilesThatAreNotValidAreNotReplicated) {
    connect();
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    lb1_->put("cluster.yaml", "heartbeat: {profile: x}\n");
    lb1_->replication->look();
    ASSERT_TRUE(run_until([&] { return lb1_->state() == "failed"; }));
    EXPECT_NE(lb1_->replication->status().error().find("cluster.yaml:1:22"), std::string::npos);
    EXPECT_EQ(lb2_->get("cluster.yaml"), yaml_of("first"));
    lb1_->put("cluster.yaml", yaml_of("right"));
    lb1_->replication->look();
    ASSERT_TRUE(run_until([&] { return in_sync() && lb2_->get("cluster.yaml") == yaml_of("right"); }));
}

TEST_F(Replicating, AnotherPairIsRefused) {
    std::filesystem::remove(lb2_->paths.peer_file());
    lb2_->replication->look();
    ASSERT_TRUE(run_until([&] { return lb2_->state() == "none"; }));
    connect();
    ASSERT_TRUE(run_until(
        [&] { return lb1_->replication->status().error().find("lb2 is paired with nobody") != std::string::npos; }));
    EXPECT_EQ(lb1_->state(), "failed");
    const bus::Reply reply = answer([&](auto respond) { lb2_->replication->sync(respond); });
    EXPECT_EQ(reply.exit_code(), 5U);
}

TEST_F(Replicating, SyncReadsBackWhatIsInForceThere) {
    connect();
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    // Nobody has told lb2's replication of this change: sync finds it.
    config::Change change;
    change.author = "bert";
    ASSERT_TRUE(config::apply(lb2_->paths, yaml_of("unseen"), "x", std::nullopt, change));
    const bus::Reply reply = answer([&](auto respond) { lb1_->replication->sync(respond); });
    EXPECT_EQ(reply.exit_code(), 0U) << reply.message();
    EXPECT_EQ(lb1_->get("cluster.yaml"), yaml_of("unseen"));
}

TEST_F(Replicating, ThePeersCopyIsShownWithoutPrivateKeys) {
    lb2_->put("files/certs/b.pem", "-----BEGIN PRIVATE KEY-----\nMIIabc\n");
    lb2_->apply(yaml_of("theirs"));
    lb1_->apply(yaml_of("mine"));
    connect();
    ASSERT_TRUE(run_until([&] { return lb1_->state() == "diverged"; }));
    const bus::Reply reply = answer([&](auto respond) { lb1_->replication->copy_of_peer(respond); });
    ASSERT_EQ(reply.exit_code(), 0U) << reply.message();
    const auto copy = config::read_content(reply.folder());
    ASSERT_TRUE(copy);
    EXPECT_EQ(copy->cluster_yaml, yaml_of("theirs"));
    EXPECT_EQ(copy->files.at("certs/b.pem").find("MIIabc"), std::string::npos);
    EXPECT_EQ(*config::read_text(reply.folder() + "/node.yaml"), lb2_->get("node.yaml"));
    EXPECT_EQ(lb1_->get("cluster.yaml"), yaml_of("mine")) << "nothing is changed by looking";
}

TEST_F(Replicating, VerdictsAreCarriedAndForgottenWithTheConnection) {
    replica::Verdict verdict;
    verdict.set_service("web");
    verdict.set_server("s1");
    verdict.set_health("down");
    lb2_->replication->set_verdict(verdict);
    connect();
    ASSERT_TRUE(run_until([&] { return lb1_->verdicts["web/s1"] == "down"; }));
    verdict.set_health("up");
    lb2_->replication->set_verdict(verdict);
    ASSERT_TRUE(run_until([&] { return lb1_->verdicts["web/s1"] == "up"; }));
    cut();
    ASSERT_TRUE(run_until([&] { return lb1_->verdicts["web/s1"].empty(); }));
}

TEST_F(Replicating, AStopInTheMiddleOfAPushLosesNothing) {
    connect();
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    for (int i = 0; i < 12; ++i) {
        lb1_->put("files/large", std::string(300'000, static_cast<char>('a' + i)));
        lb1_->apply(yaml_of("change " + std::to_string(i)));
        // Somewhere in between, a little later each time.
        io_.restart();
        io_.run_for(std::chrono::milliseconds(i));
        lb2_->stop();
        lb2_->start();
        ASSERT_TRUE(run_until([&] { return lb2_->replication->looked(); }));
        connect();
        ASSERT_TRUE(run_until([&] { return in_sync(); })) << i << ": " << lb1_->state() << " and " << lb2_->state();
    }
    EXPECT_EQ(lb2_->get("files/large"), lb1_->get("files/large"));
    for (int i = 0; i < 12; ++i) EXPECT_TRUE(lb2_->has_revision(yaml_of("change " + std::to_string(i)))) << i;
}

// The peer sends them again when it does not yet know that they are here: a history of a hundred would overflow.
TEST_F(Replicating, RevisionsThatAreHereAlreadyAreNotKeptTwice) {
    lb2_->stop();
    Keeper keeper(lb2_->paths);
    const Counted counted = keeper.look(true).counted;
    std::vector<config::Received> chain;
    for (const char* word : {"a", "b", "c"}) {
        config::Received one;
        one.content.cluster_yaml = yaml_of(word);
        one.revision.set_digest(config::digest_of(one.content));
        one.revision.set_author("anna");
        one.revision.set_time("2026-01-01T00:00:00Z");
        one.revision.set_reason(word);
        chain.push_back(std::move(one));
    }
    const std::size_t before = config::history(lb2_->paths).size();
    const auto take = [&](std::size_t count, std::uint64_t version) {
        std::vector<config::Received> some(chain.begin(), chain.begin() + static_cast<std::ptrdiff_t>(count));
        const Counted offered{some.back().revision.digest(), {counted.version.mine, version}};
        return keeper.take(std::move(some), offered, {}).exit_code;
    };
    EXPECT_EQ(take(2, 11), 0);
    EXPECT_EQ(take(3, 12), 0);
    EXPECT_EQ(config::history(lb2_->paths).size(), before + 3);
    EXPECT_EQ(lb2_->get("cluster.yaml"), yaml_of("c"));
    EXPECT_EQ(take(1, 13), 0) << "back to an old one: in force, had or not";
    EXPECT_EQ(config::history(lb2_->paths).size(), before + 4);
    EXPECT_EQ(lb2_->get("cluster.yaml"), yaml_of("a"));
}

TEST_F(Replicating, TwoHundredChangesOverALinkThatFailsAtRandom) {
    std::mt19937 random(7);
    const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
    bool connected = false;
    std::set<std::string> digests;
    // 80 at a time: the history keeps a hundred.
    for (int i = 1; i <= 200; ++i) {
        lb1_->apply(yaml_of("change " + std::to_string(i)));
        digests.insert(lb1_->digest());
        if (chance(20)) {
            if (std::exchange(connected, !connected)) cut();
            else connect();
        }
        io_.restart();
        io_.run_for(std::chrono::milliseconds(random() % 8));
        if (i % 80 == 0 || i == 200) {
            if (!std::exchange(connected, true)) connect();
            ASSERT_TRUE(run_until([&] { return in_sync(); })) << lb1_->state() << " and " << lb2_->state();
            std::set<std::string> there;
            for (const config::Revision& one : config::history(lb2_->paths)) there.insert(one.digest());
            for (const std::string& digest : digests) EXPECT_TRUE(there.contains(digest)) << i;
            digests.clear();
        }
    }
    EXPECT_EQ(lb2_->get("cluster.yaml"), yaml_of("change 200"));
    EXPECT_FALSE(lb2_->noted("diverged"));
}

// `config apply --confirm`: what nobody confirms comes back on both nodes, whoever is active by then.
TEST_F(Replicating, WhatIsNotConfirmedComesBackOnBoth) {
    const auto promise = [&](TestNode& node, const std::string& yaml, std::uint64_t until_ms) {
        replica::Unconfirmed one;
        one.set_digest(config::digest_of({yaml, {}}));
        one.set_before(node.digest());
        one.set_until(format_rfc3339(until_ms));
        node.put_state("unconfirmed.yaml", config::to_yaml(one));
    };
    const auto both_have = [&](const std::string& yaml) {
        return in_sync() && lb1_->get("cluster.yaml") == yaml && lb2_->get("cluster.yaml") == yaml;
    };
    connect();
    lb1_->replication->set_may_change(true, true);
    lb2_->replication->set_may_change(false, false);
    ASSERT_TRUE(run_until([&] { return in_sync(); }));
    // Confirmed in time: it stays.
    promise(*lb1_, yaml_of("second"), realtime_ms_now() + 60'000);
    lb1_->apply(yaml_of("second"));
    ASSERT_TRUE(run_until([&] {
        return both_have(yaml_of("second")) && lb1_->alarmed("config-unconfirmed") &&
               lb2_->alarmed("config-unconfirmed");
    }));
    std::filesystem::remove(lb1_->paths.unconfirmed_file());
    lb1_->replication->look();
    ASSERT_TRUE(run_until([&] { return !std::filesystem::exists(lb2_->paths.unconfirmed_file()); }));
    ASSERT_TRUE(run_until([&] { return !lb2_->alarmed("config-unconfirmed"); }));
    // Not confirmed: back.
    promise(*lb1_, yaml_of("third"), realtime_ms_now() + 60'000);
    lb1_->apply(yaml_of("third"));
    ASSERT_TRUE(run_until([&] { return both_have(yaml_of("third")) && lb2_->alarmed("config-unconfirmed"); }));
    replica::Unconfirmed over;
    over.set_digest(config::digest_of({yaml_of("third"), {}}));
    over.set_before(config::digest_of({yaml_of("second"), {}}));
    over.set_until(format_rfc3339(realtime_ms_now() + 200));
    lb1_->put_state("unconfirmed.yaml", config::to_yaml(over));
    lb1_->replication->look();
    ASSERT_TRUE(run_until([&] {
        lb1_->replication->tick();
        return both_have(yaml_of("second"));
    }));
    EXPECT_TRUE(lb1_->noted("config-taken-back"));
    ASSERT_TRUE(
        run_until([&] { return !lb1_->alarmed("config-unconfirmed") && !lb2_->alarmed("config-unconfirmed"); }));
    // The active node dies before the time: the other one takes it back.
    over.set_digest(config::digest_of({yaml_of("fourth"), {}}));
    over.set_until(format_rfc3339(realtime_ms_now() + 2000));
    lb1_->put_state("unconfirmed.yaml", config::to_yaml(over));
    lb1_->apply(yaml_of("fourth"));
    ASSERT_TRUE(run_until([&] { return both_have(yaml_of("fourth")) && lb2_->alarmed("config-unconfirmed"); }));
    cut();
    lb2_->replication->set_may_change(true, true);
    ASSERT_TRUE(run_until([&] {
        lb2_->replication->tick();
        return lb2_->get("cluster.yaml") == yaml_of("second");
    }));
}

}  // namespace
}  // namespace lbcluster::replicator
